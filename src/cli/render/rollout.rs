//! A Rollout as text.

use std::fmt::Write as _;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{Facts, NAME, created, row, sentence, since, with_reason};
use crate::api::Rollout;
use crate::api::condition;
use crate::api::rollout::{Failure, FailureCause, Hold, Revision, RolloutPhase, RolloutStatus, Step, TemplateRef, percent};
use crate::cli::text;

/// Conditions that say something which the phase and its message do not: (type, status worth showing).
const INTERESTING: &[(&str, &str)] =
    &[(condition::INVALID_SPEC, "True"), (condition::CONTESTED, "True"), (condition::AVAILABLE, "False")];

/// A table of Rollouts, one a line.
#[must_use]
pub fn rollout_table(rollouts: &[Rollout], with_namespace: bool, now: Timestamp) -> String {
    let heads = ["NAME", "PHASE", "STEP", "WEIGHT", "STABLE", "CANARY", "WAITING ON", "AGE"];
    let mut rows = vec![row(with_namespace.then_some("NAMESPACE"), &heads)];
    for rollout in rollouts {
        let status = rollout.status.clone().unwrap_or_default();
        let hash = |revision: &Option<Revision>| revision.as_ref().map_or_else(|| "-".to_owned(), |r| r.hash.clone());
        let cells = [
            rollout.name_any(),
            phase_word(rollout),
            step_of(&status).unwrap_or_else(|| "-".to_owned()),
            status.weights.as_ref().map_or_else(|| "-".to_owned(), |w| w.percent().0),
            hash(&status.stable),
            hash(&status.canary),
            status.waiting_on.as_ref().map_or_else(|| "-".to_owned(), |w| format!("{:?}", w.reason)),
            created(&rollout.metadata, now),
        ];
        let namespace = with_namespace.then(|| rollout.namespace().unwrap_or_default());
        rows.push(row(namespace.as_deref(), &cells.each_ref().map(String::as_str)));
    }
    text::table(&rows)
}

/// One line: phase, why, step and weight. What `status` prints.
#[must_use]
pub fn rollout_line(rollout: &Rollout) -> String {
    let status = rollout.status.clone().unwrap_or_default();
    let mut line = format!("{}: {}", text::clean(&rollout.name_any(), NAME), headline(rollout, &status));
    if status.canary.is_some() {
        let weight = status.weights.as_ref().map(|w| format!("canary at {} %", w.percent().0));
        let place: Vec<String> = step_of(&status).map(|step| format!("step {step}")).into_iter().chain(weight).collect();
        if !place.is_empty() {
            let _ = write!(line, " ({})", place.join(", "));
        }
    }
    line
}

/// Everything that is known about a Rollout, on one screen.
#[must_use]
pub fn rollout(rollout: &Rollout, now: Timestamp) -> String {
    let status = rollout.status.clone().unwrap_or_default();
    let name = format!("{}/{}", rollout.namespace().unwrap_or_default(), rollout.name_any());
    let mut out = format!("Rollout {}\n{}\n\n", text::clean(&name, NAME), headline(rollout, &status));
    out.push_str(&facts(rollout, &status, now).to_string());
    if let Some(failure) = &status.failure {
        let _ = write!(out, "\nFailure\n{}", indented(&failure_facts(failure, now).to_string()));
    }
    if !status.holds.is_empty() {
        out.push_str("\nHolds: these contents are not rolled out again until they change or somebody retries\n");
        for hold in &status.holds {
            let _ = writeln!(out, "  {}", hold_line(hold, &status, now));
        }
    }
    if !rollout.spec.strategy.canary.steps.is_empty() {
        let _ = write!(out, "\nSteps\n{}", steps(rollout, &status));
    }
    if !status.requests.is_empty() {
        out.push_str("\nCommands\n");
        for answer in &status.requests {
            let when = since(&answer.at, now);
            let word = with_reason(&format!("{:?}", answer.outcome), Some(&answer.message));
            let _ = writeln!(out, "  {} {when} ago: {word}", super::super::request::verb(answer.action));
        }
    }
    out
}

