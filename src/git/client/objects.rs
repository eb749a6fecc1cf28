//! [`Objects`] over a bare repository. There is no working tree: nothing in a repository can lead out of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use git2::{ErrorCode, MergeOptions, ObjectType, Odb, Oid, Repository, Tree};
use jiff::Timestamp;

use super::transport;
use crate::git::revision::{
    BlobId, Commit, CommitId, File, FileKind, Merged, Objects, ObjectsError, RepoPath, TreeId, is_unprintable, printable,
};

/// Most files below a directory: a few nested trees can stand for billions of them.
const MAX_FILES: u64 = 20_000;
/// Most levels of directories.
const MAX_DEPTH: u64 = 64;
/// Largest tree object that is rewritten.
const MAX_TREE: usize = 16 << 20;

/// The object database of a mirror. One handle per thread.
pub struct GitObjects {
    pub(super) repository: Repository,
    /// Set when the database turns out to be broken; the next fetch makes the mirror anew.
    suspect: Arc<AtomicBool>,
}

impl std::fmt::Debug for GitObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitObjects").finish_non_exhaustive()
    }
}

impl GitObjects {
    /// Opens a bare repository.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self, ObjectsError> {
        transport::set_up().map_err(ObjectsError::Broken)?;
        let repository = Repository::open_bare(path).map_err(|error| ObjectsError::Broken(printable(error.message(), 200)))?;
        Ok(Self::new(repository, Arc::default()))
    }

    pub(super) const fn new(repository: Repository, suspect: Arc<AtomicBool>) -> Self {
        Self { repository, suspect }
    }

    /// A missing object in a mirror that is not shallow, and everything else that Git complains of, casts doubt on the mirror.
    fn judge(&self, error: &git2::Error, id: &dyn std::fmt::Display) -> ObjectsError {
        let missing = error.code() == ErrorCode::NotFound;
        if !missing || !self.repository.is_shallow() {
            self.suspect.store(true, Ordering::Relaxed);
        }
        if missing {
            ObjectsError::Missing(id.to_string())
        } else {
            ObjectsError::Broken(printable(&format!("{id}: {}", error.message()), 200))
        }
    }

    fn odb(&self) -> Result<Odb<'_>, ObjectsError> {
        self.repository.odb().map_err(|error| self.judge(&error, &"object database"))
    }

    fn tree(&self, id: &TreeId) -> Result<Tree<'_>, ObjectsError> {
        if *id == TreeId::EMPTY {
            self.odb()?.write(ObjectType::Tree, &[]).map_err(|error| self.judge(&error, id))?;
        }
        self.repository.find_tree(oid(id.as_bytes())?).map_err(|error| self.judge(&error, id))
    }

    fn list(&self, tree: &TreeId, prefix: &str, depth: u64, files: &mut Vec<File>) -> Result<(), ObjectsError> {
        if depth > MAX_DEPTH {
            return Err(ObjectsError::TooLarge { what: format!("the depth of {}", printable(prefix, 100)), limit: MAX_DEPTH });
        }
        for entry in &self.tree(tree)? {
            let path = format!("{prefix}{}", file_name(entry.name_bytes())?);
            let kind = match entry.filemode_raw() & 0o170_000 {
                0o040_000 => {
                    self.list(&TreeId::from_bytes(bytes(entry.id())?), &format!("{path}/"), depth + 1, files)?;
                    continue;
                }
                0o120_000 => FileKind::Symlink,
                0o160_000 => FileKind::Submodule,
                _ if entry.filemode_raw() & 0o100 != 0 => FileKind::Executable,
                _ => FileKind::File,
            };
            if files.len() as u64 >= MAX_FILES {
                return Err(ObjectsError::TooLarge { what: "the number of files".to_owned(), limit: MAX_FILES });
            }
            files.push(File { path, kind, blob: BlobId::from_bytes(bytes(entry.id())?) });
        }
        Ok(())
    }
}

