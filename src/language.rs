//! Languages, by the codes Whisper uses (ISO 639-1 where there is one). One table serves speech, text and the wire.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A language Whisper knows. Compared and stored by its code; cheap to copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lang(&'static str);

impl Lang {
    /// English: what the English-only models speak and what Whisper's own translation task produces.
    pub const ENGLISH: Lang = Lang("en");

    /// Two- or three-letter code as Whisper spells it: `en`, `de`, `yue`.
    pub fn code(self) -> &'static str {
        self.0
    }

    /// English name, lower case, as OpenAI's `verbose_json` gives it: `german`.
    pub fn english_name(self) -> &'static str {
        TABLE.iter().find(|(code, _)| *code == self.0).map_or(self.0, |(_, name)| name)
    }

    /// English name with a capital, for prompts: `German`.
    pub fn title(self) -> String {
        let name = self.english_name();
        name[..1].to_uppercase() + &name[1..]
    }

    /// Whether words are written without spaces between them (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan).
    pub fn is_unspaced(self) -> bool {
        matches!(self.0, "zh" | "ja" | "yue" | "th" | "lo" | "km" | "my" | "bo")
    }

    /// Every language, in Whisper's order.
    pub fn all() -> impl Iterator<Item = Lang> {
        TABLE.iter().map(|(code, _)| Lang(code))
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A language nobody here knows, with the nearest known one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown language '{given}'; {hint}")]
pub struct UnknownLang {
    /// What was asked for.
    pub given: String,
    /// "did you mean …" or how to see the list.
    pub hint: String,
}

impl FromStr for Lang {
    type Err = UnknownLang;

    /// Accepts a code (`de`), a region tag (`de-AT`, `zh_Hans`) or an English name (`German`).
    fn from_str(given: &str) -> Result<Self, UnknownLang> {
        let lower = given.trim().to_lowercase();
        let primary = lower.split(['-', '_']).next().unwrap_or_default();
        let alias = match lower.as_str() {
            "mandarin" => "zh",
            "castilian" => "es",
            "flemish" => "nl",
            "farsi" => "fa",
            "burmese" => "my",
            _ => "",
        };
        TABLE
            .iter()
            .find(|(code, name)| *code == primary || *name == lower || *code == alias)
            .map(|(code, _)| Lang(code))
            .ok_or_else(|| UnknownLang { given: given.to_owned(), hint: nearest(&lower) })
    }
}

fn nearest(lower: &str) -> String {
    TABLE
        .iter()
        .map(|(code, name)| (strsim::jaro_winkler(lower, name), code, name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, ..)| *score > 0.75)
        .map_or_else(
            || "use a code such as en, de, fr, es, zh".to_owned(),
            |(_, code, name)| format!("did you mean '{code}' ({name})?"),
        )
}

impl utoipa::PartialSchema for Lang {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl utoipa::ToSchema for Lang {}

impl Serialize for Lang {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Lang {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `auto`, or one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LanguageChoice {
    /// Whisper listens first and says which language it hears.
    #[default]
    Auto,
    /// Taken as given.
    Fixed(Lang),
}

impl FromStr for LanguageChoice {
    type Err = UnknownLang;
    fn from_str(given: &str) -> Result<Self, UnknownLang> {
        if given.trim().eq_ignore_ascii_case("auto") || given.trim().is_empty() {
            Ok(LanguageChoice::Auto)
        } else {
            given.parse().map(LanguageChoice::Fixed)
        }
    }
}

impl fmt::Display for LanguageChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LanguageChoice::Auto => f.write_str("auto"),
            LanguageChoice::Fixed(lang) => lang.fmt(f),
        }
    }
}

impl Serialize for LanguageChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LanguageChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whisper's language table (whisper.cpp `g_lang`), codes and English names.
#[rustfmt::skip]
const TABLE: &[(&str, &str)] = &[
    ("en", "english"), ("zh", "chinese"), ("de", "german"), ("es", "spanish"), ("ru", "russian"), ("ko", "korean"),
    ("fr", "french"), ("ja", "japanese"), ("pt", "portuguese"), ("tr", "turkish"), ("pl", "polish"), ("ca", "catalan"),
    ("nl", "dutch"), ("ar", "arabic"), ("sv", "swedish"), ("it", "italian"), ("id", "indonesian"), ("hi", "hindi"),
    ("fi", "finnish"), ("vi", "vietnamese"), ("he", "hebrew"), ("uk", "ukrainian"), ("el", "greek"), ("ms", "malay"),
    ("cs", "czech"), ("ro", "romanian"), ("da", "danish"), ("hu", "hungarian"), ("ta", "tamil"), ("no", "norwegian"),
    ("th", "thai"), ("ur", "urdu"), ("hr", "croatian"), ("bg", "bulgarian"), ("lt", "lithuanian"), ("la", "latin"),
    ("mi", "maori"), ("ml", "malayalam"), ("cy", "welsh"), ("sk", "slovak"), ("te", "telugu"), ("fa", "persian"),
    ("lv", "latvian"), ("bn", "bengali"), ("sr", "serbian"), ("az", "azerbaijani"), ("sl", "slovenian"),
    ("kn", "kannada"), ("et", "estonian"), ("mk", "macedonian"), ("br", "breton"), ("eu", "basque"),
    ("is", "icelandic"), ("hy", "armenian"), ("ne", "nepali"), ("mn", "mongolian"), ("bs", "bosnian"),
    ("kk", "kazakh"), ("sq", "albanian"), ("sw", "swahili"), ("gl", "galician"), ("mr", "marathi"), ("pa", "punjabi"),
    ("si", "sinhala"), ("km", "khmer"), ("sn", "shona"), ("yo", "yoruba"), ("so", "somali"), ("af", "afrikaans"),
    ("oc", "occitan"), ("ka", "georgian"), ("be", "belarusian"), ("tg", "tajik"), ("sd", "sindhi"), ("gu", "gujarati"),
    ("am", "amharic"), ("yi", "yiddish"), ("lo", "lao"), ("uz", "uzbek"), ("fo", "faroese"), ("ht", "haitian creole"),
    ("ps", "pashto"), ("tk", "turkmen"), ("nn", "nynorsk"), ("mt", "maltese"), ("sa", "sanskrit"),
    ("lb", "luxembourgish"), ("my", "myanmar"), ("bo", "tibetan"), ("tl", "tagalog"), ("mg", "malagasy"),
    ("as", "assamese"), ("tt", "tatar"), ("haw", "hawaiian"), ("ln", "lingala"), ("ha", "hausa"), ("ba", "bashkir"),
    ("jw", "javanese"), ("su", "sundanese"), ("yue", "cantonese"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_names_and_regions_are_understood() {
        for (given, code) in [("de", "de"), ("German", "de"), ("zh-CN", "zh"), ("pt_BR", "pt"), ("mandarin", "zh")] {
            assert_eq!(given.parse::<Lang>().map(Lang::code), Ok(code));
        }
        assert_eq!(Lang::ENGLISH.title(), "English");
    }

    #[test]
    fn an_unknown_language_names_the_nearest() {
        let error = "germann".parse::<Lang>().unwrap_err().to_string();
        assert!(error.contains("'germann'") && error.contains("'de'"), "{error}");
        assert_eq!("auto".parse(), Ok(LanguageChoice::Auto));
    }
}
