//! The loop on a real server: fetch, plan, commit, push, and the races on the way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::fixture::{Forge, Repo, digest, git};
use crate::server::{Fault, Server};
use jiff::Timestamp;
use tempfile::TempDir;
use tidegate::api::application::Author;
use tidegate::git::client::{Access, Client, Limits, Mirror, Next, PushError, RemoteUrl};
use tidegate::git::revert::{Plan, Question, Revert, plan};
use tidegate::git::revision::{BranchName, CommitId, Objects};

/// The secret that no text may ever show.
pub const PLANTED: &str = "planted-token-4711";
/// Base64 of `ada:planted-token-4711`, as it stands in the header.
pub const PLANTED_BASIC: &str = "YWRhOnBsYW50ZWQtdG9rZW4tNDcxMQ==";

pub fn main_branch() -> BranchName {
    "main".parse().unwrap()
}

pub fn author() -> Author {
    Author { name: "Tidegate".to_owned(), email: "tidegate@localhost".to_owned() }
}

pub fn limits() -> Limits {
    Limits { connect: Duration::from_secs(2), read: Duration::from_secs(2), total: Duration::from_secs(20), bytes: 64 << 20 }
}

pub fn ada() -> Arc<Access> {
    let get = |key: &str| match key {
        "username" => Some(&b"ada"[..]),
        "password" => Some(PLANTED.as_bytes()),
        _ => None,
    };
    Arc::new(Access::from_secret(get).unwrap())
}

/// A forge, a server in front of it, and a mirror of it.
pub struct World {
    pub forge: Forge,
    pub server: Server,
    pub data: TempDir,
    pub mirror: Mirror,
    pub access: Arc<Access>,
}

impl World {
    pub fn new() -> Self {
        let forge = Forge::new();
        let server = Server::http(forge.root());
        server.require(&format!("Basic {PLANTED_BASIC}"));
        let data = tempfile::tempdir().unwrap();
        let mirror = mirror(data.path(), &server.url());
        Self { forge, server, data, mirror, access: ada() }
    }

    pub fn fetch(&self) -> CommitId {
        self.mirror.fetch(&self.access, &main_branch()).unwrap().tip
    }

    pub fn plan(&self, head: CommitId, good: CommitId) -> Plan {
        let objects = self.mirror.objects().unwrap();
        plan(&Question {
            objects: &objects,
            head,
            path: &"apps/shop".parse().unwrap(),
            bases: &[],
            good,
            stable: "v1",
            failed: "v2",
            render: &|tree| digest(&objects, tree),
            ours: &|_| false,
        })
        .unwrap()
    }

