# shellcheck shell=bash
# Tidegate itself: the release build of this tree, and an image of it.

# Builds this tree and sets BINARY.
build_tidegate() {
  local log=$TB/log/cargo.log
  have cargo || fail "Rust is needed to build Tidegate: see https://rustup.rs"
  mkdir -p "$TB/log"
  cd "$ROOT"
  if [ -t 2 ]; then cargo build --release --bin tidegate
  else cargo build --release --bin tidegate >"$log" 2>&1 || { tail -n 40 "$log" >&2; fail "cargo build failed"; }
  fi
  BINARY=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/release/tidegate
}

# One layer: the binary, the libraries that it is linked with, certificate authorities, and a user without rights.
tidegate_image() {
  local root=$TB/images/tidegate.root library
  mkdir -p "$TB/images"
  rm -rf "$root"
  mkdir -p "$root"/{usr/local/bin,etc/ssl/certs,tmp}
  cp "$BINARY" "$root/usr/local/bin/tidegate"
  strip "$root/usr/local/bin/tidegate" 2>/dev/null || true
  # ldd names the libraries and the loader by path: "libz.so.1 => /lib/.../libz.so.1 (0x...)", "/lib64/ld-linux... (0x...)".
  for library in $(ldd "$BINARY" | grep -o '/[^ ]*' || true); do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  printf 'root:x:0:0:root:/:/none\ntidegate:x:65532:65532:tidegate:/tmp:/none\n' >"$root/etc/passwd"
  printf 'root:x:0:\ntidegate:x:65532:\n' >"$root/etc/group"
  chmod -R a+rX,u+w "$root"
  chmod 1777 "$root/tmp"
  pack_image tidegate "$root" '"Entrypoint":["/usr/local/bin/tidegate"],"User":"65532:65532","WorkingDir":"/tmp","Env":["PATH=/usr/local/bin:/usr/bin:/bin","SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"]'
  rm -rf "$root"
}
