//! `Rollout`: how a new revision of a workload goes live. Field names and semantics follow Argo Rollouts' canary strategy.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::analysis::{Argument, MeasuredPhase};
use super::request::{RequestAnswer, RolloutRequest};
use super::{Duration, Time};

/// How many failed contents `status.holds` remembers, newest first.
pub const KEPT_HOLDS: usize = 10;
/// How many entries `status.revisions` keeps, newest first.
pub const KEPT_REVISIONS: usize = 10;

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
    /// How new revisions go live.
    pub strategy: Strategy,
    /// A person's command, written by `kubectl tidegate`; never kept in Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RolloutRequest>,
}

const fn one() -> i32 {
    1
}

const fn ten() -> i32 {
    10
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

/// The canary strategy.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.stableService != self.canaryService").message("canaryService must be another Service than stableService"))]
pub struct Canary {
    /// Service whose pods are the stable revision's.
    #[schemars(length(min = 1, max = 63))]
    pub stable_service: String,
    /// Service whose pods are the canary's; another one than `stableService`.
    #[schemars(length(min = 1, max = 63))]
    pub canary_service: String,
    /// What splits the traffic.
    pub traffic_routing: TrafficRouting,
    /// The steps, in order. None: straight to promotion, as soon as the new pods are ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub steps: Vec<Step>,
    /// Analysis in the background of the steps, until promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<BackgroundAnalysis>,
    /// How long the old stable ReplicaSet is kept after a promotion. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_seconds: Option<Duration>,
    /// How long an aborted canary's pods are kept, for inspection; 0 keeps them. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_scale_down_delay_seconds: Option<Duration>,
}

/// What splits the traffic between stable and canary.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficRouting {
    /// Gateway API routes.
    #[serde(rename = "gatewayAPI")]
    pub gateway_api: GatewayApi,
}

/// Gateway API routes whose backend weights are set.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayApi {
    /// HTTPRoutes in the Rollout's namespace. In every rule that names both Services, their weights are set; nothing else is touched.
    #[schemars(length(min = 1, max = 20))]
    pub http_routes: Vec<RouteRef>,
}

/// A route by name.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct RouteRef {
    /// Name of the route, in the Rollout's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One step: exactly one of the fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.setWeight), has(self.pause), has(self.analysis)].filter(x, x).size() == 1").message("a step has exactly one of setWeight, pause, analysis"))]
pub struct Step {
    /// Percent of traffic for the canary, 0..100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub set_weight: Option<i32>,
    /// Wait for a time, or for a person's `promote` when no duration is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Run an analysis to its end; go on when it is Successful.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<StepAnalysis>,
}

/// A pause.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct Pause {
    /// How long; none waits for a person's `promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
}

/// An analysis as a step.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct StepAnalysis {
    /// The templates; their metrics are measured together.
    #[schemars(length(min = 1, max = 10))]
    pub templates: Vec<TemplateRef>,
    /// Values for the templates' arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub args: Vec<Argument>,
}

/// An analysis in the background.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackgroundAnalysis {
    /// The templates; their metrics are measured together.
    #[schemars(length(min = 1, max = 10))]
    pub templates: Vec<TemplateRef>,
    /// Values for the templates' arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub args: Vec<Argument>,
    /// Index of the step at which it begins. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub starting_step: Option<i32>,
}

/// A template by name.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRef {
    /// Name of an AnalysisTemplate in the Rollout's namespace, or of a ClusterAnalysisTemplate.
    #[schemars(length(min = 1, max = 253))]
    pub template_name: String,
    /// A ClusterAnalysisTemplate is meant. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster_scope: bool,
}

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
    /// A person asked to skip the remaining steps of this attempt.
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
    /// Conditions; see the reference for types and reasons.
    #[schemars(schema_with = "super::schema::conditions")]
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
    /// The Git server.
    Git,
    /// Prometheus.
    Prometheus,
    /// The API server.
    ApiServer,
    /// A person to release a brake.
    Brake,
}

/// The traffic split in percent.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Weights {
    /// Percent of traffic on the canary Service.
    pub canary: i32,
    /// Percent of traffic on the stable Service.
    pub stable: i32,
    /// The gateway confirmed this split.
    pub verified: bool,
    /// When it first did, for the present split and canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
}

/// One revision of the pod template.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
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
}

/// The point of no return of a promotion was passed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
pub struct Promoting {
    /// The revision that becomes stable.
    pub hash: String,
    /// Since when.
    pub at: Time,
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
    /// Percent of traffic it had.
    pub weight: i32,
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
