//! `Rollout`: how a new revision of a workload goes live. Field names and semantics follow Argo Rollouts' canary strategy.

mod canary;
mod routing;
mod status;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;
use super::Time;
use super::request::RolloutRequest;

pub use canary::*;
pub use routing::*;
pub use status::*;

/// A workload whose new revisions go live step by step.
#[derive(CustomResource, KubeSchema, Clone, Debug, Serialize, Deserialize, PartialEq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "Rollout",
    plural = "rollouts",
    shortname = "ro",
    category = "tidegate",
    category = "all",
    namespaced,
    status = "RolloutStatus",
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.hpaReplicas", label_selector_path = ".status.selector"),
    derive = "PartialEq",
    doc = "A workload whose new revisions go live step by step, and go back when their SLOs turn bad.",
    validation = Rule::new("size(self.metadata.name) <= 52").message("a Rollout's name may have at most 52 characters, because its ReplicaSets and AnalysisRuns carry it in their names"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Progressing, Paused, Healthy or Degraded"),
    printcolumn(name = "Step", type_ = "integer", json_path = ".status.currentStepIndex", description = "Index of the current step"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.weights.canary", description = "Percent of traffic on the canary"),
    printcolumn(name = "Stable", type_ = "string", json_path = ".status.stable.hash", description = "Hash of the stable revision", priority = "1"),
    printcolumn(name = "Canary", type_ = "string", json_path = ".status.canary.hash", description = "Hash of the canary revision", priority = "1"),
    printcolumn(name = "Waiting on", type_ = "string", json_path = ".status.waitingOn.reason", description = "What the rollout waits for"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", description = "Why", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Wanted number of pods of the stable revision. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: i32,
    /// Which pods belong to this Rollout; must match the template's labels. Cannot be changed, as in a Deployment.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.selector cannot be changed; create a new Rollout instead"))]
    pub selector: Selector,
    /// The pod template. A change of it, and only of it, starts a canary.
    #[schemars(schema_with = "super::schema::pod_template")]
    pub template: serde_json::Value,
    /// How many old ReplicaSets are kept. Default 10.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 100))]
    pub revision_history_limit: i32,
    /// How long a new pod must be ready, without a crash, to count as available; 0..86400 seconds. Default 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 86_400))]
    pub min_ready_seconds: i32,
    /// Pods of stable that are older than this are evicted, a few at a time, and come up anew; in the future, it waits. PodDisruptionBudgets are honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<Time>,
    /// How new revisions go live.
    pub strategy: Strategy,
    /// Nothing goes on while this is set: no revision begins, no step is passed, weights stay as they are. Verdicts still act. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// How long pods of a new revision may take until the next of them is ready; pauses and analyses do not count. Then the Rollout is Degraded. Default 600s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<Duration>,
    /// At that deadline a canary is aborted whose containers were started and crash or fail their probes, while stable is ready. Default true.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub progress_deadline_abort: bool,
    /// Going back to a revision that was promoted a little while ago skips steps and analyses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_window: Option<RollbackWindow>,
    /// How many completed AnalysisRuns of earlier attempts are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<RunHistory>,
    /// A person's command, written by `kubectl tidegate`; never kept in Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RolloutRequest>,
}

const fn one() -> i32 {
    1
}

const fn is_zero(number: &i32) -> bool {
    *number == 0
}

const fn ten() -> i32 {
    10
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_true(value: &bool) -> bool {
    *value
}

/// How far back is a rollback without steps.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct RollbackWindow {
    /// Among how many of the last promoted revisions before stable the content must be.
    #[schemars(range(min = 1, max = 10))]
    pub revisions: i32,
}

/// How many completed AnalysisRuns are kept. Those of the present attempt always are.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunHistory {
    /// Successful ones, and those that nobody needed any more. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub successful_run_history_limit: Option<i32>,
    /// Failed and Inconclusive ones. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub unsuccessful_run_history_limit: Option<i32>,
}

/// Equality-based label selector.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels that pods must carry; at least one.
    #[schemars(schema_with = "super::schema::labels")]
    #[x_kube(validation = Rule::new("!('tidegate.dev/pod-template-hash' in self)").message("spec.selector.matchLabels must not name tidegate.dev/pod-template-hash; it is added for each revision"))]
    pub match_labels: BTreeMap<String, String>,
}

/// How new revisions go live.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// Step by step, with traffic weights.
    pub canary: Canary,
}
