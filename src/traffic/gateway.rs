//! Gateway API: the weights of a Rollout's two Services in a route, and the rules that it adds, as a JSON Patch of the live
//! object.
//!
//! The route is never owned and never round-tripped through typed structs: `rules` is an atomic list for
//! server-side apply and a typed copy drops fields it does not know. Only the weights of the two Services are
//! touched, in every rule that names both; everything else stays byte for byte. Rules for single requests ([`rules`])
//! come and go by their names.

mod matching;
mod rules;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation};
use serde_json::{Value, json};

use crate::api::names;
use crate::api::rollout::RouteKind;
pub use rules::{Directs, ManagedRule, has_managed_rules};

/// The two Services of a Rollout, by name.
#[derive(Clone, Copy, Debug)]
pub struct Services<'a> {
    /// Service of the stable revision.
    pub stable: &'a str,
    /// Service of the canary revision.
    pub canary: &'a str,
}

/// Where a rule's two backends stand, and what they weigh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSplit {
    /// Index in `spec.rules`.
    pub rule: usize,
    /// Index of the canary's backend in the rule.
    pub canary_index: usize,
    /// Index of stable's backend in the rule.
    pub stable_index: usize,
    /// Weight of the canary's backend; 1 when the route gives none (the API's default).
    pub canary: i64,
    /// Weight of stable's backend.
    pub stable: i64,
}

impl RuleSplit {
    /// Share of the canary among the two, as a part of `whole`, rounded up: for judging how much is at risk.
    #[must_use]
    pub fn canary_share(&self, whole: i32) -> i32 {
        let sum = self.canary.max(0) + self.stable.max(0);
        if sum == 0 {
            return 0;
        }
        i32::try_from((self.canary.max(0) * i64::from(whole) + sum - 1) / sum).unwrap_or(whole)
    }

    fn is_exactly(&self, weight: i32, whole: i32) -> bool {
        self.canary == i64::from(weight) && self.stable == i64::from(whole - weight)
    }
}

/// Why a route cannot carry a Rollout's weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No rule names both Services.
    #[error("no rule of the route names both Services {stable} and {canary}; its backends are {found}")]
    NoRule {
        /// Service of stable.
        stable: String,
        /// Service of the canary.
        canary: String,
        /// The backends that the route names.
        found: String,
    },
}

/// The splits between the two Services in a live route, one for each rule that names both.
pub fn splits(route: &Value, services: Services<'_>) -> Result<Vec<RuleSplit>, RouteError> {
    let empty = Vec::new();
    let rules = route.pointer("/spec/rules").and_then(Value::as_array).unwrap_or(&empty);
    let mut found = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (rule, value) in rules.iter().enumerate() {
        let backends = value.get("backendRefs").and_then(Value::as_array).unwrap_or(&empty);
        names.extend(backends.iter().filter_map(|b| b.get("name").and_then(Value::as_str)).map(str::to_owned));
        let at = |name: &str| backends.iter().position(|b| is_service(b, name));
        if let (Some(canary_index), Some(stable_index)) = (at(services.canary), at(services.stable)) {
            found.push(RuleSplit {
                rule,
                canary_index,
                stable_index,
                canary: weight_of(&backends[canary_index]),
                stable: weight_of(&backends[stable_index]),
            });
        }
    }
    if found.is_empty() {
        names.sort();
        names.dedup();
        names.truncate(10);
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(RouteError::NoRule { stable: services.stable.to_owned(), canary: services.canary.to_owned(), found });
    }
    Ok(found)
}

fn is_service(backend: &Value, name: &str) -> bool {
    let is = |key: &str, default: &str| backend.get(key).and_then(Value::as_str).unwrap_or(default) == default;
    backend.get("name").and_then(Value::as_str) == Some(name) && is("group", "") && is("kind", "Service")
}

fn weight_of(backend: &Value) -> i64 {
    backend.get("weight").and_then(Value::as_i64).unwrap_or(1)
}

/// The ports of canary and stable in the first rule that names both; none when there is no such rule.
#[must_use]
pub fn ports(route: &Value, services: Services<'_>) -> Option<(Option<i64>, Option<i64>)> {
    let split = splits(route, services).ok()?.into_iter().next()?;
    let backends = route.pointer(&format!("/spec/rules/{}/backendRefs", split.rule))?;
    let port = |index: usize| backends.get(index)?.get("port")?.as_i64();
    Some((port(split.canary_index), port(split.stable_index)))
}

/// The largest share of the canary in any rule of the route, as a part of `whole`.
#[must_use]
pub fn canary_weight(splits: &[RuleSplit], whole: i32) -> i32 {
    splits.iter().map(|split| split.canary_share(whole)).max().unwrap_or(0)
}

/// Does every rule split exactly `weight` to `whole - weight`?
#[must_use]
pub fn is_at(splits: &[RuleSplit], weight: i32, whole: i32) -> bool {
    splits.iter().all(|split| split.is_exactly(weight, whole))
}

