//! Plans of faults: what goes wrong at which effect. Written as lines of a script, so that a failing plan is a file.
//!
//! Effects are counted from 1, over the whole script and over all controllers in it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What goes wrong at one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The controller dies before it sends the effect, and is away for this long.
    CrashBefore(Duration),
    /// The controller dies after the effect was applied, without an answer, and is away for this long.
    CrashAfter(Duration),
    /// The effect is applied, and its answer is lost.
    Unanswered,
    /// The effect is refused.
    Refused,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CrashBefore(away) => write!(f, "the controller dies before it, back in {} s", away.as_secs()),
            Self::CrashAfter(away) => write!(f, "the controller dies after it, back in {} s", away.as_secs()),
            Self::Unanswered => write!(f, "applied, but the answer is lost"),
            Self::Refused => write!(f, "refused"),
        }
    }
}

/// Faults by the effect they strike, and how many effects there were so far.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// By the number of the effect.
    pub faults: BTreeMap<u64, Fault>,
    /// Effects that were tried so far.
    pub tried: u64,
}

impl Plan {
    /// The next effect's fault, if it has one. Counts the effect.
    pub(super) fn next(&mut self) -> Option<Fault> {
        self.tried += 1;
        self.faults.get(&self.tried).copied()
    }

    /// Strikes no more.
    pub(super) fn clear(&mut self) {
        self.faults.clear();
    }

    /// Reads one line of a plan.
    ///
    /// ```text
    /// crash before effect 7 [away 17s]
    /// crash after effect 7 [away 17s]
    /// lose answer of effect 7
    /// refuse effect 7
    /// ```
    pub fn read(&mut self, line: &str) -> Result<(), String> {
        let (what, number) = line.split_once(" effect ").ok_or_else(|| format!("'{line}' names no effect"))?;
        let (number, away) = number.split_once(" away ").map_or((number, Ok(Duration::ZERO)), |(n, away)| (n, time(away)));
        let number = number.parse().map_err(|_| format!("effect '{number}' is not a number"))?;
        let fault = match what {
            "crash before" => Fault::CrashBefore(away?),
            "crash after" => Fault::CrashAfter(away?),
            "lose answer of" => Fault::Unanswered,
            "refuse" => Fault::Refused,
            other => return Err(format!("fault '{other}'; allowed are crash before, crash after, lose answer of, refuse")),
        };
        self.faults.insert(number, fault);
        Ok(())
    }
}

/// Reads a length of time as the API writes it.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    text.parse::<crate::api::Duration>().map(crate::api::Duration::std).map_err(|error| error.to_string())
}
