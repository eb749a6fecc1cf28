//! One pass for one AnalysisRun: measure what is due, record what it adds up to.

mod slo;

use futures::future::join_all;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use tokio::time::Instant;

use super::Context;
use super::error::{Error, find, within};
use super::rollout::execute::record_status;
use crate::analysis::pace::cannot_wait;
use crate::analysis::provider::{AddressPolicy, Provider};
use crate::analysis::{Taken, due, record};
use crate::api::Project;
use crate::api::analysis::{AnalysisRun, AnalysisRunStatus, RunPhase};
use crate::sync::project;

/// Looks at a run and measures what is due. Returns when to look again.
pub async fn reconcile(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Timestamp>, Error> {
    let api: Api<AnalysisRun> = Api::namespaced(ctx.client.clone(), namespace);
    let Some(run) = find("get AnalysisRun", api.get(name)).await?.filter(|r| r.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    let recorded = run.status.clone().unwrap_or_default();
    let uid = run.uid().unwrap_or_default();
    if recorded.completed_at.is_some() {
        ctx.run_statuses.drop_ahead(&uid);
        ctx.wanted.forget(&uid);
        return Ok(None);
    }
    let before = ctx.run_statuses.base(&uid, &recorded);
    let plan = due(&run.spec, &before, ctx.now());
    let taken = measure(ctx, &run, &before, &plan.metrics).await?;
    let now = ctx.now();
    let mut after = record(&run.spec, &before, &taken, now);
    after.observed_generation = run.metadata.generation;
    write_down(ctx, &run, &recorded, &after).await?;
    let due = due(&run.spec, &after, now);
    // A clock that was set back makes a metric due at once; nothing else would tell.
    Ok(if due.metrics.is_empty() { due.next } else { Some(now) })
}

/// Records a status, unless what is new in it can wait for more. What waits is written with the first measurement after
/// its time, so it needs no look of its own.
async fn write_down(
    ctx: &Context,
    run: &AnalysisRun,
    recorded: &AnalysisRunStatus,
    after: &AnalysisRunStatus,
) -> Result<(), Error> {
    let uid = run.uid().unwrap_or_default();
    let urgent = cannot_wait(recorded, after, ctx.wanted.since(&uid));
    if after == recorded || (!urgent && !ctx.run_statuses.keep(&uid, recorded, after, Instant::now()).is_zero()) {
        return Ok(());
    }
    let (namespace, name) = (run.namespace().unwrap_or_default(), run.name_any());
    let api: Api<AnalysisRun> = Api::namespaced(ctx.client.clone(), &namespace);
    record_status(&api, &name, &run.resource_version().unwrap_or_default(), after).await?;
    ctx.run_statuses.wrote(&uid, Instant::now());
    if after.phase != recorded.phase {
        let message = after.message.clone().unwrap_or_default();
        tracing::info!(phase = ?after.phase, message, "state changed");
        let warning = matches!(after.phase, RunPhase::Failed | RunPhase::Error | RunPhase::Inconclusive);
        ctx.event(run, warning, &format!("{:?}", after.phase), &message, "Analysis").await;
    }
    if after.completed_at.is_some() {
        ctx.metrics.verdict(&format!("{:?}", after.phase));
    }
    Ok(())
}

/// Takes all due measurements at once: a slow metric server must not delay the others.
async fn measure(ctx: &Context, run: &AnalysisRun, before: &AnalysisRunStatus, metrics: &[usize]) -> Result<Vec<Taken>, Error> {
    if metrics.is_empty() {
        return Ok(Vec::new());
    }
    let namespace = run.namespace().unwrap_or_default();
    let policy = address_policy(ctx, &namespace).await?;
    let due = || metrics.iter().filter_map(|index| Some((*index, run.spec.metrics.get(*index)?)));
    let evidence = if due().any(|(_, metric)| metric.slo.is_some()) { Some(slo::Subject::find(ctx, run).await?) } else { None };
    let all = due().map(|(index, metric)| {
        let (policy, evidence) = (&policy, &evidence);
        async move {
            let started_at = ctx.now();
            let outcome = match (&metric.slo, evidence) {
                (Some(slo), Some(subject)) => subject.look(ctx, policy, &run.spec, before, (metric, slo), started_at).await,
                _ => ctx.prometheus.measure(&metric.provider, policy, started_at).await,
            };
            Taken { metric: index, started_at, finished_at: ctx.now(), outcome }
        }
    });
    Ok(join_all(all).await)
}

/// Which metric servers analyses of a namespace may ask: what the Projects that list it allow.
async fn address_policy(ctx: &Context, namespace: &str) -> Result<AddressPolicy, Error> {
    let api: Api<Project> = Api::all(ctx.client.clone());
    let projects = within("list Projects", api.list(&ListParams::default())).await?;
    let specs: Vec<_> = projects.items.into_iter().map(|project| project.spec).collect();
    Ok(project::metric_addresses(&specs, namespace).map_or(AddressPolicy::AnyRemote, AddressPolicy::Listed))
}
