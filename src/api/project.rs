//! `Project`: what Applications of some namespaces may deploy, and where. Cluster-scoped, a platform team's.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What Applications may deploy, and where. An empty list allows nothing of its sort unless said otherwise.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "Project",
    plural = "projects",
    shortname = "proj",
    category = "tidegate",
    derive = "PartialEq",
    doc = "What Applications of some namespaces may deploy, and where.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ProjectSpec {
    /// Namespaces whose Applications may use this Project. `*` is allowed as a whole name or as a suffix (`team-*`).
    #[schemars(length(min = 1, max = 200), inner(length(min = 1, max = 63), regex(pattern = r"^(\*|[a-z0-9][a-z0-9-]*\*?)$")))]
    pub application_namespaces: Vec<String>,
    /// Repositories, compared by whole address; `*` as a suffix matches the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), inner(length(min = 1, max = 1024)))]
    pub source_repos: Vec<String>,
    /// Where objects may go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub destinations: Vec<AllowedDestination>,
    /// Kinds that may be applied. Empty: every namespaced kind and no cluster-scoped one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub allowed_kinds: Vec<GroupKind>,
    /// Kinds that may not, also when allowed above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub denied_kinds: Vec<GroupKind>,
    /// Metric servers that analyses may ask, as `host`, `host:port` or `*.suffix`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), inner(length(min = 1, max = 253)))]
    pub metric_addresses: Vec<String>,
}

/// A place where objects may go.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct AllowedDestination {
    /// Namespace; `*` is allowed as a whole name or as a suffix (`team-*`).
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^(\*|[a-z0-9][a-z0-9-]*\*?)$"))]
    pub namespace: String,
}

/// A kind of object; `*` matches all.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct GroupKind {
    /// API group; empty for core.
    #[schemars(length(max = 253))]
    pub group: String,
    /// Kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
}
