//! The rules of the house, read off the source: who may do I/O, and which way imports go.
//! A rule that is only written down is broken within a month.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the source fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms in the order of the flow; a room may use rooms of an earlier rank, and its own.
const RANKS: &[(&str, u32)] = &[
    ("api", 0),
    ("git", 1),
    ("manifest", 1),
    ("sync", 1),
    ("traffic", 1),
    ("analysis", 1),
    ("rollout", 2),
    ("simulate", 3),
    ("controller", 4),
    ("cli", 4),
    ("bin", 5),
];

/// Words that mean I/O or a clock.
const IMPURE: &[&str] = &[
    "kube::Client",
    "kube::client",
    "kube::Api",
    "kube::api::Api",
    "kube::{Api",
    "kube::{Client",
    "reqwest",
    "git2",
    "tokio",
    "std::fs",
    "std::env",
    "std::process",
    "std::net",
    "Timestamp::now",
    "Instant::now",
    "SystemTime",
    "Zoned::now",
];

const MAX_LINES: usize = 600;

struct Source {
    path: PathBuf,
    /// The file without comments, string literals and test modules.
    code: String,
    lines: usize,
}

impl Source {
    fn room(&self) -> String {
        let relative = self.path.strip_prefix("src").unwrap();
        relative.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
    }

    fn may_do_io(&self) -> bool {
        let path = self.path.to_string_lossy();
        let rooms = ["src/controller/", "src/cli/", "src/bin/", "src/analysis/provider/"];
        rooms.iter().any(|room| path.starts_with(room)) || path.ends_with("/client.rs") || path.contains("/client/")
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    walk(Path::new("src"), &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            Source { lines: text.lines().count(), code: code_of(&text), path }
        })
        .collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Drops line comments and everything from the file's test module on.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Is this file a test module of its own (`mod tests;` kept in `tests.rs` or `tests/`)?
fn is_test_file(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests") || path.file_name().is_some_and(|n| n == "tests.rs")
}

fn rank(room: &str) -> Option<u32> {
    RANKS.iter().find(|(name, _)| *name == room).map(|(_, rank)| *rank)
}

/// Protects: purity of the decision rooms. What cannot read a clock or a socket can be tested by tables.
#[test]
fn only_io_rooms_do_io() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|s| !s.may_do_io() && !is_test_file(&s.path)) {
        for word in IMPURE {
            for (number, line) in source.code.lines().enumerate() {
                if line.contains(word) {
                    broken.push(format!("{}:{}: `{word}` in a pure file", source.path.display(), number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "I/O outside client.rs, provider/, controller/, cli/ and bin/:\n{}", broken.join("\n"));
}

/// Protects: the one-way flow. Also: no domain reaches into another domain's client.
#[test]
fn imports_go_one_way() {
    let mut broken = Vec::new();
    for source in sources() {
        if source.path == Path::new("src/lib.rs") {
            continue;
        }
        let room = source.room();
        let Some(own) = rank(&room) else {
            broken.push(format!("{}: the room `{room}` has no rank; add it to RANKS", source.path.display()));
            continue;
        };
        for (other, other_rank) in RANKS {
            if *other == room {
                continue;
            }
            let named = [format!("crate::{other}::"), format!("crate::{other};"), format!("tidegate::{other}::")];
            if named.iter().any(|n| source.code.contains(n.as_str())) {
                let sibling_of_domain = own == *other_rank && own == 1;
                if *other_rank > own || (*other_rank == own && !sibling_of_domain) {
                    broken.push(format!("{}: `{room}` (rank {own}) uses `{other}` (rank {other_rank})", source.path.display()));
                }
            }
            if own < 3 && source.code.contains(&format!("crate::{other}::client")) {
                broken.push(format!("{}: `{room}` uses the client of `{other}`", source.path.display()));
            }
        }
        if source.code.contains("crate::{") {
            broken.push(format!(
                "{}: write `use crate::room::...`, one room a line, so that this test can read it",
                source.path.display()
            ));
        }
    }
    assert!(broken.is_empty(), "imports against the flow:\n{}", broken.join("\n"));
}

/// Protects: the invariant checker judges the decision, so it must not be built from it.
#[test]
fn the_checker_shares_nothing_with_the_decision() {
    for source in sources().iter().filter(|s| s.path.starts_with("src/rollout")) {
        let path = source.path.to_string_lossy();
        if path.ends_with("rollout/invariant.rs") {
            assert!(!source.code.contains("decide"), "rollout/invariant.rs names `decide`");
        } else if path.contains("rollout/decide") {
            assert!(!source.code.contains("invariant"), "{path} names `invariant`");
        }
    }
}

/// Protects: readability. A file does one thing; when it grows, there is a seam to find.
#[test]
fn files_stay_short() {
    let mut long: BTreeMap<String, usize> = BTreeMap::new();
    let mut tests = Vec::new();
    walk(Path::new("tests"), &mut tests);
    for source in sources() {
        long.insert(source.path.display().to_string(), source.lines);
    }
    for path in tests {
        long.insert(path.display().to_string(), fs::read_to_string(&path).unwrap().lines().count());
    }
    long.retain(|_, lines| *lines > MAX_LINES);
    assert!(long.is_empty(), "files over {MAX_LINES} lines: {long:?}");
}

/// Protects: binaries that only wire.
#[test]
fn binaries_are_thin() {
    for source in sources().iter().filter(|s| s.path.starts_with("src/bin")) {
        assert!(source.lines <= 40, "{} has {} lines; move the work into the library", source.path.display(), source.lines);
    }
}
