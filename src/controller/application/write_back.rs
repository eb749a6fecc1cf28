//! The write-back worker: a failed canary owes its branch a revert commit. Cluster safety never waits for it: by the time
//! a failure is seen here, the traffic is back at stable.
//!
//! ```text
//! failure on an owned Rollout -> brakes -> [fetch -> ours already there? -> plan -> commit object]
//!   -> record its id (phase Pending) -> push, if the tip is still the one planned on -> record Done
//! ```
//! A push whose answer is lost is never repeated blindly: the next pass looks for the recorded id on the branch first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::Work;
use super::polls::Purpose;
use super::source::{self, Branch, blocking};
use super::withdraw;
use crate::api::Time;
use crate::api::analysis::AnalysisRun;
use crate::api::application::{AppHold, ApplicationStatus, Author, KEPT_ENTRIES, WriteBackPhase, WriteBackState};
use crate::api::condition::write_back as reasons;
use crate::api::rollout::{Failure, FailureCause, Rollout};
use crate::controller::Context;
use crate::controller::error::{Error, find, within};
use crate::controller::flags::WriteBackFlag;
use crate::git::client::{Next, PushError};
use crate::git::message::{self, Story};
use crate::git::policy::{self, Breaker, Due, FailedAt, Switch, UnderWay};
use crate::git::revert::{self, Plan, Question, Refusal, Revert};
use crate::git::revision::{CommitId, Objects};
use crate::manifest::Object;
use crate::manifest::rollout::{rollout_digest, rollouts as contents};
use crate::sync::inventory::Inventory;

/// How soon a write-back that could not be delivered is tried again.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(5);
/// How soon one is tried again that only a person can help.
const TRY_RARELY: Duration = Duration::from_secs(60);

/// Author of our commits when the Application names none.
fn default_author() -> Author {
    Author { name: "Tidegate".to_owned(), email: "tidegate@localhost".to_owned() }
}

/// Ids of commits that we made, or were about to push. Known by record, because trailers can be forged.
#[must_use]
pub fn own_commits(status: &ApplicationStatus) -> Vec<String> {
    status.write_backs.iter().flat_map(|state| state.candidates.iter().chain(&state.commit)).cloned().collect()
}

/// Delivers what is owed. Returns when to try again what could not be delivered.
pub async fn run(
    ctx: &Context,
    work: &mut Work,
    inventory: &Inventory,
    rollouts: &[Rollout],
) -> Result<Option<Timestamp>, Error> {
    let next = deliver_all(ctx, work, inventory, rollouts).await;
    // After the deliveries, which name the failed commit.
    mirror_holds(work, rollouts);
    trim(work, rollouts);
    next
}

async fn deliver_all(
    ctx: &Context,
    work: &mut Work,
    inventory: &Inventory,
    rollouts: &[Rollout],
) -> Result<Option<Timestamp>, Error> {
    let mut next = withdraw::run(ctx, work, inventory, rollouts).await?.map(|again| after(ctx, again));
    for rollout in rollouts {
        let Some(failure) = failure_of(rollout) else { continue };
        let known = work.status.write_backs.iter().find(|state| state.id == failure.id);
        if known.is_some_and(|state| matches!(state.phase, WriteBackPhase::Done | WriteBackPhase::Refused)) {
            continue;
        }
        if let Some(again) = deliver(ctx, work, rollout, failure).await? {
            let at = after(ctx, again);
            next = Some(next.map_or(at, |next: Timestamp| next.min(at)));
        }
    }
    Ok(next)
}

fn after(ctx: &Context, pause: Duration) -> Timestamp {
    ctx.now().checked_add(pause).unwrap_or(Timestamp::MAX)
}

fn mirror_holds(work: &mut Work, rollouts: &[Rollout]) {
    let mut holds: Vec<AppHold> = Vec::new();
    for rollout in rollouts {
        for hold in rollout.status.iter().flat_map(|status| &status.holds) {
            holds.push(AppHold {
                rollout: rollout.name_any(),
                digest: hold.digest.clone(),
                commit: work
                    .status
                    .write_backs
                    .iter()
                    .find(|state| state.id == hold.failure)
                    .and_then(|s| s.failed_commit.clone()),
                reason: format!("{:?}: {}", hold.reason, hold.message),
                since: hold.since.clone(),
            });
        }
    }
    holds.sort_by_key(|hold| std::cmp::Reverse(hold.since.0));
    holds.truncate(KEPT_ENTRIES);
    work.status.holds = holds;
}

