//! Why a call, or a whole sync, failed. Nothing here ever holds a value of a Secret.

use std::fmt;

use crate::api::condition::application as reasons;
use crate::manifest::ObjectId;
use crate::manifest::Source;
use crate::manifest::object::{NAMED_ERRORS, clean};
use crate::sync::inventory::InventoryError;
use crate::sync::own::OwnedByOther;
use crate::sync::project::Violation;

/// What was asked of the API server: `apply Secret shop/db as shop/deployer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `get`, `list`, `apply`, `delete`, `discover`.
    pub verb: &'static str,
    /// Of what.
    pub object: String,
    /// As whom: `<namespace>/<service account>`; none for the controller's own identity.
    pub account: Option<String>,
    /// Is it about a Secret? Then nothing that the server says about it is repeated.
    pub secret: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.object)?;
        self.account.as_ref().map_or(Ok(()), |account| write!(f, " as service account {account}"))
    }
}

/// One field that the API server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Its path, for example `spec.ports[0].port`.
    pub field: String,
    /// Why, for example `FieldValueRequired`.
    pub reason: String,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The object changed meanwhile, again and again.
    #[error("failed to {0}: it keeps changing; it will be tried again")]
    Conflict(Call),
    /// The service account lacks a right, or an admission rule such as a quota said no.
    #[error("failed to {call}: not allowed{}", after(message))]
    Forbidden {
        /// What was asked.
        call: Call,
        /// The server's sentence.
        message: String,
    },
    /// The object is not valid.
    #[error("failed to {call}: not valid: {}{}", fields_text(fields), after(message))]
    Invalid {
        /// What was asked.
        call: Call,
        /// Which fields.
        fields: Vec<FieldProblem>,
        /// The server's sentence.
        message: String,
    },
    /// There is no such object, or no such namespace.
    #[error("failed to {call}: not found{}", after(message))]
    NotFound {
        /// What was asked.
        call: Call,
        /// The server's sentence.
        message: String,
    },
    /// The cluster does not know the kind.
    #[error(
        "the cluster does not know {kind} of {api_version}; install its CustomResourceDefinition first, or add it to the path"
    )]
    UnknownKind {
        /// apiVersion of the manifest.
        api_version: String,
        /// Kind of the manifest.
        kind: String,
    },
    /// The API server asks to slow down.
    #[error("failed to {0}: the API server is busy; it will be tried again")]
    Busy(Call),
    /// Any other refusal, or an error of the server.
    #[error("failed to {call}: the API server answered {code}{}", after(message))]
    Server {
        /// What was asked.
        call: Call,
        /// HTTP status.
        code: u16,
        /// The server's sentence.
        message: String,
    },
    /// No answer in time; the call may have been carried out.
    #[error("failed to {0}: no answer in time")]
    Timeout(Call),
    /// No connection.
    #[error("failed to {0}: the API server cannot be reached")]
    Unreachable(Call),
    /// The answer is not what the API promises.
    #[error("failed to {0}: the answer cannot be read")]
    Unreadable(Call),
    /// The object belongs to another Application.
    #[error(transparent)]
    OwnedByOther(#[from] OwnedByOther),
    /// A CustomResourceDefinition was applied and is not served.
    #[error("{0} was applied, but the API server does not serve it yet")]
    NotEstablished(ObjectId),
}

fn after(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn fields_text(fields: &[FieldProblem]) -> String {
    fields.iter().map(|f| format!("{} ({})", f.field, f.reason)).collect::<Vec<_>>().join(", ")
}

/// The body of a failed answer, as far as it is a `metav1.Status`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Status {
    message: Option<String>,
    details: Option<Details>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    field: String,
}

/// What stands in for the server's sentence about a Secret.
const NOT_SHOWN: &str = "what the API server says is not shown, because it may quote the Secret";

