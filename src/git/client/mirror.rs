//! One bare repository per remote, fetched into and committed into.
#![expect(clippy::disallowed_methods, reason = "how long ago a mirror was made anew is judged by the monotonic clock")]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use git2::{
    AutotagOption, Direction, FetchOptions, Oid, RemoteCallbacks, Repository, RepositoryInitOptions, Signature, Sort, Time,
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::error::{FetchError, MirrorError};
use super::http::{Exchange, Limits};
use super::objects::{GitObjects, bytes, oid};
use super::remote::{Access, RemoteUrl};
use super::transport;
use crate::api::application::Author;
use crate::git::revision::{BranchName, CommitId, Objects, TreeId, printable};

/// Our references: nothing here ever comes from, or goes to, a remote under these names.
const TRACKING: &str = "refs/tidegate/tracking/";
const KEPT: &str = "refs/tidegate/kept/";
/// How many commits are looked through for one of ours.
const MAX_LOOK: usize = 10_000;

/// A mirror is made anew at most once in this time: when that does not help, the fault is not on our disk, and the server
/// should not have to send everything again and again.
const REMAKE_INTERVAL: Duration = Duration::from_secs(3600);

/// All mirrors under one data directory. There must be no other for this directory, in this process or another.
#[derive(Debug)]
pub struct Client {
    root: PathBuf,
    limits: Limits,
    mirrors: Mutex<HashMap<String, Arc<Shared>>>,
}

/// What all users of one mirror share.
#[derive(Debug, Default)]
struct Shared {
    /// One operation on the mirror's references at a time.
    lock: Mutex<()>,
    /// The object database turned out to be broken.
    suspect: Arc<AtomicBool>,
    /// When it was made anew for that.
    remade: Mutex<Option<Instant>>,
    /// What a killed process left behind was swept away.
    swept: AtomicBool,
}

impl Client {
    /// Mirrors under `data_dir`, which belongs to this process; it is created when first needed.
    #[must_use]
    pub fn new(data_dir: &Path, limits: Limits) -> Self {
        Self { root: data_dir.join("git"), limits, mirrors: Mutex::default() }
    }

    /// The mirror of a remote. Nothing is created or fetched yet.
    #[must_use]
    pub fn mirror(&self, url: &RemoteUrl) -> Mirror {
        let name: String = Sha256::digest(url.to_string().as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = Arc::clone(mirrors.entry(name.clone()).or_default());
        Mirror { url: url.clone(), path: self.root.join(format!("{name}.git")), limits: self.limits, shared }
    }
}

/// The mirror of one remote.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub(super) url: RemoteUrl,
    path: PathBuf,
    pub(super) limits: Limits,
    shared: Arc<Shared>,
}

/// Answer to a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Tip of the branch.
    pub tip: CommitId,
    /// Tip at the fetch before this one, when there was one.
    pub before: Option<CommitId>,
    /// `before` is no longer in the branch's history: somebody pushed with force.
    pub forced: bool,
}

impl Mirror {
    /// Directory of the mirror.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fetches a branch and answers its tip. An unchanged tip costs one request.
    ///
    /// # Errors
    /// [`FetchError`]; the mirror keeps what it had.
    pub fn fetch(&self, access: &Arc<Access>, branch: &BranchName) -> Result<Fetched, FetchError> {
        let _guard = self.lock();
        if self.shared.suspect.swap(false, Ordering::Relaxed) && self.may_be_remade() {
            tracing::warn!(remote = %self.url, "the mirror has unreadable objects and is made anew");
            self.discard()?;
        }
        match self.fetch_into(&self.repository()?, access, branch) {
            // A mirror that cannot take what was fetched, or cannot read its own tip, is made anew, once.
            Err(FetchError::Mirror(error)) if self.may_be_remade() => {
                tracing::warn!(%error, remote = %self.url, "the mirror is unusable and is made anew");
                self.discard()?;
                self.fetch_into(&self.repository()?, access, branch)
            }
            outcome => outcome,
        }
    }

