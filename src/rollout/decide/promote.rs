//! The first deployment, and the promotion of a canary to stable.

use super::{Draft, Effect, after, analysis, ratio, scale, weight};
use crate::api::condition::rollout as reasons;
use crate::api::rollout::{Promoting, RolloutPhase, ScaleDown, WaitingReason};
use crate::rollout::observed::TemplateCheck;

/// Nothing was ever stable: no steps, no analysis. Both Services get the revision once it is available.
pub(super) fn first(draft: &mut Draft<'_>) {
    let (hash, replicas) = (draft.spec.hash.clone(), draft.spec.replicas);
    draft.say(RolloutPhase::Progressing, reasons::PODS_STARTING, "first deployment");
    if let TemplateCheck::Refused(why) = &draft.seen.template {
        let message = format!("spec.template: the API server refuses it: {why}");
        draft.say(RolloutPhase::Degraded, reasons::INVALID_SPEC, message);
        return;
    }
    scale::keep_canary(draft, replicas);
    let (alone, needed) = if draft.spec.routed { (true, replicas) } else { ratio::first(draft, &hash) };
    let available = draft.seen.replica_set(&hash).map(|rs| rs.available);
    if available.is_none_or(|available| available < needed) {
        let detail = format!("{} of {needed} pods are available", available.unwrap_or(0));
        draft.say(RolloutPhase::Progressing, reasons::PODS_STARTING, format!("first deployment: {detail}"));
        draft.wait_for_pods(needed, detail);
        return;
    }
    if weight::service_missing(draft) {
        return;
    }
    let stable_set = point(draft, true, &hash);
    let canary_set = point(draft, false, &hash);
    let weighted = weight::all_to_stable(draft);
    if !(stable_set && canary_set) {
        draft.wait(WaitingReason::PodsReady, "both Services are pointed at the first revision");
        return;
    }
    if !weighted || !alone || !serves(draft, &hash) {
        return;
    }
    become_stable(draft, None);
}

/// After the last step: all pods, all traffic, then the point of no return.
pub(super) fn last_step(draft: &mut Draft<'_>) {
    let hash = draft.spec.hash.clone();
    let passed = if draft.is_rollback() { "it was stable a little while ago (rollbackWindow)" } else { "all steps passed" };
    draft.say(RolloutPhase::Progressing, reasons::PROMOTING, format!("{passed}; the new revision takes all traffic"));
    let wanted = draft.spec.weight_at(draft.spec.steps.len());
    if draft.spec.routed && !has_all_pods(draft, &hash, wanted) {
        return;
    }
    if !weight::ensure(draft, wanted) || !analysis::background(draft, draft.spec.steps.len(), wanted) {
        return;
    }
    draft.status.promoting = Some(Promoting { hash: hash.clone(), at: draft.now() });
    draft.status.pause_conditions.clear();
    draft.say(RolloutPhase::Progressing, reasons::PROMOTING, format!("revision {hash} becomes stable"));
    if !point(draft, true, &hash) {
        draft.wait(WaitingReason::PodsReady, format!("Service {} is pointed at it", draft.spec.stable_service));
    }
}

/// The canary has all its pods. The weight already reached is kept while the rest of them come up.
fn has_all_pods(draft: &mut Draft<'_>, hash: &str, wanted: i32) -> bool {
    let replicas = draft.spec.replicas;
    scale::keep_canary(draft, replicas);
    let available = draft.seen.replica_set(hash).map_or(0, |rs| rs.available);
    if available >= replicas {
        return true;
    }
    draft.wait_for_pods(replicas, format!("{available} of {replicas} canary pods are available"));
    let waiting = draft.waiting.clone();
    let held = if draft.seen.ready(hash) == 0 { 0 } else { draft.weight.unwrap_or(0).min(wanted) };
    weight::ensure(draft, held);
    draft.waiting = waiting;
    draft.short_of = Some(replicas);
    false
}

