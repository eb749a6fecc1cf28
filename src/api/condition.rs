//! Condition types and reasons. Reasons are an interface: alerts and scripts match on them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// kstatus: the object does what its spec asks.
pub const READY: &str = "Ready";
/// kstatus: work is under way.
pub const RECONCILING: &str = "Reconciling";
/// kstatus: no progress without a change from outside.
pub const STALLED: &str = "Stalled";

/// Rollout: a revision is under way (Deployment's condition of the same name).
pub const PROGRESSING: &str = "Progressing";
/// Rollout: waits at a pause.
pub const PAUSED: &str = "Paused";
/// Rollout: stable has all its pods available.
pub const AVAILABLE: &str = "Available";
/// Rollout: the spec asks for something impossible; the message names the field.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// Rollout: another manager keeps resetting a weight or a selector; the message names it.
pub const CONTESTED: &str = "Contested";

/// Application: the branch was fetched.
pub const FETCHED: &str = "Fetched";
/// Application: every manifest of the path was read.
pub const RENDERED: &str = "Rendered";
/// Application: the cluster has what Git says.
pub const APPLIED: &str = "Applied";
/// Application: what was applied is healthy.
pub const HEALTHY: &str = "Healthy";
/// Application: the last write-back, and why it ended as it did.
pub const WRITTEN_BACK: &str = "WrittenBack";

/// Reasons of Rollout conditions.
pub mod rollout {
    /// Stable serves at full strength and nothing is under way.
    pub const HEALTHY: &str = "Healthy";
    /// Goes through its steps.
    pub const STEPPING: &str = "Stepping";
    /// Waits at a `pause` step.
    pub const PAUSED_BY_STEP: &str = "PausedByStep";
    /// Waits because a person paused it, by command or in the spec.
    pub const PAUSED_BY_USER: &str = "PausedByUser";
    /// An analysis could not tell good from bad.
    pub const INCONCLUSIVE: &str = "Inconclusive";
    /// An analysis got no usable measurements.
    pub const ANALYSIS_ERROR: &str = "AnalysisError";
    /// An analysis found the canary bad.
    pub const ANALYSIS_FAILED: &str = "AnalysisFailed";
    /// Pods of the new version were not ready by the progress deadline.
    pub const NOT_READY: &str = "NotReady";
    /// The namespace's quota leaves no room for pods of the new version.
    pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
    /// A rule of the cluster refuses pods of the new version.
    pub const PODS_REFUSED: &str = "PodsRefused";
    /// No node takes pods of the new version.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// An image of the new version cannot be pulled.
    pub const IMAGE_PULL: &str = "ImagePull";
    /// Pods of the new version are on a node that is silent.
    pub const NODE_LOST: &str = "NodeLost";
    /// A person aborted.
    pub const ABORTED_BY_USER: &str = "AbortedByUser";
    /// This content failed before and is not rolled out again until it changes or somebody retries.
    pub const HELD: &str = "Held";
    /// The spec cannot be carried out.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The gateway does not confirm a weight.
    pub const WEIGHT_UNVERIFIED: &str = "WeightUnverified";
    /// Stable has too few ready pods to take the traffic back.
    pub const STABLE_NOT_READY: &str = "StableNotReady";
    /// A route does not exist, or names neither Service.
    pub const ROUTE_MISSING: &str = "RouteMissing";
    /// A Service does not exist.
    pub const SERVICE_MISSING: &str = "ServiceMissing";
    /// Another tool keeps resetting a weight or a selector; the message names it.
    pub const CONTESTED: &str = "Contested";
    /// Pods of a revision are starting.
    pub const PODS_STARTING: &str = "PodsStarting";
    /// The new version takes over as stable.
    pub const PROMOTING: &str = "Promoting";
}

