//! The canary strategy: steps, analysis and what splits the traffic.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::routing::{RouteId, RouteKind, SetHeaderRoute, SetMirrorRoute, TrafficRouting};
use crate::api::analysis::GivenArgument;
use crate::api::{Duration, Percent, PodCount};

/// The canary strategy.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.stableService) || !has(self.canaryService) || self.stableService != self.canaryService").message("canaryService must be another Service than stableService"))]
#[x_kube(validation = Rule::new("!has(self.trafficRouting) || (has(self.stableService) && has(self.canaryService))").message("trafficRouting needs stableService and canaryService, whose weights it sets"))]
#[x_kube(validation = Rule::new("!has(self.maxSurge) || !has(self.trafficRouting)").message("maxSurge has no effect with trafficRouting, where stable keeps its pods beside the canary's; remove it"))]
#[x_kube(validation = Rule::new("!has(self.maxSurge) || !has(self.maxUnavailable) || !(self.maxSurge in [dyn(0), dyn('0%')]) || !(self.maxUnavailable in [dyn(0), dyn('0%')])").message("maxSurge and maxUnavailable must not both be 0: no pod could ever be exchanged"))]
#[x_kube(validation = Rule::new("has(self.trafficRouting) || !has(self.scaleDownDelaySeconds)").message("scaleDownDelaySeconds needs trafficRouting: without it the pods are the traffic, and old ones go at once"))]
#[x_kube(validation = Rule::new("has(self.trafficRouting) || !has(self.abortScaleDownDelaySeconds)").message("abortScaleDownDelaySeconds needs trafficRouting: without it the pods are the traffic, and an aborted canary's go at once"))]
#[x_kube(validation = Rule::new("has(self.trafficRouting) || !has(self.dynamicStableScale) || !self.dynamicStableScale").message("dynamicStableScale needs trafficRouting: without it stable's pods follow the weight anyway"))]
#[x_kube(validation = Rule::new("has(self.trafficRouting) || !has(self.minPodsPerReplicaSet)").message("minPodsPerReplicaSet needs trafficRouting: without it pods are the traffic, and more of them would be more traffic"))]
#[x_kube(validation = Rule::new("has(self.trafficRouting) || !has(self.scaleDownDelayRevisionLimit)").message("scaleDownDelayRevisionLimit needs trafficRouting: without it old pods go at once"))]
#[x_kube(validation = Rule::new("has(self.trafficRouting) || !has(self.steps) || self.steps.all(step, !has(step.setCanaryScale))").message("setCanaryScale needs trafficRouting: without it pods are the traffic, and setWeight sets them"))]
#[x_kube(validation = Rule::new("!has(self.steps) || self.steps.all(step, !has(step.setHeaderRoute) || (has(self.trafficRouting) && has(self.trafficRouting.managedRoutes) && self.trafficRouting.managedRoutes.exists(route, route.name == step.setHeaderRoute.name)))").message("setHeaderRoute.name must be one of trafficRouting.managedRoutes"))]
#[x_kube(validation = Rule::new("!has(self.steps) || self.steps.all(step, !has(step.setMirrorRoute) || (has(self.trafficRouting) && has(self.trafficRouting.managedRoutes) && self.trafficRouting.managedRoutes.exists(route, route.name == step.setMirrorRoute.name)))").message("setMirrorRoute.name must be one of trafficRouting.managedRoutes"))]
#[x_kube(validation = Rule::new("!has(self.steps) || self.steps.all(step, (!has(step.setWeight) || step.setWeight <= (has(self.trafficRouting) && has(self.trafficRouting.maxTrafficWeight) ? self.trafficRouting.maxTrafficWeight : 100)) && (!has(step.setCanaryScale) || !has(step.setCanaryScale.weight) || step.setCanaryScale.weight <= (has(self.trafficRouting) && has(self.trafficRouting.maxTrafficWeight) ? self.trafficRouting.maxTrafficWeight : 100)))").message("setWeight and setCanaryScale.weight must not be more than trafficRouting.maxTrafficWeight, which is 100 where it is not given"))]
pub struct Canary {
    /// Service whose pods are the stable revision's. Without `trafficRouting` it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub stable_service: Option<String>,
    /// Service whose pods are the canary's; another one than `stableService`. Without `trafficRouting` it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub canary_service: Option<String>,
    /// What splits the traffic. Without it the pods do: a weight is the ratio of canary pods to all pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_routing: Option<TrafficRouting>,
    /// Without `trafficRouting`: pods above `replicas` while pods are exchanged, as a number or percent (rounded up). Default 25%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<PodCount>,
    /// Pods below `replicas` that may be unavailable while pods are exchanged or restarted, as a number or percent (rounded down). Default 25%. With `trafficRouting` only `restartAt` exchanges pods like that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<PodCount>,
    /// The steps, in order. None: straight to promotion, as soon as the new pods are ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub steps: Vec<Step>,
    /// Analysis in the background of the steps, until promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<BackgroundAnalysis>,
    /// What a failed analysis, or pods that are not ready by the progress deadline, do to the canary. Default Abort.
    #[serde(default, skip_serializing_if = "OnFailure::is_abort")]
    pub on_failure: OnFailure,
    /// With `trafficRouting`: how long the old stable ReplicaSet is kept after a promotion. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_seconds: Option<Duration>,
    /// With `trafficRouting`: how long an aborted canary's pods are kept, for inspection; 0 keeps them. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_scale_down_delay_seconds: Option<Duration>,
    /// Labels and annotations of the canary's pods while it is under way. Running pods get them too, and no pod restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_metadata: Option<PodMetadata>,
    /// Labels and annotations of stable's pods, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_metadata: Option<PodMetadata>,
    /// Whether pods of the canary and of stable may share a node. Default: they may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anti_affinity: Option<AntiAffinity>,
    /// With `trafficRouting`: how many old ReplicaSets keep their pods for `scaleDownDelaySeconds`; older ones go at once. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub scale_down_delay_revision_limit: Option<i32>,
    /// With `trafficRouting`: stable gives up pods as confirmed traffic moves to the canary, and keeps at least one. An abort then waits for stable's pods. Default false: stable keeps all its pods.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dynamic_stable_scale: bool,
    /// With `trafficRouting`: pods that stable or a canary with any pods has at least, but never more than `replicas`. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub min_pods_per_replica_set: Option<i32>,
}

