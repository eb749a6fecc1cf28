//! Rollouts and an Application in the states that a person meets.

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate::api::{Application, Rollout};

/// The moment at which every fixture is looked at.
pub fn now() -> Timestamp {
    "2026-11-21T10:30:00Z".parse().unwrap()
}

/// A Rollout `shop/web` with four steps and this status.
pub fn with_status(status: Value) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "generation": 4, "creationTimestamp": "2026-11-18T08:00:00Z"},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}},
            "strategy": {"canary": {
                "stableService": "web-stable",
                "canaryService": "web-canary",
                "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}},
                "steps": [
                    {"setWeight": 10},
                    {"pause": {"duration": "60s"}},
                    {"analysis": {"templates": [{"templateName": "availability"}, {"templateName": "latency", "clusterScope": true}]}},
                    {"pause": {}},
                ],
            }},
        },
        "status": status,
    })
}

fn stable() -> Value {
    json!({"hash": "6c4dfc9281", "revision": 3, "digest": "sha256:6c4dfc9281aa", "commit": "5f3c1e0a9b7d24681357ace0fdb97531eca86420"})
}

fn canary() -> Value {
    json!({"hash": "0f9a8b7c6d", "revision": 4, "digest": "sha256:0f9a8b7c6dbb", "commit": "9d8c7b6a5f4e3d2c1b0a99887766554433221100"})
}

fn at(clock: &str) -> String {
    format!("2026-11-21T{clock}.000000Z")
}

/// Fields over those of a canary under way at step 1 of 4 with 10 %.
fn under_way(over: Value) -> Value {
    let mut status = json!({
        "observedGeneration": 4, "phase": "Progressing", "message": "goes through its steps",
        "currentStepIndex": 0, "stepCount": 4, "attempt": 1,
        "weights": {"canary": 10, "stable": 90, "verified": true, "verifiedAt": at("10:29:00")},
        "stable": stable(), "canary": canary(),
        "replicas": 5, "readyReplicas": 5, "availableReplicas": 5, "updatedReplicas": 1,
    });
    for (key, value) in over.as_object().unwrap() {
        status[key] = value.clone();
    }
    with_status(status)
}

pub fn healthy() -> Value {
    with_status(json!({
        "observedGeneration": 4, "phase": "Healthy", "message": "stable serves at full strength",
        "currentStepIndex": 4, "stepCount": 4,
        "weights": {"canary": 0, "stable": 100, "verified": true},
        "stable": stable(), "replicas": 4, "readyReplicas": 4, "availableReplicas": 4, "updatedReplicas": 4,
    }))
}

pub fn new() -> Value {
    let mut rollout = healthy();
    rollout.as_object_mut().unwrap().remove("status");
    rollout
}

pub fn stepping() -> Value {
    under_way(
        json!({"waitingOn": {"reason": "PodsReady", "since": at("10:29:15"), "detail": "1 of 2 pods of the canary are ready"}}),
    )
}

pub fn waiting_for_weight() -> Value {
    under_way(json!({
        "weights": {"canary": 10, "stable": 90, "verified": false},
        "waitingOn": {"reason": "WeightVerified", "since": at("10:29:58"), "detail": "HTTPRoute web: the gateway has not taken generation 12 yet"},
    }))
}

pub fn timed_pause() -> Value {
    under_way(json!({
        "phase": "Paused", "message": "pauses for 1m", "currentStepIndex": 1,
        "waitingOn": {"reason": "Pause", "since": at("10:29:30"), "detail": "until 10:30:30"},
        "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": at("10:29:30")}],
    }))
}

pub fn waiting_for_person() -> Value {
    under_way(json!({
        "phase": "Paused", "message": "waits for somebody to promote", "currentStepIndex": 3,
        "waitingOn": {"reason": "UserPromotion", "since": at("09:12:00"), "detail": "kubectl tidegate promote web -n shop"},
        "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": at("09:12:00")}],
        "requests": [
            {"id": "b", "action": "promote", "outcome": "Superseded", "message": "step is 2, not 1", "at": at("10:12:00")},
            {"id": "a", "action": "promoteFull", "outcome": "Refused", "message": "the analysis runs", "at": at("10:02:00")},
        ],
    }))
}

