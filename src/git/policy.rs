//! The brakes on write-backs, over lists of times. Pure: `now` and randomness are inputs.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::application::{WriteBack, WriteBackCause, WriteBackMode};
use crate::api::condition::write_back as reason;
use crate::api::rollout::FailureCause;

/// Failures within this time of each other are one event.
pub const BREAKER_WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// Fewer different Rollouts than this never trip the breaker.
pub const BREAKER_LEAST: usize = 3;
/// More different Rollouts than this always trip it.
pub const BREAKER_MOST: usize = 5;
/// More than this share of the Rollouts under way, in percent, trips it.
pub const BREAKER_PERCENT: usize = 20;
/// How many write-backs an Application may push within [`RATE_WINDOW`].
pub const RATE: usize = 3;
/// See [`RATE`].
pub const RATE_WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// How often a push that lost a race is computed anew before it waits (`Contended`).
pub const RACES: u32 = 10;

/// One failed canary, from `status.failure.at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAt {
    /// Which Rollout, by any unique name.
    pub rollout: String,
    /// When its canary was stopped.
    pub at: Timestamp,
}

/// One Rollout that went, or goes, through its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Which Rollout, by the same name as in [`FailedAt`].
    pub rollout: String,
    /// When its attempt began.
    pub from: Timestamp,
    /// When it ended; none while it is under way.
    pub until: Option<Timestamp>,
}

/// Whether many canaries fail together: then a gateway or a metric server is more likely broken than all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// Write-backs go ahead.
    Closed,
    /// They wait for a person.
    Open {
        /// Different Rollouts that failed within the window.
        failed: usize,
        /// Different Rollouts that were under way in that time, the failed ones among them.
        under_way: usize,
    },
}

/// Judges the failure at `at`: is there a window of 10 minutes around it in which at least 3 different Rollouts failed,
/// which are more than 5, or more than 20 % of those under way in it?
///
/// The judgement depends on recorded times only, so it is the same after a restart and however late the push is due.
#[must_use]
pub fn breaker(at: Timestamp, failures: &[FailedAt], under_way: &[UnderWay]) -> Breaker {
    let mut worst = Breaker::Closed;
    let mut most = 0;
    // The fullest windows begin at a failure: it is enough to look at those.
    for start in failures.iter().map(|failure| failure.at).chain([at]) {
        let Ok(end) = start.checked_add(BREAKER_WINDOW) else { continue };
        if at < start || at > end {
            continue;
        }
        let failed: BTreeSet<&str> =
            failures.iter().filter(|f| f.at >= start && f.at <= end).map(|f| f.rollout.as_str()).collect();
        let running = under_way.iter().filter(|u| u.from <= end && u.until.is_none_or(|until| until >= start));
        let all: BTreeSet<&str> = running.map(|u| u.rollout.as_str()).chain(failed.iter().copied()).collect();
        let many = failed.len() > BREAKER_MOST || failed.len() * 100 > all.len() * BREAKER_PERCENT;
        if failed.len() >= BREAKER_LEAST && many && failed.len() > most {
            most = failed.len();
            worst = Breaker::Open { failed: failed.len(), under_way: all.len() };
        }
    }
    worst
}

/// When the next write-back of an Application may be pushed: none for at once, else the time at which the oldest of
/// the last three is an hour old. `pushed` are the times of its pushes, in any order.
#[must_use]
pub fn rate_limited_until(now: Timestamp, pushed: &[Timestamp]) -> Option<Timestamp> {
    let mut recent: Vec<Timestamp> = pushed.iter().copied().filter(|at| now.duration_since(*at) < RATE_WINDOW).collect();
    recent.sort_unstable_by(|a, b| b.cmp(a));
    recent.get(RATE - 1).map(|third| third.checked_add(RATE_WINDOW).unwrap_or(Timestamp::MAX))
}

/// The controller's flag `--write-back`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// As each Application says.
    #[default]
    On,
    /// Compute and show, push nothing, for all.
    DryRun,
    /// Nothing, for all.
    Off,
}

/// Whether a failure is answered with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Compute it and push it.
    Push,
    /// Compute it and show it.
    DryRun,
    /// Not, for this reason (a word of `condition::write_back`); to be recorded as Refused.
    No(&'static str),
    /// Not, and there is nothing to record: nobody asked for it.
    Nothing,
}

