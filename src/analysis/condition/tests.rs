#![expect(clippy::disallowed_methods, reason = "the time that hostile texts take is what is tested")]

use super::*;

use std::time::Instant;

use proptest::prelude::*;

use QueryResult::{Scalar, Vector};

fn ask(text: &str, result: &QueryResult) -> Result<bool, String> {
    match Condition::parse(text) {
        Ok(condition) => condition.evaluate(result),
        Err(error) => Err(format!("REFUSED {error}")),
    }
}

/// Protects: the conditions that people bring from Argo Rollouts mean what they meant there.
#[test]
fn conditions_in_use() {
    let one = |value: f64| Vector(vec![value]);
    let cases: &[(&str, QueryResult, bool)] = &[
        ("result[0] >= 0.99", one(0.99), true),
        ("result[0] >= 0.99", one(0.9899), false),
        ("result[0] < 1e-2", one(0.009), true),
        ("result[0] <= .5", one(0.5), true),
        ("result[0] == 1", one(1.0), true),
        ("result[0] != 1", one(1.0), false),
        ("result >= 0.95", Scalar(0.96), true),
        ("result > -1", Scalar(f64::INFINITY), true),
        ("result[0] * 1000 < 500", one(f64::INFINITY), false),
        ("result[0] > 0.9 && result[0] < 0.99", one(0.95), true),
        ("result[0] > 0.9 and result[0] < 0.99", one(0.999), false),
        ("result[0] < 0.9 || result[0] > 0.99", one(0.95), false),
        ("result[0] < 0.9 or result[0] > 0.99", one(0.999), true),
        ("!(result[0] < 0.9)", one(0.95), true),
        ("not (result[0] < 0.9)", one(0.95), true),
        ("isNaN(result[0]) || result[0] < 0.05", one(0.01), true),
        ("isNaN(result)", Scalar(1.0), false),
        ("isInf(result)", Scalar(f64::NEG_INFINITY), true),
        ("isInf(result)", Vector(vec![1.0, f64::INFINITY]), true),
        ("isInf(result[0])", one(1.0), false),
        ("len(result) == 0 || result[0] < 0.1", one(0.05), true),
        ("len(result) == 2", Vector(vec![1.0, 2.0]), true),
        ("default(result, 0) < 1", Scalar(0.5), true),
        ("default(result[0], 0) < 1", one(2.0), false),
        ("isNil(result)", one(2.0), false),
        ("result != nil && result[0] < 3", one(2.0), true),
        ("all(result, # < 1)", Vector(vec![0.1, 0.9]), true),
        ("all(result, # < 1)", Vector(vec![0.1, 1.0]), false),
        ("all(result, {# < 1})", Vector(vec![0.1, 0.9]), true),
        ("all(result, # >= 0 and # < 1)", Vector(vec![0.1, 0.9]), true),
        ("any(result, # > 1)", Vector(vec![0.1, 1.1]), true),
        ("none(result, # > 1)", Vector(vec![0.1, 1.1]), false),
        ("one(result, # > 1)", Vector(vec![0.1, 1.1]), true),
        ("count(result, # > 1) <= 1", Vector(vec![1.1, 1.1]), false),
        ("sum(result) / len(result) < 0.5", Vector(vec![0.1, 0.5]), true),
        ("mean(result) < 0.5 and median(result) < 0.5", Vector(vec![0.1, 0.2, 0.9]), true),
        ("max(result) - min(result) < 0.5", Vector(vec![0.1, 0.7]), false),
        ("abs(result[0] - 100) <= 5", one(97.0), true),
        ("asInt(result[0]) == 2 && asFloat(result[0]) == 2.7", one(2.7), true),
        ("round(result[0]) + floor(result[0]) + ceil(result[0]) == 8", one(2.7), true),
        ("(result[0] / 100) < 0.05", one(4.0), true),
        ("true", one(4.0), true),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .map(|(text, result, met)| (text, result, met, ask(text, result)))
        .filter(|(_, _, met, found)| found.as_ref() != Ok(met))
        .map(|(text, result, met, found)| format!("{text} over {result:?}: {found:?}, not {met}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Protects: nothing unusable becomes true or false. Each of these would be a false verdict.
#[test]
fn no_verdict_without_a_usable_value() {
    let inf = f64::INFINITY;
    let cases: &[(&str, QueryResult, &str)] = &[
        ("result[0] < 1", Vector(vec![]), "no data: the query returned no series"),
        ("all(result, # < 1)", Vector(vec![]), "no data: the query returned no series"),
        ("result[0] < 1", Vector(vec![f64::NAN]), "no usable value: NaN"),
        ("isNaN(result)", Scalar(f64::NAN), "no usable value: NaN"),
        ("any(result, # < 1)", Vector(vec![0.5, f64::NAN]), "no usable value: NaN"),
        (
            "result[0] < 1",
            Vector(vec![0.5, 0.6, 0.7]),
            "the query returned 3 series, but the condition reads one number; aggregate them in the query or write all(result, # ...)",
        ),
        (
            "result < 1",
            Vector(vec![0.5, 0.6]),
            "the query returned 2 series, but the condition reads one number; aggregate them in the query or write all(result, # ...)",
        ),
        (
            "result == 0",
            Vector(vec![0.0]),
            "the query returned a vector, but the condition reads result as a number; write result[0]",
        ),
        ("result[0] == 0", Scalar(0.0), "the query returned a scalar, but the condition reads result as a list; write result"),
        (
            "all(result, # < 1)",
            Scalar(0.0),
            "the query returned a scalar, but the condition reads result as a list; write result",
        ),
        (
            "result - result == 0",
            Scalar(inf),
            "no usable value: the condition calculates with an infinite value; compare it directly",
        ),
        ("result * 0 == 0", Scalar(inf), "no usable value: the condition calculates with an infinite value; compare it directly"),
        (
            "mean(result) < 1",
            Vector(vec![inf, -inf]),
            "no usable value: the condition calculates with an infinite value; compare it directly",
        ),
        ("asInt(result) < 1", Scalar(inf), "failed to evaluate the condition: asInt takes a finite number that fits 64 bits"),
        (
            "len(result) < 5",
            Vector(vec![1.0; 1001]),
            "the query returned 1001 series; at most 1000 are allowed, aggregate them in the query",
        ),
    ];
    for (text, result, message) in cases {
        assert_eq!(ask(text, result), Err((*message).to_owned()), "{text} over {result:?}");
    }
}

/// Protects: a refusal names what was found, where, and what is allowed.
#[test]
fn refusals() {
    let not_allowed =
        |found: &str, at: usize, allowed: &str| ConditionError::NotAllowed { found: found.into(), at, allowed: allowed.into() };
    let division = "division is by a number other than 0 or by len(result), because 0/0 is no value; divide in the query";
    let no_lists = "lists, maps and indexes of anything but result are not allowed";
    let numbers = "write numbers as 250, 0.99 or 1e-3";
    let ranges = "ranges are not allowed; compare with >= and <=";
    let cases: Vec<(&str, ConditionError)> = vec![
        ("", ConditionError::Empty),
        (" \n\t", ConditionError::Empty),
        ("1..5", not_allowed("..", 2, ranges)),
        ("result[0] in 1..1000000000", not_allowed("..", 15, ranges)),
        ("any(1 .. 9, # > 1)", not_allowed("..", 7, ranges)),
        ("result[0] ** 2 > 1", not_allowed("**", 11, "")),
        ("result[0] > 1 // fine", not_allowed("//", 15, "comments are not allowed; use a comment of the YAML file")),
        ("result[0] == \"a\"", not_allowed("\"", 14, "")),
        ("let a = 1; a > 0", not_allowed("=", 7, "")),
        ("result[0] > 1 ? true : false", not_allowed("?", 15, "")),
        ("result | len", not_allowed("|", 8, "")),
        ("repeat(result, 9)", not_allowed("repeat", 1, "")),
        ("notresult > 1", not_allowed("notresult", 1, "")),
        ("$env", not_allowed("$env", 1, "")),
        ("result.foo > 1", not_allowed(".foo", 7, numbers)),
        ("1and1 == 1", not_allowed("1and1", 1, numbers)),
        ("0x10 < result", not_allowed("0x10", 1, numbers)),
        ("1e999 < result", not_allowed("1e999", 1, numbers)),
        ("result[1] > 1", not_allowed("[", 7, "only result[0] is allowed: the order of series is not defined")),
        ("[1, 2] == result", not_allowed("[", 1, no_lists)),
        ("{a: 1} == result", not_allowed(":", 3, "")),
        ("{result} == 1", not_allowed("{", 1, no_lists)),
        ("result[0] / result[0] > 1", not_allowed("/", 11, division)),
        ("result[0] / 0 > 1", not_allowed("/", 11, division)),
        ("result[0] > 1 == true", not_allowed("true", 18, "write the comparison itself, or not (...)")),
        ("len(result) == nil", not_allowed("nil", 16, "nil stands only in result == nil and result != nil")),
        ("# > 1", not_allowed("#", 1, "# stands only in the condition of all, any, none, one and count")),
        ("all(result, #index > 1)", not_allowed("#", 13, "# stands alone for the element")),
        (
            "all(result, result[0] > 1)",
            not_allowed("result", 13, "in a condition over the elements, # is the element and result cannot be used"),
        ),
        (
            "all(result, all(result, # > 1))",
            not_allowed("result", 17, "in a condition over the elements, # is the element and result cannot be used"),
        ),
        ("all(result, 1 > 0)", not_allowed(")", 18, "the condition over the elements does not use #")),
        ("all(result)", not_allowed("all", 1, "it takes result and a condition over #, for example all(result, # < 1)")),
        ("len > 1", not_allowed("len", 1, "a function is called with (...)")),
        ("sum(1) > 1", not_allowed("sum", 1, "it takes result and nothing else, for example len(result)")),
        ("(result > 1", ConditionError::Syntax("a '(' is not closed".into())),
        ("result > 1)", not_allowed(")", 11, "nothing is open here")),
        ("result >", ConditionError::Syntax("reading stopped at line 1, column 9".into())),
        ("result 1", ConditionError::Syntax("reading stopped at line 1, column 8".into())),
        ("result", ConditionError::NotBoolean("a number".into())),
        ("sum(result)", ConditionError::NotBoolean("a number".into())),
        ("default(result[0], true) and 1 > 0", ConditionError::Syntax("Invalid operands for operator and".into())),
        ("all(result, # + 1)", ConditionError::Syntax("the condition over # gave a value that is not true or false".into())),
    ];
    for (text, wanted) in cases {
        let mut found = Condition::parse(text).unwrap_err();
        // The long list of everything that is allowed is compared once, below.
        if let (ConditionError::NotAllowed { allowed, .. }, ConditionError::NotAllowed { allowed: short, .. }) =
            (&mut found, &wanted)
            && short.is_empty()
            && allowed.starts_with("allowed are numbers, result, ")
        {
            allowed.clear();
        }
        assert_eq!(found, wanted, "{text}");
    }
    assert_eq!(
        Condition::parse("évil()").unwrap_err().to_string(),
        "'é' at position 1 is not allowed in a condition: allowed are numbers, result, true, false, nil, + - * /, \
         comparisons, and or not && || !, and the functions all any none one count len sum mean median min max isNaN isInf \
         isNil abs ceil floor round asInt asFloat default"
    );
}

/// Protects: the process. Each of these overflowed a stack, filled the memory or ran for minutes without the guard.
#[test]
fn hostile_texts_are_refused_at_once() {
    let begin = Instant::now();
    let sum = |terms: usize| format!("{} > 0", vec!["1"; terms].join("+"));
    let nested = |depth: usize| format!("{}result{} > 0", "(".repeat(depth), ")".repeat(depth));
    let cases: Vec<(String, Option<ConditionError>)> = vec![
        (sum(64), None),
        (sum(65), Some(ConditionError::TooManyOperators { found: 65 })),
        (sum(200), Some(ConditionError::TooManyOperators { found: 200 })),
        (nested(16), None),
        (nested(17), Some(ConditionError::TooDeep { found: 17 })),
        (nested(400), Some(ConditionError::TooDeep { found: 17 })),
        ("(".repeat(1024), Some(ConditionError::TooDeep { found: 17 })),
        ("!".repeat(1024), Some(ConditionError::TooManyOperators { found: 1024 })),
        ("-".repeat(64) + "1 > 0", Some(ConditionError::TooManyOperators { found: 65 })),
        (format!("{}1 > 0", "not ".repeat(64)), Some(ConditionError::TooManyOperators { found: 65 })),
        (
            format!("result > {}", "9".repeat(1015)),
            Some(ConditionError::NotAllowed {
                found: format!("{}...", "9".repeat(40)),
                at: 10,
                allowed: "write numbers as 250, 0.99 or 1e-3".into(),
            }),
        ),
        ("x".repeat(1 << 20), Some(ConditionError::TooLong { found: 1 << 20 })),
        (format!("{}result > 1", " ".repeat(1015)), Some(ConditionError::TooLong { found: 1025 })),
    ];
    for (text, refusal) in cases {
        assert_eq!(Condition::parse(&text).err(), refusal, "{:.60}", text);
    }
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

/// Protects: the deadline. The most expensive condition that the guard lets through, over the most series.
#[test]
fn the_worst_that_is_allowed_is_fast() {
    let predicate = vec!["#<9"; 32].join(" and ");
    let condition = Condition::parse(&format!("all(result, {predicate})")).unwrap();
    let result = Vector(vec![1.0; MAX_SERIES]);
    let begin = Instant::now();
    let program = Arc::clone(&condition.program);
    assert_eq!(run(&program, value(&result)), Ok(Value::Bool(true)));
    // Unoptimized and on a busy machine; the release build takes about a millisecond.
    assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "result",
        "result[0]",
        "#",
        "all(",
        "any(",
        "len(result)",
        "sum(",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        "..",
        "+",
        "-",
        "*",
        "/",
        "**",
        "^",
        "%",
        "and",
        "or",
        "not",
        "in",
        "&&",
        "||",
        "!",
        "==",
        "<",
        ">=",
        "0",
        "1",
        "0.5",
        "1e3",
        "nil",
        "true",
        "let",
        "a",
        "=",
        ";",
        "if",
        "else",
        "?",
        ":",
        "??",
        "|",
        ".",
        "'x'",
        "\"",
        "`",
        "//",
        "$env",
        "map(",
        "repeat(",
        "default(",
    ])
    .prop_map(str::to_owned)
}

/// A number as text, and what it is when `result[0]` is `x`.
fn number(x: f64) -> impl Strategy<Value = (String, f64)> {
    let leaf = prop_oneof![
        Just(("result[0]".to_owned(), x)),
        Just(("len(result)".to_owned(), 1.0)),
        (0..1000_u32).prop_map(|n| (format!("{n}"), f64::from(n))),
    ];
    // Rust's max prefers the other operand over NaN; here a NaN must not get lost.
    let max = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) };
    leaf.prop_recursive(3, 12, 2, move |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| (format!("({} + {})", a.0, b.0), a.1 + b.1)),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| (format!("({} - {})", a.0, b.0), a.1 - b.1)),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| (format!("{} * ({})", a.0, b.0), a.1 * b.1)),
            (inner.clone(), inner.clone()).prop_map(move |(a, b)| (format!("max({}, {})", a.0, b.0), max(a.1, b.1))),
            inner.clone().prop_map(|a| (format!("({}) / 4", a.0), a.1 / 4.0)),
            inner.prop_map(|a| (format!("abs({})", a.0), a.1.abs())),
        ]
    })
}

