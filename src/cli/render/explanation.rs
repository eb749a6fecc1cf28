//! What is known of a canary as text: its runs, their metrics, and the evidence on SLOs as a plot.

use std::fmt::Write as _;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{Facts, NAME, sentence, since, with_reason};
use crate::api::analysis::{AnalysisRun, MetricResult};
use crate::api::slo::{SloCounts, SloResult};
use crate::api::{Rollout, Time};
use crate::cli::text;

/// Columns and rows of a plot.
const WIDTH: usize = 60;
const ROWS: usize = 9;
/// Evidence below a thousandth is drawn there: what is far below the line is all the same.
const LOWEST: f64 = -3.0;

/// The runs of the attempt under way; where none is, those of the last one on what is stable.
#[must_use]
pub fn explanation(rollout: &Rollout, runs: &[AnalysisRun], now: Timestamp) -> String {
    let status = rollout.status.clone().unwrap_or_default();
    let name = format!("{}/{}", rollout.namespace().unwrap_or_default(), rollout.name_any());
    let revision = status.canary.as_ref().or(status.stable.as_ref());
    let mut out = match (&status.canary, revision) {
        (Some(canary), _) => format!("Rollout {}, canary revision {}\n", text::clean(&name, NAME), canary.revision),
        (None, Some(stable)) => {
            format!("Rollout {}, no canary; how revision {} became stable\n", text::clean(&name, NAME), stable.revision)
        }
        (None, None) => format!("Rollout {}, nothing deployed yet\n", text::clean(&name, NAME)),
    };
    let uid = rollout.uid().unwrap_or_default();
    let own = |run: &&AnalysisRun| {
        let subject = &run.spec.subject;
        subject.rollout_uid == uid && revision.is_some_and(|revision| subject.revision == revision.revision)
    };
    let attempt = runs.iter().filter(own).map(|run| run.spec.subject.attempt).max();
    let mut shown: Vec<&AnalysisRun> = runs.iter().filter(own).filter(|run| Some(run.spec.subject.attempt) == attempt).collect();
    shown.sort_by_key(|run| (!run.spec.subject.evidence, run.spec.subject.step, run.name_any()));
    if shown.is_empty() {
        out.push_str("\nNothing was measured.\n");
    }
    for one in shown {
        out.push_str(&run(one, now));
    }
    out
}

fn run(run: &AnalysisRun, now: Timestamp) -> String {
    let status = run.status.clone().unwrap_or_default();
    let phase = format!("{:?}", status.phase);
    let mut out = format!("\n{}: {}\n", text::clean(&run.name_any(), NAME), with_reason(&phase, status.message.as_deref()));
    for result in &status.metric_results {
        let dry = if run.spec.dry_run.contains(&result.name) { ", decides nothing" } else { "" };
        let head = with_reason(&format!("{:?}{dry}", result.phase), result.message.as_deref());
        let _ = writeln!(out, "  {}: {head}", text::clean(&result.name, NAME));
        let lines = match &result.slo {
            Some(slo) => format!("{}{}", slo_facts(slo), plot(slo)),
            None => counts(result, now),
        };
        out.extend(lines.lines().map(|line| format!("    {line}\n")));
    }
    out
}

/// A metric with conditions.
fn counts(result: &MetricResult, now: Timestamp) -> String {
    let MetricResult { successful, failed, inconclusive, error, .. } = result;
    let mut out = format!("{successful} good, {failed} bad, {inconclusive} neither, {error} without a value");
    if let Some(last) = result.measurements.last() {
        let value = last.value.as_deref().map_or_else(|| "no value".to_owned(), |value| text::clean(value, 60));
        let _ = write!(out, "; last {value}, {} ago", since(&last.started_at, now));
    }
    out
}

fn slo_facts(slo: &SloResult) -> Facts {
    let arm = |counts: SloCounts| format!("{} of {} requests failed", counts.errors, counts.requests);
    let mut facts = Facts::default();
    facts.add("canary", arm(slo.canary));
    facts.add("stable", arm(slo.stable));
    let needed = text::clean(&slo.needed, 12);
    facts.add("evidence", format!("{}, rolled back at {needed}", text::clean(&slo.evidence, 12)));
    if !slo.dispersion.is_empty() {
        facts.add("bunching", sentence(&slo.dispersion));
    }
    let clock = |at: &Time| at.0.strftime("%H:%M:%S UTC").to_string();
    if let (Some(first), Some(last)) = (&slo.first_sample_at, &slo.last_sample_at) {
        facts.add("counted", format!("{} to {}", clock(first), clock(last)));
    }
    facts
}

/// The decimal logarithm of a number as status writes it, also of one that no float holds; none for anything else.
fn log10(number: &str) -> Option<f64> {
    let (digits, power) = number.split_once('e').unwrap_or((number, "0"));
    let digits: f64 = digits.parse().ok().filter(|digits: &f64| *digits > 0.0 && digits.is_finite())?;
    let power: f64 = power.parse().ok().filter(|power: &f64| power.abs() < 1e9)?;
    Some(digits.log10() + power)
}

/// The evidence over time on a logarithmic scale, and the line that it must reach. Empty where nothing was counted.
fn plot(slo: &SloResult) -> String {
    let words: Vec<&str> = slo.curve.split(' ').skip(1).collect();
    let point = |pair: &[&str]| Some((pair.first()?.parse::<i64>().ok()?.max(0), log10(pair.get(1)?)?.max(LOWEST)));
    let points: Vec<(i64, f64)> = words.chunks(2).filter_map(point).collect();
    let (Some(end), Some(line)) = (points.iter().map(|(at, _)| *at).max(), log10(&slo.needed)) else { return String::new() };
    let top = points.iter().map(|(_, value)| *value).fold(line, f64::max);
    let bottom = points.iter().map(|(_, value)| *value).fold(0.0, f64::min);
    let row = |value: f64| (((top - value) / (top - bottom).max(0.1)) * (ROWS - 1) as f64).round() as usize;
    let column = |at: i64| usize::try_from(at.saturating_mul(WIDTH as i64 - 1) / end.max(1)).unwrap_or(0).min(WIDTH - 1);
    let mut grid = vec![vec![' '; WIDTH]; ROWS];
    let line_row = row(line).min(ROWS - 1);
    grid[line_row] = vec!['─'; WIDTH];
    for (at, value) in &points {
        grid[row(*value).min(ROWS - 1)][column(*at)] = '●';
    }
    let mut out = String::new();
    for (index, cells) in grid.iter().enumerate() {
        let label = if index == line_row {
            text::clean(&slo.needed, 8)
        } else if index == row(0.0).min(ROWS - 1) {
            "1".to_owned()
        } else {
            String::new()
        };
        let cells: String = cells.iter().collect();
        let _ = writeln!(out, "{label:>8} ┤{}", cells.trim_end());
    }
    let right = text::age(end);
    let _ = writeln!(out, "{:>8} └{}", "", "─".repeat(WIDTH));
    let _ = writeln!(out, "{:>8}  0s{right:>width$}", "", width = WIDTH - 2);
    out
}
