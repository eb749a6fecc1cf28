//! What goes wrong on the way to a server, told apart; and that no text shows a secret.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{PLANTED, PLANTED_BASIC, World, ada, limits, main_branch, mirror};
use crate::fixture::{Forge, git};
use crate::server::{Certificates, Fault, Server, closed_port};
use tidegate::git::client::{Access, Client, FetchError, Limits, Next, PushError, RemoteUrl};

/// Everything an error could say, with its causes; fails when a secret is in it.
fn words(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(" {inner} {inner:?}"));
        cause = inner.source();
    }
    assert!(!text.contains(PLANTED) && !text.contains(PLANTED_BASIC) && !text.contains("planted"), "a secret: {text}");
    assert!(!text.contains('\u{1b}'), "a control character: {text:?}");
    error.to_string()
}

const LS: &str = "info/refs?service=git-upload-pack";
const LS_PUSH: &str = "info/refs?service=git-receive-pack";
const PUSH: &str = "POST /team/shop.git/git-receive-pack";

fn fetch_error(world: &World) -> FetchError {
    let error = world.mirror.fetch(&world.access, &main_branch()).unwrap_err();
    words(&error);
    error
}

/// Protects: each fault of a fetch gets its own name and its own reason, and the mirror works again afterwards.
#[test]
fn faults_of_a_fetch() {
    let world = World::new();
    let elsewhere = Server::http(world.forge.root());
    let away = format!("http://localhost:{}{{path}}&token={PLANTED}", elsewhere.port());
    let loops = format!("{}/info/refs?service=git-upload-pack", world.server.url());
    let table: Vec<(&str, Fault, &str, &str)> = vec![
        (LS, Fault::Status(401), "failed to fetch: the Git server refuses the credentials (status 401)", "Denied"),
        (LS, Fault::Status(403), "failed to fetch: the Git server refuses the credentials (status 403)", "Denied"),
        (
            LS,
            Fault::Status(404),
            "failed to fetch: the Git server knows no such repository, or hides it from these credentials",
            "Denied",
        ),
        (LS, Fault::Status(500), "failed to fetch: the Git server cannot be reached (status 500)", "Unreachable"),
        (LS, Fault::Status(429), "failed to fetch: the Git server cannot be reached (status 429)", "Unreachable"),
        (LS, Fault::Html, "failed to fetch: no Git server answers at this address (content type 'text/html')", "InvalidSpec"),
        (
            LS,
            Fault::Redirect(away),
            "failed to fetch: the server sends on to localhost; redirects to other addresses are not followed, write the final address",
            "InvalidSpec",
        ),
        (
            LS,
            Fault::Redirect(format!("http://localhost:{}{{path}}", elsewhere.port())),
            "failed to fetch: the server sends on to localhost; redirects to other addresses are not followed, write the final address",
            "InvalidSpec",
        ),
        (
            LS,
            Fault::Redirect(loops),
            "failed to fetch: the server sends on to itself, again and again; redirects to other addresses are not followed, write the final address",
            "InvalidSpec",
        ),
        (
            LS,
            Fault::Redirect("/login".to_owned()),
            "failed to fetch: the server sends on to 127.0.0.1; redirects to other addresses are not followed, write the final address",
            "InvalidSpec",
        ),
        (
            LS,
            Fault::CutBefore,
            "failed to fetch: the Git server cannot be reached (connection closed before message completed)",
            "Unreachable",
        ),
        (
            LS,
            Fault::CutWithin,
            "failed to fetch: the Git server cannot be reached (end of file before message length reached)",
            "Unreachable",
        ),
        ("POST", Fault::Status(500), "failed to fetch: the Git server cannot be reached (status 500)", "Unreachable"),
        (
            "POST",
            Fault::Redirect("/x".to_owned()),
            "failed to fetch: the server sends on to another address; redirects to other addresses are not followed, write the final address",
            "InvalidSpec",
        ),
        (
            "POST",
            Fault::CutWithin,
            "failed to fetch: the Git server cannot be reached (end of file before message length reached)",
            "Unreachable",
        ),
    ];
    for (pattern, fault, message, reason) in table {
        world.server.always(pattern, fault);
        let error = fetch_error(&world);
        assert_eq!((error.to_string().as_str(), error.reason()), (message, reason));
        world.server.heal();
    }
    assert_eq!(elsewhere.log(), Vec::<String>::new(), "another host was asked");
    let missing = world.mirror.fetch(&world.access, &"absent".parse().unwrap()).unwrap_err();
    assert_eq!(
        (words(&missing).as_str(), missing.reason()),
        ("failed to fetch: the repository has no branch 'absent'", "BranchMissing")
    );
    assert_eq!(world.fetch(), world.forge.tip());
}