/// An answer that is no success, as an error.
pub(super) fn refusal(call: Call, code: u16, status: Status) -> ClusterError {
    let Status { message, details } = status;
    let message = message.unwrap_or_default();
    let misfit = misfit(&message);
    let causes = details.unwrap_or_default().causes.into_iter().filter(|cause| !cause.field.is_empty()).take(10);
    let fields: Vec<FieldProblem> = causes
        .map(|cause| FieldProblem { field: clean(&cause.field, 200), reason: clean(&cause.reason, 60) })
        .chain(misfit.clone())
        .collect();
    // The server quotes what it refuses.
    let message = if call.secret { NOT_SHOWN.to_owned() } else { clean(&message, 400) };
    match code {
        // An object that was deleted and created anew since it was read has another uid.
        422 if fields.iter().any(|f| f.field == "metadata.uid") => ClusterError::Conflict(call),
        409 => ClusterError::Conflict(call),
        403 => ClusterError::Forbidden { call, message },
        404 => ClusterError::NotFound { call, message },
        400 | 422 => ClusterError::Invalid { call, fields, message },
        429 => ClusterError::Busy(call),
        500 if misfit.is_some() => ClusterError::Invalid { call, fields, message },
        _ => ClusterError::Server { call, code, message },
    }
}

/// The field of a manifest that does not fit its kind. Server-side apply answers 500 for it, with the field only in the
/// sentence: `failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): .spec.replicaz: field not
/// declared in schema`. Only the first path is taken: after it, the sentence may quote values.
fn misfit(message: &str) -> Option<FieldProblem> {
    let (_, rest) = message.split_once("failed to create typed patch object")?;
    let path = rest.split_whitespace().find_map(|word| word.strip_prefix('.')?.strip_suffix(':'))?;
    let unknown = rest.split_once(path)?.1.starts_with(": field not declared");
    let reason = if unknown { "FieldUnknown" } else { "FieldTypeInvalid" };
    Some(FieldProblem { field: clean(path, 200), reason: reason.to_owned() })
}

/// What went wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where it stands in Git; none for what does not.
    pub source: Option<Source>,
    /// What.
    pub error: ClusterError,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{source}: {}", self.error),
            None => write!(f, "{}", self.error),
        }
    }
}

/// Why a sync stopped.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The path holds no manifests any more.
    #[error("the path holds no manifests; nothing is pruned (set spec.allowEmpty to remove everything)")]
    Empty,
    /// The same object twice, once with its namespace and once without.
    #[error("{}", list(.0))]
    Duplicate(Vec<String>),
    /// The Project, or the lack of one, does not allow it. Nothing was written.
    #[error("{}", list(.0))]
    NotAllowed(Vec<Violation>),
    /// The inventory cannot be used.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// Objects could not be read, belong to other Applications, or failed the dry run; nothing was written.
    #[error("nothing was applied: {}", list(.0))]
    Refused(Vec<Failure>),
    /// Stopped half-way: what comes later was not applied and nothing was pruned.
    #[error("stopped after {} objects were applied: {failure}", applied.len())]
    Stopped {
        /// What was applied before.
        applied: Vec<ObjectId>,
        /// What stopped it.
        failure: Box<Failure>,
    },
}

impl SyncError {
    /// Reason of the Application's condition `Applied`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => reasons::PATH_MISSING,
            Self::Duplicate(_) => reasons::RENDER_FAILED,
            Self::NotAllowed(_) => reasons::NOT_ALLOWED,
            Self::Inventory(_) => reasons::APPLY_FAILED,
            Self::Refused(failures) => failures.first().map_or(reasons::APPLY_FAILED, |first| reason_of(&first.error)),
            Self::Stopped { failure, .. } => reason_of(&failure.error),
        }
    }
}

const fn reason_of(error: &ClusterError) -> &'static str {
    match error {
        ClusterError::Forbidden { .. } => reasons::FORBIDDEN,
        ClusterError::OwnedByOther(_) => reasons::OWNED_BY_OTHER,
        ClusterError::Timeout(_) | ClusterError::Unreachable(_) => reasons::UNREACHABLE,
        _ => reasons::APPLY_FAILED,
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let mut texts: Vec<String> = items.iter().take(NAMED_ERRORS).map(ToString::to_string).collect();
    if items.len() > NAMED_ERRORS {
        texts.push(format!("and {} more", items.len() - NAMED_ERRORS));
    }
    texts.join("; ")
}
