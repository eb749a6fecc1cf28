//! Names of Git things, checked once, and the narrow view of an object database that the pure code needs.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

/// Most characters of a commit's subject that anything shows.
pub const SUBJECT_LENGTH: usize = 120;
/// Most characters of an author's name that anything shows.
const AUTHOR_LENGTH: usize = 100;

/// Why a text is not the name of a Git thing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Not the id of an object.
    #[error("'{0}' is not an object id; 40 hexadecimal digits in lower case are allowed")]
    Id(String),
    /// Not a path inside a repository.
    #[error(
        "'{0}' is not a path inside the repository; write plain names such as apps/shop, without '..', '.git', leading or trailing '/'; '.' is the root"
    )]
    Path(String),
    /// Not the name of a branch.
    #[error(
        "'{0}' is not a branch name; letters, digits and . _ / + - are allowed, without '..', '//', '/.' or a final '/', '.' or '.lock'"
    )]
    Branch(String),
}

macro_rules! object_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 20]);

        impl $name {
            /// From the 20 bytes of the SHA-1.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 20]) -> Self {
                Self(bytes)
            }

            /// The 20 bytes of the SHA-1.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 20] {
                &self.0
            }

            /// The first 12 hexadecimal digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string().chars().take(12).collect()
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                parse_id(text).map(Self).ok_or_else(|| NameError::Id(printable(text, 60)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

object_id! {
    /// Id of a commit: 40 hexadecimal digits. An abbreviation is refused, because it may name another commit tomorrow.
    CommitId
}
object_id! {
    /// Id of a tree: a directory with everything in it.
    TreeId
}
object_id! {
    /// Id of a blob: the content of a file.
    BlobId
}

impl TreeId {
    /// The tree without entries, which every Git knows by this id.
    pub const EMPTY: Self = Self([
        0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60, 0xe5, 0x4b, 0xf8, 0xd6, 0x92, 0x88, 0xfb, 0xee, 0x49, 0x04,
    ]);
}

fn parse_id(text: &str) -> Option<[u8; 20]> {
    let digits = text.as_bytes();
    if digits.len() != 40 {
        return None;
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 20];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// A directory inside a repository, kept by components, so that no spelling leads out of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(Vec<String>);

impl RepoPath {
    /// The names from the root down; none for the root itself.
    #[must_use]
    pub fn components(&self) -> &[String] {
        &self.0
    }

    /// The path from the root of the repository of `file`, which is relative to this directory.
    #[must_use]
    pub fn file(&self, file: &str) -> String {
        if self.0.is_empty() { file.to_owned() } else { format!("{self}/{file}") }
    }
}

impl FromStr for RepoPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self(Vec::new()));
        }
        let plain = |name: &str| {
            let special = ["", ".", ".."].contains(&name) || name.eq_ignore_ascii_case(".git");
            !special && !name.contains('\\') && !name.chars().any(is_unprintable)
        };
        if text.len() > 512 || !text.split('/').all(plain) {
            return Err(NameError::Path(printable(text, 100)));
        }
        Ok(Self(text.split('/').map(str::to_owned).collect()))
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str(".") } else { f.write_str(&self.0.join("/")) }
    }
}

/// Name of a branch, without `refs/heads/`. Rules of `git check-ref-format`, and no characters that mean something to a shell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchName(String);

impl BranchName {
    /// The whole reference: `refs/heads/<name>`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

impl FromStr for BranchName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let part = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.ends_with(".lock");
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._/+-".contains(c);
        let good = text.len() <= 255
            && !text.starts_with('-')
            && !text.ends_with('.')
            && !text.contains("..")
            && text.chars().all(allowed)
            && text.split('/').all(part);
        if good { Ok(Self(text.to_owned())) } else { Err(NameError::Branch(printable(text, 100))) }
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A commit, as read from the object database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// Parents; the first is the branch it was made on.
    pub parents: Vec<CommitId>,
    /// The root directory.
    pub tree: TreeId,
    /// Author's name, printable, at most 100 characters.
    pub author: String,
    /// When it was committed, by the committer's clock.
    pub committed_at: Timestamp,
    /// First line of the message, printable, at most 120 characters.
    pub subject: String,
    /// The whole message as it is: text from elsewhere.
    pub message: String,
}

impl Commit {
    /// Puts a commit together, cutting what people will see down to printable text.
    #[must_use]
    pub fn new(id: CommitId, parents: Vec<CommitId>, tree: TreeId, author: &str, committed_at: Timestamp, message: &str) -> Self {
        let subject = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Self {
            id,
            parents,
            tree,
            author: printable(author, AUTHOR_LENGTH),
            committed_at,
            subject: printable(subject.trim(), SUBJECT_LENGTH),
            message: message.to_owned(),
        }
    }