    fn fetch_into(&self, repository: &Repository, access: &Arc<Access>, branch: &BranchName) -> Result<Fetched, FetchError> {
        let exchange = Exchange::new(&self.url, access, self.limits)?;
        let outcome = transport::with(&exchange, || download(repository, &exchange, branch));
        let tip = match outcome {
            Ok(Some(tip)) => tip,
            Ok(None) => return Err(FetchError::BranchMissing(branch.to_string())),
            Err(error) => {
                return Err(match exchange.fault() {
                    Some(fault) => fault.into(),
                    None if error.class() == git2::ErrorClass::Net => {
                        FetchError::Unreachable(exchange.words(error.message(), 200))
                    }
                    None => MirrorError::Git(exchange.words(error.message(), 200)).into(),
                });
            }
        };
        let tracking = format!("{TRACKING}{branch}");
        let known = repository.refname_to_id(&tracking).ok();
        // Also looks whether the tip can be read: a mirror that lost it is worth nothing.
        repository.find_commit(tip).and_then(|commit| commit.tree()).map_err(|error| git(&error))?;
        let forced = match known {
            Some(known) if known != tip => !repository.graph_descendant_of(tip, known).unwrap_or(false),
            _ => false,
        };
        if known != Some(tip) {
            repository.reference(&tracking, tip, true, "fetched").map_err(|error| git(&error))?;
        }
        let before = known.map(|id| bytes(id).map(CommitId::from_bytes)).transpose().map_err(MirrorError::from)?;
        Ok(Fetched { tip: CommitId::from_bytes(bytes(tip).map_err(MirrorError::from)?), before, forced })
    }

    /// The object database, as last fetched.
    ///
    /// # Errors
    /// When the mirror cannot be opened.
    pub fn objects(&self) -> Result<GitObjects, MirrorError> {
        let _guard = self.lock();
        Ok(GitObjects::new(self.repository()?, Arc::clone(&self.shared.suspect)))
    }

    /// Makes a commit object on top of `parent`. It is on no branch, and nothing is sent. Same arguments, same id.
    ///
    /// # Errors
    /// When `parent` or `tree` is not in the mirror, or the author cannot be one.
    pub fn commit(
        &self,
        tree: &TreeId,
        parent: &CommitId,
        author: &Author,
        message: &str,
        time: Timestamp,
    ) -> Result<CommitId, MirrorError> {
        let objects = self.objects()?;
        objects.commit(parent)?; // Says which object is missing, where libgit2's own error would not.
        let repository = &objects.repository;
        let who = Signature::new(&author.name, &author.email, &Time::new(time.as_second(), 0))
            .map_err(|_| MirrorError::Author(printable(&format!("{} <{}>", author.name, author.email), 200)))?;
        let tree = repository.find_tree(oid(tree.as_bytes())?).map_err(|error| git(&error))?;
        let parent = repository.find_commit(oid(parent.as_bytes())?).map_err(|error| git(&error))?;
        let id = repository.commit(None, &who, &who, message, &tree, &[&parent]).map_err(|error| git(&error))?;
        Ok(CommitId::from_bytes(bytes(id)?))
    }

