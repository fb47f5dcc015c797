//! Which characters are punctuation, which scripts write without spaces, and which marks each language uses.
//!
//! The definition of punctuation decides what cleanup may touch: what is not in [`is_punctuation`] belongs to a word
//! and is spelled exactly as the speaker's text has it (symbols such as `%`, `$`, `#`, `@`, `_`, `/`, `+`, hyphens
//! attached to a word, zero-width and bidirectional controls, emoji).

use crate::language::Lang;
use unicode_normalization::char::is_combining_mark;

/// Marks that may stand at the edge of a word without being part of it.
pub fn is_punctuation(c: char) -> bool {
    is_mark(c) || is_quote_or_bracket(c)
}

/// Marks that cleanup may set, change or drop.
pub fn is_mark(c: char) -> bool {
    matches!(
        c,
        '.' | ','
            | ';'
            | ':'
            | '!'
            | '?'
            | '…'
            | '–'
            | '—'
            | '―'
            | '¿'
            | '¡'
            | '\u{37e}'
            | '\u{387}'
            | '·'
            | '。'
            | '，'
            | '、'
            | '；'
            | '：'
            | '！'
            | '？'
            | '．'
            | '｡'
            | '､'
            | '・'
            | '،'
            | '؛'
            | '؟'
            | '۔'
            | '।'
            | '॥'
            | '։'
            | '՝'
            | '።'
            | '፣'
            | '၊'
            | '။'
            | '།'
            | '។'
    )
}

/// Quotes and brackets: kept where they stand, never invented.
pub fn is_quote_or_bracket(c: char) -> bool {
    is_opener(c) || is_closer(c) || matches!(c, '"' | '\'' | '“' | '‘' | '”' | '’' | '‛' | '‟' | '＂')
}

/// Marks that belong to the word after them, whatever stands before.
pub fn is_opener(c: char) -> bool {
    matches!(c, '(' | '[' | '{' | '«' | '‹' | '„' | '‚' | '¿' | '¡' | '「' | '『' | '（' | '《' | '〈' | '【' | '［')
}

fn is_closer(c: char) -> bool {
    matches!(c, ')' | ']' | '}' | '»' | '›' | '」' | '』' | '）' | '》' | '〉' | '】' | '］')
}

/// The opening bracket that `c` closes; only brackets that also stand inside code and formulas.
pub fn opening_of(c: char) -> Option<char> {
    match c {
        ')' => Some('('),
        ']' => Some('['),
        '}' => Some('{'),
        '）' => Some('（'),
        _ => None,
    }
}

/// Marks that end a sentence.
pub fn is_terminal(c: char) -> bool {
    matches!(c, '.' | '?' | '!' | '…' | '。' | '？' | '！' | '．' | '｡' | '؟' | '۔' | '।' | '॥' | '։' | '።' | '။' | '។')
}

/// Separates words and is not part of the text: white space and control characters.
pub fn is_separator(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// Scripts written without spaces: each character is a unit of its own, and a mark may stand after any of them.
/// Ranges from the Unicode block list.
pub fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0e00..=0x0e7f          // Thai
        | 0x0e80..=0x0eff        // Lao
        | 0x0f00..=0x0f0c | 0x0f0e..=0x0fff // Tibetan without its full stop
        | 0x1000..=0x1049 | 0x1050..=0x109f // Myanmar without its stops
        | 0x1780..=0x17d3 | 0x17d7..=0x17ff // Khmer without its stops
        | 0x3005..=0x3007 | 0x3040..=0x30fa | 0x30fc..=0x30ff | 0x3100..=0x312f | 0x31f0..=0x31ff
        | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0xff66..=0xff9f | 0x20000..=0x3ffff
    )
}

/// Whether `c` attaches to the character before it, so that nothing may be set between them.
pub fn attaches(c: char) -> bool {
    is_combining_mark(c)
}

/// The marks that cleanup may set in a language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Inside a sentence, most usual first; a leading space where the language sets one.
    pub middle: &'static [&'static str],
    /// At the end of a sentence: statement first, question second, exclamation third; empty where the script has none.
    pub end: &'static [&'static str],
    /// Set before a word where a question or an exclamation starts.
    pub opening: &'static [&'static str],
    /// Whether marks stand directly between characters (full-width marks).
    pub full_width: bool,
}

