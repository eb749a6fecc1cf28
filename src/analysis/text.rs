//! Untrusted text made fit for errors, status and commit messages.

/// `text` without control characters (each becomes a space), cut at `limit` characters with `...`.
pub(crate) fn clean(text: &str, limit: usize) -> String {
    let mut out: String = text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        out.push_str("...");
    }
    out
}

/// A number as people write it: `0.9512`, `250`, `1e21`, `+Inf`.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value.is_infinite() {
        (if value > 0.0 { "+Inf" } else { "-Inf" }).to_owned()
    } else if value == 0.0 || value.is_nan() || (1e-5..1e15).contains(&size) {
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}

/// `1 measurement`, `2 measurements`.
pub(crate) fn counted(count: i32, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: terminals and commit messages from control characters and endless text.
    #[test]
    fn cleaned() {
        assert_eq!(clean("a\x1b[31mb\nc", 40), "a [31mb c");
        assert_eq!(clean("abcdef", 3), "abc...");
        assert_eq!(clean("abc", 3), "abc");
    }

    /// Protects: short values in status; the plain form of `f64::MAX` has 309 digits.
    #[test]
    fn numbers() {
        let cases = [
            (0.0, "0"),
            (0.9512, "0.9512"),
            (250.0, "250"),
            (-3.5, "-3.5"),
            (1e21, "1e21"),
            (2.5e-7, "2.5e-7"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, written) in cases {
            assert_eq!(number(value), written);
        }
    }
}
