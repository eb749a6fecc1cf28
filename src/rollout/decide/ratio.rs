//! Without a router: the pods are the traffic. A weight is a ratio of pods, and all sizes move within `maxSurge` and
//! `maxUnavailable`. Each situation states a goal; one place brings the ReplicaSets there.

use super::{Draft, Effect, scale, wear, weight};
use crate::api::condition::rollout as reasons;
use crate::api::rollout::{RolloutPhase, WaitingReason, Weights};
use crate::rollout::observed::{ReplicaSet, TemplateCheck};
use crate::rollout::replicas::{self, Bounds, Member, Side, Split};

/// Wanted pods in the end; any other revision has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    /// The revision that serves, and its pods; none before the first one is stable.
    stable: Option<(String, i32)>,
    /// The revision under way, and its pods.
    canary: Option<(String, i32)>,
}

/// Reads the present split off the ready pods. It is verified while no pod is on its way.
pub(super) fn observe(draft: &mut Draft<'_>) {
    let stable = draft.stable_hash();
    let ready = |of: &dyn Fn(&ReplicaSet) -> bool| -> i64 {
        draft.seen.replica_sets.iter().filter(|set| of(set)).map(|set| i64::from(set.ready)).sum()
    };
    let all = ready(&|_| true);
    let others = stable.map_or(0, |stable| ready(&|set| set.hash != stable));
    let canary = if all == 0 { 0 } else { i32::try_from((others * 200 + all) / (all * 2)).unwrap_or(100) };
    let sets = draft.seen.replica_sets.iter().filter(|set| !set.deleting);
    let verified = sets.clone().all(|set| set.wanted == set.current && set.current == set.available);
    let before = draft.status.weights.as_ref().filter(|before| before.verified && before.canary == canary);
    let since = before.and_then(|before| before.verified_at.clone()).or_else(|| Some(draft.now()));
    draft.weight = Some(canary);
    let verified_at = since.filter(|_| verified);
    draft.status.weights = Some(Weights { canary, stable: 100 - canary, verified, verified_at });
}

/// Are all pods where they were sent? Until then the ratio moves.
fn settled(draft: &mut Draft<'_>) -> bool {
    let verified = draft.status.weights.as_ref().is_some_and(|weights| weights.verified);
    if !verified {
        draft.wait(WaitingReason::PodsReady, "pods are on their way");
    }
    verified
}

/// The pods of a weight. All of it leaves stable without pods, but for one that the stable Service may still route to until
/// it was moved: then there is one more pod where a surge is allowed, or one less of the canary.
pub(super) fn split(draft: &Draft<'_>, weight: i32) -> Split {
    let bounds = draft.spec.bounds;
    let split = replicas::split(bounds, weight);
    let serves = draft.seen.stable_service.as_ref().is_some_and(|service| service.hash == draft.stable_hash());
    if split.stable > 0 || !serves {
        return split;
    }
    beside_the_last(bounds, split.canary).unwrap_or(split)
}

/// So many pods beside the last one that the stable Service still routes to; none where there is room for one pod only.
fn beside_the_last(bounds: Bounds, pods: i32) -> Option<Split> {
    (bounds.replicas > 0 && bounds.most() >= 2).then(|| Split { canary: pods.min(bounds.most() - 1), stable: 1 })
}

/// Pods of revisions that are neither stable nor under way, ready or to be.
fn superseded(draft: &Draft<'_>) -> i32 {
    let stable = draft.stable_hash();
    let other = |set: &&ReplicaSet| Some(&set.hash) != stable.as_ref() && set.hash != draft.spec.hash && !set.deleting;
    draft.seen.replica_sets.iter().filter(other).map(|set| set.wanted.max(set.ready)).sum()
}

/// A revision that is superseded goes before the new one gets pods, and stable comes back to full strength: what is new is
/// never more of the traffic than its step permits. True once it is gone.
pub(super) fn superseded_is_off(draft: &mut Draft<'_>, weight: i32) -> bool {
    let others = superseded(draft);
    let Some(stable) = draft.stable_hash().filter(|_| others > 0) else { return true };
    let wanted = draft.seen.replica_set(&draft.spec.hash).map_or(0, |set| set.wanted);
    let canary = split(draft, weight).canary.min(wanted);
    draft.goal =
        Some(Goal { stable: Some((stable.clone(), draft.spec.replicas)), canary: Some((draft.spec.hash.clone(), canary)) });
    point_canary_service(draft, &stable);
    let message = "a newer revision supersedes the one under way; stable takes its pods' place first";
    draft.say(RolloutPhase::Progressing, reasons::STEPPING, message);
    draft.wait(WaitingReason::StableReady, format!("{others} pods of superseded revisions go as stable takes their place"));
    false
}

