//! The loops: observe, decide, execute, record. All I/O of the controller starts here.
//!
//! One loop per kind; each pass reads what it needs from the API server itself, and the watches only say when to look.
//! A pass that fails or panics is counted, logged, and tried again with backoff; it never takes another object with it.

pub mod analysis;
pub mod application;
pub mod count;
pub mod error;
pub mod flags;
pub mod pass;
pub mod rollout;
pub mod serve;
pub mod telemetry;
pub mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::Api;
use kube::client::ClientBuilder;
use kube::core::NamespaceResourceScope;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::net::TcpListener;
use tokio::sync::watch as signal;

use crate::analysis::provider::{Limits, Prometheus};
use crate::git;
use crate::sync::client::Cluster;
use count::CountLayer;
use flags::ControllerArgs;
use telemetry::Metrics;

/// How long the passes under way may take after a stop was asked for. Kubernetes kills after 30 s by default.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// What every pass has at hand.
#[expect(missing_debug_implementations, reason = "holds clients, whose debug output says nothing")]
pub struct Context {
    /// The API server, as Tidegate itself.
    pub client: Client,
    /// The flags.
    pub args: ControllerArgs,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// What the probes are told.
    pub health: serve::Health,
    /// The metric servers.
    pub prometheus: Prometheus,
    /// The cluster as Applications apply to it: by their own service accounts.
    pub cluster: Cluster,
    /// Mirrors of Git repositories.
    pub git: git::client::Client,
    /// When branches were last looked at.
    pub polls: application::source::Polls,
    /// Failures in a row per object, for backoff.
    pub failures: pass::Failures,
    recorder: Recorder,
    started: Instant,
}

impl Context {
    /// A context over an API server.
    pub fn new(client: Client, args: ControllerArgs) -> anyhow::Result<Self> {
        Self::with_metrics(client, args, Arc::default())
    }

    fn with_metrics(client: Client, args: ControllerArgs, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let recorder = Recorder::new(client.clone(), Reporter { controller: "tidegate".to_owned(), instance: None });
        let prometheus = Prometheus::new(Limits::default()).context("failed to set up the client for metric servers")?;
        #[expect(clippy::disallowed_methods, reason = "the start of the process, for liveness only")]
        let started = Instant::now();
        let git = git::client::Client::new(&args.data_dir, git::client::Limits::default());
        Ok(Self {
            cluster: Cluster::new(client.clone()),
            git,
            polls: application::source::Polls::default(),
            client,
            args,
            metrics,
            health: serve::Health::default(),
            prometheus,
            failures: pass::Failures::default(),
            recorder,
            started,
        })
    }

    /// The wall clock, cut to microseconds: what is written to status reads back as the same value.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place where the loops read the clock")]
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// All objects of a kind in the namespaces we look after.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match &self.args.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Seconds since the process started, on the monotonic clock.
    #[must_use]
    pub fn uptime_seconds(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX)
    }

    /// Writes an event. One that cannot be written is logged and forgotten: nothing depends on events.
    pub async fn event<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        warning: bool,
        reason: &str,
        message: &str,
        action: &str,
    ) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(message.chars().take(1000).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        let reference: ObjectReference = object.object_ref(&());
        let publish = self.recorder.publish(&event, &reference);
        if let Err(error) = error::within("write an event", publish).await {
            tracing::warn!(%error, "event lost");
        }
    }
}

/// Runs the controller until SIGTERM or SIGINT.
pub async fn run(args: ControllerArgs) -> anyhow::Result<()> {
    telemetry::start_logs(&args)?;
    let metrics = Arc::new(Metrics::default());
    let client = connect(&metrics).await?;
    let listener = TcpListener::bind(args.metrics_address)
        .await
        .with_context(|| format!("failed to listen on {} (--metrics-address)", args.metrics_address))?;
    let ctx = Arc::new(Context::with_metrics(client, args, metrics)?);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    let (stop, stopped) = signal::channel(false);
    tokio::spawn(async move {
        wait_for_signal().await;
        tracing::info!("asked to stop; passes under way are finished");
        let _ = stop.send(true);
    });
    tokio::spawn(serve::heart(Arc::clone(&ctx)));
    let server = tokio::spawn(serve::serve(Arc::clone(&ctx), listener, asked(stopped.clone())));
    let loops = watch::loops(&ctx, stopped.clone());
    tokio::select! {
        () = loops => {}
        () = async { asked(stopped).await; tokio::time::sleep(STOP_WITHIN).await } => {
            tracing::warn!("passes took longer than {} s to finish; stopping anyway", STOP_WITHIN.as_secs());
        }
    }
    server.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Resolves once a stop was asked for.
pub async fn asked(mut stopped: signal::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn connect(metrics: &Arc<Metrics>) -> anyhow::Result<Client> {
    let mut config = kube::Config::infer().await.context("failed to find the API server (in-cluster or KUBECONFIG)")?;
    config.connect_timeout = Some(Duration::from_secs(5));
    // Longer than a watch may be silent; every other call has its own, shorter deadline.
    config.read_timeout = Some(watch::WATCH_TIMEOUT + Duration::from_secs(15));
    // The client's own retries also repeat POSTs whose answer was lost. The next pass looks first instead.
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).context("failed to set up the client for the API server")?;
    Ok(builder.with_layer(&CountLayer(Arc::clone(metrics))).build())
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(error) => {
            tracing::error!(%error, "failed to listen for SIGTERM");
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
