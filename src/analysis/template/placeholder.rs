//! Placeholders in PromQL: only inside string literals, and escaped so that a value stays one literal.
//!
//! Quotes are read as Prometheus reads them (promql/parser/lex.go): `"` and `'` with backslash escapes, backquotes
//! without, `#` comments to the end of the line.

use std::collections::BTreeMap;

use super::super::text::clean;

/// Signs with a meaning in RE2 (regexp.QuoteMeta of Go's library quotes the same).
const REGEX_SIGNS: &[char] = &['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'];

/// Why a placeholder cannot be filled in. Positions are characters of the query, from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// Outside a string literal, where a value could change the query's meaning.
    #[error(
        "placeholder at position {at} is not inside a string literal; allowed is for example {{service=\"{{{{args.service}}}}\"}}"
    )]
    Outside {
        /// Where it begins.
        at: usize,
    },
    /// In the brackets of a range.
    #[error("placeholder at position {at} stands in a duration; durations are written out, for example [5m]")]
    Duration {
        /// Where it begins.
        at: usize,
    },
    /// In a backquoted literal, in which nothing can be escaped.
    #[error("placeholder at position {at} stands in a backquoted literal; write the literal in double quotes")]
    Backquoted {
        /// Where it begins.
        at: usize,
    },
    /// Without its `}}`.
    #[error("placeholder at position {at} has no }}}}")]
    Open {
        /// Where it begins.
        at: usize,
    },
    /// `{{arm.*}}`.
    #[error(
        "placeholder '{name}' at position {at} is for slo metrics, which measure canary and stable; \
         a condition measures one query: write the service's name, or make it an argument"
    )]
    Arm {
        /// What it is called.
        name: String,
        /// Where it begins.
        at: usize,
    },
    /// One that does not exist.
    #[error("placeholder '{name}' at position {at} is unknown; known are: {known}")]
    Unknown {
        /// What it is called.
        name: String,
        /// Where it begins.
        at: usize,
        /// Those that exist in this template.
        known: String,
    },
    /// A quote that is never closed.
    #[error("the string literal that begins at position {at} is not closed")]
    Unclosed {
        /// Where it begins.
        at: usize,
    },
}

/// `query` with every placeholder replaced by its value from `values` (keys such as `args.service`).
pub(super) fn fill(query: &str, values: &BTreeMap<String, String>) -> Result<String, PlaceholderError> {
    let mut reader = Reader { rest: query, at: 1, out: String::with_capacity(query.len()), values };
    // Is the next literal the value of a =~ or !~ matcher?
    let mut regex = false;
    let mut brackets = 0_usize;
    while let Some(next) = reader.rest.chars().next() {
        if reader.rest.starts_with("{{") {
            let at = reader.at;
            return Err(if brackets > 0 { PlaceholderError::Duration { at } } else { PlaceholderError::Outside { at } });
        }
        match next {
            '"' | '\'' | '`' => {
                reader.literal(next, regex)?;
                regex = false;
                continue;
            }
            '#' => {
                reader.comment();
                continue;
            }
            '[' => brackets += 1,
            ']' => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        if reader.rest.starts_with("=~") || reader.rest.starts_with("!~") {
            reader.copy();
            regex = true;
        } else if !next.is_whitespace() {
            regex = false;
        }
        reader.copy();
    }
    Ok(reader.out)
}

struct Reader<'a> {
    rest: &'a str,
    at: usize,
    out: String,
    values: &'a BTreeMap<String, String>,
}

impl Reader<'_> {
    /// Copies one character.
    fn copy(&mut self) {
        let mut chars = self.rest.chars();
        if let Some(next) = chars.next() {
            self.out.push(next);
            self.at += 1;
            self.rest = chars.as_str();
        }
    }

    /// Leaves a comment out: the server has no use for it, and a quote in it must not count.
    fn comment(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        self.at += self.rest[..end].chars().count();
        self.rest = &self.rest[end..];
    }

    /// Copies a literal, filling in its placeholders.
    fn literal(&mut self, quote: char, regex: bool) -> Result<(), PlaceholderError> {
        let begin = self.at;
        self.copy();
        loop {
            match self.rest.chars().next() {
                None => return Err(PlaceholderError::Unclosed { at: begin }),
                Some('\\') if quote != '`' => {
                    self.copy();
                    self.copy();
                }
                Some('{') if self.rest.starts_with("{{") => {
                    if quote == '`' {
                        return Err(PlaceholderError::Backquoted { at: self.at });
                    }
                    self.placeholder(quote, regex)?;
                }
                Some(next) => {
                    self.copy();
                    if next == quote {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn placeholder(&mut self, quote: char, regex: bool) -> Result<(), PlaceholderError> {
        let at = self.at;
        let inner = self.rest.get(2..).unwrap_or_default();
        let Some(end) = inner.find("}}") else { return Err(PlaceholderError::Open { at }) };
        let name = inner[..end].trim();
        let Some(value) = self.values.get(name) else { return Err(self.unknown(name, at)) };
        self.out.push_str(&escape(value, quote, regex));
        self.at += 4 + inner[..end].chars().count();
        self.rest = &inner[end + 2..];
        Ok(())
    }

    fn unknown(&self, name: &str, at: usize) -> PlaceholderError {
        let name = clean(name, 40);
        let has_arms = self.values.keys().any(|known| known.starts_with("arm."));
        if name.starts_with("arm.") && !has_arms {
            return PlaceholderError::Arm { name, at };
        }
        let known: Vec<&str> = self.values.keys().map(String::as_str).collect();
        PlaceholderError::Unknown { name, at, known: clean(&known.join(", "), 400) }
    }
}

/// `value` so that the literal, once read by PromQL (and by RE2 in a regex matcher), means exactly `value`.
fn escape(value: &str, quote: char, regex: bool) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if regex && REGEX_SIGNS.contains(&c) {
            // A backslash for the regex, which is two in the literal.
            out.push_str("\\\\");
        }
        if c == '\\' || c == quote {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
