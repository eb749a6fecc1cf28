//! The Lease on the API server: read, written by compare-and-swap, renewed, given back. Each call has a deadline and is
//! made once, over a connection of its own: a busy or a black-holed one must not delay a renewal.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::Leadership;
use super::election::{Act, Election, Record, Times};
use crate::api::names;
use crate::controller::Clock;
use crate::controller::error::status_code;

/// Takes part in the election for one Lease.
#[expect(missing_debug_implementations, reason = "holds a client, whose debug output says nothing")]
pub struct Candidate {
    api: Api<Lease>,
    election: Election,
    leadership: Leadership,
    clock: Clock,
    /// What the durations of the election are counted from.
    origin: Instant,
    acquired: Option<MicroTime>,
    /// The last trouble that was logged; it is not logged again before it has passed.
    trouble: Option<String>,
}

/// What came of a write.
enum Written {
    /// It is ours, with this resourceVersion.
    Ours(String),
    /// It changed meanwhile.
    Changed,
    /// Nobody knows.
    Unknown(String),
}

/// A name that no other process has: the host's, and something random, because a container that is started again in its
/// pod has the same host name and is somebody else all the same.
#[must_use]
pub fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    // The standard library seeds this from the system's randomness.
    let random = RandomState::new().hash_one(std::process::id());
    format!("{}_{random:016x}", host.trim())
}

impl Candidate {
    /// A candidate for the Lease in `namespace`, over a client without retries of its own. `leadership` is told the outcome.
    #[must_use]
    pub fn new(client: Client, namespace: &str, times: Times, leadership: Leadership, clock: Clock) -> Self {
        #[expect(clippy::disallowed_methods, reason = "ages are counted from here, on the monotonic clock")]
        let origin = Instant::now();
        let election = Election::new(identity(), times);
        Self { api: Api::namespaced(client, namespace), election, leadership, clock, origin, acquired: None, trouble: None }
    }

    /// This candidate's name in the Lease.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.election.identity()
    }

    /// Takes part until the leadership is sealed, and then gives the Lease back.
    pub async fn run(mut self) {
        let leadership = self.leadership.clone();
        loop {
            let settled = self.round().await;
            let pause = self.election.pause(self.now(), settled);
            tokio::select! {
                () = leadership.sealed() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.give_back().await;
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Renews, or looks and perhaps takes. Tells whether nothing is left to be tried again soon.
    async fn round(&mut self) -> bool {
        let act = match self.election.renewal(self.now()) {
            Some(renewal) => renewal,
            None => match self.look().await {
                Some(act) => act,
                None => return false,
            },
        };
        if self.act(&act).await {
            return true;
        }
        // Somebody wrote in between: see who, and what is to be done about it now.
        match self.look().await {
            Some(act) => self.act(&act).await,
            None => false,
        }
    }

    /// Reads the Lease; none when it could not be read.
    async fn look(&mut self) -> Option<Act> {
        let answer = tokio::time::timeout(self.election.times().call, self.api.get_opt(names::LEASE)).await;
        let now = self.now();
        let lease = match answer {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) => return self.trouble(&format!("failed to read the lease: {error}")),
            Err(_) => return self.trouble("failed to read the lease: no answer in time"),
        };
        let act = self.election.look(lease.as_ref().map(record).as_ref(), now);
        self.publish();
        if act == Act::Wait {
            self.trouble = None;
        }
        Some(act)
    }

    /// Carries it out. False when the Lease changed meanwhile, or nobody knows.
    async fn act(&mut self, act: &Act) -> bool {
        let (version, transitions) = match act {
            Act::Wait => return true,
            Act::Create => (None, 0),
            Act::Write { version, transitions } => (Some(version.as_str()), *transitions),
        };
        // Counted from before it is sent: others count from when they read it.
        let sent = self.now();
        let holder = self.election.identity().to_owned();
        let written = self.write(version, Some(&holder), transitions).await;
        let done = match written {
            Written::Ours(version) => {
                self.election.won(sent, version, transitions);
                self.trouble = None;
                true
            }
            Written::Changed => false,
            Written::Unknown(why) => {
                self.trouble::<()>(&format!("failed to write the lease: {why}"));
                false
            }
        };
        self.publish();
        done
    }

    fn trouble<T>(&mut self, what: &str) -> Option<T> {
        if self.trouble.as_deref() != Some(what) {
            tracing::warn!("{what}");
            self.trouble = Some(what.to_owned());
        }
        None
    }

    /// Tells everybody until when this replica may act.
    fn publish(&mut self) {
        let until = self.election.until().and_then(|until| self.origin.checked_add(until));
        if until.is_none() {
            self.acquired = None;
        }
        self.leadership.set(until);
    }

    async fn write(&mut self, version: Option<&str>, holder: Option<&str>, transitions: i32) -> Written {
        let now = MicroTime((self.clock)());
        let acquired = if version.is_some() { self.acquired.clone() } else { None };
        let acquired = self.acquired.insert(acquired.unwrap_or_else(|| now.clone())).clone();
        let seconds = i32::try_from(self.election.times().lease.as_secs()).unwrap_or(i32::MAX);
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(seconds),
            acquire_time: Some(acquired),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        };
        match tokio::time::timeout(self.election.times().call, send(&self.api, version, spec)).await {
            Ok(Ok(lease)) => Written::Ours(lease.resource_version().unwrap_or_default()),
            // A patch whose test failed is a 422; a name that is taken, or is gone meanwhile, a 409 or a 404.
            Ok(Err(error)) if matches!(status_code(&error), Some(404 | 409 | 422)) => Written::Changed,
            Ok(Err(error)) => Written::Unknown(error.to_string()),
            Err(_) => Written::Unknown("no answer in time".to_owned()),
        }
    }

    /// Says that nobody holds the Lease, if it is ours: another replica takes it at its next look.
    async fn give_back(&mut self) {
        let mut act = self.election.release();
        for _ in 0..2 {
            let Some(Act::Write { version, transitions }) = act else { return };
            match self.write(Some(&version), None, transitions).await {
                Written::Ours(_) => return,
                // Somebody's annotation, or a renewal whose answer was lost: it may still be ours.
                Written::Changed => act = self.look().await.filter(|_| self.election.release().is_some()),
                Written::Unknown(why) => {
                    tracing::warn!("failed to give the lease back: {why}; another replica takes it when it is over");
                    return;
                }
            }
        }
    }
}

async fn send(api: &Api<Lease>, version: Option<&str>, spec: LeaseSpec) -> kube::Result<Lease> {
    let manager = Some(names::LEASE.to_owned());
    let Some(version) = version else {
        let metadata = ObjectMeta { name: Some(names::LEASE.to_owned()), ..ObjectMeta::default() };
        let params = PostParams { dry_run: false, field_manager: manager };
        return api.create(&params, &Lease { metadata, spec: Some(spec) }).await;
    };
    let patch = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/spec", "value": spec},
    ]);
    let patch: json_patch::Patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
    let params = PatchParams { field_manager: manager, ..PatchParams::default() };
    api.patch(names::LEASE, &params, &Patch::Json::<()>(patch)).await
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        version: lease.resource_version().unwrap_or_default(),
        holder: spec.holder_identity,
        duration: spec.lease_duration_seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(0),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}
