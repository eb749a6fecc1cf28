//! Commands: a person's wish, written to `spec.request` by the kubectl plugin and answered in `status.requests`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

/// How many answers `status.requests` keeps, newest first.
pub const KEPT_ANSWERS: usize = 3;

/// What a person asks of a Rollout. Carried out once, or visibly refused.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
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
