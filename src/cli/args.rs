//! The command line of `kubectl tidegate`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::api::Duration;
use crate::api::request::RolloutAction;

/// See and steer progressive delivery
///
/// Everything goes through the API server as you: your rights hold, and the audit log names you.
///
/// Exit codes: 0 done or healthy, 1 unexpected, 2 usage, 3 refused, 4 timed out, 5 degraded, 6 waits for a person,
/// 7 not found, 8 forbidden, 9 cluster unreachable.
#[derive(Parser, Clone, Debug)]
#[command(name = "kubectl-tidegate", bin_name = "kubectl tidegate", version)]
pub struct Line {
    /// Which cluster, and how long to wait for it.
    #[command(flatten)]
    pub target: Target,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster and namespace.
#[derive(Args, Clone, Debug, Default)]
pub struct Target {
    /// Namespace. Default: the context's
    #[arg(short, long, global = true, value_name = "NAMESPACE", value_parser = name)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig. Default: the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig. Default: as kubectl finds it
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Longest time for one answer of the API server
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s")]
    pub request_timeout: Duration,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Show Rollouts or Applications: a table of all, or one with all that is known about it
    Get(Get),
    /// Say how a Rollout is, by sentence and exit code: 0 healthy, 4 still under way, 5 degraded, 6 waits for a person
    Status(StatusArgs),
    /// Show what is known of a canary: each metric's measurements, and the evidence on SLOs over time with the line it must reach
    Explain(Explain),
    /// Leave a pause or pass the current step
    Promote(Promote),
    /// Send traffic back to stable and hold this content
    Abort(Ask),
    /// Start a stopped revision again at the first step, lifting its hold
    Retry(Ask),
    /// Let nothing go on until `resume`; weights stay as they are, and verdicts still act
    Pause(Ask),
    /// End a `pause`
    Resume(Ask),
    /// Let the pods come up anew, a few at a time, as PodDisruptionBudgets and maxUnavailable allow
    Restart(Ask),
    /// Go back to an earlier, promoted revision
    ///
    /// Writes its template into the Rollout. One that an Application applies from Git is refused: revert the commit there.
    Undo(Undo),
    /// Say what would happen to a Rollout on a given day, from the controller's own decision; needs no cluster
    ///
    /// A day is one of good, fails, pods-crash, no-room, no-values and silent-gateway, or a file with one command a line:
    ///
    ///   deploy IMAGE             the template gets another image
    ///   wait 30s                 time passes
    ///   measure good | nothing   what the metrics say from now on
    ///   verdict failed WHY       or inconclusive, successful, error
    ///   promote | abort | retry | pause | resume | undo | restart pods
    ///   pods never IMAGE crash   or starting, unschedulable, quota, refused, image, lost; pods well; pods 20s
    ///   gateway silent           or how long it takes: gateway 5s
    ///   stable pods 1            all pods of stable but one are lost
    ///   weight 70                somebody edits the routes
    ///   replicas 5               somebody changes the size
    ///   status                   what the status is now
    #[command(verbatim_doc_comment)]
    Simulate(Simulate),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Flags of `get`.
#[derive(Args, Clone, Debug)]
pub struct Get {
    /// What to show
    #[arg(value_enum)]
    pub kind: Kind,
    /// Only this one, with all that is known about it
    #[arg(value_parser = name)]
    pub name: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub all_namespaces: bool,
    /// Another form than text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// Kinds that `get` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// How a workload's revisions go live
    #[value(aliases = ["ro", "rollouts"])]
    Rollout,
    /// A directory in Git, and where it goes
    #[value(aliases = ["app", "applications"])]
    Application,
}

/// Forms other than text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// The object, or a List
    Json,
    /// The same as YAML
    Yaml,
    /// `<kind>.tidegate.dev/<name>` a line
    Name,
}

/// Flags of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Name of the Rollout
    #[arg(value_parser = name)]
    pub name: String,
    /// Wait until it is healthy, degraded, or waits for a person
    #[arg(short, long)]
    pub watch: bool,
    /// Wait at most this long; implies --watch. Default: no limit
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<Duration>,
}

/// Flags of `explain`.
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// Name of the Rollout
    #[arg(value_parser = name)]
    pub name: String,
}

/// Flags of `promote`.
#[derive(Args, Clone, Debug)]
pub struct Promote {
    /// The request.
    #[command(flatten)]
    pub ask: Ask,
    /// Skip all remaining steps
    #[arg(long)]
    pub full: bool,
}

/// Flags of `simulate`.
#[derive(Args, Clone, Debug)]
pub struct Simulate {
    /// File with the Rollout; AnalysisTemplates in it are used
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The day: its name, or a file
    #[arg(long, value_name = "DAY", default_value = "good")]
    pub day: String,
    /// Which Rollout of the file
    #[arg(long, value_parser = name)]
    pub name: Option<String>,
}

/// Flags of `undo`.
#[derive(Args, Clone, Debug)]
pub struct Undo {
    /// The request.
    #[command(flatten)]
    pub ask: Ask,
    /// The revision to go back to. Default: stable while a canary is there, else the one promoted before stable
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(1..))]
    pub to_revision: Option<i64>,
}

/// What each command to a Rollout needs.
#[derive(Args, Clone, Debug)]
pub struct Ask {
    /// Name of the Rollout
    #[arg(value_parser = name)]
    pub name: String,
    /// How long to wait for the controller's answer; the request stands after that, too
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub timeout: Duration,
}

impl Promote {
    /// The action that the flags ask for.
    #[must_use]
    pub const fn action(&self) -> RolloutAction {
        if self.full { RolloutAction::PromoteFull } else { RolloutAction::Promote }
    }
}

/// Names become parts of addresses: only what Kubernetes allows in them gets that far.
fn name(text: &str) -> Result<String, String> {
    let plain = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.');
    let ends = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    if plain && ends && text.len() <= 253 {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 253 characters of a-z, 0-9, '-' and '.', and begins and ends with a letter or digit".to_owned())
    }
}
