//! Live weights and selectors against Git's: neither undoes a canary in flight, nor sends traffic to one.

use serde_json::{Value, json};

use super::{id, owner};
use crate::sync::merge::{Steering, merge};
use crate::sync::prepare::{Context, prepare};

fn steering() -> Vec<Steering> {
    let rollout = json!({
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"strategy": {"canary": {
            "stableService": "stable", "canaryService": "canary",
            "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}], "grpcRoutes": [{"name": "api"}]}, "managedRoutes": [{"name": "beta"}]},
        }}},
    });
    vec![Steering::of(&rollout).unwrap()]
}

/// Backends `service:weight`, `service` for one without a weight.
fn rule(path: &str, backends: &[&str]) -> Value {
    let backends: Vec<Value> = backends
        .iter()
        .map(|text| match text.split_once(':') {
            Some((name, weight)) => json!({"name": name, "port": 80, "weight": weight.parse::<i64>().unwrap()}),
            None => json!({"name": text, "port": 80}),
        })
        .collect();
    json!({"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": backends})
}

fn named(name: &str, mut rule: Value) -> Value {
    rule["name"] = name.into();
    rule
}

fn route(rules: &[Value]) -> Value {
    json!({"spec": {"rules": rules}})
}

fn merged(git: &[Value], live: Option<&[Value]>) -> Vec<Value> {
    let mut value = route(git);
    let live = live.map(route);
    assert!(merge(&id("gateway.networking.k8s.io/v1 HTTPRoute shop/web"), &mut value, live.as_ref(), &steering()));
    value["spec"]["rules"].as_array().unwrap().clone()
}

/// Protects: invariant 1 across a sync. Every row: Git's rules, the live ones, what is applied.
#[test]
fn weights_of_a_route() {
    let both = |path: &str, stable: i64, canary: i64| rule(path, &[&format!("stable:{stable}"), &format!("canary:{canary}")]);
    for (what, git, live, wanted) in [
        ("Git's 0 does not undo a canary", vec![both("/", 100, 0)], vec![both("/", 90, 10)], vec![both("/", 90, 10)]),
        ("a stale weight sends no traffic", vec![both("/", 50, 50)], vec![both("/", 100, 0)], vec![both("/", 100, 0)]),
        (
            "order of the backends",
            vec![rule("/", &["canary:50", "stable:50"])],
            vec![both("/", 90, 10)],
            vec![rule("/", &["canary:10", "stable:90"])],
        ),
        (
            "other backends are Git's",
            vec![rule("/", &["stable:1", "canary:1", "legacy:7"])],
            vec![rule("/", &["stable:90", "canary:10", "legacy:3"])],
            vec![rule("/", &["stable:90", "canary:10", "legacy:7"])],
        ),
        ("weights that Git leaves out", vec![rule("/", &["stable", "canary"])], vec![both("/", 90, 10)], vec![both("/", 90, 10)]),
        (
            "a new rule before: found by matches",
            vec![both("/new", 5, 5), both("/", 5, 5)],
            vec![both("/", 90, 10)],
            vec![both("/new", 5, 0), both("/", 90, 10)],
        ),
        (
            "a new rule after",
            vec![both("/", 5, 5), both("/new", 5, 5)],
            vec![both("/", 90, 10)],
            vec![both("/", 90, 10), both("/new", 5, 0)],
        ),
        (
            "rules that changed places",
            vec![both("/b", 1, 1), both("/a", 1, 1)],
            vec![both("/a", 90, 10), both("/b", 80, 20)],
            vec![both("/b", 80, 20), both("/a", 90, 10)],
        ),
        ("other matches in the same place", vec![both("/v2", 1, 1)], vec![both("/v1", 90, 10)], vec![both("/v2", 90, 10)]),
        (
            "by name, wherever it moved",
            vec![named("x", both("/z", 1, 1)), both("/", 1, 1)],
            vec![both("/", 80, 20), named("x", both("/", 90, 10))],
            vec![named("x", both("/z", 90, 10)), both("/", 80, 20)],
        ),
        (
            "a rule that got a name",
            vec![named("x", both("/", 1, 1))],
            vec![both("/", 90, 10)],
            vec![named("x", both("/", 90, 10))],
        ),
        ("a canary that joins a live rule", vec![both("/", 1, 1)], vec![rule("/", &["stable:7"])], vec![both("/", 1, 0)]),
        ("a stable that joins a live rule", vec![both("/", 1, 1)], vec![rule("/", &["canary:10"])], vec![both("/", 1, 0)]),
        ("stable is never 0 where the canary is", vec![both("/", 0, 100)], vec![], vec![both("/", 100, 0)]),
        (
            "a rule with one of the two is Git's",
            vec![rule("/preview", &["canary:1"])],
            vec![both("/", 90, 10)],
            vec![rule("/preview", &["canary:1"])],
        ),
        (
            "the same Service twice",
            vec![rule("/", &["stable:1", "canary:1", "canary:1"])],
            vec![rule("/", &["stable:80", "canary:10", "canary:10"])],
            vec![rule("/", &["stable:80", "canary:10", "canary:10"])],
        ),
        (
            "one more of the same Service",
            vec![rule("/", &["stable:1", "canary:1", "canary:1"])],
            vec![both("/", 90, 10)],
            vec![rule("/", &["stable:1", "canary:0", "canary:0"])],
        ),
    ] {
        assert_eq!(merged(&git, Some(&live)), wanted, "{what}");
    }
    assert_eq!(merged(&[both("/", 20, 80)], None), [both("/", 20, 0)], "a new route");
}

