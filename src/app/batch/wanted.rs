//! What is wanted of every file, and which settings matter for it: a result is taken over from an earlier run only where
//! none of them changed.

use super::record::{Kind, Text};
use crate::app::session;
use crate::cli::BatchArgs;
use crate::config::{Config, IntentConfig};
use crate::error::Error;
use crate::models::{self, Store};
use crate::outcome::{ChannelUse, Plan, Route, Style, Tier};
use crate::output::{Format, RenderSettings, TextChoice};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Raised when the same settings would give another outcome than before.
const GENERATION: u32 = 1;

/// What is wanted of every file.
pub(super) struct Wanted {
    pub plan: Plan,
    pub formats: Vec<Format>,
    /// Which texts; `None`: the best there is, under the plain name.
    pub texts: Option<Vec<Text>>,
    /// Formats and texts as they stand in the manifest: another one only needs the stored outcome.
    pub shape: String,
    render: RenderSettings,
    /// Hash of what matters for recognition.
    speech: String,
    /// Hash of what matters for a recording's outcome.
    full: String,
    /// Hash of what matters for the outcome of a text that is there already.
    text: String,
}

impl Wanted {
    /// # Errors
    /// Formats that are no files, and files of the configuration that cannot be read.
    pub fn new(args: &BatchArgs, config: &Config) -> Result<Self, Error> {
        let plan = session::plan(config)?;
        let mut formats = args.formats.clone();
        if formats.contains(&Format::Terminal) {
            return Err(Error::Usage("--formats: 'terminal' is no file; use txt".into()));
        }
        let mut seen = Vec::new();
        formats.retain(|format| {
            let new = !seen.contains(format);
            seen.push(*format);
            new
        });
        let mut texts = args.texts.clone();
        texts.sort();
        texts.dedup();
        if texts.contains(&Text::Translated) && plan.translate.is_none() {
            return Err(Error::Usage("--texts translated needs a language: add --to LANG".into()));
        }
        let texts = match (texts.is_empty(), plan.translate) {
            (false, _) => Some(texts),
            (true, Some(_)) => Some(vec![Text::Cleaned, Text::Translated]),
            (true, None) => None,
        };
        let render = RenderSettings { subtitles: session::subtitle_limits(config), ..RenderSettings::default() };
        let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
        let shape = json!({ "formats": names, "texts": texts, "output": config.output }).to_string();
        let (speech, text) = (speech_settings(&plan, config), text_settings(&plan, config)?);
        // Names stand in the outcome, and change nothing of what is recognised.
        let labels = (plan.channels == ChannelUse::Split).then_some(&plan.speakers);
        Ok(Wanted {
            speech: hash(&speech),
            full: hash(&json!([speech, text, labels])),
            text: hash(&json!([text, format!("{:?}", plan.language)])),
            plan,
            formats,
            texts,
            shape,
            render,
        })
    }

    /// Hash of the settings that matter for a file of this kind.
    pub fn settings(&self, kind: Kind) -> &str {
        match kind {
            Kind::Audio => &self.full,
            Kind::Transcript => &self.text,
        }
    }

    /// Where the outcome of this content is kept.
    pub fn key(&self, kind: Kind, content: &str) -> String {
        format!("{content}-{}", &self.settings(kind)[..16])
    }

    /// Where the recognised utterances of this content are kept.
    pub fn speech_key(&self, content: &str) -> String {
        format!("{content}-{}", &self.speech[..16])
    }

    /// How one output is rendered.
    pub fn rendering(&self, text: Option<Text>) -> RenderSettings {
        let text = match text {
            None => TextChoice::Best,
            Some(Text::Raw) => TextChoice::Raw,
            Some(Text::Cleaned) => TextChoice::Cleaned,
            Some(Text::Translated) => TextChoice::Translated,
        };
        RenderSettings { text, ..self.render.clone() }
    }
}

fn speech_settings(plan: &Plan, config: &Config) -> Value {
    let (speech, audio) = (&config.speech, &config.audio);
    json!({
        "generation": GENERATION,
        "model": fingerprint(config, &speech.model),
        "language": format!("{:?}", plan.language),
        "task": plan.task,
        "word_times": plan.word_times,
        "prompt": plan.prompt,
        "vocabulary": plan.vocabulary,
        "temperature": plan.temperature,
        "channels": plan.channels,
        "max_utterance_seconds": speech.max_utterance_seconds,
        "vad_threshold": speech.vad_threshold,
        "limits": [audio.max_seconds, audio.max_decoded_bytes as f64],
    })
}

