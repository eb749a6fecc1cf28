//! The loops: observe, decide, execute, record. All I/O of the controller starts here.
//!
//! One loop per kind; each pass reads what it needs from the API server itself, and the watches only say when to look.
//! A pass that fails or panics is counted, logged, and tried again with backoff; it never takes another object with it.
//! Of several replicas the leader acts ([`leader`]); the others watch and stand by.

pub mod analysis;
pub mod application;
pub mod count;
pub mod error;
pub mod flags;
pub mod leader;
pub mod held;
pub mod pass;
pub mod queue;
pub mod rollout;
pub mod serve;
pub mod telemetry;
pub mod wanted;
pub mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt;
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
use crate::api::analysis::AnalysisRunStatus;
use crate::api::names;
use crate::api::rollout::RolloutStatus;
use crate::git;
use crate::sync::client::Cluster;
use count::CountLayer;
use flags::ControllerArgs;
use leader::Leadership;
use leader::election::Times;
use leader::fence::FenceLayer;
use leader::lease::Candidate;
use telemetry::Metrics;

/// How long the passes under way may take after a stop was asked for. Kubernetes kills after 30 s by default.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// The same where another replica waits: what is not done by then is cut, as by a crash, and the other one goes on with it.
const HAND_OVER_AFTER: Duration = Duration::from_millis(800);

/// Where the loops get the wall clock from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's wall clock.
#[must_use]
pub fn wall_clock() -> Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the loops read the clock")]
    Arc::new(Timestamp::now)
}

/// What a context has from the process around it.
#[expect(missing_debug_implementations, reason = "holds a clock, which is a function")]
pub struct Surroundings {
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// May this replica act?
    pub leadership: Leadership,
    /// The wall clock.
    pub clock: Clock,
    /// How soon it notices what no watch told it.
    pub nets: Nets,
}

/// How soon is noticed what no watch told: an event that was lost on the way.
#[derive(Clone, Copy, Debug)]
pub struct Nets {
    /// A list comes again this often. It wakes only what changed.
    pub list_again: Duration,
    /// What is under way is looked at again this often, whatever the watches say.
    pub look_again: Duration,
}

impl Default for Nets {
    fn default() -> Self {
        Self { list_again: Duration::from_secs(30 * 60), look_again: Duration::from_secs(60) }
    }
}

impl Default for Surroundings {
    /// The only replica, with the machine's clock.
    fn default() -> Self {
        Self { metrics: Arc::default(), leadership: Leadership::default(), clock: wall_clock(), nets: Nets::default() }
    }
}

/// What can wait in a Rollout's status waits this long when it comes alone, and this long after the last write.
const LATE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));

/// Good measurements of a run in good order are written at most this often.
const MEASUREMENTS: Duration = Duration::from_secs(15);

/// What every pass has at hand.
#[expect(missing_debug_implementations, reason = "holds clients, whose debug output says nothing")]
pub struct Context {
    /// The API server, as Tidegate itself.
    pub client: Client,
    /// The same, for looks that only ask whether there is anything to do.
    pub glancing: Client,
    /// What the watches have shown.
    pub seen: Arc<watch::seen::Seen>,
    /// The flags.
    pub args: ControllerArgs,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// May this replica act? Writes to the API server are also held to it by the client's own [`FenceLayer`].
    pub leadership: Leadership,
    /// What the probes are told.
    pub health: serve::Health,
    /// The metric servers.
    pub prometheus: Prometheus,
    /// The cluster as Applications apply to it: by their own service accounts.
    pub cluster: Cluster,
    /// Mirrors of Git repositories.
    pub git: git::client::Client,
    /// When branches were last looked at.
    pub polls: application::polls::Polls,
    /// Failures in a row per object, for backoff.
    pub failures: pass::Failures,
    clock: Clock,
    /// How soon is noticed what no watch told.
    pub nets: Nets,
    /// Statuses of Rollouts that are ahead of what is recorded.
    pub rollout_statuses: held::Held<RolloutStatus>,
    /// Statuses of AnalysisRuns that are ahead of what is recorded.
    pub run_statuses: held::Held<AnalysisRunStatus>,
    /// Measurements that Rollouts wait for.
    pub wanted: wanted::Wanted,
    known: Mutex<watch::known::Known>,
    recorder: Recorder,
    started: Instant,
}

impl Context {
    /// A context over an API server, of the only replica.
    pub fn new(client: Client, args: ControllerArgs) -> anyhow::Result<Self> {
        Self::within(client, args, Surroundings::default())
    }

    /// A context over an API server. The client has a [`FenceLayer`] for the same leadership.
    pub fn within(client: Client, args: ControllerArgs, surroundings: Surroundings) -> anyhow::Result<Self> {
        let Surroundings { metrics, leadership, clock, nets } = surroundings;
        let recorder = Recorder::new(client.clone(), Reporter { controller: "tidegate".to_owned(), instance: None });
        let prometheus = Prometheus::new(Limits::default()).context("failed to set up the client for metric servers")?;
        #[expect(clippy::disallowed_methods, reason = "the start of the process, for liveness only")]
        let started = Instant::now();
        let git = git::client::Client::new(&args.data_dir, git::client::Limits::default());
        let seen = Arc::default();
        Ok(Self {
            cluster: Cluster::new(client.clone()),
            nets,
            glancing: watch::glance::client(&client, &seen),
            seen,
            git,
            polls: application::polls::Polls::default(),
            client,
            args,
            metrics,
            leadership,
            clock,
            health: serve::Health::default(),
            prometheus,
            failures: pass::Failures::default(),
            rollout_statuses: held::Held::new(LATE.0, LATE.1),
            run_statuses: held::Held::new(MEASUREMENTS, MEASUREMENTS),
            wanted: wanted::Wanted::default(),
            known: Mutex::default(),
            recorder,
            started,
        })
    }

