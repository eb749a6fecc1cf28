//! How many pods there may be, and must be.

use super::{CanaryScale, SpecError, Step, ValidatedRollout, refuse};
use crate::api::rollout::RolloutSpec;
use crate::rollout::replicas::{Bounds, DEFAULT_BOUND};

/// Reads `maxSurge` and `maxUnavailable`, and what makes sense only with or only without a router.
pub(super) fn bounds(spec: &RolloutSpec) -> Result<Bounds, SpecError> {
    let canary = &spec.strategy.canary;
    let field = |name: &str| format!("spec.strategy.canary.{name}");
    let routed = canary.traffic_routing.is_some();
    let (surge, unavailable) = (canary.max_surge, canary.max_unavailable);
    if let (true, Some(count)) = (routed, surge) {
        return refuse(
            &field("maxSurge"),
            count.to_string(),
            "has no effect with trafficRouting, where stable keeps its pods; remove it",
        );
    }
    let delays = [
        ("scaleDownDelaySeconds", canary.scale_down_delay_seconds),
        ("abortScaleDownDelaySeconds", canary.abort_scale_down_delay_seconds),
    ];
    for (name, delay) in delays {
        if let (false, Some(delay)) = (routed, delay) {
            return refuse(&field(name), delay.to_string(), "needs trafficRouting; without it the pods are the traffic");
        }
    }
    let (surge, unavailable) = (surge.unwrap_or(DEFAULT_BOUND), unavailable.unwrap_or(DEFAULT_BOUND));
    if surge.is_zero() && unavailable.is_zero() {
        let found = format!("{unavailable}, and maxSurge is {surge}");
        return refuse(&field("maxUnavailable"), found, "must not both be 0: no pod could ever be exchanged");
    }
    Ok(Bounds::new(spec.replicas, surge, unavailable))
}

/// How many pods each side has beside a router, and when they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// Stable gives up pods as confirmed traffic moves to the canary.
    pub dynamic_stable: bool,
    /// Pods of each side that has any.
    pub min_pods: i32,
    /// How many old ReplicaSets keep their pods for the delay; none keeps all.
    pub delayed_revisions: Option<usize>,
    /// Seconds that a pod must be ready to be available.
    pub min_ready_seconds: i32,
}

/// Reads them. The schema refuses the same before.
pub(super) fn sizing(spec: &RolloutSpec) -> Result<Sizing, SpecError> {
    let canary = &spec.strategy.canary;
    let field = |name: &str| format!("spec.strategy.canary.{name}");
    let routed = canary.traffic_routing.is_some();
    let fields = [
        ("dynamicStableScale", canary.dynamic_stable_scale.then(|| "true".to_owned())),
        ("minPodsPerReplicaSet", canary.min_pods_per_replica_set.map(|pods| pods.to_string())),
        ("scaleDownDelayRevisionLimit", canary.scale_down_delay_revision_limit.map(|limit| limit.to_string())),
    ];
    for (name, found) in fields {
        if let (false, Some(found)) = (routed, found) {
            return refuse(&field(name), found, "needs trafficRouting; without it the pods are the traffic");
        }
    }
    let scaled = canary.steps.iter().position(|step| step.set_canary_scale.is_some());
    if let (false, Some(index)) = (routed, scaled) {
        let step = field(&format!("steps[{index}]"));
        return refuse(
            &step,
            "setCanaryScale",
            "needs trafficRouting; without it the pods are the traffic, and setWeight sets them",
        );
    }
    let min_pods = canary.min_pods_per_replica_set.unwrap_or(1);
    if !(1..=100).contains(&min_pods) {
        return refuse(&field("minPodsPerReplicaSet"), min_pods.to_string(), "must be between 1 and 100");
    }
    if !(0..=86_400).contains(&spec.min_ready_seconds) {
        return refuse("spec.minReadySeconds", spec.min_ready_seconds.to_string(), "must be between 0 and 86400");
    }
    Ok(Sizing {
        dynamic_stable: canary.dynamic_stable_scale,
        min_pods,
        delayed_revisions: canary.scale_down_delay_revision_limit.and_then(|limit| usize::try_from(limit).ok()),
        min_ready_seconds: spec.min_ready_seconds,
    })
}

impl ValidatedRollout {
    /// How many pods a weight needs: its share of the replicas, rounded up; where that is any, at least
    /// `minPodsPerReplicaSet`, and never more than `replicas`.
    #[must_use]
    pub fn pods_for(&self, weight: i32) -> i32 {
        let whole = i64::from(self.whole);
        let exact = i64::from(weight.clamp(0, self.whole)) * i64::from(self.replicas);
        let share = i32::try_from((exact + whole - 1) / whole).unwrap_or(self.replicas);
        if share == 0 { 0 } else { share.max(self.sizing.min_pods).min(self.replicas) }
    }

    /// How many pods the canary has at a step, beside a router: what the last `setCanaryScale` up to it asks for, but never
    /// fewer than its weight needs.
    #[must_use]
    pub fn canary_pods_at(&self, index: usize) -> i32 {
        let asked = self.pods_for(self.weight_at(index));
        // What is sent there by header needs somebody to answer.
        let needed = if self.rules_at(index).is_empty() { asked } else { asked.max(self.sizing.min_pods.min(self.replicas)) };
        if index >= self.steps.len() || self.replicas == 0 {
            return needed;
        }
        let mut earlier = self.steps.iter().take(index + 1).rev();
        let scale = earlier.find_map(|step| if let Step::SetCanaryScale(scale) = step { Some(*scale) } else { None });
        match scale {
            Some(CanaryScale::Replicas(pods)) => pods.max(needed),
            Some(CanaryScale::Weight(weight)) => self.pods_for(weight).max(needed),
            Some(CanaryScale::MatchTrafficWeight) | None => needed,
        }
    }
}