/// Drops the oldest entries beyond [`KEPT_ENTRIES`], but none of a failure that a Rollout still has, and none that is
/// under way: an entry that is dropped and missed is made anew, for ever.
fn trim(work: &mut Work, rollouts: &[Rollout]) {
    let stands = |state: &WriteBackState| {
        matches!(state.phase, WriteBackPhase::Pending | WriteBackPhase::Waiting)
            || rollouts.iter().filter_map(failure_of).any(|failure| failure.id == state.id)
    };
    let mut place = 0;
    work.status.write_backs.retain(|state| {
        place += 1;
        place <= KEPT_ENTRIES || stands(state)
    });
}

/// The failure that a Rollout stands at.
pub(super) fn failure_of(rollout: &Rollout) -> Option<&Failure> {
    rollout.status.as_ref()?.failure.as_ref()
}

/// Where a write-back stands; sets it in the status.
pub(super) struct Entry<'a> {
    pub id: &'a str,
    pub rollout: String,
    pub failed_at: Time,
}

impl Entry<'_> {
    pub(super) fn state<'w>(&self, work: &'w mut Work, now: Timestamp) -> &'w mut WriteBackState {
        let list = &mut work.status.write_backs;
        if !list.iter().any(|state| state.id == self.id) {
            list.insert(
                0,
                WriteBackState {
                    id: self.id.to_owned(),
                    rollout: self.rollout.clone(),
                    phase: WriteBackPhase::Pending,
                    reason: reasons::UNREACHABLE.to_owned(),
                    failed_commit: None,
                    candidates: Vec::new(),
                    commit: None,
                    message: String::new(),
                    failed_at: self.failed_at.clone(),
                    at: Time(now),
                },
            );
        }
        let at = list.iter().position(|state| state.id == self.id).unwrap_or(0);
        &mut list[at]
    }

    pub(super) async fn set(&self, ctx: &Context, work: &mut Work, phase: WriteBackPhase, reason: &str, message: &str) {
        let now = ctx.now();
        let state = self.state(work, now);
        if state.phase == phase && state.reason == reason && state.message == message {
            return;
        }
        (state.phase, state.reason, state.message) = (phase, reason.to_owned(), message.to_owned());
        state.at = Time(now);
        if matches!(phase, WriteBackPhase::Done | WriteBackPhase::Refused) {
            ctx.metrics.write_back(reason);
        }
        tracing::info!(id = self.id, ?phase, reason, message, "write-back");
        ctx.event(&work.app, phase != WriteBackPhase::Done, reason, message, "WriteBack").await;
    }
}

/// One failure. Returns after which time to try again, when it has to be tried again.
async fn deliver(ctx: &Context, work: &mut Work, rollout: &Rollout, failure: &Failure) -> Result<Option<Duration>, Error> {
    let entry = Entry { id: &failure.id, rollout: rollout.name_any(), failed_at: failure.at.clone() };
    let record = work.status.rollouts.iter().find(|record| Some(&record.uid) == rollout.uid().as_ref()).cloned();
    let switch = match ctx.args.write_back {
        WriteBackFlag::On => Switch::On,
        WriteBackFlag::DryRun => Switch::DryRun,
        WriteBackFlag::Off => Switch::Off,
    };
    let due = policy::due(failure.cause, false, record.is_some(), work.app.spec.write_back.as_ref(), switch);
    let (record, push) = match (due, record) {
        (Due::Nothing, _) => return Ok(None),
        (Due::No(reason), _) => {
            entry.set(ctx, work, WriteBackPhase::Refused, reason, not_due(reason)).await;
            return Ok(None);
        }
        (Due::Push, Some(record)) => (record, true),
        (Due::DryRun, Some(record)) => (record, false),
        (Due::Push | Due::DryRun, None) => return Ok(None),
    };
    if push && let Some(again) = brakes(ctx, work, &entry, failure).await? {
        return Ok(Some(again));
    }
    let settings = work.app.spec.write_back.clone().unwrap_or_default();
    // A dry run pushes nothing and needs no credential that may.
    let secret = if push { settings.secret_ref.as_ref() } else { work.app.spec.source.secret_ref.as_ref() };
    let branch = match source::open(ctx, &work.app, secret).await? {
        Ok(branch) => branch,
        Err(problem) => {
            entry.set(ctx, work, WriteBackPhase::Pending, reasons::DENIED, &problem.message).await;
            return Ok(Some(TRY_RARELY));
        }
    };
    let job = Job {
        branch,
        application: format!("{}/{}", work.owner.namespace, work.owner.name),
        namespace: rollout.namespace().unwrap_or_default(),
        destination: work.app.spec.destination.namespace.clone(),
        rollout: rollout.name_any(),
        failure: failure.clone(),
        good: record.stable_commit,
        stable: record.stable_digest,
        own: own_commits(&work.status),
        author: settings.author.clone().unwrap_or_else(default_author),
        query: if settings.include_query { query(ctx, rollout, failure).await? } else { None },
    };
    attempt(ctx, work, &entry, Arc::new(job), push).await
}

