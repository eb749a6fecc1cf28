//! A repository made by real `git`, and a renderer that is simple enough to be right.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tidegate::git::client::GitObjects;
use tidegate::git::revert::{Plan, Question, plan};
use tidegate::git::revision::{CommitId, FileKind, Objects, RepoPath, TreeId};

/// Runs git in `folder`, away from the settings of whoever runs the tests.
pub fn git_output(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .current_dir(folder)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.com")
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.com")
        .env("GIT_AUTHOR_DATE", "1800000000 +0000")
        .env("GIT_COMMITTER_DATE", "1800000000 +0000")
        .output()
        .unwrap()
}

/// Runs git, which has to succeed; answers its output without the final newline.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = git_output(folder, arguments);
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A repository with a working tree, on branch `main`.
pub struct Repo {
    folder: TempDir,
}

impl Repo {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q", "-b", "main"]);
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        git(self.path(), arguments)
    }

    pub fn write(&self, file: &str, text: &str) -> &Self {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn remove(&self, file: &str) -> &Self {
        std::fs::remove_file(self.path().join(file)).unwrap();
        self
    }

    /// Commits everything that differs.
    pub fn commit(&self, message: &str) -> CommitId {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    /// Writes a Rollout with this image into `apps/shop/web.yaml` and commits it.
    pub fn image(&self, image: &str) -> CommitId {
        self.write("apps/shop/web.yaml", &rollout(image, 3)).commit(&format!("shop: image {image}"))
    }

    pub fn head(&self) -> CommitId {
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    pub fn objects(&self) -> GitObjects {
        GitObjects::open(&self.path().join(".git")).unwrap()
    }

    /// Content of a file in a tree or commit.
    pub fn show(&self, tree: &impl std::fmt::Display, file: &str) -> String {
        self.git(&["show", &format!("{tree}:{file}")])
    }

    /// Files that differ between two trees or commits.
    pub fn changed(&self, one: &impl std::fmt::Display, other: &impl std::fmt::Display) -> Vec<String> {
        self.git(&["diff", "--no-renames", "--name-only", &one.to_string(), &other.to_string()])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Asks for the plan at the tip, with path `apps/shop`.
    pub fn plan(&self, good: CommitId, stable: &str, failed: &str) -> Plan {
        self.ask(&Ask { good, stable, failed, ..Ask::new(good) })
    }

    pub fn ask(&self, ask: &Ask<'_>) -> Plan {
        let objects = self.objects();
        let render = |tree: &TreeId| digest(&objects, tree);
        let path: RepoPath = ask.path.parse().unwrap();
        let bases: Vec<RepoPath> = ask.bases.iter().map(|base| base.parse().unwrap()).collect();
        plan(&Question {
            objects: &objects,
            head: self.head(),
            path: &path,
            bases: &bases,
            good: ask.good,
            stable: ask.stable,
            failed: ask.failed,
            render: &render,
            ours: &|commit| ask.ours.contains(commit),
        })
        .unwrap()
    }
}

/// A question with its usual answers filled in.
pub struct Ask<'a> {
    pub path: &'a str,
    pub bases: &'a [&'a str],
    pub good: CommitId,
    pub stable: &'a str,
    pub failed: &'a str,
    pub ours: &'a [CommitId],
}

impl Ask<'_> {
    pub fn new(good: CommitId) -> Self {
        Self { path: "apps/shop", bases: &[], good, stable: "v1", failed: "v2", ours: &[] }
    }
}

/// A manifest with an image near its beginning, replicas near its end, and lines between that keep edits apart.
pub fn rollout(image: &str, replicas: usize) -> String {
    let middle: String = (0..10).map(|line| format!("  # line {line}\n")).collect();
    format!("kind: Rollout\nmetadata:\n  name: web\nimage: {image}\n{middle}  replicas: {replicas}\n  # end\n")
}

/// Digest of the one Rollout below a tree: its image. Files named `*.yaml` that say BROKEN do not render, and two Rollouts
/// of the same name are refused, as a real renderer does.
pub fn digest(objects: &impl Objects, tree: &TreeId) -> Result<Option<String>, String> {
    let mut found = None;
    for file in objects.files(tree).map_err(|error| error.to_string())? {
        if matches!(file.kind, FileKind::Symlink | FileKind::Submodule) {
            return Err(format!("{} is a {:?}", file.path, file.kind));
        }
        let text = String::from_utf8(objects.blob(&file.blob, 1 << 20).map_err(|error| error.to_string())?)
            .map_err(|e| e.to_string())?;
        if file.path.ends_with(".yaml") && text.contains("BROKEN") {
            return Err(format!("{} does not parse", file.path));
        }
        if text.starts_with("kind: Rollout") {
            let image = text.lines().find_map(|line| line.strip_prefix("image: ")).unwrap_or_default().to_owned();
            if found.replace(image).is_some() {
                return Err(format!("{}: a second Rollout of this name", file.path));
            }
        }
    }
    Ok(found)
}

/// A bare repository as a forge keeps it, with one branch `main`, and a colleague's clone of it.
pub struct Forge {
    folder: TempDir,
    pub colleague: Repo,
}

impl Forge {
    /// With a commit of image v1 on `main`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "team/shop.git"]);
        let forge = Self { folder, colleague: Repo::new() };
        forge.colleague.git(&["remote", "add", "origin", forge.bare().to_str().unwrap()]);
        forge.colleague.image("v1");
        forge.colleague_pushes();
        forge
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn bare(&self) -> PathBuf {
        self.root().join("team/shop.git")
    }

    pub fn colleague_pushes(&self) {
        self.colleague.git(&["push", "-q", "--force", "origin", "main"]);
    }

    pub fn tip(&self) -> CommitId {
        git(&self.bare(), &["rev-parse", "refs/heads/main"]).parse().unwrap()
    }

    /// Subjects on `main`, newest first.
    pub fn subjects(&self) -> Vec<String> {
        git(&self.bare(), &["log", "--format=%s", "refs/heads/main"]).lines().map(str::to_owned).collect()
    }

    /// Installs a hook.
    pub fn hook(&self, name: &str, script: &str) {
        let path = self.bare().join("hooks").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        let output = Command::new("chmod").arg("755").arg(&path).output().unwrap();
        assert!(output.status.success());
    }
}
