//! Generated days: whatever people, pods and gateways do, no invariant breaks and the engine comes to rest.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tidegate::api::rollout::RolloutPhase;

use crate::{specs, world};

/// Days in `make test`; `TIDEGATE_ROLLOUTS` asks for more.
const DAYS: u32 = 200;

#[expect(clippy::disallowed_methods, reason = "how long to run is asked for by variable")]
fn days() -> u32 {
    std::env::var("TIDEGATE_ROLLOUTS").ok().and_then(|number| number.parse().ok()).unwrap_or(DAYS)
}

/// One line of a script.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (1_u32..4).prop_map(|image| format!("deploy shop:{image}")),
        8 => (1_u32..45).prop_map(|seconds| format!("wait {seconds}s")),
        3 => Just("measure good".to_owned()),
        1 => Just("measure nothing".to_owned()),
        3 => prop_oneof!["failed", "inconclusive", "successful", "error"].prop_map(|phase| format!("verdict {phase} as generated")),
        2 => Just("abort".to_owned()),
        2 => Just("promote".to_owned()),
        1 => Just("promote full".to_owned()),
        2 => Just("retry".to_owned()),
        2 => (0_u32..101).prop_map(|weight| format!("weight {weight}")),
        1 => (0_u32..4).prop_map(|pods| format!("stable pods {pods}")),
        1 => (0_u32..12).prop_map(|replicas| format!("replicas {replicas}")),
        1 => prop_oneof!["silent", "1s", "4s"].prop_map(|how| format!("gateway {how}")),
        1 => prop_oneof!["0s", "3s", "9s"].prop_map(|how| format!("endpoints {how}")),
        1 => prop_oneof!["1s", "15s", "never shop:2", "never shop:3"].prop_map(|how| format!("pods {how}")),
        1 => prop_oneof!["pause", "resume", "restart", "restart pods", "away 20s"].prop_map(|line| line.to_string()),
        1 => prop_oneof!["outage begins", "outage ends"].prop_map(|line| line.to_string()),
        1 => Just("route web deleted\nwait 3s\nroute created".to_owned()),
        1 => specs::patch().prop_map(|patch| format!("spec {}\nroute created\nservice stable created\nservice canary created", patch["spec"])),
    ]
}

