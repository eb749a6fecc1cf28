//! Invariants 3 to 6: pods that carry traffic, or may have to, and the selectors that lead to them.

use super::{Findings, State, held, pods_for, ratio, ready, selector, stable_hash, traffic, wanted};

pub(super) fn check(before: State<'_>, after: State<'_>, found: &mut Findings) {
    for set in &before.cluster.replica_sets {
        shrank(before, after, &set.hash, found);
    }
    for stable in [true, false] {
        selector_moved(before, after, stable, found);
    }
    let target = after.rollout.hash.as_str();
    let grew = wanted(after, target) > wanted(before, target);
    if grew && held(after) && stable_hash(after) != Some(target) && after.rollout.status.promoting.is_none() {
        found.say(6, "a held canary grew".to_owned());
    }
}

/// A ReplicaSet was scaled down or deleted.
fn shrank(before: State<'_>, after: State<'_>, hash: &str, found: &mut Findings) {
    let exists = after.cluster.replica_sets.iter().any(|set| set.hash == hash);
    let (from, to) = (wanted(before, hash), wanted(after, hash));
    if exists && to >= from {
        return;
    }
    let stable = stable_hash(after) == Some(hash);
    let routed = after.rollout.routed;
    let possible = traffic::possible(after);
    let least = least_of_stable(after, possible.stable);
    if routed && stable && to < least {
        found.say(4, format!("stable {hash} was scaled to {to} of {least}"));
    }
    // Without a router, where there may be only one pod at all, none can come before it goes.
    let single = !routed && ratio::limits(after).0 < 2;
    for service in [true, false].into_iter().filter(|_| !single) {
        let carries = if service { possible.stable > 0 } else { possible.canary > 0 || possible.by_rule };
        if to == 0 && selector(after, service) == Some(hash) && after.rollout.replicas > 0 && (service || carries) {
            found.say(5, format!("{hash} was scaled to 0 while a Service with traffic points at it"));
        }
    }
    let confirmed = after.rollout.status.weights.as_ref().is_some_and(|weights| weights.verified);
    if routed
        && held(after)
        && hash == after.rollout.hash
        && !stable
        && from > to
        && (possible.canary > 0 || possible.by_rule || !confirmed)
    {
        let weight = possible.canary;
        found.say(6, format!("the aborted canary was scaled down at weight {weight}, confirmed {confirmed}"));
    }
}

/// What stable must keep beside a router: everything, or with `dynamicStableScale` what the traffic that it may be getting
/// needs, and one in any case.
fn least_of_stable(state: State<'_>, share: i64) -> i32 {
    let replicas = state.rollout.replicas;
    if !state.rollout.sizing.dynamic_stable || held(state) {
        return replicas;
    }
    i32::try_from(pods_for(state, share)).unwrap_or(replicas).max(1).min(replicas)
}

/// A Service was pointed at another revision: there must be pods for the traffic that it may be getting.
fn selector_moved(before: State<'_>, after: State<'_>, stable: bool, found: &mut Findings) {
    let (old, new) = (selector(before, stable), selector(after, stable));
    let Some(hash) = new.filter(|_| old != new) else { return };
    let possible = traffic::possible(after);
    let share = if stable { possible.stable } else { possible.canary };
    let (needed, there) = (pods_for(after, share), i64::from(ready(after, hash)));
    let needed = needed.max(i64::from(!stable && possible.by_rule));
    // Without a router it is people who use the Service, and any pod answers.
    let needed = if after.rollout.routed { needed } else { i64::from(stable && after.rollout.replicas > 0) };
    let which = if stable { "stable" } else { "canary" };
    if there < needed {
        found.say(3, format!("the {which} Service moved to {hash} with {there} of {needed} ready pods for its weight {share}"));
    }
    if needed > 0 && wanted(after, hash) == 0 {
        found.say(5, format!("the {which} Service moved to {hash}, which has no pods, with weight {share}"));
    }
}
