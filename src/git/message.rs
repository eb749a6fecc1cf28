//! The message of a revert commit. Pure.
//!
//! Everything in it that people or servers wrote is text of strangers: a forge must not take it for a command
//! (`closes #12`, `@team`, `[skip ci]`), a terminal must not run it, and it must not carry an address or a credential
//! into a repository that others read.

use std::fmt::Write;

use super::revision::{CommitId, printable};
use crate::api::names;
use crate::api::rollout::FailureCause;

/// Most characters of the subject line.
pub const SUBJECT_LIMIT: usize = 120;
/// Most bytes of what follows the subject. The limits below add up to less, so that trailers are never cut.
pub const BODY_LIMIT: usize = 4096;
/// Most bytes of evidence, and of a query.
const QUOTE_LIMIT: usize = 600;
/// How many reverted commits are named.
const NAMED_COMMITS: usize = 5;
/// How many other Rollouts are named.
const NAMED_ROLLOUTS: usize = 5;
/// Most characters of a name: a namespace has at most 63, an analysis run less than 70.
const NAME_LIMIT: usize = 140;

/// What the message tells.
#[derive(Clone, Debug)]
pub struct Story<'a> {
    /// `<namespace>/<application>`.
    pub application: &'a str,
    /// `<namespace>/<rollout>`.
    pub rollout: &'a str,
    /// What stopped the canary.
    pub cause: FailureCause,
    /// Step that it stopped at, 1 for the first.
    pub step: i32,
    /// Number of steps.
    pub steps: i32,
    /// Percent of traffic that the canary had, as text.
    pub weight: &'a str,
    /// Seconds from the start of the attempt to the verdict, when known.
    pub seconds: Option<u64>,
    /// Name of the metric that failed.
    pub metric: Option<&'a str>,
    /// What was measured, in words.
    pub evidence: &'a str,
    /// The metric's query, only when the Application asks for it (`writeBack.includeQuery`).
    pub query: Option<&'a str>,
    /// `<namespace>/<analysis run>`.
    pub analysis: Option<&'a str>,
    /// `<rollout uid>/<revision>/<attempt>`.
    pub attempt: &'a str,
    /// Subject of the failed commit, as it is.
    pub subject: &'a str,
    /// The reverted commits, newest first; the first is the failed commit.
    pub reverts: &'a [CommitId],
    /// The commit whose content is restored.
    pub restores: CommitId,
    /// Other Rollouts whose content goes back with the same commit.
    pub also: &'a [String],
}

/// The whole message: subject, evidence, what is reverted, trailers. Subject at most 120 characters, the rest at most 4 KiB.
#[must_use]
pub fn compose(story: &Story<'_>) -> String {
    let mut text = format!("{}\n\n{}\n", subject(story), account(story));
    for commit in story.reverts.iter().take(NAMED_COMMITS) {
        let _ = writeln!(text, "This reverts commit {commit}.");
    }
    if story.reverts.len() > NAMED_COMMITS {
        let _ = writeln!(text, "And {} more before these.", story.reverts.len() - NAMED_COMMITS);
    }
    if !story.also.is_empty() {
        let shown: Vec<String> = story.also.iter().take(NAMED_ROLLOUTS).map(|other| name(other)).collect();
        let more = if story.also.len() > NAMED_ROLLOUTS { " and others" } else { "" };
        let _ = writeln!(text, "\nThe same commits brought new content to {}{more}, which goes back too.", shown.join(", "));
    }
    text.push('\n');
    for (key, value) in trailers(story) {
        let _ = writeln!(text, "{key}: {value}");
    }
    text
}

/// A name of Kubernetes' or ours: ASCII by its rules, and nothing else here.
fn name(text: &str) -> String {
    let ascii: String = text.chars().filter(char::is_ascii_graphic).collect();
    printable(&ascii, NAME_LIMIT)
}

/// Defused text of at most [`QUOTE_LIMIT`] bytes.
fn quote(defused: &str) -> String {
    let mut text = printable(defused, QUOTE_LIMIT);
    while text.len() > QUOTE_LIMIT {
        text.pop();
    }
    text
}

