//! Traffic up and down. Up only through gates: ready pods, the Service's selector, its endpoints, the gateway's word.
//! Down at once, as far as stable's ready pods can carry the traffic.

use serde_json::Value;

use super::{Draft, Effect, Situation, analysis, ratio};
use crate::api::condition::rollout as reasons;
use crate::api::rollout::{RolloutPhase, RouteId, WaitingReason, Weights};
use crate::rollout::spec::ValidatedRollout;
use crate::traffic::gateway::{self, Change, ManagedRule, Services, Wanted};

/// Which rules for single requests a route is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    /// Those of the step under way.
    OfTheStep,
    /// Of those, the ones that are there: none is added.
    Kept,
    /// None.
    Gone,
}

fn services(spec: &ValidatedRollout) -> Services<'_> {
    Services { stable: &spec.stable_service, canary: &spec.canary_service }
}

/// Reads the present split off the routes into the draft and its status.
pub(super) fn observe(draft: &mut Draft<'_>) {
    if !draft.spec.routed {
        return ratio::observe(draft);
    }
    let names = services(draft.spec);
    let mut largest = 0;
    let mut exact = true;
    let mut unverified = None;
    for (id, route) in &draft.seen.routes {
        let Some(route) = route else {
            draft.status.weights = None;
            return;
        };
        let Ok(splits) = gateway::splits(route, names) else {
            draft.status.weights = None;
            return;
        };
        largest = largest.max(gateway::canary_weight(&splits, draft.spec.whole));
        if let Err(why) = gateway::verified(route, &draft.seen.gateways) {
            unverified.get_or_insert(format!("{id}: {why}"));
        }
    }
    for route in draft.seen.routes.iter().filter_map(|(_, route)| route.as_ref()) {
        exact &= gateway::splits(route, names).is_ok_and(|splits| gateway::is_at(&splits, largest, draft.spec.whole));
    }
    draft.weight = Some(largest);
    draft.unverified.clone_from(&unverified);
    let verified = exact && unverified.is_none();
    let before = draft.status.weights.as_ref().filter(|w| w.canary == largest && w.verified && verified);
    let verified_at = if verified { before.and_then(|w| w.verified_at.clone()).or_else(|| Some(draft.now())) } else { None };
    draft.status.weights = Some(Weights { canary: largest, stable: draft.spec.whole - largest, verified, verified_at });
}

/// Says which route is missing or does not fit; false when all routes can be used.
fn route_missing(draft: &mut Draft<'_>) -> bool {
    let names = services(draft.spec);
    for (id, route) in &draft.seen.routes {
        let message = match route {
            None => format!("{id} does not exist"),
            Some(route) => match gateway::splits(route, names) {
                Err(why) => format!("{id}: {why}"),
                Ok(_) => continue,
            },
        };
        draft.wait(WaitingReason::WeightVerified, message.clone());
        draft.say(RolloutPhase::Degraded, reasons::ROUTE_MISSING, message);
        return true;
    }
    false
}

/// Says which Service is missing; false when both can be used.
pub(super) fn service_missing(draft: &mut Draft<'_>) -> bool {
    let missing = [
        (&draft.seen.stable_service, &draft.spec.stable_service, "stableService"),
        (&draft.seen.canary_service, &draft.spec.canary_service, "canaryService"),
    ];
    for (service, name, field) in missing.into_iter().filter(|(_, name, _)| !name.is_empty()) {
        let message = match service {
            None => format!("Service {name} ({field}) does not exist"),
            Some(service) if !service.has_selector => {
                format!("Service {name} ({field}) has no selector, so it cannot be pointed at a revision")
            }
            Some(_) => continue,
        };
        draft.wait(WaitingReason::PodsReady, message.clone());
        draft.say(RolloutPhase::Degraded, reasons::SERVICE_MISSING, message);
        return true;
    }
    false
}

/// One route of a Rollout.
#[derive(Clone, Copy)]
struct Part<'a> {
    spec: &'a ValidatedRollout,
    id: &'a RouteId,
    route: &'a Value,
}

