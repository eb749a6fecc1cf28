//! `restartAt`, or the command of that name: pods of stable that are older than it are evicted, a few at a time. Which ones are left is read off the pods
//! themselves, so that a crash neither forgets a restart nor begins it again.

use super::{Draft, Effect, Situation};
use crate::api::rollout::WaitingReason;
use crate::rollout::observed::Pod;

/// Evicts the next pods, or records that all are new. Pods of a canary under way are new, or are restarted once it is stable.
pub(super) fn act(draft: &mut Draft<'_>) {
    let Some(at) = draft.spec.restart_at(&draft.status) else { return };
    let Some(stable) = draft.stable_hash().filter(|_| draft.situation() != Situation::Promoting) else { return };
    if draft.status.restarted_at.as_ref().is_some_and(|done| done.0 >= at.0) {
        return;
    }
    if draft.seen.now < at.0 {
        draft.requeue(at.0);
        return;
    }
    // Pods say when they were created to the second.
    let old = |pod: &&Pod| pod.created.as_second() < at.0.as_second();
    let (of_stable, of_canary): (Vec<&Pod>, Vec<&Pod>) =
        draft.seen.pods.iter().filter(|pod| in_use(draft, pod)).partition(|pod| pod.hash == stable);
    let to_go: Vec<&Pod> = of_stable.iter().copied().filter(old).collect();
    if to_go.is_empty() && !of_canary.iter().any(old) {
        draft.status.restarted_at = Some(at);
        return;
    }
    // Which pods go with a smaller size is not ours to say: those and evicted ones together may be too many.
    let evicted = if is_shrinking(draft) { Vec::new() } else { batch(draft, &stable, &of_stable, &to_go) };
    let detail = format!(
        "restart: {} of {} pods are older than the restart asked for; they are evicted as PodDisruptionBudgets and maxUnavailable allow",
        to_go.len(),
        of_stable.len()
    );
    draft.waiting.get_or_insert((WaitingReason::PodsReady, detail));
    draft.raise.extend(evicted);
}

/// Is a ReplicaSet about to lose pods, or losing them, because it is to be smaller?
fn is_shrinking(draft: &Draft<'_>) -> bool {
    let shrinks = |effect: &Effect| matches!(effect, Effect::ScaleReplicaSet { from, to, .. } if to < from);
    let about_to = draft.lower.iter().chain(&draft.canary_pods).chain(&draft.raise).any(shrinks);
    about_to || draft.seen.replica_sets.iter().any(|set| set.current > set.wanted)
}

fn in_use(draft: &Draft<'_>, pod: &Pod) -> bool {
    let stable = draft.status.stable.as_ref().is_some_and(|stable| stable.hash == pod.hash);
    stable || (draft.situation() == Situation::Canary && pod.hash == draft.spec.hash)
}

/// The pods that may go now: those that are not ready, and of the ready ones, oldest first, as many as `maxUnavailable`
/// leaves; at least one at a time where all are available.
fn batch(draft: &Draft<'_>, stable: &str, pods: &[&Pod], old: &[&Pod]) -> Vec<Effect> {
    let spec = draft.spec;
    let set = draft.seen.replica_set(stable);
    // The ReplicaSet's status may not know of the last eviction yet, and the pods do not say who is available.
    let ready = i32::try_from(pods.iter().filter(|pod| pod.ready && !pod.deleting).count()).unwrap_or(i32::MAX);
    let available = set.map_or(0, |set| set.available.min(ready));
    let others: i32 = draft.seen.replica_sets.iter().filter(|set| set.hash != stable).map(|set| set.available).sum();
    let (present, needed) = if spec.routed {
        (available, set.map_or(spec.replicas, |set| set.wanted.min(spec.replicas)))
    } else {
        (available.saturating_add(others), spec.replicas)
    };
    let least = needed - spec.bounds.max_unavailable.max(1);
    let spare = usize::try_from(present - least).unwrap_or(0);
    let mut going: Vec<&Pod> = old.iter().copied().filter(|pod| !pod.deleting).collect();
    going.sort_by_key(|pod| (pod.ready, pod.created, pod.name.clone()));
    let unready = going.iter().filter(|pod| !pod.ready).count();
    going.into_iter().take(unready + spare).map(|pod| Effect::EvictPod { name: pod.name.clone(), uid: pod.uid.clone() }).collect()
}