pub fn paused_by_user() -> Value {
    under_way(json!({
        "phase": "Paused", "message": "step 2 of 4: a person paused it", "currentStepIndex": 1,
        "waitingOn": {"reason": "UserPromotion", "since": at("10:20:00"), "detail": "kubectl tidegate resume goes on"},
        "pauseConditions": [
            {"reason": "CanaryPauseStep", "startTime": at("10:19:30")}, {"reason": "PausedByUser", "startTime": at("10:20:00")},
        ],
        "requests": [{"id": "a", "action": "pause", "outcome": "Done", "message": "nothing goes on until resume, and 10 % of the traffic stay on the canary", "at": at("10:20:00")}],
    }))
}

pub fn inconclusive() -> Value {
    under_way(json!({
        "phase": "Paused", "message": "an analysis could not tell good from bad", "currentStepIndex": 2,
        "waitingOn": {"reason": "Analysis", "since": at("10:20:00"), "detail": "web-4-1-step2 is Inconclusive"},
        "pauseConditions": [{"reason": "InconclusiveAnalysis", "startTime": at("10:20:00")}],
    }))
}

pub fn no_values() -> Value {
    under_way(json!({
        "phase": "Paused", "message": "an analysis gets no usable values", "currentStepIndex": 2,
        "waitingOn": {"reason": "Prometheus", "since": at("10:20:00"), "detail": "no answer for 10m"},
        "pauseConditions": [{"reason": "AnalysisError", "startTime": at("10:20:00")}],
    }))
}

pub fn failed() -> Value {
    under_way(json!({
        "phase": "Degraded", "message": "AnalysisFailed: availability was 0.91, wanted at least 0.99", "currentStepIndex": 2,
        "weights": {"canary": 0, "stable": 100, "verified": true}, "abort": true, "abortedAt": at("10:25:00"), "attempt": 2,
        "failure": {
            "id": "u1/4/2", "cause": "AnalysisFailed", "revision": 4, "templateDigest": "sha256:0f9a8b7c6dbb",
            "commit": "9d8c7b6a5f4e3d2c1b0a99887766554433221100", "verdict": "Failed", "analysisRun": "web-4-2-step2",
            "metric": "availability", "evidence": "3 of 3 measurements below 0.99: 0.91, 0.90, 0.92",
            "step": 2, "steps": 4, "weight": 10, "startedAt": at("10:20:00"), "at": at("10:25:00"),
        },
        "holds": [{
            "digest": "sha256:0f9a8b7c6dbb", "reason": "AnalysisFailed", "since": at("10:25:00"), "failure": "u1/4/2",
            "message": "availability was 0.91, wanted at least 0.99",
        }],
    }))
}

/// A content that failed before came back: nothing is under way.
pub fn held() -> Value {
    let mut rollout = healthy();
    rollout["status"]["phase"] = json!("Degraded");
    rollout["status"]["message"] = json!("Held: this content failed before");
    rollout["status"]["holds"] = json!([
        {"digest": "sha256:0f9a8b7c6dbb", "reason": "AbortedByUser", "since": at("08:25:00"), "failure": "u1/4/1", "message": "aborted by jo"}
    ]);
    rollout
}

pub fn invalid() -> Value {
    let mut rollout = healthy();
    rollout["status"]["phase"] = json!("Degraded");
    rollout["status"]["message"] = json!("InvalidSpec: spec.template: no containers");
    rollout["status"]["conditions"] = json!([
        {"type": "Ready", "status": "True", "reason": "Healthy", "message": "", "lastTransitionTime": "2026-11-21T10:00:00Z"},
        {"type": "InvalidSpec", "status": "True", "reason": "InvalidSpec", "message": "spec.template: no containers", "lastTransitionTime": "2026-11-21T10:00:00Z"},
        {"type": "Available", "status": "False", "reason": "StableNotReady", "message": "3 of 4 pods", "lastTransitionTime": "2026-11-21T10:00:00Z"},
    ]);
    rollout
}

/// Everything that a stranger can write, with control characters and of great length.
pub fn hostile() -> Value {
    let mut rollout = failed();
    let nasty = "\u{1b}[2J\u{1b}]0;owned\u{7}line\nHealthy: all is well\u{202e}gnp.exe ";
    rollout["status"]["message"] = json!(nasty.repeat(100));
    rollout["status"]["failure"]["evidence"] = json!(nasty);
    rollout["status"]["failure"]["commit"] = json!(nasty);
    rollout["status"]["canary"]["hash"] = json!(nasty);
    rollout["status"]["holds"][0]["message"] = json!(nasty);
    rollout
}

