//! What the engine may do to the cluster: a closed list, each idempotent and carrying what it expects to find.

use json_patch::Patch;
use serde_json::Value;

use super::dress::Dress;
use super::observed::Service;
use crate::api::analysis::AnalysisRunSpec;
use crate::api::rollout::RouteId;

/// One externally visible act. Execution makes no choices: it does them in order and stops at the first that fails.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write the decision's status, by compare-and-swap on the Rollout's resourceVersion.
    RecordStatus,
    /// Set the canary's weight, and the rules for single requests, in a route by a patch that tests what was seen.
    SetWeight {
        /// The route.
        route: RouteId,
        /// The canary's largest share before, in percent.
        from: i32,
        /// The canary's weight after.
        to: i32,
        /// Names of the rules for single requests after.
        rules: Vec<String>,
        /// The patch.
        patch: Patch,
    },
    /// Point a Service at a revision, unless it changed since it was seen.
    SetSelector {
        /// Name of the Service.
        service: String,
        /// Its uid.
        uid: String,
        /// Its resourceVersion as seen.
        resource_version: String,
        /// Hash in its selector as seen.
        from: Option<String>,
        /// Hash of the revision it is to route to.
        to: String,
    },
    /// Create a revision's ReplicaSet from the spec's template.
    CreateReplicaSet {
        /// Hash of the revision.
        hash: String,
        /// Its number.
        revision: i64,
        /// Its pods.
        replicas: i32,
        /// What it wears beside the template.
        dress: Box<Dress>,
    },
    /// Change what a ReplicaSet wears beside its template, by a patch that tests its uid and resourceVersion as seen.
    DressReplicaSet {
        /// Name of the ReplicaSet.
        name: String,
        /// The patch.
        patch: Patch,
    },
    /// Give a running pod the metadata of its role, by a patch that tests its uid and resourceVersion as seen.
    DressPod {
        /// Name of the pod.
        name: String,
        /// The patch.
        patch: Patch,
    },
    /// Evict a pod, unless its uid is another than seen. A PodDisruptionBudget may say no; then nothing happens.
    EvictPod {
        /// Name of the pod.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Write a revision's new number on its ReplicaSet: an old content that comes back is a new revision.
    NumberReplicaSet {
        /// Name of the ReplicaSet.
        name: String,
        /// Its uid.
        uid: String,
        /// The number.
        revision: i64,
    },
    /// Change a ReplicaSet's size, unless its uid or its present size is another than seen.
    ScaleReplicaSet {
        /// Name of the ReplicaSet.
        name: String,
        /// Its uid.
        uid: String,
        /// Its generation as seen, for what raises risk: an old decision may find the same size again.
        generation: Option<i64>,
        /// Its size as seen.
        from: i32,
        /// Its wanted size.
        to: i32,
    },
    /// Delete an old ReplicaSet without pods, unless it changed since it was seen.
    DeleteReplicaSet {
        /// Name of the ReplicaSet.
        name: String,
        /// Its uid.
        uid: String,
        /// Its resourceVersion as seen.
        resource_version: String,
    },
    /// Write the template of an earlier revision into the spec, unless the spec changed since it was seen.
    RestoreTemplate {
        /// Hash of the revision.
        hash: String,
        /// The spec's generation as seen.
        generation: i64,
        /// The template.
        template: Box<Value>,
    },
    /// Create an AnalysisRun. Its name is its key: it is created at most once.
    CreateRun {
        /// Name.
        name: String,
        /// What it measures.
        spec: Box<AnalysisRunSpec>,
    },
    /// Ask an AnalysisRun to end.
    TerminateRun {
        /// Name.
        name: String,
        /// Its uid.
        uid: String,
        /// Its generation as seen: it is asked once, and not by who woke up late.
        generation: i64,
        /// Why, for people.
        reason: String,
    },
    /// Delete an old, completed AnalysisRun.
    DeleteRun {
        /// Name.
        name: String,
        /// Its uid.
        uid: String,
    },
}

/// A write to a route, for people: `HTTPRoute web: canary weight 0 -> 10, header routes staff`.
#[must_use]
pub fn weight_in_words(route: &RouteId, from: i32, to: i32, rules: &[String]) -> String {
    let rules = if rules.is_empty() { String::new() } else { format!(", managed routes {}", rules.join(", ")) };
    format!("{route}: canary weight {from} -> {to}{rules}")
}

impl Effect {
    /// Points a Service, as it was seen, at a revision.
    #[must_use]
    pub fn select(service: &Service, to: &str) -> Self {
        Self::SetSelector {
            service: service.name.clone(),
            uid: service.uid.clone(),
            resource_version: service.resource_version.clone(),
            from: service.hash.clone(),
            to: to.to_owned(),
        }
    }
}
