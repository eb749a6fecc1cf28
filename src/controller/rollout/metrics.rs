//! Metrics of the background analysis and of each analysis step, resolved from their templates.

use std::collections::BTreeMap;

use kube::Client;
use kube::api::Api;
use serde_json::Value;

use super::arguments;
use crate::analysis::{Arm, Arms, Purpose, ResolveContext, Template, resolve};
use crate::api::analysis::{AnalysisTemplate, Argument, ClusterAnalysisTemplate, Metric};
use crate::api::rollout::RouteId;
use crate::controller::error::{Error, find};
use crate::rollout::spec::{Analysis, Step, ValidatedRollout};
use crate::traffic::gateway::{self, Services};

/// The metrics, or why they cannot be resolved.
pub type Resolved = Result<Vec<Metric>, String>;

/// A template as it was found.
pub struct Source {
    name: String,
    args: Vec<Argument>,
    metrics: Vec<Metric>,
}

/// The templates of one analysis, or which one does not exist.
type Found = Result<Vec<Source>, String>;

/// The templates of the background analysis, and of each analysis step by its index.
pub type Sources = (Option<Found>, BTreeMap<usize, Found>);

/// Reads the templates. Nothing of a Rollout whose spec is what is stable is ever measured.
pub async fn sources(client: &Client, rollout: &ValidatedRollout) -> Result<Sources, Error> {
    if rollout.status.stable.as_ref().is_some_and(|stable| stable.digest == rollout.digest) {
        return Ok((None, BTreeMap::new()));
    }
    let background = match &rollout.background {
        Some(background) => Some(find_templates(client, rollout, &background.analysis).await?),
        None => None,
    };
    let mut steps = BTreeMap::new();
    for (index, step) in rollout.steps.iter().enumerate() {
        if let Step::Analysis(analysis) = step {
            steps.insert(index, find_templates(client, rollout, analysis).await?);
        }
    }
    Ok((background, steps))
}

async fn find_templates(client: &Client, rollout: &ValidatedRollout, analysis: &Analysis) -> Result<Found, Error> {
    let mut sources = Vec::new();
    for reference in &analysis.templates {
        let name = &reference.template_name;
        let found = if reference.cluster_scope {
            let api: Api<ClusterAnalysisTemplate> = Api::all(client.clone());
            let found = find(&format!("get ClusterAnalysisTemplate {name}"), api.get(name)).await?;
            found.map(|template| (template.spec.args, template.spec.metrics))
        } else {
            let api: Api<AnalysisTemplate> = Api::namespaced(client.clone(), &rollout.namespace);
            let found = find(&format!("get AnalysisTemplate {name}"), api.get(name)).await?;
            found.map(|template| (template.spec.args, template.spec.metrics))
        };
        let kind = if reference.cluster_scope { "ClusterAnalysisTemplate" } else { "AnalysisTemplate" };
        let Some((args, metrics)) = found else { return Ok(Err(format!("{kind} {name} does not exist"))) };
        sources.push(Source { name: name.clone(), args, metrics });
    }
    Ok(Ok(sources))
}

/// Makes metrics of them.
pub fn resolved(
    rollout: &ValidatedRollout,
    (background, steps): Sources,
    routes: &[(RouteId, Option<Value>)],
) -> Result<(Option<Resolved>, BTreeMap<usize, Resolved>), Error> {
    let arms = arms(rollout, routes);
    let of_background = |found| {
        let analysis = rollout.background.as_ref().map(|background| &background.analysis);
        resolve_one(rollout, analysis, found, &arms, Purpose::Background)
    };
    let background = background.map(of_background).transpose()?;
    let of_step = |(index, found)| {
        let analysis = match rollout.steps.get(index) {
            Some(Step::Analysis(analysis)) => Some(analysis),
            _ => None,
        };
        let bounded = analysis.is_some_and(|analysis| analysis.at_most.is_some());
        Ok((index, resolve_one(rollout, analysis, found, &arms, Purpose::Step { bounded })?))
    };
    let steps = steps.into_iter().map(of_step).collect::<Result<_, Error>>()?;
    Ok((background, steps))
}

/// What the placeholders of canary and stable stand for.
fn arms(rollout: &ValidatedRollout, routes: &[(RouteId, Option<Value>)]) -> Arms {
    let services = Services { stable: &rollout.stable_service, canary: &rollout.canary_service };
    let (canary_port, stable_port) =
        routes.iter().find_map(|(_, route)| gateway::ports(route.as_ref()?, services)).unwrap_or((None, None));
    let arm = |service: &str, port: Option<i64>, hash: &str| Arm {
        service: service.to_owned(),
        port,
        hash: hash.to_owned(),
        replica_set: rollout.replica_set_name(hash),
    };
    let stable = rollout.status.stable.as_ref().map_or("", |stable| &stable.hash);
    Arms {
        canary: arm(&rollout.canary_service, canary_port, &rollout.hash),
        stable: arm(&rollout.stable_service, stable_port, stable),
    }
}

fn resolve_one(
    rollout: &ValidatedRollout,
    analysis: Option<&Analysis>,
    found: Found,
    arms: &Arms,
    purpose: Purpose,
) -> Result<Resolved, Error> {
    let (Some(analysis), Ok(sources)) = (analysis, &found) else {
        return Ok(found.map(|_| Vec::new()));
    };
    let templates: Vec<Template<'_>> =
        sources.iter().map(|source| Template { name: &source.name, args: &source.args, metrics: &source.metrics }).collect();
    let args = match arguments::valued(rollout, arms, &analysis.args) {
        Ok(args) => args,
        Err(why) => return Ok(Err(why)),
    };
    let context = ResolveContext { rollout: &rollout.name, namespace: &rollout.namespace, arms, purpose };
    match resolve(&templates, &args, &context) {
        // This machine was too busy to read a condition in time; that says nothing about the spec.
        Err(error) if error.is_transient() => {
            Err(Error::Other { what: "resolve an analysis".to_owned(), why: error.to_string() })
        }
        resolved => Ok(resolved.map_err(|error| error.to_string())),
    }
}
