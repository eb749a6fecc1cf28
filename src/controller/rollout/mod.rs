//! One pass for one Rollout: observe -> decide -> execute -> record.

mod arguments;
pub mod claim;
pub mod execute;
mod metrics;
pub mod observe;

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use tokio::time::Instant;

use super::Context;
use super::error::{Error, find};
use super::queue::Why;
use super::telemetry::RolloutLabels;
use crate::api::rollout::{FailureCause, Rollout, RolloutStatus};
use crate::rollout::decide::report;
use crate::rollout::effect::{Effect, weight_in_words};
use crate::rollout::observed::Run;
use crate::rollout::spec::ValidatedRollout;
use crate::rollout::{Decision, Observed, decide, notes, spec};

/// When to look again whether a Service that another Rollout has is free: no event of this Rollout's tells.
const CLAIMED: Duration = Duration::from_secs(15);

/// A pass as the queue asks for it. Where nothing is known to be due, a glance comes first: most of them find nothing.
/// Both are large futures: boxed, they do not pile up on a stack.
pub async fn pass(ctx: &Context, namespace: &str, name: &str, why: Why) -> Result<Option<Timestamp>, Error> {
    if why != Why::Spec
        && let Glance::AtRest(next) = Box::pin(glance(ctx, namespace, name)).await?
    {
        return Ok(next);
    }
    Box::pin(reconcile(ctx, namespace, name)).await
}

/// What a look from afar comes to.
enum Glance {
    /// There is nothing to do before this.
    AtRest(Option<Timestamp>),
    /// There is, or it cannot be told from afar.
    Due,
}

/// Is there anything to do? Decided as by [`reconcile`], on reads that are at least as new as what made us look; nothing
/// is done on them.
async fn glance(ctx: &Context, namespace: &str, name: &str) -> Result<Glance, Error> {
    let api: Api<Rollout> = Api::namespaced(ctx.glancing.clone(), namespace);
    let found = find("get Rollout", api.get(name)).await?.filter(|r| r.metadata.deletion_timestamp.is_none());
    let Some(rollout) = found else { return Ok(Glance::Due) };
    let Ok(mut validated) = spec::validate(&rollout) else { return Ok(Glance::Due) };
    if claim::refusal(ctx, &rollout).await?.is_some() {
        return Ok(Glance::Due);
    }
    let recorded = rollout.status.unwrap_or_default();
    validated.status = ctx.rollout_statuses.base(&validated.uid, &recorded);
    let now = ctx.now();
    let observed = observe::glance(&ctx.glancing, &validated, now).await?;
    let decision = decide(&validated, &observed);
    if !decision.effects.is_empty() {
        return Ok(Glance::Due);
    }
    want_measurements(ctx, &validated, &observed, &decision.status);
    ctx.metrics.rollout(&RolloutLabels::new(namespace, name), &decision.status);
    match ctx.rollout_statuses.waits(&validated.uid, &recorded, Instant::now()) {
        Some(wait) if wait.is_zero() => Ok(Glance::Due),
        wait => Ok(Glance::AtRest(earlier(decision.requeue_at, wait, now))),
    }
}

/// When to look again: at `next`, or when what was held back has waited long enough.
fn earlier(next: Option<Timestamp>, wait: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
    let flush = wait.map(|wait| now.checked_add(wait).unwrap_or(now));
    next.into_iter().chain(flush).min()
}

/// Looks at a Rollout and does what is due. Returns when to look again if nothing changes.
pub async fn reconcile(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Timestamp>, Error> {
    let api: Api<Rollout> = Api::namespaced(ctx.client.clone(), namespace);
    let Some(rollout) = find("get Rollout", api.get(name)).await?.filter(|r| r.metadata.deletion_timestamp.is_none()) else {
        ctx.metrics.forget_rollout(namespace, name);
        return Ok(None);
    };
    let now = ctx.now();
    let mut validated = match spec::validate(&rollout) {
        Ok(validated) => validated,
        Err(why) => {
            invalid(ctx, &rollout, &why.to_string(), now).await?;
            return Ok(None);
        }
    };
    if let Some(why) = claim::refusal(ctx, &rollout).await? {
        invalid(ctx, &rollout, &why, now).await?;
        return Ok(now.checked_add(CLAIMED).ok());
    }
    let recorded = rollout.status.clone().unwrap_or_default();
    validated.status = ctx.rollout_statuses.base(&validated.uid, &recorded);
    let observed = observe::observe(&ctx.client, &validated, now).await?;
    let decision = decide(&validated, &observed);
    let work = Work { ctx, rollout: &rollout, validated: &validated, recorded: &recorded, decision: &decision };
    let wait = work.run().await?;
    want_measurements(ctx, &validated, &observed, &decision.status);
    ctx.metrics.rollout(&RolloutLabels::new(namespace, name), &decision.status);
    Ok(earlier(decision.requeue_at, wait, now))
}

/// At a weight that was just confirmed, the next step waits for a measurement that began at it.
fn want_measurements(ctx: &Context, rollout: &ValidatedRollout, observed: &Observed, status: &RolloutStatus) {
    let Some((canary, weights)) = status.canary.as_ref().zip(status.weights.as_ref()) else { return };
    let Some(since) = weights.verified_at.as_ref().filter(|_| weights.canary > 0) else { return };
    let attempt = |run: &&Run| run.subject.revision == canary.revision && Some(run.subject.attempt) == status.attempt;
    for run in observed.runs.iter().filter(|run| !run.is_complete() && run.subject.rollout_uid == rollout.uid).filter(attempt) {
        ctx.wanted.ask(&rollout.namespace, &run.name, &run.uid, since.0);
    }
}

/// A spec that cannot be carried out: the status says why, and nothing else happens.
async fn invalid(ctx: &Context, rollout: &Rollout, why: &str, now: Timestamp) -> Result<(), Error> {
    let (namespace, name) = (rollout.namespace().unwrap_or_default(), rollout.name_any());
    let before = rollout.status.clone().unwrap_or_default();
    let status = report::invalid(&before, rollout.metadata.generation, why, now);
    if status != before {
        let api: Api<Rollout> = Api::namespaced(ctx.client.clone(), &namespace);
        execute::record_status(&api, &name, &rollout.resource_version().unwrap_or_default(), &status).await?;
        tell(ctx, rollout, &before, &status).await;
    }
    ctx.metrics.rollout(&RolloutLabels::new(&namespace, &name), &status);
    Ok(())
}

/// A decision that is carried out.
struct Work<'a> {
    ctx: &'a Context,
    rollout: &'a Rollout,
    validated: &'a ValidatedRollout,
    recorded: &'a RolloutStatus,
    decision: &'a Decision,
}

