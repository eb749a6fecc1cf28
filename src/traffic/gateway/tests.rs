use super::*;

const SERVICES: Services<'static> = Services { stable: "web-stable", canary: "web-canary" };

fn route() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "generation": 3},
        "spec": {
            "parentRefs": [{"name": "gw", "namespace": "infra"}],
            "rules": [
                {"matches": [{"path": {"value": "/"}}], "filters": [{"unknownToUs": true}], "backendRefs": [
                    {"name": "web-stable", "port": 80, "weight": 90},
                    {"name": "other", "port": 80, "weight": 7},
                    {"name": "web-canary", "port": 80, "weight": 10}]},
                {"backendRefs": [{"name": "web-stable", "port": 80}]},
                {"backendRefs": [{"name": "web-canary", "port": 80}, {"name": "web-stable", "port": 80, "kind": "Service", "group": ""}]}
            ]
        },
        "status": {"parents": [{
            "controllerName": "example.com/gw", "parentRef": {"name": "gw", "namespace": "infra"},
            "conditions": [
                {"type": "Accepted", "status": "True", "observedGeneration": 3},
                {"type": "ResolvedRefs", "status": "True", "observedGeneration": 3}]}]}
    })
}

/// Protects: only the two Services' weights change, in every rule that names both; nothing else does.
#[test]
fn patch_touches_weights_and_nothing_else() {
    let mut patched = route();
    let patch = patch(&patched, SERVICES, 25).unwrap().unwrap();
    json_patch::patch(&mut patched, &patch).unwrap();
    let mut wanted = route();
    wanted["metadata"]["labels"] = json!({"tidegate.dev/canary": "in-progress"});
    wanted["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(75);
    wanted["spec"]["rules"][0]["backendRefs"][2]["weight"] = json!(25);
    wanted["spec"]["rules"][2]["backendRefs"][0]["weight"] = json!(25);
    wanted["spec"]["rules"][2]["backendRefs"][1]["weight"] = json!(75);
    assert_eq!(patched, wanted);
    assert_eq!(super::patch(&patched, SERVICES, 25).unwrap(), None, "a second time there is nothing to do");

    let down = super::patch(&patched, SERVICES, 0).unwrap().unwrap();
    json_patch::patch(&mut patched, &down).unwrap();
    assert_eq!(patched["metadata"]["labels"], json!({}), "the label goes when the weight does");
    assert!(is_at(&splits(&patched, SERVICES).unwrap(), 0));
}

/// Protects: a weight or a backend that somebody changed after we looked fails the whole patch.
#[test]
fn patch_fails_on_foreign_edits() {
    let patch = patch(&route(), SERVICES, 25).unwrap().unwrap();
    for (path, value) in [
        ("/spec/rules/0/backendRefs/2/weight", json!(50)),
        ("/spec/rules/0/backendRefs/0/name", json!("moved")),
        ("/metadata/uid", json!("re-created")),
    ] {
        let mut edited = route();
        *edited.pointer_mut(path).unwrap() = value;
        let before = edited.clone();
        assert!(json_patch::patch(&mut edited, &patch).is_err(), "{path}");
        assert_eq!(edited, before, "{path}: nothing is half written");
    }
}

/// Protects: an old decision. More traffic only on the spec that was seen, also where the weights are the same again; less
/// traffic at any time.
#[test]
fn only_more_traffic_asks_for_the_generation() {
    let mut later = route();
    later["metadata"]["generation"] = json!(4);
    for (weight, goes) in [(75, false), (50, true), (0, true)] {
        let patch = patch(&route(), SERVICES, weight).unwrap().unwrap();
        assert_eq!(json_patch::patch(&mut later.clone(), &patch).is_ok(), goes, "{weight}");
    }
}

/// Protects: a route that names neither or only one Service is refused with the names that were found.
#[test]
fn route_without_the_services() {
    let error = splits(&route(), Services { stable: "a", canary: "b" }).unwrap_err().to_string();
    assert_eq!(error, "no rule of the route names both Services a and b; its backends are other, web-canary, web-stable");
    assert!(splits(&json!({}), SERVICES).unwrap_err().to_string().ends_with("its backends are none"));
}

/// Protects: risk is judged by the worst rule, and weights nobody gave count as the API's default of 1.
#[test]
fn canary_share() {
    let splits = splits(&route(), SERVICES).unwrap();
    assert_eq!(splits.iter().map(RuleSplit::canary_percent).collect::<Vec<_>>(), [10, 50]);
    assert_eq!(canary_weight(&splits), 50);
    let split = |canary, stable| RuleSplit { rule: 0, canary_index: 0, stable_index: 1, canary, stable };
    assert_eq!((split(1, 999).canary_percent(), split(0, 0).canary_percent(), split(1, 0).canary_percent()), (1, 0, 100));
}

/// Protects: a weight counts as verified only when the right gateway said so for this very generation.
#[test]
fn verification() {
    let gateway = Gateway { namespace: "infra".into(), name: "gw".into(), controller: "example.com/gw".into(), programmed: true };
    let gateways = std::slice::from_ref(&gateway);
    assert_eq!(verified(&route(), gateways), Ok(()));
    let with = |path: &str, value: Value| {
        let mut edited = route();
        *edited.pointer_mut(path).unwrap() = value;
        verified(&edited, gateways).unwrap_err()
    };
    assert_eq!(with("/metadata/generation", json!(4)), "Gateway infra/gw has seen generation 3 of the route, not yet 4");
    assert_eq!(with("/status/parents/0/controllerName", json!("other")), "Gateway infra/gw has not answered for this route yet");
    assert_eq!(
        with("/status/parents/0/conditions/1/status", json!("False")),
        "Gateway infra/gw says ResolvedRefs=False for this route: no reason given"
    );
    assert_eq!(
        with("/status/parents/0/conditions/0/type", json!("x")),
        "Gateway infra/gw has not said Accepted for this route yet"
    );
    assert_eq!(with("/spec/parentRefs", json!([])), "the route has no parentRefs, so no gateway serves it");
    assert_eq!(verified(&route(), &[]).unwrap_err(), "Gateway infra/gw does not exist");
    let silent = Gateway { programmed: false, ..gateway };
    assert_eq!(verified(&route(), &[silent]).unwrap_err(), "Gateway infra/gw is not Programmed");
}
