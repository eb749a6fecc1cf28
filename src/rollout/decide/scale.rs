//! ReplicaSets: stable at full strength, the canary at what its weight needs, the others away after their delay.

use super::{Draft, Effect, Situation, after, wear, weight};
use crate::api::Time;
use crate::api::condition::rollout as reasons;
use crate::api::rollout::{RolloutPhase, ScaleDown, WaitingReason};
use crate::rollout::observed::{ReplicaSet, TemplateCheck};

/// Only on the ReplicaSet as it was seen: the same size may be there again for another reason.
pub(super) fn resize(set: &ReplicaSet, to: i32) -> Effect {
    let generation = Some(set.generation);
    Effect::ScaleReplicaSet { name: set.name.clone(), uid: set.uid.clone(), generation, from: set.wanted, to }
}

/// More pods of stable lower risk, whoever else scaled it meanwhile.
pub(super) fn grow(set: &ReplicaSet, to: i32) -> Effect {
    Effect::ScaleReplicaSet { name: set.name.clone(), uid: set.uid.clone(), generation: None, from: set.wanted, to }
}

pub(super) fn create(draft: &Draft<'_>, hash: &str, revision: i64, replicas: i32) -> Effect {
    let dress = Box::new(wear::dress(draft, hash));
    Effect::CreateReplicaSet { hash: hash.to_owned(), revision, replicas, dress }
}

/// Keeps stable at its size. More pods of stable lower risk and come first; fewer are a matter for the end of the pass
/// ([`shrink_stable`]): the step that it then is at may want less traffic on the canary than this one.
pub(super) fn keep_stable(draft: &mut Draft<'_>) {
    let Some(stable) = draft.status.stable.clone().filter(|_| draft.spec.routed) else { return };
    let wanted = stable_pods(draft);
    match draft.seen.replica_set(&stable.hash) {
        Some(set) if set.wanted < wanted => draft.lower.push(grow(set, wanted)),
        Some(_) => draft.stable_may_shrink = true,
        None if stable.digest == draft.spec.digest && draft.seen.template == TemplateCheck::Accepted => {
            draft.raise.push(create(draft, &stable.hash, stable.revision, wanted));
        }
        None => {}
    }
}

/// Takes the pods away that stable no longer needs.
fn shrink_stable(draft: &mut Draft<'_>) {
    let Some(stable) = draft.stable_hash().filter(|_| draft.stable_may_shrink && may_shrink(draft)) else { return };
    let wanted = stable_pods(draft);
    if let Some(set) = draft.seen.replica_set(&stable).filter(|set| set.wanted > wanted) {
        draft.raise.push(resize(set, wanted));
    }
}

/// How many pods stable has beside a router: all, or with `dynamicStableScale` what its share of the traffic needs. Its share
/// is that of the route or of the step, whichever is more: pods come before traffic comes back, and go after it went. One
/// stays in any case, because the stable Service routes to it.
pub(super) fn stable_pods(draft: &Draft<'_>) -> i32 {
    let spec = draft.spec;
    if !spec.sizing.dynamic_stable || draft.situation() != Situation::Canary {
        return spec.replicas;
    }
    // Until the canary Service is the canary's, its weight is another revision's, and goes.
    let ours = draft.seen.canary_service.as_ref().is_some_and(|service| service.hash.as_deref() == Some(&spec.hash));
    let step = if ours { spec.weight_at(draft.step_index()) } else { 0 };
    let routed = draft.status.weights.as_ref().map_or(0, |weights| weights.canary);
    spec.pods_for(spec.whole - step.min(routed)).max(spec.sizing.min_pods).min(spec.replicas)
}

/// Stable gives pods up only where every gateway confirmed that the traffic went. What `replicas` itself asks for is
/// another matter.
fn may_shrink(draft: &Draft<'_>) -> bool {
    !draft.spec.sizing.dynamic_stable || draft.status.weights.as_ref().is_some_and(|weights| weights.verified)
}

