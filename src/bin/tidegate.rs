//! The controller, and `tidegate crds`.

use clap::{Parser, Subcommand};
use tidegate::controller::flags::ControllerArgs;

/// Progressive delivery for Kubernetes that closes the loop to Git
#[derive(Parser)]
#[command(name = "tidegate", version, args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    controller: ControllerArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the controller (what happens without a subcommand, too)
    Controller(ControllerArgs),
    /// Print the CustomResourceDefinitions, or write them and their reference as files
    Crds(tidegate::cli::crds::CrdsArgs),
    /// Print the version
    Version,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let line = Line::parse();
    match line.command.unwrap_or(Command::Controller(line.controller)) {
        Command::Controller(args) => tidegate::controller::run(args).await,
        Command::Crds(args) => Ok(tidegate::cli::crds::run(&args)?),
        Command::Version => Ok(tidegate::cli::print_version("tidegate")?),
    }
}