impl Part<'_> {
    fn change(self, weight: i32, rules: &[ManagedRule]) -> Result<Option<Change>, gateway::RouteError> {
        let wanted = Wanted { weight, whole: self.spec.whole, rules, managed: &self.spec.managed };
        gateway::change(self.route, self.id.kind, services(self.spec), wanted)
    }

    /// Those of the rules that it has.
    fn present(self, rules: &[ManagedRule]) -> Vec<ManagedRule> {
        let wanted = Wanted { weight: 0, whole: self.spec.whole, rules, managed: &self.spec.managed };
        gateway::present(self.route, self.id.kind, services(self.spec), wanted).unwrap_or_default()
    }
}

fn parts<'a>(draft: &Draft<'a>) -> Vec<Part<'a>> {
    let (spec, seen) = (draft.spec, draft.seen);
    seen.routes.iter().filter_map(|(id, route)| Some(Part { spec, id, route: route.as_ref()? })).collect()
}

/// The rules that the step under way asks for; none where no canary is under way.
fn step_rules(draft: &Draft<'_>) -> Vec<ManagedRule> {
    if draft.situation() == Situation::Canary { draft.spec.rules_at(draft.step_index()) } else { Vec::new() }
}

/// The rules that a route is to have.
fn rules_of(draft: &Draft<'_>, part: Part<'_>, rules: Rules) -> Vec<ManagedRule> {
    let all = match rules {
        Rules::OfTheStep => step_rules(draft),
        Rules::Kept => part.present(&step_rules(draft)),
        Rules::Gone => Vec::new(),
    };
    all.into_iter().filter(|rule| rule.is_for(part.id.kind)).collect()
}

/// What is to be done to a route.
struct Due {
    /// More traffic may go to the canary by it.
    raises: bool,
    /// The canary's share goes down, or nothing but rules and the label changes: no rule between the Services goes up.
    only_lowers: bool,
    effect: Effect,
}

/// For each route that is not as wanted, what brings it there.
fn patches(draft: &Draft<'_>, weight: i32, rules: Rules) -> Vec<Due> {
    let patch = |part: Part<'_>| {
        let rules = rules_of(draft, part, rules);
        let Change { patch, from, raises, moves_weights } = part.change(weight, &rules).ok()??;
        let rules = rules.into_iter().map(|rule| rule.name).collect();
        let effect = Effect::SetWeight { route: part.id.clone(), from, to: weight, rules, patch };
        Some(Due { raises, only_lowers: !raises && (from > weight || !moves_weights), effect })
    };
    parts(draft).into_iter().filter_map(patch).collect()
}

/// Brings all routes to `weight` and these rules; what lowers the canary's share goes first of all.
fn set(draft: &mut Draft<'_>, weight: i32, rules: Rules) {
    for due in patches(draft, weight, rules) {
        if due.raises { draft.raise.push(due.effect) } else { draft.lower.push(due.effect) }
    }
}

/// Do all routes say exactly `weight` and these rules, label included?
fn all_at(draft: &Draft<'_>, weight: i32, rules: Rules) -> bool {
    let parts = parts(draft);
    parts.len() == draft.seen.routes.len()
        && parts.into_iter().all(|part| matches!(part.change(weight, &rules_of(draft, part, rules)), Ok(None)))
}

/// Is a rule of the step missing in a route?
fn lacks_a_rule(draft: &Draft<'_>) -> bool {
    let rules = step_rules(draft);
    parts(draft).into_iter().any(|part| part.present(&rules).len() < rules.len())
}

/// Has any route a rule that is Tidegate's?
pub(super) fn has_rules(draft: &Draft<'_>) -> bool {
    parts(draft).into_iter().any(|part| gateway::has_managed_rules(part.route, &part.spec.managed))
}

/// The weight and the rules are what is wanted, and every gateway confirmed them; otherwise says what it waits for.
fn confirmed(draft: &mut Draft<'_>, weight: i32, rules: Rules) -> bool {
    if all_at(draft, weight, rules) && draft.unverified.is_none() {
        return true;
    }
    let detail =
        draft.unverified.clone().unwrap_or_else(|| format!("weight {} % was written just now", draft.spec.percent(weight)));
    draft.wait(WaitingReason::WeightVerified, detail);
    false
}

