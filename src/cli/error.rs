//! How a command ends: an exit code that scripts rely on, a sentence, and a hint.

use std::io;

use kube::core::Status;

use super::text;

/// How a command ended. The numbers are an interface; scripts branch on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or healthy.
    Done = 0,
    /// Something that should not happen.
    Unexpected = 1,
    /// The command line or the kubeconfig is wrong.
    Usage = 2,
    /// The request was refused; the message says why.
    Refused = 3,
    /// Not there yet when the time was over.
    TimedOut = 4,
    /// The Rollout is Degraded.
    Degraded = 5,
    /// The Rollout waits for a person.
    WaitsForPerson = 6,
    /// No such object, or no such kind in this cluster.
    NotFound = 7,
    /// The cluster does not allow it.
    Forbidden = 8,
    /// The cluster does not answer, or answers with an error of its own.
    Unreachable = 9,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct CliError {
    /// How the process ends.
    pub exit: Exit,
    /// What happened, in a sentence without its full stop. Cleaned of control characters.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl CliError {
    /// An error without a hint.
    #[must_use]
    pub fn new(exit: Exit, message: &str) -> Self {
        Self { exit, message: text::clean(message, 2000), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(text::clean(hint, 500));
        self
    }

    /// What the API server, or the way to it, answered while we wanted to `doing`.
    #[must_use]
    pub fn from_kube(doing: &str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::from_status(doing, status),
            kube::Error::Service(_) | kube::Error::HyperError(_) => unreachable(doing, &chain(error)),
            kube::Error::Auth(_) => Self::new(Exit::Forbidden, &format!("failed to {doing}: {}", chain(error)))
                .hint("the kubeconfig's way to log in failed; `kubectl auth whoami` shows whether kubectl can"),
            _ => Self::new(Exit::Unexpected, &format!("failed to {doing}: {}", chain(error))),
        }
    }

    fn from_status(doing: &str, status: &Status) -> Self {
        let message = format!("failed to {doing}: {}", status.message);
        match status.code {
            401 => Self::new(Exit::Forbidden, &message).hint("the cluster does not know you; log in again"),
            403 => forbidden(&message, &status.message),
            // Without a name in it, the answer speaks of the kind: the definitions are missing.
            404 if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => {
                Self::new(Exit::NotFound, &format!("failed to {doing}: this cluster does not know the kind"))
                    .hint("is Tidegate installed here? kubectl get crd rollouts.tidegate.dev")
            }
            404 => Self::new(Exit::NotFound, &message),
            429 | 500..=599 => unreachable(doing, &status.message),
            _ => Self::new(Exit::Unexpected, &message),
        }
    }

    /// No answer within the deadline of one call.
    #[must_use]
    pub fn no_answer(doing: &str, deadline: std::time::Duration) -> Self {
        unreachable(doing, &format!("no answer within {} s", deadline.as_secs_f32()))
    }
}

impl From<io::Error> for CliError {
    /// A reader that has seen enough (`| head`) is no error.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::new(Exit::Done, "")
        } else {
            Self::new(Exit::Unexpected, &format!("failed to write the output: {error}"))
        }
    }
}

fn unreachable(doing: &str, why: &str) -> CliError {
    CliError::new(Exit::Unreachable, &format!("failed to {doing}: the cluster cannot be reached: {why}"))
        .hint("kubectl cluster-info shows whether kubectl reaches it; running pods and traffic are not touched by this")
}

/// The verb that is missing stands in the API server's sentence; we repeat it where the eye falls.
fn forbidden(message: &str, answer: &str) -> CliError {
    let error = CliError::new(Exit::Forbidden, message);
    match missing_verb(answer) {
        Some(verb) => {
            let role = if matches!(verb, "get" | "list" | "watch") { "tidegate-viewer" } else { "tidegate-operator" };
            error.hint(&format!("you lack the verb `{verb}`; the ClusterRole {role} has it"))
        }
        None => error,
    }
}

/// RBAC says `User "x" cannot <verb> resource ...`; our admission policy says `needs the verb '<verb>'`.
fn missing_verb(answer: &str) -> Option<&str> {
    let rbac = answer.split_once("\" cannot ").and_then(|(_, rest)| rest.split(' ').next());
    let policy = || answer.split_once("needs the verb '").and_then(|(_, rest)| rest.split('\'').next());
    rbac.or_else(policy).filter(|verb| !verb.is_empty() && verb.chars().all(|c| c.is_ascii_alphabetic()))
}

/// An error with its causes: the outer ones say little ("client error (Connect)").
fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut inner = error.source();
    while let Some(cause) = inner {
        let cause_message = cause.to_string();
        if !message.contains(&cause_message) {
            message = format!("{message}: {cause_message}");
        }
        inner = cause.source();
    }
    message
}
