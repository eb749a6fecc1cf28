//! Reads a condition as tokens and lets only the allowed ones through, in places where they mean what they seem to.
//!
//! Its tokens are a subset of expr-lang's: every word is compared as a whole with an allow-list and numbers end at
//! white space or a sign, because expr-lang would read `notresult` as `not result` and `1and2` as `1 and 2`, which a
//! counter of operators must not miss. There are no strings, lists, maps, ranges, comments, pipes, `let`, `?:`.

use super::super::measured::QueryResult;
use super::super::text;
use super::{ConditionError, MAX_BYTES, MAX_DEPTH, MAX_OPERATORS, MAX_SERIES};

const PREDICATES: &[&str] = &["all", "any", "none", "one", "count"];
/// Take the whole list and nothing else.
const LISTS: &[&str] = &["len", "sum", "mean", "median"];
/// Take the whole list, or numbers.
const EXTREMES: &[&str] = &["min", "max"];
/// Take the whole list, or a number.
const EITHER: &[&str] = &["isNaN", "isInf", "isNil"];
const NUMBERS: &[&str] = &["abs", "ceil", "floor", "round", "asInt", "asFloat", "default"];
const WORD_OPERATORS: &[&str] = &["and", "or", "not"];
/// Longest first: the first that fits is taken.
const SIGNS: &[&str] = &["==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/"];

const ALLOWED: &str = "allowed are numbers, result, true, false, nil, + - * /, comparisons, and or not && || !, and the \
functions all any none one count len sum mean median min max isNaN isInf isNil abs ceil floor round asInt asFloat default";
const NO_RANGE: &str = "ranges are not allowed; compare with >= and <=";
const NO_NUMBER: &str = "write numbers as 250, 0.99 or 1e-3";

/// How a condition reads `result`, as far as it matters for which results it can be asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// As one number.
    bare: bool,
    /// As `result[0]`.
    indexed: bool,
    /// As a list.
    listed: bool,
    /// Calculates with more than one value, or multiplies by what may be 0: with an infinite value that may give NaN.
    combines: bool,
    /// Adds the list up: with +Inf and -Inf in it that gives NaN.
    sums: bool,
}

impl Shape {
    /// Was it written for a vector?
    pub(super) const fn wants_list(self) -> bool {
        self.indexed || self.listed
    }

    /// Can the condition be asked about this result?
    pub(super) fn fits(self, result: &QueryResult) -> Result<(), String> {
        let values = result.values();
        if values.is_empty() {
            return Err("no data: the query returned no series".to_owned());
        }
        if values.iter().any(|value| value.is_nan()) {
            return Err("no usable value: NaN".to_owned());
        }
        let count = values.len();
        match result {
            QueryResult::Vector(_) if count > MAX_SERIES => {
                Err(format!("the query returned {count} series; at most {MAX_SERIES} are allowed, aggregate them in the query"))
            }
            QueryResult::Vector(_) if count > 1 && (self.bare || self.indexed) => Err(format!(
                "the query returned {count} series, but the condition reads one number; \
                 aggregate them in the query or write all(result, # ...)"
            )),
            QueryResult::Vector(_) if self.bare => {
                Err("the query returned a vector, but the condition reads result as a number; write result[0]".to_owned())
            }
            QueryResult::Scalar(_) if self.wants_list() => {
                Err("the query returned a scalar, but the condition reads result as a list; write result".to_owned())
            }
            _ => self.stays_a_number(values),
        }
    }

