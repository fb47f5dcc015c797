//! `[dictate]`: push-to-talk.

use super::{FeedbackConfig, HotkeyConfig, Shortcut, ShortcutError};
use crate::language::Lang;
use crate::language::LanguageChoice;
use crate::outcome::{Route, Style};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The key where the configuration names no binding: hardly any desktop uses it, and it needs no modifier, which would
/// still be held when text is pasted.
const DEFAULT_KEY: &str = "F9";

/// `[dictate]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DictateConfig {
    /// Where recordings and the history are; empty: the platform's data folder.
    pub data_dir: PathBuf,
    /// Microphone: its name, or a part of it; empty: the system's default.
    pub microphone: String,
    /// The microphone stays open, so that nothing before the key is lost. Otherwise it is opened by the key.
    pub warm: bool,
    /// Of an open microphone: seconds before the key that belong to the take.
    pub pre_roll_seconds: f64,
    /// Seconds that are still recorded after the release.
    pub release_tail_seconds: f64,
    /// A press this many seconds after a release of the same key is autorepeat or a bouncing contact.
    pub debounce_seconds: f64,
    /// In mode auto: a press shorter than this is a tap.
    pub tap_seconds: f64,
    /// Shorter takes are slips of the finger.
    pub min_seconds: f64,
    /// A take ends by itself after this.
    pub max_seconds: f64,
    /// A pause of so many seconds ends a phrase, which is then recognised and cleaned while you go on.
    pub pause_seconds: f64,
    /// Longest phrase, seconds; speech without a pause is cut at its quietest place. The last phrase is what is left to
    /// do after the release: up to 7.6 s Whisper takes no longer for it than for two words (see `short_context`).
    pub max_utterance_seconds: f64,
    /// Seconds of new speech between two looks at the phrase that is being spoken, for the text shown meanwhile; 0: only
    /// in pauses.
    pub partial_seconds: f64,
    /// Seconds after the end of the recording that cleanup may take before the text is delivered without it.
    pub deadline_seconds: f64,
    /// So much more for every word.
    pub deadline_word_seconds: f64,
    /// Where text goes: `insert`, `clipboard`, `stdout`, `file:PATH` (appended) or `command:PROGRAM ARGUMENTS`.
    pub output: String,
    /// Where a model's answer goes: `notify`, `clipboard` or `insert`.
    pub answer: Answer,
    /// Nothing is kept: no audio, no text.
    pub private: bool,
    /// What is kept and for how long.
    pub history: HistoryConfig,
    /// Who tells us about keys.
    pub hotkey: HotkeyConfig,
    /// What is heard and seen.
    pub feedback: FeedbackConfig,
    /// How text gets into windows.
    pub insert: crate::output::insert::InsertConfig,
    /// Keys, each with its own plan. None: one named `dictate` on the key F9.
    pub binding: Vec<BindingConfig>,
    /// What is different in certain applications. The first that fits counts.
    pub application: Vec<ApplicationConfig>,
    /// What is said (the whole take) → the text that is written instead.
    pub snippets: BTreeMap<String, String>,
    /// What is said to a binding with the plan `command` → the program that is started, with arguments.
    pub commands: BTreeMap<String, String>,
}

impl Default for DictateConfig {
    fn default() -> Self {
        DictateConfig {
            data_dir: PathBuf::new(),
            microphone: String::new(),
            warm: false,
            pre_roll_seconds: 0.5,
            release_tail_seconds: 0.25,
            debounce_seconds: 0.05,
            tap_seconds: 0.3,
            min_seconds: 0.15,
            max_seconds: 900.0,
            pause_seconds: 0.5,
            max_utterance_seconds: 7.5,
            partial_seconds: 1.5,
            deadline_seconds: 0.8,
            deadline_word_seconds: 0.03,
            output: "insert".into(),
            answer: Answer::Notify,
            insert: crate::output::insert::InsertConfig::default(),
            private: false,
            history: HistoryConfig::default(),
            hotkey: HotkeyConfig::default(),
            feedback: FeedbackConfig::default(),
            binding: Vec::new(),
            application: Vec::new(),
            snippets: BTreeMap::new(),
            commands: BTreeMap::new(),
        }
    }
}

/// Where a model's answer goes. It is always shown while it comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Overlay and notification only.
    #[default]
    Notify,
    /// The clipboard as well.
    Clipboard,
    /// Into the window, as text is.
    Insert,
}

/// `[dictate.history]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Days that a take's text is kept; 0: for ever.
    pub keep_days: f64,
    /// Days that its audio is kept; 0: as long as the text.
    pub keep_audio_days: f64,
    /// Bytes that all audio may take together; the oldest goes first. 0: no limit.
    pub keep_audio_bytes: u64,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        HistoryConfig { keep_days: 90.0, keep_audio_days: 7.0, keep_audio_bytes: 1 << 30 }
    }
}

/// What becomes of what is said to a binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanKind {
    /// Text.
    #[default]
    Dictate,
    /// Text in the language that `to` names.
    Translate,
    /// Straight to the heavy model.
    Agent,
    /// The intent decides between text and an answer.
    Auto,
    /// A program: `run` with the text on its standard input, or what `dictate.commands` has for these words.
    Command,
}

