use super::*;

const SERVICES: Services<'static> = Services { stable: "web-stable", canary: "web-canary" };

fn patch(route: &Value, weight: i32) -> Option<Patch> {
    let wanted = Wanted { weight, whole: 100, rules: &[], managed: &[] };
    change(route, RouteKind::Http, SERVICES, wanted).unwrap().map(|change| change.patch)
}

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
    let patch = patch(&patched, 25).unwrap();
    json_patch::patch(&mut patched, &patch).unwrap();
    let mut wanted = route();
    wanted["metadata"]["labels"] = json!({"tidegate.dev/canary": "in-progress"});
    wanted["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(75);
    wanted["spec"]["rules"][0]["backendRefs"][2]["weight"] = json!(25);
    wanted["spec"]["rules"][2]["backendRefs"][0]["weight"] = json!(25);
    wanted["spec"]["rules"][2]["backendRefs"][1]["weight"] = json!(75);
    assert_eq!(patched, wanted);
    assert_eq!(super::tests::patch(&patched, 25), None, "a second time there is nothing to do");

    let down = super::tests::patch(&patched, 0).unwrap();
    json_patch::patch(&mut patched, &down).unwrap();
    assert_eq!(patched["metadata"]["labels"], json!({}), "the label goes when the weight does");
    assert!(is_at(&splits(&patched, SERVICES).unwrap(), 0, 100));
}

/// Protects: `maxTrafficWeight`: both weights are parts of it, and what stands there in another unit is brought into it.
#[test]
fn parts_of_another_whole() {
    let mut patched = route();
    let wanted = |weight| Wanted { weight, whole: 1000, rules: &[], managed: &[] };
    let first = change(&patched, RouteKind::Http, SERVICES, wanted(5)).unwrap().unwrap();
    // The second rule gives no weights: half of its requests go to the canary.
    assert_eq!((first.from, first.raises, first.moves_weights), (500, false, true));
    json_patch::patch(&mut patched, &first.patch).unwrap();
    let weights = |rule: usize, index: usize| patched["spec"]["rules"][rule]["backendRefs"][index]["weight"].as_i64();
    assert_eq!([weights(0, 0), weights(0, 1), weights(0, 2)], [Some(995), Some(7), Some(5)]);
    assert_eq!([weights(2, 0), weights(2, 1)], [Some(5), Some(995)]);
    assert_eq!(change(&patched, RouteKind::Http, SERVICES, wanted(5)).unwrap(), None);
    let percent = change(&patched, RouteKind::Http, SERVICES, Wanted { whole: 100, ..wanted(1) }).unwrap().unwrap();
    assert_eq!((percent.from, percent.raises, percent.moves_weights), (1, false, true), "0.5 % is judged as 1 %");
}

/// Protects: a weight or a backend that somebody changed after we looked fails the whole patch.
#[test]
fn patch_fails_on_foreign_edits() {
    let patch = patch(&route(), 25).unwrap();
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
        let patch = patch(&route(), weight).unwrap();
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
    assert_eq!(splits.iter().map(|split| split.canary_share(100)).collect::<Vec<_>>(), [10, 50]);
    assert_eq!(canary_weight(&splits, 100), 50);
    let split = |canary, stable| RuleSplit { rule: 0, canary_index: 0, stable_index: 1, canary, stable };
    assert_eq!((split(1, 999).canary_share(100), split(0, 0).canary_share(100), split(1, 0).canary_share(100)), (1, 0, 100));
}

