//! Who may act, as a table: what a holder or a candidate does, given the Lease as read and the local monotonic time.
//!
//! Pure: times come in as durations since some moment of this process. The timestamps in a Lease were written by other
//! machines' clocks and are not read at all: a Lease is as old as the reading that first showed its resourceVersion.
//!
//! ```text
//! holder:     writes at `sent` -------- may act until sent + renew_deadline
//! candidate:            reads at `at` -------------------------------------- may take from at + lease
//! ```
//! `at` is never before `sent`, and `lease` is longer than `renew_deadline`: the holder has stopped before anybody takes.

use std::time::Duration;

/// The times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// A candidate takes a Lease that stayed the same for so long.
    pub lease: Duration,
    /// A holder acts for so long after it sent its last successful write.
    pub renew_deadline: Duration,
    /// A holder writes this often.
    pub renew_every: Duration,
    /// A candidate reads, and a holder whose write failed tries again, this often.
    pub look_every: Duration,
    /// Longest time that one call may take.
    pub call: Duration,
}

impl Times {
    /// After a crash another replica acts within `lease` + `look_every` and two calls, well below 17 s; after a graceful
    /// end within `look_every`. Four seconds lie between the end of one and the beginning of the other.
    pub const DEFAULT: Self = Self {
        lease: Duration::from_secs(12),
        renew_deadline: Duration::from_secs(8),
        renew_every: Duration::from_secs(2),
        look_every: Duration::from_secs(1),
        call: Duration::from_secs(3),
    };
}

/// Longest time that a Lease's own `leaseDurationSeconds` is believed: a typing error there must not stop releases for ever.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// A Lease as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `spec.holderIdentity`; none when it was released.
    pub holder: Option<String>,
    /// `spec.leaseDurationSeconds`, in seconds.
    pub duration: u32,
    /// `spec.leaseTransitions`.
    pub transitions: i32,
}

/// What to do about a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing now.
    Wait,
    /// There is none: create it with us as its holder.
    Create,
    /// Write us into it, if it still has this resourceVersion.
    Write {
        /// The resourceVersion that was seen.
        version: String,
        /// `spec.leaseTransitions` to write.
        transitions: i32,
    },
}

/// Somebody else's hold as last seen change.
#[derive(Clone, Debug)]
struct Other {
    version: String,
    lasts: Duration,
    since: Duration,
}

/// Our own hold.
#[derive(Clone, Debug)]
struct Held {
    version: String,
    transitions: i32,
    sent: Duration,
}

/// One replica's view of the election.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    times: Times,
    other: Option<Other>,
    held: Option<Held>,
}

impl Election {
    /// A replica that knows nothing yet. No two replicas, and no two lives of one, may have the same identity.
    #[must_use]
    pub const fn new(identity: String, times: Times) -> Self {
        Self { identity, times, other: None, held: None }
    }

    /// This replica's name in the Lease.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The times it goes by.
    #[must_use]
    pub const fn times(&self) -> Times {
        self.times
    }

    /// Until when this replica may act; none when it holds nothing.
    #[must_use]
    pub fn until(&self) -> Option<Duration> {
        self.held.as_ref().map(|held| held.sent.saturating_add(self.times.renew_deadline))
    }

    /// A holder renews what it wrote last, without reading first. None: read, and ask [`Self::look`].
    #[must_use]
    pub fn renewal(&self, now: Duration) -> Option<Act> {
        let held = self.held.as_ref().filter(|_| self.until().is_some_and(|until| now < until))?;
        Some(Act::Write { version: held.version.clone(), transitions: held.transitions })
    }

    /// The Lease was read; the answer came at `now`.
    pub fn look(&mut self, seen: Option<&Record>, now: Duration) -> Act {
        let Some(record) = seen else {
            // Deleted under its holder, who may act for a while still.
            let free = self.other.as_ref().is_none_or(|other| now >= other.since.saturating_add(other.lasts));
            return if free { Act::Create } else { Act::Wait };
        };
        let write = |transitions| Act::Write { version: record.version.clone(), transitions };
        let Some(holder) = record.holder.as_deref().filter(|holder| !holder.is_empty()) else {
            self.held = None;
            return write(record.transitions.saturating_add(1));
        };
        if holder == self.identity {
            return write(record.transitions);
        }
        self.held = None;
        let same = |other: &&Other| other.version == record.version;
        match self.other.as_ref().filter(same) {
            Some(other) if now >= other.since.saturating_add(other.lasts) => write(record.transitions.saturating_add(1)),
            Some(_) => Act::Wait,
            None => {
                let stated = Duration::from_secs(u64::from(record.duration)).min(LONGEST_LEASE);
                let lasts = self.times.lease.max(stated);
                self.other = Some(Other { version: record.version.clone(), lasts, since: now });
                Act::Wait
            }
        }
    }

    /// A write that was sent at `sent` was answered: the Lease is ours, with this resourceVersion.
    pub fn won(&mut self, sent: Duration, version: String, transitions: i32) {
        self.other = None;
        self.held = Some(Held { version, transitions, sent });
    }

    /// What to write to give the Lease back; none when it is not ours.
    #[must_use]
    pub fn release(&self) -> Option<Act> {
        let held = self.held.as_ref()?;
        Some(Act::Write { version: held.version.clone(), transitions: held.transitions })
    }

