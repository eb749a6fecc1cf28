//! Rollouts of every shape that the schema lets through: for the header of a script, or a change in its middle.

use proptest::prelude::*;
use serde_json::{Value, json};

/// A Rollout has at most so many steps.
pub const MOST_STEPS: usize = 6;

/// A step, before it is known what all the traffic weighs.
#[derive(Clone, Debug)]
enum Step {
    /// Thousandths of the traffic.
    Weight(i32),
    Replicas(i32),
    /// Thousandths of the replicas.
    Scale(i32),
    MatchWeight,
    Pause(Option<u32>),
    Condition,
    Slo,
    Header(&'static str, bool),
    Mirror(&'static str, bool),
}

impl Step {
    fn value(&self, whole: i32) -> Value {
        match self {
            Self::Weight(part) => json!({"setWeight": part * whole / 1000}),
            Self::Replicas(pods) => json!({"setCanaryScale": {"replicas": pods}}),
            Self::Scale(part) => json!({"setCanaryScale": {"weight": part * whole / 1000}}),
            Self::MatchWeight => json!({"setCanaryScale": {"matchTrafficWeight": true}}),
            Self::Pause(None) => json!({"pause": {}}),
            Self::Pause(Some(seconds)) => json!({"pause": {"duration": format!("{seconds}s")}}),
            Self::Condition => json!({"analysis": {"templates": [{"templateName": "success-rate"}]}}),
            Self::Slo => {
                json!({"analysis": {"templates": [{"templateName": "availability"}], "atMost": "40s", "onInconclusive": "Continue"}})
            }
            Self::Header(name, true) => {
                json!({"setHeaderRoute": {"name": name, "match": [{"headerName": "x", "headerValue": {"exact": name}}]}})
            }
            Self::Header(name, false) => json!({"setHeaderRoute": {"name": name}}),
            Self::Mirror(name, true) => {
                json!({"setMirrorRoute": {"name": name, "percentage": 50, "match": [{"path": {"prefix": "/"}}]}})
            }
            Self::Mirror(name, false) => json!({"setMirrorRoute": {"name": name}}),
        }
    }

    /// Does it need a router?
    const fn needs_router(&self) -> bool {
        matches!(self, Self::Replicas(_) | Self::Scale(_) | Self::MatchWeight | Self::Header(..) | Self::Mirror(..))
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop_oneof![Just(0), Just(1), Just(1000), 1_i32..1000].prop_map(Step::Weight),
        1 => (0_i32..6).prop_map(Step::Replicas),
        1 => (0_i32..=1000).prop_map(Step::Scale),
        1 => Just(Step::MatchWeight),
        4 => (0_u32..20).prop_map(|seconds| Step::Pause(Some(seconds))),
        1 => Just(Step::Pause(None)),
        1 => Just(Step::Condition),
        1 => Just(Step::Slo),
        2 => (prop::sample::select(vec!["a", "b"]), any::<bool>()).prop_map(|(name, on)| Step::Header(name, on)),
        1 => (prop::sample::select(vec!["a", "b"]), any::<bool>()).prop_map(|(name, on)| Step::Mirror(name, on)),
    ]
}

/// What all the traffic weighs, and what splits it, as a patch of the canary strategy.
fn routing() -> impl Strategy<Value = (i32, Value)> {
    let bound =
        || prop_oneof![(0_i32..4).prop_map(|pods| json!(pods)), (0_i32..101).prop_map(|share| json!(format!("{share}%")))];
    let is_zero = |bound: &Value| *bound == json!(0) || *bound == json!("0%");
    let none = (bound(), bound(), any::<bool>()).prop_map(move |(surge, unavailable, services)| {
        let unavailable = if is_zero(&surge) && is_zero(&unavailable) { json!(1) } else { unavailable };
        let service = |name: &str| if services { json!(name) } else { Value::Null };
        // A change of a running Rollout takes away what needs a router.
        let canary = json!({"trafficRouting": null, "maxSurge": surge, "maxUnavailable": unavailable,
            "stableService": service("web-stable"), "canaryService": service("web-canary"), "scaleDownDelaySeconds": null,
            "abortScaleDownDelaySeconds": null, "dynamicStableScale": false, "minPodsPerReplicaSet": null,
            "scaleDownDelayRevisionLimit": null});
        (100, canary)
    });
    let whole = prop_oneof![4 => Just(None), 1 => Just(Some(1)), 1 => Just(Some(7)), 2 => Just(Some(1000))];
    let seconds = || prop_oneof![Just(None), (0_u32..40).prop_map(|seconds| Some(format!("{seconds}s")))];
    let sizes =
        (any::<bool>(), prop_oneof![Just(None), (1_i32..4).prop_map(Some)], prop_oneof![Just(None), (0_i32..3).prop_map(Some)]);
    let some = (whole, 1_usize..3, seconds(), seconds(), sizes).prop_map(
        |(whole, routes, delay, abort_delay, (dynamic, min_pods, limit))| {
            let grpc = if routes > 1 { json!([{"name": "api"}]) } else { Value::Null };
            let canary = json!({
                "stableService": "web-stable", "canaryService": "web-canary", "maxSurge": null, "maxUnavailable": null,
                "trafficRouting": {"maxTrafficWeight": whole, "managedRoutes": [{"name": "a"}, {"name": "b"}],
                    "gatewayAPI": {"httpRoutes": [{"name": "web"}], "grpcRoutes": grpc}},
                "scaleDownDelaySeconds": delay, "abortScaleDownDelaySeconds": abort_delay, "dynamicStableScale": dynamic,
                "minPodsPerReplicaSet": min_pods, "scaleDownDelayRevisionLimit": limit,
            });
            (whole.unwrap_or(100), canary)
        },
    );
    prop_oneof![1 => none, 3 => some]
}

/// Analysis in the background, and what pods wear.
fn extras() -> impl Strategy<Value = Value> {
    let templates = prop_oneof![
        Just(Value::Null),
        Just(json!([{"templateName": "success-rate"}])),
        Just(json!([{"templateName": "availability"}])),
        Just(json!([{"templateName": "success-rate"}, {"templateName": "availability"}])),
    ];
    let metadata =
        || prop_oneof![2 => Just(Value::Null), 1 => Just(json!({"labels": {"role": "some"}, "annotations": {"a": "b"}}))];
    let affinity =
        prop_oneof![3 => Just(Value::Null), 1 => Just(json!({"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 1}}))];
    let failure = prop_oneof![3 => Just(Value::Null), 1 => Just(json!("Pause"))];
    (templates, 0_i32..4, metadata(), metadata(), affinity, failure).prop_map(
        |(templates, starting_step, canary, stable, affinity, failure)| {
            let analysis = if templates.is_null() { Value::Null } else { json!({"templates": templates, "startingStep": starting_step}) };
            json!({"analysis": analysis, "canaryMetadata": canary, "stableMetadata": stable, "antiAffinity": affinity, "onFailure": failure})
        },
    )
}

/// A merge patch that makes another Rollout of the stories' one.
pub fn patch() -> impl Strategy<Value = Value> {
    let life = (0_i32..12, 0_i32..8, prop_oneof![Just(None), (20_u32..600).prop_map(Some)], any::<bool>(), any::<bool>());
    (life, routing(), extras(), prop::collection::vec(step(), 0..=MOST_STEPS)).prop_map(
        |((replicas, min_ready, deadline, deadline_aborts, window), (whole, routing), extras, steps)| {
            let routed = !routing["trafficRouting"].is_null();
            let steps = steps.iter().filter(|step| routed || !step.needs_router());
            let mut canary = json!({"steps": steps.map(|step| step.value(whole)).collect::<Vec<_>>()});
            // By key, not merged: what is null takes away what was there.
            for part in [&routing, &extras] {
                part.as_object().into_iter().flatten().for_each(|(key, value)| canary[key] = value.clone());
            }
            json!({"spec": {
                "replicas": replicas, "minReadySeconds": min_ready, "progressDeadlineSeconds": deadline,
                "progressDeadlineAbort": deadline_aborts,
                "rollbackWindow": if window { json!({"revisions": 2}) } else { Value::Null },
                "strategy": {"canary": canary},
            }})
        },
    )
}