/// Past the point of no return: stable's Service, its endpoints, the weights, then the record.
pub(super) fn finish(draft: &mut Draft<'_>) {
    let Some(promoting) = draft.status.promoting.clone() else { return };
    let hash = promoting.hash;
    draft.say(RolloutPhase::Progressing, reasons::PROMOTING, format!("revision {hash} becomes stable"));
    scale::keep_promoted(draft, &hash);
    if weight::service_missing(draft) {
        return;
    }
    if !point(draft, true, &hash) {
        draft.wait(WaitingReason::PodsReady, format!("Service {} is pointed at it", draft.spec.stable_service));
        return;
    }
    let alone = draft.spec.routed || ratio::only(draft, &hash);
    if !serves(draft, &hash) || !weight::all_to_stable(draft) || !alone {
        return;
    }
    let old = draft.stable_hash();
    become_stable(draft, old);
}

/// Points the stable (or the canary) Service at a revision; true when it is.
fn point(draft: &mut Draft<'_>, stable: bool, hash: &str) -> bool {
    let (service, name) = if stable {
        (&draft.seen.stable_service, &draft.spec.stable_service)
    } else {
        (&draft.seen.canary_service, &draft.spec.canary_service)
    };
    let Some(service) = service else { return name.is_empty() };
    if service.hash.as_deref() == Some(hash) {
        return true;
    }
    draft.raise.push(Effect::select(service, hash));
    false
}

/// Between promotions the stable Service selects stable: also one that the spec names only now, or that somebody edited.
/// Until it does, it may route to the canary's pods, whatever the weights say.
pub(super) fn keep_stable_service(draft: &mut Draft<'_>) {
    let Some(stable) = draft.stable_hash().filter(|_| draft.status.promoting.is_none()) else { return };
    let Some(service) = draft.seen.stable_service.as_ref().filter(|service| service.has_selector) else { return };
    // What is seen of the weights is no longer true where this pass gives more to stable.
    let more = draft.lower.iter().any(|effect| matches!(effect, Effect::SetWeight { .. }));
    let share = draft.status.weights.as_ref().filter(|_| !more).map_or(draft.spec.whole, |weights| weights.stable);
    let needed = if draft.spec.routed { draft.spec.pods_for(share).max(1) } else { 1 };
    if service.hash.as_deref() != Some(&stable) && draft.seen.ready(&stable) >= needed {
        draft.raise.push(Effect::select(service, &stable));
    }
}

/// Does the stable Service route to ready pods of the revision, and to no others?
fn serves(draft: &mut Draft<'_>, hash: &str) -> bool {
    let wanted = draft.seen.replica_set(hash).map_or(0, |rs| rs.wanted).min(draft.spec.replicas);
    let service = &draft.spec.stable_service;
    if service.is_empty() || draft.seen.stable_service.as_ref().is_some_and(|service| service.serves_only(hash, wanted)) {
        return true;
    }
    draft.wait(
        WaitingReason::PodsReady,
        format!("Service {service} does not yet route to {wanted} ready pods of {hash}, and to no others"),
    );
    false
}

/// The record: this revision is stable from now on. The old one's pods go after their delay.
fn become_stable(draft: &mut Draft<'_>, old: Option<String>) {
    let Some(mut revision) = draft.status.canary.take() else { return };
    revision.promoted_at = Some(draft.now());
    for known in draft.status.revisions.iter_mut().filter(|known| known.revision == revision.revision) {
        known.promoted_at.clone_from(&revision.promoted_at);
    }
    draft.say(RolloutPhase::Healthy, reasons::HEALTHY, format!("revision {} is stable", revision.hash));
    draft.status.stable = Some(revision);
    draft.status.promoting = None;
    draft.status.failure = None;
    draft.end_attempt();
    draft.waiting = None;
    if let Some(hash) = old.filter(|_| draft.spec.routed) {
        let at = after(draft.seen.now, draft.spec.scale_down_delay);
        draft.status.scale_downs.retain(|entry| entry.hash != hash);
        draft.status.scale_downs.push(ScaleDown { hash, at: crate::api::Time(at) });
        draft.requeue(at);
    }
}