/// Does the route carry the label that tells other tools to leave it alone exactly while the canary gets requests?
fn label_fits(route: &Value, wanted: Wanted<'_>) -> bool {
    (label_of(route) == Some(names::CANARY_IN_PROGRESS)) == wanted.has_traffic()
}

fn label_of(route: &Value) -> Option<&str> {
    route.pointer("/metadata/labels").and_then(|labels| labels.get(names::CANARY)).and_then(Value::as_str)
}

/// What a route is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The canary's weight, 0..=`whole`; the rest is stable's.
    pub weight: i32,
    /// What all the traffic weighs.
    pub whole: i32,
    /// Rules for single requests, in the order of precedence.
    pub rules: &'a [ManagedRule],
    /// Names under which such rules may be there; whatever else has one of them goes.
    pub managed: &'a [String],
}

impl Wanted<'_> {
    const fn has_traffic(&self) -> bool {
        self.weight > 0 || !self.rules.is_empty()
    }
}

/// How a route differs from what it is to be like.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What makes it so.
    pub patch: Patch,
    /// The canary's largest share before, as a part of what all the traffic weighs.
    pub from: i32,
    /// More traffic may go to the canary than before: by weight, or by a rule.
    pub raises: bool,
    /// A weight changes; otherwise only rules for single requests, or the label.
    pub moves_weights: bool,
}

/// What brings a route to what is wanted, or `None` when it is there: weights, rules and label.
///
/// Each write stands behind tests of the route's uid and of the backend's name and weight as they were seen, so that
/// an edit by somebody else in between fails the patch instead of being half overwritten. One that lets more traffic to
/// the canary also stands behind the route's generation.
pub fn change(route: &Value, kind: RouteKind, services: Services<'_>, wanted: Wanted<'_>) -> Result<Option<Change>, RouteError> {
    let splits = splits(route, services)?;
    let standing = rules::standing(route, kind, &splits, wanted);
    let Wanted { weight, whole, .. } = wanted;
    let moves_weights = !is_at(&splits, weight, whole);
    if !moves_weights && label_fits(route, wanted) && standing.fits {
        return Ok(None);
    }
    let from = canary_weight(&splits, whole);
    let raises = weight > from || standing.lacks;
    let mut operations = Vec::new();
    if let Some(uid) = route.pointer("/metadata/uid") {
        operations.push(test("/metadata/uid", uid.clone()));
    }
    // More traffic only on the very spec that was seen: the same weights may be there again for another reason.
    if let Some(generation) = route.pointer("/metadata/generation").filter(|_| raises) {
        operations.push(test("/metadata/generation", generation.clone()));
    }
    for split in splits.iter().filter(|split| !split.is_exactly(weight, whole)) {
        for (index, name, wanted) in
            [(split.canary_index, services.canary, weight), (split.stable_index, services.stable, whole - weight)]
        {
            let base = format!("/spec/rules/{}/backendRefs/{index}", split.rule);
            operations.push(test(&format!("{base}/name"), json!(name)));
            let path = format!("{base}/weight");
            if let Some(seen) = route.pointer(&path) {
                operations.push(test(&path, seen.clone()));
            }
            operations.push(PatchOperation::Add(AddOperation { path: pointer(&path), value: json!(wanted) }));
        }
    }
    rules::operations(route, standing, &mut operations);
    label_operations(route, wanted, &mut operations);
    Ok(Some(Change { patch: Patch(operations), from, raises, moves_weights }))
}

/// The wanted rules that are in the route as they are wanted.
pub fn present(
    route: &Value,
    kind: RouteKind,
    services: Services<'_>,
    wanted: Wanted<'_>,
) -> Result<Vec<ManagedRule>, RouteError> {
    let splits = splits(route, services)?;
    let is_there = |rule: &&ManagedRule| {
        let one = std::slice::from_ref(*rule);
        !rules::standing(route, kind, &splits, Wanted { rules: one, ..wanted }).lacks
    };
    Ok(wanted.rules.iter().filter(is_there).cloned().collect())
}

fn label_operations(route: &Value, wanted: Wanted<'_>, operations: &mut Vec<PatchOperation>) {
    let path = format!("/metadata/labels/{}", names::CANARY.replace('~', "~0").replace('/', "~1"));
    let labels = route.pointer("/metadata/labels").is_some_and(Value::is_object);
    match (label_of(route), wanted.has_traffic()) {
        (Some(_), false) => operations.push(PatchOperation::Remove(RemoveOperation { path: pointer(&path) })),
        (Some(names::CANARY_IN_PROGRESS), true) | (None, false) => {}
        (Some(_), true) => operations
            .push(PatchOperation::Replace(ReplaceOperation { path: pointer(&path), value: json!(names::CANARY_IN_PROGRESS) })),
        (None, true) if labels => {
            operations.push(PatchOperation::Add(AddOperation { path: pointer(&path), value: json!(names::CANARY_IN_PROGRESS) }));
        }
        (None, true) => operations.push(PatchOperation::Add(AddOperation {
            path: pointer("/metadata/labels"),
            value: json!({names::CANARY: names::CANARY_IN_PROGRESS}),
        })),
    }
}

