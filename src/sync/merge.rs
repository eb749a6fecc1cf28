//! Weights and selectors that a Rollout steers, taken from the live object into Git's version before it is applied.
//!
//! `rules` of a route and `selector` of a Service are one value each for server-side apply: without this, each
//! sync would write Git's `weight: 0` over a canary in flight, or a stale weight over an abort. What was merged is
//! applied with the resourceVersion it was merged from, so that a weight that moved meanwhile answers 409 and is read
//! again.

use serde_json::{Map, Value, json};

use crate::api::names::POD_TEMPLATE_HASH;
use crate::api::rollout::{RouteId, RouteKind, is_managed_rule};
use crate::manifest::ObjectId;

/// Weight of stable where the live route has none to take: all of it, because the canary gets 0 there.
const FULL: i64 = 100;

/// One live Rollout, as far as it steers other objects of its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// Its namespace.
    pub namespace: String,
    /// Service of the stable pods; empty where it names none.
    pub stable: String,
    /// Service of the canary pods; empty likewise.
    pub canary: String,
    /// Routes whose weights it sets.
    pub routes: Vec<RouteId>,
    /// Names of the rules that it may add to them.
    pub managed: Vec<String>,
}

fn is_route(id: &ObjectId, kind: RouteKind) -> bool {
    id.is("gateway.networking.k8s.io", kind.kind())
}

