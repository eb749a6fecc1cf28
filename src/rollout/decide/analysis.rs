//! AnalysisRuns: created once per (revision, attempt, step), read for verdicts, ended when nobody needs them.
//!
//! A verdict is what stands in `AnalysisRun.status`, and nothing else: so a crash after the traffic moved cannot
//! forget why it moved.

pub(super) mod slo;

use super::{Draft, Effect, Found, PauseReason, Situation, pause};
use crate::api::analysis::{AnalysisRunSpec, MeasuredPhase, Metric, RunPhase, Subject};
use crate::api::condition::rollout as reasons;
use crate::api::names;
use crate::api::rollout::{FailureCause, RolloutPhase, WaitingReason};
use crate::api::slo::Evidence;
use crate::rollout::observed::Run;
use crate::rollout::spec::{Analysis, Step};

/// Which run of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Conditions in the background of the steps.
    Background,
    /// An analysis step.
    Step(usize),
    /// The evidence on all SLOs of the attempt.
    Evidence,
}

fn subject(draft: &Draft<'_>, which: Which) -> Subject {
    let step = if let Which::Step(step) = which { i32::try_from(step).ok() } else { None };
    Subject {
        rollout: draft.spec.name.clone(),
        rollout_uid: draft.spec.uid.clone(),
        revision: draft.revision(),
        attempt: draft.attempt(),
        step,
        evidence: which == Which::Evidence,
    }
}

fn run_name(draft: &Draft<'_>, which: Which) -> String {
    let base = format!("{}-{}-{}", draft.spec.name, draft.revision(), draft.attempt());
    match which {
        Which::Background => format!("{base}-background"),
        Which::Step(step) => format!("{base}-step{step}"),
        Which::Evidence => names::evidence_run(&draft.spec.name, draft.revision(), draft.attempt()),
    }
}

/// The run of this revision and attempt. A run of another Rollout of the same name is none of ours.
fn find<'a>(draft: &Draft<'a>, which: Which) -> Option<&'a Run> {
    let wanted = subject(draft, which);
    draft.seen.runs.iter().find(|run| run.subject == wanted)
}

/// All metrics of the Rollout that can be resolved.
fn all_metrics<'a>(draft: &Draft<'a>) -> impl Iterator<Item = &'a Metric> {
    let seen = draft.seen;
    seen.background.iter().chain(seen.step_metrics.values()).flat_map(|metrics| metrics.iter().flatten())
}

/// Was the run of this revision and attempt created?
pub(super) fn has_begun(draft: &Draft<'_>, which: Which) -> bool {
    find(draft, which).is_some()
}

fn is_current(draft: &Draft<'_>, run: &Run) -> bool {
    run.subject.rollout_uid == draft.spec.uid
        && run.subject.revision == draft.revision()
        && run.subject.attempt == draft.attempt()
}

/// The first run of this revision and attempt with the verdict Failed that no person passed over.
pub(super) fn failed<'a>(draft: &Draft<'a>) -> Option<&'a Run> {
    let failed = |run: &&Run| is_current(draft, run) && run.is_complete() && run.phase() == RunPhase::Failed;
    draft.seen.runs.iter().filter(failed).find(|run| !draft.status.overruled.contains(&run.name))
}

/// Stops the canary when a run of this revision and attempt has the verdict Failed.
pub(super) fn act_on_verdicts(draft: &mut Draft<'_>) {
    if draft.situation() != Situation::Canary || draft.spec.life.pauses_on_failure {
        return;
    }
    let Some(run) = failed(draft) else { return };
    let deciding = run.status.metric_results.iter().filter(|metric| !run.dry_run.contains(&metric.name));
    let metric = deciding.into_iter().find(|metric| metric.phase == RunPhase::Failed).map(|metric| metric.name.clone());
    let found = Found {
        evidence: run.status.message.clone().unwrap_or_else(|| "the analysis failed".to_owned()),
        verdict: Some(MeasuredPhase::Failed),
        analysis_run: Some(run.name.clone()),
        metric,
        started_at: run.status.started_at.clone(),
        at: run.status.completed_at.clone(),
    };
    draft.stop(FailureCause::AnalysisFailed, found);
}

