//! Why pods are not ready: the new version's own fault, or the cluster's. Pure.
//!
//! Only the first may stop a canary and be taken back in Git, so it has to be shown: containers that were started and
//! crash, or run and fail their probes. Whatever else keeps a pod from starting (no room, no quota, no image, a lost
//! node, a volume) is waited for. Where pods of one revision differ, the cluster's fault wins.

use std::fmt;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus};

/// Longest text that is taken over from the cluster, in characters.
const SHOWN: usize = 240;
/// What the kubelet calls an image that it cannot get.
const IMAGE: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];

/// What keeps pods from being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Their containers were started, and crash or fail their probes: the new version's fault.
    NotReady,
    /// Something else keeps them from starting: a ConfigMap that is missing, a readiness gate.
    Starting,
    /// They run on a node that is silent.
    NodeLost,
    /// An image cannot be pulled.
    ImagePull,
    /// No node has room for them, or fits them.
    Unschedulable,
    /// A rule of the cluster refuses them: admission, Pod Security, a missing service account.
    Refused,
    /// The namespace's quota is used up.
    QuotaExceeded,
}

/// Why some pods of a revision are not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The kind; where pods differ, the one that least speaks against the new version.
    pub kind: Kind,
    /// In words, of one pod for all.
    pub detail: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

fn trouble(kind: Kind, detail: impl Into<String>) -> Trouble {
    Trouble { kind, detail: shown(&detail.into()) }
}

fn shown(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !c.is_control()).collect();
    let mut words = clean.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = words.char_indices().nth(SHOWN) {
        words.truncate(cut);
        words.push('…');
    }
    words
}

/// Why pods of this ReplicaSet are missing or not ready, judged by its own condition and its pods. None when no pod is in
/// trouble, or they are just starting. Pods that end, or were ended by the cluster, say nothing: others take their place.
#[must_use]
pub fn of<'a>(set: &ReplicaSet, pods: impl IntoIterator<Item = &'a Pod>) -> Option<Trouble> {
    let refused = refused(set);
    // Of equals the first by its words: the order of a list says nothing, and a status that changes with it is written for nothing.
    pods.into_iter().filter_map(of_pod).chain(refused).max_by(|a, b| a.kind.cmp(&b.kind).then_with(|| b.detail.cmp(&a.detail)))
}

/// The ReplicaSet's controller could not create pods: quota, an admission rule, a missing service account.
fn refused(set: &ReplicaSet) -> Option<Trouble> {
    let conditions = set.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    let message = failure.message.clone().unwrap_or_default();
    let kind = if message.contains("exceeded quota") { Kind::QuotaExceeded } else { Kind::Refused };
    Some(trouble(kind, format!("no pod is created: {message}")))
}

fn of_pod(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let ended = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
    let lost = status.reason.as_deref() == Some("NodeLost");
    if lost {
        return Some(trouble(Kind::NodeLost, "its node does not answer"));
    }
    if ended || pod.metadata.deletion_timestamp.is_some() || is(status, "Ready", "True") {
        return None;
    }
    if let Some(scheduled) = condition(status, "PodScheduled").filter(|c| c.status == "False") {
        let why = scheduled.message.clone().unwrap_or_default();
        return Some(match scheduled.reason.as_deref() {
            Some("Unschedulable") => trouble(Kind::Unschedulable, format!("no node takes it: {why}")),
            _ => trouble(Kind::Starting, format!("it waits to be scheduled: {why}")),
        });
    }
    // The node's controller sets only the pod's own condition; what the kubelet said last of the containers stays.
    let gated = condition(status, "Ready").and_then(|c| c.reason.as_deref()) == Some("ReadinessGatesNotReady");
    if is(status, "Ready", "False") && is(status, "ContainersReady", "True") && !gated {
        return Some(trouble(Kind::NodeLost, "its node does not answer"));
    }
    if gated {
        return Some(trouble(Kind::Starting, "its readiness gates are not passed yet"));
    }
    of_containers(status)
}

fn of_containers(status: &PodStatus) -> Option<Trouble> {
    let init = status.init_container_statuses.iter().flatten();
    let all: Vec<&ContainerStatus> = init.chain(status.container_statuses.iter().flatten()).collect();
    let found = all.iter().filter_map(|container| of_container(container)).max_by_key(|trouble| trouble.kind);
    if found.is_some() {
        return found;
    }
    let own: Vec<&ContainerStatus> = status.container_statuses.iter().flatten().collect();
    let running = |c: &&ContainerStatus| c.state.as_ref().is_some_and(|state| state.running.is_some());
    if !own.is_empty() && own.iter().all(running) {
        let names: Vec<&str> = own.iter().filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
        return Some(trouble(Kind::NotReady, format!("container {} runs and is not ready", names.join(", "))));
    }
    None
}

/// What one container says; none when it neither waits for anything nor crashed.
fn of_container(container: &ContainerStatus) -> Option<Trouble> {
    let name = &container.name;
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or("");
    let said = waiting.and_then(|waiting| waiting.message.clone()).unwrap_or_default();
    if IMAGE.contains(&reason) || reason.contains("Image") {
        return Some(trouble(Kind::ImagePull, format!("the image of container {name} cannot be pulled: {reason}: {said}")));
    }
    let ended = [&container.state, &container.last_state].into_iter().flatten();
    // What a node lost track of while it was away is no crash.
    let crashed = |end: &&ContainerStateTerminated| end.exit_code != 0 && end.reason.as_deref() != Some("ContainerStatusUnknown");
    let last = ended.filter_map(|state| state.terminated.as_ref()).find(crashed);
    match last {
        Some(last) if !container.ready => {
            let why = last.reason.as_deref().unwrap_or("Error");
            // Without the number of restarts: a status that counts is written again and again.
            Some(trouble(Kind::NotReady, format!("container {name} crashes: {why}, exit code {}", last.exit_code)))
        }
        _ if reason == "CrashLoopBackOff" => Some(trouble(Kind::NotReady, format!("container {name} ends again and again"))),
        _ if !matches!(reason, "" | "ContainerCreating" | "PodInitializing") => {
            Some(trouble(Kind::Starting, format!("container {name} waits: {reason}: {said}")))
        }
        _ => None,
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn is(status: &PodStatus, kind: &str, value: &str) -> bool {
    condition(status, kind).is_some_and(|condition| condition.status == value)
}

#[cfg(test)]
mod tests;