pub fn application() -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "shop", "namespace": "shop", "generation": 1, "creationTimestamp": "2026-11-01T08:00:00Z"},
        "spec": {
            "source": {"repoURL": "https://git.example.com/acme/deploy", "revision": {"branch": "main"}, "path": "apps/shop"},
            "destination": {"namespace": "shop", "serviceAccountName": "deployer"},
        },
        "status": {
            "observedGeneration": 1,
            "revision": {"commit": "9d8c7b6a5f4e3d2c1b0a99887766554433221100", "author": "Jo", "subject": "Raise the cache's size"},
            "health": {"status": "Degraded", "message": "Rollout web is Degraded"}, "sync": {"status": "Synced"},
            "resources": {"total": 6, "synced": 6, "healthy": 5, "unhealthy": [
                {"group": "tidegate.dev", "kind": "Rollout", "namespace": "shop", "name": "web", "health": "Degraded", "message": "AnalysisFailed"}
            ]},
            "holds": [{"rollout": "web", "digest": "sha256:0f", "commit": "9d8c7b6a5f4e3d2c1b0a99887766554433221100", "reason": "AnalysisFailed", "since": at("10:25:00")}],
            "writeBacks": [{
                "id": "u1/4/2", "rollout": "web", "phase": "Done", "reason": "Pushed", "failedCommit": "9d8c7b6a5f4e3d2c1b0a99887766554433221100",
                "commit": "1111222233334444555566667777888899990000", "message": "on main", "failedAt": at("10:25:00"), "at": at("10:25:04"),
            }],
            "history": [{
                "commit": "9d8c7b6a5f4e3d2c1b0a99887766554433221100", "author": "Jo", "subject": "Raise the cache's size",
                "deployedAt": at("10:19:00"), "outcome": "RolledBack", "evidence": "availability was 0.91",
            }],
            "conditions": [
                {"type": "Fetched", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": "2026-11-21T10:00:00Z"},
                {"type": "Applied", "status": "False", "reason": "Forbidden", "message": "deployer may not patch services", "lastTransitionTime": "2026-11-21T10:00:00Z"},
            ],
        },
    })
}

pub fn rollout(value: Value) -> Rollout {
    serde_json::from_value(value).unwrap()
}

pub fn typed_application(value: Value) -> Application {
    serde_json::from_value(value).unwrap()
}

/// The AnalysisRuns of the canary of [`stepping`]: evidence on an SLO, conditions, and somebody else's.
pub fn runs() -> Vec<Value> {
    let subject = |uid: &str, step: Value, evidence: bool| {
        let mut subject = json!({"rollout": "web", "rolloutUid": uid, "revision": 4, "attempt": 1, "evidence": evidence});
        subject["step"] = step;
        subject
    };
    let run = |name: &str, subject: Value, status: Value| {
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"subject": subject, "metrics": [], "dryRun": ["latency"]}, "status": status,
        })
    };
    let curve: Vec<String> = (1..=40)
        .map(|n: i32| format!("{} {:.3}", n * 5, if n < 20 { 0.4_f64.powi(n / 4) } else { 1.35_f64.powi(n - 23) }))
        .collect();
    let slo = json!({
        "canary": {"requests": 1034, "errors": 31}, "stable": {"requests": 9120, "errors": 9}, "evidence": "163", "needed": "100",
        "dispersion": "phi 1 + 0.002 per request, at least 1.2; measured in stable's last hour",
        "firstSampleAt": at("10:26:00"), "lastSampleAt": at("10:29:20"), "curve": format!("1 {}", curve.join(" ")), "ledger": "",
    });
    let evidence = json!({"phase": "Failed", "message": "availability: canary 31 of 1034 requests failed", "metricResults": [
        {"name": "availability", "phase": "Failed", "message": "canary 31 of 1034 requests failed (2.998 %)", "slo": slo}]});
    let conditions = json!({"phase": "Running", "metricResults": [
        {"name": "errors", "phase": "Running", "successful": 12, "failed": 1, "error": 2, "measurements": [
            {"phase": "Successful", "value": "[0.002]", "startedAt": at("10:29:50"), "finishedAt": at("10:29:50")}]},
        {"name": "latency", "phase": "Running", "message": "no usable value in the last 2 measurements: no data"}]});
    vec![
        run("web-4-1-background", subject("u1", Value::Null, false), conditions),
        run("web-4-1-slo", subject("u1", Value::Null, true), evidence),
        run("web-4-1-step2", subject("another", json!(2), false), json!({"phase": "Failed"})),
    ]
}
