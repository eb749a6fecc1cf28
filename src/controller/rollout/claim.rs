//! Whether another Rollout has a Service that this one names.

use kube::ResourceExt;
use kube::api::Api;

use k8s_openapi::api::core::v1::Service;

use crate::api::names;
use crate::api::rollout::Rollout;
use crate::controller::Context;
use crate::controller::error::{Error, find};
use crate::controller::queue::Key;
use crate::controller::watch::known::SERVICES;
use crate::rollout::claim;

/// Why this Rollout cannot be carried out, when another one has a Service that it names. Asks the API server only where
/// the watches know of such a one.
pub async fn refusal(ctx: &Context, rollout: &Rollout) -> Result<Option<String>, Error> {
    let (namespace, name) = (rollout.namespace().unwrap_or_default(), rollout.name_any());
    let canary = &rollout.spec.strategy.canary;
    for service in [&canary.stable_service, &canary.canary_service].into_iter().flatten() {
        let others = ctx.known().who(SERVICES, &Key::new(&namespace, service));
        for other in others.iter().filter(|other| *other.name != *name) {
            if let Some(why) = between(ctx, rollout, service, &other.name).await? {
                return Ok(Some(why));
            }
        }
    }
    Ok(None)
}

async fn between(ctx: &Context, rollout: &Rollout, service: &str, other: &str) -> Result<Option<String>, Error> {
    let namespace = rollout.namespace().unwrap_or_default();
    let rollouts: Api<Rollout> = Api::namespaced(ctx.client.clone(), &namespace);
    let services: Api<Service> = Api::namespaced(ctx.client.clone(), &namespace);
    let found = find("get Rollout", rollouts.get(other)).await?.filter(|found| found.metadata.deletion_timestamp.is_none());
    let Some(other) = found.filter(|found| claim::field(found, service).is_some()) else { return Ok(None) };
    let found = find("get Service", services.get(service)).await?;
    let selector = found.and_then(|service| service.spec).and_then(|spec| spec.selector);
    let selects = selector.as_ref().and_then(|selector| selector.get(names::POD_TEMPLATE_HASH));
    if !claim::yields(rollout, &other, selects.map(String::as_str)) {
        return Ok(None);
    }
    let field = claim::field(rollout, service).unwrap_or_default();
    Ok(Some(format!(
        "spec.strategy.canary.{field}: '{service}' is a Service of the Rollout '{}' already; each Rollout needs Services of its own",
        other.name_any()
    )))
}