/// Brings stable and canary to the ratio of `weight`; true once all their pods are available, and no others are there.
pub(super) fn ensure(draft: &mut Draft<'_>, weight: i32) -> bool {
    let Some(stable) = draft.stable_hash() else { return false };
    if weight::service_missing(draft) {
        return false;
    }
    let hash = draft.spec.hash.clone();
    let wanted = split(draft, weight);
    draft.goal = Some(Goal { stable: Some((stable.clone(), wanted.stable)), canary: Some((hash.clone(), wanted.canary)) });
    let size = |hash: &str| draft.seen.replica_set(hash).map_or((0, 0), |set| (set.wanted, set.available));
    let ((canary_size, canary), (stable_size, up)) = (size(&hash), size(&stable));
    let served = wanted.canary == 0 || draft.seen.ready(&hash) == 0 || point_canary_service(draft, &hash);
    if canary < wanted.canary {
        let detail = format!("{canary} of {} canary pods are available for {weight} %", wanted.canary);
        draft.wait_for_pods(wanted.canary, detail);
    } else if up < wanted.stable {
        draft.wait(WaitingReason::StableReady, format!("{up} of {} stable pods are available for {weight} %", wanted.stable));
    } else if canary_size != wanted.canary || stable_size != wanted.stable || superseded(draft) > 0 {
        let detail = format!("pods go until {} of the canary and {} of stable are left", wanted.canary, wanted.stable);
        draft.wait(WaitingReason::PodsReady, detail);
    } else if !served {
        draft.wait(WaitingReason::PodsReady, format!("Service {} is pointed at revision {hash}", draft.spec.canary_service));
    } else {
        return settled(draft);
    }
    false
}

/// Brings everything back to stable: its pods come up, and those of all others go as it takes their place. True once it
/// has all the traffic.
pub(super) fn withdraw(draft: &mut Draft<'_>, stable: &str) -> bool {
    draft.goal = Some(Goal { stable: Some((stable.to_owned(), draft.spec.replicas)), canary: None });
    let served = point_canary_service(draft, stable);
    let left = draft.seen.replica_sets.iter().filter(|set| set.hash != stable && !set.deleting);
    let left: i32 = left.map(|set| set.wanted.max(set.ready)).sum();
    if left > 0 {
        let available = draft.seen.replica_set(stable).map_or(0, |set| set.available);
        let detail = format!(
            "{available} of {} stable pods are available; {left} pods of other revisions go as it takes their place",
            draft.spec.replicas
        );
        draft.wait(WaitingReason::StableReady, detail);
    } else if !served {
        let detail = format!("Service {} is pointed back at stable", draft.spec.canary_service);
        draft.wait(WaitingReason::PodsReady, detail);
    }
    left == 0 && served
}

/// The first deployment: whether its revision has the pods for itself, and how many of them it needs before the Services are
/// pointed at it. Where the template changed meanwhile, the stable Service may route to the pods of before: one of them stays
/// until it was moved.
pub(super) fn first(draft: &mut Draft<'_>, hash: &str) -> (bool, i32) {
    let bounds = draft.spec.bounds;
    let behind = draft.seen.stable_service.as_ref().and_then(|service| service.hash.clone()).filter(|behind| behind != hash);
    let behind = behind.filter(|behind| draft.seen.replica_set(behind).is_some_and(|set| set.wanted > 0 && !set.deleting));
    let Some((behind, split)) = behind.zip(beside_the_last(bounds, bounds.replicas)) else {
        return (only(draft, hash), bounds.replicas);
    };
    draft.goal = Some(Goal { stable: Some((behind, split.stable)), canary: Some((hash.to_owned(), split.canary)) });
    (false, split.canary)
}

/// Gives one revision all pods, as nothing else is stable: the first deployment, and the end of a promotion. True once it
/// has them, and no other has any.
pub(super) fn only(draft: &mut Draft<'_>, hash: &str) -> bool {
    let all = (hash.to_owned(), draft.spec.replicas);
    let promoted = draft.status.promoting.is_some();
    draft.goal = Some(if promoted { Goal { stable: Some(all), canary: None } } else { Goal { stable: None, canary: Some(all) } });
    let others = draft.seen.replica_sets.iter().filter(|set| set.hash != hash && !set.deleting);
    let others: i32 = others.map(|set| set.wanted.max(set.ready)).sum();
    let available = draft.seen.replica_set(hash).map_or(0, |set| set.available);
    if available < draft.spec.replicas || others > 0 {
        let detail = format!("{available} of {} pods are available; {others} of other revisions go", draft.spec.replicas);
        draft.wait(WaitingReason::PodsReady, detail);
        return false;
    }
    true
}

