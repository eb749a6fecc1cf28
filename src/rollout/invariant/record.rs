//! Invariants 3 and 8 to 15: what the status may say after what it said.

use jiff::Timestamp;

use super::{Findings, State, held, pods_for, ready, traffic, weight_of_step};
use crate::api::analysis::RunPhase;
use crate::api::request::Outcome;
use crate::api::rollout::{FailureCause, PauseReason, RolloutStatus};
use crate::rollout::observed::Run;
use crate::rollout::spec::Step;

pub(super) fn check(before: State<'_>, after: State<'_>, found: &mut Findings) {
    let (old, new) = (&before.rollout.status, &after.rollout.status);
    if old == new {
        return;
    }
    stable_and_promotion(before, after, found);
    aborted(before, after, found);
    failure(after, old, new, found);
    never_back(old, new, found);
    answers(after, old, new, found);
    let same_attempt =
        old.canary.as_ref().map(|c| c.revision) == new.canary.as_ref().map(|c| c.revision) && old.attempt == new.attempt;
    if same_attempt && new.canary.is_some() {
        steps(before, after, found);
    }
    // Without a router the weights are those of pods, whatever a route from before still says.
    let verified = new.weights.as_ref().filter(|weights| weights.verified && after.rollout.routed);
    if let Some(weights) = verified
        && traffic::possible(after).canary > i64::from(weights.canary)
    {
        let flows = traffic::possible(after).canary;
        found.say(14, format!("recorded as confirmed at {} while {flows} may flow", weights.canary));
    }
}

/// Invariant 8: stable changes by a recorded promotion only, of a revision that stands at full strength.
fn stable_and_promotion(before: State<'_>, after: State<'_>, found: &mut Findings) {
    let (old, new) = (&before.rollout.status, &after.rollout.status);
    let hash = |status: &RolloutStatus| status.stable.as_ref().map(|stable| stable.hash.clone());
    if hash(old).is_some() && hash(old) != hash(new) {
        let promoted = old.promoting.as_ref().map(|promoting| promoting.hash.clone());
        if hash(new) != promoted {
            found.say(8, format!("stable became {:?} without a recorded promotion ({promoted:?})", hash(new)));
        }
    }
    if let (None, Some(promoting)) = (&old.promoting, &new.promoting) {
        let there = ready(after, &promoting.hash);
        // Without a router or a surge, the last pod that the stable Service routes to stays until that Service was moved.
        let last = !after.rollout.routed && after.rollout.bounds.max_surge == 0 && !after.rollout.stable_service.is_empty();
        let needed = after.rollout.replicas - i32::from(last);
        if there < needed {
            let hash = &promoting.hash;
            found.say(3, format!("the promotion of {hash} began with {there} of {needed} ready pods"));
        }
    }
}

/// Invariant 3, downwards: when an abort is recorded, the canary has no more left than stable cannot carry.
fn aborted(before: State<'_>, after: State<'_>, found: &mut Findings) {
    let (old, new) = (&before.rollout.status, &after.rollout.status);
    let Some(stable) = new.stable.as_ref().filter(|_| new.abort && !old.abort) else { return };
    let weight = traffic::live(after).canary;
    let stable_needs = pods_for(after, i64::from(after.rollout.whole) - weight + 1);
    if weight > 0 && i64::from(ready(after, &stable.hash)) >= stable_needs {
        found.say(3, format!("an abort was recorded at weight {weight}, and stable can carry more"));
    }
}

/// Invariant 9: a failure stands on a verdict about the same revision and attempt.
fn failure(after: State<'_>, old: &RolloutStatus, new: &RolloutStatus, found: &mut Findings) {
    let Some(failure) = &new.failure else { return };
    if old.failure.as_ref().map(|known| &known.id) == Some(&failure.id) || failure.cause != FailureCause::AnalysisFailed {
        return;
    }
    let attempt = new.attempt.unwrap_or(1);
    let failed = |run: &Run| is_of(after, run, failure.revision, attempt) && run.status.phase == RunPhase::Failed;
    if !after.cluster.runs.iter().any(failed) {
        found.say(9, format!("revision {} failed in attempt {attempt} without a Failed run of its own", failure.revision));
    }
}

