//! The steps, and the ways back to stable.

use super::analysis::Which;
use super::{Draft, PauseReason, after, analysis, pause, promote, ratio, scale, weight};
use crate::api::analysis::Metric;
use crate::api::condition::rollout as reasons;
use crate::api::rollout::{RolloutPhase, WaitingReason};
use crate::rollout::observed::TemplateCheck;
use crate::rollout::spec::Step;
use crate::traffic::gateway::{Directs, ManagedRule, Mirrors};

/// After this long without a word, a gateway counts as silent. Traefik's slowest default answers within 2 s.
const SILENT_GATEWAY: std::time::Duration = std::time::Duration::from_secs(60);

/// Whether a step lets the rollout go on.
enum Gate {
    Passed,
    Waits,
}

/// Goes through the steps as far as the gates are open.
pub(super) fn advance(draft: &mut Draft<'_>) {
    if let Err(why) = spec_can_run(draft) {
        refuse(draft, why);
        return;
    }
    scale::keep_stable(draft);
    let alone = superseded_is_off(draft);
    if let Some(paused) = pause::by_person(draft) {
        pause::hold(draft, alone, paused);
        return;
    }
    if !alone || pause::held_by_failure(draft, alone) {
        return;
    }
    let steps = draft.spec.steps.len();
    while draft.step_index() < steps {
        let index = draft.step_index();
        describe_step(draft, index);
        scale::keep_canary(draft, draft.spec.canary_pods_at(index));
        match step(draft, index) {
            Gate::Waits => return,
            Gate::Passed => pass(draft),
        }
    }
    promote::last_step(draft);
}

/// On to the next step; recorded before anything that the next step raises.
pub(super) fn pass(draft: &mut Draft<'_>) {
    let next = draft.step_index() + 1;
    draft.status.current_step_index = i32::try_from(next).ok();
    draft.end_pauses();
    draft.waiting = None;
    draft.short_of = None;
}

fn describe_step(draft: &mut Draft<'_>, index: usize) {
    let of = draft.spec.steps.len();
    let what = match &draft.spec.steps[index] {
        Step::SetWeight(weight) => format!("setWeight {weight}"),
        Step::SetCanaryScale(_) => format!("setCanaryScale, {} pods", draft.spec.canary_pods_at(index)),
        Step::Pause(_) => "pause".to_owned(),
        Step::Analysis(_) => "analysis".to_owned(),
        Step::SetHeaderRoute(rule) => rule_in_words("setHeaderRoute", rule),
        Step::SetMirrorRoute(rule) => rule_in_words("setMirrorRoute", rule),
    };
    draft.say(RolloutPhase::Progressing, reasons::STEPPING, format!("step {} of {of}: {what}", index + 1));
}

fn rule_in_words(kind: &str, rule: &ManagedRule) -> String {
    format!("{kind} {}{}", rule.name, if rule.what == Directs::Nothing { ", removed" } else { "" })
}

fn step(draft: &mut Draft<'_>, index: usize) -> Gate {
    let wanted = draft.spec.weight_at(index);
    if !weight::ensure(draft, wanted) {
        return Gate::Waits;
    }
    let open = match draft.spec.steps[index].clone() {
        // The routes are as this step wants them: see above.
        Step::SetWeight(_) | Step::SetHeaderRoute(_) | Step::SetMirrorRoute(_) => true,
        Step::SetCanaryScale(_) => scale::canary_has(draft, draft.spec.canary_pods_at(index)),
        Step::Pause(length) => pause_step(draft, length),
        Step::Analysis(_) => analysis::step(draft, index),
    };
    // The evidence is asked for also while the step itself still waits, so that its run begins in time.
    let evidence = analysis::background(draft, index, wanted);
    if open && evidence { Gate::Passed } else { Gate::Waits }
}

fn pause_step(draft: &mut Draft<'_>, length: Option<std::time::Duration>) -> bool {
    let since = draft.pause_since(PauseReason::CanaryPauseStep);
    let place = draft.message.clone();
    let Some(length) = length else {
        draft.say(RolloutPhase::Paused, reasons::PAUSED_BY_STEP, format!("{place}, until a person promotes"));
        draft.wait(WaitingReason::UserPromotion, "kubectl tidegate promote goes on");
        return false;
    };
    let end = after(since, length);
    if draft.seen.now >= end {
        return true;
    }
    draft.requeue(end);
    draft.say(RolloutPhase::Paused, reasons::PAUSED_BY_STEP, format!("{place} for {} s", length.as_secs()));
    draft.wait(WaitingReason::Pause, format!("the pause ends at {}", end.strftime("%Y-%m-%dT%H:%M:%SZ")));
    false
}

