//! `slo` metrics: what an error is and how many are allowed; and what came of measuring it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, Percent, Time};

/// An SLO: tolerated is, at every moment, a canary that fails at most `maxRatioToStable` times as often as stable does, plus `ignoreBelow`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.errors) != has(self.slow)").message("an slo has exactly one of errors, slow"))]
pub struct Slo {
    /// Counters of failed requests: a PromQL selector without functions, with `{{arm.service}}` or another placeholder that tells canary and stable apart. No series means no errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub errors: Option<String>,
    /// Requests that took too long are errors, in place of `errors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<Slow>,
    /// Counters of all requests, likewise. No series means that nothing is known.
    #[schemars(length(min = 1, max = 4096))]
    pub total: String,
    /// How many of the requests may fail: `1%`.
    pub budget: Percent,
    /// How many times worse than stable is still fine, 1..100. Default 1.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_ratio_to_stable: Option<serde_json::Number>,
    /// Differences smaller than this never matter; at most the budget. Default: a twentieth of the budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_below: Option<Percent>,
    /// What happens while canary and stable are both over budget: a shared outage, for which the canary is not to blame. Default Pause.
    #[serde(default, skip_serializing_if = "WhenStableBurnsToo::is_pause")]
    pub when_stable_burns_too: WhenStableBurnsToo,
    /// For so long after the attempt began, the canary may be cold: five times as many errors as stable has are fine, and so is what the budget allows. Default 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Duration>,
    /// In an AnalysisRun: the same queries for stable; the others are the canary's. Filled in by Tidegate; not for templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<SloQueries>,
}

impl Slo {
    /// The query that counts a part of `total`: failed requests, or, where `slow` is set, fast ones.
    #[must_use]
    pub fn part(&self) -> Option<&str> {
        self.errors.as_deref().or_else(|| Some(self.slow.as_ref()?.bucket.as_str()))
    }
}

/// Requests that are too slow: those that are in no bucket up to a bound.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct Slow {
    /// Selector of the histogram's `_bucket` counters, without `le`.
    #[schemars(length(min = 1, max = 4096))]
    pub bucket: String,
    /// The bound, as the label `le` has it: `0.3`.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9.eE+-]+$"))]
    pub le: String,
}

/// The queries of one arm, with everything filled in.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct SloQueries {
    /// Counters of all requests.
    #[schemars(length(min = 1, max = 8192))]
    pub total: String,
    /// Counters of failed requests, or of fast ones where `slow` is set.
    #[schemars(length(min = 1, max = 8192))]
    pub part: String,
}

/// What a shared outage does to the rollout.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum WhenStableBurnsToo {
    /// It waits where it is, until stable is within budget again.
    #[default]
    Pause,
    /// It goes on.
    Continue,
}

impl WhenStableBurnsToo {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_pause(&self) -> bool {
        *self == Self::Pause
    }
}

/// How sure a verdict on the SLOs of a rollout has to be.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct Evidence {
    /// A good canary is rolled back in at most the rest of attempts.
    pub confidence: Percent,
    /// A canary that is over budget is accepted early in at most the rest.
    pub accept: Percent,
    /// What was counted before belongs to others: when the canary was about to get its first requests.
    pub baseline: Time,
}

/// What is known of an SLO: the evidence of one attempt.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SloResult {
    /// What the canary did since the attempt began.
    pub canary: SloCounts,
    /// What stable did.
    pub stable: SloCounts,
    /// How much more likely the counts are if the canary is worse than tolerated, in three digits: `0.31`, `1.2e4`.
    pub evidence: String,
    /// With so much the canary is rolled back: `100`.
    pub needed: String,
    /// How much more errors vary than by chance, and how that is known: `phi 1.5, assumed: there is no history`.
    pub dispersion: String,
    /// Confirmation of the weight at which the canary is good beyond doubt; none while it is not, at the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Time>,
    /// Canary and stable are both over budget beyond doubt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared_outage: bool,
    /// Begin of what was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_sample_at: Option<Time>,
    /// End of what was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sample_at: Option<Time>,
    /// The evidence over time, at most 64 points: seconds since `firstSampleAt` and evidence, in turn. The first number says how many rounds lie between two points.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub curve: String,
    /// What a restart goes on from. Not for reading.
    pub ledger: String,
}

/// Requests of one arm.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct SloCounts {
    /// Requests.
    pub requests: i64,
    /// Failed ones, or too slow ones.
    pub errors: i64,
}
