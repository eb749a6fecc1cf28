//! SLO metrics of an attempt, as an AnalysisRun keeps them: what to read now, and what the samples add up to.
//!
//! ```text
//! status --ask--> which samples --provider--> Gathered --take--> status, with the evidence in numbers and words
//! status of all metrics --verdict--> Failed, when the evidence of all together allows it
//! status --look--> what the run of a step sees of it
//! ```
//!
//! All of it is in one run per attempt, so that evidence adds up over the steps and a restart changes no verdict.

use jiff::Timestamp;

mod curve;

use super::counting::{Known, Part, Window};
use super::ledger::Ledger;
use super::measured::Look;
use super::sequential::{self, Dispersion, DispersionSource, Terms};
use super::{run, text};
use crate::api::Time;
use crate::api::analysis::{AnalysisRunSpec, AnalysisRunStatus, Metric, MetricResult, RunPhase};
use crate::api::slo::{Evidence, Slo, SloCounts, SloResult};
use curve::Curve;

/// How much worse than stable is fine where the SLO does not say.
const DEFAULT_RATIO: f64 = 1.5;
/// Part of the budget below which differences never matter, where the SLO does not say.
const IGNORED_PART: f64 = 1.0 / 20.0;
/// What was not counted for longer is given up: the samples may be gone, and would be too many.
const LONGEST_GAP: i64 = 3_600_000;
/// How much of stable's past its dispersion is measured from, in milliseconds.
pub const HISTORY: i64 = 3_600_000;

/// Samples of one look.
#[derive(Clone, Debug, PartialEq)]
pub struct Gathered {
    /// Of both arms.
    pub window: Window,
    /// See [`super::counting::Counter::strangers`].
    pub known: [Known; 4],
    /// How stable's errors bunched before the attempt; only where [`Ask::history`] asked for it.
    pub history: Option<Dispersion>,
    /// When the present weight was confirmed; none while it is not.
    pub weight_at: Option<Timestamp>,
}

/// What to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Samples of the last so many milliseconds.
    pub range: i64,
    /// The counter, to be asked which series are strangers; their last values before this time are needed.
    pub counter: super::counting::Counter,
    /// Stable's past is needed: of the hour before this time.
    pub history: Option<Timestamp>,
}

/// The state of one metric.
#[derive(Clone, Debug, PartialEq)]
struct State {
    dispersion: Option<Dispersion>,
    ledger: Ledger,
}

impl State {
    /// As recorded, or at the begin.
    fn of(result: &MetricResult, evidence: &Evidence, now: Timestamp) -> Self {
        let recorded = result.slo.as_ref().and_then(|slo| Self::from_text(&slo.ledger));
        let mut state =
            recorded.unwrap_or_else(|| Self { dispersion: None, ledger: Ledger::new(evidence.baseline.0.as_millisecond()) });
        state.ledger.counter.skip_to(now.as_millisecond() - LONGEST_GAP);
        state
    }

    fn to_text(&self) -> String {
        let dispersion = self.dispersion.map_or_else(String::new, |known| {
            let source = match known.source {
                DispersionSource::History => "history",
                DispersionSource::FewErrors => "few",
                DispersionSource::Running => "running",
            };
            format!("{} {} {source}", text::number(known.per_request), text::number(known.per_pod))
        });
        format!("{dispersion}|{}", self.ledger.to_text())
    }

    fn from_text(text: &str) -> Option<Self> {
        let (dispersion, ledger) = text.split_once('|')?;
        let dispersion = match dispersion.split(' ').collect::<Vec<_>>()[..] {
            [""] => None,
            [per_request, per_pod, source] => {
                let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
                let source = match source {
                    "history" => DispersionSource::History,
                    "few" => DispersionSource::FewErrors,
                    "running" => DispersionSource::Running,
                    _ => return None,
                };
                Some(Dispersion { per_request: number(per_request)?, per_pod: number(per_pod)?, source })
            }
            _ => return None,
        };
        Some(Self { dispersion, ledger: Ledger::from_text(ledger)? })
    }
}

/// What an SLO tolerates, and how sure a verdict has to be.
#[must_use]
pub fn terms(slo: &Slo, evidence: &Evidence) -> Terms {
    let budget = slo.budget.ratio();
    Terms {
        budget,
        max_ratio_to_stable: slo.max_ratio_to_stable.as_ref().and_then(serde_json::Number::as_f64).unwrap_or(DEFAULT_RATIO),
        ignore_below: slo.ignore_below.map_or(budget * IGNORED_PART, |below| below.ratio()),
        warm_up: slo.warm_up.map_or(0.0, |time| time.std().as_secs_f64()),
        alpha: 1.0 - evidence.confidence.ratio(),
        beta: 1.0 - evidence.accept.ratio(),
    }
}

