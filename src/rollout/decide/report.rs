//! The status in words: phase, message, what it waits for, conditions, counts.

use super::{Draft, Situation};
use crate::api::condition::{self, rollout as reasons};
use crate::api::rollout::{RolloutPhase, RolloutStatus, WaitingOn, WaitingReason};

/// How soon to look again at what waits.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(10);

/// Fills in everything that follows from the decision.
pub(super) fn finish(draft: &mut Draft<'_>) {
    counts(draft);
    waiting(draft);
    // What ends by its time or by a person's word needs no other look; the rest may change without an event that we see.
    let by_itself = |waiting: &WaitingOn| {
        matches!(waiting.reason, WaitingReason::Pause | WaitingReason::UserPromotion | WaitingReason::ScaleDownDelay)
    };
    let waits = draft.status.waiting_on.as_ref().is_some_and(|waiting| !by_itself(waiting));
    if waits || draft.reason == reasons::INVALID_SPEC {
        draft.requeue(super::after(draft.seen.now, LOOK_AGAIN));
    }
    let phase = draft.phase;
    draft.status.phase = Some(phase);
    draft.status.message = Some(draft.message.clone());
    draft.status.observed_generation = Some(draft.spec.generation);
    conditions(draft);
}

fn counts(draft: &mut Draft<'_>) {
    let sum = |of: fn(&crate::rollout::observed::ReplicaSet) -> i32| draft.seen.replica_sets.iter().map(of).sum();
    draft.status.replicas = sum(|set| set.current);
    draft.status.ready_replicas = sum(|set| set.ready);
    draft.status.available_replicas = sum(|set| set.available);
    draft.status.updated_replicas = draft.seen.replica_set(&draft.spec.hash).map_or(0, |set| set.current);
}

fn waiting(draft: &mut Draft<'_>) {
    let before = draft.spec.status.waiting_on.as_ref();
    draft.status.waiting_on = draft.waiting.take().map(|(reason, detail)| {
        let since = before.filter(|before| before.reason == reason).map_or_else(|| draft.now(), |before| before.since.clone());
        WaitingOn { reason, since, detail }
    });
}

fn conditions(draft: &mut Draft<'_>) {
    let stable = draft.stable_hash();
    let full = stable
        .as_deref()
        .and_then(|hash| draft.seen.replica_set(hash))
        .map(|set| set.available >= super::scale::stable_pods(draft));
    let full = full.unwrap_or(false) || (stable.is_some() && shared_is_enough(draft));
    let (phase, reason, message) = (draft.phase, draft.reason, draft.message.clone());
    let under_way = matches!(phase, RolloutPhase::Progressing | RolloutPhase::Paused);
    let invalid = reason == reasons::INVALID_SPEC;
    let ready_reason = if full { reasons::HEALTHY } else { reasons::STABLE_NOT_READY };
    let ready_message = match (&stable, full) {
        (None, _) => "no revision is stable yet".to_owned(),
        (Some(hash), true) if shared_is_enough(draft) => format!("stable revision {hash} and the others serve with enough pods"),
        (Some(hash), true) => format!("stable revision {hash} serves at full strength"),
        (Some(hash), false) => format!("stable revision {hash} has too few available pods"),
    };
    let all = [
        (condition::READY, full, ready_reason, ready_message.as_str()),
        (condition::RECONCILING, under_way, reason, message.as_str()),
        (condition::STALLED, phase == RolloutPhase::Degraded, reason, message.as_str()),
        (condition::PROGRESSING, phase == RolloutPhase::Progressing, reason, message.as_str()),
        (condition::PAUSED, phase == RolloutPhase::Paused, reason, message.as_str()),
        (condition::AVAILABLE, full, ready_reason, ready_message.as_str()),
        (
            condition::INVALID_SPEC,
            invalid,
            if invalid { reason } else { reasons::HEALTHY },
            if invalid { message.as_str() } else { "" },
        ),
    ];
    let (generation, now) = (Some(draft.spec.generation), draft.seen.now);
    for (kind, status, reason, message) in all {
        condition::set(&mut draft.status.conditions, kind, status, reason, message, generation, now);
    }
    debug_assert!(draft.situation() != Situation::AtStable || draft.status.canary.is_none() || phase != RolloutPhase::Healthy);
}

