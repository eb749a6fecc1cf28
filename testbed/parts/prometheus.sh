# shellcheck shell=bash
start_prometheus() {
  put "$TB/conf/prometheus.yaml" <<K
# Every second: a canary's first minute is what the tests are about.
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
scrape_configs:
  - job_name: traefik
    static_configs: [{targets: ["127.0.0.1:$(port traefik-metrics traefik)"]}]
K
  run prometheus "$(command -v prometheus)" --config.file "$TB/conf/prometheus.yaml" --storage.tsdb.path "$TB/prometheus" --storage.tsdb.retention.time 6h \
    --web.listen-address "0.0.0.0:$(port prometheus)" --log.level warn
}

ready_prometheus() { curl -sf -m 2 --noproxy '*' "http://127.0.0.1:$(port prometheus)/-/ready"; }
