//! Text for a terminal, out of strings that other people wrote. Pure.

/// `text` on one line, without control and direction-changing characters, and of at most `max` characters.
///
/// Names, commit subjects and messages come from repositories and custom resources: unfiltered they could move the
/// cursor, recolour the terminal or show a text in another order than it has.
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for c in text.chars() {
        let c = if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c };
        if c.is_control() || is_invisible(c) || (c == ' ' && out.ends_with(' ')) {
            continue;
        }
        if length == max {
            out.pop();
            out.push('…');
            break;
        }
        out.push(c);
        length += 1;
    }
    out.trim_end().to_owned()
}

/// Zero-width, direction-changing, line-separating and tag characters.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The first characters of a commit id, as Git shows them.
#[must_use]
pub fn short_commit(commit: &str) -> String {
    clean(commit, 200).chars().take(12).collect()
}

/// A length of time in its two largest units: `45s`, `3m20s`, `5h12m`, `9d4h`. Negative ones, from clocks that
/// disagree, are `0s`.
#[must_use]
pub fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let Some(first) = units.iter().position(|(_, size)| seconds >= *size) else {
        return "0s".to_owned();
    };
    let (unit, size) = units[first];
    let mut out = format!("{}{unit}", seconds / size);
    if let Some((unit, smaller)) = units.get(first + 1) {
        let rest = seconds % size / smaller;
        if rest > 0 {
            out.push_str(&format!("{rest}{unit}"));
        }
    }
    out
}

/// Columns of equal width, two spaces apart, without spaces at the ends of lines.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// At most three of `names` that look like `wanted`, best first: few edits away, or one within the other.
#[must_use]
pub fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = (wanted.chars().count() / 3).max(2);
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let edits = distance(wanted, name);
            let within = wanted.len() > 2 && (name.contains(wanted) || wanted.contains(name));
            (edits <= limit || within).then_some((edits, name))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: a name or message from a repository cannot drive the terminal that shows it.
    #[test]
    fn hostile_text_becomes_plain() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("a\u{1b}[31mred\u{1b}]0;title\u{7}", "a[31mred]0;title"),
            ("one\r\ntwo\tthree", "one two three"),
            ("safe\u{202e}gpj.exe\u{200b}", "safegpj.exe"),
            ("c1 \u{9b}2J", "c1 2J"),
            ("0123456789abc", "012345678…"),
            ("0123456789", "0123456789"),
        ] {
            assert_eq!(clean(text, 10.max(wanted.chars().count())), wanted, "{text:?}");
        }
    }

    /// Protects: ages that can be read at a glance, and clocks that disagree.
    #[test]
    fn ages() {
        let found: Vec<String> = [-5, 0, 45, 60, 200, 18_720, 792_000].map(age).to_vec();
        assert_eq!(found, ["0s", "0s", "45s", "1m", "3m20s", "5h12m", "9d4h"]);
    }

    /// Protects: suggestions that help; nothing is better than something unrelated.
    #[test]
    fn near_names() {
        let names = ["checkout", "web", "web-frontend", "payments", "a"];
        assert_eq!(near("chekout", names), ["checkout"]);
        assert_eq!(near("frontend", names), ["web-frontend"]);
        assert_eq!(near("wbe", names), ["web"]);
        assert_eq!(near("inventory", names), Vec::<&str>::new());
    }
}