impl Marks {
    /// The marks of `lang`; Latin ones where nothing else is known.
    pub fn of(lang: Lang) -> Marks {
        let latin = Marks { middle: &[",", ":", ";"], end: &[".", "?", "!"], opening: &[], full_width: false };
        match lang.code() {
            // French sets a space before the high marks.
            "fr" => Marks { middle: &[",", " :", " ;"], end: &[".", " ?", " !"], ..latin },
            "es" | "gl" => Marks { opening: &["¿", "¡"], ..latin },
            "zh" | "yue" => {
                Marks { middle: &["，", "、", "：", "；"], end: &["。", "？", "！"], full_width: true, ..latin }
            }
            "ja" => Marks { middle: &["、"], end: &["。", "？", "！"], full_width: true, ..latin },
            "ar" | "fa" | "ps" | "sd" => Marks { middle: &["،", "؛", ":"], end: &[".", "؟", "!"], ..latin },
            "ur" => Marks { middle: &["،", "؛", ":"], end: &["۔", "؟", "!"], ..latin },
            "hi" | "mr" | "ne" | "sa" | "bn" | "pa" | "as" => Marks { end: &["।", "?", "!"], ..latin },
            "el" => Marks { middle: &[",", ":"], end: &[".", ";", "!"], ..latin },
            "hy" => Marks { middle: &[","], end: &["։"], ..latin },
            "am" => Marks { middle: &["፣"], end: &["።", "?", "!"], ..latin },
            "th" | "lo" | "km" | "my" | "bo" => Marks { middle: &[], end: &[], ..latin },
            _ => latin,
        }
    }

    /// The full stop of the language, if it has one.
    pub fn full_stop(&self) -> &'static str {
        self.end.first().copied().unwrap_or_default()
    }

    /// The question mark of the language, or its full stop.
    pub fn question(&self) -> &'static str {
        self.end.get(1).copied().unwrap_or_else(|| self.full_stop())
    }
}

/// `word` with its first letter in upper case, where that is one letter for one letter and can be undone.
pub fn capitalised(word: &str) -> Option<String> {
    let first = word.chars().next()?;
    let mut upper = first.to_uppercase();
    let (Some(capital), None) = (upper.next(), upper.next()) else { return None };
    let mut lower = capital.to_lowercase();
    // Georgian capitals are for headlines only; the Latin digraphs need title case, which is another letter.
    let excluded = matches!(u32::from(first), 0x10d0..=0x10ff | 0x01c4..=0x01cc | 0x01f1..=0x01f3);
    (capital != first && !excluded && lower.next() == Some(first) && lower.next().is_none())
        .then(|| format!("{capital}{}", &word[first.len_utf8()..]))
}

/// `word` with its first letter in lower case, on the same terms.
pub fn uncapitalised(word: &str) -> Option<String> {
    let first = word.chars().next()?;
    let mut lower = first.to_lowercase();
    let (Some(small), None) = (lower.next(), lower.next()) else { return None };
    let restored = format!("{small}{}", &word[first.len_utf8()..]);
    (small != first && capitalised(&restored).as_deref() == Some(word)).then_some(restored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_changes_only_where_it_can_be_undone() {
        assert_eq!(capitalised("élan").as_deref(), Some("Élan"));
        assert_eq!(uncapitalised("Élan").as_deref(), Some("élan"));
        for odd in ["ßa", "ŉa", "ǆa", "ა", "1st", "北", "", "K"] {
            assert_eq!(capitalised(odd), None, "{odd}");
        }
        assert_eq!(uncapitalised("İstanbul"), None);
    }

    #[test]
    fn no_character_is_both_punctuation_and_a_script_without_spaces() {
        for c in (0..=0x10ffff).filter_map(char::from_u32) {
            assert!(!(is_punctuation(c) && (is_unspaced(c) || attaches(c) || is_separator(c))), "{c:?}");
        }
    }
}