impl Steering {
    /// Reads it off a live Rollout; none for an object that is no whole Rollout.
    #[must_use]
    pub fn of(rollout: &Value) -> Option<Self> {
        let canary = rollout.pointer("/spec/strategy/canary")?;
        let names = |path: &str| {
            let list = canary.pointer(&format!("/trafficRouting/{path}")).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        let routes = RouteKind::ALL
            .into_iter()
            .flat_map(|kind| names(&format!("gatewayAPI/{}", kind.field())).into_iter().map(move |name| RouteId { kind, name }));
        let service = |key: &str| canary.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        Some(Self {
            namespace: rollout.pointer("/metadata/namespace")?.as_str()?.to_owned(),
            stable: service("stableService"),
            canary: service("canaryService"),
            routes: routes.collect(),
            managed: names("managedRoutes"),
        })
    }

    fn steers_route(&self, id: &ObjectId) -> bool {
        id.namespace == self.namespace && self.routes.iter().any(|route| is_route(id, route.kind) && route.name == id.name)
    }

    fn steers_service(&self, id: &ObjectId) -> bool {
        id.is("", "Service") && id.namespace == self.namespace && (id.name == self.stable || id.name == self.canary)
    }
}

/// Could a Rollout steer an object of this kind?
#[must_use]
pub fn is_steerable(id: &ObjectId) -> bool {
    id.is("", "Service") || RouteKind::ALL.into_iter().any(|kind| is_route(id, kind))
}

/// Puts what live Rollouts steer into Git's version of an object; says whether the object is steered at all, and so
/// has to be applied with the live object's resourceVersion.
///
/// A route that a Rollout names: in every rule with both of its Services, their weights are those of the same rule
/// of the live route. Rules are the same by name; without a name by their matches; what then is left, by place. In a rule that
/// is new, or where the live rule lacks one of the two, the canary gets 0 and stable what Git says, but never 0.
/// Rules that name only one of the two Services are not the Rollout's and stay as Git has them. Live rules that steps added
/// (`managedRoutes`) stay, in front; a rule of such a name in Git counts for nothing.
///
/// A Service that a Rollout names: the selector's `tidegate.dev/pod-template-hash` is the live one's, or none.
pub fn merge(id: &ObjectId, value: &mut Value, live: Option<&Value>, rollouts: &[Steering]) -> bool {
    if rollouts.iter().any(|rollout| rollout.steers_service(id)) {
        merge_selector(value, live);
        return true;
    }
    let steering: Vec<&Steering> = rollouts.iter().filter(|rollout| rollout.steers_route(id)).collect();
    if !steering.is_empty() {
        merge_route(value, live, &steering);
    }
    !steering.is_empty()
}

fn merge_selector(value: &mut Value, live: Option<&Value>) {
    let Some(selector) = value.pointer_mut("/spec/selector").and_then(Value::as_object_mut) else { return };
    let hash = live.and_then(|live| live.pointer("/spec/selector")?.get(POD_TEMPLATE_HASH));
    match hash {
        Some(hash) => selector.insert(POD_TEMPLATE_HASH.to_owned(), hash.clone()),
        None => selector.remove(POD_TEMPLATE_HASH),
    };
}

fn merge_route(value: &mut Value, live: Option<&Value>, rollouts: &[&Steering]) {
    let names: Vec<String> = rollouts.iter().flat_map(|rollout| rollout.managed.iter().cloned()).collect();
    let is_managed = |rule: &Value| rule.get("name").and_then(Value::as_str).is_some_and(|name| is_managed_rule(name, &names));
    let live_rules = live.and_then(|live| live.pointer("/spec/rules")?.as_array()).into_iter().flatten();
    let (added, live_rules): (Vec<Value>, Vec<Value>) = live_rules.cloned().partition(is_managed);
    let live_rules = live_rules.as_slice();
    let Some(rules) = value.pointer_mut("/spec/rules").and_then(Value::as_array_mut) else { return };
    rules.retain(|rule| !is_managed(rule));
    let mut used = vec![false; live_rules.len()];
    let pairs: Vec<Option<usize>> = {
        let mut same: Vec<_> = rules.iter().map(|rule| same_rule(rule, live_rules, &mut used)).collect();
        for (index, found) in same.iter_mut().enumerate() {
            if found.is_none() && used.get(index) == Some(&false) {
                *found = Some(index);
            }
        }
        same
    };
    for (rule, found) in rules.iter_mut().zip(pairs) {
        for rollout in rollouts {
            merge_rule(rule, found.and_then(|index| live_rules.get(index)), rollout);
        }
    }
    rules.splice(0..0, added);
}

/// Index of the live rule with the same name, or, for a rule without one, of the first with the same matches.
fn same_rule(rule: &Value, live_rules: &[Value], used: &mut [bool]) -> Option<usize> {
    let default = json!([{"path": {"type": "PathPrefix", "value": "/"}}]);
    let matches = rule.get("matches").unwrap_or(&default);
    let index = live_rules.iter().zip(used.iter()).position(|(live, used)| {
        !used
            && match rule.get("name") {
                Some(name) => live.get("name") == Some(name),
                None => live.get("name").is_none() && says(matches, live.get("matches").unwrap_or(&default)),
            }
    })?;
    used[index] = true;
    Some(index)
}

/// Does `live` say everything that Git says? The API server fills in defaults, so it may say more.
fn says(git: &Value, live: &Value) -> bool {
    match (git, live) {
        (Value::Object(git), Value::Object(live)) => {
            git.iter().all(|(key, value)| live.get(key).is_some_and(|live| says(value, live)))
        }
        (Value::Array(git), Value::Array(live)) => git.len() == live.len() && git.iter().zip(live).all(|(g, l)| says(g, l)),
        _ => git == live,
    }
}

fn merge_rule(rule: &mut Value, live_rule: Option<&Value>, rollout: &Steering) {
    let of = |rule: &Value, service: &str| weights(rule, service, &rollout.namespace);
    let (stable, canary) = (of(rule, &rollout.stable), of(rule, &rollout.canary));
    if stable.is_empty() || canary.is_empty() {
        return;
    }
    let live = live_rule.map(|live| (of(live, &rollout.stable), of(live, &rollout.canary)));
    let (stable, canary) = match live {
        Some((live_stable, live_canary)) if live_stable.len() == stable.len() && live_canary.len() == canary.len() => {
            (live_stable, live_canary)
        }
        _ if stable.iter().all(|weight| *weight == 0) => (vec![FULL; stable.len()], vec![0; canary.len()]),
        _ => (stable, vec![0; canary.len()]),
    };
    set_weights(rule, &rollout.stable, &rollout.namespace, &stable);
    set_weights(rule, &rollout.canary, &rollout.namespace, &canary);
}

/// Weights of a Service's backends in a rule; mostly one. A backend without a weight has 1, says the Gateway API.
fn weights(rule: &Value, service: &str, namespace: &str) -> Vec<i64> {
    let backends = rule.get("backendRefs").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let named = backends.filter(|backend| is_service(backend, service, namespace));
    named.map(|backend| backend.get("weight").and_then(Value::as_i64).unwrap_or(1)).collect()
}

fn set_weights(rule: &mut Value, service: &str, namespace: &str, weights: &[i64]) {
    let backends = rule.get_mut("backendRefs").and_then(Value::as_array_mut).into_iter().flatten();
    let named = backends.filter_map(Value::as_object_mut).filter(|backend| is_service(backend, service, namespace));
    for (backend, weight) in named.zip(weights) {
        backend.insert("weight".to_owned(), (*weight).into());
    }
}

/// Is this backend the Service `service` of the Rollout's namespace? A route lies in the namespace of its Rollout.
fn is_service(backend: &Map<String, Value>, service: &str, namespace: &str) -> bool {
    let text = |key: &str, default: &str| backend.get(key).and_then(Value::as_str).unwrap_or(default).to_owned();
    text("group", "").is_empty()
        && text("kind", "Service") == "Service"
        && text("name", "") == service
        && text("namespace", namespace) == namespace
}
