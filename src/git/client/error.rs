//! What can go wrong with a remote, told apart by what to do about it.

use super::http::Fault;
use super::remote::RemoteError;
use crate::api::condition::{application, write_back};
use crate::git::revision::ObjectsError;

/// Why a branch could not be fetched. The last known state stays; nothing is pruned, nothing counts as a failed canary.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The credentials were refused.
    #[error("failed to fetch: the Git server refuses the credentials (status {0})")]
    Denied(u16),
    /// No such repository, or not for these credentials: forges do not tell which.
    #[error("failed to fetch: the Git server knows no such repository, or hides it from these credentials")]
    NotFound,
    /// No such branch.
    #[error("failed to fetch: the repository has no branch '{0}'")]
    BranchMissing(String),
    /// The certificate cannot be trusted.
    #[error("failed to fetch: the server's certificate is not trusted ({0}); put its authority into key ca.crt of the Secret")]
    Untrusted(String),
    /// No connection, or cut off.
    #[error("failed to fetch: the Git server cannot be reached ({0})")]
    Unreachable(String),
    /// A deadline passed.
    #[error("failed to fetch: the Git server did not answer in time")]
    Timeout,
    /// Sent elsewhere.
    #[error(
        "failed to fetch: the server sends on to {0}; redirects to other addresses are not followed, write the final address"
    )]
    Redirected(String),
    /// Something else lives at this address.
    #[error("failed to fetch: no Git server answers at this address (content type '{0}')")]
    NotGit(String),
    /// More than allowed.
    #[error("failed to fetch: the answer is larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// The mirror does not work.
    #[error("failed to fetch: {0}")]
    Mirror(#[from] MirrorError),
}

impl FetchError {
    /// The reason for the condition `Fetched`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Denied(_) | Self::NotFound => application::DENIED,
            Self::BranchMissing(_) => application::BRANCH_MISSING,
            Self::Untrusted(_) => application::UNTRUSTED_CERTIFICATE,
            Self::Unreachable(_) | Self::Timeout | Self::TooLarge(_) | Self::Mirror(_) => application::UNREACHABLE,
            Self::Redirected(_) | Self::NotGit(_) => application::INVALID_SPEC,
        }
    }

    /// The reason of a write-back that could not fetch.
    #[must_use]
    pub const fn write_back_reason(&self) -> &'static str {
        match self {
            Self::Denied(_) | Self::NotFound => write_back::DENIED,
            _ => write_back::UNREACHABLE,
        }
    }
}

impl From<Fault> for FetchError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Denied(status) => Self::Denied(status),
            Fault::NotFound => Self::NotFound,
            Fault::Untrusted(why) => Self::Untrusted(why),
            Fault::Unreachable(why) => Self::Unreachable(why),
            Fault::Timeout => Self::Timeout,
            Fault::Redirected(to) => Self::Redirected(to),
            Fault::NotGit(kind) => Self::NotGit(kind),
            Fault::TooLarge(limit) => Self::TooLarge(limit),
            Fault::Quota(status) => Self::Unreachable(format!("status {status}")),
        }
    }
}

/// Why the mirror on this machine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Files cannot be written or read.
    #[error("failed to use the mirror on disk: {0}")]
    Disk(#[from] std::io::Error),
    /// Git's own complaint.
    #[error("failed to use the mirror: {0}")]
    Git(String),
    /// An object.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// Author or address of a commit.
    #[error("'{0}' cannot be the author of a commit; a name and an address without < > and line breaks are allowed")]
    Author(String),
    /// An address or Secret.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// Why a push did not end with our commit at the tip.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Somebody else pushed first.
    #[error("failed to push: the branch moved meanwhile")]
    Raced,
    /// Nobody may push to this branch directly.
    #[error("failed to push: the branch is protected ({0}); allow this account to push to it")]
    ProtectedBranch(String),
    /// A hook on the server said no.
    #[error("failed to push: a hook of the server declined ({0})")]
    HookDeclined(String),
    /// Another process on the server holds the branch.
    #[error("failed to push: the server could not lock the branch ({0})")]
    Locked(String),
    /// The server has no room for it.
    #[error("failed to push: the server has no room or allows no more ({0})")]
    Quota(String),
    /// Refused for another reason.
    #[error("failed to push: the server refused ({0})")]
    Rejected(String),
    /// The credentials were refused.
    #[error("failed to push: the Git server refuses the credentials (status {0})")]
    Denied(u16),
    /// No such repository, or not for these credentials.
    #[error("failed to push: the Git server knows no such repository, or hides it from these credentials")]
    NotFound,
    /// The certificate cannot be trusted.
    #[error("failed to push: the server's certificate is not trusted ({0}); put its authority into key ca.crt of the Secret")]
    Untrusted(String),
    /// No connection; nothing was sent.
    #[error("failed to push: the Git server cannot be reached ({0})")]
    Unreachable(String),
    /// A deadline passed; nothing was sent.
    #[error("failed to push: the Git server did not answer in time")]
    Timeout,
    /// The commit was sent and no answer came: it may stand on the branch.
    #[error("the answer to the push was lost ({0}); the commit may be on the branch")]
    AnswerLost(String),
    /// The mirror does not work.
    #[error("failed to push: {0}")]
    Mirror(#[from] MirrorError),
}

/// What to do after a push failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Fetch, and compute from the new tip.
    ComputeAnew,
    /// Fetch, and look whether a recorded commit is on the branch; never push again before.
    LookFirst,
    /// Wait, and try again.
    TryLater,
    /// Only a person can change this: tell, and try again rarely.
    AskPerson,
}