fn subject(story: &Story<'_>) -> String {
    let why = match story.cause {
        FailureCause::AnalysisFailed => "canary failed its SLO",
        FailureCause::NotReady => "canary did not become ready",
        FailureCause::AbortedByUser => "canary aborted by a person",
    };
    let room = SUBJECT_LIMIT - format!("Revert \"\" ({why})").chars().count();
    let quoted = defuse(story.subject).replace('"', "'");
    let quoted = if quoted.is_empty() { story.reverts.first().map(CommitId::short).unwrap_or_default() } else { quoted };
    format!("Revert \"{}\" ({why})", printable(&quoted, room))
}

fn account(story: &Story<'_>) -> String {
    let place = match (story.step, story.steps) {
        (_, 0) => String::new(),
        (step, steps) if step > steps => " after the last step".to_owned(),
        (step, steps) => format!(" at step {step}/{steps}"),
    };
    let mut text = format!("Rollout {} stopped{place} ({} % of traffic)", name(story.rollout), story.weight);
    if let Some(seconds) = story.seconds {
        let _ = write!(text, " after {seconds} s");
    }
    let evidence = quote(&defuse(story.evidence));
    match story.metric.map(|metric| printable(&defuse(metric), 60)) {
        // Evidence in words usually begins with the metric's name already.
        Some(metric) if evidence.starts_with(&format!("{metric}: ")) => {
            let _ = write!(text, ":\n  {evidence}");
        }
        Some(metric) if !evidence.is_empty() => {
            let _ = write!(text, ":\n  {metric}: {evidence}");
        }
        Some(metric) => {
            let _ = write!(text, ":\n  {metric}");
        }
        None if !evidence.is_empty() => {
            let _ = write!(text, ":\n  {evidence}");
        }
        None => text.push('.'),
    }
    text.push('\n');
    if let Some(query) = story.query {
        let _ = writeln!(text, "  query: {}", quote(&defuse_query(query)));
    }
    text
}

fn trailers(story: &Story<'_>) -> Vec<(&'static str, String)> {
    let mut trailers = vec![(names::TRAILER_APPLICATION, name(story.application)), (names::TRAILER_ROLLOUT, name(story.rollout))];
    if let Some(failed) = story.reverts.first() {
        trailers.push((names::TRAILER_FAILED_COMMIT, failed.to_string()));
    }
    trailers.push((names::TRAILER_RESTORES, story.restores.to_string()));
    trailers.push((names::TRAILER_ATTEMPT, name(story.attempt)));
    if let Some(analysis) = story.analysis {
        trailers.push((names::TRAILER_ANALYSIS, name(analysis)));
    }
    trailers
}

/// Text of strangers for a commit message: one line, nothing that a forge takes for a reference, a mention, a closing
/// keyword or a CI switch, no addresses, nothing that looks like a credential.
#[must_use]
pub fn defuse(text: &str) -> String {
    let line = printable(text, 2000);
    let mut words: Vec<String> = Vec::new();
    let mut hide_next = false;
    let originals: Vec<&str> = line.split(' ').collect();
    for (index, word) in originals.iter().enumerate() {
        let hidden = std::mem::replace(&mut hide_next, announces_credential(word));
        words.push(if hidden {
            "(hidden)".to_owned()
        } else if closes_something(word, originals.get(index + 1).copied()) {
            broken_in_two(word)
        } else {
            defuse_word(word)
        });
    }
    break_references(&words.join(" "))
}

/// A query keeps its brackets and host-like names: whoever sets `includeQuery` wants it whole. Mentions, references and
/// CI switches are still broken.
fn defuse_query(query: &str) -> String {
    let line = printable(query, 2000);
    let lower = line.to_ascii_lowercase();
    let switch = ["skip", "[ci", "[no", "no_ci"].iter().any(|word| lower.contains(word));
    let line = if switch { line.replace('[', "(").replace(']', ")") } else { line };
    glue_breaker(&line)
}

/// `[skip ci]` and its many spellings live in brackets or stars; references and mentions in `#12`, `!12`, `@team`.
/// Brackets around numbers alone (`[0.95]`, `result[0]`) are measurements and stay.
fn break_references(text: &str) -> String {
    let mut broken = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let (before, tail) = rest.split_at(open);
        broken.push_str(&before.replace(']', ")"));
        let inner = tail[1..].find(']').map(|close| &tail[1..=close]).filter(|inner| is_numbers(inner));
        match inner {
            Some(inner) => {
                broken.push('[');
                broken.push_str(inner);
                broken.push(']');
                rest = &tail[inner.len() + 2..];
            }
            None => {
                broken.push('(');
                rest = &tail[1..];
            }
        }
    }
    broken.push_str(&rest.replace(']', ")"));
    glue_breaker(&broken.replace("***", "*"))
}

