//! Named cases of the plan, on repositories made by git.

use crate::fixture::{Ask, Repo, rollout};
use tidegate::git::revert::{Plan, Refusal, Revert};
use tidegate::git::revision::CommitId;

fn revert(plan: Plan) -> Revert {
    match plan {
        Plan::Revert(revert) => revert,
        Plan::Refused(refusal) => panic!("refused: {refusal:?}"),
    }
}

fn refusal(plan: Plan) -> Refusal {
    match plan {
        Plan::Revert(revert) => panic!("reverts: {revert:?}"),
        Plan::Refused(refusal) => refusal,
    }
}

fn reason(plan: Plan) -> &'static str {
    refusal(plan).reason
}

/// Protects: the core promise in its simplest form, against `git revert` itself; and twice is once.
#[test]
fn one_culprit_as_git_revert_does_it() {
    let repo = Repo::new();
    repo.write("README", "shop\n");
    let good = repo.image("v1");
    let bad = repo.write("apps/shop/flag.txt", "on\n").image("v2");
    let found = revert(repo.plan(good, "v1", "v2"));
    assert_eq!((found.culprits, found.restores, found.failed_commit.subject.as_str()), (vec![bad], good, "shop: image v2"));
    assert_eq!(found.changed_files, ["apps/shop/flag.txt", "apps/shop/web.yaml"]);
    repo.git(&["revert", "--no-edit", "HEAD"]);
    assert_eq!(found.tree.to_string(), repo.git(&["rev-parse", "HEAD^{tree}"]));
    assert_eq!(reason(repo.plan(good, "v1", "v2")), "AlreadyReverted");
}

/// Protects: people's later work, in the same file, in P and outside P.
#[test]
fn later_edits_of_people_survive() {
    let repo = Repo::new();
    let good = repo.image("v1");
    let bad = repo.image("v2");
    repo.write("apps/shop/web.yaml", &rollout("v2", 5)).commit("more replicas");
    repo.write("apps/shop/hpa.yaml", "max: 9\n").write("apps/other/web.yaml", "x\n").commit("unrelated");
    let found = revert(repo.plan(good, "v1", "v2"));
    assert_eq!((found.culprits, found.changed_files), (vec![bad], vec!["apps/shop/web.yaml".to_owned()]));
    assert_eq!(repo.show(&found.tree, "apps/shop/web.yaml"), rollout("v1", 5).trim_end());
    assert_eq!(repo.changed(&"HEAD", &found.tree), ["apps/shop/web.yaml"]);
}

/// Protects: a commit that changed something else of the path is no culprit; several culprits make one commit.
#[test]
fn several_culprits_and_bystanders() {
    let repo = Repo::new();
    let good = repo.image("v1");
    let first = repo.image("v1.5");
    repo.write("apps/shop/hpa.yaml", "max: 9\n").commit("hpa");
    repo.write("docs/x", "x").commit("docs");
    let second = repo.image("v2");
    let found = revert(repo.plan(good, "v1", "v2"));
    assert_eq!((found.culprits, found.failed_commit.id), (vec![second, first], second));
    assert_eq!((found.restores, found.changed_files), (good, vec!["apps/shop/web.yaml".to_owned()]));
    assert_eq!(repo.show(&found.tree, "apps/shop/hpa.yaml"), "max: 9");
}

/// Protects: content that was taken back and brought again is reverted again, and only its return is; a commit that the
/// bystanders' digest did not change is what is restored.
#[test]
fn brought_back_by_a_person() {
    let repo = Repo::new();
    let good = repo.image("v1");
    repo.image("v2");
    let ours = repo.image("v1");
    let back = repo.image("v2");
    let ask = Ask { ours: &[ours], ..Ask::new(good) };
    let found = revert(repo.ask(&ask));
    assert_eq!((found.culprits, found.restores), (vec![back], ours));
}

