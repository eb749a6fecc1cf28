//! Parse, don't validate: the engine takes a [`ValidatedRollout`] and nothing else.
//!
//! The API server's schema refuses most nonsense before us; what it cannot see (the template is free-form JSON)
//! is refused here, with the field, what was found and what is allowed.

mod life;
mod names;
mod routing;
mod sizes;
mod step;
mod wardrobe;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::names::COMMIT;
use crate::api::request::RolloutRequest;
use crate::api::rollout::{Canary, Rollout, RolloutStatus, RouteId, TrafficRouting};
use crate::api::{Percent, Time};
use crate::manifest::digest;
use crate::rollout::replicas::Bounds;

pub use life::Life;
pub use sizes::Sizing;
pub use step::{Analysis, Background, CanaryScale, Step};
pub use wardrobe::Wardrobe;

/// Argo Rollouts' default for both scale-down delays.
const DEFAULT_SCALE_DOWN_DELAY: std::time::Duration = std::time::Duration::from_secs(30);

/// A Rollout that can be carried out, with its status as recorded.
#[derive(Clone, Debug)]
pub struct ValidatedRollout {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Git commit of the template, from the annotation that sync writes.
    pub commit: Option<String>,
    /// Wanted pods of the stable revision.
    pub replicas: i32,
    /// Labels that select the Rollout's pods.
    pub selector: BTreeMap<String, String>,
    /// The pod template as written.
    pub template: Value,
    /// Identity of the template.
    pub digest: String,
    /// Its short form, in names and labels.
    pub hash: String,
    /// How many old ReplicaSets are kept.
    pub history_limit: usize,
    /// Name of the stable Service; empty where the spec names none, which it may without a router.
    pub stable_service: String,
    /// Name of the canary Service; empty likewise.
    pub canary_service: String,
    /// A router splits the traffic; without one, the pods do.
    pub routed: bool,
    /// What all the traffic weighs, 1..=1,000,000; weights are parts of it.
    pub whole: i32,
    /// The routes.
    pub routes: Vec<RouteId>,
    /// Names of the rules that steps may add to the routes, in the order of precedence.
    pub managed: Vec<String>,
    /// How many pods there may be, and must be, while pods are exchanged without a router.
    pub bounds: Bounds,
    /// How many pods each side has beside a router.
    pub sizing: Sizing,
    /// What pods wear by their role.
    pub wardrobe: Wardrobe,
    /// `spec.restartAt`; see [`ValidatedRollout::restart_at`].
    restart_at: Option<Time>,
    /// The steps.
    pub steps: Vec<Step>,
    /// Identity of the steps: changed steps start again at 0.
    pub steps_digest: String,
    /// Analysis in the background.
    pub background: Option<Background>,
    /// How long an old stable ReplicaSet is kept after promotion.
    pub scale_down_delay: std::time::Duration,
    /// How long an aborted canary's pods are kept; none keeps them.
    pub abort_scale_down_delay: Option<std::time::Duration>,
    /// What bounds a rollout.
    pub life: Life,
    /// A person's command.
    pub request: Option<RolloutRequest>,
    /// The status as recorded.
    pub status: RolloutStatus,
}

/// Why a Rollout cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {found}; {allowed}")]
pub struct SpecError {
    /// Path of the field.
    pub field: String,
    /// What it has.
    pub found: String,
    /// What it may have.
    pub allowed: String,
}

fn refuse<T>(field: &str, found: impl Into<String>, allowed: &str) -> Result<T, SpecError> {
    Err(SpecError { field: field.to_owned(), found: found.into(), allowed: allowed.to_owned() })
}

impl ValidatedRollout {
    /// Is this hash the spec's template?
    #[must_use]
    pub fn is_target(&self, hash: &str) -> bool {
        self.hash == hash
    }

    /// Pods of stable that are older than this are restarted: the later of what the spec says and of what a person asked
    /// for by command, as recorded in `status`.
    #[must_use]
    pub fn restart_at(&self, status: &RolloutStatus) -> Option<Time> {
        self.restart_at.clone().max(status.restart_requested_at.clone())
    }

    /// Name of the ReplicaSet of a revision.
    #[must_use]
    pub fn replica_set_name(&self, hash: &str) -> String {
        format!("{}-{hash}", self.name)
    }

    /// The weight in force at a step: that of the last `setWeight` up to it, all of it after the last step, and always 0
    /// for a Rollout without pods.
    #[must_use]
    pub fn weight_at(&self, index: usize) -> i32 {
        if self.replicas == 0 {
            return 0;
        }
        if index >= self.steps.len() {
            return self.whole;
        }
        let earlier = self.steps.iter().take(index + 1).rev();
        earlier.into_iter().find_map(|step| if let Step::SetWeight(weight) = step { Some(*weight) } else { None }).unwrap_or(0)
    }
}

