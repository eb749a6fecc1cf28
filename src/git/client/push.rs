//! Pushing with compare-and-swap.

use std::cell::RefCell;
use std::sync::Arc;

use git2::{ErrorCode, PushOptions, RemoteCallbacks, Repository};

use super::error::{PushError, rejected};
use super::http::{Exchange, Fault};
use super::mirror::{Mirror, git};
use super::objects::oid;
use super::remote::Access;
use super::transport;
use crate::git::revision::{BranchName, CommitId};

/// Most bytes of a server's remarks that are kept.
const MAX_REMARKS: usize = 8 << 10;
/// Most characters of them that are told.
const TOLD: usize = 300;

/// What was learned while pushing.
#[derive(Default)]
struct Learned {
    /// The remote's old value was not the expected one.
    moved: bool,
    /// What the server says of our reference; inner none: accepted.
    status: Option<Option<String>>,
    /// What it printed for people.
    remarks: Vec<u8>,
}

impl Mirror {
    /// Moves `branch` on the remote from `expected` to `new`, or does nothing.
    ///
    /// A push that is not forced checks ancestry only: a branch that was reset to an ancestor of `expected` would get the
    /// dropped commits back. So the old value that goes into the command, which the server compares under its lock, has
    /// to be `expected`.
    ///
    /// # Errors
    /// [`PushError`]; after [`PushError::AnswerLost`] the commit may be on the branch.
    pub fn push(&self, access: &Arc<Access>, branch: &BranchName, expected: &CommitId, new: &CommitId) -> Result<(), PushError> {
        self.push_while(access, branch, expected, new, &|| true)
    }

    /// Like [`Self::push`], unless `may` says no just before anything would be sent: then it is as if the branch had moved,
    /// and whoever may push looks at it anew.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_while(
        &self,
        access: &Arc<Access>,
        branch: &BranchName,
        expected: &CommitId,
        new: &CommitId,
        may: &dyn Fn() -> bool,
    ) -> Result<(), PushError> {
        let _guard = self.lock();
        let repository = self.repository()?;
        let exchange = Exchange::new(&self.url, access, self.limits)?;
        let learned = RefCell::new(Learned::default());
        let outcome = transport::with(&exchange, || send(&repository, &learned, (branch, expected, new), may));
        judge(&exchange, &learned.into_inner(), outcome)
    }
}

fn send(
    repository: &Repository,
    learned: &RefCell<Learned>,
    (branch, expected, new): (&BranchName, &CommitId, &CommitId),
    may: &dyn Fn() -> bool,
) -> Result<(), Stopped> {
    let expected = oid(expected.as_bytes()).map_err(|error| Stopped::Mirror(error.into()))?;
    let new = oid(new.as_bytes()).map_err(|error| Stopped::Mirror(error.into()))?;
    repository.find_commit(new).map_err(|error| Stopped::Mirror(git(&error)))?;
    let reference = branch.reference();
    let mut callbacks = RemoteCallbacks::new();
    callbacks.push_negotiation(|updates| {
        let only_ours = matches!(updates, [update] if update.dst_refname_bytes() == reference.as_bytes()
            && update.src() == expected
            && update.dst() == new);
        let goes = only_ours && may();
        learned.borrow_mut().moved = !goes;
        if goes { Ok(()) } else { Err(git2::Error::from_str("the branch is not where it was expected")) }
    });
    callbacks.push_update_reference(|name, status| {
        if name == reference {
            learned.borrow_mut().status = Some(status.map(str::to_owned));
        }
        Ok(())
    });
    callbacks.sideband_progress(|text| {
        let mut learned = learned.borrow_mut();
        let room = MAX_REMARKS.saturating_sub(learned.remarks.len()).min(text.len());
        learned.remarks.extend_from_slice(&text[..room]);
        true
    });
    let mut options = PushOptions::new();
    options.remote_callbacks(callbacks);
    let mut remote = repository.remote_anonymous(transport::ADDRESS).map_err(|error| Stopped::Mirror(git(&error)))?;
    remote.push(&[format!("{new}:{reference}")], Some(&mut options)).map_err(Stopped::Push)
}

/// Why libgit2 stopped.
enum Stopped {
    Mirror(super::error::MirrorError),
    Push(git2::Error),
}

fn judge(exchange: &Exchange, learned: &Learned, outcome: Result<(), Stopped>) -> Result<(), PushError> {
    let remarks = exchange.words(&String::from_utf8_lossy(&learned.remarks), TOLD);
    if learned.moved {
        return Err(PushError::Raced);
    }
    // The server's word about our reference counts, whatever went wrong afterwards.
    match &learned.status {
        Some(None) => return Ok(()),
        Some(Some(status)) => return Err(rejected(&exchange.words(status, TOLD), &remarks)),
        None => {}
    }
    let error = match outcome {
        Ok(()) => return Err(PushError::AnswerLost("the server said nothing about the branch".to_owned())),
        Err(Stopped::Mirror(error)) => return Err(error.into()),
        Err(Stopped::Push(error)) => error,
    };
    let words = exchange.words(error.message(), TOLD);
    match exchange.fault() {
        Some(fault) if exchange.push_in_doubt() => Err(PushError::AnswerLost(lost(&fault))),
        Some(fault) => Err(fault.into()),
        None if error.code() == ErrorCode::NotFastForward => Err(PushError::Raced),
        // The server could not take the objects: nothing moved.
        None if words.contains("unpacking the sent packfile failed") => Err(rejected("unpacker error", &remarks)),
        None if exchange.push_in_doubt() => Err(PushError::AnswerLost(words)),
        None if error.class() == git2::ErrorClass::Net => Err(PushError::Unreachable(words)),
        None => Err(PushError::Mirror(git(&error))),
    }
}

fn lost(fault: &Fault) -> String {
    match fault {
        Fault::Timeout => "no answer in time".to_owned(),
        Fault::Unreachable(why) => why.clone(),
        Fault::TooLarge(limit) => format!("the answer is larger than {limit} bytes"),
        Fault::NotGit(kind) => format!("the answer has content type '{kind}'"),
        Fault::Denied(code) | Fault::Quota(code) => format!("status {code}"),
        Fault::NotFound | Fault::Untrusted(_) | Fault::Redirected(_) => "an answer without meaning".to_owned(),
    }
}
