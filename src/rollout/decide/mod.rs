//! What to do next, from what is seen and what is recorded.
//!
//! One file per concern: `request` and `undo` (commands), `pause` (a person's, and a failure's), `canary` (the steps),
//! `analysis` (runs and evidence), `weight` (traffic up and down), `deadline` (pods that do not come), `promote` (first
//! deployment and promotion), `scale` (ReplicaSets beside a router), `ratio` (without one), `wear` (metadata by role), `restart`
//! (evictions), `autoscale` (what an HPA sees), `contest` (who resets what), `report` (status in words).

mod analysis;
mod autoscale;
mod canary;
mod contest;
mod deadline;
mod pause;
mod promote;
mod ratio;
pub mod report;
mod request;
mod restart;
mod scale;
mod undo;
mod wear;
mod weight;

use jiff::Timestamp;

use super::effect::Effect;
use super::observed::Observed;
use super::spec::ValidatedRollout;
use crate::api::Time;
use crate::api::rollout::{
    Failure, FailureCause, Hold, KEPT_HOLDS, KEPT_REVISIONS, PauseCondition, PauseReason, Revision, RolloutPhase, RolloutStatus,
    TrafficRouting, WaitingReason,
};

/// What to record, what to do, and when to look again at the latest.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The whole status, to be written where [`Effect::RecordStatus`] stands.
    pub status: RolloutStatus,
    /// In order: what lowers risk, the record (when the status changed), what raises risk.
    pub effects: Vec<Effect>,
    /// When to look again even if nothing changes; none when only a change can matter.
    pub requeue_at: Option<Timestamp>,
}

/// Decides. Pure and total: the same input gives the same decision, and no input panics.
#[must_use]
pub fn decide(spec: &ValidatedRollout, seen: &Observed) -> Decision {
    let mut draft = Draft::new(spec, seen);
    weight::observe(&mut draft);
    contest::observe(&mut draft);
    draft.begin_revision();
    request::answer(&mut draft);
    analysis::act_on_verdicts(&mut draft);
    deadline::act(&mut draft);
    draft.begin_revision();
    match draft.situation() {
        Situation::Promoting => promote::finish(&mut draft),
        Situation::First => match pause::by_person(&draft) {
            Some(paused) => pause::first(&mut draft, paused),
            None => promote::first(&mut draft),
        },
        Situation::AtStable => canary::return_to_stable(&mut draft),
        Situation::Stopped => canary::stopped(&mut draft),
        Situation::Canary => canary::advance(&mut draft),
    }
    deadline::finish(&mut draft);
    promote::keep_stable_service(&mut draft);
    ratio::carry_out(&mut draft);
    analysis::tidy(&mut draft);
    scale::tidy(&mut draft);
    wear::act(&mut draft);
    restart::act(&mut draft);
    autoscale::record(&mut draft);
    report::finish(&mut draft);
    contest::finish(&mut draft);
    draft.into_decision()
}

/// Where a Rollout stands, read off its spec and its record alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    /// Past the point of no return of a promotion.
    Promoting,
    /// Nothing was ever stable.
    First,
    /// The spec asks for what is stable.
    AtStable,
    /// The spec asks for content that was stopped and is held.
    Stopped,
    /// The spec asks for something new.
    Canary,
}

/// The decision in the making.
struct Draft<'a> {
    spec: &'a ValidatedRollout,
    seen: &'a Observed,
    status: RolloutStatus,
    /// Effects that lower risk: they need no record and come first.
    lower: Vec<Effect>,
    /// Effects that raise risk, or only make sense once the record stands.
    raise: Vec<Effect>,
    /// Size of the canary: what the last step looked at wants. Several steps may be passed in one go, and an earlier one's
    /// wish must not take the pods away that a later one is about to send traffic to.
    canary_pods: Vec<Effect>,
    /// Stable has at least the pods that it needed at the step with which the pass began.
    stable_may_shrink: bool,
    /// Without a router: the sizes to get to.
    goal: Option<ratio::Goal>,
    /// The canary's share of traffic as seen, the largest of all routes; none when a route cannot be read.
    weight: Option<i32>,
    /// Why a weight is not verified; none when it is.
    unverified: Option<String>,
    phase: RolloutPhase,
    reason: &'static str,
    message: String,
    waiting: Option<(WaitingReason, String)>,
    /// How many pods of the spec's revision are waited for, when fewer are there.
    short_of: Option<i32>,
    requeue_at: Option<Timestamp>,
}

impl<'a> Draft<'a> {
    fn new(spec: &'a ValidatedRollout, seen: &'a Observed) -> Self {
        Self {
            spec,
            seen,
            status: spec.status.clone(),
            lower: Vec::new(),
            raise: Vec::new(),
            canary_pods: Vec::new(),
            stable_may_shrink: false,
            goal: None,
            weight: None,
            unverified: None,
            phase: RolloutPhase::Progressing,
            reason: "",
            message: String::new(),
            waiting: None,
            short_of: None,
            requeue_at: None,
        }
    }

