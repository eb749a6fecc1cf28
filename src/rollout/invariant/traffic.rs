//! Who may be getting requests, read off the routes.

use serde_json::Value;

use super::State;

/// The canary's traffic in some versions of the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Largest share of the canary in any rule, as a part of what all the traffic weighs.
    pub canary: i64,
    /// Largest share of stable in any rule, likewise.
    pub stable: i64,
    /// A rule that steps may add sends single requests, or copies of them, to the canary.
    pub by_rule: bool,
}

/// Rules with a name that belongs to the Rollout's steps.
pub(super) fn named_rules<'a>(state: State<'_>, route: &'a Value) -> Vec<&'a Value> {
    let ours = |rule: &&Value| {
        let name = rule.get("name").and_then(Value::as_str).unwrap_or("");
        let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let base = if base.len() < name.len() { base.strip_suffix('-').unwrap_or(name) } else { name };
        state.rollout.managed.iter().any(|managed| managed == name || managed == base)
    };
    route.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten().filter(ours).collect()
}

/// A rule apart from the weights of its Services.
fn unweighed(rule: &Value) -> Value {
    let mut rule = rule.clone();
    let backends = rule.get_mut("backendRefs").and_then(Value::as_array_mut).filter(|backends| backends.len() > 1);
    for backend in backends.into_iter().flatten().filter_map(Value::as_object_mut) {
        backend.remove("weight");
    }
    rule
}

/// Was such a rule added, or changed in more than its weights?
pub(super) fn a_named_rule_is_new(before: State<'_>, after: State<'_>) -> bool {
    after.cluster.routes.iter().filter_map(|(id, route)| Some((id, route.as_ref()?))).any(|(id, route)| {
        let old = before.cluster.routes.iter().find(|(known, _)| known == id).and_then(|(_, route)| route.as_ref());
        let old: Vec<Value> = old.into_iter().flat_map(|old| named_rules(before, old)).map(unweighed).collect();
        named_rules(after, route).into_iter().any(|rule| !old.contains(&unweighed(rule)))
    })
}

/// Weights of the canary and of stable in each rule that names both Services.
fn rules(state: State<'_>, route: &Value) -> Vec<Option<(i64, i64)>> {
    let named = named_rules(state, route);
    let rules = route.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten();
    // Rules that come and go move the places of the others.
    rules.filter(|rule| !named.contains(rule)).map(|rule| weights(state, rule)).collect()
}

/// Weights of the canary and of stable in a rule, where it names both.
fn weights(state: State<'_>, rule: &Value) -> Option<(i64, i64)> {
    let backends = rule.get("backendRefs").and_then(Value::as_array)?;
    let weight = |name: &str| {
        let backend = backends.iter().find(|backend| backend.get("name").and_then(Value::as_str) == Some(name))?;
        Some(backend.get("weight").and_then(Value::as_i64).unwrap_or(1))
    };
    Some((weight(&state.rollout.canary_service)?, weight(&state.rollout.stable_service)?))
}

/// The same of all rules of a route that name both, also those that steps added.
fn all_weights(state: State<'_>, route: &Value) -> Vec<(i64, i64)> {
    let rules = route.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten();
    rules.filter_map(|rule| weights(state, rule)).collect()
}

fn share(state: State<'_>, part: i64, sum: i64) -> i64 {
    if sum <= 0 { 0 } else { part * i64::from(state.rollout.whole) / sum }
}

fn over<'a>(state: State<'_>, routes: impl Iterator<Item = &'a Value>) -> Traffic {
    let mut traffic = Traffic { canary: 0, stable: 0, by_rule: false };
    let routes: Vec<&Value> = routes.collect();
    traffic.by_rule = routes.iter().any(|route| !named_rules(state, route).is_empty());
    for (canary, stable) in routes.into_iter().flat_map(|route| all_weights(state, route)) {
        traffic.canary = traffic.canary.max(share(state, canary, canary + stable));
        traffic.stable = traffic.stable.max(share(state, stable, canary + stable));
    }
    traffic
}

/// Do the weights of each rule that names both Services sum to what all the traffic weighs, in every route that was written?
/// Another one may still be in the unit of before.
pub(super) fn written_sums_up(before: State<'_>, after: State<'_>) -> bool {
    let whole = i64::from(after.rollout.whole);
    let known = |route: &Value| before.cluster.routes.iter().any(|(_, old)| old.as_ref() == Some(route));
    let written = after.cluster.routes.iter().filter_map(|(_, route)| route.as_ref()).filter(|route| !known(route));
    let mut rules = written.flat_map(|route| all_weights(after, route));
    rules.all(|(canary, stable)| canary + stable == whole && (0..=whole).contains(&canary))
}

/// What the routes say now.
pub(super) fn live(state: State<'_>) -> Traffic {
    over(state, state.cluster.routes.iter().filter_map(|(_, route)| route.as_ref()))
}

/// The most that a gateway may be sending to each of the two now: to what it confirmed last, or to what was written since.
pub(super) fn possible(state: State<'_>) -> Traffic {
    let present = state.cluster.routes.iter().filter_map(|(_, route)| route.as_ref());
    over(state, present.chain(state.serving))
}

/// Has the canary more in any rule of any route than it had there before?
pub(super) fn a_rule_rose(before: State<'_>, after: State<'_>) -> bool {
    // In the same unit, also where what all the traffic weighs was changed in between.
    let share = |weights: &Option<(i64, i64)>| weights.map_or(0, |(canary, stable)| share(after, canary, canary + stable));
    let names = after.cluster.routes.iter();
    names.filter_map(|(name, route)| Some((name, route.as_ref()?))).any(|(name, route)| {
        let old = before.cluster.routes.iter().find(|(known, _)| known == name).and_then(|(_, route)| route.as_ref());
        let old = old.map(|old| rules(before, old)).unwrap_or_default();
        let new = rules(after, route);
        new.iter().enumerate().any(|(index, rule)| share(rule) > old.get(index).map_or(0, share))
    })
}
