//! What earlier versions left behind: templates with the hashes they got, and Rollouts in the middle of something. Every
//! version goes on from there as if it had been there all the time: no new ReplicaSet, no step back, no second run.
//!
//! Fixtures are written once, by the version that first can, and never again: `WRITE_FIXTURES=1` adds those of scenes that
//! have none. One that has to be changed is an upgrade that breaks somebody's release.

use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::{Value, json};
use tidegate::api::rollout::Rollout;
use tidegate::manifest::digest::{template_digest, template_hash};
use tidegate::simulate::cluster::Cluster;

use crate::world;

fn folder() -> &'static Path {
    Path::new("tests/scripts/upgrade")
}

/// The fixture of a scene; made by `first` when there is none and it is asked for.
fn fixture(name: &str, first: impl FnOnce() -> Value) -> Value {
    let path: PathBuf = folder().join(format!("{name}.json"));
    if !path.exists() && std::env::var_os("WRITE_FIXTURES").is_some() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(&path, serde_json::to_string_pretty(&first()).unwrap() + "\n").unwrap();
    }
    let text = fs::read_to_string(&path).expect("a fixture: see the top of this file");
    serde_json::from_str(&text).unwrap()
}

/// Templates as people write them, with what a digest must not be confused by.
fn templates() -> Vec<Value> {
    let pod = |spec: Value| json!({"metadata": {"labels": {"app": "web"}}, "spec": spec});
    vec![
        pod(json!({"containers": [{"name": "web", "image": "shop:1"}]})),
        pod(json!({"containers": [{"name": "web", "image": "shop:1", "resources": {}, "env": null}]})),
        pod(
            json!({"containers": [{"name": "web", "image": "shop:1", "resources": {"limits": {"cpu": "0.5", "memory": "1Gi"}}}]}),
        ),
        pod(
            json!({"containers": [{"name": "web", "image": "shop:1", "args": [], "command": ["sh", "-c", "echo \"ü\n\u{1F980}\\\""]}]}),
        ),
        pod(json!({"terminationGracePeriodSeconds": 30, "priority": -1, "x": 1.5, "y": 1e21, "z": 9_007_199_254_740_993_i64})),
        pod(json!({"containers": [{"name": "b"}, {"name": "a"}], "hostNetwork": false, "nodeSelector": {"b": "1", "a": "2"}})),
        json!({}),
    ]
}

/// Protects: every ReplicaSet there is. Another hash for the same template would be a new revision of every Rollout.
#[test]
fn templates_keep_their_hashes() {
    let hashed = |template: &Value| {
        let digest = template_digest(template);
        json!({"template": template, "hash": template_hash(&digest), "digest": digest})
    };
    let known = fixture("templates", || templates().iter().map(hashed).collect());
    let known = known.as_array().unwrap();
    assert!(known.len() >= templates().len());
    for one in known {
        assert_eq!(hashed(&one["template"]), *one);
    }
}

const ROUTED: &str = "";
const NO_ROUTER: &str = r#"#! {"spec": {"replicas": 10, "strategy": {"canary": {"stableService": null, "canaryService": null, "trafficRouting": null}}}}"#;
const EVERY_STEP: &str = r#"#! {"spec": {"strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}], "grpcRoutes": [{"name": "api"}]}, "managedRoutes": [{"name": "staff"}]}, "canaryMetadata": {"labels": {"role": "canary"}}, "dynamicStableScale": true, "analysis": {"templates": [{"templateName": "success-rate"}], "dryRun": [{"metricName": "nothing|success-rate"}], "startingStep": 1}, "steps": [{"setCanaryScale": {"replicas": 2}}, {"setHeaderRoute": {"name": "staff", "match": [{"headerName": "x-staff", "headerValue": {"prefix": "yes"}}]}}, {"setWeight": 30}, {"analysis": {"templates": [{"templateName": "success-rate"}], "args": [{"name": "a", "value": "b"}]}}, {"pause": {}}]}}}}"#;
const SLO: &str = r#"#! {"spec": {"strategy": {"canary": {"analysis": {"templates": [{"templateName": "availability"}], "confidence": "99.9%"}, "steps": [{"setWeight": 20}, {"analysis": {"templates": [{"templateName": "availability"}], "atMost": "5m", "onInconclusive": "Continue"}}, {"setWeight": 60}, {"pause": {"duration": "30s"}}]}}}}"#;