    pub fn revert(&self, head: CommitId, good: CommitId) -> Revert {
        match self.plan(head, good) {
            Plan::Revert(revert) => revert,
            Plan::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Makes the commit that reverts the tip's content.
    pub fn candidate(&self, head: CommitId, good: CommitId) -> CommitId {
        let tree = self.revert(head, good).tree;
        self.mirror.commit(&tree, &head, &author(), "Revert it\n", Timestamp::from_second(1_800_000_000).unwrap()).unwrap()
    }

    pub fn push(&self, expected: CommitId, new: CommitId) -> Result<(), PushError> {
        self.mirror.push(&self.access, &main_branch(), &expected, &new)
    }

    /// A failed canary: good is v1, the tip v2, and our revert of it is ready.
    pub fn with_candidate() -> (Self, CommitId, CommitId, CommitId) {
        let world = Self::new();
        let good = world.forge.tip();
        world.forge.colleague.image("v2");
        world.forge.colleague_pushes();
        let head = world.fetch();
        let candidate = world.candidate(head, good);
        (world, good, head, candidate)
    }
}

pub fn mirror(data: &Path, url: &str) -> Mirror {
    Client::new(data, limits()).mirror(&RemoteUrl::parse(url, true).unwrap())
}

/// Protects: the whole way from a bad tip to a branch that renders stable's content, and that it ends there.
#[test]
fn the_loop_closes() {
    let (world, good, head, candidate) = World::with_candidate();
    assert_eq!(world.mirror.find_ours(&head, &good, &[candidate]).unwrap(), None);
    world.push(head, candidate).unwrap();
    assert_eq!(world.forge.subjects(), ["Revert it", "shop: image v2", "shop: image v1"]);
    assert_eq!(git(&world.forge.bare(), &["fsck", "--strict"]), "");
    let shown = git(&world.forge.bare(), &["log", "-1", "--format=%an <%ae>|%cn <%ce>|%at|%P|%B", "main"]);
    assert_eq!(shown, format!("Tidegate <tidegate@localhost>|Tidegate <tidegate@localhost>|1800000000|{head}|Revert it"));
    let changed = git(&world.forge.bare(), &["diff", "--name-only", &good.to_string(), "main"]);
    assert_eq!(changed, "", "the tree is stable's again");

    let tip = world.fetch();
    assert_eq!(tip, candidate);
    assert!(matches!(world.plan(tip, good), Plan::Refused(refusal) if refusal.reason == "AlreadyReverted"));
    assert_eq!(world.mirror.find_ours(&tip, &good, &[head, candidate]).unwrap(), Some(candidate));
}

/// Protects: an unchanged tip costs one request; each change is one fetch; who pushed with force is noticed.
#[test]
fn fetching() {
    let world = World::new();
    let first = world.mirror.fetch(&world.access, &main_branch()).unwrap();
    assert_eq!((first.tip, first.before, first.forced), (world.forge.tip(), None, false));
    let requests = world.server.log().len();
    let again = world.mirror.fetch(&world.access, &main_branch()).unwrap();
    assert_eq!((again.tip, again.before, again.forced), (first.tip, Some(first.tip), false));
    assert_eq!(world.server.log()[requests..], ["GET /team/shop.git/info/refs?service=git-upload-pack authorized"]);

    world.forge.colleague.image("v2");
    world.forge.colleague_pushes();
    let next = world.mirror.fetch(&world.access, &main_branch()).unwrap();
    assert_eq!((next.tip, next.before, next.forced), (world.forge.tip(), Some(first.tip), false));

    world.mirror.keep(&"stable".parse().unwrap(), &next.tip).unwrap();
    world.forge.colleague.git(&["reset", "-q", "--hard", "HEAD^"]);
    world.forge.colleague.image("v3");
    world.forge.colleague_pushes();
    let forced = world.mirror.fetch(&world.access, &main_branch()).unwrap();
    assert_eq!((forced.tip, forced.before, forced.forced), (world.forge.tip(), Some(next.tip), true));
    let kept = git(world.mirror.path(), &["rev-parse", "refs/tidegate/kept/stable"]);
    assert_eq!(kept, next.tip.to_string());
    assert_eq!(world.mirror.objects().unwrap().commit(&next.tip).unwrap().subject, "shop: image v2");
}

/// Protects: a colleague who pushes between our fetch and our push loses nothing, and neither do we.
#[test]
fn a_colleague_is_faster() {
    let (world, good, head, candidate) = World::with_candidate();
    world.forge.colleague.write("docs/x", "x\n").commit("docs");
    world.forge.colleague_pushes();
    let error = world.push(head, candidate).unwrap_err();
    assert_eq!((error.next(), error.reason()), (Next::ComputeAnew, "Contended"));
    let head = world.fetch();
    let candidate = world.candidate(head, good);
    world.push(head, candidate).unwrap();
    assert_eq!(world.forge.subjects(), ["Revert it", "docs", "shop: image v2", "shop: image v1"]);
    assert_eq!(git(&world.forge.bare(), &["show", "main:docs/x"]), "x");
}

/// Protects: also when the colleague comes between the server's list of references and our command.
#[test]
fn a_colleague_is_faster_by_a_hair() {
    let (world, _, head, candidate) = World::with_candidate();
    let other = Repo::new();
    let bare = world.forge.bare();
    other.git(&["pull", "-q", bare.to_str().unwrap(), "main"]);
    other.write("docs/x", "x\n").commit("docs");
    let folder = other.path().to_owned();
    let work = move || {
        git(&folder, &["push", "-q", bare.to_str().unwrap(), "main"]);
    };
    world.server.once("POST /team/shop.git/git-receive-pack", Fault::First(Box::new(work)));
    let error = world.push(head, candidate).unwrap_err();
    assert_eq!(error.next(), Next::ComputeAnew, "{error:?}");
    assert_eq!(world.forge.subjects(), ["docs", "shop: image v2", "shop: image v1"]);
}

/// Protects: a branch that was reset to an ancestor of what we saw does not get the dropped commits back, which a plain
/// push would do.
#[test]
fn reset_to_an_ancestor() {
    let (world, good, head, candidate) = World::with_candidate();
    world.forge.colleague.git(&["reset", "-q", "--hard", &good.to_string()]);
    world.forge.colleague_pushes();
    let error = world.push(head, candidate).unwrap_err();
    assert!(matches!(error, PushError::Raced), "{error:?}");
    assert_eq!(world.forge.tip(), good);
    // The same where the branch is gone altogether.
    git(&world.forge.bare(), &["update-ref", "-d", "refs/heads/main"]);
    assert!(matches!(world.push(head, candidate).unwrap_err(), PushError::Raced));
}

/// Protects: no other branch and no tag moves or appears, on the server or through it in the mirror.
#[test]
fn only_the_branch_moves() {
    let (world, _, head, candidate) = World::with_candidate();
    world.forge.colleague.git(&["push", "-q", "origin", "main:refs/heads/other", "main:refs/tags/v1"]);
    let before = git(&world.forge.bare(), &["for-each-ref"]);
    world.push(head, candidate).unwrap();
    let after = git(&world.forge.bare(), &["for-each-ref"]);
    assert_eq!(
        after,
        before.replace(&format!("{head} commit\trefs/heads/main"), &format!("{candidate} commit\trefs/heads/main"))
    );
    world.fetch();
    let ours = git(world.mirror.path(), &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(ours, "refs/tidegate/tracking/main");
}

/// Protects: our commit is found where a colleague's `git pull` put it: behind a second parent.
#[test]
fn ours_behind_a_second_parent() {
    let (world, good, head, candidate) = World::with_candidate();
    let colleague = &world.forge.colleague;
    colleague.write("docs/x", "x\n").commit("docs");
    world.push(head, candidate).unwrap();
    colleague.git(&["pull", "-q", "--no-rebase", "--no-edit", "origin", "main"]);
    world.forge.colleague_pushes();
    let tip = world.fetch();
    assert_eq!(world.mirror.find_ours(&tip, &good, &[candidate]).unwrap(), Some(candidate));
    assert_eq!(world.mirror.find_ours(&tip, &tip, &[candidate]).unwrap(), None);
}

/// Protects: a bearer token reaches the server as such.
#[test]
fn bearer_tokens() {
    let world = World::new();
    world.server.require(&format!("Bearer {PLANTED}"));
    let access = Access::from_secret(|key| (key == "bearerToken").then_some(PLANTED.as_bytes())).unwrap();
    assert_eq!(world.mirror.fetch(&Arc::new(access), &main_branch()).unwrap().tip, world.forge.tip());
}

/// Protects: many writers in one process, on one mirror: every commit lands once, none is lost.
#[test]
fn many_writers() {
    let world = World::new();
    world.fetch();
    let write = |name: u8| {
        for _ in 0..40 {
            let head = world.fetch();
            let tree = world.mirror.objects().unwrap().commit(&head).unwrap().tree;
            let message = format!("writer {name}\n");
            let commit =
                world.mirror.commit(&tree, &head, &author(), &message, Timestamp::from_second(1_800_000_000).unwrap()).unwrap();
            match world.push(head, commit) {
                Ok(()) => return,
                Err(error) => assert_eq!(error.next(), Next::ComputeAnew, "{error:?}"),
            }
        }
        panic!("writer {name} never got through");
    };
    std::thread::scope(|scope| {
        for name in 0..4 {
            scope.spawn(move || write(name));
        }
    });
    let mut subjects = world.forge.subjects();
    subjects.sort();
    assert_eq!(subjects, ["shop: image v1", "writer 0", "writer 1", "writer 2", "writer 3"]);
}

/// Protects: the controller calls from threads of its runtime that may block.
#[tokio::test]
async fn inside_a_runtime() {
    let tips = tokio::task::spawn_blocking(|| {
        let world = World::new();
        (world.fetch(), world.forge.tip())
    });
    let (fetched, tip) = tips.await.unwrap();
    assert_eq!(fetched, tip);
}

/// Protects: a server whose own history is cut off is an error; nothing is guessed from the half of a history.
#[test]
fn a_shallow_server() {
    let world = World::with_candidate().0;
    let from = format!("file://{}", world.forge.bare().display());
    git(world.forge.root(), &["clone", "-q", "--bare", "--depth", "1", &from, "team/shallow.git"]);
    let shallow = mirror(world.data.path(), &world.server.url_of("team/shallow.git"));
    let error = shallow.fetch(&world.access, &main_branch()).unwrap_err();
    assert_eq!(error.to_string(), "failed to fetch: the Git server cannot be reached (invalid packet line)");
}