    fn stays_a_number(self, values: &[f64]) -> Result<(), String> {
        let infinite = values.iter().any(|value| value.is_infinite());
        let both = values.contains(&f64::INFINITY) && values.contains(&f64::NEG_INFINITY);
        if (self.combines && infinite) || (self.sums && both) {
            return Err("no usable value: the condition calculates with an infinite value; compare it directly".to_owned());
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind<'a> {
    Number(f64),
    Word(&'a str),
    Operator(&'a str),
    Open(char),
    Close(char),
    Comma,
    Element,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Token<'a> {
    kind: Kind<'a>,
    text: &'a str,
    /// Characters from 1.
    at: usize,
}

impl Token<'_> {
    fn refused(&self, allowed: &str) -> ConditionError {
        not_allowed(self.text, self.at, allowed)
    }
}

fn not_allowed(found: &str, at: usize, allowed: &str) -> ConditionError {
    ConditionError::NotAllowed { found: text::clean(found, 40), at, allowed: allowed.to_owned() }
}

/// Checks the text; what is returned tells which results it can be asked about.
pub(super) fn check(code: &str) -> Result<Shape, ConditionError> {
    if code.len() > MAX_BYTES {
        return Err(ConditionError::TooLong { found: code.len() });
    }
    let tokens = tokens(code)?;
    if tokens.is_empty() {
        return Err(ConditionError::Empty);
    }
    let operators = tokens.iter().filter(|token| matches!(token.kind, Kind::Operator(_))).count();
    if operators > MAX_OPERATORS {
        return Err(ConditionError::TooManyOperators { found: operators });
    }
    Walk::new(&tokens).walk()
}

fn tokens(code: &str) -> Result<Vec<Token<'_>>, ConditionError> {
    let mut tokens = Vec::new();
    let mut rest = code;
    let mut at = 1;
    while let Some(first) = rest.chars().next() {
        let (kind, length) = match first {
            ' ' | '\t' | '\n' | '\r' => (None, 1),
            '0'..='9' | '.' => number(rest, at).map(|(value, length)| (Some(Kind::Number(value)), length))?,
            'a'..='z' | 'A'..='Z' | '_' | '$' => word(rest),
            '(' | '[' | '{' => (Some(Kind::Open(first)), 1),
            ')' | ']' | '}' => (Some(Kind::Close(first)), 1),
            ',' => (Some(Kind::Comma), 1),
            '#' => element(rest, at)?,
            _ => sign(rest, at)?,
        };
        let (text, tail) = rest.split_at(length);
        if let Some(kind) = kind {
            tokens.push(Token { kind, text, at });
        }
        // Everything that gets here is ASCII: one byte is one character.
        at += length;
        rest = tail;
    }
    Ok(tokens)
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$'
}

fn word(rest: &str) -> (Option<Kind<'_>>, usize) {
    let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
    let kind = if WORD_OPERATORS.contains(&word) { Kind::Operator(word) } else { Kind::Word(word) };
    (Some(kind), word.len())
}

fn element(rest: &str, at: usize) -> Result<(Option<Kind<'_>>, usize), ConditionError> {
    match rest[1..].chars().next() {
        Some(next) if is_word(next) || next == '#' => Err(not_allowed(&rest[..1], at, "# stands alone for the element")),
        _ => Ok((Some(Kind::Element), 1)),
    }
}

fn sign(rest: &str, at: usize) -> Result<(Option<Kind<'_>>, usize), ConditionError> {
    if rest.starts_with("//") || rest.starts_with("/*") {
        return Err(not_allowed(&rest[..2], at, "comments are not allowed; use a comment of the YAML file"));
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        // `**` is another operator than `*` twice.
        Some(&"*") if rest.starts_with("**") => Err(not_allowed("**", at, ALLOWED)),
        Some(sign) => Ok((Some(Kind::Operator(sign)), sign.len())),
        None => Err(not_allowed(&rest.chars().take(1).collect::<String>(), at, ALLOWED)),
    }
}

/// `250`, `0.99`, `.5`, `1e-3`; what follows must end it.
fn number(rest: &str, at: usize) -> Result<(f64, usize), ConditionError> {
    if rest.starts_with("..") {
        return Err(not_allowed("..", at, NO_RANGE));
    }
    let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
    let mut length = digits(0);
    if rest[length..].starts_with("..") {
        return Err(not_allowed("..", at + length, NO_RANGE));
    }
    if rest[length..].starts_with('.') {
        length += 1 + digits(length + 1);
    }
    if rest[length..].starts_with(['e', 'E']) {
        let signed = usize::from(rest[length + 1..].starts_with(['+', '-']));
        let exponent = digits(length + 1 + signed);
        length += if exponent > 0 { 1 + signed + exponent } else { 0 };
    }
    let ends = rest[length..].chars().next().is_none_or(|next| !is_word(next) && next != '.' && next != '#');
    match rest[..length].parse::<f64>() {
        Ok(value) if ends && value.is_finite() => Ok((value, length)),
        _ => {
            let shown = rest.find(|c| !is_word(c) && c != '.').unwrap_or(rest.len());
            Err(not_allowed(&rest[..shown.max(1)], at, NO_NUMBER))
        }
    }
}

/// An open bracket.
#[derive(Clone, Copy, Debug)]
struct Frame<'a> {
    open: char,
    /// The function it is the call of; none for plain brackets.
    call: Option<&'a str>,
    /// Inside the second argument of a predicate function: `#` may stand here, `result` may not.
    predicate: bool,
    /// Was there a `#` in that argument?
    element: bool,
}

struct Walk<'a> {
    tokens: &'a [Token<'a>],
    frames: Vec<Frame<'a>>,
    shape: Shape,
    /// Since the last comparison: values read, signs of arithmetic, and multiplications, of which so many beside a number
    /// that is not 0.
    reads: usize,
    arithmetic: usize,
    products: usize,
    scalings: usize,
}

