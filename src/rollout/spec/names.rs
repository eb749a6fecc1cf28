//! Names that a Rollout gives to other objects.

use super::{SpecError, refuse};
use crate::api::rollout::{Canary, RouteKind};

/// Names become parts of paths of requests that are made with the controller's rights: `web/status` or `web?x` would name
/// something else than an object of the kind that is meant.
pub(super) fn check(canary: &Canary) -> Result<(), SpecError> {
    let field = "spec.strategy.canary";
    let gateway = canary.traffic_routing.as_ref().map(|routing| &routing.gateway_api);
    let routes = gateway.into_iter().flat_map(|gateway| RouteKind::ALL.map(|kind| (kind.field(), gateway.of(kind))));
    let services = [("stableService", &canary.stable_service), ("canaryService", &canary.canary_service)];
    for (key, name) in services {
        if name.is_none() && canary.traffic_routing.is_some() {
            return refuse(&format!("{field}.{key}"), "none", "trafficRouting needs it, because it sets that Service's weight");
        }
    }
    if canary.stable_service.is_some() && canary.stable_service == canary.canary_service {
        let found = format!("'{}' is stableService too", canary.canary_service.as_deref().unwrap_or(""));
        return refuse(&format!("{field}.canaryService"), found, "must be another Service");
    }
    let names = services.into_iter().filter_map(|(key, name)| Some((format!("{field}.{key}"), name.as_ref()?)));
    let routes = routes.flat_map(|(key, routes)| {
        let field = format!("{field}.trafficRouting.gatewayAPI.{key}");
        routes.iter().enumerate().map(move |(index, route)| (format!("{field}[{index}].name"), &route.name))
    });
    let background = canary.analysis.iter().map(|analysis| (format!("{field}.analysis"), &analysis.templates));
    let steps = canary.steps.iter().enumerate();
    let steps =
        steps.filter_map(|(index, step)| Some((format!("{field}.steps[{index}].analysis"), &step.analysis.as_ref()?.templates)));
    let templates = background.chain(steps).flat_map(|(field, templates)| {
        let named = templates.iter().enumerate();
        named.map(move |(index, template)| (format!("{field}.templates[{index}].templateName"), &template.template_name))
    });
    for (field, name) in names.chain(routes).chain(templates) {
        if !is_object_name(name) {
            let found = format!("'{}'", name.chars().filter(|c| !c.is_control()).take(63).collect::<String>());
            return refuse(
                &field,
                found,
                "must be a name of lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
            );
        }
    }
    Ok(())
}

/// A DNS subdomain (RFC 1123), which names of objects are.
pub(super) fn is_object_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        !label.is_empty() && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// An annotation is anybody's to write; only what looks like a commit id is taken over into status.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}
