//! `AnalysisTemplate`, `ClusterAnalysisTemplate` and `AnalysisRun`: what is measured, and what was found.
//! Field names and semantics follow Argo Rollouts, with one difference: missing data is neither success nor failure.
#![expect(clippy::duplicated_attributes, reason = "the lint takes two printer columns' `type_` for one attribute given twice")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::slo::{Evidence, Slo, SloResult};
use super::{Duration, Time};

/// How many measurements per metric a run's status keeps, newest last.
pub const KEPT_MEASUREMENTS: usize = 20;

/// Metrics and conditions for Rollouts of one namespace.
#[derive(CustomResource, KubeSchema, Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "AnalysisTemplate",
    plural = "analysistemplates",
    shortname = "at",
    category = "tidegate",
    namespaced,
    derive = "PartialEq",
    doc = "What is measured of a canary, and what counts as good.",
    printcolumn(name = "First metric", type_ = "string", json_path = ".spec.metrics[0].name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct AnalysisTemplateSpec {
    /// Arguments that queries may use as `{{args.NAME}}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, b.name == a.name))").message("two args have the same name"))]
    pub args: Vec<Argument>,
    /// The metrics; one that fails fails the analysis.
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, b.name == a.name))").message("two metrics have the same name"))]
    pub metrics: Vec<Metric>,
}

/// Metrics and conditions for Rollouts of all namespaces.
#[derive(CustomResource, KubeSchema, Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "ClusterAnalysisTemplate",
    plural = "clusteranalysistemplates",
    shortname = "cat",
    category = "tidegate",
    derive = "PartialEq",
    doc = "What is measured of a canary, and what counts as good, for all namespaces.",
    printcolumn(name = "First metric", type_ = "string", json_path = ".spec.metrics[0].name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ClusterAnalysisTemplateSpec {
    /// Arguments that queries may use as `{{args.NAME}}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, b.name == a.name))").message("two args have the same name"))]
    pub args: Vec<Argument>,
    /// The metrics; one that fails fails the analysis.
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, b.name == a.name))").message("two metrics have the same name"))]
    pub metrics: Vec<Metric>,
}

/// A named value. In a template, `value` is the default; without one the Rollout must give it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct Argument {
    /// Name, as in `{{args.NAME}}`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$"))]
    pub name: String,
    /// Value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
}

/// A value that a Rollout gives to its templates: `value` or `valueFrom`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.valueFrom)").message("an argument has exactly one of value, valueFrom"))]
pub struct GivenArgument {
    /// Name, as a template declares it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$"))]
    pub name: String,
    /// Value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
    /// Where the value is taken from when the analysis begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ArgumentSource>,
}

/// Where an argument's value is taken from: exactly one of the fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.podTemplateHashValue) != has(self.fieldRef)").message("valueFrom has exactly one of podTemplateHashValue, fieldRef"))]
pub struct ArgumentSource {
    /// The hash of a revision, as its pods have it in the label `tidegate.dev/pod-template-hash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template_hash_value: Option<WhichRevision>,
    /// A field of the Rollout itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
}

/// One of the two revisions of an analysis.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum WhichRevision {
    /// The canary's.
    Latest,
    /// Stable's.
    Stable,
}

/// A field of the Rollout's metadata.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldRef {
    /// `metadata.name`, `metadata.namespace`, `metadata.uid`, `metadata.labels['KEY']` or `metadata.annotations['KEY']`.
    #[schemars(
        length(min = 1, max = 400),
        regex(pattern = r"^metadata\.(name|namespace|uid|(labels|annotations)\['[A-Za-z0-9._/-]+'\])$")
    )]
    pub field_path: String,
}

/// One metric: a query, how often, and what counts as good.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.slo) || has(self.successCondition) || has(self.failureCondition)").message("a metric needs slo, or successCondition, failureCondition or both; without any no value could decide anything"))]
#[x_kube(validation = Rule::new("!has(self.slo) || (!has(self.successCondition) && !has(self.failureCondition) && !has(self.failureLimit) && !has(self.inconclusiveLimit) && !has(self.consecutiveSuccessLimit) && !has(self.count))").message("with slo there are no conditions, limits and counts: the evidence decides"))]
#[x_kube(validation = Rule::new("!has(self.slo) || !has(self.initialDelay)").message("with slo there is no initialDelay; slo.warmUp is the time that does not count"))]
#[x_kube(validation = Rule::new("!has(self.consecutiveSuccessLimit) || has(self.interval)").message("consecutiveSuccessLimit needs an interval"))]
#[x_kube(validation = Rule::new("!has(self.failureLimit) || self.failureLimit >= 0 || has(self.consecutiveSuccessLimit)").message("failureLimit -1, no limit, needs consecutiveSuccessLimit: otherwise nothing could fail"))]
#[x_kube(validation = Rule::new("!has(self.slo) || has(self.interval)").message("slo needs an interval, such as 5s"))]
#[x_kube(validation = Rule::new("has(self.slo) != has(self.provider.prometheus.query)").message("a metric needs provider.prometheus.query, or with slo none: an slo has queries of its own"))]
#[x_kube(validation = Rule::new("!has(self.count) || self.count <= 1 || has(self.interval)").message("a metric with count above 1 needs an interval"))]
pub struct Metric {
    /// Name, unique in the analysis.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$"))]
    pub name: String,
    /// Time between measurements. Without it, one measurement is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// How long after the run began the first measurement is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_delay: Option<Duration>,
    /// How many measurements. None with an interval: until the analysis is ended (background only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub count: Option<i32>,
    /// Expression over `result`; true counts as Successful. Without `failureCondition`, false counts as Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub success_condition: Option<String>,
    /// Expression over `result`; true counts as Failed. Without `successCondition`, false counts as Successful.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub failure_condition: Option<String>,
    /// The metric fails when more than this many measurements failed; -1, with `consecutiveSuccessLimit` only, is no limit. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 100_000))]
    pub failure_limit: Option<i32>,
    /// The metric is Successful when this many measurements in a row were; one without a usable value begins the row anew. When `count` is used up before, it is Inconclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub consecutive_success_limit: Option<i32>,
    /// The metric is Inconclusive when more than this many measurements were. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub inconclusive_limit: Option<i32>,
    /// The metric is in Error when more than this many measurements in a row had no usable value. Stands in place of `noDataDeadline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub consecutive_error_limit: Option<i32>,
    /// The metric is in Error when there was no usable value for this long. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data_deadline: Option<Duration>,
    /// Where the value comes from.
    pub provider: Provider,
    /// In place of conditions: errors and requests of the canary, compared with stable's. The canary is rolled back as soon as the evidence allows, and never on noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
}