    /// The trailers: lines `Key: value` of the message's last paragraph, in order. A message of one paragraph has none.
    /// Lines of another form in that paragraph are passed over. Anybody can write trailers: they prove nothing.
    #[must_use]
    pub fn trailers(&self) -> Vec<(&str, &str)> {
        let lines: Vec<&str> = self.message.lines().map(str::trim_end).collect();
        let Some(end) = lines.iter().rposition(|line| !line.is_empty()) else { return Vec::new() };
        let Some(blank) = lines[..end].iter().rposition(|line| line.is_empty()) else { return Vec::new() };
        if lines[..blank].iter().all(|line| line.is_empty()) {
            return Vec::new();
        }
        lines[blank + 1..=end].iter().filter_map(|line| trailer_of(line)).collect()
    }

    /// Value of the first trailer of this name; case does not matter, as in Git.
    #[must_use]
    pub fn trailer(&self, key: &str) -> Option<&str> {
        self.trailers().into_iter().find(|(found, _)| found.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }
}

fn trailer_of(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let key_is_plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    (key_is_plain && value.starts_with([' ', '\t'])).then_some((key, value.trim()))
}

/// `text` for people and logs: no control characters, no characters that turn or hide text, white space as single
/// blanks, at most `limit` characters.
#[must_use]
pub fn printable(text: &str, limit: usize) -> String {
    let spaced: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !is_unprintable(*c)).collect();
    let words: Vec<&str> = spaced.split(' ').filter(|word| !word.is_empty()).collect();
    let text = words.join(" ");
    if text.chars().count() <= limit {
        return text;
    }
    let mut cut: String = text.chars().take(limit.saturating_sub(3)).collect();
    cut.push_str("...");
    cut
}

/// Control characters, and the invisible ones of Unicode that reorder, join or hide text (UTS #39, "Trojan Source").
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// What an entry of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// A file.
    File,
    /// A file that may be run.
    Executable,
    /// A symbolic link; refused by sync, because it could lead out of the path.
    Symlink,
    /// A commit of another repository; refused by sync, because it is not there.
    Submodule,
}

/// A file in a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Path from the tree it was listed from, with `/`.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Its content; of a submodule, the id of a commit elsewhere.
    pub blob: BlobId,
}

/// Result of a three-way merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// Both sides fit together in this tree.
    Tree(TreeId),
    /// They do not, in these files (paths from the merged trees, sorted, each once).
    Conflicts(Vec<String>),
}

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ObjectsError {
    /// The object is not there: history ends here (a shallow clone), or it never was in this repository.
    #[error("object {0} is not in the repository")]
    Missing(String),
    /// A name in a tree that no manifest can have.
    #[error("file name '{0}' in the repository is not plain UTF-8 text")]
    Name(String),
    /// More than the limit.
    #[error("{what} is larger than the limit of {limit}")]
    TooLarge {
        /// Of what.
        what: String,
        /// The limit: files, levels of directories or bytes.
        limit: u64,
    },
    /// Not what it was asked for: a directory was expected at this path.
    #[error("'{0}' is not a directory in this commit")]
    NotADirectory(String),
    /// The object database is broken or cannot be written.
    #[error("failed to use the object database: {0}")]
    Broken(String),
}

/// The view of an object database that deciding needs. Writing adds unreachable objects and moves no reference.
pub trait Objects {
    /// The commit with this id.
    ///
    /// # Errors
    /// [`ObjectsError::Missing`] at a shallow boundary.
    fn commit(&self, id: &CommitId) -> Result<Commit, ObjectsError>;

    /// The directory at `path` below `root`; none when there is nothing there.
    ///
    /// # Errors
    /// [`ObjectsError::NotADirectory`] when a file, symlink or submodule stands at `path` or on the way.
    fn subtree(&self, root: &TreeId, path: &RepoPath) -> Result<Option<TreeId>, ObjectsError>;

    /// Three-way merge of directories: what `theirs` changed since `base`, applied to `ours`.
    ///
    /// # Errors
    /// Any [`ObjectsError`]; conflicts are no error.
    fn merge(&self, base: &TreeId, ours: &TreeId, theirs: &TreeId) -> Result<Merged, ObjectsError>;

    /// `root` with the existing directory at `path` replaced by `subtree`; every other entry stays byte for byte.
    ///
    /// # Errors
    /// [`ObjectsError::NotADirectory`] when there is no directory at `path`.
    fn replace(&self, root: &TreeId, path: &RepoPath, subtree: &TreeId) -> Result<TreeId, ObjectsError>;

    /// Every file below a tree, sorted by path, with its kind, so that symlinks and submodules are seen.
    ///
    /// # Errors
    /// [`ObjectsError::TooLarge`] beyond the limits on files and depth, [`ObjectsError::Name`] for names that are not text.
    fn files(&self, tree: &TreeId) -> Result<Vec<File>, ObjectsError>;

