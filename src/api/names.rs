//! Labels, annotations, trailers, field managers and object names that users and other tools rely on.

/// Where `deploy/` installs Tidegate.
pub const SYSTEM_NAMESPACE: &str = "tidegate-system";
/// Lease that says which replica acts.
pub const LEASE: &str = "tidegate-leader";

/// Field manager of objects applied from Git.
pub const MANAGER_SYNC: &str = "tidegate-sync";
/// Field manager of ReplicaSets, route weights and Service selectors.
pub const MANAGER_ROLLOUT: &str = "tidegate-rollout";
/// Field manager of the kubectl plugin's commands.
pub const MANAGER_CLI: &str = "kubectl-tidegate";

/// Label `<namespace>.<application>` on every object applied from Git: which Application owns it.
pub const OWNED_BY: &str = "tidegate.dev/owned-by";
/// Annotation: uid of the owning Application, so that a re-created Application of the same name is another one.
pub const OWNER_UID: &str = "tidegate.dev/owner-uid";
/// Label on ReplicaSets and pods, and key in Services' selectors: identity of a revision.
pub const POD_TEMPLATE_HASH: &str = "tidegate.dev/pod-template-hash";
/// Label on ReplicaSets and AnalysisRuns: the Rollout's revision, 1, 2, 3 ...
pub const REVISION: &str = "tidegate.dev/revision";
/// Label on AnalysisRuns and ReplicaSets: name of the Rollout they belong to.
pub const ROLLOUT: &str = "tidegate.dev/rollout";
/// Annotation on ReplicaSets: the pod template as it was written, for `undo`. Not where an Application owns the Rollout.
pub const TEMPLATE: &str = "tidegate.dev/template";
/// Annotation on Rollouts, written by sync: the Git commit in which the template digest last changed.
pub const COMMIT: &str = "tidegate.dev/commit";
/// Annotation on Rollouts, written by sync: commit whose `Tidegate-Retry: yes` trailer lifts a hold once.
pub const RETRY: &str = "tidegate.dev/retry";
/// Annotation on pods and in ReplicaSets' templates: what `canaryMetadata` or `stableMetadata` put there, as JSON. Only that is
/// taken off again.
pub const ROLE_METADATA: &str = "tidegate.dev/role-metadata";
/// Annotation on our CRDs that lets them be deleted.
pub const CONFIRM_DELETE: &str = "tidegate.dev/confirm-delete";
/// Label on routes while a canary's weight is above 0, so that other tools can ignore them.
pub const CANARY: &str = "tidegate.dev/canary";
/// Value of [`CANARY`].
pub const CANARY_IN_PROGRESS: &str = "in-progress";
/// Annotation on objects in Git: `disabled` keeps the object when it leaves Git.
pub const PRUNE: &str = "tidegate.dev/prune";

/// Commit trailer: `<namespace>/<application>`.
pub const TRAILER_APPLICATION: &str = "Tidegate-Application";
/// Commit trailer: `<namespace>/<rollout>`.
pub const TRAILER_ROLLOUT: &str = "Tidegate-Rollout";
/// Commit trailer: the commit that is reverted.
pub const TRAILER_FAILED_COMMIT: &str = "Tidegate-Failed-Commit";
/// Commit trailer: the commit whose content is restored.
pub const TRAILER_RESTORES: &str = "Tidegate-Restores";
/// Commit trailer: `<rollout uid>/<revision>/<attempt>`.
pub const TRAILER_ATTEMPT: &str = "Tidegate-Attempt";
/// Commit trailer: `<namespace>/<analysis run>`.
pub const TRAILER_ANALYSIS: &str = "Tidegate-Analysis";
/// Trailer in a person's commit that lifts a hold.
pub const TRAILER_RETRY: &str = "Tidegate-Retry";

/// Name of the AnalysisRun that holds the evidence on the SLOs of an attempt.
#[must_use]
pub fn evidence_run(rollout: &str, revision: i64, attempt: i32) -> String {
    format!("{rollout}-{revision}-{attempt}-slo")
}
