//! The kubectl plugin: `kubectl tidegate`.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let line = tidegate::cli::args::Line::parse();
    ExitCode::from(tidegate::cli::run(line).await.code())
}
