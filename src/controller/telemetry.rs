//! Logs and metrics. Labels are bounded: namespace, name, phase, reason, verb, kind, outcome.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use super::flags::{ControllerArgs, LogFormat};
use crate::api::rollout::{RolloutPhase, RolloutStatus, Weights};

/// Starts logging as the flags say.
pub fn start_logs(args: &ControllerArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log_level)?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let started = match args.log_format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("failed to start the log: {error}"))
}

/// Which Rollout.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RolloutLabels {
    namespace: String,
    name: String,
}

impl RolloutLabels {
    /// Labels of a Rollout.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    namespace: String,
    name: String,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindReason {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GitLabels {
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabels {
    verb: &'static str,
    resource: String,
    code: u16,
}

/// All metrics of the controller.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    phase: Family<PhaseLabels, Gauge>,
    step: Family<RolloutLabels, Gauge>,
    weight: Family<RolloutLabels, Gauge<f64, AtomicU64>>,
    completed: Family<OutcomeLabel, Counter>,
    verdicts: Family<VerdictLabel, Counter>,
    write_backs: Family<ReasonLabel, Counter>,
    syncs: Family<OutcomeLabel, Counter>,
    git: Family<GitLabels, Counter>,
    api: Family<ApiLabels, Counter>,
    reconciles: Family<KindLabel, Histogram>,
    errors: Family<KindReason, Counter>,
    /// From a verdict Failed to the patch that took the canary's weight to 0.
    pub verdict_to_weight: Histogram,
    /// From a verdict Failed to the revert commit on the branch.
    pub verdict_to_commit: Histogram,
    /// Length of one sync.
    pub sync_duration: Histogram,
    /// 1 while this replica acts, 0 while it stands by.
    pub leader: Gauge,
    memory: Gauge<f64, AtomicU64>,
}

const PHASES: [(RolloutPhase, &str); 4] = [
    (RolloutPhase::Progressing, "Progressing"),
    (RolloutPhase::Paused, "Paused"),
    (RolloutPhase::Healthy, "Healthy"),
    (RolloutPhase::Degraded, "Degraded"),
];

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("tidegate"),
            phase: Family::default(),
            step: Family::default(),
            weight: Family::default(),
            completed: Family::default(),
            verdicts: Family::default(),
            write_backs: Family::default(),
            syncs: Family::default(),
            git: Family::default(),
            api: Family::default(),
            reconciles: Family::new_with_constructor(seconds),
            errors: Family::default(),
            verdict_to_weight: seconds(),
            verdict_to_commit: seconds(),
            sync_duration: seconds(),
            leader: Gauge::default(),
            memory: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("rollout_phase", "1 for the phase a Rollout is in, 0 for the others", self.phase.clone());
        registry.register("rollout_step", "Index of the Rollout's current step", self.step.clone());
        registry.register("rollout_weight", "Percent of traffic on the canary, as last seen", self.weight.clone());
        registry.register("rollouts_completed", "Revisions that ended", self.completed.clone());
        registry.register("verdicts", "Verdicts of AnalysisRuns", self.verdicts.clone());
        registry.register("write_backs", "Write-backs that ended, by reason", self.write_backs.clone());
        registry.register("sync", "Syncs of Applications", self.syncs.clone());
        registry.register("git_operations", "Fetches and pushes", self.git.clone());
        registry.register("api_requests", "Calls to the API server; code 0: no answer", self.api.clone());
        registry.register("reconcile_duration_seconds", "Length of one pass", self.reconciles.clone());
        registry.register("reconcile_errors", "Passes that ended early, by reason", self.errors.clone());
        registry.register("verdict_to_weight_seconds", "From a verdict Failed to weight 0", self.verdict_to_weight.clone());
        registry.register(
            "verdict_to_commit_seconds",
            "From a verdict Failed to the revert commit",
            self.verdict_to_commit.clone(),
        );
        registry.register("sync_duration_seconds", "Length of one sync", self.sync_duration.clone());
        registry.register("leader", "1 while this replica acts, 0 while it stands by", self.leader.clone());
        registry.register("process_resident_memory_bytes", "Resident memory of the controller", self.memory.clone());
    }

    /// A Rollout as it is now.
    pub fn rollout(&self, labels: &RolloutLabels, status: &RolloutStatus) {
        for (phase, word) in PHASES {
            let labels = PhaseLabels { namespace: labels.namespace.clone(), name: labels.name.clone(), phase: word };
            self.phase.get_or_create(&labels).set(i64::from(status.phase == Some(phase)));
        }
        self.step.get_or_create(labels).set(i64::from(status.current_step_index.unwrap_or(0)));
        let percent = |weights: &Weights| {
            f64::from(weights.canary) * 100.0 / f64::from(weights.canary.saturating_add(weights.stable).max(1))
        };
        self.weight.get_or_create(labels).set(status.weights.as_ref().map_or(0.0, percent));
    }

    /// A Rollout that is gone leaves no series behind.
    pub fn forget_rollout(&self, namespace: &str, name: &str) {
        let labels = RolloutLabels::new(namespace, name);
        for (_, phase) in PHASES {
            self.phase.remove(&PhaseLabels { namespace: namespace.to_owned(), name: name.to_owned(), phase });
        }
        self.step.remove(&labels);
        self.weight.remove(&labels);
    }

    /// Another replica looks after the Rollouts now, and has their series.
    pub fn forget_rollouts(&self) {
        self.phase.clear();
        self.step.clear();
        self.weight.clear();
    }

    /// A revision ended.
    pub fn completed(&self, outcome: &'static str) {
        self.completed.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// An AnalysisRun got a verdict.
    pub fn verdict(&self, verdict: &str) {
        self.verdicts.get_or_create(&VerdictLabel { verdict: verdict.to_owned() }).inc();
    }

    /// A write-back ended.
    pub fn write_back(&self, reason: &str) {
        self.write_backs.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
    }

    /// A sync ended.
    pub fn sync(&self, outcome: &'static str) {
        self.syncs.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A fetch or push ended.
    pub fn git(&self, verb: &'static str, outcome: &'static str) {
        self.git.get_or_create(&GitLabels { verb, outcome }).inc();
    }

    /// A call to the API server ended; code 0 stands for no answer.
    pub fn api_request(&self, verb: &'static str, resource: &str, code: u16) {
        self.api.get_or_create(&ApiLabels { verb, resource: resource.to_owned(), code }).inc();
    }

    /// One pass ended.
    pub fn pass(&self, kind: &'static str, length: std::time::Duration, error: Option<&'static str>) {
        self.reconciles.get_or_create(&KindLabel { kind }).observe(length.as_secs_f64());
        if let Some(reason) = error {
            self.errors.get_or_create(&KindReason { kind, reason }).inc();
        }
    }

    /// The text that Prometheus scrapes (OpenMetrics).
    #[must_use]
    pub fn text(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            let _ = writeln!(text, "# failed to write the metrics: {error}");
        }
        text
    }
}

/// Resident memory, where the system has `/proc`.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    Some(kib * 1024.0)
}