fn create(draft: &mut Draft<'_>, which: Which, metrics: Vec<Metric>, evidence: Option<Evidence>) {
    let name = run_name(draft, which);
    if draft.seen.runs.iter().any(|run| run.name == name) {
        // Left behind by an earlier Rollout of the same name, then the garbage collector takes it; or made by hand.
        draft.wait(WaitingReason::Analysis, format!("AnalysisRun {name} is another's, and takes the name; it must go first"));
        return;
    }
    let dry_run = match which {
        Which::Evidence => metrics.iter().map(|metric| &metric.name).filter(|name| slo::is_dry(draft, name)).cloned().collect(),
        Which::Background | Which::Step(_) => {
            let analysis = analysis_of(draft, which);
            let names = metrics.iter().map(|metric| metric.name.clone());
            analysis.map(|analysis| names.filter(|name| analysis.is_dry(name)).collect()).unwrap_or_default()
        }
    };
    let at_most = if let Which::Step(_) = which { analysis_of(draft, which).and_then(|analysis| analysis.at_most) } else { None };
    let subject = subject(draft, which);
    let spec = AnalysisRunSpec { subject, metrics, dry_run, evidence, at_most, terminate: None };
    draft.raise.push(Effect::CreateRun { name, spec: Box::new(spec) });
}

/// What the spec asks for.
fn analysis_of<'a>(draft: &Draft<'a>, which: Which) -> Option<&'a Analysis> {
    match which {
        Which::Step(index) => match draft.spec.steps.get(index) {
            Some(Step::Analysis(analysis)) => Some(analysis),
            _ => None,
        },
        Which::Background | Which::Evidence => draft.spec.background.as_ref().map(|background| &background.analysis),
    }
}

/// An `analysis` step: true when its run is Successful.
pub(super) fn step(draft: &mut Draft<'_>, index: usize) -> bool {
    let Some(run) = find(draft, Which::Step(index)) else {
        draft.wait(WaitingReason::Analysis, "the analysis begins");
        slo::begin(draft);
        if let Some(Ok(metrics)) = draft.seen.step_metrics.get(&index) {
            create(draft, Which::Step(index), metrics.clone(), None);
        }
        return false;
    };
    let said = run.status.message.clone().unwrap_or_default();
    if run.phase() != RunPhase::Error {
        draft.unpause(PauseReason::AnalysisError);
    }
    match run.phase() {
        RunPhase::Successful if run.is_complete() => return true,
        RunPhase::Inconclusive if run.is_complete() => {
            if analysis_of(draft, Which::Step(index)).is_some_and(|analysis| analysis.passes_inconclusive) {
                return true;
            }
            inconclusive(draft, &said);
        }
        RunPhase::Error => no_data(draft, &said),
        RunPhase::Failed if run.is_complete() => pause::on_failure(draft, run),
        RunPhase::Cancelled => {
            draft.wait(WaitingReason::UserPromotion, format!("AnalysisRun {} was cancelled; promote, abort or retry", run.name));
        }
        _ => {
            let known = step_so_far(run);
            draft.wait(WaitingReason::Analysis, format!("AnalysisRun {} is under way{known}", run.name));
        }
    }
    false
}

/// What is known of the SLOs of a step under way.
fn step_so_far(run: &Run) -> String {
    let running = run.status.metric_results.iter().filter(|result| result.phase == RunPhase::Running);
    let said = running.filter_map(|result| Some(format!("{}: {}", result.name, result.message.as_ref()?)));
    let said = said.collect::<Vec<_>>().join("; ");
    if said.is_empty() { said } else { format!("; {said}") }
}

/// The background analysis: true when its evidence lets a step with this weight be left.
pub(super) fn background(draft: &mut Draft<'_>, index: usize, weight: i32) -> bool {
    let Some(background) = &draft.spec.background else { return true };
    if index < background.starting_step || draft.status.promote_full {
        return true;
    }
    if weight == 0 {
        // Without a weight there is nothing to measure, and no data is no surprise. What an earlier weight found stands.
        let ended = [Which::Background, Which::Evidence].into_iter().filter_map(|which| find(draft, which));
        let found = ended.filter(|run| run.is_complete()).find(|run| run.phase() == RunPhase::Inconclusive);
        let said = found.map(|run| run.status.message.clone().unwrap_or_default());
        return said.is_none_or(|said| {
            inconclusive(draft, &said);
            false
        });
    }
    let (slos, conditions): (Vec<Metric>, Vec<Metric>) = match &draft.seen.background {
        Some(Ok(metrics)) => metrics.iter().cloned().partition(|metric| metric.slo.is_some()),
        _ => (Vec::new(), Vec::new()),
    };
    let mut open = true;
    // A template that broke since: what has begun goes on, and nothing else does.
    if slos.is_empty() || !conditions.is_empty() {
        open &= gate(draft, Which::Background, &conditions, weight);
    }
    if !slos.is_empty() {
        open &= gate(draft, Which::Evidence, &slos, weight) && !slo::waits_for_outage(draft, &slos);
    }
    open
}