fn test(path: &str, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: pointer(path), value })
}

/// All our paths are built from constants and indexes; a path that did not parse would test the root and fail the patch.
fn pointer(path: &str) -> PointerBuf {
    PointerBuf::parse(path).unwrap_or_default()
}

/// What copies of requests a gateway can send, as its class lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mirrors {
    /// None, or it says nothing of it.
    Nothing,
    /// Of all requests that a rule matches.
    All,
    /// Of a part of them too.
    Parts,
}

impl Mirrors {
    /// Reads `status.supportedFeatures` of a GatewayClass; older ones list plain names.
    #[must_use]
    pub fn of(class: &Value) -> Self {
        let features = class.pointer("/status/supportedFeatures").and_then(Value::as_array);
        let name = |feature: &Value| feature.get("name").unwrap_or(feature).as_str().map(str::to_owned);
        let names: Vec<String> = features.into_iter().flatten().filter_map(name).collect();
        let lists = |what: Self| names.iter().any(|name| name == what.feature());
        match (lists(Self::All), lists(Self::Parts)) {
            (true, true) => Self::Parts,
            (true, false) => Self::All,
            (false, _) => Self::Nothing,
        }
    }

    /// The feature's name in Gateway API.
    #[must_use]
    pub const fn feature(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::All => "HTTPRouteRequestMirror",
            Self::Parts => "HTTPRouteRequestPercentageMirror",
        }
    }
}

/// A Gateway that a route attaches to, as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `controllerName` of its GatewayClass.
    pub controller: String,
    /// Its condition `Programmed` is True.
    pub programmed: bool,
    /// What its class says of copies of requests.
    pub mirrors: Mirrors,
}

/// Has every gateway that the route names taken the route's present generation? If not, why.
///
/// Gateway API's own words: for each `parentRef`, the status entry of that Gateway's controller says `Accepted` and
/// `ResolvedRefs` for at least the route's generation, and the Gateway is `Programmed`.
pub fn verified(route: &Value, gateways: &[Gateway]) -> Result<(), String> {
    let empty = Vec::new();
    let generation = route.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let namespace = route.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("");
    let parents = route.pointer("/spec/parentRefs").and_then(Value::as_array).unwrap_or(&empty);
    if parents.is_empty() {
        return Err("the route has no parentRefs, so no gateway serves it".to_owned());
    }
    for parent in parents {
        if parent.get("kind").and_then(Value::as_str).unwrap_or("Gateway") != "Gateway" {
            continue; // A mesh's Service parent: its weights are the mesh's business.
        }
        let name = parent.get("name").and_then(Value::as_str).unwrap_or("");
        let in_namespace = parent.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let Some(gateway) = gateways.iter().find(|g| g.name == name && g.namespace == in_namespace) else {
            return Err(format!("Gateway {in_namespace}/{name} does not exist"));
        };
        if !gateway.programmed {
            return Err(format!("Gateway {in_namespace}/{name} is not Programmed"));
        }
        parent_verified(route, parent, gateway, namespace, generation)?;
    }
    Ok(())
}

fn parent_verified(route: &Value, parent: &Value, gateway: &Gateway, namespace: &str, generation: i64) -> Result<(), String> {
    let empty = Vec::new();
    let label = format!("Gateway {}/{}", gateway.namespace, gateway.name);
    let entries = route.pointer("/status/parents").and_then(Value::as_array).unwrap_or(&empty);
    let same = |entry: &&Value| {
        let of = entry.get("parentRef").unwrap_or(&Value::Null);
        entry.get("controllerName").and_then(Value::as_str) == Some(gateway.controller.as_str())
            && of.get("name") == parent.get("name")
            && of.get("namespace").and_then(Value::as_str).unwrap_or(namespace) == gateway.namespace
            && of.get("sectionName") == parent.get("sectionName")
            && of.get("port") == parent.get("port")
    };
    let Some(entry) = entries.iter().find(same) else {
        return Err(format!("{label} has not answered for this route yet"));
    };
    for kind in ["Accepted", "ResolvedRefs"] {
        let condition = entry
            .get("conditions")
            .and_then(Value::as_array)
            .and_then(|conditions| conditions.iter().find(|c| c.get("type").and_then(Value::as_str) == Some(kind)));
        let Some(condition) = condition else {
            return Err(format!("{label} has not said {kind} for this route yet"));
        };
        let seen = condition.get("observedGeneration").and_then(Value::as_i64).unwrap_or(0);
        if seen < generation {
            return Err(format!("{label} has seen generation {seen} of the route, not yet {generation}"));
        }
        if condition.get("status").and_then(Value::as_str) != Some("True") {
            let reason = condition.get("reason").and_then(Value::as_str).unwrap_or("no reason given");
            return Err(format!("{label} says {kind}=False for this route: {reason}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
