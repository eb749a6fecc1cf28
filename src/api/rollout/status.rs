//! What is true of a Rollout now, as recorded. What a later version reads of an earlier one: fields are added, never renamed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::routing::{TrafficRouting, percent};
use crate::api::Time;
use crate::api::analysis::MeasuredPhase;
use crate::api::request::RequestAnswer;

/// How many failed contents `status.holds` remembers, newest first.
pub const KEPT_HOLDS: usize = 10;
/// How many entries `status.contests` keeps.
pub const KEPT_CONTESTS: usize = 5;
/// How many entries `status.revisions` keeps, newest first.
pub const KEPT_REVISIONS: usize = 10;

/// What is true of a Rollout now.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RolloutPhase>,
    /// One sentence: why this phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What has to happen next, when something has to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_on: Option<WaitingOn>,
    /// Index of the current step; equal to `stepCount` when all are passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_step_index: Option<i32>,
    /// Number of steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_count: Option<i32>,
    /// Digest of the steps under way; changed steps start again at 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_digest: Option<String>,
    /// The traffic split, as last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// The revision that serves, and to which everything falls back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<Revision>,
    /// The revision that goes through the steps, or was stopped in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Revision>,
    /// Pods of all revisions.
    pub replicas: i32,
    /// Ready pods of all revisions.
    pub ready_replicas: i32,
    /// Available pods of all revisions.
    pub available_replicas: i32,
    /// Pods of the current template.
    pub updated_replicas: i32,
    /// Pods that an autoscaler is to compare with `spec.replicas`: those of stable, or, where revisions share the replicas, of all of them, but never more than `spec.replicas`.
    pub hpa_replicas: i32,
    /// Which pods an autoscaler is to measure: those of stable, and of the canary while it has traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// When a person asked for a restart by command; pods that are older are restarted, as with `spec.restartAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_requested_at: Option<Time>,
    /// The restart that was carried out last: the later of `spec.restartAt` and `restartRequestedAt` by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<Time>,
    /// Since when the rollout waits at a step; survives restarts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pause_conditions: Vec<PauseCondition>,
    /// The canary was stopped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub abort: bool,
    /// When it was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aborted_at: Option<Time>,
    /// How often this revision was tried: 1, and one more for each `retry` or change of steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// The remaining steps of this attempt are skipped: a person asked for it, or `rollbackWindow` allows it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub promote_full: bool,
    /// Set from the point of no return of a promotion until it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoting: Option<Promoting>,
    /// Why the canary was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Answers to commands, newest first, at most 3.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestAnswer>,
    /// Revisions and the commits they came from, newest first, at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<Revision>,
    /// Contents that failed and are not rolled out again, newest first, at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Hold>,
    /// ReplicaSets that are scaled down when their delay has passed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scale_downs: Vec<ScaleDown>,
    /// While the rollout waits for pods: when the newest of them became ready. The progress deadline counts from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// AnalysisRuns of this attempt whose verdict Failed a person passed over by `promote`, with `onFailure: Pause`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overruled: Vec<String>,
    /// An `undo` under way: what it writes into the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undoing: Option<Undoing>,
    /// What others reset lately, newest first, at most 5.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contests: Vec<Contest>,
    /// Conditions; see the reference for types and reasons.
    #[schemars(schema_with = "crate::api::schema::conditions")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// One word for the state of a Rollout.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum RolloutPhase {
    /// Something is under way.
    Progressing,
    /// Waits for a time, for evidence to become usable, or for a person.
    Paused,
    /// Stable serves at full strength and is what the spec asks for.
    Healthy,
    /// Stable serves, but what the spec asks for was stopped, is held, or is impossible.
    Degraded,
}

/// What has to happen next.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
pub struct WaitingOn {
    /// A fixed word.
    pub reason: WaitingReason,
    /// Since when.
    pub since: Time,
    /// In words, with the numbers.
    pub detail: String,
}

/// The closed list of things a rollout can wait for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum WaitingReason {
    /// Pods of the canary to become ready.
    PodsReady,
    /// Pods of stable to become ready.
    StableReady,
    /// The gateway to confirm a weight.
    WeightVerified,
    /// A timed pause to end.
    Pause,
    /// A person's `promote`.
    UserPromotion,
    /// An analysis to end.
    Analysis,
    /// A usable measurement at this weight.
    Evidence,
    /// The delay before a ReplicaSet is scaled down.
    ScaleDownDelay,
    /// Prometheus.
    Prometheus,
}