/// Says what is missing when stable is not at full strength; true when it is.
pub(super) fn stable_is_full(draft: &mut Draft<'_>) -> bool {
    let Some(stable) = draft.stable_hash() else { return false };
    let available = draft.seen.replica_set(&stable).map_or(0, |set| set.available);
    let replicas = draft.spec.replicas;
    if available >= replicas {
        return true;
    }
    let detail = format!("{available} of {replicas} stable pods are available");
    draft.say(RolloutPhase::Progressing, reasons::STABLE_NOT_READY, detail.clone());
    draft.wait(WaitingReason::StableReady, detail);
    false
}

/// Creates the canary's ReplicaSet and keeps it at `wanted` pods. Pods go only after the traffic has: while what is on the
/// canary needs more, or a weight is not confirmed, it does not shrink; nor while its pods are kept for a delay.
pub(super) fn keep_canary(draft: &mut Draft<'_>, wanted: i32) {
    let spec = draft.spec;
    if !spec.routed {
        return;
    }
    draft.canary_pods.clear();
    match draft.seen.replica_set(&spec.hash) {
        None if draft.seen.template == TemplateCheck::Accepted => {
            let revision = draft.revision();
            draft.canary_pods.push(create(draft, &spec.hash, revision, wanted));
        }
        None => {}
        Some(set) => {
            draft.canary_pods.extend(number(draft, &spec.hash));
            let weights = draft.status.weights.as_ref();
            // A rule that is still in a route sends requests that no weight tells of.
            let answers = weights.map(|weights| spec.pods_for(weights.canary).max(i32::from(weight::has_rules(draft))));
            let confirmed = weights.is_some_and(|weights| weights.verified) && answers.is_some_and(|pods| pods <= wanted);
            let kept = kept_until(draft, &spec.hash).filter(|_| set.wanted > wanted);
            if set.wanted < wanted || (set.wanted > wanted && confirmed && kept.is_none()) {
                draft.canary_pods.push(resize(set, wanted));
            }
            if let Some(at) = kept {
                draft.requeue(at);
            }
        }
    }
}

/// Until when a revision's pods are kept, if that is still to come.
fn kept_until(draft: &Draft<'_>, hash: &str) -> Option<jiff::Timestamp> {
    let entry = draft.status.scale_downs.iter().find(|entry| entry.hash == hash)?;
    Some(entry.at.0).filter(|at| *at > draft.seen.now)
}

/// A `setCanaryScale` step is passed once its pods are available.
pub(super) fn canary_has(draft: &mut Draft<'_>, wanted: i32) -> bool {
    let available = draft.seen.replica_set(&draft.spec.hash).map_or(0, |set| set.available);
    if available >= wanted {
        return true;
    }
    draft.wait_for_pods(wanted, format!("{available} of {wanted} canary pods are available"));
    false
}

/// Writes the number of the revision under way on its ReplicaSet, where an old content came back.
pub(super) fn number(draft: &Draft<'_>, hash: &str) -> Option<Effect> {
    let set = draft.seen.replica_set(hash)?;
    let revision = draft.status.canary.as_ref().filter(|canary| canary.hash == hash)?.revision;
    let (name, uid) = (set.name.clone(), set.uid.clone());
    (set.revision != revision).then_some(Effect::NumberReplicaSet { name, uid, revision })
}

/// During a promotion the new revision follows `spec.replicas`, also when the template has changed meanwhile.
pub(super) fn keep_promoted(draft: &mut Draft<'_>, hash: &str) {
    if let Some(set) = draft.seen.replica_set(hash)
        && draft.spec.routed
        && set.wanted != draft.spec.replicas
    {
        draft.raise.push(resize(set, draft.spec.replicas));
    }
}

/// Which revisions are in use: stable, the one being promoted, and the canary under way.
fn in_use(draft: &Draft<'_>, hash: &str) -> bool {
    let canary = matches!(draft.situation(), Situation::First | Situation::Canary) && draft.spec.hash == hash;
    let promoting = draft.status.promoting.as_ref().is_some_and(|promoting| promoting.hash == hash);
    canary || promoting || draft.status.stable.as_ref().is_some_and(|stable| stable.hash == hash)
}