fn text_settings(plan: &Plan, config: &Config) -> Result<Value, Error> {
    let answers = matches!(plan.route, Route::Auto | Route::Agent);
    let decides = matches!(plan.route, Route::Auto | Route::Intent);
    let light = decides || plan.clean != Style::Verbatim || plan.translate.is_some() || answers;
    let heavy = answers || (plan.translate.is_some() && config.translation.tier == Tier::Heavy);
    let routes = match config.intent.routes.as_str() {
        file if !file.is_empty() && plan.route != Route::Text => {
            let read = |source| Error::Read { path: file.into(), source };
            Some(std::fs::read_to_string(file).map_err(read)?)
        }
        _ => None,
    };
    let model = |tier: Tier| {
        let settings = config.tier(config.tiers.serving(tier));
        match (settings.manage, settings.model.is_empty()) {
            (true, _) => fingerprint(config, &settings.model),
            // The same model on another machine is the same model.
            (false, false) => json!(settings.model),
            (false, true) => json!(settings.base_url),
        }
    };
    let mut settings = json!({
        "generation": GENERATION,
        "style": plan.clean,
        "cleanup": (plan.clean != Style::Verbatim).then_some(&config.cleanup),
        "vocabulary": plan.vocabulary,
        "translate": plan.translate,
        "translation": plan.translate.map(|_| &config.translation),
        "route": plan.route,
        "routes": routes,
        "default": decides.then_some(&config.intent.default),
        "answers": answers.then_some([&config.agent.answer(), &config.quick]),
        "light": light.then(|| model(Tier::Light)),
        "heavy": heavy.then(|| model(Tier::Heavy)),
    });
    // Only where they are used: what was made before they existed stays as good as it was.
    let (intent, usual) = (&config.intent, IntentConfig::default());
    let router = json!([plan.force, plan.hint, intent.second_opinion, intent.costs, intent.hint_weight]);
    if decides && router != json!([null, null, usual.second_opinion, usual.costs, usual.hint_weight]) {
        settings["router"] = router;
    }
    Ok(settings)
}

/// Which model a name means today: its file's name, size, first and last bytes. Enough to tell models apart, and the
/// same after it was fetched again.
fn fingerprint(config: &Config, spec: &str) -> Value {
    const SAMPLE: u64 = 1 << 16;
    let store = Store::new(models::cache_dir(), config.models.folders.clone());
    let read = |path: &Path| -> std::io::Result<(u64, String)> {
        let mut file = std::fs::File::open(path)?;
        let (bytes, mut hash, mut sample) = (file.metadata()?.len(), Sha256::new(), Vec::new());
        (&file).take(SAMPLE).read_to_end(&mut sample)?;
        file.seek(SeekFrom::Start(bytes.saturating_sub(SAMPLE)))?;
        file.take(SAMPLE).read_to_end(&mut sample)?;
        hash.update(&sample);
        Ok((bytes, hex(&hash.finalize())))
    };
    let known = store.locate(spec).ok().and_then(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        read(&path).ok().map(|(bytes, hash)| json!([name, bytes, hash]))
    });
    known.unwrap_or_else(|| json!(spec))
}

fn hash(value: &Value) -> String {
    hex(&Sha256::digest(value.to_string()))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn wanted(flags: &[&str], config: &Config) -> Result<Wanted, Error> {
        let cli = Cli::try_parse_from(["bestbox", "batch", "in"].iter().chain(flags)).expect("flags");
        let Command::Batch(args) = cli.command else { panic!("batch") };
        Wanted::new(&args, config)
    }

    #[test]
    fn only_what_matters_changes_the_settings() {
        let config = Config::default();
        let base = wanted(&[], &config).unwrap();
        let formats = wanted(&["--formats", "vtt,txt,vtt"], &config).unwrap();
        assert_eq!(formats.formats, [Format::Vtt, Format::Text]);
        assert_eq!((&formats.full, &formats.speech), (&base.full, &base.speech));
        assert_ne!(formats.shape, base.shape);
        let mut other = config.clone();
        other.speech.threads = 7;
        other.serve.port = 1;
        other.speech.recognizers = 2;
        assert_eq!(wanted(&[], &other).unwrap().full, base.full);
        other.cleanup.style = Style::Verbatim;
        let verbatim = wanted(&[], &other).unwrap();
        assert_ne!(verbatim.full, base.full);
        assert_eq!(verbatim.speech, base.speech, "another cleanup needs no recognition");
        let speech = |channels, speakers: &[&str]| {
            let mut other = config.clone();
            other.speech.channels = channels;
            other.speech.speakers = speakers.iter().map(|name| (*name).to_owned()).collect();
            let wanted = wanted(&[], &other).unwrap();
            (wanted.full, wanted.speech)
        };
        let (ann, split) = (speech(ChannelUse::Split, &["Ann"]), speech(ChannelUse::Split, &[]));
        assert_ne!(split.1, base.speech);
        assert_eq!(ann.1, split.1, "other names need no recognition");
        assert_ne!(ann.0, split.0);
        assert_eq!(speech(ChannelUse::Average, &["Ann"]).0, base.full, "names of nobody");
        other.speech.model = "small-q8_0".into();
        assert_ne!(wanted(&[], &other).unwrap().speech, base.speech);
    }

    #[test]
    fn texts_that_cannot_be_are_refused() {
        assert!(wanted(&["--texts", "translated"], &Config::default()).is_err());
        assert!(wanted(&["--formats", "terminal"], &Config::default()).is_err());
        let mut config = Config::default();
        config.translation.to = "de".into();
        assert_eq!(wanted(&[], &config).unwrap().texts, Some(vec![Text::Cleaned, Text::Translated]));
    }
}