/// A status that speaks of an older spec says so before anything else: it may be about to change.
fn headline(rollout: &Rollout, status: &RolloutStatus) -> String {
    let word = status.phase.map_or_else(|| "not seen by the controller yet".to_owned(), |phase| format!("{phase:?}"));
    let line = with_reason(&word, status.message.as_deref());
    if status.phase.is_some() && is_outdated(rollout, status) {
        format!("{line} [before the latest change of the spec]")
    } else {
        line
    }
}

/// The controller has not looked at the newest spec yet.
#[must_use]
pub fn is_outdated(rollout: &Rollout, status: &RolloutStatus) -> bool {
    status.observed_generation < rollout.metadata.generation
}

fn phase_word(rollout: &Rollout) -> String {
    let phase = rollout.status.as_ref().and_then(|status| status.phase);
    phase.map_or_else(|| "-".to_owned(), |phase| format!("{phase:?}"))
}

/// `2/5`: at the second of five. `5/5` also when all are passed.
fn step_of(status: &RolloutStatus) -> Option<String> {
    let (index, count) = (status.current_step_index?, status.step_count?);
    Some(format!("{}/{count}", index.saturating_add(1).min(count)))
}

fn facts(rollout: &Rollout, status: &RolloutStatus, now: Timestamp) -> Facts {
    let mut facts = Facts::default();
    if let Some(waiting) = &status.waiting_on {
        let what = with_reason(&format!("{:?}", waiting.reason), Some(&waiting.detail));
        facts.add("Waiting on", format!("{what}, for {}", since(&waiting.since, now)));
    }
    if let Some(weights) = &status.weights {
        let confirmed = match (rollout.spec.strategy.canary.traffic_routing.is_some(), weights.verified) {
            (true, true) => "confirmed by the gateway",
            (true, false) => "not confirmed by the gateway yet",
            (false, true) => "as ready pods, and none on their way",
            (false, false) => "as ready pods, with others on their way",
        };
        let (canary, stable) = weights.percent();
        facts.add("Weights", format!("canary {canary} %, stable {stable} % ({confirmed})"));
    }
    if let Some(stable) = &status.stable {
        facts.add("Stable", revision(stable));
    }
    if let Some(canary) = &status.canary {
        let attempt = status.attempt.filter(|attempt| *attempt > 1).map_or_else(String::new, |n| format!(", attempt {n}"));
        facts.add("Canary", format!("{}{attempt}", revision(canary)));
    }
    facts.add(
        "Pods",
        format!(
            "{} wanted, {} there, {} ready, {} available, {} of the current template",
            rollout.spec.replicas, status.replicas, status.ready_replicas, status.available_replicas, status.updated_replicas
        ),
    );
    for (kind, wanted) in INTERESTING {
        if let Some(found) = status.conditions.iter().find(|c| c.type_ == *kind && c.status == *wanted) {
            facts.add(kind, format!("{wanted}, {}", with_reason(&text::clean(&found.reason, 60), Some(&found.message))));
        }
    }
    facts
}

fn revision(revision: &Revision) -> String {
    let mut line = format!("revision {}, {}", revision.revision, text::clean(&revision.hash, 63));
    if let Some(commit) = &revision.commit {
        let _ = write!(line, ", commit {}", text::short_commit(commit));
    }
    line
}

fn failure_facts(failure: &Failure, now: Timestamp) -> Facts {
    let mut facts = Facts::default();
    let verdict = failure.verdict.map_or_else(String::new, |verdict| format!(" (verdict {verdict:?})"));
    let cause = match failure.cause {
        FailureCause::AnalysisFailed => "an analysis failed",
        FailureCause::NotReady => "its pods did not become ready",
        FailureCause::AbortedByUser => "a person aborted",
    };
    facts.add("Cause", format!("{cause}{verdict}, {} ago", since(&failure.at, now)));
    if let Some(metric) = &failure.metric {
        facts.add("Metric", text::clean(metric, NAME));
    }
    if !failure.evidence.is_empty() {
        facts.add("Evidence", sentence(&failure.evidence));
    }
    let step = failure.step.saturating_add(1).min(failure.steps.max(1));
    let step = if failure.steps > 0 { format!(", step {step}/{}", failure.steps) } else { String::new() };
    facts.add("Where", format!("revision {}{step}, canary at {} %", failure.revision, failure.percent()));
    if let Some(commit) = &failure.commit {
        facts.add("Commit", text::short_commit(commit));
    }
    if let Some(run) = &failure.analysis_run {
        facts.add("AnalysisRun", text::clean(run, NAME));
    }
    facts
}