/// Protects: defaults that the API server fills in do not make a rule another one.
#[test]
fn defaults_do_not_hide_a_rule() {
    let mut git = vec![rule("/new", &["stable:1", "canary:1"]), json!({"backendRefs": [{"name": "stable"}, {"name": "canary"}]})];
    git[0]["matches"][0] = json!({"headers": [{"name": "a", "value": "b"}]});
    let mut live = vec![rule("/", &["stable:90", "canary:10"]), rule("/", &["stable:80", "canary:20"])];
    live[1]["matches"][0]["headers"] = json!([{"name": "a", "value": "b", "type": "Exact"}]);
    let weights: Vec<Value> = merged(&git, Some(&live)).iter().map(|r| r["backendRefs"][1]["weight"].clone()).collect();
    assert_eq!(weights, [json!(20), json!(10)]);
}

/// Protects: what no Rollout of this namespace names stays Git's.
#[test]
fn not_steered() {
    let git = route(&[rule("/", &["stable:50", "canary:50"])]);
    let live = route(&[rule("/", &["stable:90", "canary:10"])]);
    for other in [
        "gateway.networking.k8s.io/v1 HTTPRoute shop/other",
        "gateway.networking.k8s.io/v1 HTTPRoute prod/web",
        "v1 Service prod/stable",
        "v1 Service shop/other",
        "acme.dev/v1 HTTPRoute shop/web",
    ] {
        let mut value = git.clone();
        assert!(!merge(&id(other), &mut value, Some(&live), &steering()), "{other}");
        assert_eq!(value, git, "{other}");
    }
    // A Service of the same name in another namespace, and another kind of backend, are other backends.
    let mut foreign = route(&[rule("/", &["stable:50", "canary:50", "canary:50"])]);
    foreign["spec"]["rules"][0]["backendRefs"][1]["namespace"] = "prod".into();
    foreign["spec"]["rules"][0]["backendRefs"][2]["kind"] = "Bucket".into();
    let before = foreign.clone();
    assert!(merge(&id("gateway.networking.k8s.io/v1 HTTPRoute shop/web"), &mut foreign, Some(&live), &steering()));
    assert_eq!(foreign, before);
}

/// Protects: a Service keeps the revision that its Rollout selected, and never one from Git.
#[test]
fn selector_of_a_service() {
    let service = |selector: Value| json!({"spec": {"selector": selector, "ports": [{"port": 80}]}});
    let hash = "tidegate.dev/pod-template-hash";
    for (git, live, wanted) in [
        (json!({"app": "web"}), Some(json!({"app": "old", hash: "abc"})), json!({"app": "web", hash: "abc"})),
        (json!({"app": "web", hash: "zzz"}), Some(json!({"app": "web", hash: "abc"})), json!({"app": "web", hash: "abc"})),
        (json!({"app": "web", hash: "zzz"}), Some(json!({"app": "web"})), json!({"app": "web"})),
        (json!({"app": "web", hash: "zzz"}), None, json!({"app": "web"})),
    ] {
        for name in ["stable", "canary"] {
            let mut value = service(git.clone());
            assert!(merge(&id(&format!("v1 Service shop/{name}")), &mut value, live.clone().map(service).as_ref(), &steering()));
            assert_eq!(value, service(wanted.clone()));
        }
    }
}

/// Protects: what was merged is tied to the version it was merged from; everything else only to the object's uid.
#[test]
fn tied_to_the_live_object() {
    let context = Context { owner: &owner(), rollouts: &steering(), commit: "c", retry: None };
    let live = json!({"metadata": {"uid": "u1", "resourceVersion": "42"}, "spec": {}});
    let tie = |what: &str, live: Option<&Value>| {
        let prepared = prepare(&id(what), &json!({"metadata": {"name": "x"}, "spec": {}}), live, context);
        (
            prepared.value["metadata"].get("uid").cloned(),
            prepared.value["metadata"].get("resourceVersion").cloned(),
            prepared.steered,
        )
    };
    assert_eq!(tie("v1 Service shop/stable", Some(&live)), (Some(json!("u1")), Some(json!("42")), true));
    assert_eq!(tie("v1 Service shop/other", Some(&live)), (Some(json!("u1")), None, false));
    assert_eq!(tie("v1 Service shop/stable", None), (None, None, true));
}

/// Protects: requests that go to the canary by their headers, from a sync in the middle; and other rules from standing in
/// for the wrong one because such a rule is in front. What Git says under such a name counts for nothing.
#[test]
fn rules_of_steps_stay() {
    let beta = named("beta", rule("/", &["canary:1"]));
    let git =
        [named("beta-2", rule("/", &["stable:1"])), rule("/a", &["stable", "canary"]), rule("/new", &["stable:100", "canary:0"])];
    let live = [beta.clone(), rule("/a", &["stable:80", "canary:20"])];
    for kind in ["HTTPRoute shop/web", "GRPCRoute shop/api"] {
        let (mut value, live) = (route(&git), route(&live));
        assert!(merge(&id(&format!("gateway.networking.k8s.io/v1 {kind}")), &mut value, Some(&live), &steering()));
        let wanted = [beta.clone(), rule("/a", &["stable:80", "canary:20"]), rule("/new", &["stable:100", "canary:0"])];
        assert_eq!(value, route(&wanted), "{kind}");
    }
    let mut after = route(&git[1..]);
    let settled = route(&[rule("/a", &["stable:100", "canary:0"])]);
    assert!(merge(&id("gateway.networking.k8s.io/v1 HTTPRoute shop/web"), &mut after, Some(&settled), &steering()));
    assert_eq!(after, route(&[rule("/a", &["stable:100", "canary:0"]), rule("/new", &["stable:100", "canary:0"])]));
}