/// A canary that is superseded: its traffic goes, and the canary Service leaves it, before the new one gets anything.
fn superseded_is_off(draft: &mut Draft<'_>) -> bool {
    if !draft.spec.routed {
        return ratio::superseded_is_off(draft, draft.spec.weight_at(draft.step_index()));
    }
    let Some(stable) = draft.stable_hash() else { return true };
    let behind = draft.seen.canary_service.as_ref().and_then(|service| service.hash.clone());
    match behind {
        Some(hash) if hash != stable && hash != draft.spec.hash => {
            draft.say(
                RolloutPhase::Progressing,
                reasons::STEPPING,
                format!("a newer revision supersedes {hash}; its traffic goes back to stable first"),
            );
            // The new pods may come up meanwhile.
            scale::keep_canary(draft, draft.spec.canary_pods_at(draft.step_index()));
            weight::withdraw(draft, &stable)
        }
        _ => true,
    }
}

/// Which gateway cannot send the copies of requests that a step from here on asks for. One that says nothing of it is not
/// tried: there are gateways that accept such a rule and then answer nothing but 500.
fn cannot_mirror(draft: &Draft<'_>) -> Option<String> {
    let asks = |step: &Step| match &step.rule()?.what {
        Directs::Mirrored { percentage, .. } => Some(if *percentage < 100 { Mirrors::Parts } else { Mirrors::All }),
        Directs::ByHeader(_) | Directs::Nothing => None,
    };
    let needed = draft.spec.steps.iter().skip(draft.step_index()).filter_map(asks).max()?;
    let gateway = draft.seen.gateways.iter().find(|gateway| gateway.mirrors < needed)?;
    let (namespace, name, feature) = (&gateway.namespace, &gateway.name, needed.feature());
    Some(format!(
        "setMirrorRoute needs {feature}, which the GatewayClass of Gateway {namespace}/{name} does not list in status.supportedFeatures"
    ))
}

/// Can this spec be carried out at all? Asked before any pod moves. An analysis that has begun carries its own copy of
/// the template, so a template that breaks later stops nothing.
fn spec_can_run(draft: &Draft<'_>) -> Result<(), String> {
    if let TemplateCheck::Refused(why) = &draft.seen.template {
        return Err(format!("spec.template: the API server refuses it: {why}"));
    }
    if !draft.seen.rules_have_names {
        let why = "steps: setHeaderRoute and setMirrorRoute need Gateway API 1.4 or newer, where rules of routes have names; this cluster drops them";
        return Err(format!("spec.strategy.canary.{why}"));
    }
    if let Some(why) = cannot_mirror(draft) {
        return Err(format!("spec.strategy.canary.steps: {why}"));
    }
    // Without its routes nobody knows the ports that queries may name; that is said of the routes, and nothing goes on.
    if draft.seen.routes.iter().any(|(_, route)| route.is_none()) {
        return Ok(());
    }
    if let Some(Err(why)) = &draft.seen.background
        && !analysis::has_begun(draft, Which::Background)
        && !analysis::has_begun(draft, Which::Evidence)
    {
        return Err(format!("spec.strategy.canary.analysis: {why}"));
    }
    if let (Some(Ok(metrics)), Some(background)) = (&draft.seen.background, &draft.spec.background)
        && let Some(pattern) = background.analysis.idle_pattern(metrics)
    {
        return Err(idle_pattern("spec.strategy.canary.analysis", pattern, metrics));
    }
    if let Some(name) = analysis::slo::clash(draft).filter(|_| !analysis::has_begun(draft, Which::Evidence)) {
        let why = "the slo metrics of a Rollout are one set of evidence; give one of them another name";
        return Err(format!("spec.strategy.canary: metric {name} means different things in different analyses; {why}"));
    }
    for (index, metrics) in &draft.seen.step_metrics {
        if let (Ok(metrics), Some(Step::Analysis(analysis))) = (metrics, draft.spec.steps.get(*index))
            && let Some(pattern) = analysis.idle_pattern(metrics)
        {
            return Err(idle_pattern(&format!("spec.strategy.canary.steps[{index}].analysis"), pattern, metrics));
        }
        if let Err(why) = metrics
            && *index >= draft.step_index()
            && !analysis::has_begun(draft, Which::Step(*index))
        {
            return Err(format!("spec.strategy.canary.steps[{index}].analysis: {why}"));
        }
    }
    Ok(())
}