impl Canary {
    /// The routes whose weights are set: by kind, then in the order of the spec.
    pub fn routes(&self) -> impl Iterator<Item = RouteId> {
        self.traffic_routing.iter().flat_map(|routing| {
            RouteKind::ALL
                .into_iter()
                .flat_map(|kind| routing.gateway_api.of(kind).iter().map(move |route| RouteId { kind, name: route.name.clone() }))
        })
    }

    /// What all the traffic weighs.
    #[must_use]
    pub fn whole(&self) -> i32 {
        self.traffic_routing.as_ref().map_or(TrafficRouting::WHOLE, TrafficRouting::whole)
    }

    /// Names of the rules that steps may add, in the order of precedence.
    pub fn managed_routes(&self) -> impl Iterator<Item = &str> {
        self.traffic_routing.iter().flat_map(|routing| &routing.managed_routes).map(|route| route.name.as_str())
    }
}

/// What a failure does to the canary.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum OnFailure {
    /// Traffic goes back to stable, and the content is held.
    #[default]
    Abort,
    /// Nothing goes on, and the weight stays, until a person aborts or promotes.
    Pause,
}

impl OnFailure {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_abort(&self) -> bool {
        *self == Self::Abort
    }
}

/// Metrics that are measured and shown, and decide nothing.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// Regular expression over the metrics' names; it may match a part of a name. `.*` is every metric.
    #[schemars(length(min = 1, max = 128))]
    pub metric_name: String,
}

