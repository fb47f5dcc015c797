//! English number words.

/// A number read from the start of a list of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Its value.
    pub value: u64,
    /// Words read.
    pub used: usize,
}

/// A cardinal: "twenty five", "a hundred and one", "three thousand two hundred". Not a row of digits ("one two").
pub fn cardinal(words: &[&str]) -> Option<Read> {
    let mut total = 0;
    let mut used = 0;
    let mut scale_limit = u64::MAX;
    loop {
        // "two thousand and five"
        let and = usize::from(used > 0 && words.get(used) == Some(&"and"));
        let Some(group) = below_thousand(&words[used + and..], used == 0) else { break };
        let after = used + and + group.used;
        match words.get(after).and_then(|word| scale(word)) {
            Some(scale) if scale < scale_limit => {
                total += group.value.checked_mul(scale)?;
                scale_limit = scale;
                used = after + 1;
            }
            Some(_) => break,
            // After a scale the rest must be smaller than it, which below_thousand guarantees; it ends the number.
            None if used == 0 || (scale_limit < u64::MAX && (and == 1 || group.value >= 1)) => {
                return Some(Read { value: total + group.value, used: after });
            }
            None => break,
        }
    }
    (used > 0).then_some(Read { value: total, used })
}

fn below_thousand(words: &[&str], may_be_a: bool) -> Option<Read> {
    let a_hundred =
        may_be_a && words.first() == Some(&"a") && words.get(1).is_some_and(|w| *w == "hundred" || scale(w).is_some());
    let head = if a_hundred { Read { value: 1, used: 1 } } else { below_hundred(words)? };
    if words.get(head.used) != Some(&"hundred") || head.value == 0 {
        return Some(head);
    }
    let value = head.value * 100;
    let used = head.used + 1;
    let and = usize::from(words.get(used) == Some(&"and"));
    match below_hundred(&words[(used + and).min(words.len())..]) {
        Some(rest) if rest.value > 0 => Some(Read { value: value + rest.value, used: used + and + rest.used }),
        _ => Some(Read { value, used }),
    }
}

/// "seven", "nineteen", "forty", "forty two".
pub fn below_hundred(words: &[&str]) -> Option<Read> {
    let first = words.first()?;
    if let Some(tens) = tens(first) {
        let unit = words.get(1).and_then(|word| digit(word)).filter(|unit| *unit > 0);
        return Some(Read { value: tens + unit.unwrap_or(0), used: 1 + usize::from(unit.is_some()) });
    }
    digit(first).or_else(|| teen(first)).map(|value| Read { value, used: 1 })
}

/// An ordinal: "twenty first", "hundredth", "fifth".
pub fn ordinal(words: &[&str]) -> Option<Read> {
    let simple = |word: &str| {
        ORDINALS.iter().position(|name| *name == word).map(|at| at as u64 + 1).or_else(|| {
            TENS.iter()
                .position(|name| name.strip_suffix('y').is_some_and(|stem| word == format!("{stem}ieth")))
                .map(|at| (at as u64 + 2) * 10)
        })
    };
    let first = words.first()?;
    if let (Some(tens), Some(unit)) =
        (tens(first), words.get(1).and_then(|word| simple(word)).filter(|unit| *unit < 10))
    {
        return Some(Read { value: tens + unit, used: 2 });
    }
    simple(first).map(|value| Read { value, used: 1 })
}

/// A year said in two parts ("nineteen ninety nine", "twenty oh five", "eighteen hundred") or as "two thousand (and)
/// five".
pub fn year(words: &[&str]) -> Option<Read> {
    let first = words.first()?;
    let century = teen(first).or_else(|| tens(first)).filter(|century| (11..=20).contains(century));
    if let Some(century) = century {
        if words.get(1) == Some(&"hundred") {
            return Some(Read { value: century * 100, used: 2 });
        }
        if let (Some(&("oh" | "o")), Some(unit)) = (words.get(1), words.get(2).and_then(|word| digit(word))) {
            return Some(Read { value: century * 100 + unit, used: 3 });
        }
        let rest = below_hundred(&words[1..]).filter(|rest| rest.value >= 10)?;
        return Some(Read { value: century * 100 + rest.value, used: 1 + rest.used });
    }
    (words.starts_with(&["two", "thousand"])).then(|| cardinal(words)).flatten().filter(|read| read.value < 2100)
}

/// One digit, "oh" not included.
pub fn digit(word: &str) -> Option<u64> {
    DIGITS.iter().position(|name| *name == word).map(|at| at as u64)
}

fn teen(word: &str) -> Option<u64> {
    TEENS.iter().position(|name| *name == word).map(|at| at as u64 + 10)
}

fn tens(word: &str) -> Option<u64> {
    TENS.iter().position(|name| *name == word).map(|at| (at as u64 + 2) * 10)
}

/// "thousand" and up.
pub fn scale(word: &str) -> Option<u64> {
    match word {
        "thousand" => Some(1_000),
        "million" => Some(1_000_000),
        "billion" => Some(1_000_000_000),
        "trillion" => Some(1_000_000_000_000),
        _ => None,
    }
}

const DIGITS: &[&str] = &["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const TEENS: &[&str] =
    &["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"];
const TENS: &[&str] = &["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
#[rustfmt::skip]
const ORDINALS: &[&str] = &[
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
    "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, how: fn(&[&str]) -> Option<Read>) -> Option<(u64, usize)> {
        let words: Vec<&str> = text.split(' ').collect();
        how(&words).map(|read| (read.value, read.used))
    }

    #[test]
    fn cardinals() {
        for (text, value, used) in [
            ("seven", 7, 1),
            ("twenty five", 25, 2),
            ("one hundred and one dalmatians", 101, 4),
            ("a hundred", 100, 2),
            ("three thousand two hundred and seven", 3207, 6),
            ("two million five hundred thousand", 2_500_000, 5),
            ("two thousand and five", 2005, 4),
            ("one two three", 1, 1),
            ("five and six", 5, 1),
            ("two hundred and then", 200, 2),
        ] {
            assert_eq!(read(text, cardinal), Some((value, used)), "{text}");
        }
        assert_eq!(read("a house", cardinal), None);
    }

    #[test]
    fn ordinals_and_years() {
        assert_eq!(read("twenty first", ordinal), Some((21, 2)));
        assert_eq!(read("thirtieth", ordinal), Some((30, 1)));
        assert_eq!(read("nineteen ninety nine", year), Some((1999, 3)));
        assert_eq!(read("twenty oh five", year), Some((2005, 3)));
        assert_eq!(read("two thousand twenty four", year), Some((2024, 4)));
        assert_eq!(read("twenty five", year), None);
    }
}
