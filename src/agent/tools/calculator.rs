//! `calculator`: arithmetic in exact fractions. Nothing but numbers, operators and a few functions is understood.

use super::{Arguments, Outcome, object, text};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{FromPrimitive, One, Pow, Signed, ToPrimitive, Zero};
use serde_json::{Value, json};

/// Longest expression, characters.
const MAX_LENGTH: usize = 1000;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// Most bits of a numerator or a denominator: some 1200 digits.
const MAX_BITS: u64 = 4096;
/// Digits of a result that is not a finite decimal.
const DIGITS: usize = 15;

pub(super) fn spec() -> (&'static str, &'static str, Value) {
    let expression = json!({
        "type": "string",
        "description": "numbers with + - * / % ^ and brackets, sqrt(), abs(), round(); such as (17 + 4) * 3.5",
    });
    let description = "The exact result of an arithmetic expression. Use it for any calculation.";
    ("calculator", description, object(&[("expression", expression)], 1))
}

pub(super) fn call(arguments: &Arguments) -> Outcome {
    evaluate(text(arguments, "expression"))
}

/// The value of an expression, or what is wrong with it.
fn evaluate(expression: &str) -> Outcome {
    if expression.chars().count() > MAX_LENGTH {
        return Err(format!("the expression is longer than {MAX_LENGTH} characters"));
    }
    let mut parser = Parser { rest: expression.chars().collect(), at: 0, depth: 0 };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(shown(&value)),
        Some(c) => Err(format!("'{c}' is not understood; use numbers, + - * / % ^, brackets, sqrt, abs, round")),
    }
}

