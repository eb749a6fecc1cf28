//! Scripts: an operator's story, line by line, and what the engine does about it.
//!
//! ```text
//! deploy shop:2          # somebody changes the image
//! spec {"replicas": 5}   # somebody merges a patch into the spec; replicas 5 is short for this one
//! wait 30s               # time passes, second by second; the engine looks when something changed, or when it asked to
//! measure good [each 5s] # the runs take a good measurement each second, or less often, from now on; measure nothing
//! verdict failed 31 of 412 requests failed | verdict of step 2 successful
//! outage begins | outage ends          # SLOs: canary and stable are both over budget
//! abort | promote | promote full | retry | pause | resume | undo | undo 3 | restart pods
//! runs                   # print the AnalysisRuns
//! status                 # print the status as kubectl would show it
//! roles                  # print how many pods carry which label `role`
//!
//! weight 70 [route web rule 0]         # somebody edits routes by hand
//! route [web] deleted | route created | route web rules 2
//! service stable|canary deleted | created | selects shop:1 | selects none
//! replicaset shop:1 deleted | scaled 2
//! stable|canary pods 1                 # all its pods but one are lost, and start again
//!
//! gateway silent | gateway 1s | gateway of web silent
//! endpoints 2s                         # how long the endpoints of a Service take to follow its selector
//! budget 3 | budget none               # a PodDisruptionBudget keeps so many pods ready
//! pods 5s | pods never shop:3 [crash|starting|unschedulable|quota|refused|image|lost] | pods shop:3 at most 1 | pods well
//! clock +1h | clock -1y                # somebody sets the clock (units as in the API: s, m, h)
//!
//! crash before effect 7 [away 17s] | crash after effect 7 [away 17s]   # see fault.rs
//! lose answer of effect 7 | refuse effect 7 | no more faults
//! refuse writes of routes | refuse nothing
//! restart | away 17s                   # the controller starts anew, or is gone for a time
//! stale 5s | stale routes 5s           # the next look is that old, or its reads of one kind are
//! late look                            # a second controller looks, decides, and stands still
//! late acts [1]                        # it wakes up, and does all (or so many) of its effects
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use super::cluster::Cluster;
use super::engine::Engine;
use super::fault::Plan;
use crate::api::request::{RolloutAction, RolloutRequest};
use crate::rollout::invariant::Violation;

/// Passes allowed within one moment. More means that the engine talks to itself.
const SETTLE_LIMIT: usize = 30;

/// A script under way.
#[derive(Debug)]
pub struct Script {
    pub(super) cluster: Cluster,
    pub(super) engine: Engine,
    pub(super) late: Option<Engine>,
    pub(super) plan: Plan,
    pub(super) measuring: bool,
    /// Seconds between measurements.
    pub(super) measured_each: u64,
    requests: u32,
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
        Self {
            engine: Engine::new(&cluster),
            cluster,
            late: None,
            plan: Plan::default(),
            measuring: false,
            measured_each: 1,
            requests: 0,
            out: String::new(),
            last_status: String::new(),
            violations: Vec::new(),
        }
    }

    /// Runs all lines; returns what happened, in words.
    pub fn run(&mut self, text: &str) -> Result<String, ScriptError> {
        self.cluster.remembers |= text.lines().any(|line| line.trim_start().starts_with("stale "));
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

    pub(super) fn request(&mut self, action: RolloutAction, to_revision: Option<i64>) {
        self.requests += 1;
        let status = self.cluster.rollout.status.clone().unwrap_or_default();
        let revision = status.canary.as_ref().or(status.stable.as_ref()).map(|revision| revision.revision);
        let id = format!("request-{}", self.requests);
        let step = status.current_step_index;
        let request = RolloutRequest { id, action, revision, step, to_revision };
        self.cluster.edit(|rollout| rollout.spec.request = Some(request));
    }

    pub(super) fn wait(&mut self, time: Duration) -> Result<(), String> {
        for _ in 0..time.as_secs() {
            self.cluster.pass(Duration::from_secs(1));
            // The loop that measures is in the same controller: it is away when that is.
            let due = self.cluster.uptime.as_secs().is_multiple_of(self.measured_each);
            if self.measuring && due && !self.engine.is_away(&self.cluster) {
                let at = self.engine.now(&self.cluster);
                self.cluster.measure_good(at);
            }
            self.settle()?;
        }
        Ok(())
    }

    /// Looks and acts until nothing is left to do in this moment.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..SETTLE_LIMIT {
            if !self.engine.is_due(&self.cluster) {
                return Ok(());
            }
            self.engine.look(&self.cluster);
            while let Some(found) = self.engine.act(&mut self.cluster, &mut self.plan) {
                self.violations.extend_from_slice(&found);
                self.tell_violations(&found);
            }
            self.report();
        }
        Err(format!("not at rest after {SETTLE_LIMIT} passes in one moment"))
    }

    /// The second controller wakes up and goes on with what it had decided.
    pub(super) fn late_acts(&mut self, times: usize) {
        let Some(mut late) = self.late.take() else { return };
        for _ in 0..times {
            let Some(found) = late.act(&mut self.cluster, &mut self.plan) else { break };
            self.violations.extend_from_slice(&found);
            self.tell_violations(&found);
        }
        self.late = Some(late).filter(Engine::is_acting);
        self.report();
    }

    fn tell_violations(&mut self, violations: &[Violation]) {
        self.cluster.log.extend(violations.iter().map(|violation| format!("VIOLATION {violation}")));
    }

    fn report(&mut self) {
        let at = self.cluster.uptime.as_secs();
        for line in std::mem::take(&mut self.cluster.log) {
            let _ = writeln!(self.out, "{at:>5}s  {line}");
        }
        let status = self.cluster.rollout.status.clone().unwrap_or_default();
        if let Some(answer) = status.requests.first()
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

    pub(super) fn print_roles(&mut self) {
        let _ = writeln!(self.out, "       {}", self.cluster.roles());
    }

    pub(super) fn print_runs(&mut self) {
        let _ = writeln!(self.out, "       {}", self.cluster.runs().join(", "));
    }

    pub(super) fn print_status(&mut self) {
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

    /// How many effects were tried so far.
    #[must_use]
    pub fn effects(&self) -> u64 {
        self.plan.tried
    }
}
