//! Plain YAML scalars as kubectl reads them: sigs.k8s.io/yaml over its fork of go-yaml v2 (`resolve.go`), then the
//! JSON that Kubernetes decodes. Each rule is pinned in `tests.rs` with kubectl's own answer.

use serde_json::{Number, Value};

/// What a plain (unquoted, untagged) scalar means; none for `.inf` and `.nan`, which JSON cannot say.
///
/// YAML 1.1: `yes`, `on`, `y` are booleans, `0644` is 420, `1_000` is 1000, `0b11` is 3. Not YAML 1.1: `1:30` is a
/// text. A float without a fraction becomes an integer, as Kubernetes' JSON decoder has it.
pub(super) fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Some(Value::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Some(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => {
            return None;
        }
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => number(&text.replace('_', "")),
        _ => None,
    };
    Some(number.map_or_else(|| Value::String(text.to_owned()), Value::Number))
}

fn number(text: &str) -> Option<Number> {
    integer(text).or_else(|| float(text))
}

/// Go's `strconv.ParseInt(text, 0, 64)`, then `ParseUint`: what is above `i64` ends as a float in Kubernetes.
fn integer(text: &str) -> Option<Number> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.as_bytes().first()?.is_ascii_alphanumeric() {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?.checked_mul(sign)?;
    if let Ok(small) = i64::try_from(value) {
        return Some(small.into());
    }
    let large = u64::try_from(value).ok().filter(|_| !text.starts_with('+'))?;
    #[expect(clippy::cast_precision_loss, reason = "this is what kubectl does: JSON numbers above i64 are read as float64")]
    Number::from_f64(large as f64)
}

fn float(text: &str) -> Option<Number> {
    if is_float(text) { from_float(text.parse().ok()?) } else { None }
}

/// A float as Kubernetes has it after JSON: written with the fewest digits that tell it apart, and read again as an
/// integer where that fits `i64` (`1.0` is 1, `1e3` is 1000).
fn from_float(value: f64) -> Option<Number> {
    if value.fract() == 0.0
        && let Ok(whole) = value.to_string().parse::<i64>()
    {
        return Some(whole.into());
    }
    Number::from_f64(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, go-yaml's pattern.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        None => digits(mantissa),
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
    };
    mantissa_ok && exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)))
}

/// A mapping's key as text; none for what kubectl refuses (`null`) and for floats that it writes with an exponent.
pub(super) fn key(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) if number.is_i64() => Some(number.to_string()),
        Value::Number(number) => {
            let value = number.as_f64().filter(|v| (1e-4..1e6).contains(&v.abs()))?;
            #[expect(clippy::cast_possible_truncation, reason = "kubectl prints float keys with the precision of float32")]
            Some((value as f32).to_string())
        }
        _ => None,
    }
}