/// A condition as text, and whether it is met when `result[0]` is `x`; none when a NaN is compared in it.
fn truth(x: f64) -> impl Strategy<Value = (String, Option<bool>)> {
    let leaf = (number(x), number(x), 0..4_usize).prop_map(|(a, b, sign)| {
        let met = [a.1 < b.1, a.1 >= b.1, a.1 > b.1, a.1 <= b.1][sign];
        let known = !a.1.is_nan() && !b.1.is_nan();
        (format!("({}) {} ({})", a.0, ["<", ">=", ">", "<="][sign], b.0), known.then_some(met))
    });
    leaf.prop_recursive(2, 6, 2, |inner| {
        let both = |a: Option<bool>, b: Option<bool>| a.zip(b);
        prop_oneof![
            (inner.clone(), inner.clone())
                .prop_map(move |(a, b)| (format!("({}) && ({})", a.0, b.0), both(a.1, b.1).map(|(a, b)| a && b))),
            (inner.clone(), inner.clone())
                .prop_map(move |(a, b)| (format!("({}) or ({})", a.0, b.0), both(a.1, b.1).map(|(a, b)| a || b))),
            inner.prop_map(|a| (format!("not ({})", a.0), a.1.map(|a| !a))),
        ]
    })
}

/// A value of `result[0]`, and a condition about it.
fn about(values: impl Strategy<Value = f64>) -> impl Strategy<Value = (f64, String, Option<bool>)> {
    values.prop_flat_map(|x| truth(x).prop_map(move |(text, met)| (x, text, met)))
}

