//! Composition root: `Config` → `Engine`. Loads the speech model, brings the language model tiers up in the background
//! (light first, then heavy) and hands the pipeline what it needs for one run.

mod agent;
mod head_start;
mod keep;
mod prompts;
mod router;
mod settings;
mod shelf;
mod speech;
mod tiers;

use crate::agent::Talk;
use crate::audio::{Channels, DecodeSettings};
use crate::config::{Config, SecondOpinion};
use crate::error::Error;
use crate::models::{self, Store};
use crate::outcome::*;
use crate::speech::SpeechOptions;
use crate::speech::vad::VadSettings;
use crate::text::clean::Cleaner;
use crate::text::intent::{Classifier, Decision, RouteSet, Sample};
use crate::text::llm::Client;
use crate::text::translate::Translator;
use router::Router;
use std::path::PathBuf;
use std::sync::Arc;
use tiers::TierSet;
use tokio_util::sync::CancellationToken;

pub(crate) use agent::nobody;
pub use agent::toolbox;
pub(crate) use head_start::HeadStart;
pub(crate) use router::{Ask, Busy};
pub use router::{Entry, Shadow};
pub use settings::{
    llama_server, routes, run_dir, server as server_settings,
    server_without_program as server_settings_without_program, vocabulary_words,
};
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
        let decides = matches!(plan.route, Route::Auto | Route::Intent);
        let (cleanup, intent) = (plan.clean != Style::Verbatim, decides && plan.force.is_none());
        let at_start = |wanted| if wanted { Need::AtStart } else { Need::No };
        let perhaps = if plan.route == Route::Auto { Need::OnDemand } else { Need::No };
        // A route that was asked for by name may be one that the light model answers.
        let named = if plan.route == Route::Auto && plan.force.is_some() { Need::OnDemand } else { Need::No };
        let second = if intent { second_opinion(config) } else { Need::No };
        Needs {
            speech,
            light: named.max(at_start(cleanup || intent || translates(Tier::Light))),
            cleanup,
            intent,
            heavy: perhaps.max(second).max(at_start(plan.route == Route::Agent || translates(Tier::Heavy))),
        }
    }
}

/// What the intent may want of the heavy tier.
fn second_opinion(config: &Config) -> Need {
    match config.intent.second_opinion {
        SecondOpinion::HeavyStart => Need::OnDemand,
        SecondOpinion::Off | SecondOpinion::Heavy => Need::No,
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
    tiers: Arc<TierSet>,
    routes: Arc<RouteSet>,
    agents: agent::Agents,
    router: Router,
    decoder: PathBuf,
    /// How often the heavy model was needed lately.
    prior: head_start::Prior,
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
        let tiers = Arc::new(TierSet::start(
            &config,
            needs,
            &routes,
            keep::Context { store: store.clone(), program: program.clone(), notice: notice.clone(), upkeep },
        ));
        let router = Router::new(&config, tiers.clone(), routes.clone())?;
        let speech = if needs.speech {
            notice(&format!("loading the speech model {}", config.speech.model));
            let models = SpeechModels::new(&config, &store)?;
            models.preload().await?;
            Some(models)
        } else {
            None
        };
        let prior = head_start::Prior::default();
        Ok(Engine { config, channels, speech, tiers, routes, agents, router, decoder: program, prior })
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
        let ((), ()) = tokio::join!(self.router.stop(), self.agents.toolbox.stop());
        self.tiers.stop().await;
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

    /// The client of a tier, for measuring. Waits only while the tier comes up for the first time.
    ///
    /// # Errors
    /// The reason in words when there is none.
    pub(crate) async fn client(&self, tier: Tier) -> Result<Client, String> {
        self.tiers.client(tier).await
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
        let classifier = Classifier::new(client, self.routes.clone(), settings::intent(&self.config, Tier::Light));
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

    /// What an utterance is for. Never fails: at worst the default route, with the reason.
    pub(crate) async fn decide(&self, ask: Ask<'_>) -> Decision {
        self.router.decide(ask).await
    }

    /// The same without leaving a trace in the log; with what the shadow setting decides.
    pub(crate) async fn explain(&self, ask: Ask<'_>) -> (Decision, Option<Shadow>) {
        self.router.explain(ask).await
    }

    /// Reads the prompt of the second opinion into the heavy server's cache, where that is up.
    pub(crate) async fn warm_second_opinion(&self) {
        self.router.warm_heavy().await;
    }

    /// Somebody waits for a run until this is dropped: what nobody waits for rests.
    pub(crate) fn busy(&self) -> Busy {
        self.router.busy()
    }

    /// What the routes of `intent` add to the instructions of whoever answers, from the first level down.
    pub(crate) fn route_prompts(&self, intent: &Intent) -> Vec<String> {
        self.routes.along(&intent.path).into_iter().filter_map(|route| route.prompt.clone()).collect()
    }

    /// To be called before [`Engine::decide`]: where it is likely that the heavy model will answer, and its server is up,
    /// that begins to read `text`. What comes of the decision must be told with [`HeadStart::decided`].
    pub(crate) async fn head_start(&self, route: Route, text: &str, talk: &Talk) -> HeadStart {
        let mut start = HeadStart::new(self.prior.clone());
        let apart = self.config.tiers.serving(Tier::Heavy) != self.config.tiers.serving(Tier::Light);
        let up = self.tiers.status(Tier::Heavy).state == TierState::Up;
        if route == Route::Auto
            && apart
            && up
            && self.prior.likely(&self.config.head_start)
            && let Ok(agent) = self.agent(Tier::Heavy, &[]).await
        {
            let (text, talk) = (text.to_owned(), talk.clone());
            start.begin(async move |end: CancellationToken| {
                if let Err(error) = agent.read_ahead(&text, &talk, &end).await {
                    tracing::debug!(%error, "no head start");
                }
            });
        }
        start
    }
}
