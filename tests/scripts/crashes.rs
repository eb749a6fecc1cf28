//! Crash enumeration: over each golden run the controller dies before every effect and after every effect, applied and
//! unanswered, and starts with nothing in memory. The end is the same, and nothing was created or deleted once more.
//!
//! Dying before an effect is dying after the one before it, but for the first: nothing in the model remembers an answer. So
//! each death is played once.

use rstest::rstest;
use serde_json::Value;
use tidegate::simulate::cluster::{Cluster, Counts};

use crate::world;

/// Where a run ends, without its times.
#[derive(Debug, PartialEq)]
struct End {
    /// The record.
    status: Value,
    /// Sizes and readiness by revision.
    sets: Vec<String>,
    /// The selectors of the Services.
    selectors: Vec<Option<String>>,
    /// The specs of the routes.
    routes: Vec<Value>,
    /// Runs and their phases.
    runs: Vec<String>,
    /// What was created and deleted, in all lives.
    counts: Counts,
}

impl End {
    fn of(cluster: &Cluster) -> Self {
        let seen = cluster.observe();
        let set = |set: &tidegate::rollout::observed::ReplicaSet| {
            format!("{} revision {}: {} wanted, {} ready", set.name, set.revision, set.wanted, set.ready)
        };
        let mut status = serde_json::to_value(&cluster.rollout.status).unwrap();
        forget_times(&mut status);
        // A weight that somebody else set is lowered before it is noted who that was; the note may be lost, and nothing else.
        status.as_object_mut().unwrap().remove("contests");
        Self {
            status,
            sets: seen.replica_sets.iter().map(set).collect(),
            selectors: [seen.stable_service, seen.canary_service].map(|service| service.and_then(|found| found.hash)).to_vec(),
            routes: seen.routes.into_iter().map(|(_, route)| route.unwrap_or_default()["spec"].clone()).collect(),
            runs: cluster.runs(),
            counts: cluster.counts.clone(),
        }
    }
}

/// Every time becomes the same word: a crash costs seconds, and nothing else.
fn forget_times(value: &mut Value) {
    match value {
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => "a time".clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        Value::Object(fields) => fields.values_mut().for_each(forget_times),
        _ => {}
    }
}

const NO_ROUTER: &str = r#"#! {"spec": {"replicas": 10, "strategy": {"canary": {"stableService": null, "canaryService": null, "trafficRouting": null}}}}"#;
const BY_HAND: &str = r#"#! {"spec": {"strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}}}"#;
const DYNAMIC: &str = r#"#! {"spec": {"strategy": {"canary": {"dynamicStableScale": true}}}}"#;
const STEP_ANALYSIS: &str = r#"#! {"spec": {"strategy": {"canary": {"analysis": null, "steps": [{"setWeight": 20}, {"analysis": {"templates": [{"templateName": "success-rate"}]}}]}}}}"#;
const HEADERS: &str = r#"#! {"spec": {"strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}], "grpcRoutes": [{"name": "api"}]}, "managedRoutes": [{"name": "staff"}]}, "steps": [{"setHeaderRoute": {"name": "staff", "match": [{"headerName": "x-staff", "headerValue": {"exact": "yes"}}]}}, {"pause": {"duration": "20s"}}, {"setWeight": 50}, {"pause": {"duration": "20s"}}]}}}}"#;
const CANARY_SCALE: &str = r#"#! {"spec": {"strategy": {"canary": {"steps": [{"setCanaryScale": {"replicas": 3}}, {"setWeight": 10}, {"pause": {"duration": "20s"}}]}}}}"#;
const SLO: &str = r#"#! {"spec": {"strategy": {"canary": {"analysis": {"templates": [{"templateName": "availability"}]}}}}}"#;
const SLO_STEP: &str = r#"#! {"spec": {"strategy": {"canary": {"analysis": null, "steps": [{"setWeight": 20}, {"analysis": {"templates": [{"templateName": "availability"}], "atMost": "5m"}}]}}}}"#;
const ROLES: &str = r#"#! {"spec": {"strategy": {"canary": {"canaryMetadata": {"labels": {"role": "canary"}}, "stableMetadata": {"labels": {"role": "stable"}}}}}}"#;

/// Protects: the same end, with the same numbers of creates and deletes, wherever the controller dies. Each run names
/// at least how many effects it has, so that one that does nothing is noticed.
#[rstest]
#[case::promote("", 15, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 180s")]
#[case::promote_by_hand(BY_HAND, 12, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 40s\npromote\nwait 90s")]
#[case::promote_in_full("", 12, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 25s\npromote full\nwait 90s")]
#[case::promote_with_stable_that_shrinks(DYNAMIC, 15, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 180s")]
#[case::promote_by_pods(NO_ROUTER, 15, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 240s")]
#[case::promote_after_a_step_analysis(STEP_ANALYSIS, 12, "wait 10s\ndeploy shop:2\nwait 40s\nverdict successful ok\nwait 90s")]
#[case::promote_with_header_routes(HEADERS, 15, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 180s")]
#[case::promote_with_roles(ROLES, 15, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 180s")]
#[case::promote_with_evidence(SLO, 15, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 180s")]
#[case::promote_on_evidence(
    SLO_STEP,
    12,
    "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 40s\nverdict of step 1 successful\nwait 90s"
)]
#[case::abort_on_evidence(SLO, 12, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 60s\nverdict failed worse\nwait 90s")]
#[case::abort_on_a_verdict(
    "",
    12,
    "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 60s\nverdict failed 31 of 412 requests failed\nwait 90s"
)]
#[case::abort_by_a_person("", 12, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 25s\nabort\nwait 90s")]
#[case::abort_with_stable_that_shrank(
    DYNAMIC,
    12,
    "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 60s\nverdict failed bad\nwait 90s"
)]
#[case::abort_with_header_routes(HEADERS, 12, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 20s\nabort\nwait 90s")]
#[case::abort_by_pods(NO_ROUTER, 12, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 70s\nverdict failed bad\nwait 90s")]
#[case::supersede("", 15, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 25s\ndeploy shop:3\nwait 200s")]
#[case::back_to_stable("", 12, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 25s\ndeploy shop:1\nwait 90s")]
#[case::undo_in_flight("", 12, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 25s\nundo\nwait 90s")]
#[case::retry(
    "",
    15,
    "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 25s\nabort\nwait 60s\nmeasure good each 5s\nretry\nwait 200s"
)]
#[case::scale_in_flight(
    "",
    15,
    "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 25s\nreplicas 8\nwait 20s\nreplicas 2\nwait 180s"
)]
#[case::canary_scale(CANARY_SCALE, 12, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 150s")]
#[case::restart("", 6, "wait 10s\nrestart pods\nwait 90s")]
#[case::weight_by_hand("", 15, "measure good each 5s\nwait 10s\ndeploy shop:2\nwait 25s\nweight 70\nwait 180s")]
fn wherever_it_dies(#[case] header: &str, #[case] at_least: u64, #[case] story: &str) {
    let (wanted, effects) = world::played(&format!("{header}\n{story}"), End::of);
    assert!(effects >= at_least, "{effects} effects");
    let deaths =
        std::iter::once("before effect 1".to_owned()).chain((1..=effects).map(|effect| format!("after effect {effect}")));
    let mut wrong = Vec::new();
    for death in deaths {
        let script = format!("{header}\ncrash {death}\n{story}");
        let (found, _) = world::played(&script, End::of);
        if found != wanted {
            wrong.push(format!("--- {script}\nwanted {wanted:#?}\nfound {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} end otherwise, the first:\n{}", wrong.len(), effects + 1, wrong[0]);
}