    fn now(&self) -> Time {
        Time(self.seen.now)
    }

    fn situation(&self) -> Situation {
        if self.status.promoting.is_some() {
            return Situation::Promoting;
        }
        match &self.status.stable {
            None => Situation::First,
            Some(stable) if stable.digest == self.spec.digest => Situation::AtStable,
            Some(_) if self.is_held() => Situation::Stopped,
            Some(_) => Situation::Canary,
        }
    }

    fn is_held(&self) -> bool {
        self.status.holds.iter().any(|hold| hold.digest == self.spec.digest)
    }

    fn stable_hash(&self) -> Option<String> {
        self.status.stable.as_ref().map(|stable| stable.hash.clone())
    }

    fn step_index(&self) -> usize {
        usize::try_from(self.status.current_step_index.unwrap_or(0)).unwrap_or(0)
    }

    fn attempt(&self) -> i32 {
        self.status.attempt.unwrap_or(1)
    }

    /// Number of the revision under way.
    fn revision(&self) -> i64 {
        self.status.canary.as_ref().map_or(0, |canary| canary.revision)
    }

    /// Starts a new revision, or a new attempt of the present one when its steps changed, where that is due.
    fn begin_revision(&mut self) {
        if !matches!(self.situation(), Situation::First | Situation::Canary) {
            return;
        }
        let spec = self.spec;
        let known = self.status.canary.as_ref().is_some_and(|canary| canary.digest == spec.digest);
        if !known {
            let revision = Revision {
                hash: spec.hash.clone(),
                revision: self.next_revision(),
                digest: spec.digest.clone(),
                commit: spec.commit.clone(),
                promoted_at: None,
            };
            self.status.revisions.insert(0, revision.clone());
            self.forget_revisions();
            self.status.canary = Some(revision);
            self.status.failure = None;
            self.restart(1);
        } else if self.status.steps_digest.as_deref() != Some(spec.steps_digest.as_str()) && self.status.steps_digest.is_some() {
            self.restart(self.attempt() + 1);
        } else if self.status.canary.as_ref().is_some_and(|canary| canary.commit.is_none()) && spec.commit.is_some() {
            // Sync may write the commit a moment after the template.
            self.record_commit();
        }
    }

    /// Drops the oldest revisions, but neither of the two that were promoted last: to those people go back.
    fn forget_revisions(&mut self) {
        let mut promoted = 0;
        let mut place = 0;
        self.status.revisions.retain(|revision| {
            let kept = revision.promoted_at.is_some() && {
                promoted += 1;
                promoted <= 2
            };
            place += 1;
            kept || place <= KEPT_REVISIONS
        });
    }

    fn record_commit(&mut self) {
        let (digest, commit) = (&self.spec.digest, &self.spec.commit);
        for revision in self.status.revisions.iter_mut().chain(self.status.canary.iter_mut()) {
            if revision.digest == *digest && revision.commit.is_none() {
                revision.commit.clone_from(commit);
            }
        }
    }

    /// Back to the first step, as the given attempt.
    fn restart(&mut self, attempt: i32) {
        self.status.attempt = Some(attempt);
        self.status.current_step_index = Some(0);
        self.status.step_count = i32::try_from(self.spec.steps.len()).ok();
        self.status.steps_digest = Some(self.spec.steps_digest.clone());
        self.end_pauses();
        self.status.abort = false;
        self.status.aborted_at = None;
        self.status.promote_full = false;
        self.status.progress = None;
        self.status.overruled.clear();
        if self.is_rollback() {
            self.status.promote_full = true;
            self.status.current_step_index = self.status.step_count;
        }
    }

    /// Was this content promoted a little while ago, as `rollbackWindow` has it? Only its first attempt goes without steps.
    fn is_rollback(&self) -> bool {
        let Some(stable) = &self.status.stable else { return false };
        let mut promoted: Vec<&Revision> = self.status.revisions.iter().filter(|r| r.promoted_at.is_some()).collect();
        promoted.sort_by_key(|revision| std::cmp::Reverse(revision.promoted_at.as_ref().map(|at| at.0)));
        let mut digests: Vec<&str> = promoted.iter().map(|r| r.digest.as_str()).filter(|d| *d != stable.digest).collect();
        digests.dedup();
        self.attempt() == 1 && digests.into_iter().take(self.spec.life.rollback_window).any(|d| d == self.spec.digest)
    }

    /// Every pause ends but a person's: that one outlasts steps and revisions, until `resume`.
    fn end_pauses(&mut self) {
        self.status.pause_conditions.retain(|pause| pause.reason == PauseReason::PausedByUser);
    }