/// Protects: wrong credentials are told as such, and a repository that nobody serves.
#[test]
fn wrong_credentials_and_places() {
    let world = World::new();
    let error = world.mirror.fetch(&Arc::new(Access::anonymous()), &main_branch()).unwrap_err();
    assert!(matches!(error, FetchError::Denied(401)), "{error:?}");
    let absent = mirror(world.data.path(), &world.server.url_of("team/absent.git"));
    assert!(matches!(absent.fetch(&ada(), &main_branch()).unwrap_err(), FetchError::NotFound));
    let closed = mirror(world.data.path(), &format!("http://127.0.0.1:{}/x", closed_port()));
    let error = closed.fetch(&ada(), &main_branch()).unwrap_err();
    assert!(words(&error).starts_with("failed to fetch: the Git server cannot be reached ("), "{error}");
}

/// Protects: a redirect on the same host to the same request is followed, as forges do from `x` to `x.git`.
#[test]
fn the_forge_knows_a_better_name() {
    let world = World::new();
    world.server.always("GET /team/shop/info", Fault::Redirect(format!("{}/{LS}", world.server.url())));
    let mirror = mirror(world.data.path(), &world.server.url_of("team/shop"));
    assert_eq!(mirror.fetch(&world.access, &main_branch()).unwrap().tip, world.forge.tip());
    let log = world.server.log();
    assert_eq!(log.last().unwrap(), "POST /team/shop.git/git-upload-pack authorized");
}

/// Protects: nobody waits for a server that does not answer, or stops in the middle, longer than the deadline.
#[test]
fn deadlines() {
    let forge = Forge::new();
    let server = Server::http(forge.root());
    let data = tempfile::tempdir().unwrap();
    let long = Duration::from_secs(20);
    let short = Duration::from_millis(300);
    let by_read = Limits { read: short, ..limits() };
    let by_total = Limits { read: long, total: short, ..limits() };
    for limits in [by_read, by_total] {
        for (pattern, fault) in
            [(LS, Fault::Hang(long)), (LS, Fault::Stall(long)), ("POST", Fault::Hang(long)), ("POST", Fault::Stall(long))]
        {
            server.always(pattern, fault);
            let mirror = Client::new(data.path(), limits).mirror(&RemoteUrl::parse(&server.url(), true).unwrap());
            let started = Instant::now();
            let error = mirror.fetch(&ada(), &main_branch()).unwrap_err();
            assert!(matches!(error, FetchError::Timeout), "{error:?}");
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
            server.heal();
        }
    }
    let tiny =
        Client::new(data.path(), Limits { bytes: 100, ..limits() }).mirror(&RemoteUrl::parse(&server.url(), true).unwrap());
    assert!(matches!(tiny.fetch(&ada(), &main_branch()).unwrap_err(), FetchError::TooLarge(100)));
}

