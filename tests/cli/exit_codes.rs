//! How commands end: the numbers that scripts branch on, and the hints that people act on.

use std::io::Write;
use std::process::Command;

use serde_json::json;
use tidegate::cli::error::Exit;
use tidegate::cli::show::verdict;

use crate::fixtures;
use crate::script::{self, Answer, refusal};

/// Protects: the pinned numbers.
#[test]
fn numbers() {
    let all = [
        Exit::Done,
        Exit::Unexpected,
        Exit::Usage,
        Exit::Refused,
        Exit::TimedOut,
        Exit::Degraded,
        Exit::WaitsForPerson,
        Exit::NotFound,
        Exit::Forbidden,
        Exit::Unreachable,
    ];
    assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

/// Protects: a pipeline that goes on after `status` goes on only when the newest spec is live and healthy.
#[test]
fn status_by_state() {
    let mut outdated = fixtures::healthy();
    outdated["metadata"]["generation"] = json!(5);
    for (name, state, exit) in [
        ("healthy", fixtures::healthy(), Exit::Done),
        ("healthy before the latest change", outdated, Exit::TimedOut),
        ("new", fixtures::new(), Exit::TimedOut),
        ("stepping", fixtures::stepping(), Exit::TimedOut),
        ("timed pause", fixtures::timed_pause(), Exit::TimedOut),
        ("no values", fixtures::no_values(), Exit::TimedOut),
        ("waiting for a person", fixtures::waiting_for_person(), Exit::WaitsForPerson),
        ("inconclusive", fixtures::inconclusive(), Exit::WaitsForPerson),
        ("paused by a person", fixtures::paused_by_user(), Exit::WaitsForPerson),
        ("failed", fixtures::failed(), Exit::Degraded),
        ("held", fixtures::held(), Exit::Degraded),
        ("invalid", fixtures::invalid(), Exit::Degraded),
    ] {
        assert_eq!(verdict(&fixtures::rollout(state)), exit, "{name}");
    }
}

/// Protects: each answer of the API server leads to its code and to a hint that helps.
#[tokio::test]
async fn answers_of_the_api_server() {
    let rbac =
        r#"rollouts.tidegate.dev "web" is forbidden: User "jo" cannot get resource "rollouts" in API group "tidegate.dev""#;
    let policy = "denied request: user 'jo' may not abort this Rollout: it needs the verb 'abort' on rollouts.tidegate.dev";
    let unknown = Answer::Say(
        404,
        json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "the server could not find the requested resource", "details": {}}),
    );
    let cases: [(Answer, Exit, &str); 8] = [
        (refusal(401, "Unauthorized", "Unauthorized", ""), Exit::Forbidden, "log in again"),
        (
            refusal(403, "Forbidden", rbac, "web"),
            Exit::Forbidden,
            "you lack the verb `get`; the ClusterRole tidegate-viewer has it",
        ),
        (
            refusal(403, "Forbidden", policy, "web"),
            Exit::Forbidden,
            "you lack the verb `abort`; the ClusterRole tidegate-operator has it",
        ),
        (unknown, Exit::NotFound, "is Tidegate installed here?"),
        (refusal(429, "TooManyRequests", "slow down", "web"), Exit::Unreachable, "kubectl cluster-info"),
        (refusal(503, "ServiceUnavailable", "away", "web"), Exit::Unreachable, "kubectl cluster-info"),
        (refusal(504, "Timeout", "away", "web"), Exit::Unreachable, "kubectl cluster-info"),
        (Answer::Hang, Exit::Unreachable, "kubectl cluster-info"),
    ];
    for (answer, exit, hint) in cases {
        let error = script::run("status web", vec![answer]).await.result.unwrap_err();
        assert_eq!(error.exit, exit, "{error:?}");
        assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{error:?}");
    }
}

/// Protects: a mistyped name leads to the right one; an unlike one to the namespace flag.
#[tokio::test]
async fn near_names_are_suggested() {
    let list = |names: &[&str]| {
        let items: Vec<_> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
        script::ok(json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items}))
    };
    let missing = || refusal(404, "NotFound", r#"rollouts.tidegate.dev "chekout" not found"#, "chekout");
    let near = script::run("abort chekout", vec![missing(), list(&["web", "checkout"])]).await.result.unwrap_err();
    assert_eq!((near.exit, near.hint.as_deref()), (Exit::NotFound, Some("did you mean checkout?")));
    let far = script::run("abort chekout", vec![missing(), list(&["web"])]).await.result.unwrap_err();
    let hint = "namespace shop has 1 of kind Rollout; -n chooses another namespace, -A with get shows all";
    assert_eq!((far.exit, far.hint.as_deref()), (Exit::NotFound, Some(hint)));
    // Who may not list gets the plain answer.
    let refused = refusal(403, "Forbidden", "no", "");
    let blind = script::run("abort chekout", vec![missing(), refused]).await.result.unwrap_err();
    assert_eq!((blind.exit, blind.hint), (Exit::NotFound, None));
}

fn plugin(args: &[&str]) -> (i32, String, String) {
    process(env!("CARGO_BIN_EXE_kubectl-tidegate"), args)
}

fn process(program: &str, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(program).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Protects: the process really ends with the code, and says why on standard error only.
#[test]
fn the_process_ends_with_the_code() {
    let mut dead = tempfile::NamedTempFile::new().unwrap();
    // Port 1 of the loopback: nobody listens there.
    let config = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: plugged-secret}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n";
    dead.write_all(config.as_bytes()).unwrap();
    let dead = dead.path().to_str().unwrap();
    let version = format!("kubectl-tidegate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(plugin(&["version"]), (0, version, String::new()));
    for (args, code, part) in [
        (vec!["abort"], 2, "<NAME>"),
        (vec!["get", "pods"], 2, "possible values: rollout, application"),
        (vec!["undo", "web", "--to-revision", "0"], 2, "0 is not in 1.."),
        (vec!["abort", "../web"], 2, "a name has 1 to 253 characters"),
        (vec!["status", "web", "-n", "a/b"], 2, "a name has 1 to 253 characters"),
        (vec!["status", "web", "--kubeconfig", "/does/not/exist"], 2, "hint: choose with --kubeconfig"),
        (vec!["status", "web", "--kubeconfig", dead, "--context", "other"], 2, "other"),
        (
            vec!["status", "web", "--kubeconfig", dead],
            9,
            "error: failed to get Rollout default/web: the cluster cannot be reached",
        ),
    ] {
        let (found, out, error) = plugin(&args);
        assert_eq!((found, out.as_str()), (code, ""), "{args:?}: {error}");
        assert!(error.contains(part) && !error.contains("plugged-secret"), "{args:?}: {error}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = plugin(&["completion", shell]);
        assert!(code == 0 && script.contains("promote"), "{shell}");
    }
}

/// Protects: the controller's binary prints what is installed from it, and refuses flags that it does not have.
#[test]
fn the_controllers_binary() {
    let controller = |args: &[&str]| process(env!("CARGO_BIN_EXE_tidegate"), args);
    let version = format!("tidegate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(controller(&["version"]), (0, version, String::new()));
    assert_eq!(controller(&["crds"]), (0, tidegate::cli::crds::stream().unwrap(), String::new()));
    for args in
        [&["--write-back=sometimes"][..], &["controller", "--metrics-address=nowhere"], &["controller", "--leader-elect=both"]]
    {
        let (code, out, error) = controller(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {error}");
    }
}
