//! Health of a live object: kstatus' rules (sigs.k8s.io/cli-utils, `pkg/kstatus`), built-in kinds by their own fields,
//! and our kinds by their phase. An object that could say how it is and does not is Unknown, not Healthy.

use serde_json::Value;

use crate::api;
use crate::api::application::{Health, HealthStatus};
use crate::manifest::ObjectId;
use crate::manifest::object::clean;

/// Health of a live object; with `None`, of one that is not there.
#[must_use]
pub fn health(id: &ObjectId, live: Option<&Value>) -> Health {
    let Some(live) = live else { return told(HealthStatus::Missing, "is not in the cluster") };
    if live.pointer("/metadata/deletionTimestamp").is_some() {
        return progressing("is being deleted");
    }
    let object = Live(live);
    let generation = object.number("/metadata/generation");
    if object.0.pointer("/status/observedGeneration").is_some() && object.number("/status/observedGeneration") < generation {
        return progressing("its controller has not seen the last change yet");
    }
    match (id.group.as_str(), id.kind.as_str()) {
        ("apps", "Deployment") => deployment(&object),
        ("apps" | "extensions", "ReplicaSet") | ("", "ReplicationController") => replica_set(&object),
        ("apps", "StatefulSet") => stateful_set(&object),
        ("apps", "DaemonSet") => daemon_set(&object),
        ("batch", "Job") => job(&object),
        ("", "Pod") => pod(&object),
        ("", "PersistentVolumeClaim") => by_phase(&object, &["Bound"], &["Lost"]),
        ("", "PersistentVolume") => by_phase(&object, &["Available", "Bound", "Released"], &["Failed"]),
        ("", "Namespace") => by_phase(&object, &["Active"], &[]),
        ("", "Service") => service(&object),
        ("networking.k8s.io" | "extensions", "Ingress") => {
            load_balancer(&object, "has no address from an ingress controller yet")
        }
        ("policy", "PodDisruptionBudget") => disruption_budget(&object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(&object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(&object),
        ("apiregistration.k8s.io", "APIService") => by_condition(&object, "Available"),
        ("gateway.networking.k8s.io", "Gateway") => gateway(&object),
        ("gateway.networking.k8s.io", "GatewayClass") => by_condition(&object, "Accepted"),
        ("gateway.networking.k8s.io", kind) if kind.ends_with("Route") => route(&object),
        (api::GROUP, "Rollout") => rollout(&object),
        (api::GROUP, "AnalysisRun") => analysis_run(&object),
        (api::GROUP, "Application") => application(&object),
        _ if says_nothing(id) => healthy(),
        _ => by_conditions(&object),
    }
}

/// Kinds without a status that tells anything: being there is all they do.
fn says_nothing(id: &ObjectId) -> bool {
    match id.group.as_str() {
        "" => matches!(
            id.kind.as_str(),
            "ConfigMap" | "Secret" | "ServiceAccount" | "Endpoints" | "LimitRange" | "ResourceQuota" | "PodTemplate"
        ),
        "rbac.authorization.k8s.io"
        | "storage.k8s.io"
        | "scheduling.k8s.io"
        | "node.k8s.io"
        | "discovery.k8s.io"
        | "admissionregistration.k8s.io"
        | "coordination.k8s.io" => true,
        "networking.k8s.io" => matches!(id.kind.as_str(), "NetworkPolicy" | "IngressClass" | "IPAddress" | "ServiceCIDR"),
        "gateway.networking.k8s.io" => id.kind == "ReferenceGrant",
        "batch" => id.kind == "CronJob",
        "apps" => id.kind == "ControllerRevision",
        api::GROUP => matches!(id.kind.as_str(), "Project" | "AnalysisTemplate" | "ClusterAnalysisTemplate"),
        _ => false,
    }
}

fn told(status: HealthStatus, message: &str) -> Health {
    Health { status, message: clean(message, 300) }
}

const fn healthy() -> Health {
    Health { status: HealthStatus::Healthy, message: String::new() }
}

fn progressing(message: &str) -> Health {
    told(HealthStatus::Progressing, message)
}

fn degraded(message: &str) -> Health {
    told(HealthStatus::Degraded, message)
}

struct Live<'v>(&'v Value);

impl<'v> Live<'v> {
    fn number(&self, pointer: &str) -> i64 {
        self.number_or(pointer, 0)
    }

    fn number_or(&self, pointer: &str, default: i64) -> i64 {
        self.0.pointer(pointer).and_then(Value::as_i64).unwrap_or(default)
    }

    fn text(&self, pointer: &str) -> &'v str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn items(&self, pointer: &str) -> &'v [Value] {
        self.0.pointer(pointer).and_then(Value::as_array).map_or(&[], |items| items.as_slice())
    }

    /// The condition of this type: its status, and a sentence made of reason and message.
    fn condition(&self, kind: &str) -> Option<(&'v str, String)> {
        condition_in(self.items("/status/conditions"), kind)
    }

    fn is(&self, kind: &str, status: &str) -> Option<String> {
        self.condition(kind).filter(|(found, _)| *found == status).map(|(_, sentence)| sentence)
    }
}

fn condition_in<'v>(conditions: &'v [Value], kind: &str) -> Option<(&'v str, String)> {
    let condition = conditions.iter().find(|c| c["type"] == kind)?;
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    let sentence = [text("reason"), text("message")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    Some((text("status"), if sentence.is_empty() { format!("{kind} is {}", text("status")) } else { sentence }))
}

/// kstatus' general rule: Stalled, Reconciling, Ready.
fn by_conditions(object: &Live<'_>) -> Health {
    if let Some(why) = object.is("Stalled", "True") {
        return degraded(&why);
    }
    if let Some(why) = object.is("Reconciling", "True") {
        return progressing(&why);
    }
    match object.condition("Ready") {
        Some(("True", _)) => healthy(),
        Some((_, why)) => progressing(&why),
        None => told(HealthStatus::Unknown, "says nothing about its health (no condition Ready)"),
    }
}

/// True is healthy, False is degraded, anything else is on its way.
fn by_condition(object: &Live<'_>, kind: &str) -> Health {
    verdict(object.condition(kind), kind)
}

fn verdict(condition: Option<(&str, String)>, kind: &str) -> Health {
    match condition {
        Some(("True", _)) => healthy(),
        Some(("False", why)) => degraded(&why),
        Some((_, why)) => progressing(&why),
        None => progressing(&format!("waits for condition {kind}")),
    }
}

fn by_phase(object: &Live<'_>, good: &[&str], bad: &[&str]) -> Health {
    let phase = object.text("/status/phase");
    if good.contains(&phase) {
        healthy()
    } else if bad.contains(&phase) {
        degraded(&format!("phase {phase}"))
    } else if phase.is_empty() {
        progressing("has no phase yet")
    } else {
        progressing(&format!("phase {phase}"))
    }
}

/// Pods that are there, of those that should be.
fn short(what: &str, have: i64, want: i64) -> Option<Health> {
    (have < want).then(|| progressing(&format!("{have} of {want} pods {what}")))
}

fn deployment(object: &Live<'_>) -> Health {
    if let Some(("False", why)) = object.condition("Progressing") {
        return degraded(&why);
    }
    if let Some(why) = object.is("ReplicaFailure", "True") {
        return degraded(&why);
    }
    let want = object.number_or("/spec/replicas", 1);
    let updated = object.number("/status/updatedReplicas");
    let old = object.number("/status/replicas") - updated;
    short("updated", updated, want)
        .or_else(|| (old > 0).then(|| progressing(&format!("{old} old pods to be removed"))))
        .or_else(|| short("available", object.number("/status/availableReplicas"), want))
        .or_else(|| object.0.get("status").is_none().then(|| progressing("its controller has not seen it yet")))
        .unwrap_or_else(healthy)
}

fn replica_set(object: &Live<'_>) -> Health {
    if let Some(why) = object.is("ReplicaFailure", "True") {
        return degraded(&why);
    }
    let want = object.number_or("/spec/replicas", 1);
    let extra = object.number("/status/replicas") - want;
    short("available", object.number("/status/availableReplicas"), want)
        .or_else(|| (extra > 0).then(|| progressing(&format!("{extra} pods to be removed"))))
        .unwrap_or_else(healthy)
}

fn stateful_set(object: &Live<'_>) -> Health {
    let want = object.number_or("/spec/replicas", 1);
    if let Some(waiting) = short("ready", object.number("/status/readyReplicas"), want) {
        return waiting;
    }
    // OnDelete leaves old pods alone until somebody deletes them.
    if object.text("/spec/updateStrategy/type") == "OnDelete" {
        return healthy();
    }
    let kept = object.number("/spec/updateStrategy/rollingUpdate/partition").clamp(0, want);
    let behind = object.text("/status/currentRevision") != object.text("/status/updateRevision");
    short("updated", object.number("/status/updatedReplicas"), want - kept)
        .or_else(|| (kept == 0 && behind).then(|| progressing("pods of the old revision remain")))
        .unwrap_or_else(healthy)
}

fn daemon_set(object: &Live<'_>) -> Health {
    if object.0.pointer("/status/observedGeneration").is_none() {
        return progressing("its controller has not seen it yet");
    }
    let want = object.number("/status/desiredNumberScheduled");
    let updated = object.text("/spec/updateStrategy/type") != "OnDelete";
    short("scheduled", object.number("/status/currentNumberScheduled"), want)
        .or_else(|| short("updated", object.number("/status/updatedNumberScheduled"), want).filter(|_| updated))
        .or_else(|| short("available", object.number("/status/numberAvailable"), want))
        .unwrap_or_else(healthy)
}

fn job(object: &Live<'_>) -> Health {
    if let Some(why) = object.is("Failed", "True") {
        return degraded(&why);
    }
    if object.is("Complete", "True").is_some() {
        return healthy();
    }
    if object.is("Suspended", "True").is_some() {
        return progressing("is suspended");
    }
    progressing(&format!("{} pods active, {} succeeded", object.number("/status/active"), object.number("/status/succeeded")))
}

/// Reasons of a waiting container that do not pass by themselves.
const STUCK: &[&str] = &[
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

fn pod(object: &Live<'_>) -> Health {
    let statuses = object.items("/status/initContainerStatuses").iter().chain(object.items("/status/containerStatuses"));
    let mut reasons = statuses.filter_map(|status| status.pointer("/state/waiting/reason")?.as_str());
    let stuck = reasons.find(|reason| STUCK.contains(reason));
    match (object.text("/status/phase"), stuck) {
        ("Succeeded", _) => healthy(),
        ("Failed", _) => {
            let why = [object.text("/status/reason"), object.text("/status/message")].join(" ");
            degraded(if why.trim().is_empty() { "phase Failed" } else { why.trim() })
        }
        (_, Some(reason)) => degraded(reason),
        ("Running", None) => match object.condition("Ready") {
            Some(("True", _)) => healthy(),
            Some((_, why)) => progressing(&why),
            None => progressing("waits for condition Ready"),
        },
        _ => match object.condition("PodScheduled") {
            Some(("False", why)) => progressing(&why),
            _ => progressing("is starting"),
        },
    }
}

fn service(object: &Live<'_>) -> Health {
    if object.text("/spec/type") == "LoadBalancer" { load_balancer(object, "has no address yet") } else { healthy() }
}

fn load_balancer(object: &Live<'_>, without: &str) -> Health {
    if object.items("/status/loadBalancer/ingress").is_empty() { progressing(without) } else { healthy() }
}

fn disruption_budget(object: &Live<'_>) -> Health {
    if object.0.pointer("/status/observedGeneration").is_none() {
        return progressing("its controller has not seen it yet");
    }
    let (have, want) = (object.number("/status/currentHealthy"), object.number("/status/desiredHealthy"));
    short("healthy", have, want).unwrap_or_else(healthy)
}

fn autoscaler(object: &Live<'_>) -> Health {
    if let Some(why) = object.is("AbleToScale", "False") {
        return degraded(&why);
    }
    match object.condition("ScalingActive") {
        Some(("True", _)) => healthy(),
        // Scaled to zero by hand: switched off, not broken.
        Some((_, why)) if why.starts_with("ScalingDisabled") => healthy(),
        Some(("False", why)) => degraded(&why),
        _ => progressing("waits for condition ScalingActive"),
    }
}

fn definition(object: &Live<'_>) -> Health {
    match object.is("NamesAccepted", "False") {
        Some(why) => degraded(&why),
        None => by_condition(object, "Established"),
    }
}

fn gateway(object: &Live<'_>) -> Health {
    let stale = |kind: &str| is_stale(object.items("/status/conditions"), kind, object.number("/metadata/generation"));
    for kind in ["Accepted", "Programmed"] {
        if stale(kind) {
            return progressing("its controller has not seen the last change yet");
        }
        let verdict = by_condition(object, kind);
        if verdict.status != HealthStatus::Healthy {
            return verdict;
        }
    }
    healthy()
}

/// Healthy when every parent accepted the route and resolved its references, for the present generation.
fn route(object: &Live<'_>) -> Health {
    let parents = object.items("/status/parents");
    let generation = object.number("/metadata/generation");
    if parents.is_empty() {
        return progressing("no gateway has accepted it yet");
    }
    for parent in parents {
        let conditions = parent["conditions"].as_array().map_or(&[][..], |c| c.as_slice());
        for kind in ["Accepted", "ResolvedRefs"] {
            if is_stale(conditions, kind, generation) {
                return progressing("a gateway has not seen the last change yet");
            }
            let verdict = verdict(condition_in(conditions, kind), kind);
            if verdict.status != HealthStatus::Healthy {
                return verdict;
            }
        }
    }
    healthy()
}

fn is_stale(conditions: &[Value], kind: &str, generation: i64) -> bool {
    let condition = conditions.iter().find(|c| c["type"] == kind);
    condition.and_then(|c| c["observedGeneration"].as_i64()).is_some_and(|observed| observed < generation)
}

fn rollout(object: &Live<'_>) -> Health {
    let message = object.text("/status/message");
    match object.text("/status/phase") {
        "Healthy" => healthy(),
        "Degraded" => degraded(message),
        "Progressing" | "Paused" => progressing(message),
        _ => progressing("the controller has not seen it yet"),
    }
}

fn analysis_run(object: &Live<'_>) -> Health {
    match object.text("/status/phase") {
        "Successful" | "Cancelled" => healthy(),
        "Failed" => degraded("verdict Failed"),
        "Inconclusive" | "Error" => told(HealthStatus::Unknown, object.text("/status/phase")),
        _ => progressing("measures"),
    }
}

fn application(object: &Live<'_>) -> Health {
    let message = object.text("/status/health/message");
    match object.text("/status/health/status") {
        "Healthy" => healthy(),
        "Progressing" => progressing(message),
        "Degraded" => degraded(message),
        "Missing" => told(HealthStatus::Missing, message),
        _ => told(HealthStatus::Unknown, message),
    }
}