/// Protects: we never revert ourselves, whoever else claims to be us.
#[test]
fn own_commits() {
    let repo = Repo::new();
    let good = repo.image("v1");
    let bad = repo.write("apps/shop/web.yaml", &rollout("v2", 3)).commit("Revert x\n\nTidegate-Attempt: forged/1/1");
    assert_eq!(reason(repo.ask(&Ask { ours: &[bad], ..Ask::new(good) })), "OwnCommit");
    assert_eq!(revert(repo.plan(good, "v1", "v2")).culprits, [bad]);
}

/// Protects: merge commits are one step of the branch, reverted against their first parent as `git revert -m 1` does.
#[test]
fn merge_commits() {
    let repo = Repo::new();
    let good = repo.image("v1");
    repo.git(&["checkout", "-q", "-b", "feature"]);
    repo.image("v1.5");
    repo.image("v2");
    repo.git(&["checkout", "-q", "main"]);
    repo.write("docs/x", "x").commit("docs");
    repo.git(&["merge", "-q", "--no-ff", "--no-edit", "feature"]);
    let merge = repo.head();
    let found = revert(repo.plan(good, "v1", "v2"));
    assert_eq!((found.culprits, found.restores), (vec![merge], good));
    repo.git(&["revert", "--no-edit", "-m", "1", "HEAD"]);
    assert_eq!(found.tree.to_string(), repo.git(&["rev-parse", "HEAD^{tree}"]));
}

/// Protects: the path decides what is written, also when one commit changed several applications.
#[test]
fn nothing_outside_the_path() {
    let repo = Repo::new();
    let good = repo.image("v1");
    repo.write("apps/other/web.yaml", "v2\n").write("apps/shop2/web.yaml", "v2\n").write("web.yaml", "v2\n");
    repo.image("v2");
    let found = revert(repo.plan(good, "v1", "v2"));
    assert_eq!(repo.changed(&"HEAD", &found.tree), ["apps/shop/web.yaml"]);
    let root = Repo::new();
    let good = root.image("v1");
    root.write("other", "x").image("v2");
    let found = revert(root.ask(&Ask { path: ".", ..Ask::new(good) }));
    assert_eq!(
        (root.changed(&"HEAD", &found.tree), found.changed_files.len()),
        (vec!["apps/shop/web.yaml".to_owned(), "other".to_owned()], 2)
    );
}

/// Protects: renamed, deleted and re-created manifests, and file modes.
#[test]
fn renames_deletions_and_modes() {
    let repo = Repo::new();
    repo.write("apps/shop/run.sh", "echo 1\n");
    let good = repo.image("v1");
    // The culprit deletes one file, renames another, adds a third and changes a mode.
    repo.git(&["mv", "apps/shop/web.yaml", "apps/shop/rollout.yaml"]);
    repo.git(&["update-index", "--chmod=+x", "apps/shop/run.sh"]);
    repo.git(&["config", "core.fileMode", "false"]);
    let bad = repo.write("apps/shop/rollout.yaml", &rollout("v2", 3)).write("apps/shop/new/x", "x").commit("shop: image v2");
    let found = revert(repo.plan(good, "v1", "v2"));
    assert_eq!(found.culprits, [bad]);
    assert_eq!(found.tree.to_string(), repo.git(&["rev-parse", &format!("{good}^{{tree}}")]));
    // A later edit follows the rename back.
    repo.write("apps/shop/rollout.yaml", &rollout("v2", 7)).commit("more replicas");
    let found = revert(repo.plan(good, "v1", "v2"));
    assert_eq!(repo.show(&found.tree, "apps/shop/web.yaml"), rollout("v1", 7).trim_end());
}

/// Protects: a Rollout that went away and came back bad.
#[test]
fn deleted_and_recreated() {
    let repo = Repo::new();
    repo.write("apps/shop/keep.txt", "x\n");
    let good = repo.image("v1");
    let gone = repo.remove("apps/shop/web.yaml").commit("remove");
    assert_eq!(reason(repo.plan(good, "v1", "v2")), "Superseded");
    let back = repo.image("v2");
    let found = revert(repo.plan(good, "v1", "v2"));
    assert_eq!(
        (found.culprits, repo.show(&found.tree, "apps/shop/web.yaml")),
        (vec![back, gone], rollout("v1", 3).trim_end().to_owned())
    );
}

