//! `Application`: a directory in Git, where it goes, and what a failed rollout does to Git.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, Time};

/// How many entries `status.history`, `status.writeBacks` and `status.holds` keep, newest first.
pub const KEPT_ENTRIES: usize = 10;
/// How many resources that are not healthy or not synced `status.resources` names.
pub const KEPT_UNHEALTHY: usize = 50;

/// A directory in Git, and where it goes.
#[derive(CustomResource, KubeSchema, Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "Application",
    plural = "applications",
    shortname = "app",
    category = "tidegate",
    namespaced,
    status = "ApplicationStatus",
    derive = "PartialEq",
    doc = "A directory in Git that is applied to the cluster, and gets a revert commit when a Rollout in it fails.",
    validation = Rule::new("size(self.metadata.name) <= 53").message("an Application's name may have at most 53 characters, because its inventory carries it in its name"),
    printcolumn(name = "Sync", type_ = "string", json_path = ".status.sync.status", description = "Synced, OutOfSync or Unknown"),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health.status", description = "Healthy, Progressing, Degraded or Unknown"),
    printcolumn(name = "Commit", type_ = "string", json_path = ".status.revision.commit", description = "Commit that is applied", priority = "1"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationSpec {
    /// Name of the Project whose rules hold. Without one, the Application may only deploy to its own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub project: Option<String>,
    /// The directory in Git.
    pub source: Source,
    /// Nothing is applied or written back while true. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Allow a path without any manifest to remove everything that was applied. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
    /// Where it goes.
    pub destination: Destination,
    /// How it is applied.
    #[serde(default)]
    pub sync_policy: SyncPolicy,
    /// What a failed rollout does to Git. Absent: nothing, as with mode Disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_back: Option<WriteBack>,
}

/// A directory in Git.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Address of the repository, `https://`, without credentials.
    #[serde(rename = "repoURL")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^\\\\s@?#]+$')").message("spec.source.repoURL must be an https:// address without user, password, query or spaces"))]
    pub repo_url: String,
    /// What of the repository.
    pub revision: GitRevision,
    /// Directory with the manifests, relative to the root of the repository; `.` is the root.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.endsWith('/') && !self.contains('//') && !self.split('/').exists(p, p == '..') && (self == '.' || !self.split('/').exists(p, p == '.'))").message("spec.source.path must be a relative path of plain names such as apps/shop, without '..', leading or trailing '/'"))]
    pub path: String,
    /// Time between looks at the branch, at least 1s. Default 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Secret in the same namespace with `username` and `password`, or `bearerToken`; optional `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// What of a repository is applied.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
pub struct GitRevision {
    /// Name of a branch; its tip is applied.
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_][A-Za-z0-9._/+-]*$') && !self.contains('..') && !self.contains('//') && !self.endsWith('/') && !self.endsWith('.lock')").message("spec.source.revision.branch is not a branch name"))]
    pub branch: String,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Where manifests go.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Namespace of objects that name none.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Service account in the Application's namespace that every apply is made as; its rights are the limit.
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: String,
}

/// How manifests are applied.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct SyncPolicy {
    /// Every new commit is applied by itself.
    #[serde(default)]
    pub automated: Automated,
}

/// What happens by itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct Automated {
    /// Objects that left Git are deleted. Default false.
    #[serde(default)]
    pub prune: bool,
}

/// What a failed rollout does to Git.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode != 'Push' || has(self.secretRef)").message("spec.writeBack.mode Push needs spec.writeBack.secretRef: a credential of its own that may push; or set mode to DryRun or Disabled"))]
pub struct WriteBack {
    /// Push the revert commit, only compute and show it, or do nothing. Default Push.
    #[serde(default)]
    pub mode: WriteBackMode,
    /// Which failures are taken back in Git without anybody asking. Default both.
    #[serde(default = "every_cause", skip_serializing_if = "is_every_cause")]
    #[schemars(length(max = 2))]
    pub on: Vec<WriteBackCause>,
    /// Secret in the same namespace with a credential that may push; never taken from `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Author and committer of the revert commit. Default `Tidegate <tidegate@localhost>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// Quote the metric's query in the commit message. Default false: queries may name internal hosts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_query: bool,
}

impl Default for WriteBack {
    fn default() -> Self {
        Self { mode: WriteBackMode::default(), on: every_cause(), secret_ref: None, author: None, include_query: false }
    }
}

/// What may be answered with a revert by itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum WriteBackCause {
    /// An analysis found the canary bad.
    AnalysisFailed,
    /// Pods of the canary were started and were not ready by the progress deadline, while stable's were.
    NotReady,
}

