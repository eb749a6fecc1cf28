//! What no well-behaved object database shows: merges that lose, objects that are gone, disks that fail. The cases with
//! real histories are in `tests/git/`.

use super::*;
use crate::git::revision::BlobId;
use jiff::Timestamp;
use std::cell::Cell;

/// A history good -- bad -- later -- head, in which nothing but `bad` changes the content, and a merge that answers as told.
struct Fake {
    merge: Result<Merged, ObjectsError>,
    missing: Option<u8>,
}

fn id(n: u8) -> CommitId {
    CommitId::from_bytes([n; 20])
}

fn tree(n: u8) -> TreeId {
    TreeId::from_bytes([n; 20])
}

impl Objects for Fake {
    fn commit(&self, commit: &CommitId) -> Result<Commit, ObjectsError> {
        let n = commit.as_bytes()[0];
        if self.missing == Some(n) || n == 0 {
            return Err(ObjectsError::Missing(commit.to_string()));
        }
        Ok(Commit::new(*commit, vec![id(n - 1)], tree(n), "Ada", Timestamp::UNIX_EPOCH, &format!("commit {n}")))
    }

    fn subtree(&self, root: &TreeId, _: &RepoPath) -> Result<Option<TreeId>, ObjectsError> {
        Ok(Some(*root))
    }

    fn merge(&self, _: &TreeId, _: &TreeId, _: &TreeId) -> Result<Merged, ObjectsError> {
        match &self.merge {
            Ok(merged) => Ok(merged.clone()),
            Err(_) => Err(ObjectsError::Broken("disk".to_owned())),
        }
    }

    fn replace(&self, _: &TreeId, _: &RepoPath, subtree: &TreeId) -> Result<TreeId, ObjectsError> {
        Ok(*subtree)
    }

    fn files(&self, _: &TreeId) -> Result<Vec<File>, ObjectsError> {
        Ok(Vec::new())
    }

    fn blob(&self, _: &BlobId, _: u64) -> Result<Vec<u8>, ObjectsError> {
        Ok(Vec::new())
    }
}

/// Commit 10 is good, 11 bad, 13 the tip. Trees 21.. are results.
fn render(tree: &TreeId) -> Digest {
    match tree.as_bytes()[0] {
        10 | 21 => Ok(Some("stable".to_owned())),
        11..=13 => Ok(Some("failed".to_owned())),
        22 => Ok(Some("neither".to_owned())),
        23 => Ok(None),
        _ => Err("does not parse".to_owned()),
    }
}

fn ask(fake: &Fake, calls: &Cell<u32>) -> Result<Plan, ObjectsError> {
    plan(&Question {
        objects: fake,
        head: id(13),
        path: &"apps/shop".parse().unwrap(),
        bases: &[],
        good: id(10),
        stable: "stable",
        failed: "failed",
        render: &|tree| {
            calls.set(calls.get() + 1);
            render(tree)
        },
        ours: &|_| false,
    })
}

fn reason_of(fake: &Fake) -> &'static str {
    match ask(fake, &Cell::new(0)).unwrap() {
        Plan::Refused(refusal) => refusal.reason,
        Plan::Revert(revert) => panic!("{revert:?}"),
    }
}

/// Protects: nothing is pushed that does not render exactly stable's content, whatever the merge says.
#[test]
fn results_are_checked() {
    let with = |tree| Fake { merge: Ok(Merged::Tree(tree)), missing: None };
    let calls = Cell::new(0);
    let good = ask(&with(tree(21)), &calls).unwrap();
    assert!(
        matches!(&good, Plan::Revert(revert) if revert.tree == tree(21) && revert.culprits == [id(11)] && revert.restores == id(10)),
        "{good:?}"
    );
    assert_eq!(calls.get(), 5, "each tree is rendered once");
    assert_eq!(reason_of(&with(TreeId::EMPTY)), "EmptyResult");
    assert_eq!(reason_of(&with(tree(22))), "NotRestored");
    assert_eq!(reason_of(&with(tree(23))), "NotRestored");
    assert_eq!(reason_of(&with(tree(24))), "RenderFailed");
    assert_eq!(reason_of(&with(tree(13))), "NotRestored");
}

/// Protects: a missing object is a boundary of history, refused; a broken disk is an error, tried again.
#[test]
fn what_cannot_be_read() {
    for missing in [11, 12, 13] {
        assert_eq!(reason_of(&Fake { merge: Ok(Merged::Tree(tree(21))), missing: Some(missing) }), "Shallow");
    }
    let broken = Fake { merge: Err(ObjectsError::Broken("disk".to_owned())), missing: None };
    assert_eq!(ask(&broken, &Cell::new(0)), Err(ObjectsError::Broken("disk".to_owned())));
}

/// Protects: status from hundreds of names.
#[test]
fn conflicts_name_a_few_files() {
    let files: Vec<String> = (0..12).map(|n| format!("{n}\u{1b}.yaml")).collect();
    let fake = Fake { merge: Ok(Merged::Conflicts(files)), missing: None };
    let Plan::Refused(refusal) = ask(&fake, &Cell::new(0)).unwrap() else { panic!() };
    assert_eq!(refusal.reason, "Conflict");
    assert!(
        refusal.message.starts_with("later edits overlap what 0b0b0b0b0b0b changed, in apps/shop/0.yaml, apps/shop/1.yaml, ")
    );
    assert!(refusal.message.ends_with("apps/shop/9.yaml and 2 more"), "{}", refusal.message);
}
