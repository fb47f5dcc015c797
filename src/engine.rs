//! Composition root: `Config` → `Engine`. Loads the speech model, brings the language model tiers up in the background
//! (light first, then heavy) and hands the pipeline what it needs for one run.

mod agent;
mod keep;
mod prompts;
mod settings;
mod shelf;
mod speech;
mod tiers;

use crate::audio::{Channels, DecodeSettings};
use crate::config::Config;
use crate::error::Error;
use crate::models::{self, Store};
use crate::outcome::*;
use crate::speech::SpeechOptions;
use crate::speech::vad::VadSettings;
use crate::text::clean::Cleaner;
use crate::text::intent::{self, Classifier, RouteSet, Sample};
use crate::text::translate::Translator;
use std::path::PathBuf;
use std::sync::Arc;
use tiers::TierSet;
use tokio_util::sync::CancellationToken;

pub(crate) use agent::nobody;
pub use agent::toolbox;
pub use settings::{llama_server, vocabulary_words};
pub use speech::{InstalledModel, Lease, LoadState, LoadedModel, SpeechModels, Unloaded};
pub use tiers::{TierState, TierStatus};

/// Told what is being loaded or started, for things that take more than a moment.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// Whether a tier is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Not at all.
    #[default]
    No,
    /// Perhaps: it is started when somebody asks for it, so that it takes nothing from recognition before that.
    OnDemand,
    /// Surely.
    AtStart,
}

/// What a command needs; what it does not need is neither loaded nor started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The speech model.
    pub speech: bool,
    /// The tier that cleans, translates and decides.
    pub light: Need,
    /// The light tier's prompt for cleanup.
    pub cleanup: bool,
    /// The light tier's prompt for the intent.
    pub intent: bool,
    /// The tier that answers.
    pub heavy: Need,
}

impl Needs {
    /// What `plan` may need. The heavy tier is sure to be needed only when nothing is left to decide.
    pub fn of(plan: &Plan, config: &Config, speech: bool) -> Self {
        let translates = |tier| plan.translate.is_some() && config.translation.tier == tier;
        let (cleanup, intent) = (plan.clean != Style::Verbatim, matches!(plan.route, Route::Auto | Route::Intent));
        let at_start = |wanted| if wanted { Need::AtStart } else { Need::No };
        let perhaps = if plan.route == Route::Auto { Need::OnDemand } else { Need::No };
        Needs {
            speech,
            light: at_start(cleanup || intent || translates(Tier::Light)),
            cleanup,
            intent,
            heavy: perhaps.max(at_start(plan.route == Route::Agent || translates(Tier::Heavy))),
        }
    }
}

/// What becomes of a tier that does not come up, or goes away later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upkeep {
    /// Started once; from then on every run that wants it gets a warning. For commands that end soon.
    #[default]
    Once,
    /// Watched, and brought back. For whoever stays.
    Kept,
}

/// Models and servers, ready for any number of runs.
pub struct Engine {
    config: Config,
    channels: Channels,
    speech: Option<SpeechModels>,
    tiers: TierSet,
    routes: Arc<RouteSet>,
    agents: agent::Agents,
    decoder: PathBuf,
}

/// What an engine is started with.
pub struct Start {
    /// Validated configuration.
    pub config: Config,
    /// What to bring up.
    pub needs: Needs,
    /// Which channels of a recording are listened to.
    pub channels: Channels,
    /// Program that is re-executed for decoding and for keeping servers: bestbox itself.
    pub program: PathBuf,
    /// Told what takes a while.
    pub notice: Notice,
    /// What becomes of a tier that goes away.
    pub upkeep: Upkeep,
}

