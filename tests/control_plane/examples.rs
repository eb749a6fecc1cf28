//! Objects that use every field which a user may set.

use serde_json::{Value, json};

/// A Rollout that uses every field of its spec but `request`, which nobody may set at creation.
pub fn rollout() -> Value {
    let args = json!([{"name": "service", "value": "web"}, {"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}},
        {"name": "env", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['acme.example/env']"}}}]);
    let analysis = json!({"templates": [{"templateName": "availability", "clusterScope": true}], "args": args, "dryRun": [{"metricName": "p9.*"}]});
    let mut background = analysis.clone();
    background["startingStep"] = json!(1);
    (background["confidence"], background["accept"]) = (json!("99.9%"), json!("90%"));
    let mut of_step = analysis.clone();
    (of_step["atMost"], of_step["onInconclusive"]) = (json!("10m"), json!("Continue"));
    let metadata = json!({"labels": {"role": "canary"}, "annotations": {"note": "canary"}});
    let requests = json!([
        {"method": {"exact": "GET"}, "path": {"prefix": "/a"}, "headers": {"x-a": {"exact": "1"}, "x-b": {"regex": "1|2"}}},
        {"path": {"regex": "/a|/b"}}, {"path": {"exact": "/c"}, "headers": {"x-c": {"prefix": "1"}}},
    ]);
    let mirror = json!({"setMirrorRoute": {"name": "beta", "percentage": 20, "match": requests}});
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {
            "replicas": 4, "revisionHistoryLimit": 5, "minReadySeconds": 5, "restartAt": "2026-01-01T00:00:00Z", "paused": true,
            "progressDeadlineSeconds": "10m", "progressDeadlineAbort": false, "rollbackWindow": {"revisions": 3},
            "analysis": {"successfulRunHistoryLimit": 2, "unsuccessfulRunHistoryLimit": 3},
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"fieldOfALaterVersion": true}},
            "strategy": {"canary": {
                "stableService": "web-stable", "canaryService": "web-canary",
                "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}], "grpcRoutes": [{"name": "api"}]}, "managedRoutes": [{"name": "beta"}], "maxTrafficWeight": 1000},
                "steps": [{"setWeight": 10}, {"pause": {"duration": "1h30m"}}, {"pause": {}}, {"pause": {"duration": 90}}, {"analysis": of_step},
                    {"setCanaryScale": {"replicas": 1}}, {"setCanaryScale": {"weight": 250}}, {"setCanaryScale": {"matchTrafficWeight": true}},
                    {"setHeaderRoute": {"name": "beta", "match": [{"headerName": "x-a", "headerValue": {"exact": "1"}}, {"headerName": "x-b", "headerValue": {"prefix": "1"}}, {"headerName": "x-c", "headerValue": {"regex": "1|2"}}]}}, {"setHeaderRoute": {"name": "beta"}},
                    mirror, {"setMirrorRoute": {"name": "beta"}}],
                "analysis": background, "onFailure": "Pause", "scaleDownDelaySeconds": 30, "abortScaleDownDelaySeconds": "0",
                "scaleDownDelayRevisionLimit": 1, "dynamicStableScale": true, "minPodsPerReplicaSet": 2, "maxUnavailable": "10%",
                "canaryMetadata": metadata, "stableMetadata": metadata,
                "antiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 50}},
            }},
        },
    })
}

/// The same without a router, with the fields that it may have only then.
pub fn unrouted() -> Value {
    let mut rollout = rollout();
    let canary = rollout["spec"]["strategy"]["canary"].as_object_mut().unwrap();
    canary.retain(|key, _| ["steps", "analysis", "canaryMetadata", "antiAffinity"].contains(&key.as_str()));
    canary["steps"].as_array_mut().unwrap().retain(|step| {
        step.get("setCanaryScale").is_none() && step.get("setHeaderRoute").is_none() && step.get("setMirrorRoute").is_none()
    });
    canary.insert("maxSurge".to_owned(), json!("25%"));
    canary.insert("maxUnavailable".to_owned(), json!(0));
    rollout
}

