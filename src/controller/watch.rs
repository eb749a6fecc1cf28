//! When to look: watches on our kinds and on what their passes read. An event only names an object; the pass reads it.
//!
//! One watch per kind, of metadata where that is enough. What is kept is two numbers per object (`seen`) and the names
//! that Rollouts use (`known`). At rest nothing is sent but the renewal of watches. A standby watches, too, so that it can
//! begin at once: everything is looked at when its term begins.

mod follow;
pub mod glance;
pub mod known;
mod router;
pub mod seen;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::ListParams;
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

use super::error::within;
use super::queue::{Key, Queue, queue};
use super::{Context, analysis, application, pass, rollout};
use crate::api::analysis::AnalysisRun;
use crate::api::application::Application;
use crate::api::rollout::Rollout;
use router::Router;

pub use follow::WATCH_TIMEOUT;

/// Passes of one kind at the same time. The rest waits its turn: an API server after an outage is not run over.
const CONCURRENCY: usize = 16;

/// Runs every loop until a stop was asked for and the passes under way are done.
pub async fn loops(ctx: &Arc<Context>, stopped: signal::Receiver<bool>) {
    let ((rollouts, rollout_queue), (runs, run_queue), (applications, application_queue)) = (queue(), queue(), queue());
    ctx.wanted.connect(runs.clone());
    let router = Arc::new(Router::new(Arc::clone(ctx), rollouts, runs, applications));
    // They end when this is dropped.
    let mut watches = JoinSet::new();
    watches.spawn(tell_when_ready(Arc::clone(ctx)));
    // Asked for before anything is heard, so that no term begins unnoticed.
    watches.spawn(look_when_leading(ctx.leadership.begins(), Arc::clone(&router)));
    router.spawn(&mut watches);
    tokio::join!(
        rollout_loop(ctx, rollout_queue, stopped.clone()),
        run_loop(ctx, run_queue, stopped.clone()),
        application_loop(ctx, application_queue, stopped)
    );
}

/// A standby looks at nothing, so there is everything to look at when its term begins.
async fn look_when_leading(begins: impl Stream<Item = ()>, router: Arc<Router>) {
    let mut begins = pin!(begins);
    while begins.next().await.is_some() {
        router.wake_everything();
    }
}

async fn rollout_loop(ctx: &Arc<Context>, queue: Queue, stopped: signal::Receiver<bool>) {
    let pass = |key: Key, why| async move {
        let work = Box::pin(rollout::pass(ctx, &key.namespace, &key.name, why));
        pass::run(ctx, "Rollout", &key.namespace, &key.name, work).await
    };
    queue.work(CONCURRENCY, stopped, pass).await;
}

async fn run_loop(ctx: &Arc<Context>, queue: Queue, stopped: signal::Receiver<bool>) {
    let pass = |key: Key, _| async move {
        let work = Box::pin(analysis::reconcile(ctx, &key.namespace, &key.name));
        pass::run(ctx, "AnalysisRun", &key.namespace, &key.name, work).await
    };
    queue.work(CONCURRENCY, stopped, pass).await;
}

async fn application_loop(ctx: &Arc<Context>, queue: Queue, stopped: signal::Receiver<bool>) {
    let pass = |key: Key, _| async move {
        let work = Box::pin(application::reconcile(ctx, &key.namespace, &key.name));
        pass::run(ctx, "Application", &key.namespace, &key.name, work).await
    };
    queue.work(CONCURRENCY, stopped, pass).await;
}

/// Ready means that our kinds can be read: passes need no cache.
async fn tell_when_ready(ctx: Arc<Context>) {
    let one = ListParams::default().limit(1);
    loop {
        let (rollouts, runs, applications) = (ctx.api::<Rollout>(), ctx.api::<AnalysisRun>(), ctx.api::<Application>());
        let tries = futures::try_join!(
            within("list Rollouts", rollouts.list_metadata(&one)),
            within("list AnalysisRuns", runs.list_metadata(&one)),
            within("list Applications", applications.list_metadata(&one)),
        );
        match tries {
            Ok(_) => break,
            Err(error) => tracing::warn!(%error, "not ready yet"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ctx.health.set_ready(true);
    tracing::info!("ready");
}