/// The traffic split. Both sum to `maxTrafficWeight`: percent, where that is not given.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Weights {
    /// Traffic on the canary Service.
    pub canary: i32,
    /// Traffic on the stable Service.
    pub stable: i32,
    /// The gateway confirmed this split.
    pub verified: bool,
    /// When it first did, for the present split and canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
}

impl Weights {
    /// The canary's part and stable's in percent, for people.
    #[must_use]
    pub fn percent(&self) -> (String, String) {
        let of = |part| percent(part, self.canary.saturating_add(self.stable));
        (of(self.canary), of(self.stable))
    }
}

impl Failure {
    /// The traffic it had in percent, for people.
    #[must_use]
    pub fn percent(&self) -> String {
        percent(self.weight, self.max_traffic_weight.unwrap_or(TrafficRouting::WHOLE))
    }
}

/// One revision of the pod template.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Identity in names and labels: the first characters of the digest.
    pub hash: String,
    /// 1, 2, 3 ... in the order of appearance.
    pub revision: i64,
    /// Digest of the canonical pod template.
    pub digest: String,
    /// The Git commit that brought it, when it came from Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When its promotion was complete; none for one that was never promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_at: Option<Time>,
}

/// Why and since when the rollout pauses.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseCondition {
    /// Why.
    pub reason: PauseReason,
    /// Since when.
    pub start_time: Time,
}

/// Why a rollout pauses.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum PauseReason {
    /// A `pause` step.
    CanaryPauseStep,
    /// An analysis could not tell good from bad.
    InconclusiveAnalysis,
    /// An analysis got no usable measurements.
    AnalysisError,
    /// An analysis failed, with `onFailure: Pause`.
    FailedAnalysis,
    /// A person's `pause`.
    PausedByUser,
}

/// The point of no return of a promotion was passed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
pub struct Promoting {
    /// The revision that becomes stable.
    pub hash: String,
    /// Since when.
    pub at: Time,
}

/// An object that somebody else keeps resetting.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Contest {
    /// Kind and name.
    pub object: String,
    /// Field manager that reset it last.
    pub manager: String,
    /// How often, each time within ten minutes of the one before.
    pub count: i32,
    /// When it was reset first.
    pub since: Time,
    /// When it was reset last.
    pub at: Time,
    /// Generation or resourceVersion that the reset left.
    pub version: String,
}

/// An `undo` under way.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Undoing {
    /// Id of the request.
    pub request: String,
    /// The revision to go back to.
    pub revision: i64,
    /// Its hash.
    pub hash: String,
    /// Its digest.
    pub digest: String,
    /// Digest of the template that it replaces.
    pub from: String,
}

/// How far the pods of a new revision are, while more of them are waited for.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Since when there was none: the last pod became ready, or the waiting began.
    pub since: Time,
    /// The most pods that were ready at once.
    pub ready: i32,
    /// The most pods that were available at once.
    pub available: i32,
    /// How many are waited for.
    pub wanted: i32,
    /// Since when all of stable's pods are available; none while some are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_ready_since: Option<Time>,
}

/// Why a canary was stopped. What write-back acts upon.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// `<rollout uid>/<revision>/<attempt>`.
    pub id: String,
    /// What stopped it.
    pub cause: FailureCause,
    /// Revision that was stopped.
    pub revision: i64,
    /// Digest of its pod template.
    pub template_digest: String,
    /// The commit that brought it, when it came from Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Verdict of the analysis, when one stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<MeasuredPhase>,
    /// Name of the AnalysisRun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis_run: Option<String>,
    /// Name of the metric that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// What was measured, in words.
    pub evidence: String,
    /// Index of the step it was stopped at.
    pub step: i32,
    /// Number of steps.
    pub steps: i32,
    /// Traffic it had: percent, where `maxTrafficWeight` is not given.
    pub weight: i32,
    /// `maxTrafficWeight` at that time, where it was not 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_traffic_weight: Option<i32>,
    /// When this attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the verdict fell.
    pub at: Time,
}

/// What can stop a canary.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum FailureCause {
    /// Verdict Failed of an analysis.
    AnalysisFailed,
    /// Its pods were started and were not ready by the progress deadline, while stable's were.
    NotReady,
    /// A person's `abort`.
    AbortedByUser,
}

/// A content that failed: it is not rolled out again until it changes or somebody retries.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
pub struct Hold {
    /// Digest of the pod template.
    pub digest: String,
    /// What stopped it.
    pub reason: FailureCause,
    /// Since when.
    pub since: Time,
    /// Id of the failure.
    pub failure: String,
    /// In words: what was measured then.
    pub message: String,
}

/// A ReplicaSet that waits to be scaled down.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
pub struct ScaleDown {
    /// Hash of the revision.
    pub hash: String,
    /// When it may be scaled down.
    pub at: Time,
}
