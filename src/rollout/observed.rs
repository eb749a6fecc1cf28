//! One snapshot of the cluster, as the decision sees it: data only, no handles, with `now` in it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::managers::Contender;
use super::trouble::Trouble;
use crate::api::analysis::{AnalysisRunStatus, Metric, RunPhase, Subject};
use crate::api::rollout::RouteId;
use crate::traffic::gateway::Gateway;

/// Everything the decision may know of the world.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The wall clock, cut to microseconds so that it survives the way through status.
    pub now: Timestamp,
    /// ReplicaSets owned by the Rollout.
    pub replica_sets: Vec<ReplicaSet>,
    /// The stable Service; none when it does not exist.
    pub stable_service: Option<Service>,
    /// The canary Service; none when it does not exist.
    pub canary_service: Option<Service>,
    /// The routes of the spec, in its order, each with the live object when it exists.
    pub routes: Vec<(RouteId, Option<Value>)>,
    /// Rules of routes keep a name; false before Gateway API 1.4. Looked up only when the first rule is to be added.
    pub rules_have_names: bool,
    /// Gateways that the routes name.
    pub gateways: Vec<Gateway>,
    /// AnalysisRuns with the Rollout's label. One that it does not own has a subject without `rolloutUid`: it counts for
    /// nothing and is left alone, but its name is taken.
    pub runs: Vec<Run>,
    /// Metrics of the background analysis, or why they cannot be resolved.
    pub background: Option<Result<Vec<Metric>, String>>,
    /// Metrics of the analysis steps by index, or why they cannot be resolved.
    pub step_metrics: BTreeMap<usize, Result<Vec<Metric>, String>>,
    /// What the API server says of the pod template.
    pub template: TemplateCheck,
    /// Pods of the Rollout's ReplicaSets; looked up only while metadata by role or a restart asks for it.
    pub pods: Vec<Pod>,
    /// Routes and Services (`HTTPRoute web`, `Service web-stable`) whose weights or selector somebody else wrote last.
    pub contenders: BTreeMap<String, Contender>,
    /// Templates of earlier revisions by hash, as they were written; looked up only while an `undo` is asked for.
    pub templates: BTreeMap<String, Value>,
    /// Why pods of the spec's revision are not ready; none when all are, or while nobody says anything.
    pub trouble: Option<Trouble>,
}

/// What the API server says of the spec's pod template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateCheck {
    /// Its ReplicaSet exists, or a dry run of creating it was accepted.
    Accepted,
    /// A dry run of creating its ReplicaSet was refused, in the API server's words.
    Refused(String),
}

/// A ReplicaSet of the Rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`: how often its spec changed.
    pub generation: i64,
    /// Hash of its revision, from its label.
    pub hash: String,
    /// Its revision, from its label; 0 when the label is missing.
    pub revision: i64,
    /// `spec.replicas`.
    pub wanted: i32,
    /// `status.replicas`.
    pub current: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// It is being deleted.
    pub deleting: bool,
    /// What it wears beside its template.
    pub worn: Worn,
}

/// What a ReplicaSet's template, or a pod, wears that may change without a new revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worn {
    /// `spec.minReadySeconds` of a ReplicaSet; 0 for a pod.
    pub min_ready_seconds: i32,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec.affinity` of a ReplicaSet's template, null where there is none; null for a pod.
    pub affinity: Value,
}

/// A pod of one of the Rollout's ReplicaSets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Hash of its revision, from its label.
    pub hash: String,
    /// When it was created, to the second.
    pub created: Timestamp,
    /// It is ready.
    pub ready: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// Its labels and annotations.
    pub worn: Worn,
}

/// A Service, and what it routes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// The pod-template-hash in its selector.
    pub hash: Option<String>,
    /// Does it have a selector at all?
    pub has_selector: bool,
    /// Ready endpoints by the hash of their pod; endpoints of unknown pods under the empty hash.
    pub ready_endpoints: BTreeMap<String, i32>,
}

impl Service {
    /// Are there at least `wanted` ready endpoints, and all of them pods of `hash`?
    #[must_use]
    pub fn serves_only(&self, hash: &str, wanted: i32) -> bool {
        let right = self.ready_endpoints.get(hash).copied().unwrap_or(0);
        let all: i32 = self.ready_endpoints.values().sum();
        self.hash.as_deref() == Some(hash) && right >= wanted && right == all
    }
}

/// An AnalysisRun of the Rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// `metadata.generation`; moves with its spec, not with what it measures.
    pub generation: i64,
    /// When it was created.
    pub created: Timestamp,
    /// What it measures.
    pub subject: Subject,
    /// Names of its metrics that decide nothing.
    pub dry_run: Vec<String>,
    /// It was asked to end.
    pub terminating: bool,
    /// What it found so far.
    pub status: AnalysisRunStatus,
}

impl Run {
    /// Has it a verdict, or was it cancelled?
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.status.completed_at.is_some()
    }

    /// Shorthand.
    #[must_use]
    pub fn phase(&self) -> RunPhase {
        self.status.phase
    }
}

impl Observed {
    /// The ReplicaSet of a revision.
    #[must_use]
    pub fn replica_set(&self, hash: &str) -> Option<&ReplicaSet> {
        self.replica_sets.iter().find(|rs| rs.hash == hash && !rs.deleting)
    }

    /// Ready pods of a revision.
    #[must_use]
    pub fn ready(&self, hash: &str) -> i32 {
        self.replica_set(hash).map_or(0, |rs| rs.ready)
    }
}