/// Protects: a weight counts as verified only when the right gateway said so for this very generation.
#[test]
fn verification() {
    let gateway = Gateway {
        namespace: "infra".into(),
        name: "gw".into(),
        controller: "example.com/gw".into(),
        programmed: true,
        mirrors: Mirrors::Nothing,
    };
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

fn rule(name: &str, header: &str, value: Value) -> ManagedRule {
    let headers = serde_json::from_value(json!([{"headerName": header, "headerValue": value}])).unwrap();
    ManagedRule { name: name.to_owned(), what: Directs::ByHeader(headers) }
}

fn managed() -> Vec<String> {
    vec!["beta".to_owned(), "staff".to_owned()]
}

/// Applies what brings the route to weight 10 and these rules; what it was: more for the canary, or not; none: nothing.
fn bring(route: &mut Value, kind: RouteKind, rules: &[ManagedRule]) -> Option<bool> {
    let managed = managed();
    let change = change(route, kind, SERVICES, Wanted { weight: 10, whole: 100, rules, managed: &managed }).unwrap()?;
    json_patch::patch(route, &change.patch).unwrap();
    let generation = route["metadata"]["generation"].as_i64().unwrap() + 1;
    route["metadata"]["generation"] = json!(generation);
    Some(change.raises)
}

/// Protects: rules by header. A copy of each rule with both Services, in front, with the headers added and the canary alone;
/// the rest of the route as it was, also after they are gone.
#[test]
fn header_rules_come_and_go() {
    let mut live = route();
    bring(&mut live, RouteKind::Http, &[]);
    let before = live.clone();
    let rules = [rule("beta", "x-beta", json!({"prefix": "a.b"})), rule("staff", "x-staff", json!({"exact": "yes"}))];
    assert_eq!(bring(&mut live, RouteKind::Http, &rules), Some(true), "more requests for the canary");
    let header = |kind: &str, name: &str, value: &str| json!({"type": kind, "name": name, "value": value});
    let beta = header("RegularExpression", "x-beta", r"^a\.b.*");
    let staff = header("Exact", "x-staff", "yes");
    let first = |name: &str, header: &Value| {
        json!({"name": name, "matches": [{"path": {"value": "/"}, "headers": [header]}], "filters": [{"unknownToUs": true}],
            "backendRefs": [{"name": "web-canary", "port": 80, "weight": 1}]})
    };
    let second = |name: &str, header: &Value| {
        json!({"name": name, "matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [header]}],
            "backendRefs": [{"name": "web-canary", "port": 80, "weight": 1}]})
    };
    let mut wanted = before["spec"]["rules"].as_array().unwrap().clone();
    let ours = [first("beta", &beta), second("beta-2", &beta), first("staff", &staff), second("staff-2", &staff)];
    wanted.splice(0..0, ours);
    assert_eq!(live["spec"]["rules"], Value::Array(wanted));
    assert_eq!(bring(&mut live, RouteKind::Http, &rules), None, "a second time there is nothing to do");
    assert_eq!(bring(&mut live, RouteKind::Http, &rules[1..]), Some(false), "one goes: fewer requests for the canary");
    assert_eq!(live["spec"]["rules"][0]["name"], "staff");
    assert_eq!(bring(&mut live, RouteKind::Http, &[]), Some(false));
    assert_eq!(live["spec"], before["spec"]);
}

/// Protects: what a person edits. A rule of ours that was changed, moved or followed by an edit of what it copies is put
/// right; removing one tests its name, so that it never removes another's.
#[test]
fn header_rules_are_put_right() {
    let rules = [rule("beta", "x-beta", json!({"exact": "1"}))];
    let mut live = route();
    bring(&mut live, RouteKind::Http, &rules);
    let good = live["spec"].clone();
    for (path, value) in [
        ("/spec/rules/0/backendRefs/0/name", json!("elsewhere")),
        ("/spec/rules/0/matches/0/headers/0/value", json!("2")),
        ("/spec/rules/1/name", json!("beta-7")),
    ] {
        let mut edited = live.clone();
        *edited.pointer_mut(path).unwrap() = value;
        assert_eq!(bring(&mut edited, RouteKind::Http, &rules), Some(true), "{path}");
        assert_eq!(edited["spec"], good, "{path}");
    }
    let mut moved = live.clone();
    moved["spec"]["rules"].as_array_mut().unwrap().rotate_left(1);
    assert_eq!(bring(&mut moved, RouteKind::Http, &rules), Some(false), "they come first, and no more requests go to the canary");
    assert_eq!(moved["spec"]["rules"][0]["name"], "beta");
    let managed = managed();
    let away = change(&live, RouteKind::Http, SERVICES, Wanted { weight: 10, whole: 100, rules: &[], managed: &managed })
        .unwrap()
        .unwrap();
    let mut shifted = live.clone();
    shifted["spec"]["rules"].as_array_mut().unwrap().insert(0, json!({"name": "new"}));
    assert!(json_patch::patch(&mut shifted, &away.patch).is_err(), "the places are no longer those that were seen");
}

/// Protects: gRPC, whose rules match methods and may match everything; and a rule that asks for another value of the same
/// header, which is copied nowhere: it would take all of that rule's requests.
#[test]
fn header_rules_of_other_routes() {
    let backends = json!([{"name": "web-stable", "port": 80, "weight": 90}, {"name": "web-canary", "port": 80, "weight": 10}]);
    let method = json!({"type": "Exact", "service": "shop.Cart"});
    let mut live = json!({"metadata": {"uid": "u", "generation": 1}, "spec": {"rules": [
        {"matches": [{"method": method}], "backendRefs": backends}, {"backendRefs": backends},
        {"matches": [{"headers": [{"name": "X-Beta", "value": "0"}]}], "backendRefs": backends}]}});
    bring(&mut live, RouteKind::Grpc, &[rule("beta", "x-beta", json!({"regex": "1|2"}))]);
    let header = json!({"type": "RegularExpression", "name": "x-beta", "value": "1|2"});
    let rules = live["spec"]["rules"].as_array().unwrap();
    let matches: Vec<_> = rules.iter().map(|rule| (rule["name"].clone(), rule["matches"].clone())).collect();
    assert_eq!(
        matches[..2],
        [(json!("beta"), json!([{"method": method, "headers": [header]}])), (json!("beta-2"), json!([{"headers": [header]}])),]
    );
    assert_eq!(rules.len(), 5);
}

/// Protects: rules of people, from names that only look like ours.
#[test]
fn managed_names() {
    let names = ["beta", "beta-2", "beta-17", "beta-", "beta-x", "beta-2x", "betas", "alpha", ""];
    let ours: Vec<_> = names.into_iter().filter(|name| crate::api::rollout::is_managed_rule(name, &managed())).collect();
    assert_eq!(ours, ["beta", "beta-2", "beta-17"]);
}

/// Protects: copies of requests. The rule goes by the weights as the one it is a copy of, and its filter names the canary;
/// a change of weight writes weights and leaves the rule; nothing of it is left at the end. A second rule with its own path is
/// copied only where both can be met.
#[test]
fn mirror_rules_come_and_go() {
    let matches = json!([{"method": {"exact": "GET"}, "path": {"prefix": "/"}, "headers": {"x-a": {"exact": "1"}}}]);
    let of = serde_json::from_value(matches).unwrap();
    let rules = [ManagedRule { name: "beta".to_owned(), what: Directs::Mirrored { of, percentage: 20 } }];
    let mut live = route();
    live["spec"]["rules"][0]["matches"] = json!([{"path": {"type": "Exact", "value": "/cart"}, "method": "POST"}]);
    bring(&mut live, RouteKind::Http, &[]);
    let before = live.clone();
    assert_eq!(bring(&mut live, RouteKind::Http, &rules), Some(true), "the canary gets requests by it");
    let rule = live["spec"]["rules"][0].clone();
    let header = json!({"type": "Exact", "name": "x-a", "value": "1"});
    let narrowed = json!([{"path": {"type": "PathPrefix", "value": "/"}, "headers": [header], "method": "GET"}]);
    let to = json!({"group": "", "kind": "Service", "name": "web-canary", "port": 80});
    let filter = json!({"type": "RequestMirror", "requestMirror": {"backendRef": to, "percent": 20}});
    assert_eq!((&rule["name"], &rule["matches"], &rule["filters"]), (&json!("beta"), &narrowed, &json!([filter])));
    let own =
        live["spec"]["rules"].as_array().unwrap().iter().rposition(|rule| rule["backendRefs"].as_array().unwrap().len() == 2);
    assert_eq!(rule["backendRefs"], live["spec"]["rules"][own.unwrap()]["backendRefs"], "it goes by the weights");
    assert_eq!(live["spec"]["rules"].as_array().unwrap().len(), before["spec"]["rules"].as_array().unwrap().len() + 1);
    assert_eq!(bring(&mut live, RouteKind::Http, &rules), None, "a second time there is nothing to do");
    let managed = managed();
    let wanted = Wanted { weight: 5, whole: 100, rules: &rules, managed: &managed };
    let down = change(&live, RouteKind::Http, SERVICES, wanted).unwrap().unwrap();
    assert!(!down.raises, "less traffic, and no rule is new");
    assert!(
        down.patch.0.iter().all(|op| !matches!(op, json_patch::PatchOperation::Remove(_))),
        "the rule stays: {:?}",
        down.patch
    );
    json_patch::patch(&mut live, &down.patch).unwrap();
    assert_eq!(change(&live, RouteKind::Http, SERVICES, wanted).unwrap(), None);
    let present = present(&live, RouteKind::Http, SERVICES, Wanted { weight: 0, ..wanted }).unwrap();
    assert_eq!(present, rules, "whatever the weight");
    assert_eq!(bring(&mut live, RouteKind::Grpc, &rules), Some(true), "a GRPCRoute has none; the weight goes back to 10");
    assert_eq!(live["spec"], before["spec"]);
}

/// Protects: which requests are copied: those that the rule matches and the step asks for, never more.
#[rstest::rstest]
#[case(json!({"type": "PathPrefix", "value": "/shop"}), json!({"prefix": "/shop/cart"}), Some(("PathPrefix", "/shop/cart")))]
#[case(json!({"type": "PathPrefix", "value": "/shop/cart"}), json!({"prefix": "/shop/"}), Some(("PathPrefix", "/shop/cart")))]
#[case(json!({"type": "PathPrefix", "value": "/shop"}), json!({"prefix": "/shopping"}), None)]
#[case(json!({"type": "PathPrefix", "value": "/shop"}), json!({"exact": "/shop"}), Some(("Exact", "/shop")))]
#[case(json!({"type": "Exact", "value": "/shop/a"}), json!({"prefix": "/shop"}), Some(("Exact", "/shop/a")))]
#[case(json!({"type": "Exact", "value": "/a"}), json!({"exact": "/b"}), None)]
#[case(json!({"type": "PathPrefix", "value": "/"}), json!({"regex": "/a|/b"}), Some(("RegularExpression", "/a|/b")))]
#[case(json!({"type": "PathPrefix", "value": "/shop"}), json!({"regex": ".*"}), None)]
#[case(json!({"type": "RegularExpression", "value": "/a|/b"}), json!({"prefix": "/"}), None)]
fn mirrored_paths(#[case] ruled: Value, #[case] asked: Value, #[case] found: Option<(&str, &str)>) {
    let wanted = serde_json::from_value(json!({"path": asked})).unwrap();
    let narrowed = matching::mirrored(&json!({"path": ruled}), &wanted);
    let path = narrowed.map(|entry| (entry["path"]["type"].clone(), entry["path"]["value"].clone()));
    assert_eq!(path, found.map(|(kind, value)| (json!(kind), json!(value))));
}

/// Protects: what a class says of mirrors, also in the form of before Gateway API 1.1; what it does not say it cannot.
#[rstest::rstest]
#[case(json!({}), Mirrors::Nothing)]
#[case(json!({"status": {"supportedFeatures": [{"name": "HTTPRoute"}, {"name": "HTTPRouteRequestMirror"}]}}), Mirrors::All)]
#[case(json!({"status": {"supportedFeatures": ["HTTPRouteRequestPercentageMirror", "HTTPRouteRequestMirror"]}}), Mirrors::Parts)]
#[case(json!({"status": {"supportedFeatures": "HTTPRouteRequestMirror"}}), Mirrors::Nothing)]
fn mirrors_as_listed(#[case] class: Value, #[case] mirrors: Mirrors) {
    assert_eq!(Mirrors::of(&class), mirrors);
}
