//! Health of live objects, kind by kind.

use serde_json::{Value, json};

use super::id;
use crate::api::application::HealthStatus::{self, Degraded, Healthy, Missing, Progressing, Unknown};
use crate::sync::health::health;

fn told(what: &str, live: &Value) -> (HealthStatus, String) {
    let health = health(&id(what), Some(live));
    (health.status, health.message)
}

fn check(what: &str, rows: &[(Value, HealthStatus, &str)]) {
    for (live, status, message) in rows {
        assert_eq!(told(what, live), (*status, (*message).to_owned()), "{what} {live}");
    }
}

fn condition(kind: &str, status: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "R", "message": "m"})
}

/// Protects: what holds for every kind: absence, deletion, a controller that lags behind, kstatus' conditions, and
/// Unknown for what says nothing.
#[test]
fn every_kind() {
    let gone = health(&id("v1 ConfigMap shop/a"), None);
    assert_eq!((gone.status, gone.message.as_str()), (Missing, "is not in the cluster"));
    let conditions = |list: Value| json!({"status": {"conditions": list}});
    check(
        "acme.dev/v1 Thing shop/a",
        &[
            (json!({"metadata": {"deletionTimestamp": "t"}}), Progressing, "is being deleted"),
            (
                json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 1}}),
                Progressing,
                "its controller has not seen the last change yet",
            ),
            (json!({}), Unknown, "says nothing about its health (no condition Ready)"),
            (conditions(json!([condition("Ready", "True")])), Healthy, ""),
            (conditions(json!([condition("Ready", "False")])), Progressing, "R: m"),
            (conditions(json!([condition("Ready", "True"), condition("Stalled", "True")])), Degraded, "R: m"),
            (conditions(json!([condition("Ready", "True"), condition("Reconciling", "True")])), Progressing, "R: m"),
            (conditions(json!([{"type": "Ready", "status": "Unknown"}])), Progressing, "Ready is Unknown"),
        ],
    );
    for silent in [
        "v1 ConfigMap shop/a",
        "v1 Secret shop/a",
        "v1 ServiceAccount shop/a",
        "rbac.authorization.k8s.io/v1 Role shop/a",
        "networking.k8s.io/v1 NetworkPolicy shop/a",
        "tidegate.dev/v1alpha1 AnalysisTemplate shop/a",
        "batch/v1 CronJob shop/a",
    ] {
        check(silent, &[(json!({}), Healthy, "")]);
    }
}