fn idle_pattern(field: &str, pattern: &str, metrics: &[Metric]) -> String {
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    format!("{field}.dryRun: '{pattern}' matches no metric; the metrics are {}", names.join(", "))
}

/// The spec is impossible: nothing goes on. Stable serves; a canary that this one supersedes goes back.
fn refuse(draft: &mut Draft<'_>, why: String) {
    scale::keep_stable(draft);
    if !draft.spec.routed {
        ratio::refuse(draft);
    } else if let Some(stable) = draft.stable_hash() {
        let behind = draft.seen.canary_service.as_ref().and_then(|service| service.hash.clone());
        if behind.is_some_and(|hash| hash != stable && hash != draft.spec.hash) {
            weight::withdraw(draft, &stable);
        }
    }
    draft.say(RolloutPhase::Degraded, reasons::INVALID_SPEC, why);
}

/// The spec asks for what is stable: no steps, no analysis, at once.
pub(super) fn return_to_stable(draft: &mut Draft<'_>) {
    let Some(stable) = draft.stable_hash() else { return };
    draft.say(RolloutPhase::Progressing, reasons::STEPPING, "the template is stable's again; traffic goes back to stable");
    scale::keep_stable(draft);
    // Traffic goes back also where a Service is missing.
    let off = weight::withdraw(draft, &stable);
    if weight::service_missing(draft) || !off {
        return;
    }
    draft.status.canary = None;
    draft.end_attempt();
    if !scale::stable_is_full(draft) {
        return;
    }
    draft.say(RolloutPhase::Healthy, reasons::HEALTHY, format!("revision {stable} is stable"));
}

/// The spec asks for content that was stopped: stable serves, until the content changes or a person retries.
pub(super) fn stopped(draft: &mut Draft<'_>) {
    let Some(stable) = draft.stable_hash() else { return };
    scale::keep_stable(draft);
    let off = weight::withdraw(draft, &stable);
    if draft.reason == reasons::ROUTE_MISSING {
        return;
    }
    let (reason, message) = why_stopped(draft);
    let waiting = draft.waiting.as_ref().map(|(reason, _)| *reason);
    let reason = match waiting {
        _ if off => reason,
        // Without a router, pods of the canary go as stable's come up: that is how it goes back, and nothing is amiss.
        Some(WaitingReason::StableReady) if draft.spec.routed => reasons::STABLE_NOT_READY,
        Some(WaitingReason::WeightVerified) if gateway_is_silent(draft) => reasons::WEIGHT_UNVERIFIED,
        _ => reason,
    };
    if off {
        draft.waiting = None;
    }
    draft.say(RolloutPhase::Degraded, reason, message);
}

/// The gateway has left a weight unconfirmed for longer than it should take. The canary's pods stay: that is safe.
fn gateway_is_silent(draft: &mut Draft<'_>) -> bool {
    let before = draft.spec.status.waiting_on.as_ref().filter(|waiting| waiting.reason == WaitingReason::WeightVerified);
    let silent_at = after(before.map_or(draft.seen.now, |waiting| waiting.since.0), SILENT_GATEWAY);
    if draft.seen.now < silent_at {
        draft.requeue(silent_at);
    }
    draft.seen.now >= silent_at
}

fn why_stopped(draft: &Draft<'_>) -> (&'static str, String) {
    use crate::api::rollout::FailureCause;
    let hold = draft.status.holds.iter().find(|hold| hold.digest == draft.spec.digest);
    let evidence = hold.map(|hold| hold.message.clone()).unwrap_or_default();
    let commit = draft.spec.commit.as_deref().map(|commit| format!(" (commit {})", commit.get(..12).unwrap_or(commit)));
    let commit = commit.unwrap_or_default();
    let fresh = draft.status.abort && draft.status.canary.as_ref().is_some_and(|canary| canary.digest == draft.spec.digest);
    if !fresh {
        let since = hold.map(|hold| hold.since.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default();
        let message =
            format!("revision {}{commit} is held: it failed at {since}: {evidence}; change it, or retry", draft.spec.hash);
        return (reasons::HELD, message);
    }
    match hold.map(|hold| hold.reason) {
        Some(FailureCause::AbortedByUser) => {
            (reasons::ABORTED_BY_USER, format!("revision {}{commit} was aborted: {evidence}", draft.spec.hash))
        }
        Some(FailureCause::NotReady) => {
            (reasons::NOT_READY, format!("revision {}{commit} was stopped: {evidence}", draft.spec.hash))
        }
        _ => (reasons::ANALYSIS_FAILED, format!("revision {}{commit} was stopped: {evidence}", draft.spec.hash)),
    }
}
