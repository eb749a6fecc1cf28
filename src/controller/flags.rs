//! The controller's flags. Each can also be given as environment variable `TIDEGATE_<FLAG>`; the flag wins.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

/// Flags of `tidegate controller`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ControllerArgs {
    /// What failed rollouts do to Git: push the revert, only compute and show it, or nothing. Stronger than any
    /// Application's own `spec.writeBack.mode`
    #[arg(long, env = "TIDEGATE_WRITE_BACK", value_enum, value_name = "MODE", default_value_t = WriteBackFlag::On)]
    pub write_back: WriteBackFlag,

    /// Address of `/metrics`, `/healthz` and `/readyz`; `:8080` means all interfaces
    #[arg(long, env = "TIDEGATE_METRICS_ADDRESS", value_name = "[HOST]:PORT", default_value = "0.0.0.0:8080", value_parser = address)]
    pub metrics_address: SocketAddr,

    /// How log lines are written
    #[arg(long, env = "TIDEGATE_LOG_FORMAT", value_enum, value_name = "FORMAT", default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,

    /// Which log lines are written: error, warn, info, debug, trace, or a list such as `info,tidegate::git=debug`
    #[arg(long, env = "TIDEGATE_LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = level)]
    pub log_level: String,

    /// Folder for mirrors of Git repositories. Losing it costs a fetch and nothing else
    #[arg(long, env = "TIDEGATE_DATA_DIR", value_name = "FOLDER", default_value = "/var/lib/tidegate")]
    pub data_dir: PathBuf,

    /// Act only while holding the Lease `tidegate-leader`, so that several replicas can run. Without it, see to it
    /// yourself that there is exactly one
    #[arg(
        long, env = "TIDEGATE_LEADER_ELECT", value_name = "BOOL", action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true"
    )]
    pub leader_elect: bool,

    /// Look after this namespace only, and hold the Lease there. Default: all, with the Lease in `tidegate-system`
    #[arg(long, env = "TIDEGATE_NAMESPACE", value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,

    /// Accept `http://` repositories, whose content and credentials anybody on the way can read and change
    #[arg(
        long, env = "TIDEGATE_INSECURE_GIT_HTTP", value_name = "BOOL", action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true"
    )]
    pub insecure_git_http: bool,
}

/// How far any write-back may go: the operator's brake for the whole controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WriteBackFlag {
    /// As each Application says.
    On,
    /// Reverts are computed and shown, never pushed.
    DryRun,
    /// Nothing is computed or pushed.
    Off,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `host:port` with a numeric host, or `:port` for all interfaces.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.parse().map_err(|_| "write an address and a port, such as 127.0.0.1:8080, [::1]:8080 or :8080".to_owned())
}

/// A filter that the log writer will understand, so that a typing error is found at start.
fn level(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            Err(format!("{error}; write error, warn, info, debug or trace, or a list such as info,tidegate::git=debug"))
        }
    }
}

/// A DNS label: at most 63 of a-z, 0-9 and '-', none of them '-' at the ends.
fn namespace(text: &str) -> Result<String, String> {
    let plain = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if plain && !text.is_empty() && text.len() <= 63 && !text.starts_with('-') && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("a namespace's name has 1 to 63 characters of a-z, 0-9 and '-', and begins and ends with none of '-'".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ControllerArgs,
    }

    fn parse(flags: &[&str]) -> Result<ControllerArgs, String> {
        let line = std::iter::once("tidegate").chain(flags.iter().copied());
        Line::try_parse_from(line).map(|line| line.args).map_err(|error| error.to_string())
    }

    fn defaults() -> ControllerArgs {
        ControllerArgs {
            write_back: WriteBackFlag::On,
            metrics_address: "0.0.0.0:8080".parse().unwrap(),
            log_format: LogFormat::Json,
            log_level: "info".to_owned(),
            data_dir: PathBuf::from("/var/lib/tidegate"),
            leader_elect: true,
            namespace: None,
            insecure_git_http: false,
        }
    }

    /// Protects: the documented defaults and spellings; deployments rely on them.
    #[test]
    fn flags_and_defaults() {
        assert_eq!(parse(&[]).unwrap(), defaults());
        let all =
            ["--write-back=dry-run", "--metrics-address=:9090", "--log-format=text", "--log-level=info,tidegate::git=debug"];
        let more = ["--data-dir", "/data", "--namespace", "shop", "--insecure-git-http", "--leader-elect=false"];
        assert_eq!(
            parse(&[&all[..], &more[..]].concat()).unwrap(),
            ControllerArgs {
                write_back: WriteBackFlag::DryRun,
                metrics_address: "0.0.0.0:9090".parse().unwrap(),
                log_format: LogFormat::Text,
                log_level: "info,tidegate::git=debug".to_owned(),
                data_dir: PathBuf::from("/data"),
                leader_elect: false,
                namespace: Some("shop".to_owned()),
                insecure_git_http: true,
            }
        );
        assert!(!parse(&["--insecure-git-http=false"]).unwrap().insecure_git_http);
        assert!(parse(&["--leader-elect"]).unwrap().leader_elect);
    }

    /// Protects: a typing error stops the start with the flag's name, instead of a controller that does something else.
    #[test]
    fn refusals_name_the_flag() {
        for (flag, part) in [
            ("--write-back=maybe", "--write-back"),
            ("--metrics-address=8080", "such as 127.0.0.1:8080"),
            ("--log-format=xml", "--log-format"),
            ("--log-level=tidegate=loud", "--log-level"),
            ("--namespace=Shop", "a namespace's name"),
            ("--leader-elect=maybe", "--leader-elect"),
        ] {
            let message = parse(&[flag]).unwrap_err();
            assert!(message.contains(part), "{flag}: {message}");
        }
    }

    /// Protects: each flag's variable, `TIDEGATE_<FLAG>`.
    #[test]
    fn every_flag_has_its_variable() {
        use clap::CommandFactory;
        let command = Line::command();
        let found: Vec<(String, String)> = command
            .get_arguments()
            .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.get_env()?.to_string_lossy().into_owned())))
            .collect();
        let wanted: Vec<(String, String)> = [
            "write-back",
            "metrics-address",
            "log-format",
            "log-level",
            "data-dir",
            "leader-elect",
            "namespace",
            "insecure-git-http",
        ]
        .map(|flag| (flag.to_owned(), format!("TIDEGATE_{}", flag.replace('-', "_").to_uppercase())))
        .to_vec();
        assert_eq!(found, wanted);
    }
}
