//! Commands: each is carried out once, or visibly refused.

use super::{Draft, Found, Situation, canary};
use crate::api::request::{KEPT_ANSWERS, Outcome, RequestAnswer, RolloutAction, RolloutRequest};
use crate::api::rollout::FailureCause;

/// Answers `spec.request` unless it was answered before.
pub(super) fn answer(draft: &mut Draft<'_>) {
    let Some(request) = draft.spec.request.clone() else { return };
    if draft.status.requests.iter().any(|answer| answer.id == request.id) {
        return;
    }
    let (outcome, message) = match superseded(draft, &request) {
        Some(why) => (Outcome::Superseded, why),
        None => match carry_out(draft, &request) {
            Ok(done) => (Outcome::Done, done),
            Err(why) => (Outcome::Refused, why),
        },
    };
    let answer = RequestAnswer { id: request.id, action: request.action, outcome, message, at: draft.now() };
    draft.status.requests.insert(0, answer);
    draft.status.requests.truncate(KEPT_ANSWERS);
}

/// The person saw another revision, or for `promote` another step, than is under way now.
fn superseded(draft: &Draft<'_>, request: &RolloutRequest) -> Option<String> {
    let present = draft.status.canary.as_ref().or(draft.status.stable.as_ref()).map(|revision| revision.revision);
    if let (Some(seen), Some(present)) = (request.revision, present)
        && seen != present
    {
        return Some(format!("revision {present} is under way by now, not {seen}"));
    }
    if let (RolloutAction::Promote, Some(seen)) = (request.action, request.step) {
        let present = draft.status.current_step_index.unwrap_or(0);
        if seen != present {
            return Some(format!("step {} is under way by now, not {}", present + 1, seen + 1));
        }
    }
    None
}

fn carry_out(draft: &mut Draft<'_>, request: &RolloutRequest) -> Result<String, String> {
    match request.action {
        RolloutAction::Promote => promote(draft),
        RolloutAction::PromoteFull => promote_full(draft),
        RolloutAction::Abort => abort(draft),
        RolloutAction::Retry => retry(draft),
    }
}

fn nothing_to_promote(draft: &Draft<'_>) -> Option<String> {
    match draft.situation() {
        Situation::Canary => None,
        Situation::Promoting => Some("the promotion is under way already".to_owned()),
        Situation::First => Some("the first deployment has no steps to pass".to_owned()),
        Situation::AtStable => Some("the spec asks for what is stable; there is nothing to promote".to_owned()),
        Situation::Stopped => Some("this revision was stopped and is held; retry starts it again".to_owned()),
    }
}

fn promote(draft: &mut Draft<'_>) -> Result<String, String> {
    if let Some(why) = nothing_to_promote(draft) {
        return Err(why);
    }
    let index = draft.step_index();
    if index >= draft.spec.steps.len() {
        draft.status.promote_full = true;
        return Ok("the last gate is passed without waiting for evidence".to_owned());
    }
    canary::pass(draft);
    Ok(format!("step {} of {} is passed", index + 1, draft.spec.steps.len()))
}

fn promote_full(draft: &mut Draft<'_>) -> Result<String, String> {
    if let Some(why) = nothing_to_promote(draft) {
        return Err(why);
    }
    draft.status.promote_full = true;
    draft.status.current_step_index = i32::try_from(draft.spec.steps.len()).ok();
    draft.status.pause_conditions.clear();
    Ok("all remaining steps are skipped".to_owned())
}

fn abort(draft: &mut Draft<'_>) -> Result<String, String> {
    match draft.situation() {
        Situation::Canary => {
            let found = Found { evidence: "a person aborted".to_owned(), ..Found::default() };
            draft.stop(FailureCause::AbortedByUser, found);
            Ok("traffic goes back to stable, and this content is held until it changes or somebody retries".to_owned())
        }
        Situation::Stopped => Ok("it was stopped already".to_owned()),
        Situation::AtStable if draft.status.canary.is_some() => Ok("it is on its way back to stable already".to_owned()),
        Situation::AtStable => Err("the spec asks for what is stable; there is nothing to abort".to_owned()),
        Situation::First => Err("the first deployment has no stable revision to go back to".to_owned()),
        Situation::Promoting => {
            Err("promotion under way, past the point of no return; commit the earlier version to go back".to_owned())
        }
    }
}

fn retry(draft: &mut Draft<'_>) -> Result<String, String> {
    match draft.situation() {
        Situation::Stopped => {
            draft.status.holds.retain(|hold| hold.digest != draft.spec.digest);
            let same = draft.status.canary.as_ref().is_some_and(|canary| canary.digest == draft.spec.digest);
            if same {
                draft.status.failure = None;
                draft.restart(draft.attempt() + 1);
            }
            Ok("the hold is lifted, and it starts again at the first step".to_owned())
        }
        Situation::AtStable if !draft.status.holds.is_empty() => {
            draft.status.holds.remove(0);
            Ok("the newest hold is lifted; Git no longer has this content: push it again".to_owned())
        }
        Situation::AtStable => Err("nothing was stopped; there is nothing to retry".to_owned()),
        Situation::Canary | Situation::First | Situation::Promoting => Err("it is under way; abort first".to_owned()),
    }
}
