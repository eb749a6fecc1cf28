//! Fetch, render, apply, look.

use std::time::Instant;

use kube::ResourceExt;
use kube::api::Api;

use super::Work;
use super::source::{self, Branch, blocking};
use crate::api::application::{CommitInfo, HistoryOutcome, RolloutRecord, SyncState, SyncStatus};
use crate::api::condition::{self, application as reasons};
use crate::api::rollout::{Rollout, RolloutPhase};
use crate::api::{Project, Time};
use crate::controller::Context;
use crate::controller::error::{Error, find};
use crate::git::revision::{Commit, CommitId, Objects, TreeId};
use crate::manifest::Object;
use crate::manifest::rollout::rollout_digest;
use crate::sync::client::{ServiceAccount, SyncInput, SyncOutcome};
use crate::sync::inventory::{Inventory, Kept, PruneRules};
use crate::sync::project::Rules;
use crate::sync::state;

/// A tip, and what the path has in it.
struct Tip {
    commit: Commit,
    tree: TreeId,
    objects: Result<Vec<Object>, String>,
    /// A revert of ours came since the last sync.
    own_revert: bool,
}

/// Brings the cluster to the branch's tip, as far as that is due and possible.
pub async fn run(ctx: &Context, work: &mut Work, inventory: Inventory, live: &[Rollout]) -> Result<(), Error> {
    let branch = match source::open(ctx, &work.app, work.app.spec.source.secret_ref.as_ref()).await? {
        Ok(branch) => branch,
        Err(problem) => {
            not_fetched(ctx, work, problem.reason, &problem.message);
            return Ok(());
        }
    };
    let tip = match source::tip(ctx, &work.app, &branch).await? {
        Ok(tip) => tip,
        Err(failed) => {
            not_fetched(ctx, work, failed.fetched, &failed.message);
            return Ok(());
        }
    };
    let now = ctx.now();
    work.condition(condition::FETCHED, true, reasons::SUCCEEDED, &format!("branch {} is at {tip}", branch.name), now);
    let known = work.status.revision.as_ref().is_some_and(|revision| revision.commit == tip.to_string());
    let settled = is_settled(work);
    if known && settled {
        return look(ctx, work, inventory, live).await;
    }
    // A mirror that lost the tip is fetched anew at the next pass.
    let forget = |_: &Error| ctx.polls.forget(&work.owner.namespace, &work.owner.name);
    let own_revert = own_revert(work, &branch, tip).await.inspect_err(forget)?;
    let tip = match read(branch, tip, own_revert).await? {
        Ok(tip) => tip,
        Err(message) => {
            not_rendered(ctx, work, reasons::PATH_MISSING, &message);
            return Ok(());
        }
    };
    if settled && work.status.tree.as_deref() == Some(&tip.tree.to_string()) {
        // The commit touches other directories of the repository only.
        work.status.revision = Some(info(&tip.commit));
        advance(work, &tip, live);
        return look(ctx, work, inventory, live).await;
    }
    apply(ctx, work, inventory, tip, live).await
}

/// Was the spec as it is now applied without fault the last time?
fn is_settled(work: &Work) -> bool {
    let applied = work.status.conditions.iter().find(|c| c.type_ == condition::APPLIED);
    applied.is_some_and(|c| c.status == "True" && c.observed_generation == work.app.metadata.generation)
}

fn not_fetched(ctx: &Context, work: &mut Work, reason: &str, message: &str) {
    work.condition(condition::FETCHED, false, reason, message, ctx.now());
    if work.status.sync.is_none() {
        work.status.sync = Some(SyncState { status: SyncStatus::Unknown });
    }
}

fn not_rendered(ctx: &Context, work: &mut Work, reason: &str, message: &str) {
    work.condition(condition::RENDERED, false, reason, message, ctx.now());
    work.condition(condition::APPLIED, false, reason, &format!("nothing was applied: {message}"), ctx.now());
    work.status.sync = Some(SyncState { status: SyncStatus::OutOfSync });
    ctx.metrics.sync("not_rendered");
}

