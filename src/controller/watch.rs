//! When to look: watches on our kinds and on what their passes read. An event only names an object; the pass reads it.
//! A standby watches, too, so that it can begin at once: everything is looked at when its term begins.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use tokio::sync::watch as signal;

use super::error::within;
use super::rollout::observe::http_route;
use super::{Context, analysis, application, asked, pass, rollout};
use crate::api::analysis::AnalysisRun;
use crate::api::application::Application;
use crate::api::names;
use crate::api::rollout::Rollout;
use crate::sync::own::Owner;

/// A watch is renewed this often; a dead connection is noticed that soon.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(50);
/// Passes of one kind at the same time. The rest waits its turn: an API server after an outage is not run over.
const CONCURRENCY: u16 = 16;

fn config() -> watcher::Config {
    watcher::Config::default().timeout(u32::try_from(WATCH_TIMEOUT.as_secs()).unwrap_or(50))
}

fn dynamic_api(ctx: &Context) -> Api<DynamicObject> {
    match &ctx.args.namespace {
        Some(namespace) => Api::namespaced_with(ctx.client.clone(), namespace, &http_route()),
        None => Api::all_with(ctx.client.clone(), &http_route()),
    }
}

/// Runs every loop until a stop was asked for and the passes under way are done.
pub async fn loops(ctx: &Arc<Context>, stopped: signal::Receiver<bool>) {
    let rollouts = Controller::new(ctx.api::<Rollout>(), config());
    let runs = Controller::new(ctx.api::<AnalysisRun>(), config());
    let applications = Controller::new(ctx.api::<Application>(), config());
    tokio::spawn(tell_when_ready(Arc::clone(ctx)));
    tokio::join!(
        rollout_loop(ctx, rollouts, stopped.clone()),
        run_loop(ctx, runs, stopped.clone()),
        application_loop(ctx, applications, stopped)
    );
}

async fn application_loop(ctx: &Arc<Context>, controller: Controller<Application>, stopped: signal::Receiver<bool>) {
    let by_rollout = controller.store();
    controller
        .watches(ctx.api::<Rollout>(), config(), move |rollout: Rollout| {
            let label = rollout.labels().get(names::OWNED_BY).cloned().unwrap_or_default();
            let owns = |app: &&Arc<Application>| owner(app).label() == label;
            by_rollout.state().iter().filter(owns).map(|app| ObjectRef::from_obj(app.as_ref())).collect::<Vec<_>>()
        })
        .with_config(kube::runtime::controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_all_on(ctx.leadership.begins())
        .graceful_shutdown_on(asked(stopped))
        .run(
            |app, ctx| async move {
                let (namespace, name) = (app.namespace().unwrap_or_default(), app.name_any());
                let work = application::reconcile(&ctx, &namespace, &name);
                Ok(pass::run(&ctx, "Application", &namespace, &name, work).await)
            },
            never,
            Arc::clone(ctx),
        )
        .for_each(log_trouble)
        .await;
}

fn owner(app: &Application) -> Owner {
    Owner { namespace: app.namespace().unwrap_or_default(), name: app.name_any(), uid: app.uid().unwrap_or_default() }
}

async fn rollout_loop(ctx: &Arc<Context>, controller: Controller<Rollout>, stopped: signal::Receiver<bool>) {
    let by_route = controller.store();
    let by_service = controller.store();
    let by_slice = controller.store();
    controller
        .owns(ctx.api::<ReplicaSet>(), config())
        .owns(ctx.api::<AnalysisRun>(), config())
        .watches_with(dynamic_api(ctx), http_route(), config(), move |route| {
            let name = route.name_any();
            who(&by_route, route.namespace(), |rollout| {
                rollout.spec.strategy.canary.traffic_routing.gateway_api.http_routes.iter().any(|r| r.name == name)
            })
        })
        .watches(ctx.api::<Service>(), config(), move |service: Service| {
            let name = service.name_any();
            who(&by_service, service.namespace(), |rollout| names_service(rollout, &name))
        })
        .watches(ctx.api::<EndpointSlice>(), config(), move |slice: EndpointSlice| {
            let name = slice.labels().get("kubernetes.io/service-name").cloned().unwrap_or_default();
            who(&by_slice, slice.namespace(), |rollout| names_service(rollout, &name))
        })
        .with_config(kube::runtime::controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_all_on(ctx.leadership.begins())
        .graceful_shutdown_on(asked(stopped))
        .run(
            |rollout, ctx| async move {
                let (namespace, name) = (rollout.namespace().unwrap_or_default(), rollout.name_any());
                Ok(pass::run(&ctx, "Rollout", &namespace, &name, rollout::reconcile(&ctx, &namespace, &name)).await)
            },
            never,
            Arc::clone(ctx),
        )
        .for_each(log_trouble)
        .await;
}

async fn run_loop(ctx: &Arc<Context>, controller: Controller<AnalysisRun>, stopped: signal::Receiver<bool>) {
    controller
        .with_config(kube::runtime::controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_all_on(ctx.leadership.begins())
        .graceful_shutdown_on(asked(stopped))
        .run(
            |run, ctx| async move {
                let (namespace, name) = (run.namespace().unwrap_or_default(), run.name_any());
                Ok(pass::run(&ctx, "AnalysisRun", &namespace, &name, analysis::reconcile(&ctx, &namespace, &name)).await)
            },
            never,
            Arc::clone(ctx),
        )
        .for_each(log_trouble)
        .await;
}

fn names_service(rollout: &Rollout, service: &str) -> bool {
    let canary = &rollout.spec.strategy.canary;
    canary.stable_service == service || canary.canary_service == service
}

/// The Rollouts of a namespace that an object concerns.
fn who(store: &Store<Rollout>, namespace: Option<String>, concerns: impl Fn(&Rollout) -> bool) -> Vec<ObjectRef<Rollout>> {
    let same = |rollout: &&Arc<Rollout>| rollout.namespace() == namespace && concerns(rollout);
    store.state().iter().filter(same).map(|rollout| ObjectRef::from_obj(rollout.as_ref())).collect()
}

/// Ready means that our kinds can be read: passes need no cache. (Waiting for the stores of the loops here would take the
/// wake-up from the loops themselves: a kube-runtime store wakes only the task that asked last.)
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

/// Passes turn their own errors into backoff, so none comes here.
fn never<K>(_: Arc<K>, error: &std::convert::Infallible, _: Arc<Context>) -> Action {
    match *error {}
}

/// What is left are errors of the watches; they are renewed by themselves, with backoff.
async fn log_trouble<T, E: std::fmt::Display>(result: Result<T, E>) {
    if let Err(error) = result {
        tracing::warn!(%error, "watch interrupted; it is renewed");
    }
}