impl Objects for GitObjects {
    fn commit(&self, id: &CommitId) -> Result<Commit, ObjectsError> {
        let commit = self.repository.find_commit(oid(id.as_bytes())?).map_err(|error| self.judge(&error, id))?;
        let parents = commit.parent_ids().map(|parent| bytes(parent).map(CommitId::from_bytes)).collect::<Result<_, _>>()?;
        let tree = TreeId::from_bytes(bytes(commit.tree_id())?);
        let author = String::from_utf8_lossy(commit.author().name_bytes()).into_owned();
        let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
        // Anybody can write any number there; one that is no time says nothing.
        let committed_at = Timestamp::from_second(commit.time().seconds()).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Commit::new(*id, parents, tree, &author, committed_at, &message))
    }

    fn subtree(&self, root: &TreeId, path: &RepoPath) -> Result<Option<TreeId>, ObjectsError> {
        let mut at = *root;
        for name in path.components() {
            let tree = self.tree(&at)?;
            let Some(entry) = tree.get_name(name) else { return Ok(None) };
            if entry.kind() != Some(ObjectType::Tree) {
                return Err(ObjectsError::NotADirectory(path.to_string()));
            }
            at = TreeId::from_bytes(bytes(entry.id())?);
        }
        Ok(Some(at))
    }

    fn merge(&self, base: &TreeId, ours: &TreeId, theirs: &TreeId) -> Result<Merged, ObjectsError> {
        for tree in [base, ours, theirs] {
            self.files(tree)?; // The limits hold before libgit2 expands them into an index.
        }
        let mut options = MergeOptions::new();
        options.find_renames(true).target_limit(1000);
        let failed = |error: &git2::Error| self.judge(error, &"merge");
        let mut index = self
            .repository
            .merge_trees(&self.tree(base)?, &self.tree(ours)?, &self.tree(theirs)?, Some(&options))
            .map_err(|error| failed(&error))?;
        if index.has_conflicts() {
            let mut paths = Vec::new();
            for conflict in index.conflicts().map_err(|error| failed(&error))? {
                let conflict = conflict.map_err(|error| failed(&error))?;
                let sides = [conflict.our, conflict.their, conflict.ancestor];
                paths.extend(sides.into_iter().flatten().map(|side| String::from_utf8_lossy(&side.path).into_owned()));
            }
            paths.sort_unstable();
            paths.dedup();
            return Ok(Merged::Conflicts(paths));
        }
        let tree = index.write_tree_to(&self.repository).map_err(|error| failed(&error))?;
        Ok(Merged::Tree(TreeId::from_bytes(bytes(tree)?)))
    }

    fn replace(&self, root: &TreeId, path: &RepoPath, subtree: &TreeId) -> Result<TreeId, ObjectsError> {
        let odb = self.odb()?;
        let not_a_directory = || ObjectsError::NotADirectory(path.to_string());
        // Down to the parent of the path, keeping the raw trees on the way, then up again with new ids in their places.
        let mut at = *root;
        let mut levels = Vec::new();
        for name in path.components() {
            let object = odb.read(oid(at.as_bytes())?).map_err(|error| self.judge(&error, &at))?;
            if object.kind() != ObjectType::Tree || object.len() > MAX_TREE {
                return Err(not_a_directory());
            }
            let raw = object.data().to_vec();
            let place = place_of(&raw, name.as_bytes()).ok_or_else(not_a_directory)?;
            let id: [u8; 20] = raw.get(place..place + 20).and_then(|id| id.try_into().ok()).ok_or_else(not_a_directory)?;
            at = TreeId::from_bytes(id);
            levels.push((raw, place));
        }
        let mut new = *subtree;
        for (mut raw, place) in levels.into_iter().rev() {
            raw[place..place + 20].copy_from_slice(new.as_bytes());
            let written = odb.write(ObjectType::Tree, &raw).map_err(|error| self.judge(&error, &new))?;
            new = TreeId::from_bytes(bytes(written)?);
        }
        Ok(new)
    }

    fn files(&self, tree: &TreeId) -> Result<Vec<File>, ObjectsError> {
        let mut files = Vec::new();
        self.list(tree, "", 0, &mut files)?;
        files.sort_unstable();
        Ok(files)
    }

    fn blob(&self, id: &BlobId, limit: u64) -> Result<Vec<u8>, ObjectsError> {
        let odb = self.odb()?;
        let oid = oid(id.as_bytes())?;
        let (size, kind) = odb.read_header(oid).map_err(|error| self.judge(&error, id))?;
        if size as u64 > limit {
            return Err(ObjectsError::TooLarge { what: format!("file content {id}"), limit });
        }
        if kind != ObjectType::Blob {
            return Err(ObjectsError::Broken(format!("{id} is not the content of a file")));
        }
        Ok(odb.read(oid).map_err(|error| self.judge(&error, id))?.data().to_vec())
    }
}

/// Where in a raw tree object the id of the directory `name` stands. Entries are `<mode> <name>\0<20 bytes>`.
fn place_of(raw: &[u8], name: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < raw.len() {
        let blank = at + raw[at..].iter().position(|b| *b == b' ')?;
        let end = blank + raw[blank..].iter().position(|b| *b == 0)?;
        if &raw[blank + 1..end] == name {
            let is_directory = [&b"40000"[..], &b"040000"[..]].contains(&&raw[at..blank]);
            return (is_directory && raw.len() >= end + 21).then_some(end + 1);
        }
        at = end + 21;
    }
    None
}

fn file_name(bytes: &[u8]) -> Result<&str, ObjectsError> {
    let refused = || ObjectsError::Name(printable(&String::from_utf8_lossy(bytes), 100));
    let name = str::from_utf8(bytes).map_err(|_| refused())?;
    let special = ["", ".", ".."].contains(&name) || name.eq_ignore_ascii_case(".git") || name.contains(['/', '\\']);
    if special || name.chars().any(is_unprintable) { Err(refused()) } else { Ok(name) }
}

pub(super) fn oid(bytes: &[u8; 20]) -> Result<Oid, ObjectsError> {
    Oid::from_bytes(bytes).map_err(|error| ObjectsError::Broken(error.message().to_owned()))
}

pub(super) fn bytes(oid: Oid) -> Result<[u8; 20], ObjectsError> {
    oid.as_bytes().try_into().map_err(|_| ObjectsError::Broken("an object id is not a SHA-1".to_owned()))
}
