//! Pauses that no step asks for: a person's, by command or by `spec.paused`, and that of a failure with `onFailure: Pause`.
//! Nothing goes up, and nothing that is up goes down.
//!
//! A person's pause does not switch off what keeps users safe: verdicts act, a superseded canary loses its traffic, stable follows its
//! size, and what others raised in a route is put right. A `pause` step goes on underneath, by its recorded time.

use super::{Draft, Effect, PauseReason, analysis, ratio, scale, weight};
use crate::api::condition::rollout as reasons;
use crate::api::rollout::{RolloutPhase, WaitingReason};
use crate::rollout::observed::Run;

/// Who paused, and how it goes on; none when no person did.
pub(super) fn by_person(draft: &Draft<'_>) -> Option<(&'static str, &'static str)> {
    if draft.spec.life.paused {
        return Some(("spec.paused is set", "unset spec.paused where the spec comes from"));
    }
    is_commanded(draft).then_some(("a person paused it", "kubectl tidegate resume goes on"))
}

/// Was it paused by command?
pub(super) fn is_commanded(draft: &Draft<'_>) -> bool {
    draft.status.pause_conditions.iter().any(|pause| pause.reason == PauseReason::PausedByUser)
}

/// A person paused: the canary stays where it is. `alone` says that no older canary has traffic any more.
pub(super) fn hold(draft: &mut Draft<'_>, alone: bool, (who, how): (&str, &str)) {
    if !keep(draft, alone) {
        return;
    }
    let place = place(draft);
    draft.say(RolloutPhase::Paused, reasons::PAUSED_BY_USER, format!("{place}: {who}"));
    draft.wait(WaitingReason::UserPromotion, how);
}

/// An analysis failed that only pauses, and nobody passed over it yet: the canary stays where it is, also on the way up.
pub(super) fn held_by_failure(draft: &mut Draft<'_>, alone: bool) -> bool {
    if !draft.spec.life.pauses_on_failure || draft.status.promote_full {
        return false;
    }
    let Some(run) = analysis::failed(draft) else { return false };
    if keep(draft, alone) {
        on_failure(draft, run);
    }
    true
}

/// Pauses at the verdict Failed of a run (`onFailure: Pause`).
pub(super) fn on_failure(draft: &mut Draft<'_>, run: &Run) {
    let evidence = run.status.message.clone().unwrap_or_else(|| "the analysis failed".to_owned());
    let place = place(draft);
    draft.pause_since(PauseReason::FailedAnalysis);
    draft.say(RolloutPhase::Paused, reasons::ANALYSIS_FAILED, format!("{place}: {evidence}"));
    draft.wait(WaitingReason::UserPromotion, "onFailure is Pause: abort goes back to stable, promote goes on in spite of it");
}

fn place(draft: &Draft<'_>) -> String {
    let steps = draft.spec.steps.len();
    match draft.step_index() {
        index if index < steps => format!("step {} of {steps}", index + 1),
        _ => "all steps passed".to_owned(),
    }
}

/// Neither more nor less traffic on the canary; true when route and Services are there to say more.
fn keep(draft: &mut Draft<'_>, alone: bool) -> bool {
    // The canary may follow a larger `spec.replicas`, and neither begins nor shrinks.
    if alone && !draft.spec.routed {
        ratio::refuse(draft);
    } else if alone {
        let permitted = draft.spec.weight_at(draft.step_index());
        let keep = draft.weight.unwrap_or(0).min(permitted);
        scale::keep_canary(draft, draft.spec.pods_for(keep));
        draft.canary_pods.retain(|effect| matches!(effect, Effect::ScaleReplicaSet { from, to, .. } if to > from));
        weight::keep(draft, keep);
    } else {
        draft.canary_pods.clear();
    }
    draft.short_of = None;
    !matches!(draft.reason, reasons::ROUTE_MISSING | reasons::SERVICE_MISSING)
}

/// The first deployment begins nothing while it is paused.
pub(super) fn first(draft: &mut Draft<'_>, (who, how): (&str, &str)) {
    draft.say(RolloutPhase::Paused, reasons::PAUSED_BY_USER, format!("first deployment: {who}"));
    draft.wait(WaitingReason::UserPromotion, how);
}