    /// Nothing is under way any more: all steps count as passed, and nothing of the attempt is left.
    fn end_attempt(&mut self) {
        self.status.attempt = None;
        self.status.abort = false;
        self.status.aborted_at = None;
        self.status.promote_full = false;
        self.status.pause_conditions.clear();
        self.status.progress = None;
        self.status.overruled.clear();
        self.status.step_count = i32::try_from(self.spec.steps.len()).ok();
        self.status.current_step_index = self.status.step_count;
        self.status.steps_digest = None;
    }

    fn next_revision(&self) -> i64 {
        let recorded = self.status.revisions.iter().chain(&self.status.stable).chain(&self.status.canary).map(|r| r.revision);
        let labelled = self.seen.replica_sets.iter().map(|rs| rs.revision);
        recorded.chain(labelled).max().unwrap_or(0).saturating_add(1)
    }

    /// Stops the canary: recorded with a hold, so that this content is not rolled out again by itself.
    fn stop(&mut self, cause: FailureCause, found: Found) {
        let id = format!("{}/{}/{}", self.spec.uid, self.revision(), self.attempt());
        let at = found.at.unwrap_or_else(|| self.now());
        self.status.abort = true;
        self.status.aborted_at = Some(self.now());
        self.status.pause_conditions.clear();
        self.status.progress = None;
        self.status.promote_full = false;
        self.status.holds.retain(|hold| hold.digest != self.spec.digest);
        let hold = Hold {
            digest: self.spec.digest.clone(),
            reason: cause,
            since: self.now(),
            failure: id.clone(),
            message: found.evidence.clone(),
        };
        self.status.holds.insert(0, hold);
        self.status.holds.truncate(KEPT_HOLDS);
        self.status.failure = Some(Failure {
            id,
            cause,
            revision: self.revision(),
            template_digest: self.spec.digest.clone(),
            commit: self.status.canary.as_ref().and_then(|canary| canary.commit.clone()),
            verdict: found.verdict,
            analysis_run: found.analysis_run,
            metric: found.metric,
            evidence: found.evidence,
            step: self.status.current_step_index.unwrap_or(0),
            steps: self.status.step_count.unwrap_or(0),
            // The recorded one is more than what is seen when an earlier pass took the traffic away and died.
            weight: self.weight.max(self.spec.status.weights.as_ref().map(|w| w.canary)).unwrap_or(0),
            max_traffic_weight: Some(self.spec.whole).filter(|whole| *whole != TrafficRouting::WHOLE),
            started_at: found.started_at,
            at,
        });
    }

    fn wait(&mut self, reason: WaitingReason, detail: impl Into<String>) {
        self.waiting = Some((reason, detail.into()));
    }

    /// Waits for pods of the spec's revision: on the clock of the progress deadline.
    fn wait_for_pods(&mut self, wanted: i32, detail: impl Into<String>) {
        self.short_of = Some(wanted);
        self.wait(WaitingReason::PodsReady, detail);
    }

    fn say(&mut self, phase: RolloutPhase, reason: &'static str, message: impl Into<String>) {
        self.phase = phase;
        self.reason = reason;
        self.message = message.into();
    }

    /// Look again at this time at the latest.
    fn requeue(&mut self, at: Timestamp) {
        self.requeue_at = Some(self.requeue_at.map_or(at, |present| present.min(at)));
    }

    /// Since when the rollout pauses for this reason; begins now if it does not yet.
    fn pause_since(&mut self, reason: PauseReason) -> Timestamp {
        if let Some(found) = self.status.pause_conditions.iter().find(|pause| pause.reason == reason) {
            return found.start_time.0;
        }
        self.status.pause_conditions.push(PauseCondition { reason, start_time: self.now() });
        self.seen.now
    }

    fn unpause(&mut self, reason: PauseReason) {
        self.status.pause_conditions.retain(|pause| pause.reason != reason);
    }

    fn into_decision(mut self) -> Decision {
        // A spec that is about to become another one is not pursued.
        if self.raise.iter().any(|effect| matches!(effect, Effect::RestoreTemplate { .. })) {
            self.canary_pods.clear();
            self.raise.retain(|effect| matches!(effect, Effect::RestoreTemplate { .. }));
        }
        let mut effects = self.lower;
        if self.status != self.spec.status {
            effects.push(Effect::RecordStatus);
        }
        effects.extend(self.canary_pods);
        effects.extend(self.raise);
        Decision { status: self.status, effects, requeue_at: self.requeue_at }
    }
}

/// What was found when a canary is stopped.
#[derive(Default)]
struct Found {
    evidence: String,
    verdict: Option<crate::api::analysis::MeasuredPhase>,
    analysis_run: Option<String>,
    metric: Option<String>,
    started_at: Option<Time>,
    at: Option<Time>,
}

/// `now + length`, or `now` where the sum does not exist.
fn after(from: Timestamp, length: std::time::Duration) -> Timestamp {
    jiff::SignedDuration::try_from(length).ok().and_then(|length| from.checked_add(length).ok()).unwrap_or(from)
}
