//! `kubectl tidegate`: what a person sees and commands; and the generated files (`crds/`, `docs/reference/`).
//!
//! | file | does |
//! |---|---|
//! | [`args`] | the command line |
//! | [`connect`] | kubeconfig, deadlines, objects by name |
//! | [`show`] | `get`, `status` |
//! | [`request`] | `promote`, `abort`, `retry`: write the request, wait for the answer |
//! | [`render`], [`text`] | status to text, pure |
//! | [`error`] | exit codes, messages, hints |
//! | [`crds`], [`mod@reference`] | `tidegate crds` |

use std::io;
use std::io::Write;

use clap::CommandFactory;

pub mod args;
pub mod connect;
pub mod crds;
pub mod error;
pub mod reference;
pub mod render;
pub mod request;
pub mod show;
pub mod simulate;
pub mod text;

use args::{Command, Line};
use connect::Session;
use error::{CliError, Exit};

use crate::api::request::RolloutAction;

/// Carries out a command line, and says on standard error why when it did not work out.
pub async fn run(line: Line) -> Exit {
    let mut out = io::stdout();
    let result = match &line.command {
        Command::Version => print_version("kubectl-tidegate").map(|()| Exit::Done).map_err(CliError::from),
        Command::Completion { shell } => completion(*shell, &mut out),
        Command::Simulate(args) => simulate::simulate(args, &mut out),
        command => match Session::connect(&line.target, &mut out).await {
            Ok(mut session) => execute(command, &mut session).await,
            Err(error) => Err(error),
        },
    };
    result.unwrap_or_else(|error| report(&error, &mut io::stderr()))
}

/// Carries out a command that needs the cluster.
///
/// # Errors
/// As the command; see [`show`] and [`request`].
pub async fn execute(command: &Command, session: &mut Session<'_>) -> Result<Exit, CliError> {
    match command {
        Command::Get(args) => show::get(session, args).await,
        Command::Status(args) => show::status(session, args).await,
        Command::Explain(args) => show::explain(session, args).await,
        Command::Promote(args) => request::ask(session, &args.ask, args.action(), None).await,
        Command::Abort(args) => request::ask(session, args, RolloutAction::Abort, None).await,
        Command::Retry(args) => request::ask(session, args, RolloutAction::Retry, None).await,
        Command::Pause(args) => request::ask(session, args, RolloutAction::Pause, None).await,
        Command::Resume(args) => request::ask(session, args, RolloutAction::Resume, None).await,
        Command::Restart(args) => request::ask(session, args, RolloutAction::Restart, None).await,
        Command::Undo(args) => request::ask(session, &args.ask, RolloutAction::Undo, args.to_revision).await,
        Command::Version => print_version("kubectl-tidegate").map(|()| Exit::Done).map_err(CliError::from),
        Command::Completion { shell } => completion(*shell, session.out),
        Command::Simulate(args) => simulate::simulate(args, session.out),
    }
}

/// `error: ...` and `hint: ...`, one line each.
pub fn report(error: &CliError, out: &mut dyn Write) -> Exit {
    if !error.message.is_empty() {
        // Nobody is left to tell when standard error is closed; the exit code still says it.
        let _ = writeln!(out, "error: {}", error.message);
        if let Some(hint) = &error.hint {
            let _ = writeln!(out, "hint: {hint}");
        }
    }
    error.exit
}

fn completion(shell: clap_complete::Shell, out: &mut dyn Write) -> Result<Exit, CliError> {
    // Into memory first: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Line::command(), "kubectl-tidegate", &mut script);
    out.write_all(&script)?;
    Ok(Exit::Done)
}

/// Prints `<program> <version>`.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_version(program: &str) -> io::Result<()> {
    print(&format!("{program} {}\n", env!("CARGO_PKG_VERSION")))
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
