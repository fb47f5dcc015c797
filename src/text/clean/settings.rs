//! What a user can set about cleanup.

use std::time::Duration;

/// Settings of cleanup. The built-in fillers of each language come on top.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanSettings {
    /// More fillers, words or phrases, in any language.
    pub fillers: Vec<String>,
    /// Whether spoken marks ("comma", "new line") become marks.
    pub spoken_punctuation: SpokenPunctuation,
    /// The user's own table: what is said, what is written. Whole words, any case; the longest match wins, then the
    /// first.
    pub replacements: Vec<(String, String)>,
    /// Names and jargon: near misses are corrected to them.
    pub vocabulary: Vec<String>,
    /// Whether spoken numbers, dates, money and times become digits.
    pub numbers: Numbers,
    /// Whether text that is already written well goes through the model all the same.
    pub written_text: WrittenText,
    /// For one request to the model (at most about 100 words). What takes longer gets rules.
    pub timeout: Duration,
    /// Slot of the server whose cache holds the cleanup prompt; only used while `concurrency` is 1.
    pub slot: Option<u32>,
    /// Requests at a time for long text: the slots the server has for cleanup. At least 1.
    pub concurrency: usize,
}

impl Default for CleanSettings {
    fn default() -> Self {
        CleanSettings {
            fillers: Vec::new(),
            spoken_punctuation: SpokenPunctuation::default(),
            replacements: Vec::new(),
            vocabulary: Vec::new(),
            numbers: Numbers::default(),
            written_text: WrittenText::default(),
            timeout: Duration::from_secs(30),
            slot: None,
            concurrency: 1,
        }
    }
}

/// Spoken punctuation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpokenPunctuation {
    /// Words stay words.
    Off,
    /// Only phrases that are hardly ever meant otherwise ("new line", "new paragraph", "question mark", "full stop")
    /// and only where they can stand as marks: not after an article or "the", not before "of".
    #[default]
    Conservative,
    /// Single words too ("comma", "period", "colon"), still not where they are clearly nouns.
    Always,
}

/// Inverse text normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// As spoken.
    #[default]
    Spoken,
    /// Digits, where the language is supported.
    Digits,
}

/// Text that has its capitals and marks already, as Whisper mostly gives it.
///
/// On such text Qwen2.5-Coder-0.5B gave back what it got, and SmolLM2-135M set commas where none belong; larger models
/// can better Whisper's marks. So the model is the default, and `Rules` is right for the smallest models and where
/// every tenth of a second counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WrittenText {
    /// Left to the rules: no time is spent where a model could only take marks away.
    Rules,
    /// Through the model like any other.
    #[default]
    Model,
}
