//! The custom resources of `tidegate.dev/v1alpha1`, and nothing else: types, their schemas, and the names
//! that the other rooms and the users share. No logic, no I/O.
//!
//! Conventions: `spec` is the user's and `status` is ours; every kind carries `observedGeneration` and
//! `metav1.Condition`s that kstatus understands (`Ready`, `Reconciling`, `Stalled`).

pub mod analysis;
pub mod application;
pub mod condition;
pub mod duration;
pub mod names;
mod percent;
mod pod_count;
pub mod project;
pub mod request;
pub mod rollout;
mod schema;
pub mod slo;

pub use analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate};
pub use application::Application;
pub use duration::Duration;
pub use percent::{Percent, PercentError};
pub use pod_count::{PodCount, PodCountError};
pub use project::Project;
pub use rollout::Rollout;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// A point in time with microseconds, RFC 3339 (`metav1.MicroTime`). `metav1.Time` drops the fraction of a
/// second, which would let a pause end up to a second early.
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime as Time;

/// Group of all our kinds.
pub const GROUP: &str = "tidegate.dev";
/// The only version so far.
pub const VERSION: &str = "v1alpha1";

/// Every CustomResourceDefinition, in the order in which `tidegate crds` prints them.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        Application::crd(),
        Project::crd(),
        Rollout::crd(),
        AnalysisTemplate::crd(),
        ClusterAnalysisTemplate::crd(),
        AnalysisRun::crd(),
    ];
    for version in all.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            schema::forbid_null(schema);
        }
    }
    all
}
