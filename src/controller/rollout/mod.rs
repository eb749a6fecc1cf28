//! One pass for one Rollout: observe -> decide -> execute -> record.

pub mod execute;
pub mod observe;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;

use super::Context;
use super::error::{Error, find};
use super::telemetry::RolloutLabels;
use crate::api::rollout::{FailureCause, Rollout, RolloutStatus};
use crate::rollout::decide::report;
use crate::rollout::effect::Effect;
use crate::rollout::{decide, notes, spec};

/// Looks at a Rollout and does what is due. Returns when to look again if nothing changes.
pub async fn reconcile(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Timestamp>, Error> {
    let api: Api<Rollout> = Api::namespaced(ctx.client.clone(), namespace);
    let Some(rollout) = find("get Rollout", api.get(name)).await?.filter(|r| r.metadata.deletion_timestamp.is_none()) else {
        ctx.metrics.forget_rollout(namespace, name);
        return Ok(None);
    };
    let now = ctx.now();
    let version = rollout.resource_version().unwrap_or_default();
    let before = rollout.status.clone().unwrap_or_default();
    let validated = match spec::validate(&rollout) {
        Ok(validated) => validated,
        Err(why) => {
            let status = report::invalid(&before, rollout.metadata.generation, &why.to_string(), now);
            if status != before {
                execute::record_status(&api, name, &version, &status).await?;
                tell(ctx, &rollout, &before, &status).await;
            }
            ctx.metrics.rollout(&RolloutLabels::new(namespace, name), &status);
            return Ok(None);
        }
    };
    let observed = observe::observe(&ctx.client, &validated, now).await?;
    let decision = decide(&validated, &observed);
    let executor = execute::Executor { client: &ctx.client, rollout: &validated, resource_version: &version };
    for effect in &decision.effects {
        executor.run(effect, &decision.status).await?;
        tracing::info!(effect = %describe(effect), "done");
        if *effect == Effect::RecordStatus {
            tell(ctx, &rollout, &before, &decision.status).await;
        }
        if let (Effect::SetWeight { to: 0, .. }, Some(failure)) = (effect, &decision.status.failure)
            && failure.cause == FailureCause::AnalysisFailed
            && before.failure.as_ref().is_none_or(|known| known.id != failure.id)
        {
            ctx.metrics.verdict_to_weight.observe(seconds_between(failure.at.0, ctx.now()));
        }
    }
    ctx.metrics.rollout(&RolloutLabels::new(namespace, name), &decision.status);
    Ok(decision.requeue_at)
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// Events and counters of a change that was recorded.
async fn tell(ctx: &Context, rollout: &Rollout, before: &RolloutStatus, after: &RolloutStatus) {
    if after.stable != before.stable && before.stable.is_some() {
        ctx.metrics.completed("promoted");
    }
    if after.abort && !before.abort {
        ctx.metrics.completed("aborted");
    }
    for note in notes::between(before, after) {
        tracing::info!(reason = note.reason, message = note.message, "state changed");
        ctx.event(rollout, note.warning, &note.reason, &note.message, "Rollout").await;
    }
}

/// An effect for the log: what and to what, never whole objects.
fn describe(effect: &Effect) -> String {
    match effect {
        Effect::RecordStatus => "record status".to_owned(),
        Effect::SetWeight { route, from, to, .. } => format!("HTTPRoute {route}: canary weight {from} -> {to}"),
        Effect::SetSelector { service, to, .. } => format!("Service {service}: selects {to}"),
        Effect::CreateReplicaSet { hash, replicas, .. } => format!("ReplicaSet of {hash}: created with {replicas} pods"),
        Effect::NumberReplicaSet { name, revision, .. } => format!("ReplicaSet {name}: revision {revision}"),
        Effect::ScaleReplicaSet { name, from, to, .. } => format!("ReplicaSet {name}: {from} -> {to} pods"),
        Effect::DeleteReplicaSet { name, .. } => format!("ReplicaSet {name}: deleted"),
        Effect::CreateRun { name, .. } => format!("AnalysisRun {name}: created"),
        Effect::TerminateRun { name, reason, .. } => format!("AnalysisRun {name}: ended, {reason}"),
        Effect::DeleteRun { name, .. } => format!("AnalysisRun {name}: deleted"),
    }
}