/// Is a write-back due? Only for a cause that the Application lists, or when a person who aborted asks for it; only when
/// stable was verified healthy; and no further than Application and flag both allow.
#[must_use]
pub fn due(cause: FailureCause, asked: bool, stable_verified: bool, settings: Option<&WriteBack>, switch: Switch) -> Due {
    let wanted = |cause| settings.is_none_or(|settings| settings.on.contains(&cause));
    let by_itself = match cause {
        FailureCause::AnalysisFailed => wanted(WriteBackCause::AnalysisFailed),
        FailureCause::NotReady => wanted(WriteBackCause::NotReady),
        FailureCause::AbortedByUser => false,
    };
    if !by_itself && !asked {
        return Due::Nothing;
    }
    let mode = settings.map_or(WriteBackMode::Disabled, |settings| settings.mode);
    if mode == WriteBackMode::Disabled || switch == Switch::Off {
        return Due::No(reason::DISABLED);
    }
    if !stable_verified {
        return Due::No(reason::STABLE_UNVERIFIED);
    }
    if mode == WriteBackMode::DryRun || switch == Switch::DryRun { Due::DryRun } else { Due::Push }
}

/// How long to wait before the next try after `failures` failed ones in a row (0 counts as 1): 5 s, doubled each
/// time up to 10 min, and of that a random part between a half and the whole. `random` is in 0.0..1.0.
#[must_use]
pub fn backoff(failures: u32, random: f64) -> Duration {
    let whole = Duration::from_secs(5).saturating_mul(1 << failures.saturating_sub(1).min(10)).min(Duration::from_secs(600));
    jittered(whole, random)
}

/// How long to wait before computing anew after the `race`-th lost race, 1..=[`RACES`]: up to 100 ms for each. Writers
/// that collided should not collide again.
#[must_use]
pub fn race_pause(race: u32, random: f64) -> Duration {
    jittered(Duration::from_millis(100).saturating_mul(race.clamp(1, RACES)), random)
}