/// Brings the canary's weight to `wanted`, and the rules to those of the step; true once that is confirmed.
///
/// A weight that somebody else changed is corrected here, never taken for progress.
pub(super) fn ensure(draft: &mut Draft<'_>, wanted: i32) -> bool {
    reach(draft, wanted, Rules::OfTheStep)
}

/// The same without a rule that is not there yet.
pub(super) fn keep(draft: &mut Draft<'_>, wanted: i32) -> bool {
    reach(draft, wanted, Rules::Kept)
}

fn reach(draft: &mut Draft<'_>, wanted: i32, rules: Rules) -> bool {
    if !draft.spec.routed {
        return ratio::ensure(draft, wanted);
    }
    if route_missing(draft) || service_missing(draft) {
        // Other routes may still be lowered: less traffic on the canary is always safe.
        lower_only(draft, wanted, Rules::Kept);
        return false;
    }
    let current = draft.weight.unwrap_or(0);
    let hash = draft.spec.hash.clone();
    let asks = wanted > 0 || !step_rules(draft).is_empty();
    if asks && draft.seen.ready(&hash) == 0 && (current > 0 || has_rules(draft)) {
        set(draft, 0, Rules::Gone);
        draft.wait_for_pods(draft.spec.pods_for(wanted).max(1), "the canary has no ready pod, so it gets no traffic");
        return false;
    }
    let adds = rules == Rules::OfTheStep && lacks_a_rule(draft);
    if current > wanted || (wanted == 0 && !adds) {
        return come_down(draft, current, wanted) && !adds;
    }
    if !points_at_canary(draft, &hash, current, wanted) {
        return false;
    }
    if all_at(draft, wanted, rules) {
        return confirmed(draft, wanted, rules);
    }
    if current == wanted && !adds {
        // Only a rule or a label is off; the share of traffic does not grow.
        set(draft, wanted, rules);
        return confirmed(draft, wanted, rules);
    }
    let needed = draft.spec.pods_for(wanted).max(i32::from(adds));
    let available = draft.seen.replica_set(&hash).map_or(0, |set| set.available.min(set.ready));
    let for_what = if adds { "the managed routes".to_owned() } else { format!("a weight of {} %", draft.spec.percent(wanted)) };
    if available < needed {
        draft.wait_for_pods(needed, format!("{available} of {needed} canary pods are available for {for_what}"));
        return false;
    }
    let serves = draft.seen.canary_service.as_ref().is_some_and(|service| service.serves_only(&hash, needed));
    if !serves {
        let service = &draft.spec.canary_service;
        let detail = format!("Service {service} does not yet route to {needed} ready pods of revision {hash}, and to no others");
        draft.wait(WaitingReason::PodsReady, detail);
        return false;
    }
    if wanted > 0 {
        // Before the first request: what is counted until then belongs to others.
        analysis::slo::begin(draft);
    }
    set(draft, wanted, rules);
    let what = if adds { "the managed routes were".to_owned() } else { format!("weight {} % was", draft.spec.percent(wanted)) };
    draft.wait(WaitingReason::WeightVerified, format!("{what} written just now"));
    false
}

/// A step with less traffic than the one before: at once, as far as stable's ready pods can carry it.
fn come_down(draft: &mut Draft<'_>, current: i32, wanted: i32) -> bool {
    let ready = draft.stable_hash().map_or(0, |stable| draft.seen.ready(&stable));
    let canary_ready = draft.seen.ready(&draft.spec.hash);
    let target = wanted.max(current.min(uncarried(draft.spec, ready)));
    if target > wanted && canary_ready > 0 {
        keep_uncarried(draft, target, ready, Rules::Kept);
        return false;
    }
    set(draft, wanted, Rules::Kept);
    confirmed(draft, wanted, Rules::Kept)
}