/// What the second query of an SLO counts.
#[must_use]
pub fn part(slo: &Slo) -> Part {
    if slo.slow.is_some() { Part::Fast } else { Part::Errors }
}

fn interval(metric: &Metric) -> i64 {
    metric.interval.map_or(1, |interval| i64::try_from(interval.std().as_millis()).unwrap_or(i64::MAX / 64))
}

/// What to read at `now` for a metric with this result.
#[must_use]
pub fn ask(metric: &Metric, evidence: &Evidence, result: &MetricResult, now: Timestamp) -> Ask {
    let state = State::of(result, evidence, now);
    let counter = state.ledger.counter;
    let range = now.as_millisecond().saturating_sub(counter.cut()).max(0) + counter.reach(interval(metric));
    Ask { range, counter, history: state.dispersion.is_none().then_some(evidence.baseline.0) }
}

/// Takes samples into a metric's result. True when a round ended: there is something new.
pub(super) fn take(metric: &Metric, evidence: &Evidence, result: &mut MetricResult, gathered: &Gathered, now: Timestamp) -> bool {
    let Some(slo) = &metric.slo else { return false };
    let mut state = State::of(result, evidence, now);
    let dispersion = *state.dispersion.get_or_insert(gathered.history.unwrap_or(Dispersion::UNKNOWN));
    let terms = terms(slo, evidence);
    let closed = state.ledger.counter.advance(&gathered.window, &gathered.known, part(slo), interval(metric));
    let weight_at = gathered.weight_at.map(Timestamp::as_millisecond);
    let before = result.slo.take();
    let mut curve = Curve::read(before.as_ref().map_or("", |before| &before.curve));
    let first = before.and_then(|before| before.first_sample_at).or_else(|| Some(time(closed.first()?.from)));
    let begin = first.as_ref().map_or(0, |first| first.0.as_millisecond());
    for round in &closed {
        state.ledger.take(&terms, &dispersion, round, weight_at);
        let test = &state.ledger.test;
        curve.add(test.rounds() as u64, (round.to - begin) / 1000, &in_three_digits(test.ln_m()));
    }
    let [canary, stable] = state.ledger.test.total();
    let accepts = state.ledger.accepts(weight_at);
    result.slo = Some(SloResult {
        canary: counts(canary),
        stable: counts(stable),
        evidence: in_three_digits(state.ledger.test.ln_m()),
        needed: in_three_digits(terms.threshold()),
        dispersion: in_words(&dispersion),
        accepted_at: gathered.weight_at.filter(|_| accepts).map(run::stored),
        shared_outage: state.ledger.test.is_shared_outage(),
        last_sample_at: first.is_some().then(|| time(state.ledger.counter.cut())),
        first_sample_at: first,
        curve: curve.to_text(),
        ledger: state.to_text(),
    });
    if let (false, Some(since)) = (closed.is_empty(), state.ledger.last_since()) {
        result.last_usable_at = Some(time(since));
    }
    result.message = Some(progress(&terms, &state, &dispersion));
    !closed.is_empty()
}

