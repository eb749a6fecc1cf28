//! Whose turn it is. One queue per kind: an object is looked at by one pass at a time, asked for as often as one likes,
//! and looked at once for it. What changed comes before what is only looked at because we have just started, and within
//! each of the two, first come is first served: an object that changes all the time does not keep the others waiting.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch as signal};
use tokio::time::Instant;

/// Of so many turns in a row one goes to calm looks, when both kinds wait.
const CALM_EVERY: u32 = 8;

/// An object by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// A key.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// Why to look. The stronger reason wins when there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Nothing is known to have changed: we have just started, or may have missed something.
    Calm,
    /// Something that concerns the object changed, or its time has come.
    Event,
    /// The object's own spec changed: there is certainly something to do.
    Spec,
}

/// Asks for looks. Clones ask the same queue.
#[derive(Clone, Debug)]
pub struct Wakes(mpsc::UnboundedSender<(Key, Why)>);

impl Wakes {
    /// Look at this object as soon as it is its turn.
    pub fn wake(&self, key: Key, why: Why) {
        // An error means that the queue has ended, and with it the need to look.
        let _ = self.0.send((key, why));
    }
}

/// The other end of [`Wakes`].
#[derive(Debug)]
pub struct Queue(mpsc::UnboundedReceiver<(Key, Why)>);

/// A queue and who asks it.
#[must_use]
pub fn queue() -> (Wakes, Queue) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Wakes(sender), Queue(receiver))
}

impl Queue {
    /// Runs passes, at most `at_once` at the same time, until a stop was asked for and those under way are done. A pass
    /// answers after what time the object is to be looked at again if nothing changes; none: only a change can matter.
    pub async fn work<P>(mut self, at_once: usize, mut stopped: signal::Receiver<bool>, pass: impl Fn(Key, Why) -> P)
    where
        P: Future<Output = Option<Duration>>,
    {
        let mut turns = Turns::new(at_once);
        let mut under_way = FuturesUnordered::new();
        let mut stopping = false;
        while !(stopping && under_way.is_empty()) {
            let now = Instant::now();
            while let Some((key, why)) = if stopping { None } else { turns.take(now) } {
                let work = pass(key.clone(), why);
                under_way.push(async move { (key, work.await) });
            }
            let next = turns.next_due().unwrap_or_else(|| now + Duration::from_secs(3600));
            // In this order, so that once a stop was asked for no other pass begins.
            tokio::select! {
                biased;
                // An error means that the sender is gone, which is a stop too.
                _ = stopped.wait_for(|stopped| *stopped), if !stopping => stopping = true,
                Some((key, again)) = under_way.next() => turns.done(&key, again.map(|after| Instant::now() + after)),
                Some((key, why)) = self.0.recv() => turns.wake(key, why),
                () = tokio::time::sleep_until(next), if !stopping => {}
            }
        }
    }
}

/// The order of turns, without a clock: it is told what time it is.
#[derive(Debug)]
struct Turns {
    at_once: usize,
    /// Looks for which the time has not come, in its order.
    timers: BTreeMap<(Instant, u64), Key>,
    timer_of: HashMap<Key, (Instant, u64)>,
    /// Who waits for a turn, and why.
    waiting: HashMap<Key, Why>,
    /// In the order in which they came. One that moved up to `changed` is still in `calm`, and passed over there.
    changed: VecDeque<Key>,
    calm: VecDeque<Key>,
    /// Passes under way, and why to look again right after.
    under_way: HashMap<Key, Option<Why>>,
    /// Turns since the last calm one.
    since_calm: u32,
    next_number: u64,
}

impl Turns {
    fn new(at_once: usize) -> Self {
        Self {
            at_once,
            timers: BTreeMap::new(),
            timer_of: HashMap::new(),
            waiting: HashMap::new(),
            changed: VecDeque::new(),
            calm: VecDeque::new(),
            under_way: HashMap::new(),
            since_calm: 0,
            next_number: 0,
        }
    }

    /// Somebody asks for a look.
    fn wake(&mut self, key: Key, why: Why) {
        if let Some(again) = self.under_way.get_mut(&key) {
            // The pass under way may have looked before the change: once more, after it.
            *again = (*again).max(Some(why));
            return;
        }
        self.stop_timer(&key);
        let lane = if why == Why::Calm { &mut self.calm } else { &mut self.changed };
        match self.waiting.entry(key.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(why);
                lane.push_back(key);
            }
            Entry::Occupied(mut entry) => {
                if *entry.get() == Why::Calm && why > Why::Calm {
                    lane.push_back(key);
                }
                let strongest = why.max(*entry.get());
                entry.insert(strongest);
            }
        }
    }

    /// The next object whose turn it is; none when nobody waits or enough passes are under way.
    fn take(&mut self, now: Instant) -> Option<(Key, Why)> {
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            let key = entry.remove();
            self.timer_of.remove(&key);
            self.wake(key, Why::Event);
        }
        if self.under_way.len() >= self.at_once {
            return None;
        }
        let calm_first = self.since_calm >= CALM_EVERY;
        let (key, why) = if calm_first {
            self.pop(Why::Calm).or_else(|| self.pop(Why::Event))
        } else {
            self.pop(Why::Event).or_else(|| self.pop(Why::Calm))
        }?;
        self.since_calm = if why == Why::Calm || self.calm.is_empty() { 0 } else { self.since_calm + 1 };
        self.under_way.insert(key.clone(), None);
        Some((key, why))
    }

    fn pop(&mut self, lane: Why) -> Option<(Key, Why)> {
        let calm = lane == Why::Calm;
        loop {
            let key = if calm { &mut self.calm } else { &mut self.changed }.pop_front()?;
            if let Entry::Occupied(entry) = self.waiting.entry(key)
                && (*entry.get() == Why::Calm) == calm
            {
                return Some(entry.remove_entry());
            }
        }
    }

    /// A pass ended; look again at `next`, or earlier when somebody asked meanwhile.
    fn done(&mut self, key: &Key, next: Option<Instant>) {
        match self.under_way.remove(key).flatten() {
            Some(why) => self.wake(key.clone(), why),
            None => {
                if let Some(at) = next {
                    let timer = (at, self.next_number);
                    self.next_number += 1;
                    self.timers.insert(timer, key.clone());
                    self.timer_of.insert(key.clone(), timer);
                }
            }
        }
    }

    fn stop_timer(&mut self, key: &Key) {
        if let Some(timer) = self.timer_of.remove(key) {
            self.timers.remove(&timer);
        }
    }

    /// When the next timer is due; none when none runs or no turn could be given to it.
    fn next_due(&self) -> Option<Instant> {
        if self.under_way.len() >= self.at_once {
            return None;
        }
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }
}

#[cfg(test)]
mod tests;