/// `[[dictate.binding]]`
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BindingConfig {
    /// Name, for `bestbox ctl` and for messages.
    pub name: String,
    /// The key, such as `ctrl+alt+space`; empty: none, driven by `bestbox ctl` alone.
    pub key: String,
    /// How the key works.
    pub mode: crate::app::dictate::Mode,
    /// What becomes of what is said.
    pub plan: PlanKind,
    /// A route that is taken whatever is said, by its name or path, with the plan `auto`; empty: the intent decides.
    pub route: String,
    /// With the plan `auto`: a route that is likely, by its name or path; empty: `intent.hint`.
    pub hint: String,
    /// Target language of the plan `translate`.
    pub to: String,
    /// Language spoken; empty: `speech.language`.
    pub language: String,
    /// How far cleanup goes; none: `cleanup.style`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
    /// Where the text goes; empty: `dictate.output`.
    pub output: String,
    /// Program of the plan `command`, with arguments.
    pub run: String,
}

/// `[[dictate.application]]`: what is different where these match. Each is a part of the name, in any case; empty
/// matches everything.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApplicationConfig {
    /// Window class or application id.
    pub class: String,
    /// Window title.
    pub title: String,
    /// Language spoken; empty: as otherwise.
    pub language: String,
    /// How far cleanup goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
    /// Text, the intent, or the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// Translated into this language; empty: not.
    pub to: String,
    /// Where the text goes; empty: as otherwise.
    pub output: String,
}

impl BindingConfig {
    /// Its key; none where it has none.
    pub fn shortcut(&self) -> Result<Option<Shortcut>, ShortcutError> {
        if self.key.trim().is_empty() { Ok(None) } else { self.key.parse().map(Some) }
    }
}

impl DictateConfig {
    /// Keys and their plans; never empty.
    pub fn bindings(&self) -> Vec<BindingConfig> {
        if self.binding.is_empty() {
            vec![BindingConfig { name: "dictate".into(), key: DEFAULT_KEY.into(), ..BindingConfig::default() }]
        } else {
            self.binding.clone()
        }
    }

    /// What is wrong with it, and under which key.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let mut names = BTreeSet::new();
        for binding in &self.binding {
            let name = &binding.name;
            if name.is_empty() || name.chars().any(char::is_control) || !names.insert(name) {
                let reason = format!("every binding needs a name of its own, and '{}' is none", name.escape_debug());
                return Some(("dictate.binding", reason));
            }
            let of = |reason: String| Some(("dictate.binding", format!("binding '{name}': {reason}")));
            if let Some(error) = binding.shortcut().err() {
                return of(error.to_string());
            }
            if let Some(error) = language_problem(&binding.language).or_else(|| target_problem(&binding.to)) {
                return of(error);
            }
            if binding.plan == PlanKind::Translate && binding.to.is_empty() {
                return of("the plan translate needs a language in `to`".into());
            }
            if binding.plan != PlanKind::Auto && !(binding.route.is_empty() && binding.hint.is_empty()) {
                return of("route and hint belong to the plan auto".into());
            }
            if let Some(error) = output_problem(&binding.output) {
                return of(error);
            }
        }
        for application in &self.application {
            let fields = language_problem(&application.language).or_else(|| target_problem(&application.to));
            if let Some(error) = fields.or_else(|| output_problem(&application.output)) {
                return Some(("dictate.application", error));
            }
            if application.class.is_empty() && application.title.is_empty() {
                return Some(("dictate.application", "name a class or a title that it is for".into()));
            }
        }
        if self.output.is_empty() {
            return Some(("dictate.output", "name a destination such as insert".into()));
        }
        output_problem(&self.output).map(|reason| ("dictate.output", reason))
    }
}

fn language_problem(language: &str) -> Option<String> {
    if language.is_empty() {
        return None;
    }
    language.parse::<LanguageChoice>().err().map(|error| error.to_string())
}

fn target_problem(to: &str) -> Option<String> {
    if to.is_empty() { None } else { to.parse::<Lang>().err().map(|error| error.to_string()) }
}

fn output_problem(output: &str) -> Option<String> {
    let known = matches!(output, "" | "insert" | "clipboard" | "stdout");
    let named = |kind: &str| output.strip_prefix(kind).is_some_and(|rest| !rest.trim().is_empty());
    let fine = known || named("file:") || named("command:");
    (!fine).then(|| format!("'{output}' is none of insert, clipboard, stdout, file:PATH, command:PROGRAM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(binding: BindingConfig) -> Option<String> {
        let config = DictateConfig { binding: vec![binding], ..DictateConfig::default() };
        config.problem().map(|(_, reason)| reason)
    }

    #[test]
    fn the_defaults_are_sound_and_have_a_binding() {
        let config = DictateConfig::default();
        assert_eq!(config.problem(), None);
        assert_eq!(config.bindings().len(), 1);
    }

    #[test]
    fn what_is_wrong_with_a_binding_is_said() {
        let named = |name: &str| BindingConfig { name: name.into(), ..BindingConfig::default() };
        assert!(with(named("")).is_some_and(|reason| reason.contains("name")));
        let translate = BindingConfig { plan: PlanKind::Translate, ..named("german") };
        assert!(with(translate).is_some_and(|reason| reason.contains("`to`")));
        let klingon = BindingConfig { language: "klingon".into(), ..named("k") };
        assert!(with(klingon).is_some_and(|reason| reason.contains("klingon")));
        let odd = BindingConfig { key: "ctrl+spcae".into(), ..named("o") };
        assert!(with(odd).is_some_and(|reason| reason.contains("did you mean 'space'")));
        let nowhere = BindingConfig { output: "file:".into(), ..named("n") };
        assert!(with(nowhere).is_some_and(|reason| reason.contains("command:PROGRAM")));
        let fine = BindingConfig { output: "command:tee -a notes".into(), to: "de".into(), ..named("n") };
        assert_eq!(with(fine), None);
    }
}