fn time(millis: i64) -> Time {
    Time(Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn counts(of: sequential::Counts) -> SloCounts {
    SloCounts { requests: of.requests.round() as i64, errors: of.errors.round() as i64 }
}

/// `e^ln` in three digits, also where no float could hold it.
fn in_three_digits(ln: f64) -> String {
    let log10 = ln / std::f64::consts::LN_10;
    if (-3.0..6.0).contains(&log10) {
        let digits = usize::try_from(2 - log10.floor() as i64).unwrap_or(0);
        return text::number(format!("{:.digits$}", ln.exp()).parse().unwrap_or(0.0));
    }
    let power = log10.floor();
    format!("{:.1}e{power}", 10_f64.powf(log10 - power))
}

fn in_words(dispersion: &Dispersion) -> String {
    let known = match dispersion.source {
        DispersionSource::History => "measured in stable's last hour",
        DispersionSource::FewErrors => "assumed: stable had too few errors in its last hour",
        DispersionSource::Running => "assumed: stable has no history; measured as the attempt goes on",
    };
    let per_request = if dispersion.per_request > 0.0 {
        format!("1 + {} per request", text::number((dispersion.per_request * 1e6).round() / 1e6))
    } else {
        "1".to_owned()
    };
    let per_pod = text::number((dispersion.per_pod * 100.0).round() / 100.0);
    format!("phi {per_request}, at least {per_pod}; {known}")
}

/// `canary 31 of 412 requests failed (7.52 %), stable 4 of 3801 (0.105 %)`.
fn both(result: &SloResult) -> String {
    let arm = |counts: SloCounts| {
        let ratio = if counts.requests > 0 { counts.errors as f64 / counts.requests as f64 * 100.0 } else { 0.0 };
        format!("({} %)", text::number((ratio * 1000.0).round() / 1000.0))
    };
    let SloResult { canary, stable, .. } = result;
    format!(
        "canary {} of {} requests failed {}, stable {} of {} {}",
        canary.errors,
        canary.requests,
        arm(*canary),
        stable.errors,
        stable.requests,
        arm(*stable)
    )
}

/// What a run under way says.
fn progress(terms: &Terms, state: &State, dispersion: &Dispersion) -> String {
    let test = &state.ledger.test;
    if test.is_shared_outage() {
        return "canary and stable are both over budget: a shared outage".to_owned();
    }
    if state.ledger.test.rounds() < 1.0 {
        return "no round of samples of both is complete yet".to_owned();
    }
    if test.accepts() {
        return "good at this weight beyond doubt".to_owned();
    }
    let [canary, _] = test.total();
    let rate = if test.seconds() > 0.0 { canary.requests / test.seconds() } else { 0.0 };
    match test.requests_to_accept(terms, dispersion) {
        Some(more) if rate > 0.0 => {
            let seconds = std::time::Duration::from_secs((more / rate).ceil().min(1e9) as u64);
            format!("good beyond doubt after about {} more requests, {} s at the present rate", more.ceil(), seconds.as_secs())
        }
        _ => "no verdict in sight at the present rate".to_owned(),
    }
}

/// Gives the verdict Failed to the metric with the most evidence, when that of all together allows one. Alpha is for the
/// attempt, not for each metric.
pub(super) fn verdict(spec: &AnalysisRunSpec, status: &mut AnalysisRunStatus) {
    let Some(evidence) = &spec.evidence else { return };
    let alpha = 1.0 - evidence.confidence.ratio();
    let deciding = |metric: &&Metric| !spec.dry_run.contains(&metric.name);
    let ln_m = |metric: &Metric| Some(State::from_text(&status.result(&metric.name)?.slo.as_ref()?.ledger)?.ledger.test.ln_m());
    let all: Vec<f64> = spec.metrics.iter().filter(deciding).map(|metric| ln_m(metric).unwrap_or(0.0)).collect();
    if !sequential::has_failed(&all, alpha) {
        return;
    }
    let worst = spec.metrics.iter().filter(deciding).zip(&all).max_by(|a, b| a.1.total_cmp(b.1)).map(|(metric, _)| metric);
    let Some(metric) = worst else { return };
    let found = status.metric_results.iter_mut().find(|result| result.name == metric.name);
    if let (Some(result), Some(slo)) = (found, &metric.slo)
        && !run::is_final(result.phase)
    {
        result.phase = RunPhase::Failed;
        result.message = result.slo.as_ref().map(|found| sentence(slo, evidence, found, all.len()));
    }
}

/// Why the canary is rolled back, as a person reads it at 3 a.m. and in the commit.
fn sentence(slo: &Slo, evidence: &Evidence, found: &SloResult, metrics: usize) -> String {
    let terms = terms(slo, evidence);
    let percent = |ratio: f64| text::number((ratio * 1e8).round() / 1e6);
    let when = |at: &Option<Time>| at.as_ref().map_or_else(String::new, |at| at.0.strftime("%H:%M:%S").to_string());
    let together = if metrics > 1 { format!(" over {metrics} metrics") } else { String::new() };
    format!(
        "{}, from {} to {} UTC: more than {} times stable plus {} %; evidence {}, needed {}{together} ({} confidence); {}",
        both(found),
        when(&found.first_sample_at),
        when(&found.last_sample_at),
        text::number(terms.max_ratio_to_stable),
        percent(terms.ignore_below),
        found.evidence,
        found.needed,
        evidence.confidence,
        found.dispersion
    )
}

/// What the run of a step sees of a metric: `evidence` is the status of the run that holds it, `weight_at` when the present weight
/// was confirmed.
#[must_use]
pub fn look(evidence: Option<&AnalysisRunStatus>, metric: &str, weight_at: Option<Timestamp>) -> Look {
    let result = evidence.and_then(|status| status.result(metric));
    let Some((result, slo)) = result.and_then(|result| Some((result, result.slo.as_ref()?))) else {
        return Look { accepted: false, error: None, message: "the evidence begins".to_owned() };
    };
    let accepted = weight_at.is_some() && slo.accepted_at.as_ref().map(|at| at.0) == weight_at.map(|at| run::stored(at).0);
    let said = result.message.clone().unwrap_or_default();
    let error = (result.phase == RunPhase::Error || result.consecutive_error > 0).then(|| said.clone());
    Look { accepted, error, message: format!("{}; {said}", both(slo)) }
}

#[cfg(test)]
mod tests;