fn not_due(reason: &str) -> &'static str {
    match reason {
        reasons::STABLE_UNVERIFIED => "it is not known which commit stable came from, so there is nothing known good to restore",
        _ => "write-back is switched off (spec.writeBack.mode or --write-back)",
    }
}

/// Rate limit and circuit breaker. Returns when to look again while one of them holds the write-back back.
async fn brakes(ctx: &Context, work: &mut Work, entry: &Entry<'_>, failure: &Failure) -> Result<Option<Duration>, Error> {
    let now = ctx.now();
    let under_way = work.status.write_backs.iter().any(|state| state.id == entry.id && !state.candidates.is_empty());
    if under_way {
        return Ok(None);
    }
    let pushed: Vec<Timestamp> =
        work.status.write_backs.iter().filter(|state| state.reason == reasons::PUSHED).map(|state| state.at.0).collect();
    if let Some(until) = policy::rate_limited_until(now, &pushed) {
        let message = format!("{} write-backs within an hour; the next is due at {until}", policy::RATE);
        entry.set(ctx, work, WriteBackPhase::Waiting, reasons::RATE_LIMITED, &message).await;
        return Ok(Some(TRY_RARELY));
    }
    let api: Api<Rollout> = ctx.api();
    let all = within("list Rollouts", api.list(&ListParams::default())).await?;
    let key = |rollout: &Rollout| format!("{}/{}", rollout.namespace().unwrap_or_default(), rollout.name_any());
    let failures: Vec<FailedAt> = all
        .iter()
        .filter_map(|rollout| {
            let failed = rollout.status.as_ref()?.failure.as_ref().filter(|f| f.cause != FailureCause::AbortedByUser)?;
            Some(FailedAt { rollout: key(rollout), at: failed.at.0 })
        })
        .collect();
    let running: Vec<UnderWay> = all
        .iter()
        .filter_map(|rollout| {
            let status = rollout.status.as_ref()?;
            let failed = status.failure.as_ref();
            let under_way = status.canary.is_some() && !status.abort;
            let from = failed.and_then(|f| f.started_at.as_ref()).map(|at| at.0);
            (under_way || failed.is_some()).then(|| UnderWay {
                rollout: key(rollout),
                from: from.unwrap_or(Timestamp::UNIX_EPOCH),
                until: failed.map(|f| f.at.0),
            })
        })
        .collect();
    if let Breaker::Open { failed, under_way } = policy::breaker(failure.at.0, &failures, &running) {
        let message = format!(
            "{failed} of {under_way} Rollouts under way failed within 10 minutes: a gateway or metric server may be broken; nothing is pushed until a person looks"
        );
        entry.set(ctx, work, WriteBackPhase::Waiting, reasons::WAITING, &message).await;
        return Ok(Some(TRY_RARELY));
    }
    Ok(None)
}

/// The failed metric's query, for Applications that want it in the message.
async fn query(ctx: &Context, rollout: &Rollout, failure: &Failure) -> Result<Option<String>, Error> {
    let (Some(run), Some(metric)) = (&failure.analysis_run, &failure.metric) else { return Ok(None) };
    let api: Api<AnalysisRun> = Api::namespaced(ctx.client.clone(), &rollout.namespace().unwrap_or_default());
    let run = find("get AnalysisRun", api.get(run)).await?;
    let metric = run.and_then(|run| run.spec.metrics.into_iter().find(|m| m.name == *metric));
    Ok(metric.and_then(|metric| match metric.slo {
        Some(slo) => slo.part().map(|part| format!("{part} of {}", slo.total)),
        None => metric.provider.prometheus.query,
    }))
}

/// Everything the blocking part needs to know.
struct Job {
    branch: Branch,
    application: String,
    namespace: String,
    destination: String,
    rollout: String,
    failure: Failure,
    good: String,
    stable: String,
    own: Vec<String>,
    author: Author,
    query: Option<String>,
}