/// Protects: each fault of a push gets its name and what to do; nothing moves; and where nothing was sent, no doubt is left.
#[test]
fn faults_of_a_push() {
    let (world, _, head, candidate) = World::with_candidate();
    let table: Vec<(&str, Fault, Next, &str)> = vec![
        (LS_PUSH, Fault::Status(401), Next::AskPerson, "failed to push: the Git server refuses the credentials (status 401)"),
        (LS_PUSH, Fault::Status(403), Next::AskPerson, "failed to push: the Git server refuses the credentials (status 403)"),
        (
            LS_PUSH,
            Fault::Status(404),
            Next::AskPerson,
            "failed to push: the Git server knows no such repository, or hides it from these credentials",
        ),
        (LS_PUSH, Fault::Status(503), Next::TryLater, "failed to push: the Git server cannot be reached (status 503)"),
        (
            LS_PUSH,
            Fault::CutBefore,
            Next::TryLater,
            "failed to push: the Git server cannot be reached (connection closed before message completed)",
        ),
        (LS_PUSH, Fault::Hang(Duration::from_secs(20)), Next::TryLater, "failed to push: the Git server did not answer in time"),
        (PUSH, Fault::Status(403), Next::AskPerson, "failed to push: the Git server refuses the credentials (status 403)"),
        (PUSH, Fault::Status(413), Next::AskPerson, "failed to push: the server has no room or allows no more (status 413)"),
        (
            PUSH,
            Fault::Status(502),
            Next::LookFirst,
            "the answer to the push was lost (status 502); the commit may be on the branch",
        ),
        (
            PUSH,
            Fault::CutBefore,
            Next::LookFirst,
            "the answer to the push was lost (connection closed before message completed); the commit may be on the branch",
        ),
        (
            PUSH,
            Fault::Html,
            Next::LookFirst,
            "the answer to the push was lost (the answer has content type 'text/html'); the commit may be on the branch",
        ),
        (
            PUSH,
            Fault::Hang(Duration::from_secs(20)),
            Next::LookFirst,
            "the answer to the push was lost (no answer in time); the commit may be on the branch",
        ),
    ];
    for (pattern, fault, next, message) in table {
        world.server.always(pattern, fault);
        let error = world.push(head, candidate).unwrap_err();
        assert_eq!((words(&error).as_str(), error.next()), (message, next));
        assert_eq!(world.forge.tip(), head);
        world.server.heal();
    }
    world.push(head, candidate).unwrap();
}

/// Protects: a push whose answer was lost is found by looking, and is not made twice.
#[test]
fn the_answer_is_lost_after_the_work() {
    for fault in [Fault::CutAfter, Fault::CutWithin, Fault::Stall(Duration::from_secs(20))] {
        let (world, good, head, candidate) = World::with_candidate();
        world.server.once(PUSH, fault);
        let error = world.push(head, candidate).unwrap_err();
        assert_eq!((error.next(), error.reason()), (Next::LookFirst, "Unreachable"), "{error:?}");
        words(&error);
        let tip = world.fetch();
        assert_eq!(world.mirror.find_ours(&tip, &good, &[candidate]).unwrap(), Some(candidate));
        assert_eq!(world.forge.subjects(), ["Revert it", "shop: image v2", "shop: image v1"]);
    }
}

/// Protects: what hooks say is told, without our secrets and control characters.
#[test]
fn hooks() {
    let (world, _, head, candidate) = World::with_candidate();
    let echo = format!("printf 'no \\033[31m {PLANTED} {PLANTED_BASIC}\\nticket missing\\n' >&2; exit 1");
    world.forge.hook("pre-receive", &echo);
    let error = world.push(head, candidate).unwrap_err();
    assert!(matches!(error, PushError::HookDeclined(_)), "{error:?}");
    assert_eq!(
        words(&error),
        "failed to push: a hook of the server declined (pre-receive hook declined: no [31m (hidden) (hidden) ticket missing)"
    );
    world
        .forge
        .hook("pre-receive", "echo 'GitLab: You are not allowed to push code to protected branches on this project.'; exit 1");
    let error = world.push(head, candidate).unwrap_err();
    assert!(matches!(error, PushError::ProtectedBranch(_)), "{error:?}");
    world.forge.hook("pre-receive", "exit 0");
    world.forge.hook("update", "exit 1");
    assert!(matches!(world.push(head, candidate).unwrap_err(), PushError::HookDeclined(_)));
    assert_eq!(world.forge.tip(), head);
    // A hook that fails after the work changes nothing about it.
    world.forge.hook("update", "exit 0");
    world.forge.hook("post-receive", "echo oops >&2; exit 1");
    world.push(head, candidate).unwrap();
    assert_eq!(world.forge.tip(), candidate);
}