/// Invariant 12: numbers that only grow.
fn never_back(old: &RolloutStatus, new: &RolloutStatus, found: &mut Findings) {
    if new.observed_generation < old.observed_generation {
        let (from, to) = (old.observed_generation, new.observed_generation);
        found.say(12, format!("the observed generation went back from {from:?} to {to:?}"));
    }
    if let (Some(from), Some(to)) = (&old.canary, &new.canary) {
        if to.revision < from.revision {
            found.say(12, format!("the canary's revision went back from {} to {}", from.revision, to.revision));
        }
        if to.revision == from.revision && new.attempt < old.attempt {
            found.say(12, format!("the attempt went back from {:?} to {:?}", old.attempt, new.attempt));
        }
    }
}

/// Invariant 13: an answer is given once, and stays; an abort that is done holds the content.
fn answers(after: State<'_>, old: &RolloutStatus, new: &RolloutStatus, found: &mut Findings) {
    for (index, answer) in new.requests.iter().enumerate() {
        if new.requests.iter().skip(index + 1).any(|other| other.id == answer.id) {
            found.say(13, format!("request {} was answered twice", answer.id));
        }
        if let Some(earlier) = old.requests.iter().find(|earlier| earlier.id == answer.id)
            && earlier != answer
        {
            found.say(13, format!("the answer to request {} changed", answer.id));
        }
    }
    let fresh = new.requests.first().filter(|answer| old.requests.first() != Some(answer));
    let aborted =
        fresh.is_some_and(|answer| answer.outcome == Outcome::Done && answer.action == crate::api::request::RolloutAction::Abort);
    let at_stable = new.stable.as_ref().is_some_and(|stable| stable.digest == after.rollout.digest);
    if aborted && !held(after) && !at_stable {
        found.say(13, "an abort was answered with Done, and the content is not held".to_owned());
    }
}

/// Invariants 10, 12 and 15: the steps of one attempt.
fn steps(before: State<'_>, after: State<'_>, found: &mut Findings) {
    let (old, new) = (&before.rollout.status, &after.rollout.status);
    if new.current_step_index < old.current_step_index {
        found.say(12, format!("the step went back from {:?} to {:?}", old.current_step_index, new.current_step_index));
    }
    let start = |status: &RolloutStatus, reason: PauseReason| {
        status.pause_conditions.iter().find(|pause| pause.reason == reason).map(|pause| pause.start_time.0)
    };
    if new.current_step_index == old.current_step_index
        && let (Some(from), Some(to)) = (start(old, PauseReason::CanaryPauseStep), start(new, PauseReason::CanaryPauseStep))
        // A clock that went back makes a start that lies ahead begin anew: that is longer, never shorter.
        && to < from
        && from <= after.cluster.now
    {
        found.say(15, format!("the pause's beginning went back from {from} to {to}"));
    }
    let asked = new.requests.first().map(|answer| &answer.id) != old.requests.first().map(|answer| &answer.id);
    let advanced = new.current_step_index > old.current_step_index || (new.promoting.is_some() && old.promoting.is_none());
    if !advanced || asked || new.promote_full {
        return;
    }
    let from = old.current_step_index.unwrap_or(0);
    let to = new.current_step_index.unwrap_or(0);
    let index = usize::try_from(from).unwrap_or(0);
    if let (Some(Step::Pause(Some(length))), Some(paused)) = (before.rollout.steps.get(index), before.paused_for)
        && old.canary.is_some()
        && paused < *length
    {
        found.say(15, format!("a pause of {} s was left after {} s", length.as_secs(), paused.as_secs()));
    }
    if old.canary.is_some() {
        let revision = old.canary.as_ref().map_or(0, |canary| canary.revision);
        let confirmed = new.weights.as_ref().and_then(|weights| weights.verified_at.as_ref()).map(|at| at.0);
        evidence(before, (from, to), (revision, old.attempt.unwrap_or(1)), confirmed, found);
    }
}