/// Does a Service still select this revision?
fn selected(draft: &Draft<'_>, hash: &str) -> bool {
    [&draft.seen.stable_service, &draft.seen.canary_service].into_iter().flatten().any(|service| {
        service.hash.as_deref() == Some(hash) || (service.hash.is_none() && service.ready_endpoints.contains_key(hash))
    })
}

/// Scales down what is no longer used, after its delay and only when nothing routes to it; deletes the oldest.
pub(super) fn tidy(draft: &mut Draft<'_>) {
    shrink_stable(draft);
    let known: Vec<String> = draft.seen.replica_sets.iter().map(|set| set.hash.clone()).collect();
    let kept: Vec<ScaleDown> = draft
        .status
        .scale_downs
        .iter()
        .filter(|entry| draft.spec.routed && known.contains(&entry.hash) && still_delayed(draft, entry))
        .cloned()
        .collect();
    draft.status.scale_downs = kept;
    for set in &draft.seen.replica_sets {
        if draft.spec.routed && !set.deleting && !in_use(draft, &set.hash) {
            retire(draft, set);
        }
    }
    delete_oldest(draft);
}

/// An entry stands for a revision that is not used, and for a canary whose pods of before are there to be used again.
fn still_delayed(draft: &Draft<'_>, entry: &ScaleDown) -> bool {
    let canary = draft.situation() == Situation::Canary && entry.hash == draft.spec.hash;
    !in_use(draft, &entry.hash) || (canary && entry.at.0 > draft.seen.now)
}

/// Is this revision beyond the number of those that keep their pods for the delay?
fn beyond_limit(draft: &Draft<'_>, set: &ReplicaSet) -> bool {
    let Some(limit) = draft.spec.sizing.delayed_revisions else { return false };
    let waits = |other: &&ReplicaSet| other.wanted > 0 && !other.deleting && !in_use(draft, &other.hash);
    draft.seen.replica_sets.iter().filter(waits).filter(|other| other.revision > set.revision).count() >= limit
}

fn retire(draft: &mut Draft<'_>, set: &ReplicaSet) {
    if set.wanted == 0 {
        draft.status.scale_downs.retain(|entry| entry.hash != set.hash);
        return;
    }
    // Also what no Service selects stays until the gateways confirmed where the traffic goes.
    let aborted = draft.situation() == Situation::Stopped && draft.spec.hash == set.hash;
    let confirmed = draft.status.weights.as_ref().is_some_and(|weights| weights.verified && (weights.canary == 0 || !aborted));
    if selected(draft, &set.hash) || !confirmed {
        return;
    }
    let entry = draft.status.scale_downs.iter().find(|entry| entry.hash == set.hash).map(|entry| entry.at.0);
    let entry = if !aborted && beyond_limit(draft, set) { Some(draft.seen.now) } else { entry };
    let Some(at) = entry else {
        let delay = if aborted { draft.spec.abort_scale_down_delay } else { Some(draft.spec.scale_down_delay) };
        if let Some(delay) = delay {
            let at = after(draft.seen.now, delay);
            draft.status.scale_downs.push(ScaleDown { hash: set.hash.clone(), at: Time(at) });
            draft.requeue(at);
        }
        return;
    };
    if draft.seen.now >= at {
        draft.raise.push(resize(set, 0));
    } else {
        draft.requeue(at);
        let detail = format!("ReplicaSet {} is scaled down at {}", set.name, at.strftime("%Y-%m-%dT%H:%M:%SZ"));
        draft.waiting.get_or_insert((WaitingReason::ScaleDownDelay, detail));
    }
}

fn delete_oldest(draft: &mut Draft<'_>) {
    let mut old: Vec<&ReplicaSet> = draft
        .seen
        .replica_sets
        .iter()
        .filter(|set| {
            set.wanted == 0 && set.current == 0 && !set.deleting && !in_use(draft, &set.hash) && !selected(draft, &set.hash)
        })
        .collect();
    old.sort_by_key(|set| std::cmp::Reverse(set.revision));
    for set in old.into_iter().skip(draft.spec.history_limit) {
        draft.raise.push(Effect::DeleteReplicaSet {
            name: set.name.clone(),
            uid: set.uid.clone(),
            resource_version: set.resource_version.clone(),
        });
    }
}
