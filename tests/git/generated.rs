//! Generated histories: the plan agrees with `git revert`, path by path.

use crate::fixture::{Ask, Repo, digest, git_output, rollout};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tidegate::git::revert::Plan;
use tidegate::git::revision::{CommitId, Objects};

/// Histories in `make test`; `TIDEGATE_HISTORIES` asks for more.
#[expect(clippy::disallowed_methods, reason = "how long to run is asked for by variable")]
fn histories() -> u32 {
    std::env::var("TIDEGATE_HISTORIES").ok().and_then(|number| number.parse().ok()).unwrap_or(40)
}

/// One commit of somebody.
#[derive(Clone, Debug)]
enum Step {
    /// The image becomes `v<n>`, and perhaps another file of another application changes with it.
    Image(u8, bool),
    /// The number of replicas, far from the image.
    Replicas(u8),
    /// A line right beside the image.
    Neighbour(u8),
    /// A line of a text file in the path; the culprits change such lines, too.
    Note(u8, u8),
    /// Image and note in one commit.
    Both(u8, u8),
    /// A file comes or goes.
    Toggle,
    /// Something outside the path.
    Outside(u8),
}

#[derive(Clone, Debug)]
struct State {
    image: u8,
    replicas: u8,
    neighbour: u8,
    notes: [u8; 9],
    extra: bool,
    outside: u8,
}

impl State {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Image(image, outside) => {
                self.image = image;
                self.outside = self.outside.wrapping_add(u8::from(outside));
            }
            Step::Replicas(n) => self.replicas = n,
            Step::Neighbour(n) => self.neighbour = n,
            Step::Note(line, n) => self.notes[usize::from(line) % 9] = n,
            Step::Both(image, line) => {
                self.image = image;
                self.notes[usize::from(line) % 9] = 100 + image;
            }
            Step::Toggle => self.extra = !self.extra,
            Step::Outside(n) => self.outside = n,
        }
    }

    fn write(&self, repo: &Repo) {
        let manifest = rollout(&format!("v{}", self.image), usize::from(self.replicas))
            .replace("name: web", &format!("name: web{}", self.neighbour));
        // Every line is unique: git's histogram diff and libgit2's Myers diff cut repeated lines differently.
        let notes: String = self.notes.iter().enumerate().map(|(i, n)| format!("note {i}: {n}\n{i} a\n{i} b\n{i} c\n")).collect();
        repo.write("apps/shop/web.yaml", &manifest)
            .write("apps/shop/notes", &notes)
            .write("apps/other/x", &self.outside.to_string());
        if self.extra {
            repo.write("apps/shop/extra", "x\n");
        } else {
            let _ = std::fs::remove_file(repo.path().join("apps/shop/extra"));
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..4u8, any::<bool>()).prop_map(|(image, outside)| Step::Image(image, outside)),
        2 => (1..4u8, 0..9u8).prop_map(|(image, line)| Step::Both(image, line)),
        2 => (0..9u8).prop_map(Step::Replicas),
        1 => (0..3u8).prop_map(Step::Neighbour),
        2 => (0..9u8, 0..9u8).prop_map(|(line, n)| Step::Note(line, n)),
        1 => Just(Step::Toggle),
        1 => (0..9u8).prop_map(Step::Outside),
    ]
}

/// What git itself makes of the culprits, newest first: the tree, or none on a conflict.
fn git_reverts(repo: &Repo, culprits: &[CommitId]) -> Option<String> {
    let head = repo.head();
    let ids: Vec<String> = culprits.iter().map(ToString::to_string).collect();
    let mut arguments = vec!["revert", "--no-commit"];
    arguments.extend(ids.iter().map(String::as_str));
    let clean = git_output(repo.path(), &arguments).status.success();
    let tree = clean.then(|| repo.git(&["write-tree"]));
    let _ = git_output(repo.path(), &["revert", "--abort"]);
    repo.git(&["reset", "-q", "--hard", &head.to_string()]);
    tree
}

fn check(steps: &[Step]) -> Result<&'static str, TestCaseError> {
    let repo = Repo::new();
    let mut state = State { image: 1, replicas: 3, neighbour: 0, notes: [0; 9], extra: false, outside: 0 };
    state.write(&repo);
    let good = repo.commit("good");
    let mut culprits = Vec::new();
    for step in steps {
        let before = state.image;
        state.take(step);
        state.write(&repo);
        let commit = repo.commit("step");
        if state.image == 1 {
            culprits.clear();
        } else if state.image != before {
            culprits.insert(0, commit);
        }
    }
    let failed = format!("v{}", state.image);
    let plan = repo.ask(&Ask { failed: &failed, ..Ask::new(good) });
    if culprits.is_empty() {
        prop_assert!(matches!(&plan, Plan::Refused(refusal) if refusal.reason == "AlreadyReverted"), "{plan:?}");
        return Ok("already");
    }
    let Some(theirs) = git_reverts(&repo, &culprits) else {
        // Outside the path git may meet conflicts that are none of ours.
        if let Plan::Revert(revert) = &plan {
            let outside_changed = culprits.iter().any(|c| repo.changed(&format!("{c}^"), c).contains(&"apps/other/x".to_owned()));
            prop_assert!(outside_changed, "git finds a conflict, we do not: {revert:?}");
        }
        return Ok("conflict");
    };
    let wanted = repo.git(&["rev-parse", &format!("{theirs}:apps/shop")]);
    match plan {
        Plan::Revert(revert) => {
            prop_assert_eq!(&revert.culprits, &culprits);
            prop_assert_eq!(repo.git(&["rev-parse", &format!("{}:apps/shop", revert.tree)]), wanted);
            prop_assert_eq!(repo.changed(&"HEAD", &revert.tree), revert.changed_files);
            prop_assert_eq!(repo.show(&revert.tree, "apps/other/x"), repo.show(&"HEAD", "apps/other/x"));
            let objects = repo.objects();
            let path = "apps/shop".parse().unwrap();
            let subtree = objects.subtree(&revert.tree, &path).unwrap().unwrap();
            prop_assert_eq!(digest(&objects, &subtree), Ok(Some("v1".to_owned())));
            Ok("reverted")
        }
        Plan::Refused(refusal) => Err(TestCaseError::fail(format!("git reverts, we refuse: {refusal:?}"))),
    }
}

/// Protects: the merge, the choice of culprits and their order, against an implementation that is not ours.
#[test]
fn agrees_with_git_revert() {
    // Always the same histories: whoever changes the plan should see the same answer twice.
    let config = Config { failure_persistence: None, max_shrink_iters: 40, ..Config::with_cases(histories()) };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let seen = std::cell::RefCell::new(std::collections::BTreeMap::new());
    runner
        .run(&prop::collection::vec(step(), 1..9), |steps| {
            *seen.borrow_mut().entry(check(&steps)?).or_insert(0) += 1;
            Ok(())
        })
        .unwrap();
    let seen = seen.into_inner();
    println!("{seen:?}");
    assert!(seen.get("reverted").is_some_and(|n| *n >= 10), "too few histories were reverted to mean anything: {seen:?}");
}