fn script() -> impl Strategy<Value = Vec<String>> {
    let any = specs::patch().prop_map(|patch| Some(format!("#! {patch}")));
    // Some shapes in which a bug hid once are tried more often than chance would.
    let header = |text: Option<&'static str>| Just(text.map(str::to_owned));
    let steps = prop_oneof![
        4 => header(None),
        16 => any,
        1 => header(Some(r#"#! {"spec": {"strategy": {"canary": {"analysis": null, "steps": [{"setWeight": 25}, {"analysis": {"templates": [{"templateName": "success-rate"}]}}]}}}}"#)),
        2 => header(Some(r#"#! {"spec": {"strategy": {"canary": {"analysis": {"templates": [{"templateName": "availability"}, {"templateName": "success-rate"}], "startingStep": 1}, "steps": [{"setWeight": 25}, {"analysis": {"templates": [{"templateName": "availability"}], "atMost": "2m", "onInconclusive": "Continue"}}, {"setWeight": 50}, {"pause": {"duration": "10s"}}]}}}}"#)),
        1 => header(Some(r#"#! {"spec": {"strategy": {"canary": {"steps": [{"setWeight": 100}, {"pause": {"duration": "20s"}}, {"setWeight": 5}]}}}}"#)),
        1 => header(Some(r#"#! {"spec": {"replicas": 1, "strategy": {"canary": {"steps": []}}}}"#)),
        1 => header(Some(r#"#! {"spec": {"replicas": 3, "strategy": {"canary": {"abortScaleDownDelaySeconds": "0s", "scaleDownDelaySeconds": "0s", "steps": [{"pause": {}}, {"setWeight": 1}]}}}}"#)),
        2 => header(Some(r#"#! {"spec": {"replicas": 10, "strategy": {"canary": {"stableService": null, "canaryService": null, "trafficRouting": null}}}}"#)),
        2 => header(Some(r#"#! {"spec": {"strategy": {"canary": {"trafficRouting": null, "maxSurge": 0, "maxUnavailable": "50%", "steps": [{"setWeight": 40}, {"pause": {"duration": "20s"}}, {"setWeight": 100}, {"pause": {"duration": "20s"}}]}}}}"#)),
        1 => header(Some(r#"#! {"spec": {"replicas": 1, "strategy": {"canary": {"trafficRouting": null, "maxSurge": 1, "maxUnavailable": 0}}}}"#)),
        2 => header(Some(r#"#! {"spec": {"strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}], "grpcRoutes": [{"name": "api"}]}, "managedRoutes": [{"name": "a"}, {"name": "b"}]}, "steps": [{"setHeaderRoute": {"name": "a", "match": [{"headerName": "x-a", "headerValue": {"exact": "1"}}]}}, {"pause": {"duration": "5s"}}, {"setWeight": 30}, {"setHeaderRoute": {"name": "b", "match": [{"headerName": "x-b", "headerValue": {"exact": "1"}}]}}, {"pause": {"duration": "20s"}}, {"setHeaderRoute": {"name": "a"}}, {"setWeight": 60}]}}}}"#)),
        2 => header(Some(r#"#! {"spec": {"replicas": 2, "strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}], "grpcRoutes": [{"name": "api"}]}, "managedRoutes": [{"name": "a"}, {"name": "b"}]}, "dynamicStableScale": true, "steps": [{"setWeight": 40}, {"setHeaderRoute": {"name": "b", "match": [{"headerName": "x-b", "headerValue": {"exact": "1"}}]}}, {"setWeight": 0}, {"pause": {"duration": "10s"}}, {"setHeaderRoute": {"name": "b"}}, {"pause": {"duration": "10s"}}, {"setWeight": 100}, {"pause": {}}]}}}}"#)),
    ];
    (steps, prop::collection::vec(line(), 3..25)).prop_map(|(header, lines)| header.into_iter().chain(lines).collect())
}

/// Protects: the invariants and liveness under everything that the model can do, in any order. A failing day is shrunk
/// and printed as a script: put it into `stories/`.
#[test]
fn generated() {
    let config = Config { cases: days(), failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&script(), |lines| {
        // At the end the faults stop: pods start, the gateway answers, the numbers are good.
        let calm = ["gateway 1s", "pods 1s", "endpoints 0s", "replicas 3", "outage ends", "measure good", "wait 200s"]
            .map(str::to_owned);
        // Each analysis step takes a verdict of its own.
        let verdicts = vec!["verdict successful ok\nwait 200s".to_owned(); specs::MOST_STEPS];
        let text = [&lines[..], &calm[..], &verdicts[..]].concat().join("\n");
        let day = world::run(&text);
        prop_assert!(day.error.is_none(), "{:?}\n{}", day.error, day.out);
        prop_assert!(day.violations.is_empty(), "{:?}\n{}", day.violations, day.out);
        let status = day.status;
        let phase = status.phase;
        // At rest: promoted, stopped, or waiting for a person.
        let waits = status.waiting_on.as_ref().map(|waiting| format!("{:?}", waiting.reason));
        let asked = matches!(waits.as_deref(), Some("UserPromotion"));
        let never = text.contains("pods never");
        let at_rest = matches!(phase, Some(RolloutPhase::Healthy | RolloutPhase::Degraded)) || asked || never;
        prop_assert!(at_rest, "{phase:?} waits for {waits:?}\n{}", day.out);
        if !never && matches!(phase, Some(RolloutPhase::Degraded | RolloutPhase::Healthy)) {
            prop_assert_eq!(status.weights.map(|w| (w.canary, w.verified)), Some((0, true)), "{}", day.out);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