/// Where a metric's value comes from.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct Provider {
    /// A Prometheus, or anything that speaks its HTTP API.
    pub prometheus: Prometheus,
}

/// A Prometheus, and what it is asked.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct Prometheus {
    /// Base address, `http://` or `https://`, without credentials.
    #[schemars(length(max = 512), regex(pattern = r"^https?://[^\s@/?#]+(/[^\s@?#]*)?$"))]
    pub address: String,
    /// PromQL; not with `slo`. Placeholders (`{{args.NAME}}`, `{{rollout.name}}`, `{{rollout.namespace}}`, ...) stand inside string literals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub query: Option<String>,
}

/// One execution of an analysis. Created by the controller, at most once per (rollout, revision, attempt, step).
#[derive(CustomResource, KubeSchema, Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "AnalysisRun",
    plural = "analysisruns",
    shortname = "ar",
    category = "tidegate",
    namespaced,
    status = "AnalysisRunStatus",
    derive = "PartialEq",
    doc = "One execution of an analysis, with its measurements.",
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Pending, Running, Successful, Failed, Inconclusive, Error or Cancelled"
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", description = "Why"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisRunSpec {
    /// What it belongs to.
    pub subject: Subject,
    /// The metrics with all placeholders filled in; later edits of the template do not change them.
    #[schemars(length(min = 1, max = 200))]
    pub metrics: Vec<Metric>,
    /// Names of metrics that are measured and decide nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub dry_run: Vec<String>,
    /// In the run that holds the evidence of all SLOs of an attempt: how sure a verdict has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// In the run of a step with SLOs: how long their evidence may take; then the run is Inconclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Duration>,
    /// Set to end the run early; it then ends as Cancelled, with this text as the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub terminate: Option<String>,
}

/// Which revision and attempt a run measures.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Name of the Rollout.
    pub rollout: String,
    /// Its uid: measurements of a deleted Rollout never count for a new one of the same name.
    pub rollout_uid: String,
    /// Its revision.
    pub revision: i64,
    /// Attempt of that revision.
    pub attempt: i32,
    /// Index of the step; none for the background analysis and the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i32>,
    /// It holds the evidence of all SLOs of the attempt. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evidence: bool,
}

/// What a run found.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisRunStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// State, and at the end the verdict.
    pub phase: RunPhase,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When measuring began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the verdict fell or the run was cancelled; a run with this set measures no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Per metric, in the order of the spec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metric_results: Vec<MetricResult>,
    /// Conditions.
    #[schemars(schema_with = "super::schema::conditions")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl AnalysisRunStatus {
    /// What is known of a metric.
    #[must_use]
    pub fn result(&self, metric: &str) -> Option<&MetricResult> {
        self.metric_results.iter().find(|result| result.name == metric)
    }
}

/// State of a run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum RunPhase {
    /// Not begun.
    #[default]
    Pending,
    /// Measures.
    Running,
    /// Verdict: every metric is good.
    Successful,
    /// Verdict: at least one metric is bad.
    Failed,
    /// Verdict: the values met neither condition.
    Inconclusive,
    /// No usable values for too long. Measuring goes on, and the first usable value leads back to Running.
    Error,
    /// Ended before a verdict, because nobody needs it any more.
    Cancelled,
}

/// What one measurement, or one metric, came to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum MeasuredPhase {
    /// Good.
    Successful,
    /// Bad.
    Failed,
    /// A usable value that meets neither condition.
    Inconclusive,
    /// No usable value.
    Error,
}

/// Results of one metric.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricResult {
    /// Name of the metric.
    pub name: String,
    /// State of the metric.
    pub phase: RunPhase,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many measurements were good.
    #[serde(default)]
    pub successful: i32,
    /// How many were bad.
    #[serde(default)]
    pub failed: i32,
    /// How many met neither condition.
    #[serde(default)]
    pub inconclusive: i32,
    /// How many had no usable value.
    #[serde(default)]
    pub error: i32,
    /// How many of the latest in a row had no usable value.
    #[serde(default)]
    pub consecutive_error: i32,
    /// How many of the latest in a row were good.
    #[serde(default)]
    pub consecutive_success: i32,
    /// Start of the last measurement with a usable value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_usable_at: Option<Time>,
    /// The newest measurements, newest last, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurement>,
    /// Of a metric with `slo`: the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloResult>,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// What it came to.
    pub phase: MeasuredPhase,
    /// The parsed numbers as text, `[0.993]`; never a part of the response body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What was missing or wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the query was sent.
    pub started_at: Time,
    /// When the answer was there.
    pub finished_at: Time,
}