/// What the blocking part found.
enum Found {
    /// One of the recorded commits is on the branch.
    Ours(CommitId),
    /// This commit is to be pushed onto `head`.
    Made { head: CommitId, commit: CommitId, failed: CommitId, message: String, files: Vec<String> },
    /// None is to be made.
    Refused(Refusal),
    /// Not now.
    NotNow { reason: &'static str, message: String },
}

async fn attempt(
    ctx: &Context,
    work: &mut Work,
    entry: &Entry<'_>,
    job: Arc<Job>,
    push: bool,
) -> Result<Option<Duration>, Error> {
    for race in 1..=policy::RACES {
        let head = match source::tip_now(ctx, &work.app, &job.branch, Purpose::WriteBack).await? {
            Ok(head) => head,
            Err(failed) => {
                entry.set(ctx, work, WriteBackPhase::Pending, failed.write_back, &failed.message).await;
                return Ok(Some(TRY_AGAIN));
            }
        };
        let recorded = entry.state(work, ctx.now()).clone();
        let computing = Arc::clone(&job);
        match blocking("compute the revert", move || compute(&computing, head, &recorded)).await? {
            Found::Ours(commit) => {
                done(ctx, work, entry, &job, commit).await;
                return Ok(None);
            }
            Found::Refused(refusal) => {
                let phase =
                    if refusal.reason == reasons::ALREADY_REVERTED { WriteBackPhase::Done } else { WriteBackPhase::Refused };
                entry.set(ctx, work, phase, refusal.reason, &refusal.message).await;
                return Ok(None);
            }
            Found::NotNow { reason, message } => {
                entry.set(ctx, work, WriteBackPhase::Pending, reason, &message).await;
                return Ok(Some(TRY_AGAIN));
            }
            Found::Made { failed, message, files, .. } if !push => {
                entry.state(work, ctx.now()).failed_commit = Some(failed.to_string());
                let shown = format!("would push, changing {}:\n{message}", files.join(", "));
                entry.set(ctx, work, WriteBackPhase::Done, reasons::DRY_RUN, &shown).await;
                return Ok(None);
            }
            Found::Made { head, commit, failed, .. } => {
                let state = entry.state(work, ctx.now());
                state.failed_commit = Some(failed.to_string());
                if !state.candidates.contains(&commit.to_string()) {
                    state.candidates.push(commit.to_string());
                }
                // Recorded before the push: whatever happens then, a later pass can find our commit.
                work.record(ctx).await?;
                let began = source::now();
                match send(ctx, &job, head, commit).await? {
                    Ok(()) => {
                        done(ctx, work, entry, &job, commit).await;
                        return Ok(None);
                    }
                    Err(error) if error.next() == Next::ComputeAnew => {
                        tokio::time::sleep(policy::race_pause(race, jitter(ctx))).await;
                    }
                    Err(error) => return Ok(Some(not_sent(ctx, work, entry, &job, error, began).await)),
                }
            }
        }
    }
    let message = format!("other pushes were faster {} times in a row", policy::RACES);
    entry.set(ctx, work, WriteBackPhase::Pending, reasons::CONTENDED, &message).await;
    Ok(Some(TRY_AGAIN))
}

/// A number in 0..1 that two replicas, or two Applications, are unlikely to share.
fn jitter(ctx: &Context) -> f64 {
    f64::from(u32::try_from(ctx.now().as_microsecond().rem_euclid(1000)).unwrap_or(0)) / 1000.0
}

async fn send(ctx: &Context, job: &Arc<Job>, head: CommitId, commit: CommitId) -> Result<Result<(), PushError>, Error> {
    let (pushing, leadership) = (Arc::clone(job), ctx.leadership.clone());
    let push = move || {
        let Branch { mirror, access, name, .. } = &pushing.branch;
        mirror.push_while(access, name, &head, &commit, &|| leadership.holds())
    };
    let sent = blocking("push", push).await?;
    ctx.metrics.git("push", if sent.is_ok() { "done" } else { "failed" });
    Ok(sent)
}

/// Says that a push failed, and remembers it. Returns when to try again.
async fn not_sent(ctx: &Context, work: &mut Work, entry: &Entry<'_>, job: &Job, error: PushError, began: Instant) -> Duration {
    let pause = if error.next() == Next::AskPerson { TRY_RARELY } else { TRY_AGAIN };
    entry.set(ctx, work, WriteBackPhase::Pending, error.reason(), &error.to_string()).await;
    ctx.polls.note(&work.app, &job.branch, Purpose::WriteBack, Err(error.into()), pause, (began, source::now()));
    pause
}

async fn done(ctx: &Context, work: &mut Work, entry: &Entry<'_>, job: &Job, commit: CommitId) {
    entry.state(work, ctx.now()).commit = Some(commit.to_string());
    let message = format!("commit {commit} on {} restores {}", job.branch.name, job.good);
    entry.set(ctx, work, WriteBackPhase::Done, reasons::PUSHED, &message).await;
    ctx.metrics.verdict_to_commit.observe(ctx.now().duration_since(job.failure.at.0).as_secs_f64().max(0.0));
    // The branch has a new tip: look at once.
    ctx.polls.forget(&work.owner.namespace, &work.owner.name);
}

/// Looks for a commit of ours below the tip, plans, and makes the commit object. Runs beside the runtime.
fn compute(job: &Job, head: CommitId, state: &WriteBackState) -> Found {
    let not_now = |message: String| Found::NotNow { reason: reasons::UNREACHABLE, message };
    let mirror = &job.branch.mirror;
    let Ok(good) = job.good.parse::<CommitId>() else {
        let message = format!("the recorded stable commit '{}' is not a commit id", job.good);
        return Found::Refused(Refusal { reason: reasons::STABLE_UNVERIFIED, message });
    };
    let recorded: Vec<CommitId> = state.candidates.iter().filter_map(|id| id.parse().ok()).collect();
    // Ours would stand on top of the failed commit. The good one is no limit: a sync that already saw ours on the branch
    // counts it as the newest good one.
    let failed = state.failed_commit.as_ref().and_then(|id| id.parse::<CommitId>().ok());
    match mirror.find_ours(&head, &failed.unwrap_or(good), &recorded) {
        Ok(Some(ours)) => return Found::Ours(ours),
        Ok(None) => {}
        Err(error) => return not_now(error.to_string()),
    }
    let objects = match mirror.objects() {
        Ok(objects) => objects,
        Err(error) => return not_now(error.to_string()),
    };
    let render = |tree: &crate::git::revision::TreeId| {
        let digest = |objects: Vec<Object>| rollout_digest(&objects, &job.destination, &job.namespace, &job.rollout);
        source::render(&objects, tree).map(digest)
    };
    let ours = |id: &CommitId| job.own.contains(&id.to_string());
    let question = Question {
        objects: &objects,
        head,
        path: &job.branch.path,
        bases: &[],
        good,
        stable: &job.stable,
        failed: &job.failure.template_digest,
        render: &render,
        ours: &ours,
    };
    match revert::plan(&question) {
        Err(error) => not_now(error.to_string()),
        Ok(Plan::Refused(refusal)) => Found::Refused(refusal),
        Ok(Plan::Revert(revert)) => make(job, &objects, head, &revert),
    }
}

fn make(job: &Job, objects: &crate::git::client::GitObjects, head: CommitId, revert: &Revert) -> Found {
    let also = also_reverted(job, objects, head, revert);
    let failure = &job.failure;
    let seconds = failure.started_at.as_ref().map(|at| failure.at.0.duration_since(at.0).as_secs().max(0).unsigned_abs());
    let analysis = failure.analysis_run.as_ref().map(|run| format!("{}/{run}", job.namespace));
    let text = message::compose(&Story {
        application: &job.application,
        rollout: &format!("{}/{}", job.namespace, job.rollout),
        cause: failure.cause,
        // Past the last step at the implied last gate.
        step: failure.step + 1,
        steps: failure.steps,
        weight: &failure.percent(),
        seconds,
        metric: failure.metric.as_deref(),
        evidence: &failure.evidence,
        query: job.query.as_deref(),
        analysis: analysis.as_deref(),
        attempt: &failure.id,
        subject: &revert.failed_commit.subject,
        reverts: &revert.culprits,
        restores: revert.restores,
        also: &also,
    });
    // Dated with the failure: the same failure on the same tip makes the same commit, however often it is tried.
    match job.branch.mirror.commit(&revert.tree, &head, &job.author, &text, failure.at.0) {
        Err(error) => Found::NotNow { reason: reasons::UNREACHABLE, message: error.to_string() },
        Ok(commit) => {
            Found::Made { head, commit, failed: revert.failed_commit.id, message: text, files: revert.changed_files.clone() }
        }
    }
}

/// Other Rollouts of the Application whose content goes back with the same commit.
fn also_reverted(job: &Job, objects: &crate::git::client::GitObjects, head: CommitId, revert: &Revert) -> Vec<String> {
    let in_tree = |root: &crate::git::revision::TreeId| {
        let directory = objects.subtree(root, &job.branch.path).ok().flatten()?;
        Some(contents(&source::render(objects, &directory).ok()?))
    };
    let before = objects.commit(&head).ok().and_then(|commit| in_tree(&commit.tree)).unwrap_or_default();
    let after = in_tree(&revert.tree).unwrap_or_default();
    before
        .into_iter()
        .filter(|content| content.name != job.rollout)
        .filter(|content| !after.iter().any(|other| other == content))
        .map(|content| content.name)
        .collect()
}
