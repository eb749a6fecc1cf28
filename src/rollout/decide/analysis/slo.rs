//! The evidence on all SLOs of an attempt: one AnalysisRun, begun before the canary gets its first requests.

use std::collections::BTreeMap;

use super::{Draft, Which, all_metrics, create, find};
use crate::api::analysis::Metric;
use crate::api::rollout::WaitingReason;
use crate::api::slo::{Evidence, WhenStableBurnsToo};
use crate::rollout::spec::{Background, Step};

/// All SLOs of the attempt, by name. Two of one name and different content are found by [`clash`].
fn all(draft: &Draft<'_>) -> Vec<Metric> {
    let mut all: BTreeMap<&str, &Metric> = BTreeMap::new();
    for metric in all_metrics(draft).filter(|metric| metric.slo.is_some()) {
        all.entry(metric.name.as_str()).or_insert(metric);
    }
    all.into_values().cloned().collect()
}

/// The name of an SLO that means different things in different analyses of the Rollout.
pub(in super::super) fn clash<'a>(draft: &Draft<'a>) -> Option<&'a str> {
    let mut known: BTreeMap<&str, &Metric> = BTreeMap::new();
    let mut slos = all_metrics(draft).filter(|metric| metric.slo.is_some());
    slos.find(|metric| *known.entry(metric.name.as_str()).or_insert(metric) != *metric).map(|metric| metric.name.as_str())
}

/// Does an SLO decide nothing, wherever it is used?
pub(super) fn is_dry(draft: &Draft<'_>, name: &str) -> bool {
    let (spec, seen) = (draft.spec, draft.seen);
    let uses = |metrics: &Result<Vec<Metric>, String>| metrics.iter().flatten().any(|metric| metric.name == name);
    let background = spec.background.as_ref().filter(|_| seen.background.as_ref().is_some_and(uses));
    let of_steps = spec.steps.iter().enumerate().filter_map(|(index, step)| match step {
        Step::Analysis(analysis) if seen.step_metrics.get(&index).is_some_and(uses) => Some(analysis),
        _ => None,
    });
    background.map(|background| &background.analysis).into_iter().chain(of_steps).all(|analysis| analysis.is_dry(name))
}

/// Begins the run, once, where the attempt has SLOs to be measured from this step on.
pub(in super::super) fn begin(draft: &mut Draft<'_>) {
    if !is_due(draft) || find(draft, Which::Evidence).is_some() {
        return;
    }
    let name = super::run_name(draft, Which::Evidence);
    let planned = |effect: &super::Effect| matches!(effect, super::Effect::CreateRun { name: other, .. } if *other == name);
    if draft.raise.iter().any(planned) {
        return;
    }
    let background = draft.spec.background.as_ref();
    let evidence = Evidence {
        confidence: background.map_or(Background::CONFIDENCE, |background| background.confidence),
        accept: background.map_or(Background::ACCEPT, |background| background.accept),
        baseline: draft.now(),
    };
    let metrics = all(draft);
    create(draft, Which::Evidence, metrics, Some(evidence));
}

/// Has the attempt SLOs, and has the time come to measure them? Those of steps are measured from the first requests on, so
/// that the evidence is there when its step comes.
fn is_due(draft: &Draft<'_>) -> bool {
    let has_slo = |metrics: &Result<Vec<Metric>, String>| metrics.iter().flatten().any(|metric| metric.slo.is_some());
    let begins = draft.spec.background.as_ref().map_or(0, |background| background.starting_step);
    draft.seen.step_metrics.values().any(has_slo)
        || draft.step_index() >= begins && draft.seen.background.as_ref().is_some_and(has_slo)
}

/// Both arms are over budget beyond doubt, and one of these metrics says to wait until stable is not.
pub(super) fn waits_for_outage(draft: &mut Draft<'_>, metrics: &[Metric]) -> bool {
    // A run that has ended tells no more when the outage is over.
    let Some(run) = find(draft, Which::Evidence).filter(|run| !run.is_complete()) else { return false };
    let burns = |name: &str| run.status.result(name).and_then(|result| result.slo.as_ref()).is_some_and(|slo| slo.shared_outage);
    let waits = |metric: &&Metric| {
        metric.slo.as_ref().is_some_and(|slo| slo.when_stable_burns_too == WhenStableBurnsToo::Pause) && burns(&metric.name)
    };
    let Some(metric) = metrics.iter().find(waits) else { return false };
    let detail = format!("{}: canary and stable are both over budget, a shared outage; goes on when stable is not", metric.name);
    draft.wait(WaitingReason::Evidence, detail);
    true
}