fn is_numbers(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ',' | ' ' | '-'))
}

/// Puts a blank behind `#`, `@`, `!`, `%`, `~`, `&` and `$` where a word follows: what a forge links to when glued together.
fn glue_breaker(text: &str) -> String {
    let mut broken = String::with_capacity(text.len() + 8);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        broken.push(c);
        let glued = rest.peek().is_some_and(|next| next.is_alphanumeric() || *next == '_' || *next == '-' || *next == '"');
        if glued && matches!(c, '#' | '@' | '!' | '~' | '&' | '$') {
            broken.push(' ');
        }
    }
    broken
}

/// Keywords on which GitHub and GitLab close an issue when a reference follows.
const CLOSING: &[&str] = &[
    "close",
    "closes",
    "closed",
    "closing",
    "fix",
    "fixes",
    "fixed",
    "fixing",
    "resolve",
    "resolves",
    "resolved",
    "resolving",
    "implement",
    "implements",
    "implemented",
    "implementing",
];

fn closes_something(word: &str, next: Option<&str>) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
    CLOSING.contains(&bare.as_str()) && next.is_some_and(looks_like_reference)
}

/// `#12`, `!12`, `group/project#12`, an address, `KEY-12`.
fn looks_like_reference(word: &str) -> bool {
    let key_and_number = word.rsplit_once('-').is_some_and(|(key, number)| {
        !key.is_empty()
            && key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '(' || c == '[')
            && number.chars().next().is_some_and(|c| c.is_ascii_digit())
    });
    word.contains('#') || word.contains('!') || word.contains("://") || key_and_number
}

fn broken_in_two(word: &str) -> String {
    let at = word.char_indices().filter(|(_, c)| c.is_alphanumeric()).nth(2).map_or(word.len(), |(at, _)| at);
    let (head, tail) = word.split_at(at);
    format!("{head}-{tail}")
}

fn defuse_word(word: &str) -> String {
    if is_credential(word) {
        return "(hidden)".to_owned();
    }
    let is_edge = |c: char| "()[]{}<>\"'`,;".contains(c);
    let start = word.find(|c| !is_edge(c)).unwrap_or(word.len());
    let end = word.rfind(|c| !is_edge(c)).map_or(start, |at| at + word[at..].chars().next().map_or(0, char::len_utf8));
    let core = &word[start..end];
    if is_address(core) { format!("{}(address){}", &word[..start], &word[end..]) } else { word.to_owned() }
}

/// The word before a credential: `Bearer x`, `password: x`.
fn announces_credential(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let name = lower.trim_end_matches([':', '=']);
    matches!(name, "bearer" | "basic") || (name.len() < lower.len() && names_credential(name))
}

fn names_credential(name: &str) -> bool {
    const NAMES: &[&str] =
        &["password", "passwd", "token", "secret", "apikey", "api-key", "api_key", "authorization", "private-key", "credential"];
    NAMES.iter().any(|known| name.ends_with(known))
}

/// Tokens by the prefixes that their issuers gave them for this purpose, and `password=x`.
fn is_credential(word: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "gldt-",
        "glrt-",
        "xoxb-",
        "xoxp-",
        "AKIA",
        "ASIA",
        "eyJ",
        "sk-",
        "npm_",
        "hvs.",
    ];
    let token = |part: &str| PREFIXES.iter().any(|prefix| part.starts_with(prefix) && part.len() >= prefix.len() + 8);
    let assigned = word.split_once(['=', ':']).is_some_and(|(name, value)| {
        !value.is_empty() && names_credential(name.trim_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase().as_str())
    });
    assigned || word.split(|c: char| "\"'`()[]{}<>,;=:@/".contains(c)).any(token)
}

/// An address with a scheme, an IPv4 address, or a dotted name that is no version, file or number.
fn is_address(word: &str) -> bool {
    if word.contains("://") {
        return true;
    }
    let host = word.rsplit_once('@').map_or(word, |(_, host)| host);
    let host = host.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port)));
    let labels: Vec<&str> = host.split('.').collect();
    let numeric = |label: &&str| !label.is_empty() && label.chars().all(|c| c.is_ascii_digit());
    if labels.len() == 4 && labels.iter().all(numeric) {
        return true;
    }
    if port.is_some_and(|port| numeric(&port)) && host.chars().any(|c| c.is_ascii_alphabetic()) && !host.contains('=') {
        return true;
    }
    let plain = |label: &&str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
    let last = labels.last().copied().unwrap_or_default();
    let ends_like_a_domain = last.chars().count() >= 2 && last.chars().all(char::is_alphabetic);
    labels.len() >= 2 && labels.iter().all(plain) && ends_like_a_domain && !(labels.len() == 2 && is_file_ending(last))
}

