//! Rules that send requests with certain headers to the canary: copies of the rules that name both Services, with the
//! headers added to what they match, and the canary as the only backend. They come first in the route and are known by
//! their names.

use json_patch::{AddOperation, PatchOperation, RemoveOperation};
use serde_json::{Value, json};

use super::{RuleSplit, pointer, test};
use crate::api::rollout::{HeaderMatch, RouteKind, is_managed_rule};

/// A rule that steps ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// Its name: one of `managedRoutes`.
    pub name: String,
    /// What a request must have, all of it; never empty in a rule that is wanted.
    pub headers: Vec<HeaderMatch>,
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
pub(super) fn standing(route: &Value, kind: RouteKind, splits: &[RuleSplit], names: &[String], rules: &[HeaderRule]) -> Standing {
    let live = live(route, names);
    let at = |index: usize| &route["spec"]["rules"][index];
    let wanted: Vec<Value> = rules
        .iter()
        .flat_map(|rule| {
            let copies = splits.iter().filter_map(|split| copy(at(split.rule), kind, split, rule));
            copies.enumerate().map(|(index, mut copy)| {
                copy["name"] = if index == 0 { json!(rule.name) } else { json!(format!("{}-{}", rule.name, index + 1)) };
                copy
            })
        })
        .collect();
    let present: Vec<&Value> = live.iter().map(|index| at(*index)).collect();
    let lacks = wanted.iter().any(|rule| !present.contains(&rule));
    // First in the route: a rule of the same rank before them would win.
    let first = live.iter().enumerate().all(|(place, index)| place == *index);
    let fits = first && present == wanted.iter().collect::<Vec<_>>();
    Standing { live, wanted, fits, lacks }
}

/// The copy of a rule; none where the rule asks for another value of the same header, which no request can have too.
fn copy(rule: &Value, kind: RouteKind, split: &RuleSplit, wanted: &HeaderRule) -> Option<Value> {
    let all = match kind {
        RouteKind::Http => json!([{"path": {"type": "PathPrefix", "value": "/"}}]),
        RouteKind::Grpc => json!([{}]),
    };
    let matches = rule.get("matches").filter(|matches| matches.as_array().is_some_and(|list| !list.is_empty())).unwrap_or(&all);
    let mut narrowed = Vec::new();
    for one in matches.as_array()? {
        let mut headers = one.get("headers").and_then(Value::as_array).cloned().unwrap_or_default();
        let names: Vec<String> = headers.iter().filter_map(|h| Some(h.get("name")?.as_str()?.to_ascii_lowercase())).collect();
        if wanted.headers.iter().any(|header| names.contains(&header.header_name.to_ascii_lowercase())) {
            continue;
        }
        headers.extend(wanted.headers.iter().map(header));
        let mut one = one.clone();
        one["headers"] = Value::Array(headers);
        narrowed.push(one);
    }
    if narrowed.is_empty() {
        return None;
    }
    let mut backend = rule["backendRefs"][split.canary_index].clone();
    backend["weight"] = json!(1);
    let mut copy = rule.clone();
    copy["matches"] = Value::Array(narrowed);
    copy["backendRefs"] = json!([backend]);
    Some(copy)
}

fn header(wanted: &HeaderMatch) -> Value {
    let value = &wanted.header_value;
    let (kind, text) = match (&value.exact, &value.prefix, &value.regex) {
        (Some(exact), _, _) => ("Exact", exact.clone()),
        (_, Some(prefix), _) => ("RegularExpression", format!("^{}.*", regex::escape(prefix))),
        (_, _, regex) => ("RegularExpression", regex.clone().unwrap_or_default()),
    };
    json!({"type": kind, "name": wanted.header_name, "value": text})
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
