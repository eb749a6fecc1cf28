//! Conditions on measurements, and the verdict they add up to.
//!
//! ```text
//! templates + args --template::resolve--> metrics, copied into an AnalysisRun
//! metrics + status --run::due--> what to measure now --provider--> Taken --run::record--> status, verdict
//!                                                                    status --verdict::evidence--> text for people and Git
//! ```
//!
//! Everything but `provider` is pure. The one rule that everything here serves: a measurement without a usable value
//! (no data, NaN, a broken server, a condition that cannot be evaluated) is an Error, and never counts as success or failure.

pub mod condition;
pub mod counting;
pub mod ledger;
pub mod measured;
pub mod pace;
pub mod provider;
pub mod run;
mod sandbox;
pub mod sequential;
pub mod slo;
pub mod template;
mod text;
pub mod verdict;

pub use condition::{Condition, ConditionError};
pub use measured::{Look, Measured, QueryResult, Taken};
pub use run::{Due, due, record};
pub use template::{Arm, Arms, Purpose, ResolveContext, Template, TemplateError, resolve};
pub use verdict::evidence;
