use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn rollout(patch: Value) -> Rollout {
    let mut value = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "generation": 3,
            "annotations": {"tidegate.dev/commit": "3f9c2d1b3f9c2d1b3f9c2d1b3f9c2d1b3f9c2d1b"}},
        "spec": {
            "replicas": 7, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "shop:1"}]}},
            "strategy": {"canary": {
                "stableService": "s", "canaryService": "c", "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}},
                "steps": [{"pause": {}}, {"setWeight": 10}, {"pause": {"duration": "30s"}}, {"setWeight": 50}]}}}
    });
    json_patch::merge(&mut value, &patch);
    serde_json::from_value(value).unwrap()
}

/// Protects: what the API server's schema cannot see is refused with field, finding and what is allowed.
#[rstest]
#[case(json!({"spec": {"template": {"metadata": {"labels": {"app": "shop"}}}}}), "spec.template.metadata.labels['app']: 'shop'; spec.selector.matchLabels asks for 'web'")]
#[case(json!({"spec": {"template": {"metadata": null}}}), "spec.template.metadata.labels['app']: no such label; spec.selector.matchLabels asks for 'web'")]
#[case(json!({"spec": {"template": {"spec": {"containers": []}}}}), "spec.template.spec.containers: none; must have at least one container")]
#[case(json!({"spec": {"strategy": {"canary": {"canaryService": "s"}}}}), "spec.strategy.canary.canaryService: 's' is stableService too; must be another Service")]
#[case(json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 101}]}}}}), "spec.strategy.canary.steps[0].setWeight: 101; must be between 0 and 100")]
#[case(json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 5}, {}]}}}}), "spec.strategy.canary.steps[1]: none or several; must have exactly one of setWeight, setCanaryScale, pause, analysis, setHeaderRoute, setMirrorRoute")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"httpRoutes": []}}}}}}), "spec.strategy.canary.trafficRouting.gatewayAPI: no route; must name at least one route, in httpRoutes or grpcRoutes")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"grpcRoutes": [{"name": "a/b"}]}}}}}}), "spec.strategy.canary.trafficRouting.gatewayAPI.grpcRoutes[0].name: 'a/b'; must be a name of lower-case letters, digits, '-' and '.', with a letter or digit at both ends")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"managedRoutes": [{"name": "a"}, {"name": "a-2"}]}}}}}), "spec.strategy.canary.trafficRouting.managedRoutes[1].name: 'a-2'; must differ from the other names, also from a '<name>-2' that a second rule is called")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"managedRoutes": [{"name": "A"}]}}}}}), "spec.strategy.canary.trafficRouting.managedRoutes[0].name: 'A'; must be at most 50 lower-case letters, digits and '-', with a letter or digit at both ends")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"managedRoutes": [{"name": "a"}]}, "steps": [{"setMirrorRoute": {"name": "b"}}]}}}}), "spec.strategy.canary.steps[0].setMirrorRoute.name: 'b'; must be one of trafficRouting.managedRoutes: a")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"managedRoutes": [{"name": "a"}]}, "steps": [{"setMirrorRoute": {"name": "a", "match": [{}]}}]}}}}), "spec.strategy.canary.steps[0].setMirrorRoute.match[0]: nothing; must have at least one of method, path, headers")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"managedRoutes": [{"name": "a"}]}, "steps": [{"setMirrorRoute": {"name": "a", "match": [{"path": {"prefix": "shop"}}]}}]}}}}), "spec.strategy.canary.steps[0].setMirrorRoute.match[0].path: 'shop'; must begin with '/'")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"managedRoutes": [{"name": "a"}]}, "steps": [{"setMirrorRoute": {"name": "a", "match": [{"headers": {"x": {}}}]}}]}}}}), "spec.strategy.canary.steps[0].setMirrorRoute.match[0].headers[x]: 0 of them; must have exactly one of exact, prefix, regex")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"managedRoutes": [{"name": "a"}]}, "steps": [{"setMirrorRoute": {"name": "a", "percentage": 0}}]}}}}), "spec.strategy.canary.steps[0].setMirrorRoute.percentage: 0; must be between 1 and 100")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"httpRoutes": [], "grpcRoutes": [{"name": "api"}]}, "managedRoutes": [{"name": "a"}]}, "steps": [{"setMirrorRoute": {"name": "a"}}]}}}}), "spec.strategy.canary.steps[0].setMirrorRoute: no HTTPRoute; needs trafficRouting.gatewayAPI.httpRoutes")]
#[case(json!({"spec": {"strategy": {"canary": {"steps": [{"setHeaderRoute": {"name": "beta"}}]}}}}), "spec.strategy.canary.steps[0].setHeaderRoute.name: 'beta'; must be one of trafficRouting.managedRoutes: there are none")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"managedRoutes": [{"name": "a"}]}, "steps": [{"setHeaderRoute": {"name": "a", "match": [{"headerName": "X", "headerValue": {"exact": "1", "prefix": "1"}}]}}]}}}}), "spec.strategy.canary.steps[0].setHeaderRoute.match[0].headerValue: 2 of them; must have exactly one of exact, prefix, regex")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"managedRoutes": [{"name": "a"}]}, "steps": [{"setHeaderRoute": {"name": "a", "match": [{"headerName": "X", "headerValue": {"exact": "1"}}, {"headerName": "x", "headerValue": {"exact": "2"}}]}}]}}}}), "spec.strategy.canary.steps[0].setHeaderRoute.match[1].headerName: 'x' again; must name each header once")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"maxTrafficWeight": 0}}}}}), "spec.strategy.canary.trafficRouting.maxTrafficWeight: 0; must be between 1 and 1000000")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": {"maxTrafficWeight": 50}, "steps": [{"setWeight": 51}]}}}}), "spec.strategy.canary.steps[0].setWeight: 51; must be between 0 and 50, trafficRouting.maxTrafficWeight")]
#[case(json!({"spec": {"strategy": {"canary": {"steps": [{"setCanaryScale": {"weight": 101}}]}}}}), "spec.strategy.canary.steps[0].setCanaryScale.weight: 101; must be between 0 and 100")]
#[case(json!({"spec": {"strategy": {"canary": {"stableService": null}}}}), "spec.strategy.canary.stableService: none; trafficRouting needs it, because it sets that Service's weight")]
#[case(json!({"spec": {"strategy": {"canary": {"maxSurge": 1}}}}), "spec.strategy.canary.maxSurge: 1; has no effect with trafficRouting, where stable keeps its pods; remove it")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": null, "scaleDownDelaySeconds": 5}}}}), "spec.strategy.canary.scaleDownDelaySeconds: 5s; needs trafficRouting; without it the pods are the traffic")]
#[case(json!({"spec": {"strategy": {"canary": {"trafficRouting": null, "maxSurge": 0, "maxUnavailable": "0%"}}}}), "spec.strategy.canary.maxUnavailable: 0%, and maxSurge is 0; must not both be 0: no pod could ever be exchanged")]
#[case(json!({"spec": {"progressDeadlineSeconds": 0}}), "spec.progressDeadlineSeconds: 0 s; must be longer than minReadySeconds, and than 0")]
#[case(json!({"spec": {"minReadySeconds": 700}}), "spec.progressDeadlineSeconds: 600 s; must be longer than minReadySeconds, and than 0")]
#[case(json!({"spec": {"strategy": {"canary": {"analysis": {"templates": []}}}}}), "spec.strategy.canary.analysis.templates: empty; must name at least one template")]
#[case(json!({"spec": {"strategy": {"canary": {"analysis": {"templates": [{"templateName": "t"}], "dryRun": [{"metricName": "a("}]}}}}}), "spec.strategy.canary.analysis.dryRun[0].metricName: 'a('; must be a regular expression (RE2)")]
#[case(json!({"spec": {"strategy": {"canary": {"steps": [{"analysis": {"templates": [{"templateName": "t"}], "dryRun": [{"metricName": "a"}, {"metricName": "(a{1000}){1000}"}]}}]}}}}), "spec.strategy.canary.steps[0].analysis.dryRun[1].metricName: '(a{1000}){1000}'; must be a regular expression (RE2)")]
#[case(json!({"spec": {"replicas": -1}}), "spec.replicas: -1; must be between 0 and 10000")]
fn refusals(#[case] patch: Value, #[case] wanted: &str) {
    assert_eq!(validate(&rollout(patch)).unwrap_err().to_string(), wanted);
}

