//! How many pods there may be, and must be.

use super::{SpecError, refuse};
use crate::api::rollout::RolloutSpec;
use crate::rollout::replicas::{Bounds, DEFAULT_BOUND};

/// Reads `maxSurge` and `maxUnavailable`, and what makes sense only with or only without a router.
pub(super) fn bounds(spec: &RolloutSpec) -> Result<Bounds, SpecError> {
    let canary = &spec.strategy.canary;
    let field = |name: &str| format!("spec.strategy.canary.{name}");
    let routed = canary.traffic_routing.is_some();
    let (surge, unavailable) = (canary.max_surge, canary.max_unavailable);
    for (name, count) in [("maxSurge", surge), ("maxUnavailable", unavailable)] {
        if let (true, Some(count)) = (routed, count) {
            return refuse(
                &field(name),
                count.to_string(),
                "has no effect with trafficRouting, where stable keeps its pods; remove it",
            );
        }
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
