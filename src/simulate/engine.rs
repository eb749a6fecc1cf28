//! A controller in the model: it looks, decides, and does its effects one by one. It keeps nothing in memory that its next
//! look would not find: what wakes it are changes, as watches would report them, and the time it asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::cluster::{Cluster, Kind, Snapshot};
use super::fault::{Fault, Plan};
use crate::rollout::decide::report;
use crate::rollout::effect::Effect;
use crate::rollout::invariant::{self, Actor, State, Violation};
use crate::rollout::spec::{self, ValidatedRollout};
use crate::rollout::{Decision, decide};

/// How long the controller waits after a pass that failed.
const BACK_OFF: Duration = Duration::from_secs(1);

/// One controller.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Its clock: the wall clock when it started, and time since then. A step of the wall clock does not move it.
    wall: Timestamp,
    started: Duration,
    /// What the cluster was like when it last looked.
    last: Option<Vec<u64>>,
    wake_at: Option<Timestamp>,
    /// Not before this time: after a failed pass, or while it is away.
    not_before: Duration,
    pass: Option<Pass>,
    /// Ages of its next look's reads.
    pub(super) stale: BTreeMap<Kind, Duration>,
}

/// One look and what is still to be done of what was decided on it.
#[derive(Clone, Debug)]
struct Pass {
    looked: Snapshot,
    decision: Decision,
    next: usize,
    /// Version of the cluster after this pass's own latest write; another one means that somebody else wrote.
    version: u64,
    /// It did not look at the cluster as it was then.
    late: bool,
    /// Time of the oldest thing that it looked at.
    from: Duration,
}

impl Engine {
    /// A controller that starts now.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self {
            wall: cluster.now,
            started: cluster.uptime,
            last: None,
            wake_at: None,
            not_before: Duration::ZERO,
            pass: None,
            stale: BTreeMap::new(),
        }
    }

    /// Its clock.
    pub(super) fn now(&self, cluster: &Cluster) -> Timestamp {
        self.wall.checked_add(signed(cluster.uptime.saturating_sub(self.started))).unwrap_or(self.wall)
    }

    /// Away: it died, or is not there yet.
    pub(super) fn is_away(&self, cluster: &Cluster) -> bool {
        cluster.uptime < self.not_before
    }

    /// Stops, and starts again with nothing in memory.
    pub(super) fn die(&mut self, cluster: &mut Cluster, away: Duration) {
        cluster.clock_is_read_anew();
        *self = Self::new(cluster);
        self.not_before = cluster.uptime + away;
    }

    /// Has it a reason to look: something it can see changed, or the time it asked for has come?
    pub(super) fn is_due(&self, cluster: &Cluster) -> bool {
        if self.is_away(cluster) {
            return false;
        }
        let asked = self.wake_at.is_some_and(|at| at <= self.now(cluster));
        asked || !self.stale.is_empty() || self.last.as_ref() != Some(&cluster.fingerprint())
    }

    /// Looks and decides.
    pub(super) fn look(&mut self, cluster: &Cluster) {
        let late = !self.stale.is_empty();
        let oldest = self.stale.values().max().copied().unwrap_or(Duration::ZERO);
        let mut looked = cluster.look_back(&std::mem::take(&mut self.stale));
        looked.seen.now = self.now(cluster);
        let decision = decision(&looked);
        self.wake_at = decision.requeue_at;
        // What was stale is news when it arrives.
        self.last = Some(cluster.fingerprint()).filter(|_| !late);
        self.pass =
            Some(Pass { looked, decision, next: 0, version: cluster.version, late, from: cluster.uptime.saturating_sub(oldest) });
    }

    /// Does its next effect, and judges what became of the cluster; none when nothing is left to do.
    pub(super) fn act(&mut self, cluster: &mut Cluster, plan: &mut Plan) -> Option<Vec<Violation>> {
        let pass = self.pass.as_mut()?;
        let Some(effect) = pass.decision.effects.get(pass.next).cloned() else {
            self.pass = None;
            return None;
        };
        pass.next += 1;
        let fault = plan.next();
        if let Some(fault) = fault {
            cluster.log.push(format!("effect {}: {fault}", plan.tried));
        }
        if let Some(Fault::CrashBefore(away)) = fault {
            self.die(cluster, away);
            return Some(Vec::new());
        }
        let actor = match pass.late || pass.version != cluster.version {
            false => Actor::Engine,
            true if cluster.meddled.is_some_and(|at| at >= pass.from) => Actor::Overtaken,
            true => Actor::Late,
        };
        let now = self.wall.checked_add(signed(cluster.uptime.saturating_sub(self.started))).unwrap_or(self.wall);
        let before = Judged::now(cluster, &pass.looked, now);
        let answer = match fault {
            Some(Fault::Refused) => Err("refused".to_owned()),
            _ => cluster.apply(&effect, &pass.looked.rollout, &pass.decision.status),
        };
        pass.version = cluster.version;
        let after = Judged::now(cluster, &pass.looked, now);
        let states = before.state().zip(after.state());
        let found = states.map(|(before, after)| invariant::check(before, after, actor)).unwrap_or_default();
        match (fault, answer) {
            (Some(Fault::CrashAfter(away)), _) => self.die(cluster, away),
            (Some(Fault::Unanswered), _) | (_, Err(_)) => {
                // It looks again after a pause, whatever it would see.
                self.pass = None;
                self.last = None;
                self.not_before = cluster.uptime + BACK_OFF;
            }
            _ => {}
        }
        Some(found)
    }

    /// Is there something decided that it has not done?
    pub(super) fn is_acting(&self) -> bool {
        self.pass.is_some()
    }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::ZERO)
}

/// As the controller decides: on what can be read of the Rollout; otherwise it says why it cannot.
fn decision(looked: &Snapshot) -> Decision {
    match spec::validate(&looked.rollout) {
        Ok(rollout) => decide(&rollout, &looked.seen),
        Err(why) => {
            let before = looked.rollout.status.clone().unwrap_or_default();
            let status = report::invalid(&before, looked.rollout.metadata.generation, &why.to_string(), looked.seen.now);
            let effects = if status == before { Vec::new() } else { vec![Effect::RecordStatus] };
            Decision { status, effects, requeue_at: None }
        }
    }
}

/// A state to be judged.
struct Judged {
    rollout: Option<ValidatedRollout>,
    seen: crate::rollout::Observed,
    serving: Vec<serde_json::Value>,
    paused_for: Option<Duration>,
}

impl Judged {
    /// A Rollout that cannot be read is judged as it was looked at, with the status of now.
    fn now(cluster: &Cluster, looked: &Snapshot, now: Timestamp) -> Self {
        let rollout = cluster.validated().or_else(|_| spec::validate(&looked.rollout)).ok().map(|mut rollout| {
            rollout.status = cluster.rollout.status.clone().unwrap_or_default();
            rollout
        });
        let mut seen = cluster.observe();
        seen.now = now;
        Self { rollout, seen, serving: cluster.serving(), paused_for: cluster.paused_for() }
    }

    fn state(&self) -> Option<State<'_>> {
        Some(State { rollout: self.rollout.as_ref()?, cluster: &self.seen, serving: &self.serving, paused_for: self.paused_for })
    }
}