/// Lets the run `which` have a step left, as far as these of its metrics are concerned?
fn gate(draft: &mut Draft<'_>, which: Which, metrics: &[Metric], weight: i32) -> bool {
    let Some(run) = find(draft, which) else {
        match which {
            Which::Evidence => slo::begin(draft),
            _ if metrics.is_empty() => {}
            _ => create(draft, which, metrics.to_vec(), None),
        }
        draft.waiting.get_or_insert((WaitingReason::Evidence, "the background analysis begins".to_owned()));
        return false;
    };
    let said = run.status.message.clone().unwrap_or_default();
    if run.phase() != RunPhase::Error {
        draft.unpause(PauseReason::AnalysisError);
    }
    match run.phase() {
        RunPhase::Successful => true,
        RunPhase::Inconclusive => {
            inconclusive(draft, &said);
            false
        }
        RunPhase::Error => {
            no_data(draft, &said);
            false
        }
        RunPhase::Cancelled => {
            let detail = format!("AnalysisRun {} was cancelled; promote, abort or retry", run.name);
            draft.wait(WaitingReason::UserPromotion, detail);
            false
        }
        RunPhase::Failed if run.is_complete() => {
            pause::on_failure(draft, run);
            false
        }
        RunPhase::Pending | RunPhase::Running | RunPhase::Failed => evidence(draft, run, metrics, weight),
    }
}

/// Has every metric a usable measurement that was begun after this weight was confirmed?
fn evidence(draft: &mut Draft<'_>, run: &Run, metrics: &[Metric], weight: i32) -> bool {
    let confirmed = draft.status.weights.as_ref().and_then(|weights| weights.verified_at.clone());
    let Some(confirmed) = confirmed else { return false };
    let usable = |name: &str| {
        run.status.result(name).is_some_and(|result| {
            result.phase == RunPhase::Successful || result.last_usable_at.as_ref().is_some_and(|at| at.0 >= confirmed.0)
        })
    };
    let lacking = if metrics.is_empty() {
        vec!["every metric"]
    } else {
        let names = metrics.iter().map(|metric| metric.name.as_str());
        names.filter(|name| !run.dry_run.iter().any(|dry| dry == name) && !usable(name)).collect()
    };
    if lacking.is_empty() {
        return true;
    }
    let detail = format!("no usable measurement yet at a weight of {} %: {}", draft.spec.percent(weight), lacking.join(", "));
    draft.waiting.get_or_insert((WaitingReason::Evidence, detail));
    false
}

fn inconclusive(draft: &mut Draft<'_>, said: &str) {
    draft.pause_since(PauseReason::InconclusiveAnalysis);
    draft.say(RolloutPhase::Paused, reasons::INCONCLUSIVE, format!("the analysis is inconclusive: {said}"));
    draft.wait(WaitingReason::UserPromotion, "promote goes on in spite of it, abort goes back, retry starts again");
}

fn no_data(draft: &mut Draft<'_>, said: &str) {
    draft.pause_since(PauseReason::AnalysisError);
    draft.say(RolloutPhase::Paused, reasons::ANALYSIS_ERROR, format!("the analysis gets no usable values: {said}"));
    draft.wait(
        WaitingReason::Prometheus,
        "goes on by itself with the first usable measurement; promote goes on without, abort goes back",
    );
}

/// Ends runs that nobody needs any more, and deletes the oldest completed ones.
pub(super) fn tidy(draft: &mut Draft<'_>) {
    let under_way = draft.situation() == Situation::Canary && !draft.status.promote_full;
    let index = i32::try_from(draft.step_index()).ok();
    let reason = match draft.situation() {
        Situation::Promoting => "the revision was promoted",
        Situation::AtStable => "the template is stable's again",
        Situation::Stopped => "the canary was stopped",
        Situation::First | Situation::Canary => "another revision, attempt or step is under way",
    };
    let mut old: Vec<&Run> = Vec::new();
    for run in draft.seen.runs.iter().filter(|run| run.subject.rollout_uid == draft.spec.uid) {
        let needed = under_way && is_current(draft, run) && (run.subject.step.is_none() || run.subject.step == index);
        if !run.is_complete() && !run.terminating && !needed {
            let (name, uid, generation) = (run.name.clone(), run.uid.clone(), run.generation);
            draft.raise.push(Effect::TerminateRun { name, uid, generation, reason: reason.to_owned() });
        }
        if run.is_complete() && !is_current(draft, run) {
            old.push(run);
        }
    }
    old.sort_by_key(|run| std::cmp::Reverse(run.created));
    let (good, bad): (Vec<&Run>, Vec<&Run>) =
        old.into_iter().partition(|run| matches!(run.phase(), RunPhase::Successful | RunPhase::Cancelled));
    let (kept_good, kept_bad) = draft.spec.life.kept_runs;
    for run in good.into_iter().skip(kept_good).chain(bad.into_iter().skip(kept_bad)) {
        draft.raise.push(Effect::DeleteRun { name: run.name.clone(), uid: run.uid.clone() });
    }
}