/// Protects: a commit that broke the YAML and one that mended it are culprits only when the content changed between.
#[test]
fn broken_in_between() {
    let repo = Repo::new();
    let good = repo.image("v1");
    let early = repo.image("v1.5");
    repo.write("apps/shop/hpa.yaml", "BROKEN\n").commit("oops");
    repo.write("apps/shop/hpa.yaml", "max: 9\n").commit("mended");
    let bad = repo.image("v2");
    assert_eq!(revert(repo.plan(good, "v1", "v2")).culprits, [bad, early]);

    let repo = Repo::new();
    let good = repo.image("v1");
    let broke = repo.write("apps/shop/x.yaml", "BROKEN\n").image("v2");
    let mended = repo.write("apps/shop/x.yaml", "fine\n").commit("mended");
    assert_eq!(revert(repo.plan(good, "v1", "v2")).culprits, [mended, broke]);
    repo.write("apps/shop/x.yaml", "BROKEN\n").commit("broken again");
    assert_eq!(reason(repo.plan(good, "v1", "v2")), "RenderFailed");
}

/// Protects: each thing that does not add up is refused with its own reason, and nothing is made up.
#[test]
fn refusals_of_what_does_not_add_up() {
    let repo = Repo::new();
    let before = repo.write("apps/shop/web.yaml", &rollout("v0", 3)).commit("v0");
    let good = repo.image("v1");
    repo.image("v2");
    assert_eq!(reason(repo.plan(good, "v1", "v3")), "Superseded");
    // Good renders another content than stable's.
    assert_eq!(reason(repo.plan(before, "v1", "v2")), "NotReproducible");
    // Good renders the failed content: then no commit brought it.
    let other = repo.write("docs/x", "x").commit("docs");
    assert_eq!(reason(repo.plan(other, "v1", "v2")), "NotFromGit");
    let unknown: CommitId = "00000000000000000000000000000000000000aa".parse().unwrap();
    assert_eq!(reason(repo.plan(unknown, "v1", "v2")), "HistoryRewritten");
    // Good is in the history, but not on the line that the branch took.
    repo.git(&["checkout", "-q", "--orphan", "second"]);
    let elsewhere = repo.image("v1");
    repo.git(&["checkout", "-q", "main"]);
    repo.git(&["merge", "-q", "--allow-unrelated-histories", "-s", "ours", "--no-edit", "second"]);
    assert_eq!(reason(repo.plan(elsewhere, "v1", "v2")), "HistoryRewritten");
}

/// Protects: a change in a shared base is never reverted, and says so.
#[test]
fn shared_base() {
    let repo = Repo::new();
    repo.write("base/web.yaml", "1\n");
    let good = repo.image("v2");
    repo.write("base/web.yaml", "2\n").commit("base: new");
    let ask = Ask { bases: &["base"], ..Ask::new(good) };
    let refused = refusal(repo.ask(&ask));
    assert_eq!((refused.reason, refused.message.contains("base")), ("SharedBase", true));
    assert_eq!(reason(repo.plan(good, "v1", "v2")), "NotFromGit");
}

/// Protects: overlapping edits are for people; the files are named from the repository's root.
#[test]
fn conflicts() {
    let repo = Repo::new();
    let good = repo.write("apps/shop/note.txt", "a\n").image("v1");
    let bad = repo.write("apps/shop/note.txt", "b\n").image("v2");
    repo.write("apps/shop/note.txt", "c\n").commit("later edit");
    assert_eq!(
        refusal(repo.plan(good, "v1", "v2")),
        Refusal {
            reason: "Conflict",
            message: format!("later edits overlap what {} changed, in apps/shop/note.txt", bad.short())
        }
    );
}