fn hold_line(hold: &Hold, status: &RolloutStatus, now: Timestamp) -> String {
    let known = status.canary.iter().chain(&status.revisions).find(|revision| revision.digest == hold.digest);
    let what = known.map_or_else(|| text::clean(&hold.digest, 19), revision);
    format!("{what}: {}, for {}", with_reason(&format!("{:?}", hold.reason), Some(&hold.message)), since(&hold.since, now))
}

/// Where each step stands.
fn steps(rollout: &Rollout, status: &RolloutStatus) -> String {
    let (all, whole) = (&rollout.spec.strategy.canary.steps, rollout.spec.strategy.canary.whole());
    let current = status.current_step_index.and_then(|index| usize::try_from(index).ok());
    let stopped = status.abort;
    // The failure of an earlier revision says nothing about the steps of this one.
    let own = |failure: &&Failure| status.canary.as_ref().is_some_and(|canary| canary.revision == failure.revision);
    let failed_at = status.failure.as_ref().filter(own).and_then(|failure| usize::try_from(failure.step).ok());
    let width = all.len().to_string().len();
    let mut out = String::new();
    for (index, step) in all.iter().enumerate() {
        let mark = if stopped {
            match failed_at.or(current) {
                Some(failed) if index < failed => "✓",
                Some(failed) if index == failed => "✗",
                _ => " ",
            }
        } else {
            match current {
                Some(current) if index < current => "✓",
                Some(current) if index == current && status.phase != Some(RolloutPhase::Healthy) => "▶",
                _ => " ",
            }
        };
        let _ = writeln!(out, "  {mark} {:>width$}  {}", index + 1, step_words(step, whole));
    }
    out
}

fn step_words(step: &Step, whole: i32) -> String {
    let names = |templates: &[TemplateRef]| {
        let names: Vec<String> = templates.iter().map(|template| text::clean(&template.template_name, NAME)).collect();
        names.join(", ")
    };
    if let Some(scale) = &step.set_canary_scale {
        return match (scale.replicas, scale.weight) {
            (Some(pods), _) => format!("set canary scale {pods} pods"),
            (_, Some(weight)) => format!("set canary scale {} % of the replicas", percent(weight, whole)),
            _ => "set canary scale to match the weight".to_owned(),
        };
    }
    if let Some(route) = &step.set_header_route {
        let name = text::clean(&route.name, NAME);
        let headers: Vec<String> = route.matches.iter().map(|header| text::clean(&header.header_name, NAME)).collect();
        return match headers.as_slice() {
            [] => format!("remove header route {name}"),
            headers => format!("header route {name} by {}", headers.join(", ")),
        };
    }
    if let Some(route) = &step.set_mirror_route {
        let name = text::clean(&route.name, NAME);
        let part = route.percentage.unwrap_or(100);
        return if route.matches.is_empty() {
            format!("remove mirror route {name}")
        } else {
            format!("mirror route {name} with {part} % of what it matches")
        };
    }
    match (step.set_weight, &step.pause, &step.analysis) {
        (Some(weight), _, _) => format!("set weight {} %", percent(weight, whole)),
        (_, Some(pause), _) => {
            pause.duration.map_or_else(|| "pause until somebody promotes".to_owned(), |duration| format!("pause for {duration}"))
        }
        (_, _, Some(analysis)) => format!("analysis {}", names(&analysis.templates)),
        _ => "a step that this plugin does not know".to_owned(),
    }
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}\n")).collect()
}
