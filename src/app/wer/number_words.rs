//! The vocabulary of English numbers.

const ONES: [&str; 19] = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
/// As the original builds them: `nineth`, so that `ninth` stays a word, there as here.
const ORDINALS: [&str; 20] = [
    "zeroth",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "nineth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
];
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
pub(super) const MULTIPLIERS: [&str; 12] = [
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "quadrillion",
    "quintillion",
    "sextillion",
    "septillion",
    "octillion",
    "nonillion",
    "decillion",
];

/// What a word means inside a number.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Meaning {
    Other,
    Zero,
    Ones(u128),
    /// `thirds`, `fifth`: the number ends here.
    OnesEnding(u128, &'static str),
    Tens(u128),
    TensEnding(u128, &'static str),
    Multiplier(u128),
    MultiplierEnding(u128, &'static str),
    /// `minus`: a sign before the number.
    Sign(char),
    /// `dollars`: a sign said after the number and written before it.
    Currency(char),
    Percent,
    /// Of `per cent`.
    Per,
    And,
    Repeat(usize),
    Point,
}

fn position(list: &[&str], word: &str) -> Option<usize> {
    list.iter().position(|listed| *listed == word)
}

fn power(at: usize) -> u128 {
    if at == 0 { 100 } else { 1000u128.pow(at as u32) }
}

pub(super) fn meaning(word: &str) -> Meaning {
    if let Some(at) = position(&ONES, word) {
        return Meaning::Ones(at as u128 + 1);
    }
    if let Some(at) = position(&TENS, word) {
        return Meaning::Tens(at as u128 * 10 + 20);
    }
    if let Some(at) = position(&MULTIPLIERS, word) {
        return Meaning::Multiplier(power(at));
    }
    if let Some(at) = position(&ORDINALS, word) {
        let ending = ["th", "st", "nd", "rd"].get(at).copied().unwrap_or("th");
        return Meaning::OnesEnding(at as u128, ending);
    }
    // Plurals: ones, sixes, twenties, hundreds; and the ordinals of tens and powers.
    let plural = if word == "sixes" { Some("six") } else { word.strip_suffix('s').filter(|stem| *stem != "six") };
    if let Some(at) = plural.and_then(|stem| position(&ONES, stem)) {
        return Meaning::OnesEnding(at as u128 + 1, "s");
    }
    for (ending, written) in [("ies", "s"), ("ieth", "th")] {
        let tens = word.strip_suffix(ending).and_then(|stem| position(&TENS, &format!("{stem}y")));
        if let Some(at) = tens {
            return Meaning::TensEnding(at as u128 * 10 + 20, written);
        }
    }
    for written in ["s", "th"] {
        if let Some(at) = word.strip_suffix(written).and_then(|stem| position(&MULTIPLIERS, stem)) {
            return Meaning::MultiplierEnding(power(at), written);
        }
    }
    match word {
        "o" | "oh" | "zero" => Meaning::Zero,
        "minus" | "negative" => Meaning::Sign('-'),
        "plus" | "positive" => Meaning::Sign('+'),
        "pound" | "pounds" => Meaning::Currency('£'),
        "euro" | "euros" => Meaning::Currency('€'),
        "dollar" | "dollars" => Meaning::Currency('$'),
        "cent" | "cents" => Meaning::Currency('¢'),
        "per" => Meaning::Per,
        "percent" => Meaning::Percent,
        "and" => Meaning::And,
        "double" => Meaning::Repeat(2),
        "triple" => Meaning::Repeat(3),
        "point" => Meaning::Point,
        _ => Meaning::Other,
    }
}