    /// Looks whether one of the recorded commits is in the history of `tip` and not in that of `good`; the newest one.
    /// Not only along first parents: a colleague's `git pull` may have put it on the second.
    ///
    /// # Errors
    /// When `tip` is not in the mirror.
    pub fn find_ours(&self, tip: &CommitId, good: &CommitId, candidates: &[CommitId]) -> Result<Option<CommitId>, MirrorError> {
        let _guard = self.lock();
        let repository = self.repository()?;
        let mut walk = repository.revwalk().map_err(|error| git(&error))?;
        walk.set_sorting(Sort::TOPOLOGICAL).map_err(|error| git(&error))?;
        walk.push(oid(tip.as_bytes())?).map_err(|error| git(&error))?;
        let good = oid(good.as_bytes())?;
        if repository.find_commit(good).is_ok() {
            walk.hide(good).map_err(|error| git(&error))?;
        }
        for id in walk.take(MAX_LOOK) {
            let id = CommitId::from_bytes(bytes(id.map_err(|error| git(&error))?)?);
            if candidates.contains(&id) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Keeps a commit and its history alive under our own reference, whatever happens to its branch. A `name` that
    /// was kept before now keeps this commit.
    ///
    /// # Errors
    /// When the commit is not in the mirror.
    pub fn keep(&self, name: &BranchName, commit: &CommitId) -> Result<(), MirrorError> {
        let _guard = self.lock();
        let repository = self.repository()?;
        let id = repository.find_commit(oid(commit.as_bytes())?).map_err(|error| git(&error))?.id();
        repository.reference(&format!("{KEPT}{name}"), id, true, "kept").map_err(|error| git(&error))?;
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the repository; makes it, whole or not at all, when there is none or it is unusable.
    pub(super) fn repository(&self) -> Result<Repository, MirrorError> {
        transport::set_up().map_err(|text| MirrorError::Git(printable(&text, 200)))?;
        if !self.shared.swept.swap(true, Ordering::Relaxed) {
            sweep(&self.path)?;
        }
        if let Some(repository) = usable(&self.path) {
            return Ok(repository);
        }
        self.discard()?;
        let new = beside(&self.path, "new");
        fs::create_dir_all(&new)?;
        let mut options = RepositoryInitOptions::new();
        options.bare(true).external_template(false);
        Repository::init_opts(&new, &options).map_err(|error| git(&error))?;
        fs::rename(&new, &self.path)?;
        usable(&self.path).ok_or_else(|| MirrorError::Git("a new mirror cannot be opened".to_owned()))
    }

    /// Whether the mirror may be made anew now; if so, it counts as made.
    fn may_be_remade(&self) -> bool {
        let mut remade = self.shared.remade.lock().unwrap_or_else(PoisonError::into_inner);
        let may = remade.is_none_or(|at| at.elapsed() >= REMAKE_INTERVAL);
        if may {
            *remade = Some(Instant::now());
        }
        may
    }

    /// Moves an unusable mirror out of the way, then deletes it: a crash in between leaves no half mirror in its place.
    fn discard(&self) -> Result<(), MirrorError> {
        let old = beside(&self.path, "old");
        match fs::rename(&self.path, &old) {
            Ok(()) => Ok(remove(&old)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn usable(path: &Path) -> Option<Repository> {
    let repository = Repository::open_bare(path).ok()?;
    let whole = repository.is_bare()
        && repository.config().and_then(|mut config| config.snapshot()).is_ok()
        && repository.odb().is_ok()
        && path.join("objects/pack").is_dir();
    whole.then_some(repository)
}

/// A fresh name beside the mirror.
fn beside(path: &Path, purpose: &str) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    path.with_extension(format!("{purpose}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)))
}

fn remove(path: &Path) -> io::Result<()> {
    let outcome = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what a killed process left: half-made mirrors, half-written packs, and locks that nobody holds any more.
fn sweep(path: &Path) -> io::Result<()> {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { return Ok(()) };
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let found = entry?.path();
        if found != path && found.file_stem() == Some(stem) {
            remove(&found)?;
        }
    }
    let is_lock = |name: &str| name.ends_with(".lock");
    remove_files(path, false, &is_lock)?;
    remove_files(&path.join("refs"), true, &is_lock)?;
    remove_files(&path.join("objects/pack"), false, &|name| name.starts_with("pack_git2_") || name.starts_with("tmp_"))
}

fn remove_files(folder: &Path, deep: bool, unwanted: &dyn Fn(&str) -> bool) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if deep {
                remove_files(&entry.path(), deep, unwanted)?;
            }
        } else if unwanted(&entry.file_name().to_string_lossy()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Brings the branch's objects into the mirror; none when the remote has no such branch.
fn download(repository: &Repository, exchange: &Arc<Exchange>, branch: &BranchName) -> Result<Option<Oid>, git2::Error> {
    let reference = branch.reference();
    let mut remote = repository.remote_anonymous(transport::ADDRESS)?;
    let mut connection = remote.connect_auth(Direction::Fetch, None, None)?;
    let Some(tip) = connection.list()?.iter().find(|head| head.name() == reference).map(git2::RemoteHead::oid) else {
        return Ok(None);
    };
    if repository.find_commit(tip).is_ok() {
        return Ok(Some(tip));
    }
    let mut callbacks = RemoteCallbacks::new();
    let watch = Arc::clone(exchange);
    callbacks.transfer_progress(move |_| {
        if watch.expired() {
            watch.note_timeout();
        }
        !watch.expired()
    });
    let mut options = FetchOptions::new();
    options.remote_callbacks(callbacks).download_tags(AutotagOption::None).update_fetchhead(false);
    connection.remote().download(&[format!("+{reference}:{TRACKING}{branch}")], Some(&mut options))?;
    Ok(Some(tip))
}

pub(super) fn git(error: &git2::Error) -> MirrorError {
    MirrorError::Git(printable(error.message(), 200))
}