fn too_big(error: &ConditionError) -> bool {
    use ConditionError::{TooDeep, TooLong, TooManyOperators};
    matches!(error, TooLong { .. } | TooManyOperators { .. } | TooDeep { .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Protects: the process against arbitrary text.
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        if let Ok(condition) = Condition::parse(&text) {
            let _ = condition.evaluate(&Vector(vec![1.0]));
        }
    }

    /// Protects: the process against texts that look like conditions, and the guard's tokens against disagreeing
    /// with expr-lang's: what passes the guard and is read must have a shape that evaluation accepts.
    #[test]
    fn likely_text_never_panics(words in prop::collection::vec(word(), 1..40), space in any::<bool>()) {
        let text = words.join(if space { " " } else { "" });
        if let Ok(condition) = Condition::parse(&text) {
            let sample = if condition.shape.wants_list() { Vector(vec![0.5]) } else { Scalar(0.5) };
            prop_assert!(condition.evaluate(&sample).is_ok(), "{}", text);
        }
    }

    /// Protects: what a condition says is what it means, for conditions that nobody thought of.
    #[test]
    fn arithmetic_and_logic_are_right((x, text, met) in about(-10.0..10.0_f64)) {
        match Condition::parse(&text) {
            Ok(condition) => prop_assert_eq!(condition.evaluate(&Vector(vec![x])).ok(), met, "{}", text),
            Err(error) => prop_assert!(too_big(&error), "{}: {}", text, error),
        }
    }

    /// Protects: infinite values. They are compared as what they are, and when a NaN arises from them there is no verdict.
    #[test]
    fn infinity_never_decides_by_way_of_nan((x, text, met) in about(prop::sample::select(vec![f64::INFINITY, f64::NEG_INFINITY]))) {
        if let Ok(condition) = Condition::parse(&text)
            && let Ok(found) = condition.evaluate(&Vector(vec![x]))
        {
            prop_assert_eq!(Some(found), met, "{}", text);
        }
    }

    /// Protects: NaN is never true nor false, whatever the condition.
    #[test]
    fn nan_never_decides((_, text, _) in about(0.0..1.0_f64)) {
        if let Ok(condition) = Condition::parse(&text) {
            for result in [Scalar(f64::NAN), Vector(vec![f64::NAN]), Vector(vec![0.1, f64::NAN]), Vector(vec![])] {
                prop_assert!(condition.evaluate(&result).is_err());
            }
        }
    }
}
