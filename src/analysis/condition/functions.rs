//! What conditions may call: Argo Rollouts' helpers, which expr-lang does not have, and stricter forms of the list
//! predicates, which in expr-lang take anything that is not `false` for true.

use expr::{Context, ContextProvider, Environment, Error, Program, Result, Value};

/// What an element of the list is called in a predicate.
const ELEMENT: &str = "#";

pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.add_function("isNaN", |call| Ok(Value::Bool(some(&call.args, "isNaN", f64::is_nan)?)));
    environment.add_function("isInf", |call| Ok(Value::Bool(some(&call.args, "isInf", f64::is_infinite)?)));
    environment.add_function("isNil", |call| Ok(Value::Bool(matches!(one(&call.args, "isNil")?, Value::Nil))));
    environment.add_function("default", |call| match call.args.as_slice() {
        [Value::Nil, other] => Ok(other.clone()),
        [value, _] => Ok(value.clone()),
        _ => Err(refused("default takes a value and what stands in for a missing one")),
    });
    environment.add_function("asFloat", |call| Ok(Value::Float(float(one(&call.args, "asFloat")?)?)));
    environment.add_function("asInt", |call| Ok(Value::Integer(integer(float(one(&call.args, "asInt")?)?)?)));
    environment.add_function("all", |call| {
        Ok(Value::Bool(met(&call.args, call.predicate, call.ctx, call.env)? == list(&call.args)?.len()))
    });
    environment.add_function("any", |call| Ok(Value::Bool(met(&call.args, call.predicate, call.ctx, call.env)? > 0)));
    environment.add_function("none", |call| Ok(Value::Bool(met(&call.args, call.predicate, call.ctx, call.env)? == 0)));
    environment.add_function("one", |call| Ok(Value::Bool(met(&call.args, call.predicate, call.ctx, call.env)? == 1)));
    environment.add_function("count", |call| Ok(Value::from(met(&call.args, call.predicate, call.ctx, call.env)?)));
    environment
}

fn refused(message: &str) -> Error {
    Error::ExprError(message.to_owned())
}

fn one<'a>(args: &'a [Value], name: &str) -> Result<&'a Value> {
    match args {
        [value] => Ok(value),
        _ => Err(refused(&format!("{name} takes one value"))),
    }
}

fn float(value: &Value) -> Result<f64> {
    match value {
        Value::Float(value) => Ok(*value),
        // Integers come from literals and `len`; the few above 2^53 lose their last digits, as in Go.
        Value::Integer(value) => Ok(*value as f64),
        _ => Err(refused("a number was expected")),
    }
}

/// Cuts the fraction off, as Go's `int64(x)` does; what does not fit is refused.
fn integer(value: f64) -> Result<i64> {
    let whole = value.trunc();
    // 2^63: the first number that does not fit.
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole) {
        Ok(whole as i64)
    } else {
        Err(refused("asInt takes a finite number that fits 64 bits"))
    }
}

/// Does the number, or one of the list, have the property?
fn some(args: &[Value], name: &str, property: fn(f64) -> bool) -> Result<bool> {
    match one(args, name)? {
        Value::Array(values) => {
            let numbers: Result<Vec<f64>> = values.iter().map(float).collect();
            Ok(numbers?.into_iter().any(property))
        }
        value => Ok(property(float(value)?)),
    }
}

fn list(args: &[Value]) -> Result<&[Value]> {
    match args {
        [Value::Array(values)] => Ok(values),
        _ => Err(refused("a list and a condition over # were expected")),
    }
}

/// How many elements meet the predicate. Each must give true or false: anything else would count as true unnoticed.
fn met(args: &[Value], predicate: Option<&Program>, outer: &dyn ContextProvider, environment: &Environment<'_>) -> Result<usize> {
    let predicate = predicate.ok_or_else(|| refused("a condition over # was expected"))?;
    let mut met = 0;
    for element in list(args)? {
        match environment.run(predicate, &Element { element, outer })? {
            Value::Bool(true) => met += 1,
            Value::Bool(false) => {}
            _ => return Err(refused("the condition over # gave a value that is not true or false")),
        }
    }
    Ok(met)
}

/// One element of the list, seen as `#`.
struct Element<'a> {
    element: &'a Value,
    outer: &'a dyn ContextProvider,
}

impl ContextProvider for Element<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        if key == ELEMENT { Some(self.element) } else { self.outer.get(key) }
    }

    fn to_context(&self) -> Context {
        let mut context = self.outer.to_context();
        context.insert(ELEMENT, self.element.clone());
        context
    }
}
