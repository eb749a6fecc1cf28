//! Commands: a person's wish, written to `spec.request` by the kubectl plugin and answered in `status.requests`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

/// How many answers `status.requests` keeps, newest first.
pub const KEPT_ANSWERS: usize = 3;

/// What a person asks of a Rollout. Carried out once, or visibly refused.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.toRevision) || self.action == 'undo'").message("spec.request.toRevision is for the action undo"))]
pub struct RolloutRequest {
    /// Unique per wish; the answer carries the same id.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub id: String,
    /// What to do.
    pub action: RolloutAction,
    /// The revision that the person saw; another one by now refuses the request as Superseded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub revision: Option<i64>,
    /// The step index that the person saw; another one by now refuses `promote` as Superseded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub step: Option<i32>,
    /// For `undo`: the revision to go back to. Without it, stable while a canary is there, else the one promoted before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub to_revision: Option<i64>,
}

/// The verbs of [`RolloutRequest`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum RolloutAction {
    /// Leave a pause, or pass the current step.
    #[serde(rename = "promote")]
    Promote,
    /// Skip all remaining steps.
    #[serde(rename = "promoteFull")]
    PromoteFull,
    /// Send traffic back to stable and hold this content.
    #[serde(rename = "abort")]
    Abort,
    /// Start again at the first step, lifting the hold.
    #[serde(rename = "retry")]
    Retry,
    /// Let nothing go on until `resume`; weights stay as they are.
    #[serde(rename = "pause")]
    Pause,
    /// End a `pause`.
    #[serde(rename = "resume")]
    Resume,
    /// Write the template of an earlier, promoted revision back into the spec. Not for Rollouts that come from Git.
    #[serde(rename = "undo")]
    Undo,
    /// Evict the pods that are there now, a few at a time, so that they come up anew; as `spec.restartAt` at this moment.
    #[serde(rename = "restart")]
    Restart,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum Outcome {
    /// Carried out.
    Done,
    /// Not possible in this state; the message says why.
    Refused,
    /// The Rollout moved on since the person looked.
    Superseded,
}

/// The answer to a request.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestAnswer {
    /// Id of the request.
    pub id: String,
    /// What was asked.
    pub action: RolloutAction,
    /// How it ended.
    pub outcome: Outcome,
    /// In words.
    pub message: String,
    /// When it was decided.
    pub at: Time,
}
