//! Rules that steps add to the routes.

use super::names::is_object_name;
use super::{SpecError, Step, ValidatedRollout, refuse};
use crate::api::rollout::{Canary, HeaderMatch, SetHeaderRoute, is_managed_rule, percent};
use crate::traffic::gateway::HeaderRule;

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

/// Reads a `setHeaderRoute` step; `field` is its path.
pub(super) fn header_route(field: &str, step: &SetHeaderRoute, managed: &[String]) -> Result<HeaderRule, SpecError> {
    if !managed.contains(&step.name) {
        let known = if managed.is_empty() { "there are none".to_owned() } else { managed.join(", ") };
        let allowed = format!("must be one of trafficRouting.managedRoutes: {known}");
        return refuse(&format!("{field}.name"), format!("'{}'", step.name.escape_debug()), &allowed);
    }
    for (index, header) in step.matches.iter().enumerate() {
        let value = &header.header_value;
        let values = [&value.exact, &value.prefix, &value.regex].into_iter().flatten().count();
        if values != 1 {
            let field = format!("{field}.match[{index}].headerValue");
            return refuse(&field, format!("{values} of them"), "must have exactly one of exact, prefix, regex");
        }
        let same = |other: &HeaderMatch| other.header_name.eq_ignore_ascii_case(&header.header_name);
        if step.matches[..index].iter().any(same) {
            let field = format!("{field}.match[{index}].headerName");
            return refuse(&field, format!("'{}' again", header.header_name.escape_debug()), "must name each header once");
        }
    }
    Ok(HeaderRule { name: step.name.clone(), headers: step.matches.clone() })
}

impl ValidatedRollout {
    /// A weight in percent, for people.
    #[must_use]
    pub fn percent(&self, weight: i32) -> String {
        percent(weight, self.whole)
    }

    /// The rules in force at a step, in the order of precedence: of each name, what the last `setHeaderRoute` up to it asks
    /// for. None after the last step, and none for a Rollout without pods.
    #[must_use]
    pub fn rules_at(&self, index: usize) -> Vec<HeaderRule> {
        if index >= self.steps.len() || self.replicas == 0 {
            return Vec::new();
        }
        let last = |name: &String| {
            let earlier = self.steps[..=index].iter().rev();
            let mut rules = earlier.filter_map(|step| if let Step::SetHeaderRoute(rule) = step { Some(rule) } else { None });
            rules.find(|rule| rule.name == *name).filter(|rule| !rule.headers.is_empty()).cloned()
        };
        self.managed.iter().filter_map(last).collect()
    }
}
