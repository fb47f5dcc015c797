//! Whether a model's text can be the translation asked for.

use crate::language::Lang;
use crate::text::clean::{digit_groups, is_talk, words};

/// What was to be translated.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub text: &'a str,
    pub from: Option<Lang>,
    pub to: Lang,
}

/// Fewer letters than this say nothing about the language.
const LETTERS_TO_JUDGE: usize = 20;

/// `output` without quotation marks around the whole of it that the source does not have.
pub fn unwrapped<'a>(source: &str, output: &'a str) -> &'a str {
    for (open, close) in [('"', '"'), ('“', '”'), ('«', '»'), ('„', '“'), ('「', '」'), ('\'', '\'')] {
        let inner = output.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        if let Some(inner) = inner
            && !source.starts_with(['"', '“', '«', '„', '「', '\''])
            && !inner.contains([open, close])
        {
            return inner.trim();
        }
    }
    output
}

/// Why `output` is no translation of `source`; `None` when nothing speaks against it.
pub fn objection(source: &Source, output: &str) -> Option<&'static str> {
    if !output.chars().any(char::is_alphanumeric) {
        return Some("it was empty");
    }
    if is_talk(output, source.text) {
        return Some("it was an answer or a note, not a translation");
    }
    if output.contains('\n') && !source.text.contains('\n') {
        return Some("it had more lines than the text");
    }
    if !length_fits(source.text, output) {
        return Some("its length was off");
    }
    let (said, written) = (words(source.text), words(output));
    if !is_names_only(source.text) {
        if said == written {
            return Some("it was the text itself");
        }
        let telling: Vec<&String> = said.iter().filter(|word| word.chars().count() >= 4).collect();
        let left = telling.iter().filter(|word| written.contains(word)).count();
        if telling.len() >= 3 && left * 2 >= telling.len() {
            return Some("most of it was not translated");
        }
    }
    if !script_fits(source, output) || !language_fits(source, output) {
        return Some("it was in another language");
    }
    let numbers = digit_groups(output);
    // A single digit may be written as a word; larger numbers stay digits.
    if digit_groups(source.text).iter().any(|number| number.len() > 1 && !numbers.contains(number)) {
        return Some("a number was lost");
    }
    None
}

/// How many letters a text is long, one ideograph or kana counting as three: about what it is in an alphabet.
fn weight(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphanumeric()).map(|c| if is_dense(c) { 3 } else { 1 }).sum()
}

fn length_fits(source: &str, output: &str) -> bool {
    let (before, after) = (weight(source), weight(output));
    // Between languages a factor of three is rare even for a few words; the constant is for those.
    after <= before * 3 + 15 && before <= after * 3 + 15
}

fn is_dense(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff)
}

/// Names and numbers alone ("Anna Kowalska", "BMW X5") are the same in most languages.
fn is_names_only(text: &str) -> bool {
    let all: Vec<&str> = text.split_whitespace().collect();
    let named = |word: &&str| {
        let letters = || word.chars().filter(|c| c.is_alphabetic());
        let capital = letters().next().is_none_or(char::is_uppercase);
        // One capitalised word may be any word at the start of a sentence.
        capital && (all.len() > 1 || word.chars().any(char::is_numeric) || letters().all(char::is_uppercase))
    };
    all.iter().all(named)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Cyrillic,
    Greek,
    Arabic,
    Hebrew,
    Devanagari,
    Thai,
    Hangul,
    Han,
    Kana,
    Other,
}

fn script_of(c: char) -> Script {
    match u32::from(c) {
        0x41..=0x24f | 0x1e00..=0x1eff | 0x2c60..=0x2c7f | 0xa720..=0xa7ff => Script::Latin,
        0x370..=0x3ff | 0x1f00..=0x1fff => Script::Greek,
        0x400..=0x52f => Script::Cyrillic,
        0x590..=0x5ff => Script::Hebrew,
        0x600..=0x77f | 0x8a0..=0x8ff | 0xfb50..=0xfdff | 0xfe70..=0xfeff => Script::Arabic,
        0x900..=0x97f => Script::Devanagari,
        0xe00..=0xe7f => Script::Thai,
        0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7af => Script::Hangul,
        0x3040..=0x30ff | 0x31f0..=0x31ff => Script::Kana,
        0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff => Script::Han,
        _ => Script::Other,
    }
}