/// Protects: workloads are Healthy only when all their pods are the new ones and available.
#[test]
fn workloads() {
    let status = |status: Value| json!({"spec": {"replicas": 3}, "status": status});
    check(
        "apps/v1 Deployment shop/a",
        &[
            (json!({"spec": {"replicas": 0}}), Progressing, "its controller has not seen it yet"),
            (status(json!({"updatedReplicas": 1, "replicas": 4, "availableReplicas": 3})), Progressing, "1 of 3 pods updated"),
            (
                status(json!({"updatedReplicas": 3, "replicas": 4, "availableReplicas": 3})),
                Progressing,
                "1 old pods to be removed",
            ),
            (status(json!({"updatedReplicas": 3, "replicas": 3, "availableReplicas": 2})), Progressing, "2 of 3 pods available"),
            (status(json!({"updatedReplicas": 3, "replicas": 3, "availableReplicas": 3})), Healthy, ""),
            (status(json!({"conditions": [condition("Progressing", "False")]})), Degraded, "R: m"),
            (status(json!({"conditions": [condition("ReplicaFailure", "True")]})), Degraded, "R: m"),
        ],
    );
    check(
        "apps/v1 ReplicaSet shop/a",
        &[
            (status(json!({"replicas": 3, "availableReplicas": 2})), Progressing, "2 of 3 pods available"),
            (status(json!({"replicas": 5, "availableReplicas": 5})), Progressing, "2 pods to be removed"),
            (status(json!({"replicas": 3, "availableReplicas": 3})), Healthy, ""),
        ],
    );
    let set = |strategy: Value, status: Value| json!({"spec": {"replicas": 3, "updateStrategy": strategy}, "status": status});
    check(
        "apps/v1 StatefulSet shop/a",
        &[
            (set(json!({}), json!({"readyReplicas": 2})), Progressing, "2 of 3 pods ready"),
            (set(json!({}), json!({"readyReplicas": 3, "updatedReplicas": 1})), Progressing, "1 of 3 pods updated"),
            (
                set(json!({}), json!({"readyReplicas": 3, "updatedReplicas": 3, "currentRevision": "a", "updateRevision": "b"})),
                Progressing,
                "pods of the old revision remain",
            ),
            (
                set(json!({}), json!({"readyReplicas": 3, "updatedReplicas": 3, "currentRevision": "b", "updateRevision": "b"})),
                Healthy,
                "",
            ),
            (
                set(
                    json!({"rollingUpdate": {"partition": 2}}),
                    json!({"readyReplicas": 3, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
                ),
                Healthy,
                "",
            ),
            (set(json!({"type": "OnDelete"}), json!({"readyReplicas": 3})), Healthy, ""),
        ],
    );
    let daemon = |updated: i64, available: i64| json!({"status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": available}});
    check(
        "apps/v1 DaemonSet shop/a",
        &[
            (json!({}), Progressing, "its controller has not seen it yet"),
            (daemon(1, 2), Progressing, "1 of 2 pods updated"),
            (daemon(2, 1), Progressing, "1 of 2 pods available"),
            (daemon(2, 2), Healthy, ""),
        ],
    );
    check(
        "batch/v1 Job shop/a",
        &[
            (json!({"status": {"active": 1}}), Progressing, "1 pods active, 0 succeeded"),
            (json!({"status": {"conditions": [condition("Complete", "True")]}}), Healthy, ""),
            (json!({"status": {"conditions": [condition("Failed", "True")]}}), Degraded, "R: m"),
            (json!({"status": {"conditions": [condition("Suspended", "True")]}}), Progressing, "is suspended"),
        ],
    );
    check(
        "v1 Pod shop/a",
        &[
            (json!({"status": {"phase": "Succeeded"}}), Healthy, ""),
            (json!({"status": {"phase": "Failed", "reason": "Evicted"}}), Degraded, "Evicted"),
            (json!({"status": {"phase": "Failed"}}), Degraded, "phase Failed"),
            (json!({"status": {"phase": "Running", "conditions": [condition("Ready", "True")]}}), Healthy, ""),
            (json!({"status": {"phase": "Running", "conditions": [condition("Ready", "False")]}}), Progressing, "R: m"),
            (
                json!({"status": {"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}}),
                Degraded,
                "CrashLoopBackOff",
            ),
            (
                json!({"status": {"phase": "Pending", "initContainerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]}}),
                Degraded,
                "ErrImagePull",
            ),
            (json!({"status": {"phase": "Pending", "conditions": [condition("PodScheduled", "False")]}}), Progressing, "R: m"),
            (
                json!({"status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}}),
                Progressing,
                "is starting",
            ),
        ],
    );
}

/// Protects: what stands around the workloads: volumes, services, routes, definitions.
#[test]
fn everything_else_built_in() {
    let phase = |phase: &str| json!({"status": {"phase": phase}});
    check(
        "v1 PersistentVolumeClaim shop/a",
        &[
            (phase("Bound"), Healthy, ""),
            (phase("Pending"), Progressing, "phase Pending"),
            (phase("Lost"), Degraded, "phase Lost"),
            (json!({}), Progressing, "has no phase yet"),
        ],
    );
    check("v1 Namespace /a", &[(phase("Active"), Healthy, ""), (phase("Terminating"), Progressing, "phase Terminating")]);
    let address = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}});
    check(
        "v1 Service shop/a",
        &[
            (json!({"spec": {"type": "ClusterIP"}}), Healthy, ""),
            (json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {}}}), Progressing, "has no address yet"),
            (json!({"spec": {"type": "LoadBalancer"}, "status": address}), Healthy, ""),
        ],
    );
    check(
        "networking.k8s.io/v1 Ingress shop/a",
        &[(json!({}), Progressing, "has no address from an ingress controller yet"), (json!({"status": address}), Healthy, "")],
    );
    check(
        "policy/v1 PodDisruptionBudget shop/a",
        &[
            (json!({}), Progressing, "its controller has not seen it yet"),
            (
                json!({"status": {"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 2}}),
                Progressing,
                "1 of 2 pods healthy",
            ),
            (json!({"status": {"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 2}}), Healthy, ""),
        ],
    );
    let conditions = |list: Value| json!({"status": {"conditions": list}});
    check(
        "autoscaling/v2 HorizontalPodAutoscaler shop/a",
        &[
            (conditions(json!([condition("AbleToScale", "False")])), Degraded, "R: m"),
            (conditions(json!([condition("AbleToScale", "True"), condition("ScalingActive", "True")])), Healthy, ""),
            (conditions(json!([{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}])), Healthy, ""),
            (conditions(json!([condition("ScalingActive", "False")])), Degraded, "R: m"),
            (json!({}), Progressing, "waits for condition ScalingActive"),
        ],
    );
    check(
        "apiextensions.k8s.io/v1 CustomResourceDefinition /a",
        &[
            (json!({}), Progressing, "waits for condition Established"),
            (conditions(json!([condition("Established", "True")])), Healthy, ""),
            (conditions(json!([condition("NamesAccepted", "False"), condition("Established", "True")])), Degraded, "R: m"),
        ],
    );
    let gateway = |accepted: &str, programmed: &str, observed: i64| {
        json!({"metadata": {"generation": 2}, "status": {"conditions": [
            {"type": "Accepted", "status": accepted, "reason": "A", "observedGeneration": 2},
            {"type": "Programmed", "status": programmed, "reason": "P", "observedGeneration": observed}]}})
    };
    check(
        "gateway.networking.k8s.io/v1 Gateway shop/a",
        &[
            (gateway("True", "True", 2), Healthy, ""),
            (gateway("False", "True", 2), Degraded, "A"),
            (gateway("True", "Unknown", 2), Progressing, "P"),
            (gateway("True", "True", 1), Progressing, "its controller has not seen the last change yet"),
        ],
    );
    let parent = |accepted: &str, resolved: &str, observed: i64| json!({"conditions": [{"type": "Accepted", "status": accepted, "reason": "A", "observedGeneration": observed}, {"type": "ResolvedRefs", "status": resolved, "reason": "B", "observedGeneration": observed}]});
    let route = |parents: Value| json!({"metadata": {"generation": 2}, "status": {"parents": parents}});
    check(
        "gateway.networking.k8s.io/v1 HTTPRoute shop/a",
        &[
            (json!({}), Progressing, "no gateway has accepted it yet"),
            (route(json!([parent("True", "True", 2)])), Healthy, ""),
            (route(json!([parent("True", "True", 1)])), Progressing, "a gateway has not seen the last change yet"),
            (route(json!([parent("True", "True", 2), parent("False", "True", 2)])), Degraded, "A"),
            (route(json!([parent("True", "False", 2)])), Degraded, "B"),
            (route(json!([{"conditions": []}])), Progressing, "waits for condition Accepted"),
        ],
    );
}

/// Protects: an aborted or held Rollout makes its Application Degraded, a pause does not.
#[test]
fn our_kinds() {
    let phase = |phase: &str| json!({"status": {"phase": phase, "message": "why"}});
    check(
        "tidegate.dev/v1alpha1 Rollout shop/a",
        &[
            (phase("Healthy"), Healthy, ""),
            (phase("Degraded"), Degraded, "why"),
            (phase("Paused"), Progressing, "why"),
            (phase("Progressing"), Progressing, "why"),
            (json!({}), Progressing, "the controller has not seen it yet"),
        ],
    );
    check(
        "tidegate.dev/v1alpha1 AnalysisRun shop/a",
        &[
            (phase("Successful"), Healthy, ""),
            (phase("Failed"), Degraded, "verdict Failed"),
            (phase("Error"), Unknown, "Error"),
            (phase("Running"), Progressing, "measures"),
        ],
    );
    let health = |status: &str| json!({"status": {"health": {"status": status, "message": "why"}}});
    check(
        "tidegate.dev/v1alpha1 Application shop/a",
        &[(health("Healthy"), Healthy, ""), (health("Degraded"), Degraded, "why"), (json!({}), Unknown, "")],
    );
}