impl PushError {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> Next {
        match self {
            Self::Raced | Self::Locked(_) => Next::ComputeAnew,
            Self::AnswerLost(_) => Next::LookFirst,
            Self::Unreachable(_) | Self::Timeout | Self::Mirror(_) => Next::TryLater,
            Self::ProtectedBranch(_)
            | Self::HookDeclined(_)
            | Self::Quota(_)
            | Self::Rejected(_)
            | Self::Denied(_)
            | Self::NotFound
            | Self::Untrusted(_) => Next::AskPerson,
        }
    }

    /// The reason of the write-back.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Raced | Self::Locked(_) => write_back::CONTENDED,
            Self::ProtectedBranch(_) | Self::HookDeclined(_) | Self::Quota(_) | Self::Rejected(_) => write_back::PROTECTED_BRANCH,
            Self::Denied(_) | Self::NotFound => write_back::DENIED,
            Self::Untrusted(_) | Self::Unreachable(_) | Self::Timeout | Self::AnswerLost(_) | Self::Mirror(_) => {
                write_back::UNREACHABLE
            }
        }
    }
}

impl From<Fault> for PushError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Denied(status) => Self::Denied(status),
            Fault::NotFound => Self::NotFound,
            Fault::Untrusted(why) => Self::Untrusted(why),
            Fault::Unreachable(why) => Self::Unreachable(why),
            Fault::Timeout => Self::Timeout,
            Fault::Redirected(to) => Self::Rejected(format!("the server sends on to {to}; write the final address")),
            Fault::NotGit(kind) => Self::Rejected(format!("no Git server answers at this address, content type '{kind}'")),
            Fault::TooLarge(limit) => Self::Unreachable(format!("the answer is larger than {limit} bytes")),
            Fault::Quota(status) => Self::Quota(format!("status {status}")),
        }
    }
}

/// Tells a rejected reference apart: `status` is what the server says of the reference, `remarks` what it printed for
/// people. The words are those of git, GitHub, GitLab, Gitea and Bitbucket; both texts are printable and short.
pub(super) fn rejected(status: &str, remarks: &str) -> PushError {
    let all = format!("{status} {remarks}").to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| all.contains(word));
    let told = if remarks.is_empty() { status.to_owned() } else { format!("{status}: {remarks}") };
    let protected = [
        "protected branch",
        "gh006",
        "gh013",
        "repository rule",
        "not allowed to push",
        "only be modified through pull requests",
    ];
    let moved =
        ["non-fast-forward", "fetch first", "stale info", "incorrect old value", "but expected", "reference already exists"];
    if has(&protected) {
        PushError::ProtectedBranch(told)
    } else if has(&moved) {
        PushError::Raced
    } else if has(&["quota", "no space left", "size limit", "exceeds", "too large"]) {
        PushError::Quota(told)
    } else if has(&["hook declined"]) {
        PushError::HookDeclined(told)
    } else if has(&["cannot lock ref", "failed to lock", "failed to update ref", "unable to create"]) {
        PushError::Locked(told)
    } else {
        PushError::Rejected(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Protects: each refusal gets the treatment that helps. Texts as the servers send them.
    #[rstest]
    #[case(
        "protected branch hook declined",
        "error: GH006: Protected branch update failed for refs/heads/main.",
        Next::AskPerson,
        "ProtectedBranch"
    )]
    #[case(
        "push declined due to repository rule violations",
        "error: GH013: Repository rule violations found for refs/heads/main.",
        Next::AskPerson,
        "ProtectedBranch"
    )]
    #[case(
        "pre-receive hook declined",
        "GitLab: You are not allowed to push code to protected branches on this project.",
        Next::AskPerson,
        "ProtectedBranch"
    )]
    #[case(
        "pre-receive hook declined",
        "Gitea: Not allowed to push to protected branch main",
        Next::AskPerson,
        "ProtectedBranch"
    )]
    #[case(
        "pre-receive hook declined",
        "Branch refs/heads/main can only be modified through pull requests.",
        Next::AskPerson,
        "ProtectedBranch"
    )]
    #[case("pre-receive hook declined", "commit must name a ticket", Next::AskPerson, "ProtectedBranch")]
    #[case(
        "failed to update ref",
        "error: cannot lock ref 'refs/heads/main': is at 12 but expected 34",
        Next::ComputeAnew,
        "Contended"
    )]
    #[case(
        "failed to update ref",
        "error: cannot lock ref 'refs/heads/main': Unable to create 'main.lock': File exists.",
        Next::ComputeAnew,
        "Contended"
    )]
    #[case("non-fast-forward", "", Next::ComputeAnew, "Contended")]
    #[case("unpacker error", "fatal: write error: Disk quota exceeded", Next::AskPerson, "ProtectedBranch")]
    #[case("deny updating a hidden ref", "", Next::AskPerson, "ProtectedBranch")]
    fn refusals(#[case] status: &str, #[case] remarks: &str, #[case] next: Next, #[case] reason: &str) {
        let error = rejected(status, remarks);
        assert_eq!((error.next(), error.reason()), (next, reason), "{error:?}");
    }
}