pub fn metric() -> Value {
    json!({
        "name": "availability", "interval": "30s", "count": 3, "successCondition": "result[0] >= 0.99", "failureCondition": "result[0] < 0.95",
        "initialDelay": "1m", "failureLimit": 1, "inconclusiveLimit": 1, "consecutiveErrorLimit": 4, "consecutiveSuccessLimit": 2,
        "noDataDeadline": "5m",
        "provider": {"prometheus": {"address": "http://prometheus.monitoring:9090/base", "query": "up{service=\"{{args.service}}\"}"}},
    })
}

/// One SLO for each way to say what an error is.
pub fn slos() -> [Value; 2] {
    let slo = |name: &str, part: Value| {
        let mut slo = json!({
            "total": "t{service=\"{{arm.service}}\"}", "budget": "0.5%", "maxRatioToStable": 1.5, "ignoreBelow": "0.05%",
            "whenStableBurnsToo": "Continue", "warmUp": "30s", "stable": {"total": "t", "part": "p"},
        });
        json_patch::merge(&mut slo, &part);
        json!({
            "name": name, "interval": "5s", "consecutiveErrorLimit": 4, "noDataDeadline": "5m",
            "provider": {"prometheus": {"address": "http://prometheus.monitoring:9090"}}, "slo": slo,
        })
    };
    [
        slo("errors", json!({"errors": "e{service=\"{{arm.service}}\"}"})),
        slo("slow", json!({"slow": {"bucket": "b{service=\"{{arm.service}}\"}", "le": "0.3"}})),
    ]
}

pub fn metrics() -> Value {
    let [errors, slow] = slos();
    json!([metric(), errors, slow])
}

pub fn template(kind: &str) -> Value {
    let spec = json!({"args": [{"name": "service", "value": "web"}], "metrics": metrics()});
    json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": kind, "metadata": {"name": "availability"}, "spec": spec})
}

pub fn run() -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "web-4-1-step2"},
        "spec": {
            "subject": {"rollout": "web", "rolloutUid": "u1", "revision": 4, "attempt": 1, "step": 2, "evidence": true},
            "metrics": metrics(), "dryRun": ["availability"], "terminate": "superseded", "atMost": "10m",
            "evidence": {"confidence": "99.9%", "accept": "95%", "baseline": "2026-01-01T00:00:00.000000Z"},
        },
    })
}

pub fn application() -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Application", "metadata": {"name": "shop"},
        "spec": {
            "project": "team-shop", "suspend": false, "allowEmpty": false,
            "source": {
                "repoURL": "https://git.example.com:8443/acme/deploy.git", "revision": {"branch": "release/1.x"}, "path": "apps/shop/production",
                "interval": "60s", "secretRef": {"name": "deploy-read"},
            },
            "destination": {"namespace": "shop", "serviceAccountName": "deployer"},
            "syncPolicy": {"automated": {"prune": true}},
            "writeBack": {
                "on": ["AnalysisFailed", "NotReady"],
                "mode": "Push", "secretRef": {"name": "deploy-write"}, "includeQuery": true,
                "author": {"name": "Tidegate", "email": "tidegate@example.com"},
            },
        },
    })
}

pub fn project() -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Project", "metadata": {"name": "team-shop"},
        "spec": {
            "applicationNamespaces": ["shop", "shop-*", "*"], "sourceRepos": ["https://git.example.com/acme/*"],
            "destinations": [{"namespace": "shop-*"}], "allowedKinds": [{"group": "apps", "kind": "Deployment"}],
            "deniedKinds": [{"group": "", "kind": "Secret"}], "metricAddresses": ["prometheus.monitoring:9090", "*.example.com"],
        },
    })
}

/// An example of each kind that uses every field which a user may set at creation.
pub fn examples() -> Vec<Value> {
    vec![application(), project(), rollout(), template("AnalysisTemplate"), template("ClusterAnalysisTemplate"), run()]
}