/// Protects: a lock on the server passes by, a full disk does not, and the two are told apart.
#[test]
fn locks_and_refusals_of_the_server() {
    let (world, _, head, candidate) = World::with_candidate();
    let lock = world.forge.bare().join("refs/heads/main.lock");
    std::fs::write(&lock, "").unwrap();
    let error = world.push(head, candidate).unwrap_err();
    assert_eq!(error.next(), Next::ComputeAnew, "{error:?}");
    words(&error);
    std::fs::remove_file(&lock).unwrap();
    git(&world.forge.bare(), &["config", "receive.maxInputSize", "20"]);
    let error = world.push(head, candidate).unwrap_err();
    assert!(matches!(error, PushError::Quota(_)), "{error:?}");
    git(&world.forge.bare(), &["config", "--unset", "receive.maxInputSize"]);
    git(&world.forge.bare(), &["config", "transfer.hideRefs", "refs/heads/main"]);
    let error = world.push(head, candidate).unwrap_err();
    assert!(matches!(error, PushError::Raced | PushError::Rejected(_)), "{error:?}");
    git(&world.forge.bare(), &["config", "--unset", "transfer.hideRefs"]);
    world.push(head, candidate).unwrap();
}

/// Protects: certificates are checked against the Secret's authority, and nothing is sent to a server that fails.
#[test]
fn certificates() {
    let forge = Forge::new();
    let (ours, others) = (Certificates::new(), Certificates::new());
    let server = Server::https(forge.root(), &ours);
    let data = tempfile::tempdir().unwrap();
    let with = |authority: Option<Vec<u8>>| {
        let get = |key: &str| match key {
            "password" => Some(PLANTED.as_bytes()),
            "ca.crt" => authority.as_deref(),
            _ => None,
        };
        Arc::new(Access::from_secret(get).unwrap())
    };
    let mirror = mirror(data.path(), &server.url());
    for authority in [None, Some(others.authority())] {
        let error = mirror.fetch(&with(authority), &main_branch()).unwrap_err();
        assert!(matches!(error, FetchError::Untrusted(_)), "{error:?}");
        assert_eq!(error.reason(), "UntrustedCertificate");
        words(&error);
    }
    // The certificate is for 127.0.0.1 and not for this name.
    let by_name = server.url().replace("127.0.0.1", "localhost");
    let error = crate::client::mirror(data.path(), &by_name).fetch(&with(Some(ours.authority())), &main_branch()).unwrap_err();
    assert!(matches!(error, FetchError::Untrusted(_)), "{error:?}");
    assert_eq!(server.log(), Vec::<String>::new(), "something was sent");
    let head = mirror.fetch(&with(Some(ours.authority())), &main_branch()).unwrap().tip;
    assert_eq!(head, forge.tip());
    let push = mirror.push(&with(Some(others.authority())), &main_branch(), &head, &head).unwrap_err();
    assert!(matches!(push, PushError::Untrusted(_)), "{push:?}");
    // A downgrade is a redirect to another address.
    let plain = Server::http(forge.root());
    server.once(LS, Fault::Redirect(format!("{}/{LS}", plain.url())));
    let error = mirror.fetch(&with(Some(ours.authority())), &main_branch()).unwrap_err();
    assert!(matches!(error, FetchError::Redirected(_)), "{error:?}");
    assert_eq!(plain.log(), Vec::<String>::new());
}