/// The scripts a language is written in; `None` where nothing is known.
fn scripts(lang: Lang) -> Option<&'static [Script]> {
    match lang.code() {
        "zh" | "yue" => Some(&[Script::Han]),
        "ja" => Some(&[Script::Han, Script::Kana]),
        "ko" => Some(&[Script::Hangul]),
        "ru" | "uk" | "bg" | "be" | "mk" | "kk" | "mn" | "tg" | "tt" | "ba" => Some(&[Script::Cyrillic]),
        "sr" | "az" | "uz" | "tk" => Some(&[Script::Cyrillic, Script::Latin]),
        "el" => Some(&[Script::Greek]),
        "ar" | "fa" | "ur" | "ps" | "sd" => Some(&[Script::Arabic]),
        "he" | "yi" => Some(&[Script::Hebrew]),
        "hi" | "mr" | "ne" | "sa" => Some(&[Script::Devanagari]),
        "th" => Some(&[Script::Thai]),
        "ta" | "te" | "ml" | "kn" | "bn" | "gu" | "pa" | "si" | "km" | "lo" | "my" | "bo" | "ka" | "hy" | "am"
        | "as" => None,
        _ => Some(&[Script::Latin]),
    }
}

/// At least two thirds of the letters are of the target's script (names may stay in their own).
fn script_fits(source: &Source, output: &str) -> bool {
    let Some(wanted) = scripts(source.to) else { return true };
    let letters: Vec<Script> = output.chars().filter(|c| c.is_alphabetic()).map(script_of).collect();
    let fitting = letters.iter().filter(|script| wanted.contains(script)).count();
    let kana = letters.iter().filter(|script| **script == Script::Kana).count();
    let chinese_with_kana = matches!(source.to.code(), "zh" | "yue") && kana * 10 > letters.len();
    if is_names_only(source.text) || letters.is_empty() {
        return true;
    }
    fitting * 3 >= letters.len() * 2 && !chinese_with_kana
}

/// Where there is enough text and the detector is sure: it is not the source's language, nor another one altogether.
fn language_fits(source: &Source, output: &str) -> bool {
    let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
    if letters(output) < LETTERS_TO_JUDGE || is_names_only(source.text) {
        return true;
    }
    let Some(heard) = whatlang::detect(output).filter(|info| info.is_reliable()) else { return true };
    let Some(heard_code) = iso(heard.lang()) else { return true };
    if heard_code == source.to.code() || are_close(heard_code, source.to.code()) {
        return true;
    }
    let from = source.from.map(Lang::code).or_else(|| whatlang::detect(source.text).and_then(|info| iso(info.lang())));
    // Short text is often taken for some third language; only the source's own, or much text, is proof.
    from != Some(heard_code) && letters(output) < 2 * LETTERS_TO_JUDGE
}

/// Languages that the detector mixes up.
fn are_close(a: &str, b: &str) -> bool {
    const FAMILIES: &[&[&str]] = &[
        &["es", "pt", "gl", "ca", "it", "oc"],
        &["da", "no", "nn", "sv"],
        &["hr", "sr", "bs", "sl", "mk", "bg"],
        &["cs", "sk"],
        &["ru", "uk", "be"],
        &["id", "ms", "jw", "su"],
        &["nl", "af", "de"],
        &["hi", "mr", "ne"],
        &["zh", "yue"],
    ];
    FAMILIES.iter().any(|family| family.contains(&a) && family.contains(&b))
}