/// Where a Rollout is, as far as an upgrade must not change it.
fn place(cluster: &Cluster) -> Value {
    let status = serde_json::to_value(&cluster.rollout.status).unwrap();
    let fields = ["phase", "currentStepIndex", "stepCount", "attempt", "abort", "promoting", "stable", "canary"];
    fields.into_iter().map(|field| (field.to_owned(), status[field].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// Protects: releases under way. The Rollout is as an earlier version left it, the objects around it as well; this version
/// starts with nothing in memory, stays where it is, and comes to the same end with the same objects.
#[rstest]
#[case::first_deployment("first_deployment", ROUTED, "wait 1s", "wait 60s")]
#[case::paused_at_10("paused_at_10", ROUTED, "measure good\nwait 10s\ndeploy shop:2\nwait 20s", "measure good\nwait 200s")]
#[case::waits_for_the_gateway(
    "waits_for_the_gateway",
    ROUTED,
    "measure good\nwait 10s\ndeploy shop:2\ngateway silent\nwait 20s",
    "gateway 1s\nmeasure good\nwait 200s"
)]
#[case::promoting("promoting", ROUTED, "measure good\nwait 10s\nendpoints 10s\ndeploy shop:2\nwait 85s", "wait 60s")]
#[case::aborted("aborted", ROUTED, "measure good\nwait 10s\ndeploy shop:2\nwait 60s\nverdict failed bad\nwait 3s", "wait 90s")]
#[case::superseded(
    "superseded",
    ROUTED,
    "measure good\nwait 10s\ndeploy shop:2\nwait 20s\ngateway silent\ndeploy shop:3\nwait 3s",
    "gateway 1s\nmeasure good\nwait 200s"
)]
#[case::by_pods("by_pods", NO_ROUTER, "measure good\nwait 10s\ndeploy shop:2\nwait 60s", "measure good\nwait 300s")]
#[case::every_step(
    "every_step",
    EVERY_STEP,
    "measure good\nwait 10s\ndeploy shop:2\nwait 40s\nverdict of step 3 successful\nwait 10s",
    "measure good\nwait 60s"
)]
#[case::evidence(
    "evidence",
    SLO,
    "measure good\nwait 10s\ndeploy shop:2\nwait 30s",
    "measure good\nwait 30s\nverdict of step 1 successful\nwait 120s"
)]
fn goes_on(#[case] name: &str, #[case] header: &str, #[case] until: &str, #[case] then: &str) {
    let before = world::cluster(&format!("{header}\n{until}"));
    let made = || {
        let end = world::continued(before.clone(), then);
        json!({"rollout": before.rollout, "place": place(&before), "end": place(&end)})
    };
    let fixture = fixture(name, made);
    let mut cluster = before.clone();
    let left: Rollout = serde_json::from_value(fixture["rollout"].clone()).unwrap();
    assert_eq!(left.spec, cluster.rollout.spec, "the scene is another one");
    cluster.rollout.status = left.status;
    let moment = world::continued(cluster.clone(), "wait 1s");
    let stays = ["currentStepIndex", "attempt", "canary", "abort"];
    let of = |place: &Value| stays.map(|field| place[field].clone());
    assert_eq!(of(&place(&moment)), of(&fixture["place"]), "it stays where it is");
    let end = world::continued(cluster, then);
    assert_eq!(forget(place(&end)), forget(fixture["end"].clone()));
    assert_eq!(end.counts.sets_created, before.counts.sets_created, "no ReplicaSet is new");
    assert!(end.counts.runs_created.values().all(|count| *count == 1), "{:?}", end.counts.runs_created);
}

/// When something happened is not what an end is about.
fn forget(mut place: Value) -> Value {
    for revision in ["stable", "canary", "promoting"] {
        if let Some(fields) = place[revision].as_object_mut() {
            fields.retain(|key, _| !key.ends_with("At") && key != "at");
        }
    }
    place
}
