//! Which commits failed, and the tree that takes them back. Pure: reads and writes objects only through [`Objects`].
//!
//! A wrong revert is worse than none: nothing recorded is trusted alone, every step is checked by rendering, and
//! whatever does not add up is refused with its reason.
//!
//! ```text
//! good --- a --- b --- c --- H        first parents only
//! S        S     X     F     F        digest of the Rollout's template in path P (S stable's, F the failed one)
//!                ^ culprits ^         b and c changed it since P last rendered S; a is restored
//! H:P  -- merge(base c, ours H, theirs b) -- merge(base b, ours that, theirs a) -->  result, must render S
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::revision::{Commit, CommitId, File, Merged, Objects, ObjectsError, RepoPath, TreeId, printable};
use crate::api::condition::write_back as reason;

/// How many commits that touch the path are looked at before giving up: each costs a render.
pub const MAX_CANDIDATES: usize = 50;
/// How many first parents are walked in search of the good commit.
const MAX_WALK: usize = 100_000;
/// How many files a message names.
const NAMED_FILES: usize = 10;

/// Template digest of the Rollout in a directory; none when the Rollout is not in it; the error says what does not render.
pub type Render<'a> = dyn Fn(&TreeId) -> Result<Option<String>, String> + 'a;

/// What is to be reverted.
#[expect(missing_debug_implementations, reason = "holds closures")]
pub struct Question<'a> {
    /// The object database.
    pub objects: &'a dyn Objects,
    /// Tip of the branch, freshly fetched.
    pub head: CommitId,
    /// `spec.source.path`; nothing outside it is ever written.
    pub path: &'a RepoPath,
    /// Directories outside `path` that the manifests are rendered from as well; a change there is never reverted.
    pub bases: &'a [RepoPath],
    /// The commit that stable was promoted from.
    pub good: CommitId,
    /// Template digest of stable.
    pub stable: &'a str,
    /// Template digest that failed.
    pub failed: &'a str,
    /// Renders a directory. Called at most once per directory content.
    pub render: &'a Render<'a>,
    /// Is this commit one of ours? By ids that were recorded before pushing; trailers prove nothing.
    pub ours: &'a dyn Fn(&CommitId) -> bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// This commit is to be made.
    Revert(Revert),
    /// None is to be made.
    Refused(Refusal),
}

/// The commit that takes the failed content back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revert {
    /// The newest culprit: what trailer, branch and status name.
    pub failed_commit: Commit,
    /// Every commit that is reverted, newest first; the first is `failed_commit`.
    pub culprits: Vec<CommitId>,
    /// The newest commit before them whose render gives stable's digest.
    pub restores: CommitId,
    /// The new root directory: the tip's, with only the path replaced.
    pub tree: TreeId,
    /// Files that differ from the tip, from the root of the repository, sorted.
    pub changed_files: Vec<String>,
}

/// Why no commit is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A fixed word of [`crate::api::condition::write_back`].
    pub reason: &'static str,
    /// In words, printable.
    pub message: String,
}

/// Why planning stopped early: a refusal, or an object database that does not work.
enum Stop {
    Refused(Refusal),
    Failed(ObjectsError),
}

impl From<ObjectsError> for Stop {
    /// A missing object means that history was cut off: never guess what was there (in a depth-1 clone,
    /// `git revert HEAD` deletes every file and says that all is well).
    fn from(error: ObjectsError) -> Self {
        match error {
            ObjectsError::Missing(id) => {
                refuse(reason::SHALLOW, format!("history ends early: object {id} is missing; the repository must not be shallow"))
            }
            other => Self::Failed(other),
        }
    }
}

fn refuse(reason: &'static str, message: String) -> Stop {
    Stop::Refused(Refusal { reason, message: printable(&message, 1000) })
}