/// Can the record of this change wait a while? True for what every look at the cluster finds again: counts of pods, the
/// split of traffic as seen, what is waited for, and words. What was decided cannot wait, nor what a condition says.
#[must_use]
pub fn can_wait(recorded: &RolloutStatus, now: &RolloutStatus) -> bool {
    if now.phase != recorded.phase || now.conditions.len() != recorded.conditions.len() {
        return false;
    }
    let mut same = now.clone();
    same.message.clone_from(&recorded.message);
    same.waiting_on.clone_from(&recorded.waiting_on);
    same.weights.clone_from(&recorded.weights);
    same.replicas = recorded.replicas;
    same.ready_replicas = recorded.ready_replicas;
    same.available_replicas = recorded.available_replicas;
    same.updated_replicas = recorded.updated_replicas;
    same.hpa_replicas = recorded.hpa_replicas;
    for (condition, recorded) in same.conditions.iter_mut().zip(&recorded.conditions) {
        condition.message.clone_from(&recorded.message);
    }
    same == *recorded
}

/// Without a router, revisions under way share the traffic with stable, and count as in a Deployment: together they must not
/// have fewer available pods than `maxUnavailable` allows.
fn shared_is_enough(draft: &Draft<'_>) -> bool {
    let stable = draft.stable_hash();
    let sets = || draft.seen.replica_sets.iter().filter(|set| !set.deleting);
    let shared = sets().any(|set| set.available > 0 && Some(&set.hash) != stable.as_ref());
    let available: i32 = sets().map(|set| set.available).sum();
    !draft.spec.routed && shared && available >= draft.spec.bounds.least_available()
}

/// The status of a Rollout whose spec cannot be read: everything stays as it is, and it says why.
#[must_use]
pub fn invalid(before: &RolloutStatus, generation: Option<i64>, why: &str, now: jiff::Timestamp) -> RolloutStatus {
    let mut status = before.clone();
    status.phase = Some(RolloutPhase::Degraded);
    status.message = Some(why.to_owned());
    status.observed_generation = generation;
    status.waiting_on = None;
    for kind in [condition::STALLED, condition::INVALID_SPEC] {
        condition::set(&mut status.conditions, kind, true, reasons::INVALID_SPEC, why, generation, now);
    }
    for kind in [condition::RECONCILING, condition::PROGRESSING, condition::PAUSED] {
        condition::set(&mut status.conditions, kind, false, reasons::INVALID_SPEC, why, generation, now);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Protects: what may be written late, and that nothing else may: not a phase, a reason, a step, a stop or an answer.
    #[test]
    fn what_can_wait() {
        let condition = json!([{"type": "Ready", "status": "True", "reason": "Healthy", "message": "a", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let recorded = json!({"phase": "Progressing", "observedGeneration": 1, "currentStepIndex": 1, "readyReplicas": 1, "message": "a", "conditions": condition});
        let of = |patch: Value| {
            let mut value = recorded.clone();
            json_patch::merge(&mut value, &patch);
            serde_json::from_value::<RolloutStatus>(value).unwrap()
        };
        let reason = |reason: &str| json!([{"type": "Ready", "status": "True", "reason": reason, "message": "b", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let waiting = json!({"reason": "PodsReady", "since": "2026-01-01T00:00:00Z", "detail": "1 of 2"});
        for patch in [
            json!({"readyReplicas": 2, "availableReplicas": 2, "replicas": 2, "updatedReplicas": 2}),
            json!({"message": "b", "waitingOn": waiting, "conditions": reason("Healthy")}),
            json!({"weights": {"canary": 10, "stable": 90, "verified": true, "verifiedAt": "2026-01-01T00:00:00Z"}}),
        ] {
            assert!(can_wait(&of(json!({})), &of(patch.clone())), "{patch}");
        }
        for patch in [
            json!({"phase": "Paused"}),
            json!({"observedGeneration": 2}),
            json!({"currentStepIndex": 2, "readyReplicas": 2}),
            json!({"conditions": reason("StableNotReady")}),
            json!({"conditions": []}),
            json!({"abort": true}),
            json!({"promoting": {"hash": "x", "at": "2026-01-01T00:00:00Z"}}),
            json!({"pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]}),
            json!({"scaleDowns": [{"hash": "x", "at": "2026-01-01T00:00:00Z"}]}),
            json!({"requests": [{"id": "1", "action": "abort", "outcome": "Done", "message": "", "at": "2026-01-01T00:00:00Z"}]}),
        ] {
            assert!(!can_wait(&of(json!({})), &of(patch.clone())), "{patch}");
        }
    }
}
