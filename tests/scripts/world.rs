//! The Rollout of all stories, and a run of a script.

use serde_json::json;
use tidegate::api::rollout::{Rollout, RolloutStatus};
use tidegate::rollout::observed::Observed;
use tidegate::rollout::spec::ValidatedRollout;
use tidegate::simulate::cluster::Cluster;
use tidegate::simulate::script::Script;

/// Four pods, 10 % and 50 % with pauses, background analysis. A script may begin with `#! {json merge patch}`.
fn rollout(header: &str) -> Rollout {
    let mut value = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": 4, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "shop:1"}]}},
            "strategy": {"canary": {
                "stableService": "web-stable", "canaryService": "web-canary",
                "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}},
                "analysis": {"templates": [{"templateName": "success-rate"}]},
                "steps": [{"setWeight": 10}, {"pause": {"duration": "30s"}}, {"setWeight": 50}, {"pause": {"duration": "30s"}}]}}}
    });
    if let Some(patch) = header.strip_prefix("#! ") {
        json_patch::merge(&mut value, &serde_json::from_str(patch).expect("the header is JSON"));
    }
    serde_json::from_value(value).expect("the stories' Rollout is valid")
}

/// What came of a script.
pub struct Day {
    /// What happened, in words.
    pub out: String,
    /// The line that could not be run, or an engine that did not come to rest.
    pub error: Option<String>,
    /// Broken invariants.
    pub violations: Vec<String>,
    /// The status at the end.
    pub status: RolloutStatus,
}

fn script(text: &str) -> Script {
    let mut cluster = Cluster::new(rollout(text.lines().next().unwrap_or("")), "2026-01-01T00:00:00Z".parse().unwrap());
    let metrics = |metrics: serde_json::Value| serde_json::from_value(metrics).unwrap();
    let success_rate = json!([{"name": "success-rate", "interval": "5s", "failureLimit": 1,
        "successCondition": "result[0] >= 0.99", "provider": {"prometheus": {"address": "http://p", "query": "q"}}}]);
    let availability = json!([{"name": "availability", "interval": "5s", "provider": {"prometheus": {"address": "http://p"}},
        "slo": {"errors": "errors{service=\"web-canary\"}", "total": "total{service=\"web-canary\"}", "budget": "1%",
            "stable": {"part": "errors{service=\"web-stable\"}", "total": "total{service=\"web-stable\"}"}}}]);
    cluster.templates =
        [("success-rate", success_rate), ("availability", availability)].map(|(name, of)| (name.to_owned(), metrics(of))).into();
    Script::new(cluster)
}

/// Runs a script from the first moment on.
pub fn run(text: &str) -> Day {
    let mut script = script(text);
    let (out, error) = match script.run(text) {
        Ok(out) => (out, None),
        Err(error) => (script.output().to_owned(), Some(error.to_string())),
    };
    Day {
        out,
        error,
        violations: script.violations.iter().map(ToString::to_string).collect(),
        status: script.cluster().rollout.status.clone().unwrap_or_default(),
    }
}

/// The state that a script leads to.
pub fn seen(text: &str) -> (ValidatedRollout, Observed) {
    let mut script = script(text);
    script.run(text).unwrap();
    (script.cluster().validated().unwrap(), script.cluster().observe())
}

/// What a script leads to, and how many effects it took. No invariant may break on the way.
pub fn played<T>(text: &str, end: fn(&Cluster) -> T) -> (T, u64) {
    let mut script = script(text);
    script.run(text).unwrap();
    assert!(script.violations.is_empty(), "{:?}\n{text}", script.violations);
    (end(script.cluster()), script.effects())
}

/// The cluster that a script leads to.
pub fn cluster(text: &str) -> Cluster {
    played(text, Cluster::clone).0
}

/// Another controller goes on with a cluster as it was left.
pub fn continued(cluster: Cluster, text: &str) -> Cluster {
    let mut script = Script::new(cluster);
    script.run(text).unwrap();
    assert!(script.violations.is_empty(), "{:?}\n{text}", script.violations);
    script.cluster().clone()
}