    /// Which Rollouts the watches have shown, and what each of them names.
    pub fn known(&self) -> MutexGuard<'_, watch::known::Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall clock, cut to microseconds: what is written to status reads back as the same value.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = (self.clock)();
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
    let leadership = if args.leader_elect { Leadership::standby() } else { Leadership::default() };
    let surroundings = Surroundings { leadership: leadership.clone(), ..Surroundings::default() };
    let client = connect(&surroundings).await?;
    let listener = TcpListener::bind(args.metrics_address)
        .await
        .with_context(|| format!("failed to listen on {} (--metrics-address)", args.metrics_address))?;
    let candidate = if args.leader_elect { Some(candidate(&args, &surroundings).await?) } else { None };
    let ctx = Arc::new(Context::within(client, args, surroundings)?);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    let (stop, stopped) = signal::channel(false);
    tokio::spawn(async move {
        wait_for_signal().await;
        tracing::info!("asked to stop; passes under way are finished");
        let _ = stop.send(true);
    });
    tokio::spawn(serve::heart(Arc::clone(&ctx)));
    tokio::spawn(tell_terms(Arc::clone(&ctx)));
    let server = tokio::spawn(serve::serve(Arc::clone(&ctx), listener, asked(stopped.clone())));
    let patience = if candidate.is_some() { HAND_OVER_AFTER } else { STOP_WITHIN };
    let candidacy = candidate.map(|candidate| tokio::spawn(candidate.run()));
    let loops = watch::loops(&ctx, stopped.clone());
    tokio::select! {
        () = loops => {}
        () = async { asked(stopped).await; tokio::time::sleep(patience).await } => {
            tracing::warn!("passes took longer than {patience:?} to finish; stopping anyway");
        }
    }
    // In this order: nothing is begun any more, and then another replica may begin.
    leadership.seal();
    if let Some(candidacy) = candidacy {
        candidacy.await.context("the leader election ended before the controller did")?;
    }
    server.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Logs when this replica begins and ceases to act, and hands its Rollouts' metrics over.
async fn tell_terms(ctx: Arc<Context>) {
    let mut begins = std::pin::pin!(ctx.leadership.begins());
    if ctx.leadership.holds() {
        tracing::info!("acting alone: no leader is elected");
        return;
    }
    tracing::info!("standing by");
    while begins.next().await.is_some() {
        let term = ctx.leadership.term();
        tracing::info!(term, "leading");
        ctx.leadership.over(term).await;
        tracing::info!(term, "not leading any more; standing by");
        ctx.metrics.forget_rollouts();
    }
}

/// Resolves once a stop was asked for.
pub async fn asked(mut stopped: signal::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn connect(surroundings: &Surroundings) -> anyhow::Result<Client> {
    // Longer than a watch may be silent; every other call has its own, shorter deadline.
    let config = config(watch::WATCH_TIMEOUT + Duration::from_secs(15)).await?;
    let builder = ClientBuilder::try_from(config).context(NO_CLIENT)?;
    let fence = FenceLayer(surroundings.leadership.clone());
    Ok(builder.with_layer(&CountLayer(Arc::clone(&surroundings.metrics))).with_layer(&fence).build())
}

/// Takes part in the election for the Lease of what the flags let this controller look after.
async fn candidate(args: &ControllerArgs, surroundings: &Surroundings) -> anyhow::Result<Candidate> {
    let times = Times::DEFAULT;
    let builder = ClientBuilder::try_from(config(times.call).await?).context(NO_CLIENT)?;
    let client = builder.with_layer(&CountLayer(Arc::clone(&surroundings.metrics))).build();
    let namespace = args.namespace.as_deref().unwrap_or(names::SYSTEM_NAMESPACE);
    let clock = Arc::clone(&surroundings.clock);
    let candidate = Candidate::new(client, namespace, times, surroundings.leadership.clone(), clock);
    tracing::info!(namespace, lease = names::LEASE, identity = candidate.identity(), "taking part in the election");
    Ok(candidate)
}

const NO_CLIENT: &str = "failed to set up the client for the API server";

async fn config(read_timeout: Duration) -> anyhow::Result<kube::Config> {
    let mut config = kube::Config::infer().await.context("failed to find the API server (in-cluster or KUBECONFIG)")?;
    config.connect_timeout = Some(Duration::from_secs(5).min(read_timeout));
    config.read_timeout = Some(read_timeout);
    // The client's own retries also repeat POSTs whose answer was lost. The next pass looks first instead.
    config.default_retry = false;
    Ok(config)
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
