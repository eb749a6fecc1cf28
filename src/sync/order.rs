//! The order of applying: what others need comes first. Pruning goes the other way.

use std::cmp::Ordering;

use crate::api;
use crate::manifest::ObjectId;
use crate::manifest::rollout::KIND as ROLLOUT;

/// The stages of a sync, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Namespaces.
    Namespaces,
    /// CustomResourceDefinitions.
    Definitions,
    /// Service accounts, roles and their bindings.
    Access,
    /// What pods mount, and what limits them; classes; analysis templates.
    Configuration,
    /// Services, before the pods that look for them in their environment.
    Services,
    /// What runs pods.
    Workloads,
    /// What scales and protects the workloads.
    Scaling,
    /// Gateways, before the routes that attach to them.
    Gateways,
    /// Routes, after the Services they name.
    Routes,
    /// Every other kind.
    CustomResources,
    /// Rollouts, after the Services, routes and templates they steer and refer to.
    Rollouts,
    /// Admission webhooks and aggregated APIs: what could refuse all of the above while its own pods start.
    Admission,
}

/// The stage an object is applied in.
#[must_use]
pub fn stage(id: &ObjectId) -> Stage {
    match (id.group.as_str(), id.kind.as_str()) {
        ("", "Namespace") => Stage::Namespaces,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => Stage::Definitions,
        ("", "ServiceAccount") | ("rbac.authorization.k8s.io", _) => Stage::Access,
        ("", "ConfigMap" | "Secret" | "ResourceQuota" | "LimitRange" | "PersistentVolume" | "PersistentVolumeClaim")
        | ("storage.k8s.io" | "scheduling.k8s.io" | "node.k8s.io", _)
        | ("networking.k8s.io", "NetworkPolicy" | "IngressClass")
        | ("gateway.networking.k8s.io", "GatewayClass" | "ReferenceGrant")
        | (api::GROUP, "Project" | "AnalysisTemplate" | "ClusterAnalysisTemplate") => Stage::Configuration,
        ("", "Service" | "Endpoints") | ("discovery.k8s.io", _) => Stage::Services,
        ("", "Pod" | "ReplicationController") | ("apps" | "batch", _) => Stage::Workloads,
        ("autoscaling" | "policy", _) => Stage::Scaling,
        ("gateway.networking.k8s.io", "Gateway") => Stage::Gateways,
        ("gateway.networking.k8s.io", _) | ("networking.k8s.io" | "extensions", "Ingress") => Stage::Routes,
        (api::GROUP, ROLLOUT) => Stage::Rollouts,
        ("admissionregistration.k8s.io" | "apiregistration.k8s.io", _) => Stage::Admission,
        _ => Stage::CustomResources,
    }
}

/// Compares two objects by when they are applied: by stage, then by name so that each sync goes the same way.
#[must_use]
pub fn apply_order(a: &ObjectId, b: &ObjectId) -> Ordering {
    stage(a).cmp(&stage(b)).then_with(|| a.cmp(b))
}

/// Compares two objects by when they are pruned.
#[must_use]
pub fn prune_order(a: &ObjectId, b: &ObjectId) -> Ordering {
    apply_order(b, a)
}