fn is_of(state: State<'_>, run: &Run, revision: i64, attempt: i32) -> bool {
    let subject = &run.subject;
    subject.revision == revision && subject.attempt == attempt && subject.rollout_uid == state.rollout.uid
}

/// Invariant 10: steps `from` to `to` were left. No analysis of this revision and attempt failed, or lacks what it needs.
/// `confirmed` is when the weight was, by the same record.
fn evidence(
    state: State<'_>,
    (from, to): (i32, i32),
    (revision, attempt): (i64, i32),
    confirmed: Option<Timestamp>,
    found: &mut Findings,
) {
    let runs: Vec<&Run> = state.cluster.runs.iter().filter(|run| is_of(state, run, revision, attempt)).collect();
    let begins = state.rollout.background.as_ref().and_then(|background| i32::try_from(background.starting_step).ok());
    for run in runs.iter().filter(|run| run.subject.step.is_none()) {
        let phase = run.status.phase;
        // Without a weight, no data is no surprise.
        let silent = phase == RunPhase::Error && weight_of_step(state, from) > 0;
        // Evidence may begin earlier, for a later step.
        let early = run.subject.evidence && begins.is_none_or(|begins| from < begins);
        if phase == RunPhase::Failed || !early && (silent || phase == RunPhase::Inconclusive) {
            found.say(10, format!("a step was left while the background analysis was {phase:?}"));
        }
    }
    for index in from..to.max(from) {
        let is_analysis = usize::try_from(index).ok().and_then(|index| state.rollout.steps.get(index));
        let Some(Step::Analysis(analysis)) = is_analysis else { continue };
        let run = runs.iter().find(|run| run.subject.step == Some(index));
        let passes =
            |phase: RunPhase| phase == RunPhase::Successful || analysis.passes_inconclusive && phase == RunPhase::Inconclusive;
        if !run.is_some_and(|run| passes(run.status.phase)) {
            let phase = run.map(|run| run.status.phase);
            found.say(10, format!("analysis step {index} was left while its run was {phase:?}"));
        }
    }
    let weight = weight_of_step(state, from);
    if begins.is_some_and(|begins| from >= begins) && weight > 0 && state.rollout.replicas > 0 {
        let metrics = state.cluster.background.iter().flatten().flatten().map(|metric| metric.name.as_str());
        usable(&runs, &metrics.collect::<Vec<_>>(), weight, confirmed, found);
    }
}

/// Each background metric has a value that was asked for after the present weight was confirmed.
fn usable(runs: &[&Run], metrics: &[&str], weight: i64, confirmed: Option<Timestamp>, found: &mut Findings) {
    let mut background = runs.iter().filter(|run| run.subject.step.is_none()).peekable();
    if background.peek().is_none() {
        found.say(10, format!("a step at weight {weight} was left without its background analysis"));
    }
    for run in background {
        // The evidence may be on SLOs of steps, too.
        let counts =
            |name: &str| !run.dry_run.iter().any(|dry| dry == name) && (!run.subject.evidence || metrics.contains(&name));
        for metric in run.status.metric_results.iter().filter(|metric| counts(&metric.name)) {
            let taken = metric.last_usable_at.as_ref();
            let fresh = matches!((taken, confirmed), (Some(taken), Some(confirmed)) if taken.0 >= confirmed);
            if run.status.phase != RunPhase::Successful && metric.phase != RunPhase::Successful && !fresh {
                found.say(10, format!("a step at weight {weight} was left without a value of {} at this weight", metric.name));
            }
        }
    }
}
