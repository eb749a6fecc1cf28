//! One object of Git as it is about to be applied: marked, merged with what Rollouts steer on the live one, tied to
//! the live object it was made for.

use std::fmt;

use serde_json::Value;

use super::commit;
use super::merge::{self, Steering};
use super::own::{self, Owner};
use crate::api;
use crate::manifest::ObjectId;
use crate::manifest::rollout::KIND as ROLLOUT;

/// What is the same for all objects of a sync.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The Application.
    pub owner: &'a Owner,
    /// Live Rollouts of the namespaces that are synced to.
    pub rollouts: &'a [Steering],
    /// The commit that is synced.
    pub commit: &'a str,
    /// The commit whose trailer lifts a hold, when the tip has one.
    pub retry: Option<&'a str>,
}

/// An object as it is sent.
#[derive(Clone, PartialEq)]
pub struct Prepared {
    /// The whole apply configuration.
    pub value: Value,
    /// Weights or a selector were taken from the live object: it carries the live resourceVersion.
    pub steered: bool,
}

/// Without the content: it may be a Secret.
impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("steered", &self.steered).finish_non_exhaustive()
    }
}

/// Makes Git's `value` ready to be applied over `live`. `id` carries the namespace it goes to.
///
/// The live uid goes along as a precondition: an object that was deleted and created anew since it was looked at may
/// belong to somebody else. The live resourceVersion goes along only where something was merged from it; elsewhere it
/// would make every change of a status a conflict.
#[must_use]
pub fn prepare(id: &ObjectId, value: &Value, live: Option<&Value>, context: Context<'_>) -> Prepared {
    let Context { owner, rollouts, commit, retry } = context;
    let mut value = own::stamp(value, &id.namespace, owner);
    let steered = merge::merge(id, &mut value, live, rollouts);
    if id.is(api::GROUP, ROLLOUT) {
        commit::annotate(&mut value, live, commit, retry);
    }
    let text = |pointer: &str| live.and_then(|live| live.pointer(pointer)?.as_str());
    if let Some(uid) = text("/metadata/uid") {
        own::set_metadata(&mut value, "uid", uid);
    }
    if let Some(version) = text("/metadata/resourceVersion").filter(|_| steered) {
        own::set_metadata(&mut value, "resourceVersion", version);
    }
    Prepared { value, steered }
}