impl Engine {
    /// Loads the speech model and begins to start the servers; returns as soon as speech can be recognised. A server
    /// that does not come up is a warning of the runs that wanted it, never an error here.
    pub async fn start(start: Start) -> Result<Self, Error> {
        let Start { config, needs, channels, program, notice, upkeep } = start;
        let routes = Arc::new(settings::routes(&config)?);
        let agents = agent::Agents::new(&config.agent, &program)?;
        let store = Store::new(models::cache_dir(), config.models.folders.clone());
        let tiers = TierSet::start(
            &config,
            needs,
            &routes,
            keep::Context { store: store.clone(), program: program.clone(), notice: notice.clone(), upkeep },
        );
        let speech = if needs.speech {
            notice(&format!("loading the speech model {}", config.speech.model));
            let models = SpeechModels::new(&config, &store)?;
            models.preload().await?;
            Some(models)
        } else {
            None
        };
        Ok(Engine { config, channels, speech, tiers, routes, agents, decoder: program })
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Starts `tiers` where they wait for a demand, and returns when they are up or have failed. Runs do this by
    /// themselves when they must.
    pub async fn ready(&self, tiers: &[Tier]) {
        for tier in tiers {
            // A failure is reported by the run that wants the tier.
            let _ = self.tiers.client(*tier).await;
        }
    }

    /// Milliseconds that calls to the light tier have taken so far; for measuring what is done around them.
    pub async fn model_ms(&self) -> f64 {
        self.tiers.client(Tier::Light).await.map_or(0.0, |client| client.waited_ms())
    }

    /// Whether this engine can recognise speech.
    pub fn speaks(&self) -> bool {
        self.speech.is_some()
    }

    /// How a tier is at this moment. Never waits.
    pub fn tier_status(&self, tier: Tier) -> TierStatus {
        self.tiers.status(tier)
    }

    /// Stops the servers that this engine started, those of its tools too.
    pub async fn stop(&self) {
        tokio::join!(self.tiers.stop(), self.agents.toolbox.stop());
    }

    /// The speech models.
    ///
    /// # Errors
    /// When this engine was started without speech.
    pub fn speech(&self) -> Result<&SpeechModels, Error> {
        self.speech.as_ref().ok_or_else(|| Error::Usage("this engine was started without a speech model".into()))
    }

    /// How many utterances are recognised at once.
    pub(crate) fn recognizer_count(&self) -> usize {
        self.config.speech.recognizers as usize
    }

    pub(crate) fn decode_settings(&self) -> DecodeSettings {
        settings::decode(&self.config, self.channels, &self.decoder)
    }

    pub(crate) fn vad_settings(&self) -> VadSettings {
        settings::vad(&self.config)
    }

    /// Voice detection for one run.
    pub(crate) fn cutting(&self, plan: &Plan) -> VadSettings {
        settings::cutting(self.vad_settings(), plan.cutting)
    }

    pub(crate) fn speech_options(&self, plan: &Plan) -> SpeechOptions {
        settings::speech_options(plan)
    }

    /// Cleanup for one run. Waits for the light tier only inside the first call that needs a model.
    pub(crate) async fn cleaner(&self, plan: &Plan) -> (Cleaner, Option<Warning>) {
        let settings = settings::clean(&self.config);
        if plan.clean == Style::Verbatim {
            return (Cleaner::new(None, settings), None);
        }
        match self.tiers.client(Tier::Light).await {
            Ok(client) => (Cleaner::new(Some(client), settings), None),
            Err(reason) => {
                let warning =
                    Warning::new(WarningCode::CleanupUnavailable, format!("rules cleaned the text: {reason}"));
                (Cleaner::new(None, settings), Some(warning))
            }
        }
    }

    /// Translation for one run.
    pub(crate) async fn translator(&self) -> Result<Translator, Warning> {
        let client = self.tiers.client(self.config.translation.tier).await;
        client
            .map(|client| Translator::new(Some(client), settings::translate(&self.config)))
            .map_err(|reason| Warning::new(WarningCode::TranslationUnavailable, format!("not translated: {reason}")))
    }

    /// What utterances may be for.
    pub fn routes(&self) -> &RouteSet {
        &self.routes
    }

    /// `text`, whose right route is the one at index `route`, as the light model scores it uncalibrated; for fitting.
    ///
    /// # Errors
    /// The reason in words when there is no model to ask.
    pub async fn intent_sample(&self, text: &str, route: usize, cancel: &CancellationToken) -> Result<Sample, String> {
        let client = self.tiers.client(Tier::Light).await.map_err(|reason| reason.to_string())?;
        let classifier = Classifier::new(client, self.routes.clone(), settings::intent());
        classifier.sample(text, route, cancel).await.map_err(|error| error.to_string())
    }

    /// The model that a tier's server says it has.
    ///
    /// # Errors
    /// The reason in words when there is none.
    pub async fn model_name(&self, tier: Tier) -> Result<Option<String>, String> {
        let client = self.tiers.client(tier).await.map_err(|reason| reason.to_string())?;
        let can = client.capabilities().await.map_err(|error| error.to_string())?;
        Ok(can.model.clone().or_else(|| client.endpoint().model.clone()))
    }

    /// The intent of `text`. Never fails: at worst the default route, with the reason.
    pub(crate) async fn decide(
        &self,
        route: Route,
        text: &str,
        cancel: &CancellationToken,
    ) -> (Intent, Option<Warning>) {
        if route == Route::Agent {
            return (intent::forced(&self.routes, Action::Heavy), None);
        }
        let unavailable = |reason: String| {
            let fallback = intent::fallback(&self.routes);
            let message = format!("route '{}' taken by default: {reason}", fallback.label);
            (fallback, Some(Warning::new(WarningCode::IntentUnavailable, message)))
        };
        let client = match self.tiers.client(Tier::Light).await {
            Ok(client) => client,
            Err(reason) => return unavailable(reason),
        };
        let classifier = Classifier::new(client, self.routes.clone(), settings::intent());
        match classifier.classify(text, cancel).await {
            Ok(intent) if intent.undecided => {
                let message = format!("the intent is not clear; route '{}' taken by default", intent.label);
                (intent, Some(Warning::new(WarningCode::IntentUndecided, message)))
            }
            Ok(intent) => (intent, None),
            Err(error) => unavailable(error.to_string()),
        }
    }
}