struct Parser {
    rest: Vec<char>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&mut self) -> Option<char> {
        while self.rest.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.rest.get(self.at).copied()
    }

    fn take(&mut self, wanted: &[char]) -> Option<char> {
        let found = self.peek().filter(|c| wanted.contains(c))?;
        self.at += 1;
        Some(found)
    }

    fn sum(&mut self) -> Result<BigRational, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the expression is nested too deeply".into());
        }
        let mut value = self.product()?;
        while let Some(operator) = self.take(&['+', '-', '−', '–']) {
            let right = self.product()?;
            value = bounded(if operator == '+' { value + right } else { value - right })?;
        }
        self.depth -= 1;
        Ok(value)
    }

    fn product(&mut self) -> Result<BigRational, String> {
        let mut value = self.signed()?;
        while let Some(operator) = self.take(&['*', '×', '·', '/', '÷', '%']) {
            // "**" is a power in some languages.
            if operator == '*' && self.rest.get(self.at) == Some(&'*') {
                self.at += 1;
                value = power(&value, &self.signed()?)?;
                continue;
            }
            // A percent sign at the end of a number: 15% of something.
            if operator == '%' && self.peek().is_none_or(|c| "+-*/)×÷^".contains(c)) {
                value = bounded(value / BigRational::from_integer(100.into()))?;
                continue;
            }
            let right = self.signed()?;
            if !matches!(operator, '*' | '×' | '·') && right.is_zero() {
                return Err("division by zero".into());
            }
            value = bounded(match operator {
                '/' | '÷' => value / right,
                '%' => {
                    let whole = (&value / &right).floor();
                    value - right * whole
                }
                _ => value * right,
            })?;
        }
        Ok(value)
    }

    fn signed(&mut self) -> Result<BigRational, String> {
        let mut negative = false;
        while let Some(sign) = self.take(&['+', '-', '−', '–']) {
            negative ^= sign != '+';
        }
        let value = self.power()?;
        Ok(if negative { -value } else { value })
    }

    /// Binds tighter than a sign before it and to the right: -2^2 is -4, 2^3^2 is 512.
    fn power(&mut self) -> Result<BigRational, String> {
        let base = self.atom()?;
        if self.take(&['^']).is_none() {
            return Ok(base);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the expression is nested too deeply".into());
        }
        let exponent = self.signed()?;
        self.depth -= 1;
        power(&base, &exponent)
    }

    fn atom(&mut self) -> Result<BigRational, String> {
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let value = self.sum()?;
                self.take(&[')']).ok_or("a closing bracket is missing")?;
                Ok(value)
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_alphabetic() || c == '√' => self.function(),
            Some(c) => Err(format!("a number is missing before '{c}'")),
            None => Err("the expression ends where a number is missing".into()),
        }
    }

    /// Digits with a point, and an exponent; `_` and commas between groups of three are left out.
    fn number(&mut self) -> Result<BigRational, String> {
        let mut digits = String::new();
        let mut decimals = None;
        while let Some(c) = self.rest.get(self.at).copied() {
            let group = || self.rest[self.at + 1..].iter().take_while(|c| c.is_ascii_digit()).count() == 3;
            match c {
                '0'..='9' => {
                    digits.push(c);
                    decimals = decimals.map(|count: u32| count + 1);
                }
                '.' if decimals.is_none() => decimals = Some(0),
                '_' => {}
                ',' if decimals.is_none() && group() => {}
                _ => break,
            }
            self.at += 1;
        }
        let whole: BigInt = digits.parse().map_err(|_| "a point without digits is no number")?;
        let mut value = BigRational::new(whole, ten(decimals.unwrap_or(0)));
        if let Some('e' | 'E') = self.rest.get(self.at) {
            let tail: String =
                self.rest[self.at + 1..].iter().take_while(|c| c.is_ascii_digit() || "+-".contains(**c)).collect();
            if let Ok(exponent) = tail.parse::<i32>() {
                if exponent.unsigned_abs() > 1000 {
                    return Err("the number is too large".into());
                }
                self.at += 1 + tail.chars().count();
                let factor = BigRational::from_integer(ten(exponent.unsigned_abs()));
                value = if exponent < 0 { value / factor } else { value * factor };
            }
        }
        bounded(value)
    }

    fn function(&mut self) -> Result<BigRational, String> {
        // The sign needs no brackets: √16.
        let sign = self.peek() == Some('√');
        let letters = self.rest[self.at..].iter().take_while(|c| c.is_alphanumeric());
        let name: String = if sign { "√".to_owned() } else { letters.collect() };
        self.at += name.chars().count();
        let name = name.to_lowercase();
        if name == "pi" || name == "π" {
            return BigRational::from_f64(std::f64::consts::PI).ok_or_else(|| "pi".to_owned());
        }
        if !["sqrt", "√", "abs", "round", "floor", "ceil"].contains(&name.as_str()) {
            return Err(format!("'{name}' is not known; there are sqrt, abs, round, floor, ceil and pi"));
        }
        let value = self.atom()?;
        Ok(match name.as_str() {
            "abs" => value.abs(),
            "round" => value.round(),
            "floor" => value.floor(),
            "ceil" => value.ceil(),
            _ => root(&value)?,
        })
    }
}

fn ten(exponent: u32) -> BigInt {
    Pow::pow(BigInt::from(10), exponent)
}

/// Exact where the root is a fraction.
fn root(value: &BigRational) -> Result<BigRational, String> {
    if value.is_negative() {
        return Err("the square root of a negative number is not a real number".into());
    }
    let exact = BigRational::new(value.numer().sqrt(), value.denom().sqrt());
    if &exact * &exact == *value {
        return Ok(exact);
    }
    let near = value.to_f64().filter(|near| near.is_finite()).map(f64::sqrt);
    near.and_then(BigRational::from_f64).ok_or_else(too_large)
}

fn power(base: &BigRational, exponent: &BigRational) -> Result<BigRational, String> {
    if !exponent.is_integer() {
        let near = base.to_f64().zip(exponent.to_f64()).map(|(base, exponent)| base.powf(exponent));
        let near = near.filter(|near| near.is_finite()).and_then(BigRational::from_f64);
        return near.ok_or_else(|| "that power is not a real number, or too large".to_owned());
    }
    if base.is_zero() && exponent.is_negative() {
        return Err("division by zero".into());
    }
    if base.is_zero() || (base.is_one() && exponent.is_positive()) {
        return Ok(if exponent.is_zero() { BigRational::one() } else { base.clone() });
    }
    let exponent = exponent.to_integer().to_i32().ok_or_else(too_large)?;
    let bits = base.numer().bits().max(base.denom().bits());
    // Before anything is computed: 9^9^9 would take the machine with it.
    if bits.saturating_sub(1).saturating_mul(u64::from(exponent.unsigned_abs())) > MAX_BITS {
        return Err(too_large());
    }
    bounded(Pow::pow(base, exponent))
}

