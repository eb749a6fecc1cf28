//! SLOs on a real node: Prometheus scrapes the gateway each second, and the evidence is its raw counters.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::rollout::Failure;

use crate::shop::{Shop, given, story, within};

/// Requests a second, as many as the numbers that are promised speak of.
const RATE: u32 = 100;

/// A Rollout whose steps go through `weight`, watched by an SLO of 1 % in the background.
fn watched(steps: Value) -> Value {
    json!({"spec": {"strategy": {"canary": {"steps": steps, "analysis": {"templates": [{"templateName": "slo"}]}}}}})
}

/// The ready template for Traefik, for this namespace and this Prometheus, which scrapes each second.
async fn slo_template(shop: &Shop) {
    let text = include_str!("../../analysis-templates/traefik.yaml");
    let mut template: Value = serde_saphyr::from_str(text).unwrap();
    template["kind"] = json!("AnalysisTemplate");
    template["metadata"] = json!({"name": "slo", "namespace": shop.namespace});
    for metric in template["spec"]["metrics"].as_array_mut().unwrap() {
        metric["interval"] = json!("1s");
        metric["provider"]["prometheus"]["address"] = json!(given("TIDEGATE_PROMETHEUS_CLUSTER_URL"));
    }
    shop.apply(&template).await;
}

/// Releases version 2, which fails this share of its requests.
async fn release(shop: &Shop, error_rate: &str) {
    let env = "/spec/template/spec/containers/0/env";
    shop.change(json!([
        {"op": "replace", "path": format!("{env}/0/value"), "value": "2"},
        {"op": "add", "path": format!("{env}/-"), "value": {"name": "ERROR_RATE", "value": error_rate}}]))
        .await;
}

#[expect(clippy::print_stderr, reason = "numbers are read by people")]
fn say(numbers: &str) {
    eprintln!("{numbers}");
}

/// Waits until the canary is given up, and says why.
async fn given_up(shop: &Shop) -> Failure {
    let failure = shop.stopping().await.failure.unwrap();
    assert_eq!(failure.metric.as_deref(), Some("availability"), "{failure:?}");
    assert!(failure.evidence.starts_with("availability: canary "), "{failure:?}");
    failure
}

/// A canary that fails this share of its requests is caught within so many seconds, and only its own errors are seen from
/// outside.
async fn caught(name: &str, error_rate: &str, within_seconds: f64) {
    let steps = json!([{"setWeight": 10}, {"pause": {}}]);
    story(name, watched(steps), async |shop: &Shop| {
        slo_template(shop).await;
        let load = shop.load(RATE);
        release(shop, error_rate).await;
        let failure = given_up(shop).await;
        shop.stopped().await;
        shop.settle().await;
        let answers = load.end();
        // Measuring begins with the canary's first weight.
        let took = failure.at.0.duration_since(failure.started_at.unwrap().0).as_secs_f64();
        say(&format!("{error_rate} of errors: {took:.1} s, {} bad answers; {}", answers.bad, failure.evidence));
        assert!(took < within_seconds, "{took} s: {}", failure.evidence);
        let (code, text) = shop.kubectl(&["explain", "web"]);
        assert!(code == 0 && text.contains("rolled back at 100") && text.contains('●'), "{code}: {text}");
        let own = answers.by.iter().filter(|(key, _)| key.starts_with("2/") && *key != "2/200").map(|(_, count)| count);
        assert_eq!(own.sum::<i64>(), answers.bad, "a request was lost by somebody else: {answers:?}");
    })
    .await;
}

/// Protects: users from a canary that fails one of twenty requests.
#[tokio::test]
async fn some_errors() {
    caught("slo-some", "0.05", 60.0).await;
}

/// Protects: users from a canary that fails every request: it has no good answers to be divided by.
#[tokio::test]
async fn only_errors() {
    caught("slo-all", "1", 15.0).await;
}

/// Protects: the bake at all of the traffic, where stable has none left to compare with.
#[tokio::test]
async fn errors_with_all_of_the_traffic() {
    let steps = json!([{"setWeight": 100}, {"pause": {}}]);
    story("slo-bake", watched(steps), async |shop: &Shop| {
        slo_template(shop).await;
        let load = shop.load(RATE);
        shop.release("2").await;
        shop.at_step(1, 100).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        shop.break_pods("2", "0.05").await;
        let begin = tokio::time::Instant::now();
        given_up(shop).await;
        shop.stopped().await;
        let took = begin.elapsed();
        say(&format!("a fault at weight 100: {:.1} s to weight 0, {} bad answers", took.as_secs_f64(), load.end().bad));
        assert!(took < Duration::from_secs(45), "{took:?}");
    })
    .await;
}

/// Protects: good releases. A step goes on as soon as the canary is good beyond doubt, though stable and canary both fail
/// a few requests; nothing is rolled back.
#[tokio::test]
async fn a_good_canary_goes_on_early() {
    let slo = json!({"templates": [{"templateName": "slo"}], "atMost": "80s"});
    let steps = json!([{"setWeight": 20}, {"analysis": slo}, {"setWeight": 60}, {"analysis": slo}]);
    story("slo-good", watched(steps), async |shop: &Shop| {
        slo_template(shop).await;
        let load = shop.load(RATE);
        shop.release("2").await;
        shop.at_step(1, 20).await;
        let begin = tokio::time::Instant::now();
        shop.at_step(3, 60).await;
        let first = begin.elapsed();
        shop.promoted().await;
        say(&format!(
            "a good canary: {:.1} s at 20 %, {:.1} s to the promotion",
            first.as_secs_f64(),
            begin.elapsed().as_secs_f64()
        ));
        load.end().assert_none_lost();
        within("the runs", Duration::from_millis(200), async || {
            let runs = shop.runs().await;
            let names: Vec<&str> = runs.iter().map(|(name, _)| name.as_str()).collect();
            if names == ["web-2-1-slo", "web-2-1-step1", "web-2-1-step3"] { Ok(()) } else { Err(format!("{runs:?}")) }
        })
        .await;
    })
    .await;
}
