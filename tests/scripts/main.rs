//! Operators' stories over the real decision, with golden output. `UPDATE_GOLDEN=1` writes the output anew; read the
//! difference before you commit it. After every single effect the invariants are checked: a story that breaks one fails
//! whatever its golden file says.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a story that cannot be read fails")]

use std::fs;
use std::path::Path;

use serde_json::json;
use tidegate::api::rollout::Rollout;
use tidegate::simulate::cluster::Cluster;
use tidegate::simulate::script::Script;

/// The Rollout of all stories: four pods, 10 % and 50 % with pauses, background analysis.
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
    // A story may begin with `#! {json merge patch}` for the Rollout.
    if let Some(patch) = header.strip_prefix("#! ") {
        json_patch::merge(&mut value, &serde_json::from_str(patch).expect("the header is JSON"));
    }
    serde_json::from_value(value).expect("the stories' Rollout is valid")
}

fn run(text: &str) -> (String, Vec<String>) {
    let mut cluster = Cluster::new(rollout(text.lines().next().unwrap_or("")), "2026-01-01T00:00:00Z".parse().unwrap());
    cluster.metrics = vec![
        serde_json::from_value(json!({"name": "success-rate", "interval": "5s", "failureLimit": 1,
        "successCondition": "result[0] >= 0.99", "provider": {"prometheus": {"address": "http://p", "query": "q"}}}))
        .unwrap(),
    ];
    let mut script = Script::new(cluster);
    let out = script.run(text).unwrap_or_else(|error| format!("{error}"));
    (out, script.violations.iter().map(ToString::to_string).collect())
}

/// Protects: the behaviour of the engine as people experience it, effect by effect.
#[test]
fn stories() {
    let folder = Path::new("tests/scripts/stories");
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "story"));
    names.sort();
    assert!(names.len() >= 10, "the stories are gone: {names:?}");
    let mut failed = Vec::new();
    for path in names {
        let (out, violations) = run(&fs::read_to_string(&path).unwrap());
        let golden = path.with_extension("golden");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &out).unwrap();
        }
        let wanted = fs::read_to_string(&golden).unwrap_or_default();
        if out != wanted || !violations.is_empty() {
            failed.push(format!("{}: {violations:?}\n--- wanted\n{wanted}\n--- found\n{out}", path.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
