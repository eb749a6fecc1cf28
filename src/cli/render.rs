//! Status to text: what a person sees of a Rollout or an Application. Pure; everything foreign goes through
//! [`text::clean`].

mod application;
mod explanation;
mod rollout;

use jiff::Timestamp;

use super::text;
use crate::api::Time;

pub use application::{application, application_table};
pub use explanation::explanation;
pub use rollout::{is_outdated, rollout, rollout_line, rollout_table};

/// Longest sentence from a status that is shown.
const SENTENCE: usize = 400;
/// Longest name.
const NAME: usize = 253;

/// Lines `label  value`, with the values below each other.
#[derive(Default)]
struct Facts(Vec<Vec<String>>);

impl Facts {
    fn add(&mut self, label: &str, value: impl Into<String>) {
        self.0.push(vec![label.to_owned(), value.into()]);
    }
}

impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&text::table(&self.0))
    }
}

fn sentence(foreign: &str) -> String {
    text::clean(foreign, SENTENCE)
}

/// A status field and its sentence, `Paused: waits for a person`, or the word alone.
fn with_reason(word: &str, why: Option<&str>) -> String {
    match why.map(sentence).filter(|why| !why.is_empty()) {
        Some(why) => format!("{word}: {why}"),
        None => word.to_owned(),
    }
}

fn since(then: &Time, now: Timestamp) -> String {
    text::age(now.as_second() - then.0.as_second())
}

/// Age of an object in tables.
fn created(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta, now: Timestamp) -> String {
    meta.creation_timestamp.as_ref().map_or_else(|| "-".to_owned(), |then| text::age(now.as_second() - then.0.as_second()))
}

/// Heads a table with the namespace only when several are shown.
fn row(namespace: Option<&str>, cells: &[&str]) -> Vec<String> {
    namespace.into_iter().chain(cells.iter().copied()).map(|cell| text::clean(cell, NAME)).collect()
}