/// Protects: the weight in force at each step, and the pods that a weight needs (rounded up, never none for a weight).
#[test]
fn weights_and_pods() {
    let valid = validate(&rollout(json!({}))).unwrap();
    assert_eq!((0..6).map(|index| valid.weight_at(index)).collect::<Vec<_>>(), [0, 10, 10, 50, 100, 100]);
    assert_eq!([0, 1, 10, 50, 99, 100].map(|weight| valid.pods_for(weight)), [0, 1, 1, 4, 7, 7]);
    let canary =
        json!({"trafficRouting": {"maxTrafficWeight": 1000}, "steps": [{"setWeight": 5}, {"setCanaryScale": {"weight": 300}}]});
    let fine = validate(&rollout(json!({"spec": {"strategy": {"canary": canary}}}))).unwrap();
    assert_eq!([0, 1, 2].map(|index| (fine.weight_at(index), fine.canary_pods_at(index))), [(5, 1), (5, 3), (1000, 7)]);
    assert_eq!([0, 1, 142, 143, 999, 1000].map(|weight| fine.pods_for(weight)), [0, 1, 1, 2, 7, 7]);
    assert_eq!([0, 1, 5, 142, 1000].map(|weight| fine.percent(weight)), ["0", "0.1", "0.5", "14.2", "100"]);
    let steps = json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 5}, {"setCanaryScale": {"weight": 30}}]}}}});
    let coarse = |whole: Option<i32>| {
        let mut given = rollout(steps.clone());
        given.spec.strategy.canary.traffic_routing.as_mut().unwrap().max_traffic_weight = whole;
        validate(&given).unwrap().steps_digest
    };
    assert!(coarse(None) == coarse(Some(100)) && coarse(None) != coarse(Some(1000)), "the same steps with other weights");
    let empty = validate(&rollout(json!({"spec": {"replicas": 0}}))).unwrap();
    assert_eq!((0..6).map(|index| empty.weight_at(index)).max(), Some(0), "without pods nothing gets traffic");
}

/// Protects: identity is the template's alone; a change of anything else starts no canary.
#[test]
fn identity() {
    let base = validate(&rollout(json!({}))).unwrap();
    let same =
        validate(&rollout(json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 2, "revisionHistoryLimit": 1}})))
            .unwrap();
    assert_eq!((&base.hash, &base.digest), (&same.hash, &same.digest));
    let other = validate(&rollout(json!({"spec": {"template": {"spec": {"nodeName": "x"}}}}))).unwrap();
    assert_ne!(base.digest, other.digest);
    assert!(base.digest.starts_with(&format!("sha256:{}", base.hash)));
}

/// Protects: status from annotations that anybody can write; only what looks like a commit is taken over.
#[test]
fn commits() {
    assert!(validate(&rollout(json!({}))).unwrap().commit.is_some());
    for text in ["main", "3f9c2d1", "3f9c2d1b3f9c2d1b3f9c2d1b3f9c2d1b3f9c2d1\n", "x".repeat(40).as_str()] {
        let valid = validate(&rollout(json!({"metadata": {"annotations": {"tidegate.dev/commit": text}}}))).unwrap();
        assert_eq!(valid.commit, None, "{text}");
    }
}
