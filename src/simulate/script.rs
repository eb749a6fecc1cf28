//! Scripts: an operator's story, line by line, and what the engine does about it.
//!
//! ```text
//! deploy shop:2          # somebody changes the image
//! wait 30s               # time passes, second by second; the engine looks whenever something changed
//! measure good           # the runs take a good measurement each second from now on
//! verdict failed 31 of 412 requests failed
//! abort | promote | promote full | retry
//! weight 70              # somebody edits the route by hand
//! stable pods 1          # all stable pods but one are lost
//! gateway silent | gateway 1s
//! pods never shop:3 | pods 5s
//! route deleted
//! status                 # print the status as kubectl would show it
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use super::cluster::Cluster;
use crate::api::analysis::RunPhase;
use crate::api::request::{RolloutAction, RolloutRequest};
use crate::rollout::invariant::Violation;

/// Reconciles allowed within one moment. More means that the engine talks to itself.
const SETTLE_LIMIT: usize = 30;

/// A script under way.
#[derive(Debug)]
pub struct Script {
    cluster: Cluster,
    measuring: bool,
    requests: u32,
    started: jiff::Timestamp,
    out: String,
    last_status: String,
    /// Broken invariants, in the order they were found.
    pub violations: Vec<Violation>,
}

/// A line that is no command, or an engine that does not come to rest.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ScriptError {
    /// 1-based.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl Script {
    /// A script over a cluster.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        let started = cluster.now;
        let (out, last_status) = (String::new(), String::new());
        Self { cluster, measuring: false, requests: 0, started, out, last_status, violations: Vec::new() }
    }

    /// Runs all lines; returns what happened, in words.
    pub fn run(&mut self, text: &str) -> Result<String, ScriptError> {
        for (index, raw) in text.lines().enumerate() {
            let line = raw.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let _ = writeln!(self.out, "> {line}");
            self.command(line).and_then(|()| self.settle()).map_err(|what| ScriptError { line: index + 1, what })?;
        }
        Ok(std::mem::take(&mut self.out))
    }

    fn command(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, rest) {
            ("deploy", image) => self.cluster.set_image(image),
            ("wait", time) => return self.wait(parse(time)?),
            ("measure", "good") => self.measuring = true,
            ("measure", "nothing") => self.measuring = false,
            ("verdict", what) => {
                let (phase, message) = what.split_once(' ').unwrap_or((what, "as the script says"));
                let phase = match phase {
                    "failed" => RunPhase::Failed,
                    "inconclusive" => RunPhase::Inconclusive,
                    "successful" => RunPhase::Successful,
                    "error" => RunPhase::Error,
                    other => return Err(format!("verdict '{other}'; allowed are failed, inconclusive, successful, error")),
                };
                self.measuring = false;
                self.cluster.verdict(phase, message);
            }
            ("abort", "") => self.request(RolloutAction::Abort),
            ("promote", "") => self.request(RolloutAction::Promote),
            ("promote", "full") => self.request(RolloutAction::PromoteFull),
            ("retry", "") => self.request(RolloutAction::Retry),
            ("weight", number) => {
                self.cluster.edit_weight(number.parse().map_err(|_| format!("weight '{number}' is not a number"))?)
            }
            ("stable", pods) => {
                let left = pods.trim_start_matches("pods ").parse().map_err(|_| format!("'{pods}' is not 'pods N'"))?;
                self.cluster.lose_stable_pods(left);
            }
            ("replicas", number) => {
                self.cluster.rollout.spec.replicas =
                    number.parse().map_err(|_| format!("replicas '{number}' is not a number"))?;
            }
            ("gateway", "silent") => self.cluster.world.gateway_answers_in = None,
            ("gateway", time) => self.cluster.world.gateway_answers_in = Some(parse(time)?),
            ("pods", what) => match what.strip_prefix("never ") {
                Some(image) => self.cluster.world.never_ready.push(image.to_owned()),
                None => self.cluster.world.pods_start_in = parse(what)?,
            },
            ("route", "deleted") => self.cluster.delete_route(),
            ("status", "") => self.print_status(),
            _ => return Err(format!("'{line}' is no command")),
        }
        Ok(())
    }

    fn request(&mut self, action: RolloutAction) {
        self.requests += 1;
        let status = self.cluster.rollout.status.clone().unwrap_or_default();
        let revision = status.canary.as_ref().or(status.stable.as_ref()).map(|revision| revision.revision);
        let id = format!("request-{}", self.requests);
        self.cluster.rollout.spec.request = Some(RolloutRequest { id, action, revision, step: status.current_step_index });
    }

    fn wait(&mut self, time: Duration) -> Result<(), String> {
        for _ in 0..time.as_secs() {
            self.cluster.pass(Duration::from_secs(1));
            if self.measuring {
                self.cluster.measure_good();
            }
            self.settle()?;
        }
        Ok(())
    }

    /// Reconciles until nothing is left to do in this moment.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..SETTLE_LIMIT {
            let (decision, violations) = self.cluster.reconcile().map_err(|error| error.to_string())?;
            self.report(&violations);
            self.violations.extend(violations);
            if decision.effects.is_empty() {
                return Ok(());
            }
        }
        Err(format!("not at rest after {SETTLE_LIMIT} reconciles in one moment"))
    }

    fn report(&mut self, violations: &[Violation]) {
        let at = self.cluster.now.duration_since(self.started).as_secs();
        for line in std::mem::take(&mut self.cluster.log) {
            let _ = writeln!(self.out, "{at:>5}s  {line}");
        }
        for violation in violations {
            let _ = writeln!(self.out, "{at:>5}s  VIOLATION {violation}");
        }
        let status = self.cluster.rollout.status.clone().unwrap_or_default();
        if let Some(answer) = status.requests.first()
            && answer.at.0 == self.cluster.now
            && !self.out.contains(&format!("answer {}:", answer.id))
        {
            let _ = writeln!(self.out, "{at:>5}s  answer {}: {:?}, {}", answer.id, answer.outcome, answer.message);
        }
        let phase = status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default();
        let line = format!("{phase}: {}", status.message.unwrap_or_default());
        if line != self.last_status {
            let _ = writeln!(self.out, "{at:>5}s  {line}");
            self.last_status = line;
        }
    }

    fn print_status(&mut self) {
        let status = self.cluster.rollout.status.clone().unwrap_or_default();
        let weight = status
            .weights
            .as_ref()
            .map_or_else(|| "?".to_owned(), |w| format!("{}/{} verified {}", w.canary, w.stable, w.verified));
        let waiting = status.waiting_on.map_or_else(|| "nothing".to_owned(), |w| format!("{:?}: {}", w.reason, w.detail));
        let reasons = status.conditions.iter().filter(|c| c.status == "True").map(|c| format!("{}={}", c.type_, c.reason));
        let _ = writeln!(
            self.out,
            "       weights {weight}; step {:?}; waiting on {waiting}",
            status.current_step_index.unwrap_or(0)
        );
        let _ = writeln!(self.out, "       {}", reasons.collect::<Vec<_>>().join(" "));
    }

    /// What happened since the last complete run, in words: for a script that stopped in the middle.
    #[must_use]
    pub fn output(&self) -> &str {
        &self.out
    }

    /// The cluster as it is now.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

fn parse(time: &str) -> Result<Duration, String> {
    time.parse::<crate::api::Duration>().map(crate::api::Duration::std).map_err(|error| error.to_string())
}
