//! Counters to rounds: what each arm did between two moments, from the raw samples of its series.
//!
//! ```text
//! samples of total and errors, per series --window::Window::checked--> Window
//! Window + Counter --Counter::advance--> rounds, and the Counter that a restart goes on from
//! stable's last hour --history::scrapes--> what its dispersion is measured from
//! ```
//!
//! Time is the samples' own: which rounds there are does not depend on when somebody looked, so that looking again from a
//! kept [`Counter`], after a restart or a minute without a metric server, gives the same rounds. Each look reads from a
//! while before the last round's end: that tells every series' value at that end.
//!
//! - A round ends when every live series of both arms has a new sample. A series that was silent for two scrapes is no
//!   longer waited for. What a round has not counted, the next one does.
//! - A counter that falls was reset: its new value is what it counted since. A series that goes adds nothing.
//! - A series that was not there before the attempt counts from 0: the first error of a pod is the birth of its series.
//! - A sample counts once. Late and repeated ones change nothing that is counted: what was counted up to the last round's
//!   end is kept as a sum, and a difference to it is made up for in the next round.

mod engine;
mod history;
mod window;

pub use engine::{Closed, Counter};
pub use history::scrapes;
pub use window::{Arm, Known, Part, Sample, Series, Unusable, Window, key_of};

/// Most series that one query may match.
pub const MAX_SERIES: usize = 2000;
/// A series is no longer waited for when it has been silent for this many scrapes.
const SILENT_SCRAPES: i64 = 2;
/// A window begins at least this many milliseconds, and this many scrapes, before the last round's end: far enough for
/// every series to have a sample there, also where some scrapes fail.
const LEAST_REACH: i64 = 120_000;
const REACH_SCRAPES: i64 = 8;

#[cfg(test)]
mod tests;