fn jittered(whole: Duration, random: f64) -> Duration {
    let part = if random.is_finite() { random.clamp(0.0, 1.0) } else { 1.0 };
    whole.mul_f64(0.5 + part / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap()
    }

    fn failures(list: &[(usize, i64)]) -> Vec<FailedAt> {
        list.iter().map(|(rollout, minute)| FailedAt { rollout: format!("r{rollout}"), at: at(*minute) }).collect()
    }

    fn running(count: usize) -> Vec<UnderWay> {
        (0..count).map(|i| UnderWay { rollout: format!("r{i}"), from: at(-60), until: None }).collect()
    }

    /// Protects: the whole company from one broken gateway, and single failures from being held back.
    #[rstest]
    #[case::one(0, &[(1, 0)], 1, Breaker::Closed)]
    #[case::two_of_two(0, &[(1, 0), (2, 1)], 2, Breaker::Closed)]
    #[case::three_of_three(0, &[(1, 0), (2, 1), (3, 2)], 4, Breaker::Open { failed: 3, under_way: 4 })]
    #[case::three_of_fifteen_is_20_percent(0, &[(1, 0), (2, 1), (3, 2)], 15, Breaker::Closed)]
    #[case::three_of_fourteen(0, &[(1, 0), (2, 1), (3, 2)], 14, Breaker::Open { failed: 3, under_way: 14 })]
    #[case::five_of_many(0, &[(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)], 1000, Breaker::Closed)]
    #[case::six_of_many(0, &[(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5)], 1000, Breaker::Open { failed: 6, under_way: 1000 })]
    #[case::one_rollout_thrice(0, &[(1, 0), (1, 1), (1, 2)], 3, Breaker::Closed)]
    #[case::spread_out(0, &[(1, 0), (2, 11), (3, 22)], 3, Breaker::Closed)]
    #[case::exactly_ten_minutes(10, &[(1, 0), (2, 5), (3, 10)], 3, Breaker::Open { failed: 3, under_way: 4 })]
    #[case::window_before(10, &[(1, 0), (2, 5), (3, 10), (4, 30)], 4, Breaker::Open { failed: 3, under_way: 4 })]
    #[case::not_this_one(30, &[(1, 0), (2, 5), (3, 10), (4, 30)], 4, Breaker::Closed)]
    fn circuit_breaker(#[case] minute: i64, #[case] list: &[(usize, i64)], #[case] under_way: usize, #[case] wanted: Breaker) {
        assert_eq!(breaker(at(minute), &failures(list), &running(under_way)), wanted);
    }

    /// Protects: only Rollouts that were under way in the window count as company.
    #[test]
    fn company_of_the_window() {
        let mut others = running(2);
        others.extend((10..100).map(|i| UnderWay { rollout: format!("r{i}"), from: at(-60), until: Some(at(-1)) }));
        others.extend((100..200).map(|i| UnderWay { rollout: format!("r{i}"), from: at(11), until: None }));
        let list = failures(&[(1, 0), (2, 0), (3, 0)]);
        assert_eq!(breaker(at(0), &list, &others), Breaker::Open { failed: 3, under_way: 4 });
    }

    /// Protects: at most three pushes in any hour.
    #[rstest]
    #[case(&[], None)]
    #[case(&[-10, -20], None)]
    #[case(&[-10, -50, -20], Some(10))]
    #[case(&[-10, -60, -20], None)]
    #[case(&[-1, -2, -3, -4, -59], Some(57))]
    #[case(&[5, 6, 7], Some(65))]
    fn rate(#[case] pushed: &[i64], #[case] until: Option<i64>) {
        let pushed: Vec<Timestamp> = pushed.iter().map(|minute| at(*minute)).collect();
        assert_eq!(rate_limited_until(at(0), &pushed), until.map(at));
    }

    /// Protects: Git from commits that nobody wanted.
    #[test]
    fn when_due() {
        use FailureCause::{AbortedByUser, AnalysisFailed, NotReady};
        let with = |mode| Some(WriteBack { mode, ..WriteBack::default() });
        let only = |cause: &[WriteBackCause]| Some(WriteBack { on: cause.to_vec(), ..WriteBack::default() });
        let table = [
            (NotReady, false, true, with(WriteBackMode::Push), Switch::On, Due::Push),
            (NotReady, false, false, with(WriteBackMode::Push), Switch::On, Due::No("StableUnverified")),
            (NotReady, false, true, only(&[WriteBackCause::AnalysisFailed]), Switch::On, Due::Nothing),
            (AnalysisFailed, false, true, only(&[WriteBackCause::AnalysisFailed]), Switch::On, Due::Push),
            (AnalysisFailed, false, true, only(&[WriteBackCause::NotReady]), Switch::On, Due::Nothing),
            (AnalysisFailed, true, true, only(&[]), Switch::On, Due::Push),
            (AnalysisFailed, false, true, with(WriteBackMode::Push), Switch::On, Due::Push),
            (AnalysisFailed, false, true, with(WriteBackMode::DryRun), Switch::On, Due::DryRun),
            (AnalysisFailed, false, true, with(WriteBackMode::Push), Switch::DryRun, Due::DryRun),
            (AnalysisFailed, false, true, with(WriteBackMode::Push), Switch::Off, Due::No("Disabled")),
            (AnalysisFailed, false, true, with(WriteBackMode::Disabled), Switch::DryRun, Due::No("Disabled")),
            (AnalysisFailed, false, true, None, Switch::On, Due::No("Disabled")),
            (AnalysisFailed, false, false, with(WriteBackMode::Push), Switch::On, Due::No("StableUnverified")),
            (AbortedByUser, false, true, with(WriteBackMode::Push), Switch::On, Due::Nothing),
            (AbortedByUser, true, true, with(WriteBackMode::Push), Switch::On, Due::Push),
            (AbortedByUser, true, true, None, Switch::On, Due::No("Disabled")),
        ];
        for (cause, asked, verified, settings, switch, wanted) in table {
            assert_eq!(
                due(cause, asked, verified, settings.as_ref(), switch),
                wanted,
                "{cause:?} {asked} {verified} {settings:?} {switch:?}"
            );
        }
    }

    /// Protects: a Git server that comes back from all of us at once, and us from waiting for ever.
    #[rstest]
    #[case(0, 0.0, 2_500)]
    #[case(1, 1.0, 5_000)]
    #[case(2, 0.5, 7_500)]
    #[case(7, 1.0, 320_000)]
    #[case(8, 1.0, 600_000)]
    #[case(u32::MAX, 0.0, 300_000)]
    #[case(u32::MAX, f64::NAN, 600_000)]
    fn backoff_grows(#[case] failures: u32, #[case] random: f64, #[case] millis: u128) {
        assert_eq!(backoff(failures, random).as_millis(), millis);
        assert!(race_pause(failures, random) <= Duration::from_secs(1));
    }
}