fn every_cause() -> Vec<WriteBackCause> {
    vec![WriteBackCause::AnalysisFailed, WriteBackCause::NotReady]
}

fn is_every_cause(causes: &[WriteBackCause]) -> bool {
    causes == every_cause()
}

/// How far a write-back goes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum WriteBackMode {
    /// Push the revert commit to the branch.
    #[default]
    Push,
    /// Compute it and show it in status and events; push nothing.
    DryRun,
    /// Do nothing.
    Disabled,
}

/// Author and committer of our commits.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct Author {
    /// Name.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[^<>\n\r\x00]+$"))]
    pub name: String,
    /// Address.
    #[schemars(length(min = 3, max = 200), regex(pattern = r"^[^\s<>@]+@[^\s<>@]+$"))]
    pub email: String,
}

/// What is true of an Application now.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Commit that is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<CommitInfo>,
    /// Tree id of the path that is applied: what decides whether a new commit changes anything here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Health of everything that was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Whether the cluster has what Git says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncState>,
    /// Counts, and the resources that are not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// What was deployed, newest first, at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    /// Contents that failed and are not rolled out again, newest first, at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<AppHold>,
    /// Revert commits, newest first: the last 10, and those of failures that still stand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_backs: Vec<WriteBackState>,
    /// Per Rollout: which commit and content is known to be good.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rollouts: Vec<RolloutRecord>,
    /// Conditions; see the reference for types and reasons.
    #[schemars(schema_with = "super::schema::conditions")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A commit.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitInfo {
    /// Full id.
    pub commit: String,
    /// Author's name.
    pub author: String,
    /// First line of the message, at most 120 characters.
    pub subject: String,
    /// When it was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Time>,
}

/// Health in one word and one sentence.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct Health {
    /// One word.
    pub status: HealthStatus,
    /// Why, when not Healthy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Health of an object.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub enum HealthStatus {
    /// Does what it should.
    Healthy,
    /// On the way there.
    Progressing,
    /// Cannot be told from what the object says.
    Unknown,
    /// Does not do what it should.
    Degraded,
    /// Gone.
    Missing,
}

/// Whether the cluster has what Git says.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct SyncState {
    /// One word.
    pub status: SyncStatus,
}

/// Whether the cluster has what Git says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum SyncStatus {
    /// The tip is applied.
    Synced,
    /// The tip is not, or not wholly, applied.
    OutOfSync,
    /// The tip is not known.
    Unknown,
}

/// Counts, and what is not healthy.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct Resources {
    /// Objects of this Application.
    pub total: i32,
    /// Of these, as in Git.
    pub synced: i32,
    /// Of these, healthy.
    pub healthy: i32,
    /// Those that are not, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unhealthy: Vec<ResourceHealth>,
}

/// An object and its health.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct ResourceHealth {
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster-scoped.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// One word.
    pub health: HealthStatus,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One deployment.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Commit.
    pub commit: String,
    /// Its author's name.
    pub author: String,
    /// First line of its message.
    pub subject: String,
    /// When it was applied.
    pub deployed_at: Time,
    /// How it ended; none while under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<HistoryOutcome>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum HistoryOutcome {
    /// Everything is healthy.
    Healthy,
    /// A Rollout failed and went back to stable.
    RolledBack,
    /// A newer commit came before it was done.
    Superseded,
}

/// A content of a Rollout that failed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
pub struct AppHold {
    /// Name of the Rollout.
    pub rollout: String,
    /// Digest of the pod template.
    pub digest: String,
    /// Commit that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Time,
}

/// One revert commit, from failure to branch.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriteBackState {
    /// Id of the failure: `<rollout uid>/<revision>/<attempt>`.
    pub id: String,
    /// Name of the Rollout.
    pub rollout: String,
    /// How far it is.
    pub phase: WriteBackPhase,
    /// A fixed word; see the reference.
    pub reason: String,
    /// The newest culprit: the commit that is reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_commit: Option<String>,
    /// Ids of revert commits that we were about to push; one of these on the branch is ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// The revert commit on the branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the failure was.
    pub failed_at: Time,
    /// When the phase was reached.
    pub at: Time,
}

/// How far a write-back is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub enum WriteBackPhase {
    /// To be done; tried again by itself.
    Pending,
    /// Done; also when there was nothing to do.
    Done,
    /// Not done, and not tried again.
    Refused,
    /// Waits for a person.
    Waiting,
}

/// What is known to be good of a Rollout.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutRecord {
    /// Name of the Rollout.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Newest commit that renders stable's content.
    pub stable_commit: String,
    /// Digest of stable's pod template.
    pub stable_digest: String,
}
