# shellcheck shell=bash
# Gitea: a Git server over https with branch protection, pull requests and an API.
start_forge() {
  authority
  certificate forge /CN=forge "DNS:localhost,IP:127.0.0.1,IP:$BRIDGE_IP"
  mkdir -p "$TB/forge"
  tool_home gitea
  put "$TB/conf/forge.ini" <<K
RUN_MODE = prod
RUN_USER = $(id -un)
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = $TB/forge
[server]
PROTOCOL = https
CERT_FILE = $TB/pki/forge.crt
KEY_FILE = $TB/pki/forge.key
HTTP_ADDR = 0.0.0.0
HTTP_PORT = $(port forge)
ROOT_URL = https://$BRIDGE_IP:$(port forge)/
STATIC_ROOT_PATH = $HOME_OF/static
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = $TB/forge/gitea.db
[repository]
ROOT = $TB/forge/repositories
DEFAULT_BRANCH = main
[security]
INSTALL_LOCK = true
SECRET_KEY = $(secret forge-key)
[service]
DISABLE_REGISTRATION = true
[webhook]
ALLOWED_HOST_LIST = loopback,private
[log]
LEVEL = warn
K
  # Gitea writes tokens into its configuration that its Git hooks need: it gets a copy, renewed only with ours.
  if ! cmp -s "$TB/conf/forge.ini" "$TB/forge/copied.ini"; then
    cp "$TB/conf/forge.ini" "$TB/forge/app.ini"
    cp "$TB/conf/forge.ini" "$TB/forge/copied.ini"
  fi
  run forge env HOME="$TB/forge" GITEA_WORK_DIR="$TB/forge" "$GITEA" web --config "$TB/forge/app.ini"
}

forge_api() { curl -sf -m 5 --noproxy '*' --cacert "$TB/pki/ca.crt" "${@:2}" "https://127.0.0.1:$(port forge)/api/v1/$1"; }

ready_forge() {
  local password
  password=$(secret forge-password)
  forge_api user -u "tidegate:$password" && return
  forge_api version || return
  HOME=$TB/forge GITEA_WORK_DIR=$TB/forge "$GITEA" admin user create --config "$TB/forge/app.ini" --username tidegate --password "$password" \
    --email tidegate@example.com --admin --must-change-password=false
}
