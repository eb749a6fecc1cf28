//! Invariant 27: sizes where pods are the traffic.

use super::{Findings, State, permitted, pods_for, stable_hash, wanted};

/// Most pods, and fewest available ones, while pods are exchanged.
pub(super) fn limits(state: State<'_>) -> (i32, i32) {
    let bounds = state.rollout.bounds;
    (state.rollout.replicas + bounds.max_surge, state.rollout.replicas - bounds.max_unavailable)
}

pub(super) fn check(before: State<'_>, after: State<'_>, found: &mut Findings) {
    if after.rollout.routed {
        return;
    }
    let total = |state: State<'_>| state.cluster.replica_sets.iter().map(|set| set.wanted).sum::<i32>();
    let ready = |state: State<'_>| state.cluster.replica_sets.iter().map(|set| set.ready).sum::<i32>();
    let available = |state: State<'_>| state.cluster.replica_sets.iter().map(|set| set.available).sum::<i32>();
    let (most, least) = limits(after);
    if total(after) > total(before) && total(after) > most {
        found.say(27, format!("{} pods of at most {most}", total(after)));
    }
    // A restart takes one at a time where the bounds leave none: it could not go on otherwise.
    let evicted = total(after) == total(before);
    let least = if evicted { least.min(after.rollout.replicas - 1) } else { least };
    // A longer minReadySeconds makes fewer of the same pods available, and takes none.
    let taken = ready(after) < ready(before) || total(after) < total(before);
    if taken && available(after) < available(before) && available(after) < least {
        found.say(27, format!("{} available pods of at least {least}", available(after)));
    }
    let Some(stable) = stable_hash(after) else { return };
    let promoting = after.rollout.status.promoting.as_ref().map(|promoting| promoting.hash.as_str());
    for set in &after.cluster.replica_sets {
        let hash = set.hash.as_str();
        if hash == stable || Some(hash) == promoting || wanted(after, hash) <= wanted(before, hash) {
            continue;
        }
        let may = pods_for(after, permitted(after));
        if i64::from(set.wanted) > may {
            found.say(27, format!("{} pods of {hash} where the recorded step permits {may}", set.wanted));
        }
        if hash != after.rollout.hash {
            found.say(27, format!("{hash} grew, which the spec does not ask for"));
        }
    }
}