#[rustfmt::skip]
fn iso(lang: whatlang::Lang) -> Option<&'static str> {
    use whatlang::Lang as W;
    Some(match lang {
        W::Eng => "en", W::Deu => "de", W::Fra => "fr", W::Spa => "es", W::Por => "pt", W::Ita => "it", W::Nld => "nl",
        W::Rus => "ru", W::Ukr => "uk", W::Pol => "pl", W::Ces => "cs", W::Slk => "sk", W::Tur => "tr", W::Swe => "sv",
        W::Dan => "da", W::Nob => "no", W::Fin => "fi", W::Hun => "hu", W::Ron => "ro", W::Bul => "bg", W::Hrv => "hr",
        W::Srp => "sr", W::Slv => "sl", W::Ell => "el", W::Ara => "ar", W::Heb => "he", W::Pes => "fa", W::Urd => "ur",
        W::Hin => "hi", W::Cmn => "zh", W::Jpn => "ja", W::Kor => "ko", W::Vie => "vi", W::Ind => "id", W::Cat => "ca",
        W::Tha => "th",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, output: &str, from: &str, to: &str) -> Option<&'static str> {
        objection(&Source { text, from: Some(from.parse().unwrap()), to: to.parse().unwrap() }, output)
    }

    #[test]
    fn good_translations_pass() {
        for (text, output, from, to) in [
            ("Hello, how are you?", "Hallo, wie geht es dir?", "en", "de"),
            ("Yes.", "Ja.", "en", "de"),
            ("I will be there at 10:30 on Friday.", "Ich werde am Freitag um 10:30 Uhr dort sein.", "en", "de"),
            ("请在5月15日之前把报告发给我", "Please send me the report before 15 May.", "zh", "en"),
            ("The weather is nice today.", "今天天气很好。", "en", "zh"),
            ("Anna Kowalska", "Anna Kowalska", "en", "de"),
            ("What is the capital of France?", "¿Cuál es la capital de Francia?", "en", "es"),
            ("I bought 3 apples.", "Ich habe drei Äpfel gekauft.", "en", "de"),
            ("Good morning", "Доброе утро", "en", "ru"),
            ("Sure, I can do that.", "Sicher, das kann ich machen.", "en", "de"),
        ] {
            assert_eq!(refused(text, output, from, to), None, "{output}");
        }
    }

    #[test]
    fn what_is_no_translation_is_refused() {
        for (text, output, from, to, reason) in [
            ("Hello, how are you?", "", "en", "de", "it was empty"),
            ("Hello, how are you?", "Hello, how are you?", "en", "de", "it was the text itself"),
            (
                "Hello, how are you?",
                "Sure! Hallo, wie geht es dir?",
                "en",
                "de",
                "it was an answer or a note, not a translation",
            ),
            ("Good morning", "Guten Morgen\n(formal greeting)", "en", "de", "it had more lines than the text"),
            (
                "Hello",
                "Hallo, ich bin ein großes Sprachmodell und helfe Ihnen gern bei allen Fragen.",
                "en",
                "de",
                "its length was off",
            ),
            (
                "The weather is nice today.",
                "The weather is very nice here today, my friend.",
                "en",
                "de",
                "most of it was not translated",
            ),
            (
                "The weather is nice today.",
                "Today the sun shines and it is warm.",
                "en",
                "zh",
                "it was in another language",
            ),
            (
                "El tiempo es muy bueno hoy en la ciudad y en el campo.",
                "Das Wetter ist heute in der Stadt und auf dem Land sehr gut.",
                "es",
                "fr",
                "it was in another language",
            ),
            ("The room costs 150 euros.", "Das Zimmer kostet 105 Euro.", "en", "de", "a number was lost"),
        ] {
            assert_eq!(refused(text, output, from, to), Some(reason), "{output}");
        }
    }

    #[test]
    fn quotation_marks_around_everything_come_off() {
        assert_eq!(unwrapped("Hi", "\"Hallo\""), "Hallo");
        assert_eq!(unwrapped("\"Hi\"", "\"Hallo\""), "\"Hallo\"");
        assert_eq!(unwrapped("Hi", "\"Hallo\" und \"Tschüss\""), "\"Hallo\" und \"Tschüss\"");
    }
}
