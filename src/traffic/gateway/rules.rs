//! Rules that steps ask for: copies of the rules that name both Services, which match less. One sends requests with certain
//! headers to the canary alone; one goes by the weights like the rule it is a copy of, and sends copies of requests to the
//! canary too. They come first in the route and are known by their names.

use json_patch::{AddOperation, PatchOperation, RemoveOperation};
use serde_json::{Value, json};

use super::{RuleSplit, Wanted, matching, pointer, test};
use crate::api::rollout::{HeaderMatch, MirrorMatch, RouteKind, is_managed_rule};

/// A rule that steps ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedRule {
    /// Its name: one of `managedRoutes`.
    pub name: String,
    /// What it does.
    pub what: Directs,
}

impl ManagedRule {
    /// Does a route of this kind get it?
    #[must_use]
    pub const fn is_for(&self, kind: RouteKind) -> bool {
        matches!((&self.what, kind), (Directs::ByHeader(_), _) | (Directs::Mirrored { .. }, RouteKind::Http))
    }
}

/// What a rule that steps ask for does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directs {
    /// There is none; never so in a rule that is wanted.
    Nothing,
    /// Sends the requests that have all of these headers to the canary alone.
    ByHeader(Vec<HeaderMatch>),
    /// Sends copies of requests to the canary too. HTTPRoutes only.
    Mirrored {
        /// Which requests: those that meet any of these.
        of: Vec<MirrorMatch>,
        /// How many of them, in percent; 1..=100.
        percentage: i32,
    },
}

/// The managed rules of a live route: their places, in order.
fn live(route: &Value, names: &[String]) -> Vec<usize> {
    let rules = route.pointer("/spec/rules").and_then(Value::as_array);
    let named = |rule: &Value| rule.get("name").and_then(Value::as_str).is_some_and(|name| is_managed_rule(name, names));
    rules.into_iter().flatten().enumerate().filter(|(_, rule)| named(rule)).map(|(index, _)| index).collect()
}

/// Has the route a rule with one of these names?
#[must_use]
pub fn has_managed_rules(route: &Value, names: &[String]) -> bool {
    !live(route, names).is_empty()
}

/// Where a route stands with the rules that are wanted in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Standing {
    live: Vec<usize>,
    wanted: Vec<Value>,
    /// They are exactly the wanted ones.
    pub fits: bool,
    /// A wanted one is not there, or not as wanted: with it more requests go to the canary.
    pub lacks: bool,
}

/// Compares. `splits` are those of the rules that name both Services.
pub(super) fn standing(route: &Value, kind: RouteKind, splits: &[RuleSplit], wanted: Wanted<'_>) -> Standing {
    let live = live(route, wanted.managed);
    let at = |index: usize| &route["spec"]["rules"][index];
    let own = |split: &&RuleSplit| !live.contains(&split.rule);
    let rules: Vec<Value> = wanted
        .rules
        .iter()
        .flat_map(|rule| {
            let copies = splits.iter().filter(own).filter_map(|split| copy(at(split.rule), kind, split, rule, wanted));
            copies.enumerate().map(|(index, mut copy)| {
                copy["name"] = if index == 0 { json!(rule.name) } else { json!(format!("{}-{}", rule.name, index + 1)) };
                copy
            })
        })
        .collect();
    // Weights in them are brought to what is wanted like those of any rule: here they count as being there.
    let weighed = |index: &usize| {
        let mut rule = at(*index).clone();
        splits.iter().filter(|split| split.rule == *index).for_each(|split| weigh(&mut rule, split, wanted));
        rule
    };
    let present: Vec<Value> = live.iter().map(weighed).collect();
    let lacks = rules.iter().any(|rule| !present.contains(rule));
    // First in the route: a rule of the same rank before them would win.
    let first = live.iter().enumerate().all(|(place, index)| place == *index);
    let fits = first && present == rules;
    Standing { live, wanted: rules, fits, lacks }
}

fn weigh(rule: &mut Value, split: &RuleSplit, wanted: Wanted<'_>) {
    rule["backendRefs"][split.canary_index]["weight"] = json!(wanted.weight);
    rule["backendRefs"][split.stable_index]["weight"] = json!(wanted.whole - wanted.weight);
}

/// The copy of a rule; none where no request, or none that a route can tell apart, meets both.
fn copy(rule: &Value, kind: RouteKind, split: &RuleSplit, asked: &ManagedRule, wanted: Wanted<'_>) -> Option<Value> {
    if !asked.is_for(kind) {
        return None;
    }
    let all = match kind {
        RouteKind::Http => json!([{"path": {"type": "PathPrefix", "value": "/"}}]),
        RouteKind::Grpc => json!([{}]),
    };
    let matches = rule.get("matches").filter(|matches| matches.as_array().is_some_and(|list| !list.is_empty())).unwrap_or(&all);
    let matches = matches.as_array()?.iter();
    let narrowed: Vec<Value> = match &asked.what {
        Directs::ByHeader(headers) => matches.filter_map(|one| matching::with_headers(one, headers)).collect(),
        Directs::Mirrored { of, .. } => {
            matches.flat_map(|one| of.iter().filter_map(|wanted| matching::mirrored(one, wanted))).collect()
        }
        Directs::Nothing => return None,
    };
    if narrowed.is_empty() {
        return None;
    }
    let mut backend = rule["backendRefs"][split.canary_index].clone();
    let mut copy = rule.clone();
    copy["matches"] = Value::Array(narrowed);
    if let Directs::Mirrored { percentage, .. } = &asked.what {
        weigh(&mut copy, split, wanted);
        let mut filters = rule.get("filters").and_then(Value::as_array).cloned().unwrap_or_default();
        filters.push(mirror(&backend, *percentage));
        copy["filters"] = Value::Array(filters);
    } else {
        backend["weight"] = json!(1);
        copy["backendRefs"] = json!([backend]);
    }
    Some(copy)
}

/// The filter that sends copies to a backend. With the defaults that the API server fills in, so that it compares as equal.
fn mirror(backend: &Value, percentage: i32) -> Value {
    let mut to = json!({"group": "", "kind": "Service"});
    for key in ["name", "namespace", "port"] {
        if let Some(value) = backend.get(key) {
            to[key] = value.clone();
        }
    }
    let mut mirror = json!({"backendRef": to});
    if percentage < 100 {
        mirror["percent"] = json!(percentage);
    }
    json!({"type": "RequestMirror", "requestMirror": mirror})
}

/// What makes them the wanted ones: all in one patch, so that a rule that stays is never away. The places are those of
/// the route as it was seen; operations on other rules come before.
pub(super) fn operations(route: &Value, standing: Standing, operations: &mut Vec<PatchOperation>) {
    if standing.fits {
        return;
    }
    for index in standing.live.iter().rev() {
        let path = format!("/spec/rules/{index}");
        operations.push(test(&format!("{path}/name"), route["spec"]["rules"][*index]["name"].clone()));
        operations.push(PatchOperation::Remove(RemoveOperation { path: pointer(&path) }));
    }
    for (place, rule) in standing.wanted.into_iter().enumerate() {
        operations.push(PatchOperation::Add(AddOperation { path: pointer(&format!("/spec/rules/{place}")), value: rule }));
    }
}
