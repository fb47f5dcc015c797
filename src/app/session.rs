//! What `transcribe` and `text` share: flags to configuration, configuration to plan, an engine around a piece of work.

use super::progress::Progress;
use super::{Override, interrupt};
use crate::agent::Confirm;
use crate::audio::Channels;
use crate::cli::{ChannelArgs, OutputArgs, PlanArgs};
use crate::config::Config;
use crate::engine::{self, Engine, Needs, Start, Upkeep};
use crate::error::Error;
use crate::outcome::{Cutting, Plan, Route, RouteChoice, Task};
use crate::output::{Color, Destination, Format, Inputs, RenderSettings, Sink, SubtitleLimits};
use clap::ValueEnum;
use std::io::IsTerminal;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;
use toml::Value;

/// A command's engine, plan and surroundings.
pub(super) struct Session {
    pub engine: Engine,
    pub plan: Plan,
    pub progress: Progress,
    pub cancel: CancellationToken,
    /// Who decides about calls of tools.
    pub confirm: Confirm,
}

impl Session {
    /// Loads and starts what the plan needs.
    pub async fn start(config: Config, speech: bool, channels: Channels, progress: Progress) -> Result<Self, Error> {
        let needs = Needs::of(&plan(&config)?, &config, speech);
        Session::start_with(config, needs, channels, progress).await
    }

    /// Loads and starts what is asked for.
    pub async fn start_with(
        config: Config,
        needs: Needs,
        channels: Channels,
        progress: Progress,
    ) -> Result<Self, Error> {
        let cancel = interrupt::token();
        let plan = plan(&config)?;
        let start =
            Start { config, needs, channels, program: program()?, notice: progress.notice(), upkeep: Upkeep::Once };
        let engine = tokio::select! {
            engine = Engine::start(start) => engine?,
            () = cancel.cancelled() => return Err(Error::Interrupted),
        };
        engine.set_transcripts(super::transcripts::of(engine.config()));
        Ok(Session { engine, plan, progress, cancel, confirm: super::agent::at_terminal() })
    }
}

/// This program, to be re-executed.
pub(super) fn program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(|error| Error::Usage(format!("cannot find this program's own file: {error}")))
}

/// The plan that the configuration (with the flags in it) asks for.
pub(in crate::app) fn plan(config: &Config) -> Result<Plan, Error> {
    let speech = &config.speech;
    Ok(Plan {
        language: speech.language,
        task: if speech.translate_to_english { Task::TranslateToEnglish } else { Task::Transcribe },
        word_times: speech.word_times,
        clean: config.cleanup.style,
        translate: config.translation.target(),
        route: config.intent.route,
        force: named_route(config, &config.intent.force)?,
        hint: named_route(config, &config.intent.hint)?,
        private: false,
        prompt: (!speech.prompt.is_empty()).then(|| speech.prompt.clone()),
        vocabulary: engine::vocabulary_words(&config.vocabulary)?,
        model: None,
        temperature: 0.0,
        token_logprobs: false,
        cutting: Cutting::default(),
        channels: speech.channels,
        speakers: speech.speakers.clone(),
        conversation: None,
    })
}

/// The path of the route that `name` means; none where it is empty.
///
/// # Errors
/// A name that no route has, with all that there are.
pub(in crate::app) fn named_route(config: &Config, name: &str) -> Result<Option<String>, Error> {
    if name.is_empty() {
        return Ok(None);
    }
    engine::routes(config)?.path(name).map(|path| Some(path.join("/"))).map_err(Error::Usage)
}

/// The shared flags as configuration.
pub(super) fn plan_overrides(args: &PlanArgs) -> Vec<Override> {
    let mut set = Overrides::default();
    set.variant("cleanup.style", "--cleanup", args.cleanup);
    set.text("translation.to", "--to", args.to.clone());
    set.route(args.route.as_ref());
    set.text("intent.hint", "--hint", args.hint.clone());
    set.text("vocabulary.file", "--vocabulary", args.vocabulary.as_ref().map(|path| path.display().to_string()));
    set.text("speech.language", "--language", args.language.clone());
    set.variant("tiers", "--tiers", args.tiers);
    set.0
}

/// The flags about channels as configuration.
pub(super) fn channel_overrides(args: &ChannelArgs) -> Vec<Override> {
    let mut set = Overrides::default();
    set.variant("speech.channels", "--channels", args.channels);
    let names = || args.speakers.iter().cloned().map(Value::String).collect();
    set.value("speech.speakers", "--speakers", (!args.speakers.is_empty()).then(|| Value::Array(names())));
    set.0
}

/// Where the outcomes of `inputs` go. The terminal view on a terminal, text in a pipe, and what the name says in a file.
pub(super) fn sink(args: &OutputArgs, config: &Config, inputs: Inputs, default: Option<Format>) -> Result<Sink, Error> {
    let destination = args.output.as_deref().map_or(Destination::Stdout, Destination::of_argument);
    let terminal = destination == Destination::Stdout && std::io::stdout().is_terminal();
    let by_name = match &destination {
        Destination::File(path) => Format::of_path(path),
        _ => None,
    };
    let otherwise = if terminal { Format::Terminal } else { Format::Text };
    let format = args.format.or(by_name).or(default).unwrap_or(otherwise);
    let color = if terminal && std::env::var_os("NO_COLOR").is_none() { Color::Always } else { Color::Never };
    let columns = comfy_table::Table::new().width().map_or(100, usize::from);
    let subtitles = subtitle_limits(config);
    let settings = RenderSettings { text: args.text, subtitles, color, columns, ..RenderSettings::default() };
    Ok(Sink::new(destination, format, inputs, settings)?)
}

/// Layout of subtitles as configured.
pub(in crate::app) fn subtitle_limits(config: &Config) -> SubtitleLimits {
    let limits = &config.output;
    SubtitleLimits {
        columns: limits.subtitle_columns as usize,
        lines: limits.subtitle_lines as usize,
        columns_per_second: limits.subtitle_chars_per_second,
        ..SubtitleLimits::default()
    }
}

/// Collects the flags that were given.
#[derive(Default)]
pub(super) struct Overrides(pub Vec<Override>);

impl Overrides {
    pub fn text(&mut self, key: &str, flag: &str, value: Option<String>) {
        self.value(key, flag, value.map(Value::String));
    }

    /// A kind, or a route's name, which is looked up when the plan is made.
    pub fn route(&mut self, route: Option<&RouteChoice>) {
        let (kind, name) = match route {
            None => return,
            Some(RouteChoice::Kind(kind)) => (*kind, String::new()),
            Some(RouteChoice::Named(name)) => (Route::Auto, name.clone()),
        };
        self.variant("intent.route", "--route", Some(kind));
        self.text("intent.force", "--route", Some(name));
    }

    pub fn variant<T: ValueEnum>(&mut self, key: &str, flag: &str, value: Option<T>) {
        let name = value.and_then(|value| value.to_possible_value()).map(|value| value.get_name().to_owned());
        self.text(key, flag, name);
    }

    pub fn value(&mut self, key: &str, flag: &str, value: Option<Value>) {
        self.0.extend(value.map(|value| (key.to_owned(), value, flag.to_owned())));
    }
}