impl Work<'_> {
    /// Carries out the effects in their order. The record is left out when all that is new in it can wait: then it says
    /// how long. An effect that raises risk was permitted by an earlier record, and carries what it expects to find.
    async fn run(&self) -> Result<Option<Duration>, Error> {
        let version = self.rollout.resource_version().unwrap_or_default();
        let executor = execute::Executor { client: &self.ctx.client, rollout: self.validated, resource_version: &version };
        let wait = self.wait();
        for effect in &self.decision.effects {
            if *effect == Effect::RecordStatus && wait.is_some() {
                continue;
            }
            executor.run(effect, &self.decision.status).await?;
            tracing::info!(effect = %describe(effect), "done");
            self.done(effect).await;
        }
        if wait.is_none() && self.decision.status != *self.recorded && !self.decision.effects.contains(&Effect::RecordStatus) {
            executor.run(&Effect::RecordStatus, &self.decision.status).await?;
            self.done(&Effect::RecordStatus).await;
        }
        Ok(wait)
    }

    /// How long the record may wait; none when there is one to be written now, or nothing to record.
    fn wait(&self) -> Option<Duration> {
        let (statuses, uid, status) = (&self.ctx.rollout_statuses, &self.validated.uid, &self.decision.status);
        if status == self.recorded {
            statuses.drop_ahead(uid);
            return None;
        }
        if !report::can_wait(self.recorded, status) {
            return None;
        }
        Some(statuses.keep(uid, self.recorded, status, Instant::now())).filter(|wait| !wait.is_zero())
    }

    async fn done(&self, effect: &Effect) {
        if *effect == Effect::RecordStatus {
            self.ctx.rollout_statuses.wrote(&self.validated.uid, Instant::now());
            tell(self.ctx, self.rollout, self.recorded, &self.decision.status).await;
        }
        if let (Effect::SetWeight { to: 0, .. }, Some(failure)) = (effect, &self.decision.status.failure)
            && failure.cause == FailureCause::AnalysisFailed
            && self.recorded.failure.as_ref().is_none_or(|known| known.id != failure.id)
        {
            self.ctx.metrics.verdict_to_weight.observe(seconds_between(failure.at.0, self.ctx.now()));
        }
    }
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
        Effect::SetWeight { route, from, to, rules, .. } => weight_in_words(route, *from, *to, rules),
        Effect::SetSelector { service, to, .. } => format!("Service {service}: selects {to}"),
        Effect::CreateReplicaSet { hash, replicas, .. } => format!("ReplicaSet of {hash}: created with {replicas} pods"),
        Effect::DressReplicaSet { name, .. } => format!("ReplicaSet {name}: metadata, affinity or minReadySeconds changed"),
        Effect::DressPod { name, .. } => format!("pod {name}: metadata changed"),
        Effect::EvictPod { name, .. } => format!("pod {name}: eviction asked for"),
        Effect::NumberReplicaSet { name, revision, .. } => format!("ReplicaSet {name}: revision {revision}"),
        Effect::ScaleReplicaSet { name, from, to, .. } => format!("ReplicaSet {name}: {from} -> {to} pods"),
        Effect::DeleteReplicaSet { name, .. } => format!("ReplicaSet {name}: deleted"),
        Effect::RestoreTemplate { hash, .. } => format!("Rollout: template of {hash} written"),
        Effect::CreateRun { name, .. } => format!("AnalysisRun {name}: created"),
        Effect::TerminateRun { name, reason, .. } => format!("AnalysisRun {name}: ended, {reason}"),
        Effect::DeleteRun { name, .. } => format!("AnalysisRun {name}: deleted"),
    }
}