/// The spec is impossible, or somebody paused: nothing comes up but stable, and what was superseded goes.
pub(super) fn refuse(draft: &mut Draft<'_>) {
    let Some(stable) = draft.stable_hash() else { return };
    let canary = draft.seen.replica_set(&draft.spec.hash).map_or(0, |set| set.wanted);
    let serves = draft.seen.replica_set(&stable).map_or(0, |set| set.wanted);
    // What is there already stays: a step that was reached is not undone by a template that broke later.
    let wanted = serves.max(draft.spec.replicas - canary);
    draft.goal = Some(Goal { stable: Some((stable, wanted)), canary: Some((draft.spec.hash.clone(), canary)) });
}

/// Points the canary Service, where there is one; true when it is there.
fn point_canary_service(draft: &mut Draft<'_>, hash: &str) -> bool {
    let Some(service) = draft.seen.canary_service.as_ref().filter(|service| service.has_selector) else { return true };
    if service.hash.as_deref() == Some(hash) {
        return true;
    }
    let effect = Effect::select(service, hash);
    draft.raise.push(effect);
    false
}

/// Moves the ReplicaSets towards the goal, as far as the bounds allow now.
pub(super) fn carry_out(draft: &mut Draft<'_>) {
    let Some(goal) = draft.goal.take() else { return };
    let Goal { stable, canary } = goal;
    let target = |hash: &str| match (&stable, &canary) {
        (Some((stable, pods)), _) if stable == hash => (Side::Stable, *pods),
        (_, Some((canary, pods))) if canary == hash => (Side::Canary, *pods),
        _ => (Side::Superseded, 0),
    };
    let sets: Vec<&ReplicaSet> = draft.seen.replica_sets.iter().filter(|set| !set.deleting).collect();
    let mut members: Vec<Member> = sets.iter().map(|set| member(set, target(&set.hash))).collect();
    let created = missing(draft, &stable, &canary);
    members.extend(created.iter().map(|(hash, _)| {
        let (side, target) = target(hash);
        Member { side, wanted: 0, current: 0, ready: 0, available: 0, target }
    }));
    let mut sizes = replicas::step(draft.spec.bounds, &members);
    if sets.iter().any(|set| set.wanted > 0 && wear::redefines_available(draft, set)) {
        // What is available now may not be a moment later; nothing is taken away on the old word.
        sizes.iter_mut().zip(&members).for_each(|(size, member)| *size = (*size).max(member.wanted));
    }
    for ((set, size), member) in sets.iter().zip(&sizes).zip(&members) {
        if *size == set.wanted {
            continue;
        }
        let effect = scale::resize(set, *size);
        match member.side {
            Side::Stable if *size > set.wanted => draft.lower.push(scale::grow(set, *size)),
            _ if *size > set.wanted => draft.canary_pods.push(effect),
            _ => draft.raise.push(effect),
        }
    }
    for ((hash, revision), replicas) in created.into_iter().zip(sizes.into_iter().skip(sets.len())) {
        let effect = scale::create(draft, &hash, revision, replicas);
        draft.canary_pods.push(effect);
    }
    if let Some((canary, _)) = canary
        && let Some(effect) = scale::number(draft, &canary)
    {
        draft.canary_pods.push(effect);
    }
}

fn member(set: &ReplicaSet, (side, target): (Side, i32)) -> Member {
    Member { side, wanted: set.wanted, current: set.current, ready: set.ready, available: set.available, target }
}

/// ReplicaSets that the goal names and that do not exist; only the spec's template can be created.
fn missing(draft: &Draft<'_>, stable: &Option<(String, i32)>, canary: &Option<(String, i32)>) -> Vec<(String, i64)> {
    if draft.seen.template != TemplateCheck::Accepted {
        return Vec::new();
    }
    let wanted = stable.iter().chain(canary).map(|(hash, _)| hash);
    let absent = wanted.filter(|hash| **hash == draft.spec.hash && draft.seen.replica_set(hash).is_none());
    let recorded = draft.status.stable.as_ref().filter(|stable| stable.hash == draft.spec.hash);
    let revision = recorded.map_or_else(|| draft.revision(), |stable| stable.revision);
    absent.map(|hash| (hash.clone(), revision)).collect()
}