/// Reads a Rollout as the API server gave it.
pub fn validate(rollout: &Rollout) -> Result<ValidatedRollout, SpecError> {
    let spec = &rollout.spec;
    let canary = &spec.strategy.canary;
    check_template(&spec.template, &spec.selector.match_labels)?;
    if !(0..=10_000).contains(&spec.replicas) {
        return refuse("spec.replicas", spec.replicas.to_string(), "must be between 0 and 10000");
    }
    names::check(canary)?;
    let routes: Vec<RouteId> = canary.routes().collect();
    if routes.is_empty() && canary.traffic_routing.is_some() {
        let allowed = "must name at least one route, in httpRoutes or grpcRoutes";
        return refuse("spec.strategy.canary.trafficRouting.gatewayAPI", "no route", allowed);
    }
    let whole = routing::whole(canary)?;
    let managed = routing::managed(canary)?;
    routing::mirrors_somewhere(canary)?;
    let steps = canary.steps.iter().enumerate().map(|(index, step)| step::parse(index, step, whole, &managed));
    let steps = steps.collect::<Result<Vec<_>, _>>()?;
    let background = canary.analysis.as_ref().map(|background| {
        let field = "spec.strategy.canary.analysis";
        let analysis = Analysis::parse(field, &background.templates, &background.args, &background.dry_run)?;
        let starting_step = usize::try_from(background.starting_step.unwrap_or(0)).unwrap_or(0);
        let confidence = sure(&format!("{field}.confidence"), background.confidence, Background::CONFIDENCE)?;
        let accept = sure(&format!("{field}.accept"), background.accept, Background::ACCEPT)?;
        Ok(Background { analysis, starting_step, confidence, accept })
    });
    let background = background.transpose()?;
    let template_digest = digest::template_digest(&spec.template);
    let abort_delay = canary.abort_scale_down_delay_seconds.map_or(DEFAULT_SCALE_DOWN_DELAY, |d| d.std());
    let meta = &rollout.metadata;
    Ok(ValidatedRollout {
        name: meta.name.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or(0),
        labels: meta.labels.clone().unwrap_or_default(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        commit: meta.annotations.as_ref().and_then(|a| a.get(COMMIT)).filter(|c| names::is_commit(c)).cloned(),
        replicas: spec.replicas,
        selector: spec.selector.match_labels.clone(),
        template: spec.template.clone(),
        hash: digest::template_hash(&template_digest),
        digest: template_digest,
        history_limit: usize::try_from(spec.revision_history_limit).unwrap_or(0),
        stable_service: canary.stable_service.clone().unwrap_or_default(),
        canary_service: canary.canary_service.clone().unwrap_or_default(),
        routed: canary.traffic_routing.is_some(),
        whole,
        routes,
        managed,
        bounds: sizes::bounds(spec)?,
        sizing: sizes::sizing(spec)?,
        wardrobe: wardrobe::read(spec)?,
        restart_at: spec.restart_at.clone(),
        steps_digest: steps_digest(canary),
        steps,
        background,
        scale_down_delay: canary.scale_down_delay_seconds.map_or(DEFAULT_SCALE_DOWN_DELAY, |d| d.std()),
        abort_scale_down_delay: Some(abort_delay).filter(|delay| !delay.is_zero()),
        life: life::parse(rollout)?,
        request: spec.request.clone(),
        status: rollout.status.clone().unwrap_or_default(),
    })
}

/// Identity of the steps. The same numbers are other weights where all the traffic weighs something else.
fn steps_digest(canary: &Canary) -> String {
    let mut steps = serde_json::to_value(&canary.steps).unwrap_or_default();
    if canary.whole() != TrafficRouting::WHOLE {
        steps = json!({"steps": steps, "maxTrafficWeight": canary.whole()});
    }
    digest::template_digest(&steps)
}

/// How sure something has to be: more than chance, and less than certain.
fn sure(field: &str, given: Option<Percent>, default: Percent) -> Result<Percent, SpecError> {
    let percent = given.unwrap_or(default);
    if !(0.5..=0.999_999).contains(&percent.ratio()) {
        return refuse(field, percent.to_string(), "must be between 50% and 99.9999%");
    }
    Ok(percent)
}

/// What a ReplicaSet needs of a template before the API server is asked.
fn check_template(template: &Value, selector: &BTreeMap<String, String>) -> Result<(), SpecError> {
    if selector.is_empty() {
        return refuse("spec.selector.matchLabels", "empty", "must have at least one label");
    }
    let labels = template.pointer("/metadata/labels");
    for (key, value) in selector {
        let found = labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        if found != Some(value.as_str()) {
            let found = found.map_or_else(|| "no such label".to_owned(), |found| format!("'{found}'"));
            let field = format!("spec.template.metadata.labels['{key}']");
            return refuse(&field, found, &format!("spec.selector.matchLabels asks for '{value}'"));
        }
    }
    match template.pointer("/spec/containers").and_then(Value::as_array) {
        Some(containers) if !containers.is_empty() => Ok(()),
        _ => refuse("spec.template.spec.containers", "none", "must have at least one container"),
    }
}

#[cfg(test)]
mod tests;
