# shellcheck shell=bash
# The instance's certificate authority, certificates and tokens. All are made once and die with the instance.

openssl_quiet() { openssl "$@" 2>"$TB/log/openssl.log" || { cat "$TB/log/openssl.log" >&2; fail "openssl $1 failed"; }; }

# certificate NAME SUBJECT ALTERNATIVE_NAMES
certificate() {
  local path=$TB/pki/$1
  [ ! -s "$path.crt" ] || return 0
  openssl_quiet req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$path.key" -out "$path.csr" -subj "$2"
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3" >"$path.ext"
  openssl_quiet x509 -req -in "$path.csr" -CA "$TB/pki/ca.crt" -CAkey "$TB/pki/ca.key" -set_serial "0x$(random)" -days 365 -extfile "$path.ext" -out "$path.crt.new"
  mv "$path.crt.new" "$path.crt"
}

authority() {
  [ ! -s "$TB/pki/ca.crt" ] || return 0
  # A new authority: whatever an interrupted run signed is worthless.
  rm -f "$TB"/pki/*
  openssl_quiet req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$TB/pki/ca.key" -out "$TB/pki/ca.crt.new" -days 365 -subj "/CN=tidegate testbed" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
  mv "$TB/pki/ca.crt.new" "$TB/pki/ca.crt"
}

service_account_key() {
  [ -s "$TB/pki/service-accounts.key" ] || openssl ecparam -name prime256v1 -genkey -noout | put "$TB/pki/service-accounts.key"
}

# secret NAME: a random word, the same for the instance's life.
secret() {
  [ -s "$TB/pki/$1.secret" ] || random | put "$TB/pki/$1.secret"
  cat "$TB/pki/$1.secret"
}

# kubeconfig FILE USER
kubeconfig() {
  put "$1" <<K
apiVersion: v1
kind: Config
clusters: [{name: testbed, cluster: {server: "https://127.0.0.1:$(port apiserver)", certificate-authority: $TB/pki/ca.crt}}]
users: [{name: $2, user: {token: $(secret "$2-token")}}]
contexts: [{name: testbed, context: {cluster: testbed, user: $2}}]
current-context: testbed
K
}