/// Decides what takes the failed content back from the branch.
///
/// # Errors
/// When the object database is broken or a tree exceeds its limits: nothing is known then, and it can be tried again.
pub fn plan(question: &Question<'_>) -> Result<Plan, ObjectsError> {
    match (Planner { q: question, rendered: RefCell::default() }).revert() {
        Ok(revert) => Ok(Plan::Revert(revert)),
        Err(Stop::Refused(refusal)) => Ok(Plan::Refused(refusal)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

type Digest = Result<Option<String>, String>;

/// A commit that touches the path, and the path's directory after it and before it.
struct Candidate {
    commit: Commit,
    after: TreeId,
    before: TreeId,
}

struct Planner<'a> {
    q: &'a Question<'a>,
    rendered: RefCell<BTreeMap<TreeId, Digest>>,
}

impl Planner<'_> {
    fn revert(&self) -> Result<Revert, Stop> {
        let head = self.q.objects.commit(&self.q.head)?;
        let ours = self.directory(&head)?;
        self.check_tip(&ours)?;
        let (candidates, good) = self.candidates(&head)?;
        self.check_good(&good, &head)?;
        let (culprits, restores) = self.culprits(candidates, &good)?;
        let Some(newest) = culprits.first() else {
            return Err(self.not_from_git(&good, &head)?);
        };
        if let Some(own) = culprits.iter().find(|c| (self.q.ours)(&c.commit.id)) {
            return Err(refuse(
                reason::OWN_COMMIT,
                format!("the content came with {}, which is a commit of our own; a person has to decide", own.commit.id.short()),
            ));
        }
        let result = self.take_back(&culprits, &ours)?;
        self.check_result(&result, &ours, &self.directory(&good)?)?;
        Ok(Revert {
            failed_commit: newest.commit.clone(),
            culprits: culprits.iter().map(|c| c.commit.id).collect(),
            restores,
            tree: self.q.objects.replace(&head.tree, self.q.path, &result)?,
            changed_files: self.changed_files(&ours, &result)?,
        })
    }

    /// The path's directory in a commit; a path that is not there counts as an empty one.
    fn directory(&self, commit: &Commit) -> Result<TreeId, Stop> {
        Ok(self.q.objects.subtree(&commit.tree, self.q.path)?.unwrap_or(TreeId::EMPTY))
    }

    fn digest(&self, tree: &TreeId) -> Digest {
        if *tree == TreeId::EMPTY {
            return Ok(None);
        }
        if let Some(known) = self.rendered.borrow().get(tree) {
            return known.clone();
        }
        let digest = (self.q.render)(tree);
        self.rendered.borrow_mut().insert(*tree, digest.clone());
        digest
    }

    fn is(&self, tree: &TreeId, digest: &str) -> bool {
        self.digest(tree).is_ok_and(|found| found.as_deref() == Some(digest))
    }

    /// Only content that is at the tip now is ever reverted.
    fn check_tip(&self, tip: &TreeId) -> Result<(), Stop> {
        match self.digest(tip) {
            Err(why) => Err(refuse(reason::RENDER_FAILED, format!("the branch's tip does not render: {why}"))),
            Ok(Some(digest)) if digest == self.q.stable => {
                Err(refuse(reason::ALREADY_REVERTED, "the branch has stable's content again; nothing to do".to_owned()))
            }
            Ok(Some(digest)) if digest == self.q.failed => Ok(()),
            Ok(Some(_)) => Err(refuse(reason::SUPERSEDED, "the branch has other content by now".to_owned())),
            Ok(None) => Err(refuse(reason::SUPERSEDED, "the Rollout is no longer in the branch".to_owned())),
        }
    }

    /// The good commit, and every commit after it on the first-parent line that touches the path, newest first.
    fn candidates(&self, head: &Commit) -> Result<(Vec<Candidate>, Commit), Stop> {
        let mut found = Vec::new();
        let mut commit = head.clone();
        let mut after = self.directory(&commit)?;
        for _ in 0..MAX_WALK {
            if commit.id == self.q.good {
                return Ok((found, commit));
            }
            let Some(parent) = commit.parents.first() else { break };
            let parent = self.q.objects.commit(parent)?;
            let before = self.directory(&parent)?;
            if before != after {
                found.push(Candidate { commit, after, before });
            }
            (commit, after) = (parent, before);
        }
        Err(refuse(
            reason::HISTORY_REWRITTEN,
            format!("{}, from which stable was promoted, is not on the branch's first-parent line", self.q.good.short()),
        ))
    }

    /// A recorded id is never trusted alone: the good commit has to render stable's content.
    fn check_good(&self, good: &Commit, head: &Commit) -> Result<(), Stop> {
        match self.digest(&self.directory(good)?) {
            Ok(Some(digest)) if digest == self.q.stable => Ok(()),
            Ok(Some(digest)) if digest == self.q.failed => Err(self.not_from_git(good, head)?),
            Ok(_) => Err(refuse(
                reason::NOT_REPRODUCIBLE,
                format!("{}, from which stable was promoted, does not render stable's content today", good.id.short()),
            )),
            Err(why) => Err(refuse(
                reason::NOT_REPRODUCIBLE,
                format!("{}, from which stable was promoted, does not render today: {why}", good.id.short()),
            )),
        }
    }

    /// No commit in the path changed the content: was it a shared base, or nothing in Git at all?
    fn not_from_git(&self, good: &Commit, head: &Commit) -> Result<Stop, Stop> {
        for base in self.q.bases {
            if self.q.objects.subtree(&good.tree, base)? != self.q.objects.subtree(&head.tree, base)? {
                return Ok(refuse(
                    reason::SHARED_BASE,
                    format!("the change lies in {base}, outside {}; other Applications may use it too", self.q.path),
                ));
            }
        }
        Ok(refuse(
            reason::NOT_FROM_GIT,
            format!(
                "no commit since {} changed this content in {}; was it a value in the Application?",
                good.id.short(),
                self.q.path
            ),
        ))
    }

    /// Of the candidates, those that changed the digest since the path last rendered stable's, and what they replaced.
    fn culprits(&self, mut candidates: Vec<Candidate>, good: &Commit) -> Result<(Vec<Candidate>, CommitId), Stop> {
        // The newest commit that renders stable's content is what the branch is restored to; without a later one, good.
        let mut restores = good.id;
        for index in 0..candidates.len() {
            if index >= MAX_CANDIDATES {
                return Err(refuse(
                    reason::TOO_MANY_CANDIDATES,
                    format!("more than {MAX_CANDIDATES} commits touched {} since stable's content was there last", self.q.path),
                ));
            }
            if self.is(&candidates[index].after, self.q.stable) {
                restores = candidates[index].commit.id;
                candidates.truncate(index);
                break;
            }
        }
        let guilty = self.guilty(&candidates);
        let culprits = candidates.into_iter().zip(guilty).filter(|(_, guilty)| *guilty).map(|(candidate, _)| candidate).collect();
        Ok((culprits, restores))
    }

    /// Which of the candidates changed the digest. States that do not render have none: a run of them is judged by the
    /// states around it, so that a commit that broke the YAML and one that mended it are no culprits by that alone.
    fn guilty(&self, candidates: &[Candidate]) -> Vec<bool> {
        let mut guilty = Vec::with_capacity(candidates.len());
        let mut newer = None;
        let mut run = 0;
        for candidate in candidates {
            let newer_digest = newer.take().unwrap_or_else(|| self.digest(&candidate.after).unwrap_or_default());
            run += 1;
            match self.digest(&candidate.before) {
                Err(_) => newer = Some(newer_digest),
                Ok(older) => {
                    guilty.resize(guilty.len() + run, older != newer_digest);
                    run = 0;
                    newer = Some(older);
                }
            }
        }
        // No run is left open: the state before the last candidate is stable's, which renders.
        guilty
    }

    /// The path's directory without the culprits' changes, newest first; later edits of people stay.
    fn take_back(&self, culprits: &[Candidate], tip: &TreeId) -> Result<TreeId, Stop> {
        let mut running = *tip;
        for culprit in culprits {
            running = match self.merge(&culprit.after, &running, &culprit.before)? {
                Merged::Tree(tree) => tree,
                Merged::Conflicts(files) => {
                    let files: Vec<String> = files.iter().map(|file| self.q.path.file(file)).collect();
                    return Err(refuse(
                        reason::CONFLICT,
                        format!("later edits overlap what {} changed, in {}", culprit.commit.id.short(), named(&files)),
                    ));
                }
            };
        }
        Ok(running)
    }

    /// The trivial cases are exact by definition, whatever modes or names a tree has; only the rest needs content.
    fn merge(&self, base: &TreeId, ours: &TreeId, theirs: &TreeId) -> Result<Merged, ObjectsError> {
        if ours == base {
            Ok(Merged::Tree(*theirs))
        } else if theirs == base || theirs == ours {
            Ok(Merged::Tree(*ours))
        } else {
            self.q.objects.merge(base, ours, theirs)
        }
    }

    fn check_result(&self, result: &TreeId, tip: &TreeId, good: &TreeId) -> Result<(), Stop> {
        let culprits_undone = || format!("without the failed commits, {}", self.q.path);
        if result == tip {
            return Err(refuse(
                reason::NOT_RESTORED,
                "the failed commits are undone already, yet the content is there".to_owned(),
            ));
        }
        if *result == TreeId::EMPTY && *good != TreeId::EMPTY {
            return Err(refuse(reason::EMPTY_RESULT, format!("{} would be empty", culprits_undone())));
        }
        match self.digest(result) {
            Err(why) => Err(refuse(reason::RENDER_FAILED, format!("{} does not render: {why}", culprits_undone()))),
            Ok(Some(digest)) if digest == self.q.stable => Ok(()),
            Ok(Some(_)) => {
                Err(refuse(reason::NOT_RESTORED, format!("{} has still other content than stable", culprits_undone())))
            }
            Ok(None) => Err(refuse(reason::NOT_RESTORED, format!("{} no longer has the Rollout", culprits_undone()))),
        }
    }

    fn changed_files(&self, before: &TreeId, after: &TreeId) -> Result<Vec<String>, Stop> {
        let by_path = |files: Vec<File>| files.into_iter().map(|f| (f.path, (f.kind, f.blob))).collect::<BTreeMap<_, _>>();
        let (before, after) = (by_path(self.q.objects.files(before)?), by_path(self.q.objects.files(after)?));
        let mut changed: Vec<String> = before
            .keys()
            .chain(after.keys())
            .filter(|path| before.get(*path) != after.get(*path))
            .map(|path| self.q.path.file(path))
            .collect();
        changed.sort_unstable();
        changed.dedup();
        Ok(changed)
    }
}

fn named(files: &[String]) -> String {
    let mut text = files.iter().take(NAMED_FILES).map(String::as_str).collect::<Vec<_>>().join(", ");
    if files.len() > NAMED_FILES {
        text.push_str(&format!(" and {} more", files.len() - NAMED_FILES));
    }
    text
}

#[cfg(test)]
mod tests;