/// Reasons of Application conditions.
pub mod application {
    /// Done.
    pub const SUCCEEDED: &str = "Succeeded";
    /// `spec.suspend` is set.
    pub const SUSPENDED: &str = "Suspended";
    /// The spec cannot be carried out.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The Git server did not answer.
    pub const UNREACHABLE: &str = "Unreachable";
    /// The Git server refused the credentials.
    pub const DENIED: &str = "Denied";
    /// The server's certificate is not signed by a known authority.
    pub const UNTRUSTED_CERTIFICATE: &str = "UntrustedCertificate";
    /// The branch does not exist.
    pub const BRANCH_MISSING: &str = "BranchMissing";
    /// The path does not exist in the branch, or has no manifests.
    pub const PATH_MISSING: &str = "PathMissing";
    /// The Secret is missing or lacks a key.
    pub const SECRET_MISSING: &str = "SecretMissing";
    /// A manifest could not be read; the message names file and line.
    pub const RENDER_FAILED: &str = "RenderFailed";
    /// The service account may not do what the manifests ask for.
    pub const FORBIDDEN: &str = "Forbidden";
    /// The Project does not allow it; the message names the rule.
    pub const NOT_ALLOWED: &str = "NotAllowed";
    /// Another Application owns an object.
    pub const OWNED_BY_OTHER: &str = "OwnedByOther";
    /// The API server refused an object.
    pub const APPLY_FAILED: &str = "ApplyFailed";
    /// Objects are not healthy yet.
    pub const PROGRESSING: &str = "Progressing";
    /// A Rollout of this Application was aborted or is held.
    pub const ROLLED_BACK: &str = "RolledBack";
}

/// Reasons of a write-back, in `Application.status.writeBacks[].reason` and the condition `WrittenBack`.
pub mod write_back {
    /// The revert commit is on the branch.
    pub const PUSHED: &str = "Pushed";
    /// The branch renders stable's content already.
    pub const ALREADY_REVERTED: &str = "AlreadyReverted";
    /// Computed and shown, not pushed.
    pub const DRY_RUN: &str = "DryRun";
    /// A brake holds it back until a person releases it.
    pub const WAITING: &str = "Waiting";
    /// Later edits overlap the change; the message names the files.
    pub const CONFLICT: &str = "Conflict";
    /// The change lies in a base outside the Application's path.
    pub const SHARED_BASE: &str = "SharedBase";
    /// A recorded commit does not render the content it is said to have.
    pub const NOT_REPRODUCIBLE: &str = "NotReproducible";
    /// No commit of the branch made this change.
    pub const NOT_FROM_GIT: &str = "NotFromGit";
    /// History ends before the commit that is to be restored.
    pub const SHALLOW: &str = "Shallow";
    /// The revert would leave the path empty.
    pub const EMPTY_RESULT: &str = "EmptyResult";
    /// The server does not accept pushes to this branch.
    pub const PROTECTED_BRANCH: &str = "ProtectedBranch";
    /// Too many write-backs within an hour.
    pub const RATE_LIMITED: &str = "RateLimited";
    /// The Git server did not answer; it will be tried again.
    pub const UNREACHABLE: &str = "Unreachable";
    /// The Git server refused the credentials.
    pub const DENIED: &str = "Denied";
    /// The branch has other content by now.
    pub const SUPERSEDED: &str = "Superseded";
    /// Stable's commit is no longer in the branch's history.
    pub const HISTORY_REWRITTEN: &str = "HistoryRewritten";
    /// Stable was never verified healthy, or its commit is not known.
    pub const STABLE_UNVERIFIED: &str = "StableUnverified";
    /// More than 50 commits to look through.
    pub const TOO_MANY_CANDIDATES: &str = "TooManyCandidates";
    /// The result does not parse.
    pub const RENDER_FAILED: &str = "RenderFailed";
    /// The result does not render stable's content.
    pub const NOT_RESTORED: &str = "NotRestored";
    /// The culprit is a commit of ours.
    pub const OWN_COMMIT: &str = "OwnCommit";
    /// A person retried before it was pushed.
    pub const RETRIED: &str = "Retried";
    /// Other pushes were always faster; it will be tried again.
    pub const CONTENDED: &str = "Contended";
    /// Switched off in the Application or by flag.
    pub const DISABLED: &str = "Disabled";
}

/// Sets a condition as the API conventions ask: `lastTransitionTime` moves only when `status` changes.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = if status { "True" } else { "False" };
    let message: String = message.chars().take(2048).collect();
    let since = conditions
        .iter()
        .find(|c| c.type_ == kind && c.status == status)
        .map_or_else(|| Time(Timestamp::from_second(now.as_second()).unwrap_or(now)), |c| c.last_transition_time.clone());
    let next = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(found) => *found = next,
        None => conditions.push(next),
    }
}
