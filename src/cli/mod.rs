//! `kubectl tidegate`: what a person sees and commands; and the generated files (`crds/`, `docs/reference/`).

use std::io;
use std::io::Write;

pub mod crds;
pub mod reference;

/// Prints `<program> <version>`.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_version(program: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{program} {}", env!("CARGO_PKG_VERSION"))
}
