//! Commands: each is carried out once, or visibly refused.

use super::{Draft, Found, PauseReason, Situation, analysis, canary, pause, undo};
use crate::api::request::{KEPT_ANSWERS, Outcome, RequestAnswer, RolloutAction, RolloutRequest};
use crate::api::rollout::FailureCause;

/// What a command cannot end.
const ELSEWHERE: &str = "spec.paused is set; unset it where the spec comes from";

/// Answers `spec.request` unless it was answered before.
pub(super) fn answer(draft: &mut Draft<'_>) {
    let Some(request) = draft.spec.request.clone() else {
        draft.status.undoing = None;
        return;
    };
    if draft.status.requests.iter().any(|answer| answer.id == request.id) {
        return;
    }
    if draft.status.undoing.as_ref().is_some_and(|undoing| undoing.request != request.id) {
        draft.status.undoing = None;
    }
    let under_way = draft.status.undoing.is_some();
    let (outcome, message) = match superseded(draft, &request).filter(|_| !under_way) {
        Some(why) => (Outcome::Superseded, why),
        None => match carry_out(draft, &request) {
            Some(Ok(done)) => (Outcome::Done, done),
            Some(Err(why)) => (Outcome::Refused, why),
            None => return,
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

/// None: it takes another look.
fn carry_out(draft: &mut Draft<'_>, request: &RolloutRequest) -> Option<Result<String, String>> {
    Some(match request.action {
        RolloutAction::Promote => promote(draft),
        RolloutAction::PromoteFull => promote_full(draft),
        RolloutAction::Abort => abort(draft),
        RolloutAction::Retry => retry(draft),
        RolloutAction::Pause => pause(draft),
        RolloutAction::Resume => resume(draft),
        RolloutAction::Undo => return undo::carry_out(draft, request),
        RolloutAction::Restart => restart(draft),
    })
}

fn pause(draft: &mut Draft<'_>) -> Result<String, String> {
    match draft.situation() {
        Situation::Canary if pause::is_commanded(draft) => Ok("it is paused already".to_owned()),
        Situation::Canary => {
            draft.pause_since(PauseReason::PausedByUser);
            let weight =
                draft.weight.map(|weight| format!(", and {} % of the traffic stay on the canary", draft.spec.percent(weight)));
            Ok(format!("nothing goes on until resume{}", weight.unwrap_or_default()))
        }
        Situation::First => Err("the first deployment has no steps to pause".to_owned()),
        Situation::AtStable => Err("nothing is under way; spec.paused keeps the next revision from starting".to_owned()),
        Situation::Stopped => Err("this revision was stopped and is held; it does not go on by itself".to_owned()),
        Situation::Promoting => Err("promotion under way, past the point of no return".to_owned()),
    }
}

fn restart(draft: &mut Draft<'_>) -> Result<String, String> {
    if draft.status.stable.is_none() {
        return Err("nothing is stable yet; the pods of the first deployment are new".to_owned());
    }
    if draft.spec.restart_at(&draft.status).is_some_and(|at| at.0 > draft.seen.now) {
        return Err("spec.restartAt is in the future: the restart comes then; remove it to restart now".to_owned());
    }
    draft.status.restart_requested_at = Some(draft.now());
    Ok("the pods of now are evicted, a few at a time, as PodDisruptionBudgets and maxUnavailable allow".to_owned())
}

fn resume(draft: &mut Draft<'_>) -> Result<String, String> {
    let commanded = pause::is_commanded(draft);
    draft.unpause(PauseReason::PausedByUser);
    match (commanded, draft.spec.life.paused) {
        (true, false) => Ok("it goes on where it was paused".to_owned()),
        (true, true) => Ok(format!("the pause of a person is over, and {ELSEWHERE}")),
        (false, true) => Err(ELSEWHERE.to_owned()),
        (false, false) if draft.situation() == Situation::Canary => {
            Err("no person paused it; promote passes a step that waits".to_owned())
        }
        (false, false) => Err("nothing is paused".to_owned()),
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
    if draft.spec.life.paused {
        return Err(ELSEWHERE.to_owned());
    }
    let index = draft.step_index();
    if pause::is_commanded(draft) {
        draft.unpause(PauseReason::PausedByUser);
        return Ok("the pause of a person is over; the step goes on".to_owned());
    }
    if draft.spec.life.pauses_on_failure
        && let Some(run) = analysis::failed(draft)
    {
        draft.status.overruled.push(run.name.clone());
    }
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
    if draft.spec.life.paused {
        return Err(ELSEWHERE.to_owned());
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
