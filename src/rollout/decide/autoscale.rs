//! What an autoscaler sees through `/scale`. It multiplies what it measures by the number of pods it is told of: a canary beside
//! a stable at full strength must not be counted on top of it, or the Rollout would grow because it is being released.

use super::Draft;
use crate::api::names::POD_TEMPLATE_HASH;

/// Records how many pods count, and which.
pub(super) fn record(draft: &mut Draft<'_>) {
    let pods = |of: &dyn Fn(&str) -> bool| -> i32 {
        draft.seen.replica_sets.iter().filter(|set| of(&set.hash)).map(|set| set.current).sum()
    };
    let stable = draft.stable_hash();
    let beside = draft.spec.routed && !draft.spec.sizing.dynamic_stable;
    let count = match &stable {
        Some(stable) if beside => pods(&|hash| hash == stable),
        _ => pods(&|_| true),
    };
    draft.status.hpa_replicas = count.min(draft.spec.replicas);
    draft.status.selector = Some(selector(draft, stable.as_deref()));
}

/// Pods with traffic: with a router those of stable, and of the revision under way while it has any; without one all of them.
fn selector(draft: &Draft<'_>, stable: Option<&str>) -> String {
    let mut terms: Vec<String> = draft.spec.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if let (true, Some(stable)) = (draft.spec.routed, stable) {
        let mut hashes = vec![stable.to_owned()];
        let behind = draft.seen.canary_service.as_ref().and_then(|service| service.hash.clone());
        let weighs = draft.status.weights.as_ref().is_some_and(|weights| weights.canary > 0);
        hashes.extend(behind.filter(|hash| weighs && hash != stable));
        hashes.extend(draft.status.promoting.as_ref().map(|promoting| promoting.hash.clone()));
        hashes.sort();
        hashes.dedup();
        terms.push(format!("{POD_TEMPLATE_HASH} in ({})", hashes.join(",")));
    }
    terms.join(",")
}
