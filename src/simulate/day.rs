//! Days that people ask about most: scripts that fit any Rollout. Pure.

use std::time::Duration;

use crate::rollout::spec::{Step, ValidatedRollout};

/// Longest day, so that a pause of a month is not counted second by second.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A day by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// The new version is good.
    Good,
    /// An analysis fails as soon as the canary has traffic.
    Fails,
    /// Pods of the new version crash.
    PodsCrash,
    /// The cluster has no room for pods of the new version.
    NoRoom,
    /// The metric server has no values.
    NoValues,
    /// The gateway confirms nothing once the new version is there.
    SilentGateway,
}

impl Day {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("good", Self::Good),
        ("fails", Self::Fails),
        ("pods-crash", Self::PodsCrash),
        ("no-room", Self::NoRoom),
        ("no-values", Self::NoValues),
        ("silent-gateway", Self::SilentGateway),
    ];

    /// The day as a script for this Rollout, which begins with `image`.
    #[must_use]
    pub fn script(self, rollout: &ValidatedRollout, image: &str) -> String {
        let next = format!("{image}-next");
        let long = length(rollout).as_secs();
        let what = match self {
            Self::Good => format!("deploy {next}\nwait {long}s"),
            Self::Fails => format!("deploy {next}\nwait 30s\nverdict failed a metric found the canary bad\nwait {long}s"),
            Self::PodsCrash => format!("pods never {next} crash\ndeploy {next}\nwait {long}s"),
            Self::NoRoom => format!("pods never {next} unschedulable\ndeploy {next}\nwait {long}s"),
            Self::NoValues => format!("deploy {next}\nwait 30s\nverdict error no value for five minutes\nwait {long}s"),
            Self::SilentGateway => format!("gateway silent\ndeploy {next}\nwait {long}s"),
        };
        format!("measure good\nwait 60s\n{what}\nstatus\n")
    }
}

/// Long enough for all timed pauses, for the pods of each step, for the deadline, and for old pods to go.
fn length(rollout: &ValidatedRollout) -> Duration {
    let pauses = rollout.steps.iter().map(|step| match step {
        Step::Pause(Some(length)) => *length,
        _ => Duration::from_secs(20),
    });
    let pauses = pauses.fold(Duration::ZERO, Duration::saturating_add);
    let rest = rollout.life.deadline.saturating_add(Duration::from_secs(120));
    pauses.saturating_add(rest).min(LONGEST)
}
