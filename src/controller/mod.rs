//! The loops: observe, decide, execute, record. All I/O of the controller starts here.

pub mod flags;

/// Placeholder of this branch only: the loops come from another one.
///
/// # Errors
/// Always.
pub async fn run(_args: flags::ControllerArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build has no controller")
}