impl<'a> Walk<'a> {
    const fn new(tokens: &'a [Token<'a>]) -> Self {
        let shape = Shape { bare: false, indexed: false, listed: false, combines: false, sums: false };
        Self { tokens, frames: Vec::new(), shape, reads: 0, arithmetic: 0, products: 0, scalings: 0 }
    }

    fn walk(mut self) -> Result<Shape, ConditionError> {
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            match token.kind {
                Kind::Number(_) => {}
                Kind::Word(word) => self.word(at, token, word)?,
                Kind::Operator(operator) => self.operator(at, token, operator)?,
                Kind::Open(open) => self.open(at, token, open)?,
                Kind::Close(close) => self.close(token, close)?,
                Kind::Comma => self.comma(token)?,
                Kind::Element => self.element(token)?,
            }
        }
        match self.frames.last() {
            Some(frame) => Err(ConditionError::Syntax(format!("a '{}' is not closed", frame.open))),
            None => {
                self.end_term();
                Ok(self.shape)
            }
        }
    }

    fn kind(&self, at: Option<usize>) -> Option<Kind<'a>> {
        at.and_then(|at| self.tokens.get(at)).map(|token| token.kind)
    }

    fn before(&self, at: usize, steps: usize) -> Option<Kind<'a>> {
        self.kind(at.checked_sub(steps))
    }

    fn after(&self, at: usize, steps: usize) -> Option<Kind<'a>> {
        self.kind(at.checked_add(steps))
    }

    fn in_predicate(&self) -> bool {
        self.frames.iter().any(|frame| frame.predicate)
    }

    /// A comparison or a logical operator ends what arithmetic can combine.
    fn end_term(&mut self) {
        let combined = self.arithmetic > 0 && self.reads > 1;
        let scaled = self.arithmetic == 1 && self.scalings == 1;
        self.shape.combines |= combined || (self.products > 0 && self.reads > 0 && !scaled);
        (self.reads, self.arithmetic, self.products, self.scalings) = (0, 0, 0, 0);
    }

    fn word(&mut self, at: usize, token: Token<'a>, word: &'a str) -> Result<(), ConditionError> {
        let equality = |kind| matches!(kind, Some(Kind::Operator("==" | "!=")));
        match word {
            "result" => self.result(at, token),
            "true" | "false" if equality(self.before(at, 1)) || equality(self.after(at, 1)) => {
                Err(token.refused("write the comparison itself, or not (...)"))
            }
            "true" | "false" => Ok(()),
            "nil" => {
                let of_result = matches!(self.before(at, 2), Some(Kind::Word("result") | Kind::Close(']')));
                let known = equality(self.before(at, 1)) && of_result;
                if known { Ok(()) } else { Err(token.refused("nil stands only in result == nil and result != nil")) }
            }
            _ if ![PREDICATES, LISTS, EXTREMES, EITHER, NUMBERS].iter().any(|names| names.contains(&word)) => {
                Err(token.refused(ALLOWED))
            }
            _ if self.after(at, 1) != Some(Kind::Open('(')) => Err(token.refused("a function is called with (...)")),
            _ if PREDICATES.contains(&word)
                && (self.after(at, 2), self.after(at, 3)) != (Some(Kind::Word("result")), Some(Kind::Comma)) =>
            {
                Err(token.refused("it takes result and a condition over #, for example all(result, # < 1)"))
            }
            _ if LISTS.contains(&word)
                && (self.after(at, 2), self.after(at, 3)) != (Some(Kind::Word("result")), Some(Kind::Close(')'))) =>
            {
                Err(token.refused("it takes result and nothing else, for example len(result)"))
            }
            "sum" | "mean" | "median" => {
                self.shape.sums = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn result(&mut self, at: usize, token: Token<'a>) -> Result<(), ConditionError> {
        if self.in_predicate() {
            return Err(token.refused("in a condition over the elements, # is the element and result cannot be used"));
        }
        self.reads += 1;
        let call = match (self.before(at, 1), self.before(at, 2)) {
            (Some(Kind::Open('(')), Some(Kind::Word(name))) => name,
            _ => "",
        };
        let next = self.after(at, 1);
        let alone = next == Some(Kind::Close(')'));
        let about_either = alone && EITHER.contains(&call);
        let is_nil = matches!(next, Some(Kind::Operator("==" | "!="))) && self.after(at, 2) == Some(Kind::Word("nil"));
        if next == Some(Kind::Open('[')) {
            self.shape.indexed = true;
        } else if PREDICATES.contains(&call) || (alone && (LISTS.contains(&call) || EXTREMES.contains(&call))) {
            self.shape.listed = true;
        } else if !is_nil && !about_either {
            self.shape.bare = true;
        }
        Ok(())
    }

    fn operator(&mut self, at: usize, token: Token<'a>, operator: &str) -> Result<(), ConditionError> {
        let operand_before = matches!(self.before(at, 1), Some(Kind::Number(_) | Kind::Word(_) | Kind::Close(_) | Kind::Element));
        match operator {
            "/" => {
                let by_number = matches!(self.after(at, 1), Some(Kind::Number(value)) if value != 0.0);
                let by_len = self.after(at, 1) == Some(Kind::Word("len"));
                if !by_number && !by_len {
                    return Err(token.refused(
                        "division is by a number other than 0 or by len(result), \
                         because 0/0 is no value; divide in the query",
                    ));
                }
                self.arithmetic += 1;
            }
            "*" => {
                let number = |kind| matches!(kind, Some(Kind::Number(value)) if value != 0.0);
                self.arithmetic += 1;
                self.products += 1;
                self.scalings += usize::from(number(self.before(at, 1)) || number(self.after(at, 1)));
            }
            "+" | "-" => self.arithmetic += usize::from(operand_before),
            "!" | "not" => {}
            _ => self.end_term(),
        }
        Ok(())
    }

    fn open(&mut self, at: usize, token: Token<'a>, open: char) -> Result<(), ConditionError> {
        let before = self.before(at, 1);
        let mut frame = Frame { open, call: None, predicate: false, element: false };
        match (open, before) {
            ('(', Some(Kind::Word(name))) => frame.call = Some(name),
            ('(', _) => {}
            ('[', Some(Kind::Word("result"))) => {
                let first = self.after(at, 1) == Some(Kind::Number(0.0)) && self.after(at, 2) == Some(Kind::Close(']'));
                if !first {
                    return Err(token.refused("only result[0] is allowed: the order of series is not defined"));
                }
            }
            ('{', Some(Kind::Comma)) if self.frames.last().is_some_and(|frame| frame.predicate) => {}
            _ => return Err(token.refused("lists, maps and indexes of anything but result are not allowed")),
        }
        self.frames.push(frame);
        match self.frames.len() {
            found if found > MAX_DEPTH => Err(ConditionError::TooDeep { found }),
            _ => Ok(()),
        }
    }

    fn close(&mut self, token: Token<'a>, close: char) -> Result<(), ConditionError> {
        let wanted = match close {
            ')' => '(',
            ']' => '[',
            _ => '{',
        };
        match self.frames.pop() {
            Some(frame) if frame.open != wanted => Err(token.refused(&format!("a '{}' is still open", frame.open))),
            Some(Frame { predicate: true, element: false, .. }) => {
                Err(token.refused("the condition over the elements does not use #"))
            }
            Some(_) => Ok(()),
            None => Err(token.refused("nothing is open here")),
        }
    }

    fn comma(&mut self, token: Token<'a>) -> Result<(), ConditionError> {
        match self.frames.last_mut() {
            Some(Frame { call: Some(name), predicate, .. }) if PREDICATES.contains(name) => {
                if *predicate {
                    return Err(token.refused("there are two arguments, result and a condition over #"));
                }
                *predicate = true;
                self.end_term();
                Ok(())
            }
            Some(Frame { call: Some(_), .. }) => Ok(()),
            _ => Err(token.refused("commas stand only between the arguments of a function")),
        }
    }

    fn element(&mut self, token: Token<'a>) -> Result<(), ConditionError> {
        self.reads += 1;
        match self.frames.iter_mut().rev().find(|frame| frame.predicate) {
            Some(frame) => {
                frame.element = true;
                Ok(())
            }
            None => Err(token.refused("# stands only in the condition of all, any, none, one and count")),
        }
    }
}