/// Reads the path at the tip. The outer error says that the path is not there.
async fn read(branch: Branch, tip: CommitId, own_revert: bool) -> Result<Result<Tip, String>, Error> {
    let reading = move || -> Result<Tip, String> {
        let objects = branch.mirror.objects().map_err(|error| error.to_string())?;
        let commit = objects.commit(&tip).map_err(|error| error.to_string())?;
        let tree = objects.subtree(&commit.tree, &branch.path).map_err(|error| error.to_string())?;
        let tree = tree.ok_or_else(|| format!("spec.source.path: there is no directory '{}' at {tip}", branch.path))?;
        let rendered = source::render(&objects, &tree);
        Ok(Tip { commit, tree, objects: rendered, own_revert })
    };
    blocking("read the branch", reading).await
}

/// Is a revert of ours among the commits since the last completed sync? Not only at the tip: a person's commit may have
/// come on top before we looked, and what our revert took out of Git still holds data.
async fn own_revert(work: &Work, branch: &Branch, tip: CommitId) -> Result<bool, Error> {
    let own: Vec<CommitId> = super::write_back::own_commits(&work.status).iter().filter_map(|id| id.parse().ok()).collect();
    let synced = work.status.revision.as_ref().and_then(|revision| revision.commit.parse::<CommitId>().ok());
    let (false, Some(synced)) = (own.is_empty(), synced) else { return Ok(false) };
    let mirror = branch.mirror.clone();
    let found = blocking("look for a revert of ours", move || mirror.find_ours(&tip, &synced, &own)).await?;
    found
        .map(|found| found.is_some())
        .map_err(|error| Error::Other { what: "look for a revert of ours".to_owned(), why: error.to_string() })
}

fn info(commit: &Commit) -> CommitInfo {
    CommitInfo {
        commit: commit.id.to_string(),
        author: commit.author.clone(),
        subject: commit.subject.clone(),
        committed_at: Some(Time(commit.committed_at)),
    }
}

async fn apply(ctx: &Context, work: &mut Work, inventory: Inventory, mut tip: Tip, live: &[Rollout]) -> Result<(), Error> {
    let objects = match std::mem::replace(&mut tip.objects, Ok(Vec::new())) {
        Ok(objects) => objects,
        Err(message) => {
            not_rendered(ctx, work, reasons::RENDER_FAILED, &message);
            return Ok(());
        }
    };
    let now = ctx.now();
    work.condition(condition::RENDERED, true, reasons::SUCCEEDED, &format!("{} objects", objects.len()), now);
    tip.objects = Ok(objects.clone());
    let Some(account) = ServiceAccount::new(&work.owner.namespace, &work.app.spec.destination.service_account_name) else {
        let message = "spec.destination.serviceAccountName is not the name of a service account";
        work.condition(condition::APPLIED, false, reasons::INVALID_SPEC, message, now);
        return Ok(());
    };
    let input = SyncInput {
        objects,
        owner: work.owner.clone(),
        account,
        namespace: work.app.spec.destination.namespace.clone(),
        repo_url: work.app.spec.source.repo_url.clone(),
        rules: rules(ctx, work).await?,
        inventory,
        commit: tip.commit.id.to_string(),
        retry: None,
        prune: PruneRules { enabled: work.app.spec.sync_policy.automated.prune, own_revert: tip.own_revert },
        allow_empty: work.app.spec.allow_empty,
    };
    #[expect(clippy::disallowed_methods, reason = "a stopwatch")]
    let started = Instant::now();
    let outcome = ctx.cluster.sync_once(input).await;
    ctx.metrics.sync_duration.observe(started.elapsed().as_secs_f64());
    let now = ctx.now();
    match outcome {
        Err(error) => {
            ctx.metrics.sync("failed");
            tracing::warn!(%error, commit = %tip.commit.id, "sync failed");
            work.condition(condition::APPLIED, false, error.reason(), &error.to_string(), now);
            work.status.sync = Some(SyncState { status: SyncStatus::OutOfSync });
            ctx.event(&work.app, true, error.reason(), &error.to_string(), "Sync").await;
        }
        Ok(outcome) => {
            ctx.metrics.sync("done");
            let (applied, pruned) = (outcome.applied.len(), outcome.pruned.len());
            let message = format!("commit {} is applied ({applied} objects written, {pruned} pruned)", tip.commit.id.short());
            if applied + pruned > 0 {
                tracing::info!(commit = %tip.commit.id, applied, pruned, "synced");
                ctx.event(&work.app, false, "Synced", &message, "Sync").await;
            }
            tell_kept(ctx, work, &outcome).await;
            work.condition(condition::APPLIED, true, reasons::SUCCEEDED, &format!("commit {} is applied", tip.commit.id), now);
            work.status.sync = Some(SyncState { status: SyncStatus::Synced });
            let revision = info(&tip.commit);
            state::deployed(&mut work.status.history, &revision, now);
            work.status.revision = Some(revision);
            work.status.tree = Some(tip.tree.to_string());
            work.status.observed_generation = work.app.metadata.generation;
            advance(work, &tip, live);
            health(work, &outcome.seen, live);
        }
    }
    Ok(())
}