fn bounded(value: BigRational) -> Result<BigRational, String> {
    if value.numer().bits().max(value.denom().bits()) > MAX_BITS { Err(too_large()) } else { Ok(value) }
}

fn too_large() -> String {
    "the result is too large".to_owned()
}

/// A whole number or a finite decimal exactly; anything else to fifteen digits, marked as such.
fn shown(value: &BigRational) -> String {
    if value.is_integer() {
        return value.to_integer().to_string();
    }
    let mut scaled = value.clone();
    for decimals in 1..=30 {
        scaled *= BigRational::from_integer(10.into());
        if scaled.is_integer() {
            return point(&scaled.to_integer(), decimals);
        }
    }
    let near = value.to_f64().filter(|near| near.is_finite() && *near != 0.0);
    near.map_or_else(|| format!("{value}"), |near| format!("about {}", round_digits(near)))
}

fn point(digits: &BigInt, decimals: usize) -> String {
    let sign = if digits.is_negative() { "-" } else { "" };
    let text = format!("{:0>width$}", digits.abs().to_string(), width = decimals + 1);
    let (whole, part) = text.split_at(text.len() - decimals);
    format!("{sign}{whole}.{part}")
}

fn round_digits(near: f64) -> String {
    let text = format!("{near:.*e}", DIGITS - 1);
    text.parse::<f64>().map_or(text, |rounded| rounded.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_exact() {
        let cases = [
            ("17 * 23 + 4", "395"),
            ("0.1 + 0.2", "0.3"),
            ("1,234,567 + 1", "1234568"),
            ("2^10", "1024"),
            ("2**10", "1024"),
            ("-2^2", "-4"),
            ("2^3^2", "512"),
            ("2^-2", "0.25"),
            ("10 / 4", "2.5"),
            ("1/3", "about 0.333333333333333"),
            ("(1/3)*3", "1"),
            ("17 % 5", "2"),
            ("200 * 15%", "30"),
            ("sqrt(2.25)", "1.5"),
            ("√16 + abs(-3)", "7"),
            ("round(2.5)", "3"),
            ("1e3 + 1.5e-1", "1000.15"),
            ("12 × 12 ÷ 6 − 4", "20"),
            ("99999999999999999999 + 1", "100000000000000000000"),
            ("-0.05", "-0.05"),
        ];
        for (expression, result) in cases {
            assert_eq!(evaluate(expression).as_deref(), Ok(result), "{expression}");
        }
        assert!(evaluate("sqrt(2)").unwrap().starts_with("about 1.4142135623"));
    }

    #[test]
    fn what_cannot_be_computed_is_said_at_once() {
        let deep = format!("{}1{}", "(".repeat(500), ")".repeat(400));
        let powers = "2^".repeat(400) + "1";
        let cases = [
            ("1/0", "zero"),
            ("1 % 0", "zero"),
            ("0^-1", "zero"),
            ("9^9^9", "large"),
            ("10^5000", "large"),
            ("1e999999", "large"),
            ("sqrt(-1)", "negative"),
            ("2 +", "ends"),
            ("(1", "bracket"),
            ("", "ends"),
            ("import('os')", "not known"),
            ("1; 2", "not understood"),
            (deep.as_str(), "nested"),
            (powers.as_str(), "nested"),
        ];
        for (expression, word) in cases {
            let error = evaluate(expression).unwrap_err();
            assert!(error.contains(word), "{expression}: {error}");
        }
        assert!(evaluate(&"1+".repeat(600)).unwrap_err().contains("longer"));
    }
}