    /// Content of a file, at most `limit` bytes; a larger one is refused before it is read.
    ///
    /// # Errors
    /// [`ObjectsError::TooLarge`] beyond `limit`.
    fn blob(&self, id: &BlobId, limit: u64) -> Result<Vec<u8>, ObjectsError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Protects: an id is whole, or it is refused; and it reads back as it was written.
    #[test]
    fn ids() {
        let text = "3f9c2d1e00aa11bb22cc33dd44ee55ff66778899";
        assert_eq!(text.parse::<CommitId>().unwrap().to_string(), text);
        assert_eq!(text.parse::<CommitId>().unwrap().short(), "3f9c2d1e00aa");
        assert_eq!(TreeId::EMPTY.to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        for bad in [
            "",
            "3f9c2d1",
            &text[..39],
            &format!("{text}0"),
            &text.to_uppercase(),
            "--upload-pack=touch-this-40-characters-x",
            "HEAD",
        ] {
            assert_eq!(bad.parse::<CommitId>(), Err(NameError::Id(printable(bad, 60))), "{bad}");
        }
    }

    /// Protects: no spelling of a path leads out of the repository or into its administration.
    #[rstest]
    #[case("..")]
    #[case("a/../b")]
    #[case("/a")]
    #[case("a/")]
    #[case("a//b")]
    #[case("./a")]
    #[case("a/.")]
    #[case("")]
    #[case(".git")]
    #[case("a/.GIT/b")]
    #[case("a\\b")]
    #[case("a\nb")]
    #[case("a\u{202e}b")]
    fn paths_refused(#[case] text: &str) {
        assert_eq!(text.parse::<RepoPath>(), Err(NameError::Path(printable(text, 100))));
    }

    /// Protects: what is a path is understood by components.
    #[test]
    fn paths() {
        let path: RepoPath = "apps/shop".parse().unwrap();
        assert_eq!(
            (path.components(), path.to_string(), path.file("a/web.yaml")),
            (&["apps".to_owned(), "shop".to_owned()][..], "apps/shop".to_owned(), "apps/shop/a/web.yaml".to_owned())
        );
        let root: RepoPath = ".".parse().unwrap();
        assert_eq!(
            (root.components().len(), root.to_string(), root.file("web.yaml")),
            (0, ".".to_owned(), "web.yaml".to_owned())
        );
    }

    /// Protects: a branch name is neither an option nor another kind of reference.
    #[test]
    fn branches() {
        for good in ["main", "release/1.2", "feature_x+y", "v-1"] {
            assert_eq!(good.parse::<BranchName>().unwrap().reference(), format!("refs/heads/{good}"));
        }
        for bad in [
            "", "-d", "a..b", "a//b", "/a", "a/", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "a b", "a:b", "a^b", "a~1", "@{u}",
            "a\nb",
        ] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad}");
        }
    }

    fn commit(message: &str) -> Commit {
        Commit::new(CommitId::from_bytes([1; 20]), Vec::new(), TreeId::EMPTY, "A\u{1b}[31m\nda", Timestamp::UNIX_EPOCH, message)
    }

    /// Protects: trailers are the last paragraph's and no other's; a subject is never one.
    #[rstest]
    #[case("Tidegate-Retry: yes", &[])]
    #[case("\n\nTidegate-Retry: yes", &[])]
    #[case("fix\n\nTidegate-Retry: yes\n", &[("Tidegate-Retry", "yes")])]
    #[case("fix\r\n\r\nTidegate-Retry: yes\r\n", &[("Tidegate-Retry", "yes")])]
    #[case("fix\n\nTidegate-Retry: yes\n\nSigned-off-by: A <a@b>\n\n\n", &[("Signed-off-by", "A <a@b>")])]
    #[case("fix\n\nbody: no\n\nA: 1\nsee http://x\nb c: d\nA:2\nB: 3: 4", &[("A", "1"), ("B", "3: 4")])]
    fn trailers(#[case] message: &str, #[case] wanted: &[(&str, &str)]) {
        assert_eq!(commit(message).trailers(), wanted);
        assert_eq!(
            commit(message).trailer("tidegate-RETRY"),
            wanted.iter().find(|(k, _)| *k == "Tidegate-Retry").map(|(_, v)| *v)
        );
    }

    /// Protects: terminals and messages from text of strangers.
    #[test]
    fn people_see_printable_text() {
        let commit = commit(&format!("\n a\u{7}b\u{202e}c\td {}\nmore", "x".repeat(200)));
        assert_eq!(commit.author, "A[31m da");
        assert_eq!(commit.subject, format!("abc d {}...", "x".repeat(111)));
        assert_eq!(commit.subject.chars().count(), SUBJECT_LENGTH);
    }
}
