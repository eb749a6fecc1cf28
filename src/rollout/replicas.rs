//! Sizes of ReplicaSets where pods are the traffic: without a router, a weight is a ratio of pods. Pure arithmetic.
//!
//! [`split`] says how many pods of each side come closest to a weight. [`step`] says how far the ReplicaSets may go there
//! now: never more pods than `replicas + maxSurge`, never fewer available ones than `replicas - maxUnavailable`.

use std::cmp::Ordering;

use crate::api::PodCount;

/// How many pods there may be, and how many there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `spec.replicas`.
    pub replicas: i32,
    /// Pods above `replicas` while pods are exchanged.
    pub max_surge: i32,
    /// Pods below `replicas` that may be unavailable while pods are exchanged.
    pub max_unavailable: i32,
}

/// Wanted pods of both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Pods of the canary.
    pub canary: i32,
    /// Pods of stable.
    pub stable: i32,
}

/// Argo Rollouts' and Deployments' default of both bounds.
pub const DEFAULT_BOUND: PodCount = PodCount::Percent(25);

/// As pods; a percentage is rounded up or down.
fn pods(count: PodCount, replicas: i32, round_up: bool) -> i32 {
    match count {
        PodCount::Pods(pods) => pods.max(0),
        PodCount::Percent(percent) => {
            let exact = i64::from(percent.max(0)) * i64::from(replicas.max(0));
            i32::try_from((exact + if round_up { 99 } else { 0 }) / 100).unwrap_or(replicas)
        }
    }
}

impl Bounds {
    /// Surge is rounded up and unavailability down, as in a Deployment. Where both come out as none, one pod may be
    /// unavailable: otherwise nothing could ever be exchanged.
    #[must_use]
    pub fn new(replicas: i32, max_surge: PodCount, max_unavailable: PodCount) -> Self {
        let max_surge = pods(max_surge, replicas, true);
        let max_unavailable = pods(max_unavailable, replicas, false).min(replicas.max(0));
        let max_unavailable = if max_surge == 0 && max_unavailable == 0 { 1 } else { max_unavailable };
        Self { replicas, max_surge, max_unavailable }
    }

    /// Pods there must be at least, ready for longer than `minReadySeconds`.
    #[must_use]
    pub fn least_available(self) -> i32 {
        self.replicas.saturating_sub(self.max_unavailable).max(0)
    }

    /// Pods there may be at most.
    #[must_use]
    pub fn most(self) -> i32 {
        self.replicas.saturating_add(self.max_surge)
    }
}

/// The sizes whose ratio is closest to `weight` percent for the canary: its exact share rounded up or down, of `replicas`
/// pods in all or, where a surge is allowed, of one more. Ties go to the canary. Between 0 and 100, neither side is without
/// pods, unless there is room for only one pod.
#[must_use]
pub fn split(bounds: Bounds, weight: i32) -> Split {
    let (replicas, weight) = (i64::from(bounds.replicas.max(0)), i64::from(weight.clamp(0, 100)));
    let totals = if bounds.max_surge > 0 { replicas..=replicas + 1 } else { replicas..=replicas };
    let exact = replicas * weight;
    let sides = [exact / 100, (exact + 99) / 100];
    let both = weight > 0 && weight < 100 && replicas > 0 && (replicas > 1 || bounds.max_surge > 0);
    let all = totals.flat_map(|total| sides.map(|canary| (canary, total)));
    let fits = |(canary, total): &(i64, i64)| *canary <= *total && (!both || (*canary >= 1 && total - canary >= 1));
    let best = all.filter(fits).min_by(|a, b| closeness(*a, *b, weight));
    let (canary, total) = best.unwrap_or((0, replicas));
    let pods = |count: i64| i32::try_from(count).unwrap_or(bounds.replicas);
    Split { canary: pods(canary), stable: pods(total - canary) }
}

/// Orders two splits by how far their ratio is from the weight, the closer one first; the larger share first in a tie.
fn closeness(a: (i64, i64), b: (i64, i64), weight: i64) -> Ordering {
    // |canary * 100 / total - weight|, as fractions that are compared without dividing. Without pods there is no ratio.
    let distance = |(canary, total): (i64, i64)| ((canary * 100 - weight * total).abs(), total.max(1));
    let ((far_a, over_a), (far_b, over_b)) = (distance(a), distance(b));
    let share = |(canary, total): (i64, i64), other: i64| canary * other.max(1) * i64::from(total > 0);
    (far_a * over_b).cmp(&(far_b * over_a)).then_with(|| share(b, a.1).cmp(&share(a, b.1)))
}

/// A ReplicaSet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whose it is.
    pub side: Side,
    /// `spec.replicas` of the ReplicaSet.
    pub wanted: i32,
    /// Its pods.
    pub current: i32,
    /// Its ready pods.
    pub ready: i32,
    /// Its available pods.
    pub available: i32,
    /// Its size in the end.
    pub target: i32,
}

/// Whose a ReplicaSet is. The order says who grows first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The revision to fall back to.
    Stable,
    /// The revision under way.
    Canary,
    /// Any other: it only goes.
    Superseded,
}

/// The sizes to set now, in the order of `members`.
///
/// Stable grows before the canary. Superseded revisions go first. A pod that is not ready goes without being missed;
/// available ones go as far as `least_available` allows. What grows and what goes are each safe by themselves, so that it
/// does not matter which of them is carried out.
#[must_use]
pub fn step(bounds: Bounds, members: &[Member]) -> Vec<i32> {
    let mut sizes: Vec<i32> = members.iter().map(|member| member.wanted).collect();
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|index| members[*index].side);
    // Pods of a ReplicaSet that was made smaller just now are still there.
    let there: i32 = members.iter().map(|member| member.wanted.max(member.current)).sum();
    let mut room = (bounds.most() - there).max(0);
    for index in &order {
        let grows = (members[*index].target - members[*index].wanted).max(0).min(room);
        sizes[*index] += grows;
        room -= grows;
    }
    let available: i32 = members.iter().map(|member| member.available).sum();
    let mut spare = (available - bounds.least_available()).max(0);
    for index in order.iter().rev() {
        let member = members[*index];
        if member.target < member.wanted {
            // The ReplicaSet's controller takes pods that are not ready first. Of ready ones it may take available ones
            // and leave those that are not available yet.
            let ready = member.ready.min(member.wanted);
            let size = if member.available <= spare { member.target } else { member.target.max(ready - spare) };
            sizes[*index] = size.min(member.wanted);
            spare -= (ready - size).clamp(0, member.available.min(spare));
        }
    }
    sizes
}

#[cfg(test)]
mod tests;
