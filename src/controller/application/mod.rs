//! One pass for one Application: first what failed rollouts owe to Git, then fetch, render, apply, look, record.

pub mod polls;
pub mod report;
pub mod source;
pub mod sync;
mod withdraw;
pub mod write_back;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::Context;
use super::error::{Error, find, within};
use super::rollout::execute::record_status;
use crate::api::application::{Application, ApplicationStatus};
use crate::api::condition::{self, application as reasons};
use crate::api::names;
use crate::api::rollout::Rollout;
use crate::sync::inventory::Inventory;
use crate::sync::own::Owner;

/// An Application in the middle of a pass.
#[derive(Debug)]
pub struct Work {
    /// The object as read.
    pub app: Application,
    /// The status as it will be recorded.
    pub status: ApplicationStatus,
    /// Its identity.
    pub owner: Owner,
    /// resourceVersion of the last write or read.
    version: String,
    recorded: ApplicationStatus,
}

impl Work {
    fn new(app: Application) -> Self {
        let owner =
            Owner { namespace: app.namespace().unwrap_or_default(), name: app.name_any(), uid: app.uid().unwrap_or_default() };
        let status = app.status.clone().unwrap_or_default();
        let version = app.resource_version().unwrap_or_default();
        Self { recorded: status.clone(), status, owner, version, app }
    }

    /// Sets a condition.
    pub fn condition(&mut self, kind: &str, status: bool, reason: &str, message: &str, now: Timestamp) {
        condition::set(&mut self.status.conditions, kind, status, reason, message, self.app.metadata.generation, now);
    }

    /// Writes the status if it changed, by compare-and-swap, and goes on from what was written.
    pub async fn record(&mut self, ctx: &Context) -> Result<(), Error> {
        if self.status == self.recorded {
            return Ok(());
        }
        let api: Api<Application> = Api::namespaced(ctx.client.clone(), &self.owner.namespace);
        record_status(&api, &self.owner.name, &self.version, &self.status).await?;
        let written = within("get Application", api.get(&self.owner.name)).await?;
        if written.status.as_ref() != Some(&self.status) {
            return Err(Error::Changed { what: format!("record the status of {}", self.owner.name) });
        }
        self.version = written.resource_version().unwrap_or_default();
        self.recorded = self.status.clone();
        Ok(())
    }
}

/// Looks at an Application and does what is due. Returns when to look again.
pub async fn reconcile(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Timestamp>, Error> {
    let api: Api<Application> = Api::namespaced(ctx.client.clone(), namespace);
    let Some(app) = find("get Application", api.get(name)).await?.filter(|a| a.metadata.deletion_timestamp.is_none()) else {
        ctx.polls.forget(namespace, name);
        return Ok(None);
    };
    let mut work = Work::new(app);
    if work.app.spec.suspend {
        let now = ctx.now();
        work.condition(condition::RECONCILING, false, reasons::SUSPENDED, "spec.suspend is set", now);
        work.condition(
            condition::APPLIED,
            false,
            reasons::SUSPENDED,
            "spec.suspend is set: nothing is applied or written back",
            now,
        );
        work.status.observed_generation = work.app.metadata.generation;
        work.record(ctx).await?;
        return Ok(None);
    }
    let next = pass(ctx, &mut work).await;
    // What was found out before a failure is recorded all the same.
    let recorded = work.record(ctx).await;
    let next = next?;
    recorded?;
    Ok(next)
}

async fn pass(ctx: &Context, work: &mut Work) -> Result<Option<Timestamp>, Error> {
    let inventory = match ctx.cluster.read_inventory(&work.owner).await {
        Ok(inventory) => inventory,
        Err(error) => {
            let now = ctx.now();
            work.condition(condition::APPLIED, false, error.reason(), &error.to_string(), now);
            report::finish(work, now);
            return Ok(Some(report::next_poll(&work.app, now)));
        }
    };
    let rollouts = owned_rollouts(ctx, work, &inventory).await?;
    // Before the write-back: what it restores must be what stable is now, also when the last pass could not look.
    sync::remember_stable(work, &rollouts);
    let due = write_back::run(ctx, work, &inventory, &rollouts).await?;
    sync::run(ctx, work, inventory, &rollouts).await?;
    let now = ctx.now();
    report::finish(work, now);
    let poll = report::next_poll(&work.app, now);
    Ok(Some(due.map_or(poll, |due| due.min(poll))))
}

/// The Rollouts that this Application's own inventory holds by uid. A label or an annotation alone proves nothing.
async fn owned_rollouts(ctx: &Context, work: &Work, inventory: &Inventory) -> Result<Vec<Rollout>, Error> {
    let held = |rollout: &Rollout| {
        inventory.entries.iter().any(|entry| {
            entry.id.is(crate::api::GROUP, "Rollout")
                && entry.uid.is_some()
                && entry.uid == rollout.uid()
                && Some(&entry.id.namespace) == rollout.namespace().as_ref()
        })
    };
    let mut namespaces: Vec<&str> = inventory
        .entries
        .iter()
        .filter(|entry| entry.id.is(crate::api::GROUP, "Rollout"))
        .map(|entry| entry.id.namespace.as_str())
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let owned = ListParams::default().labels(&format!("{}={}", names::OWNED_BY, work.owner.label()));
    let mut all = Vec::new();
    for namespace in namespaces {
        let api: Api<Rollout> = Api::namespaced(ctx.client.clone(), namespace);
        let found = within("list Rollouts", api.list(&owned)).await?;
        all.extend(found.items.into_iter().filter(held));
    }
    Ok(all)
}