    /// How long to wait after a round at `now` before the next: `settled` when nothing is left to try again.
    #[must_use]
    pub fn pause(&self, now: Duration, settled: bool) -> Duration {
        if self.held.is_some() && settled {
            return self.times.renew_every;
        }
        // Not a whole round late, when the other's time is over between two looks.
        let over = self.other.as_ref().map(|other| other.since.saturating_add(other.lasts).saturating_sub(now));
        let over = over.filter(|left| !left.is_zero());
        over.map_or(self.times.look_every, |left| left.min(self.times.look_every))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn record(holder: &str, version: &str) -> Record {
        let holder = (!holder.is_empty()).then(|| holder.to_owned());
        Record { version: version.to_owned(), holder, duration: 12, transitions: 3 }
    }

    fn write(version: &str, transitions: i32) -> Act {
        Act::Write { version: version.to_owned(), transitions }
    }

    fn us() -> Election {
        Election::new("us".to_owned(), Times::DEFAULT)
    }

    /// Protects: the heart of it. In every order of times, the holder has stopped before a candidate may take.
    #[test]
    fn the_holder_stops_first() {
        let times = Times::DEFAULT;
        assert!(times.renew_deadline + times.call < times.lease, "an answer that took its whole time leaves nothing in between");
        assert!(times.renew_every + times.call < times.renew_deadline, "one lost renewal must not end a hold");
        for sent in 0..5 {
            for read in sent..10 {
                let (mut holder, mut candidate) = (us(), Election::new("them".to_owned(), times));
                holder.won(S(sent), "v1".to_owned(), 0);
                assert_eq!(candidate.look(Some(&record("us", "v1")), S(read)), Act::Wait);
                let taken = (read..100).find(|now| candidate.look(Some(&record("us", "v1")), S(*now)) != Act::Wait).map(S);
                assert!(holder.until().unwrap() + S(4) <= taken.unwrap(), "sent {sent}, read {read}, taken {taken:?}");
            }
        }
    }

    /// Protects: what a candidate does with each Lease it may find, and when.
    #[test]
    fn a_candidate() {
        type Steps<'a> = &'a [(Option<Record>, u64, Act)];
        // What was read, when, and what follows.
        let cases: &[(&str, Steps<'_>)] = &[
            ("there is none", &[(None, 0, Act::Create)]),
            ("released", &[(Some(record("", "v1")), 0, write("v1", 4))]),
            ("held", &[(Some(record("them", "v1")), 5, Act::Wait), (Some(record("them", "v1")), 16, Act::Wait)]),
            ("left", &[(Some(record("them", "v1")), 5, Act::Wait), (Some(record("them", "v1")), 17, write("v1", 4))]),
            (
                "renewed",
                &[
                    (Some(record("them", "v1")), 5, Act::Wait),
                    (Some(record("them", "v2")), 16, Act::Wait),
                    (Some(record("them", "v2")), 27, Act::Wait),
                    (Some(record("them", "v2")), 28, write("v2", 4)),
                ],
            ),
            (
                "another's since",
                &[
                    (Some(record("them", "v1")), 5, Act::Wait),
                    (Some(record("others", "v2")), 17, Act::Wait),
                    (Some(record("others", "v2")), 29, write("v2", 4)),
                ],
            ),
            (
                "deleted under its holder",
                &[(Some(record("them", "v1")), 5, Act::Wait), (None, 6, Act::Wait), (None, 17, Act::Create)],
            ),
            ("ours, by a write whose answer was lost", &[(Some(record("us", "v1")), 5, write("v1", 3))]),
        ];
        for (what, steps) in cases {
            let mut election = us();
            for (seen, at, act) in *steps {
                assert_eq!(election.look(seen.as_ref(), S(*at)), *act, "{what}, at {at}");
            }
            assert_eq!(election.until(), None, "{what}: nothing is held before the answer");
        }
    }

    /// Protects: a Lease that says how long it lasts is believed, within reason.
    #[test]
    fn stated_durations() {
        for (stated, lasts) in [(0, 12), (5, 12), (30, 30), (4_000_000_000, 60)] {
            let mut election = us();
            let record = Record { duration: stated, ..record("them", "v1") };
            assert_eq!(election.look(Some(&record), S(100)), Act::Wait);
            assert_eq!(election.look(Some(&record), S(99 + lasts)), Act::Wait, "{stated}");
            assert_eq!(election.look(Some(&record), S(100 + lasts)), write("v1", 4), "{stated}");
        }
    }

    /// Protects: a holder writes on what it wrote last; it acts from when it sent, not from when it was answered; and what
    /// it sees in the Lease counts at once.
    #[test]
    fn a_holder() {
        let mut election = us();
        election.won(S(10), "v7".to_owned(), 4);
        assert_eq!(election.until(), Some(S(18)));
        assert_eq!(election.renewal(S(12)), Some(write("v7", 4)));
        assert_eq!(election.renewal(S(18)), None, "too late to renew blindly: read first");
        assert_eq!((election.pause(S(12), true), election.pause(S(12), false)), (S(2), S(1)));
        // Our own, with a version we have not seen: an answer that was lost, or somebody's annotation.
        assert_eq!(election.look(Some(&record("us", "v8")), S(13)), write("v8", 3));
        assert_eq!(election.until(), Some(S(18)));
        assert_eq!(election.look(None, S(13)), Act::Create);
        for taken in [record("them", "v9"), record("", "v9")] {
            let mut election = election.clone();
            election.look(Some(&taken), S(14));
            assert_eq!((election.until(), election.renewal(S(14)), election.release()), (None, None, None));
        }
        assert_eq!(election.release(), Some(write("v7", 4)));
    }

    /// Protects: failover within its time. A candidate does not sleep over the moment at which it may take.
    #[test]
    fn pauses_of_a_candidate() {
        let mut election = us();
        assert_eq!(election.pause(S(0), true), S(1));
        election.look(Some(&record("them", "v1")), Duration::from_millis(500));
        assert_eq!(election.pause(S(1), true), S(1));
        assert_eq!(election.pause(S(12), true), Duration::from_millis(500));
        assert_eq!(election.pause(S(13), true), S(1));
    }
}