/// Protects: the result is rendered before anybody sees it.
#[test]
fn results_that_are_not_stable() {
    // A later commit holds the failed content by other means: undoing the culprit does not restore stable.
    let repo = Repo::new();
    let good = repo.image("v1");
    repo.write("apps/shop/x.txt", "x\n").image("v2");
    repo.remove("apps/shop/x.txt").write("apps/shop/web.yaml", &rollout("v1", 3)).commit("undone by hand");
    assert_eq!(reason(repo.plan(good, "v1", "v2")), "AlreadyReverted");

    // Culprit and mender together: what is left does not parse.
    let repo = Repo::new();
    repo.write("apps/shop/x.yaml", "fine\n");
    let good = repo.image("v1");
    repo.write("apps/shop/x.yaml", "mended\n").image("v2");
    repo.write("apps/shop/y.yaml", "fine\n").commit("later");
    assert_eq!(revert(repo.plan(good, "v1", "v2")).changed_files, ["apps/shop/web.yaml", "apps/shop/x.yaml"]);
    repo.write("apps/shop/z.yaml", "kind: none\n").commit("z");
    repo.git(&["mv", "apps/shop/web.yaml", "apps/shop/moved.yaml"]);
    repo.commit("moved");
    let found = revert(repo.plan(good, "v1", "v2"));
    assert_eq!(repo.show(&found.tree, "apps/shop/moved.yaml"), rollout("v1", 3).trim_end());
}

/// Protects: the limit on work, and that commits elsewhere do not count.
#[test]
fn too_many_candidates() {
    let repo = Repo::new();
    let good = repo.image("v1");
    repo.image("v2");
    for index in 0..49 {
        repo.write("apps/shop/hpa.yaml", &format!("max: {index}\n")).commit("hpa");
        repo.write("docs/x", &index.to_string()).commit("docs");
    }
    assert_eq!(revert(repo.plan(good, "v1", "v2")).changed_files, ["apps/shop/web.yaml"]);
    repo.write("apps/shop/hpa.yaml", "max: 50\n").commit("hpa");
    assert_eq!(reason(repo.plan(good, "v1", "v2")), "TooManyCandidates");
}

/// Protects: a shallow clone is refused, where `git revert` deletes every file and says that all is well.
#[test]
fn shallow() {
    let origin = Repo::new();
    let good = origin.image("v1");
    origin.image("v2");
    let repo = Repo::new();
    let from = format!("file://{}", origin.path().display());
    repo.git(&["fetch", "-q", "--depth", "1", &from, "main"]);
    repo.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
    let refused = refusal(repo.plan(good, "v1", "v2"));
    assert_eq!(
        (refused.reason, refused.message.contains("history ends early") || refused.message.contains("first-parent")),
        ("Shallow", true),
        "{refused:?}"
    );
}

/// Protects: every other entry of the trees on the way stays as it is, also with modes that today's Git no longer writes.
#[test]
fn old_modes_outside_stay() {
    let repo = Repo::new();
    let good = repo.image("v1");
    repo.image("v2");
    // A root tree with a group-writable file, as Git wrote them in 2005: made by hand.
    let with_old_mode = |commit: &CommitId, parent: Option<&CommitId>| {
        let blob = repo.git(&["hash-object", "-w", "apps/shop/web.yaml"]);
        let apps = repo.git(&["rev-parse", &format!("{commit}:apps")]);
        let mut raw = Vec::new();
        for (mode, name, id) in [("40000", "apps", &apps), ("100664", "old", &blob)] {
            raw.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            raw.extend((0..20).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap()));
        }
        std::fs::write(repo.path().join("raw"), raw).unwrap();
        let tree = repo.git(&["hash-object", "-w", "-t", "tree", "--literally", "raw"]);
        let mut arguments = vec!["commit-tree".to_owned(), tree, "-m".to_owned(), "old".to_owned()];
        arguments.extend(parent.iter().flat_map(|parent| ["-p".to_owned(), parent.to_string()]));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        repo.git(&arguments).parse::<CommitId>().unwrap()
    };
    let bad = repo.head();
    let good = with_old_mode(&good, None);
    let bad = with_old_mode(&bad, Some(&good));
    repo.git(&["update-ref", "refs/heads/main", &bad.to_string()]);
    let found = revert(repo.plan(good, "v1", "v2"));
    assert_eq!(found.tree.to_string(), repo.git(&["rev-parse", &format!("{good}^{{tree}}")]));
}
