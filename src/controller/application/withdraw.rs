//! Write-backs under way whose failure is gone: a person retried, other content came, or the Rollout left.
//!
//! Where nothing was about to be pushed, nothing is. Where a push may have arrived, only looking at the branch tells.

use std::time::Duration;

use super::Work;
use super::polls::Purpose;
use super::source::{self, blocking};
use super::write_back::{Entry, TRY_AGAIN, failure_of};
use crate::api::application::{WriteBackPhase, WriteBackState};
use crate::api::condition::write_back as reasons;
use crate::api::rollout::Rollout;
use crate::controller::Context;
use crate::controller::error::Error;
use crate::git::revision::CommitId;
use crate::sync::inventory::Inventory;

/// Ends what nobody waits for any more. Returns when to look again at what could not be ended.
pub(super) async fn run(
    ctx: &Context,
    work: &mut Work,
    inventory: &Inventory,
    rollouts: &[Rollout],
) -> Result<Option<Duration>, Error> {
    let mut again = None;
    for state in stale(work, inventory, rollouts) {
        let entry = Entry { id: &state.id, rollout: state.rollout.clone(), failed_at: state.failed_at.clone() };
        match arrived(ctx, work, &state).await? {
            Ok(Some(commit)) => {
                entry.state(work, ctx.now()).commit = Some(commit.to_string());
                let message =
                    format!("commit {commit} is on the branch; the failure was retried or replaced after it was pushed");
                entry.set(ctx, work, WriteBackPhase::Done, reasons::PUSHED, &message).await;
                ctx.polls.forget(&work.owner.namespace, &work.owner.name);
            }
            Ok(None) => {
                let message = "the failed content was retried or replaced before anything was pushed";
                entry.set(ctx, work, WriteBackPhase::Refused, reasons::RETRIED, message).await;
            }
            Err((reason, message)) => {
                entry.set(ctx, work, WriteBackPhase::Pending, reason, &message).await;
                again = Some(TRY_AGAIN);
            }
        }
    }
    Ok(again)
}

fn stale(work: &Work, inventory: &Inventory, rollouts: &[Rollout]) -> Vec<WriteBackState> {
    let under_way = |state: &&WriteBackState| matches!(state.phase, WriteBackPhase::Pending | WriteBackPhase::Waiting);
    let gone = |state: &&WriteBackState| {
        // A Rollout that is ours and was not listed (its label is off) may still have its failure.
        let uid = state.id.split('/').next();
        let unseen = inventory.entries.iter().any(|entry| entry.uid.as_deref() == uid)
            && !rollouts.iter().any(|rollout| rollout.metadata.uid.as_deref() == uid);
        !unseen && !rollouts.iter().filter_map(failure_of).any(|failure| failure.id == state.id)
    };
    work.status.write_backs.iter().filter(under_way).filter(gone).cloned().collect()
}

/// Which of the commits that we were about to push is on the branch. The inner error: it cannot be told now, and why.
async fn arrived(
    ctx: &Context,
    work: &Work,
    state: &WriteBackState,
) -> Result<Result<Option<CommitId>, (&'static str, String)>, Error> {
    let candidates: Vec<CommitId> = state.candidates.iter().filter_map(|id| id.parse().ok()).collect();
    // Our commit would stand on top of the failed one, so nothing older needs a look.
    let failed = state.failed_commit.as_ref().and_then(|id| id.parse::<CommitId>().ok());
    let (false, Some(failed)) = (candidates.is_empty(), failed) else { return Ok(Ok(None)) };
    let branch = match source::open(ctx, &work.app, work.app.spec.source.secret_ref.as_ref()).await? {
        Ok(branch) => branch,
        Err(problem) => return Ok(Err((reasons::DENIED, problem.message))),
    };
    let tip = match source::tip_now(ctx, &work.app, &branch, Purpose::Sync).await? {
        Ok(tip) => tip,
        Err(failed) => return Ok(Err((failed.write_back, failed.message))),
    };
    let found = blocking("look for our commit", move || branch.mirror.find_ours(&tip, &failed, &candidates)).await?;
    Ok(found.map_err(|error| (reasons::UNREACHABLE, error.to_string())))
}