/// The canary Service selects the canary. It is moved there only while a confirmed nothing goes to it.
fn points_at_canary(draft: &mut Draft<'_>, hash: &str, current: i32, wanted: i32) -> bool {
    let Some(service) = &draft.seen.canary_service else { return false };
    if service.hash.as_deref() == Some(hash) {
        return true;
    }
    if current > 0 || !all_at(draft, 0, Rules::Gone) {
        set(draft, 0, Rules::Gone);
        let detail = format!("Service {} points at another revision; its weight goes to 0 first", service.name);
        draft.wait(WaitingReason::WeightVerified, detail);
        return false;
    }
    if !confirmed(draft, 0, Rules::Gone) {
        return false;
    }
    if draft.seen.ready(hash) == 0 {
        draft.wait_for_pods(draft.spec.pods_for(wanted).max(1), "no canary pod is ready yet");
        return false;
    }
    let effect = Effect::select(service, hash);
    let detail = format!("Service {} is pointed at revision {hash}", service.name);
    draft.raise.push(effect);
    draft.wait(WaitingReason::PodsReady, detail);
    false
}

/// Lowers what is above `wanted`, raises nothing, waits for nothing.
fn lower_only(draft: &mut Draft<'_>, wanted: i32, rules: Rules) {
    let due = patches(draft, wanted, rules).into_iter().filter(|due| due.only_lowers);
    let lower: Vec<Effect> = due.map(|due| due.effect).collect();
    draft.lower.extend(lower);
}

/// Takes the traffic off the canary, as fast as stable's ready pods can carry it, then points the canary Service at
/// stable. True once all of that is confirmed: only then may the canary's pods go.
pub(super) fn withdraw(draft: &mut Draft<'_>, stable: &str) -> bool {
    if !draft.spec.routed {
        return ratio::withdraw(draft, stable);
    }
    let behind = draft.seen.canary_service.as_ref().and_then(|service| service.hash.clone()).unwrap_or_default();
    let canary_ready = draft.seen.ready(&behind);
    let target = {
        let current = draft.weight.unwrap_or(draft.spec.whole);
        let uncarried = uncarried(draft.spec, draft.seen.ready(stable));
        if canary_ready == 0 || behind == stable { 0 } else { current.min(uncarried) }
    };
    if route_missing(draft) {
        lower_only(draft, target, Rules::Gone);
        return false;
    }
    if target > 0 {
        let ready = draft.seen.ready(stable);
        keep_uncarried(draft, target, ready, Rules::Gone);
        return false;
    }
    set(draft, 0, Rules::Gone);
    if !confirmed(draft, 0, Rules::Gone) {
        return false;
    }
    let Some(service) = &draft.seen.canary_service else { return true };
    if service.hash.as_deref() == Some(stable) || !service.has_selector {
        return true;
    }
    let effect = Effect::select(service, stable);
    let detail = format!("Service {} is pointed back at stable", service.name);
    draft.raise.push(effect);
    draft.wait(WaitingReason::WeightVerified, detail);
    false
}

/// Lowers the canary to what stable's ready pods cannot carry yet, and waits for them. Of several routes one may be lower
/// already; none goes up.
fn keep_uncarried(draft: &mut Draft<'_>, weight: i32, ready: i32, rules: Rules) {
    lower_only(draft, weight, rules);
    let (replicas, kept) = (draft.spec.replicas, draft.spec.percent(weight));
    let detail = format!("{ready} of {replicas} stable pods are ready; the canary keeps {kept} % until stable can take it");
    draft.wait(WaitingReason::StableReady, detail);
}

/// The weight that so many ready pods of stable cannot carry, rounded up.
fn uncarried(spec: &ValidatedRollout, ready: i32) -> i32 {
    if spec.replicas <= 0 {
        return 0;
    }
    let carried = i64::from(ready.max(0)) * i64::from(spec.whole) / i64::from(spec.replicas);
    spec.whole - i32::try_from(carried).unwrap_or(spec.whole).min(spec.whole)
}

/// Sends everything to the stable Service; true once confirmed. For deployments in which both Services hold the same pods.
pub(super) fn all_to_stable(draft: &mut Draft<'_>) -> bool {
    if !draft.spec.routed {
        return true;
    }
    if route_missing(draft) {
        lower_only(draft, 0, Rules::Gone);
        return false;
    }
    set(draft, 0, Rules::Gone);
    confirmed(draft, 0, Rules::Gone)
}