/// Names what left Git through our own revert and holds data: only a person deletes it.
async fn tell_kept(ctx: &Context, work: &Work, outcome: &SyncOutcome) {
    let data = outcome.kept.iter().filter(|(_, why)| *why == Kept::PruneNeedsConfirmation);
    let named: Vec<String> = data.map(|(id, _)| id.to_string()).collect();
    if !named.is_empty() {
        let message = format!("left Git with a revert of ours, hold data and are kept: {}", named.join(", "));
        ctx.event(&work.app, true, "PruneNeedsConfirmation", &message, "Sync").await;
    }
}

async fn rules(ctx: &Context, work: &Work) -> Result<Rules, Error> {
    let Some(name) = work.app.spec.project.clone() else { return Ok(Rules::OwnNamespace) };
    let api: Api<Project> = Api::all(ctx.client.clone());
    let project = find(&format!("get Project {name}"), api.get(&name)).await?;
    Ok(match project {
        Some(project) => Rules::Project { name, spec: project.spec },
        None => Rules::Missing { name },
    })
}

/// Looks at what was applied, without fetching or applying anything.
async fn look(ctx: &Context, work: &mut Work, inventory: Inventory, live: &[Rollout]) -> Result<(), Error> {
    let Some(account) = ServiceAccount::new(&work.owner.namespace, &work.app.spec.destination.service_account_name) else {
        return Ok(());
    };
    match ctx.cluster.look(&account, &inventory).await {
        Ok(seen) => health(work, &seen, live),
        Err(error) => tracing::warn!(%error, "failed to look at what was applied"),
    }
    remember_stable(work, live);
    Ok(())
}

fn health(work: &mut Work, seen: &[state::Seen], live: &[Rollout]) {
    work.status.resources = Some(state::resources(seen));
    work.status.health = Some(state::summary(seen));
    let Some(revision) = work.status.revision.clone() else { return };
    let failed = live.iter().find_map(|rollout| {
        let status = rollout.status.as_ref()?;
        let failure = status.failure.as_ref().filter(|_| status.phase == Some(RolloutPhase::Degraded))?;
        Some((failure.commit.clone().unwrap_or_else(|| revision.commit.clone()), failure.evidence.clone()))
    });
    if let Some((commit, evidence)) = failed {
        state::ended(&mut work.status.history, &commit, HistoryOutcome::RolledBack, Some(&evidence));
    } else if state::summary(seen).status == crate::api::application::HealthStatus::Healthy {
        state::ended(&mut work.status.history, &revision.commit, HistoryOutcome::Healthy, None);
    }
}

/// Records what each Rollout's stable content is, and the newest commit that renders it.
pub(super) fn remember_stable(work: &mut Work, live: &[Rollout]) {
    let before = work.status.rollouts.clone();
    work.status.rollouts = live
        .iter()
        .filter_map(|rollout| {
            let stable = rollout.status.as_ref()?.stable.clone()?;
            let (name, uid) = (rollout.name_any(), rollout.uid()?);
            let known = before.iter().find(|record| record.uid == uid && record.stable_digest == stable.digest).cloned();
            known.or_else(|| Some(RolloutRecord { name, uid, stable_commit: stable.commit?, stable_digest: stable.digest }))
        })
        .collect();
}

/// A tip that still renders stable's content is a newer good commit.
fn advance(work: &mut Work, tip: &Tip, live: &[Rollout]) {
    remember_stable(work, live);
    let Ok(objects) = &tip.objects else { return };
    let destination = work.app.spec.destination.namespace.clone();
    for record in &mut work.status.rollouts {
        let of = live.iter().find(|rollout| rollout.uid().as_ref() == Some(&record.uid)).and_then(|rollout| rollout.namespace());
        let namespace = of.unwrap_or_else(|| destination.clone());
        if rollout_digest(objects, &destination, &namespace, &record.name).as_ref() == Some(&record.stable_digest) {
            record.stable_commit = tip.commit.id.to_string();
        }
    }
}