fn is_file_ending(ending: &str) -> bool {
    const ENDINGS: &[&str] = &[
        "yaml", "yml", "json", "md", "rs", "go", "ts", "js", "py", "java", "txt", "tf", "toml", "lock", "sh", "sql", "proto",
        "xml", "html", "css", "kt", "rb", "php", "tpl", "conf", "ini", "env",
    ];
    ENDINGS.contains(&ending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::revision::is_unprintable;
    use rstest::rstest;

    fn story<'a>() -> Story<'a> {
        Story {
            application: "shop/shop",
            rollout: "shop/web",
            cause: FailureCause::AnalysisFailed,
            step: 2,
            steps: 6,
            weight: "10",
            seconds: Some(48),
            metric: Some("availability"),
            evidence: "31 errors in 412 requests on the canary (7.5 %), stable 0.1 %; evidence 2.1e5 against a threshold of 100",
            query: None,
            analysis: Some("shop/web-7-1-slo"),
            attempt: "0b7e/7/1",
            subject: "shop: payment client 2.4",
            reverts: const { &[CommitId::from_bytes([0x3f; 20])] },
            restores: CommitId::from_bytes([0x91; 20]),
            also: &[],
        }
    }

    /// Protects: the form of the message, which people read and tools search.
    #[test]
    fn golden() {
        assert_eq!(
            compose(&story()),
            "Revert \"shop: payment client 2.4\" (canary failed its SLO)\n\
             \n\
             Rollout shop/web stopped at step 2/6 (10 % of traffic) after 48 s:\n\
             \x20 availability: 31 errors in 412 requests on the canary (7.5 %), stable 0.1 %; evidence 2.1e5 against a threshold of 100\n\
             \n\
             This reverts commit 3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f.\n\
             \n\
             Tidegate-Application: shop/shop\n\
             Tidegate-Rollout: shop/web\n\
             Tidegate-Failed-Commit: 3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f\n\
             Tidegate-Restores: 9191919191919191919191919191919191919191\n\
             Tidegate-Attempt: 0b7e/7/1\n\
             Tidegate-Analysis: shop/web-7-1-slo\n"
        );
    }

    /// Protects: a version whose pods never got ready is not said to have failed an SLO.
    #[test]
    fn golden_of_pods_that_did_not_come() {
        let evidence =
            "0 of 1 canary pods are ready, and no other became so for 600 s: container web crashes: Error, exit code 1";
        let story = Story {
            cause: FailureCause::NotReady,
            weight: "0",
            seconds: None,
            metric: None,
            evidence,
            analysis: None,
            ..story()
        };
        let text = compose(&story);
        let head = text.split("\n\nThis reverts").next().unwrap();
        assert_eq!(
            head,
            format!(
                "Revert \"shop: payment client 2.4\" (canary did not become ready)\n\n\
                 Rollout shop/web stopped at step 2/6 (0 % of traffic):\n  {evidence}"
            )
        );
    }

    /// Protects: what is optional leaves no hole, and a person's abort is not called a failed SLO.
    #[test]
    fn golden_of_an_abort() {
        let reverts = [CommitId::from_bytes([1; 20]), CommitId::from_bytes([2; 20])];
        let also = ["shop/api".to_owned()];
        let abort = Story {
            cause: FailureCause::AbortedByUser,
            seconds: None,
            metric: None,
            evidence: "",
            query: Some("rate(x{p=\"a.b.svc:80\"}[5m])"),
            analysis: None,
            reverts: &reverts,
            also: &also,
            subject: "\u{7}",
            ..story()
        };
        assert_eq!(
            compose(&abort),
            "Revert \"010101010101\" (canary aborted by a person)\n\
             \n\
             Rollout shop/web stopped at step 2/6 (10 % of traffic).\n\
             \x20 query: rate(x{p=\"a.b.svc:80\"}[5m])\n\
             \n\
             This reverts commit 0101010101010101010101010101010101010101.\n\
             This reverts commit 0202020202020202020202020202020202020202.\n\
             \n\
             The same commits brought new content to shop/api, which goes back too.\n\
             \n\
             Tidegate-Application: shop/shop\n\
             Tidegate-Rollout: shop/web\n\
             Tidegate-Failed-Commit: 0101010101010101010101010101010101010101\n\
             Tidegate-Restores: 9191919191919191919191919191919191919191\n\
             Tidegate-Attempt: 0b7e/7/1\n"
        );
    }

    /// Protects: the place where it stopped in words that are true, also without steps and after the last one.
    #[test]
    fn places() {
        let first = |step, steps| account(&Story { step, steps, ..story() }).lines().next().unwrap().to_owned();
        assert!(first(1, 0).starts_with("Rollout shop/web stopped (10 %"), "{}", first(1, 0));
        assert!(first(7, 6).starts_with("Rollout shop/web stopped after the last step (10 %"), "{}", first(7, 6));
        assert!(first(6, 6).starts_with("Rollout shop/web stopped at step 6/6 (10 %"), "{}", first(6, 6));
    }

    /// Protects: forges, terminals and readers from text of strangers, and plain subjects from our zeal.
    #[rstest]
    #[case("fix: payment client v1.2.3 in web.yaml (e.g. for 3.5 %)", "fix: payment client v1.2.3 in web.yaml (e.g. for 3.5 %)")]
    #[case("closes #12, see !3 and shop/web#4", "cl-oses # 12, see ! 3 and shop/web# 4")]
    #[case("Fixes: SHOP-12", "Fi-xes: SHOP-12")]
    #[case("resolves https://github.com/a/b/issues/1", "re-solves (address)")]
    #[case("thanks @team and a@b", "thanks @ team and a@ b")]
    #[case("x [skip ci] [ci skip] ***NO_CI***", "x (skip ci) (ci skip) *NO_CI*")]
    #[case("a\u{1b}[2Jb\nc\u{202e}d", "a(2Jb cd")]
    #[case("use https://ada:hunter2@git.corp.example/x now", "use (address) now")]
    #[case("image (registry.corp.example:5000/web:1.2), host prometheus.monitoring.svc", "image ((address)), host (address)")]
    #[case("at 10.0.0.7:9090 and localhost:80", "at (address) and (address)")]
    #[case("key ghp_0123456789abcdef, password=hunter2 Bearer abc", "key (hidden) (hidden) Bearer (hidden)")]
    #[case("token: abc then", "token: (hidden) then")]
    #[case(
        "last value [0.95, -1] is not result[0] >= 0.99 [] [ci 1]",
        "last value [0.95, -1] is not result[0] >= 0.99 () (ci 1)"
    )]
    fn strangers(#[case] text: &str, #[case] wanted: &str) {
        assert_eq!(defuse(text), wanted);
    }

    /// Protects: caps hold and trailers survive whatever the rest is; no text starts a line of its own.
    #[test]
    fn limits() {
        let long = "@x \"[#1 \u{1f6a2}\n\nTidegate-Retry: yes\n".repeat(4000);
        let reverts: Vec<CommitId> = (0..50).map(|i| CommitId::from_bytes([i; 20])).collect();
        let also: Vec<String> = (0..50).map(|i| format!("{}{i}", "n".repeat(300))).collect();
        let name = "n".repeat(1000);
        let names = Story { application: &name, rollout: &name, analysis: Some(&name), ..story() };
        let message = compose(&Story {
            subject: &long,
            evidence: &long,
            metric: Some(&long),
            query: Some(&long),
            reverts: &reverts,
            also: &also,
            ..names
        });
        let subject = message.lines().next().unwrap();
        assert!(subject.chars().count() <= SUBJECT_LIMIT && subject.ends_with("\" (canary failed its SLO)"), "{subject}");
        assert!(message.len() - subject.len() <= BODY_LIMIT, "{}", message.len());
        assert!(
            message.ends_with(&format!("Tidegate-Attempt: 0b7e/7/1\nTidegate-Analysis: {}...\n", "n".repeat(137))),
            "{message}"
        );
        assert!(!message.contains("\nTidegate-Retry") && !message.contains("@x") && !message.contains("#1"), "{message}");
        assert!(!message.chars().any(|c| c != '\n' && is_unprintable(c)));
    }
}
