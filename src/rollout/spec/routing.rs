//! Rules that steps add to the routes.

use super::names::is_object_name;
use super::{SpecError, Step, ValidatedRollout, refuse};
use crate::api::rollout::{Canary, HeaderMatch, RouteKind, SetHeaderRoute, SetMirrorRoute, is_managed_rule, percent};
use crate::traffic::gateway::{Directs, ManagedRule};

/// Reads `maxTrafficWeight`. The most is what Gateway API allows for one backend.
pub(super) fn whole(canary: &Canary) -> Result<i32, SpecError> {
    let whole = canary.whole();
    if !(1..=1_000_000).contains(&whole) {
        let field = "spec.strategy.canary.trafficRouting.maxTrafficWeight";
        return refuse(field, whole.to_string(), "must be between 1 and 1000000");
    }
    Ok(whole)
}

/// Reads `managedRoutes`. No name may be taken for the copy of another one's rule.
pub(super) fn managed(canary: &Canary) -> Result<Vec<String>, SpecError> {
    let names: Vec<String> = canary.managed_routes().map(str::to_owned).collect();
    for (index, name) in names.iter().enumerate() {
        let field = format!("spec.strategy.canary.trafficRouting.managedRoutes[{index}].name");
        if name.len() > 50 || name.contains('.') || !is_object_name(name) {
            let found = format!("'{}'", name.escape_debug());
            return refuse(
                &field,
                found,
                "must be at most 50 lower-case letters, digits and '-', with a letter or digit at both ends",
            );
        }
        let others: Vec<String> =
            names.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, name)| name.clone()).collect();
        if is_managed_rule(name, &others) {
            let allowed = "must differ from the other names, also from a '<name>-2' that a second rule is called";
            return refuse(&field, format!("'{name}'"), allowed);
        }
    }
    Ok(names)
}

fn managed_name(field: &str, name: &str, managed: &[String]) -> Result<String, SpecError> {
    if managed.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let known = if managed.is_empty() { "there are none".to_owned() } else { managed.join(", ") };
    let allowed = format!("must be one of trafficRouting.managedRoutes: {known}");
    refuse(&format!("{field}.name"), format!("'{}'", name.escape_debug()), &allowed)
}

fn one_of(field: &str, ways: [&Option<String>; 3]) -> Result<(), SpecError> {
    match ways.into_iter().flatten().count() {
        1 => Ok(()),
        given => refuse(field, format!("{given} of them"), "must have exactly one of exact, prefix, regex"),
    }
}

/// Reads a `setHeaderRoute` step; `field` is its path.
pub(super) fn header_route(field: &str, step: &SetHeaderRoute, managed: &[String]) -> Result<ManagedRule, SpecError> {
    let name = managed_name(field, &step.name, managed)?;
    for (index, header) in step.matches.iter().enumerate() {
        let value = &header.header_value;
        one_of(&format!("{field}.match[{index}].headerValue"), [&value.exact, &value.prefix, &value.regex])?;
        let same = |other: &HeaderMatch| other.header_name.eq_ignore_ascii_case(&header.header_name);
        if step.matches[..index].iter().any(same) {
            let field = format!("{field}.match[{index}].headerName");
            return refuse(&field, format!("'{}' again", header.header_name.escape_debug()), "must name each header once");
        }
    }
    let what = if step.matches.is_empty() { Directs::Nothing } else { Directs::ByHeader(step.matches.clone()) };
    Ok(ManagedRule { name, what })
}

/// Reads a `setMirrorRoute` step; `field` is its path.
pub(super) fn mirror_route(field: &str, step: &SetMirrorRoute, managed: &[String]) -> Result<ManagedRule, SpecError> {
    let name = managed_name(field, &step.name, managed)?;
    let percentage = step.percentage.unwrap_or(100);
    if !(1..=100).contains(&percentage) {
        return refuse(&format!("{field}.percentage"), percentage.to_string(), "must be between 1 and 100");
    }
    for (index, one) in step.matches.iter().enumerate() {
        let field = format!("{field}.match[{index}]");
        if one.method.is_none() && one.path.is_none() && one.headers.is_empty() {
            return refuse(&field, "nothing", "must have at least one of method, path, headers");
        }
        let headers = one.headers.iter().map(|(name, text)| (format!("headers[{}]", name.escape_debug()), text));
        for (key, text) in one.path.iter().map(|path| ("path".to_owned(), path)).chain(headers) {
            one_of(&format!("{field}.{key}"), [&text.exact, &text.prefix, &text.regex])?;
        }
        let paths = one.path.iter().flat_map(|path| [&path.exact, &path.prefix]).flatten();
        if let Some(path) = paths.into_iter().find(|path| !path.starts_with('/')) {
            return refuse(&format!("{field}.path"), format!("'{}'", path.escape_debug()), "must begin with '/'");
        }
    }
    let of = step.matches.clone();
    let what = if of.is_empty() { Directs::Nothing } else { Directs::Mirrored { of, percentage } };
    Ok(ManagedRule { name, what })
}

/// Copies of requests are a matter of HTTPRoutes: without one, nothing would ever be mirrored.
pub(super) fn mirrors_somewhere(canary: &Canary) -> Result<(), SpecError> {
    let step = canary.steps.iter().position(|step| step.set_mirror_route.is_some());
    match step {
        Some(index) if !canary.routes().any(|route| route.kind == RouteKind::Http) => {
            let field = format!("spec.strategy.canary.steps[{index}].setMirrorRoute");
            refuse(&field, "no HTTPRoute", "needs trafficRouting.gatewayAPI.httpRoutes")
        }
        _ => Ok(()),
    }
}

impl ValidatedRollout {
    /// A weight in percent, for people.
    #[must_use]
    pub fn percent(&self, weight: i32) -> String {
        percent(weight, self.whole)
    }

    /// The rules in force at a step, in the order of precedence: of each name, what the last step for it up to it asks
    /// for. None after the last step, and none for a Rollout without pods.
    #[must_use]
    pub fn rules_at(&self, index: usize) -> Vec<ManagedRule> {
        if index >= self.steps.len() || self.replicas == 0 {
            return Vec::new();
        }
        let last = |name: &String| {
            let earlier = self.steps[..=index].iter().rev();
            let mut rules = earlier.filter_map(Step::rule);
            rules.find(|rule| rule.name == *name).filter(|rule| rule.what != Directs::Nothing).cloned()
        };
        self.managed.iter().filter_map(last).collect()
    }
}
