//! Spoken numbers to digits.

use super::english;
use crate::language::Lang;
use text2num::{Language, replace_numbers_in_text};

/// Single numbers below this stay words in the languages other than English, as good style has it.
const THRESHOLD: f64 = 10.0;

/// `text` with its spoken numbers as digits. English: cardinals, ordinals, years, decimals, percent, money, times,
/// dates, telephone numbers. German, French, Spanish, Portuguese, Italian, Dutch: cardinals, ordinals, decimals.
/// Other languages: unchanged.
pub fn write_digits(text: &str, lang: Lang) -> String {
    let language = match lang.code() {
        "en" => return english::write_digits(text),
        "de" => Language::german(),
        "fr" => Language::french(),
        "es" => Language::spanish(),
        "pt" => Language::portugese(),
        "it" => Language::italian(),
        "nl" => Language::dutch(),
        _ => return text.to_owned(),
    };
    replace_numbers_in_text(text, &language, THRESHOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_languages_get_digits_too() {
        for (text, lang, digits) in [
            ("wir brauchen fünfundzwanzig Stühle", "de", "wir brauchen 25 Stühle"),
            ("il y a quatre-vingt-douze pages", "fr", "il y a 92 pages"),
            ("son ochenta y cinco euros", "es", "son 85 euros"),
            ("são vinte e cinco pessoas", "pt", "são 25 pessoas"),
            ("二十五", "zh", "二十五"),
        ] {
            assert_eq!(write_digits(text, lang.parse().unwrap()), digits);
        }
    }
}
