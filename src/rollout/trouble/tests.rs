use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use rstest::rstest;
use serde_json::{Value, json};

use super::{Kind, Trouble, of};

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "web-1"}, "status": status})).unwrap()
}

fn set(conditions: &Value) -> ReplicaSet {
    serde_json::from_value(json!({"status": {"replicas": 1, "conditions": conditions}})).unwrap()
}

/// A scheduled pod with one container in this state.
fn with(container: &Value) -> Value {
    let mut status = json!({"name": "web", "image": "i", "imageID": "", "ready": false, "restartCount": 0});
    json_patch::merge(&mut status, container);
    let condition = |kind: &str, value: &str| json!({"type": kind, "status": value});
    json!({
        "phase": "Running", "containerStatuses": [status],
        "conditions": [condition("PodScheduled", "True"), condition("Ready", "False"), condition("ContainersReady", "False")],
    })
}

fn waiting(reason: &str, message: &str) -> Value {
    with(&json!({"state": {"waiting": {"reason": reason, "message": message}}}))
}

fn ended(code: i32, reason: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason}})
}

/// What the node's controller makes of a pod whose node is silent.
fn lost() -> Value {
    let mut status = with(&json!({"ready": true, "state": {"running": {}}}));
    status["conditions"][2]["status"] = json!("True");
    status
}

fn gated() -> Value {
    let mut status = lost();
    status["conditions"][1]["reason"] = json!("ReadinessGatesNotReady");
    status
}

fn unscheduled(reason: &str) -> Value {
    let message = "0/1 nodes are available: 1 Insufficient cpu.";
    json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]})
}

fn crashing() -> Value {
    with(
        &json!({"restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}, "lastState": ended(1, "Error")}),
    )
}

/// Protects: a commit from being taken back for the cluster's faults, and bad versions from being taken for those. Each
/// state that a kubelet, a scheduler or a node's controller writes.
#[rstest]
#[case::crashes(crashing(), Some((Kind::NotReady, "container web crashes: Error, exit code 1")))]
#[case::between_two_crashes(with(&json!({"state": {"running": {}}, "lastState": ended(137, "OOMKilled")})), Some((Kind::NotReady, "container web crashes: OOMKilled, exit code 137")))]
#[case::cannot_be_run(with(&json!({"state": ended(128, "StartError")})), Some((Kind::NotReady, "container web crashes: StartError, exit code 128")))]
#[case::ends_well_again_and_again(with(&json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended(0, "Completed")})), Some((Kind::NotReady, "container web ends again and again")))]
#[case::fails_readiness(with(&json!({"state": {"running": {}}})), Some((Kind::NotReady, "container web runs and is not ready")))]
#[case::back_after_its_node_was(with(&json!({"state": {"running": {}}, "lastState": ended(137, "ContainerStatusUnknown")})), Some((Kind::NotReady, "container web runs and is not ready")))]
#[case::image(waiting("ImagePullBackOff", "Back-off pulling image \"i\""), Some((Kind::ImagePull, "the image of container web cannot be pulled: ImagePullBackOff: Back-off pulling image \"i\"")))]
#[case::no_such_image(waiting("InvalidImageName", "x"), Some((Kind::ImagePull, "the image of container web cannot be pulled: InvalidImageName: x")))]
#[case::a_config_map_is_missing(waiting("CreateContainerConfigError", "configmap \"c\" not found"), Some((Kind::Starting, "container web waits: CreateContainerConfigError: configmap \"c\" not found")))]
#[case::starting(waiting("ContainerCreating", ""), None)]
#[case::unschedulable(unscheduled("Unschedulable"), Some((Kind::Unschedulable, "no node takes it: 0/1 nodes are available: 1 Insufficient cpu.")))]
#[case::held_before_scheduling(unscheduled("SchedulingGated"), Some((Kind::Starting, "it waits to be scheduled: 0/1 nodes are available: 1 Insufficient cpu.")))]
#[case::node_is_silent(lost(), Some((Kind::NodeLost, "its node does not answer")))]
#[case::node_is_gone(json!({"phase": "Running", "reason": "NodeLost"}), Some((Kind::NodeLost, "its node does not answer")))]
#[case::readiness_gate(gated(), Some((Kind::Starting, "its readiness gates are not passed yet")))]
#[case::evicted(json!({"phase": "Failed", "reason": "Evicted"}), None)]
#[case::ready(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}), None)]
fn one_pod(#[case] status: Value, #[case] wanted: Option<(Kind, &str)>) {
    let found = of(&set(&json!([])), [&pod(&status)]);
    assert_eq!(found, wanted.map(|(kind, detail)| Trouble { kind, detail: detail.to_owned() }));
}

/// Protects: a mixed picture from costing a commit: whatever the cluster lacks is said first.
#[test]
fn the_clusters_fault_wins() {
    let quota = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "pods \"web-x\" is forbidden: exceeded quota: small"}]);
    let policy =
        json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "violates PodSecurity"}]);
    let kind = |set: &ReplicaSet, pods: &[Pod]| of(set, pods).map(|trouble| trouble.kind);
    let (fine, crash, full) = (set(&json!([])), pod(&crashing()), pod(&unscheduled("Unschedulable")));
    assert_eq!(kind(&fine, &[crash.clone(), full.clone()]), Some(Kind::Unschedulable));
    assert_eq!(kind(&fine, &[full.clone(), crash.clone()]), Some(Kind::Unschedulable));
    assert_eq!(kind(&set(&quota), &[crash.clone(), full]), Some(Kind::QuotaExceeded));
    assert_eq!(kind(&set(&policy), std::slice::from_ref(&crash)), Some(Kind::Refused));
    assert_eq!(kind(&set(&policy), &[]), Some(Kind::Refused));
    assert_eq!(kind(&fine, &[]), None);
    let image = json!({"state": {"waiting": {"reason": "ErrImagePull", "message": "m"}}});
    let mut sidecar = with(&image);
    let more = with(&json!({"name": "side", "state": ended(1, "Error")}))["containerStatuses"][0].clone();
    sidecar["containerStatuses"].as_array_mut().unwrap().push(more);
    assert_eq!(kind(&fine, &[pod(&sidecar)]), Some(Kind::ImagePull));
}

/// Protects: status from texts without end and from control characters.
#[test]
fn words_are_bounded() {
    let long = waiting("ErrImagePull", &format!("a\n\u{1b}[31m{}", "x".repeat(5000)));
    let detail = of(&set(&json!([])), [&pod(&long)]).unwrap().detail;
    assert_eq!((detail.chars().count(), detail.contains(char::is_control)), (241, false));
}
