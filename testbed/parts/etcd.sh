# shellcheck shell=bash
start_etcd() {
  local client
  client=http://127.0.0.1:$(port etcd)
  # Without fsync: a test's data need not survive a power cut, and disks of CI machines are slow.
  run etcd "$ETCD" --data-dir "$TB/etcd" --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls http://127.0.0.1:0 --unsafe-no-fsync --log-level warn
}

ready_etcd() { curl -sf -m 2 --noproxy '*' "http://127.0.0.1:$(port etcd)/readyz"; }