/// One step: exactly one of the fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.setWeight), has(self.setCanaryScale), has(self.pause), has(self.analysis), has(self.setHeaderRoute), has(self.setMirrorRoute)].filter(x, x).size() == 1").message("a step has exactly one of setWeight, setCanaryScale, pause, analysis, setHeaderRoute, setMirrorRoute"))]
pub struct Step {
    /// Traffic for the canary, 0..`maxTrafficWeight`: percent, where that is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub set_weight: Option<i32>,
    /// Set the canary's pods apart from its weight, for this and the later steps. Pods that the weight needs are there in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_canary_scale: Option<SetCanaryScale>,
    /// Wait for a time, or for a person's `promote` when no duration is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Run an analysis to its end; go on when it is Successful.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<StepAnalysis>,
    /// Send all requests with certain headers to the canary, whatever its weight, from this step on until one without `match`, or the end of the steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_header_route: Option<SetHeaderRoute>,
    /// Send copies of requests to the canary too, from this step on until one without `match`, or the end of the steps. Nobody gets the answers. Needs a gateway whose GatewayClass lists HTTPRouteRequestMirror among its supportedFeatures, and HTTPRouteRequestPercentageMirror for less than all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_mirror_route: Option<SetMirrorRoute>,
}

/// Labels and annotations of the pods of one role.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.labels) || self.labels.all(key, !key.startsWith('tidegate.dev/'))").message("labels under tidegate.dev/ are Tidegate's own"))]
#[x_kube(validation = Rule::new("!has(self.annotations) || self.annotations.all(key, !key.startsWith('tidegate.dev/'))").message("annotations under tidegate.dev/ are Tidegate's own"))]
pub struct PodMetadata {
    /// Labels; none of the selector's or the template's, and none under `tidegate.dev/`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::api::schema::pod_labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations; none of the template's, and none under `tidegate.dev/`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::api::schema::pod_annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// Whether pods of the canary and of stable may share a node: exactly one of the fields.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.requiredDuringSchedulingIgnoredDuringExecution) != has(self.preferredDuringSchedulingIgnoredDuringExecution)").message("antiAffinity has exactly one of requiredDuringSchedulingIgnoredDuringExecution, preferredDuringSchedulingIgnoredDuringExecution"))]
pub struct AntiAffinity {
    /// They never share one. Takes free nodes: without any, the canary's pods wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_during_scheduling_ignored_during_execution: Option<RequiredAntiAffinity>,
    /// They share one where it cannot be helped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_during_scheduling_ignored_during_execution: Option<PreferredAntiAffinity>,
}

/// Nothing more to say.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct RequiredAntiAffinity {}

/// How much it counts.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct PreferredAntiAffinity {
    /// Against other preferences of the scheduler; 1..100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
}

/// How many pods the canary has: exactly one of the fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.replicas), has(self.weight), has(self.matchTrafficWeight) && self.matchTrafficWeight].filter(x, x).size() == 1").message("setCanaryScale has exactly one of replicas, weight, matchTrafficWeight: true"))]
pub struct SetCanaryScale {
    /// Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: Option<i32>,
    /// As many as `setWeight` of this weight would need, 0..`maxTrafficWeight`: percent of `spec.replicas`, rounded up, where that is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: Option<i32>,
    /// What the weight needs again, as before any `setCanaryScale`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub match_traffic_weight: bool,
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
#[serde(rename_all = "camelCase")]
pub struct StepAnalysis {
    /// The templates; their metrics are measured together.
    #[schemars(length(min = 1, max = 10))]
    pub templates: Vec<TemplateRef>,
    /// Values for the templates' arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub args: Vec<GivenArgument>,
    /// Metrics that decide nothing here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub dry_run: Vec<DryRun>,
    /// With `slo` metrics: the step ends when they are known to be good at this weight, and at the latest after this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Duration>,
    /// What happens when an analysis ends without a verdict: a value that meets neither condition, or an SLO whose evidence does not suffice after `atMost`. Default Pause.
    #[serde(default, skip_serializing_if = "OnInconclusive::is_pause")]
    pub on_inconclusive: OnInconclusive,
}

/// What an analysis step without a verdict does.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum OnInconclusive {
    /// It waits for a person.
    #[default]
    Pause,
    /// It goes on to the next step.
    Continue,
}

impl OnInconclusive {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_pause(&self) -> bool {
        *self == Self::Pause
    }
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
    pub args: Vec<GivenArgument>,
    /// Metrics that decide nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub dry_run: Vec<DryRun>,
    /// Index of the step at which it begins. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub starting_step: Option<i32>,
    /// For `slo` metrics, also those of steps: a good canary is rolled back in at most the rest of attempts, whatever the number of metrics. Default 99%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Percent>,
    /// For `slo` metrics of steps: a canary over budget is accepted early in at most the rest. Default 95%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<Percent>,
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
