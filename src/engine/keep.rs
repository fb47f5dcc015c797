//! Keeps one tier: one task owns its server from the first start to the last, notices that it is gone, and brings it
//! back. Everybody else only looks at the [`View`] that the task publishes.
//!
//! ```text
//! Off    Waiting -demand-> Starting -> Up <-> Down
//!                             `----------------^
//! ```
//!
//! A server counts as gone when its process has ended, or when it does not answer its health page in time: asked every
//! few seconds, and at once when a request has failed. A process that is there but silent (stopped, hung) gets a little
//! time before it is replaced. While a tier is down nobody waits for it.

use super::prompts::Prompts;
use super::{Needs, Notice, Upkeep, settings};
use crate::config::{Config, TierConfig};
use crate::models::{Role, Store};
use crate::outcome::Tier;
use crate::servers::{self, Server};
use crate::text::intent::RouteSet;
use crate::text::llm::{Client, Endpoint, Secret};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How often a look is taken at whether a managed server's process is there (one read of /proc).
const LOOK: Duration = Duration::from_millis(250);
/// How often a server that is up is asked for its health. Runs no inference.
const ASK: Duration = Duration::from_secs(10);
/// Time for that answer. llama-server gives it from another thread than inference: a busy one answers in milliseconds.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a managed server's process may be silent before it is replaced.
const SILENCE: Duration = Duration::from_secs(20);
/// A server that was up for less than this has not recovered: the pauses go on growing.
const STEADY: Duration = Duration::from_secs(60);
/// Between two tries of a start: the first pause, doubled each time up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The longest pause where a try is only a question to a server that somebody else runs.
const EXTERNAL_PAUSE: Duration = Duration::from_secs(10);

/// What starting a tier needs besides the configuration.
#[derive(Clone)]
pub(super) struct Context {
    pub store: Store,
    pub program: PathBuf,
    pub notice: Notice,
    pub upkeep: Upkeep,
}

/// How a tier is.
#[derive(Clone)]
pub(super) enum State {
    Off,
    Waiting,
    Starting,
    Up(Client),
    Down(String),
}

/// What others see of a tier.
#[derive(Clone)]
pub(super) struct View {
    pub state: State,
    pub since: SystemTime,
    /// How often it has come back after it was up.
    pub restarts: u32,
}

impl View {
    pub fn new(state: State) -> Self {
        View { state, since: SystemTime::now(), restarts: 0 }
    }
}

/// One tier to keep.
pub(super) struct Keeper {
    pub tier: Tier,
    pub config: Config,
    pub needs: Needs,
    pub routes: Arc<RouteSet>,
    pub context: Context,
    pub view: watch::Sender<View>,
    /// Notified when somebody wants the tier.
    pub demand: Arc<Notify>,
    /// The tier that comes up before this one.
    pub after: Option<watch::Receiver<View>>,
    pub cancel: CancellationToken,
}

/// A tier that is up.
struct Running {
    client: Client,
    /// Notified when a request of the client has failed.
    trouble: Arc<Notify>,
    /// None where somebody else runs it.
    server: Option<Server>,
}

/// Why a tier that was up is not.
enum Lost {
    /// Its process has ended.
    Gone(String),
    /// It does not answer.
    Silent(String),
}

/// Keeps a tier until cancelled; its server has ended when this returns.
pub(super) async fn keep(mut keeper: Keeper) {
    let cancel = keeper.cancel.clone();
    let mut running = None;
    cancel.run_until_cancelled(keeper.work(&mut running)).await;
    if let Some(server) = running.and_then(|running: Running| running.server) {
        server.stop().await;
    }
}

impl Keeper {
    /// Never returns where there is something to keep. What runs is in `running`, for whoever drops this.
    async fn work(&mut self, running: &mut Option<Running>) {
        if matches!(self.view.borrow().state, State::Off) {
            return;
        }
        if matches!(self.view.borrow().state, State::Waiting) {
            self.demand.notified().await;
            self.publish(State::Starting);
        }
        if let Some(first) = &mut self.after {
            // Err: it is not kept any more, so there is nothing to wait for.
            let _ = first.wait_for(|view| !matches!(view.state, State::Starting)).await;
        }
        let mut pauses = Pauses::new(if self.settings().manage { PAUSES.1 } else { EXTERNAL_PAUSE });
        let mut was_up = false;
        loop {
            match self.start().await {
                Ok(started) => {
                    let started = running.insert(started);
                    self.warm_up(&started.client).await;
                    self.up(&started.client, was_up);
                    if self.context.upkeep == Upkeep::Once {
                        return std::future::pending().await;
                    }
                    was_up = true;
                    let began = Instant::now();
                    let reason = self.until_lost(started).await;
                    self.down(reason);
                    // One that is silent is ended, so that it does not keep memory and port from its successor.
                    if let Some(server) = running.take().and_then(|running| running.server) {
                        server.stop().await;
                    }
                    if began.elapsed() >= STEADY {
                        pauses.reset();
                    }
                }
                Err(reason) => {
                    self.down(reason);
                    if self.context.upkeep == Upkeep::Once {
                        return;
                    }
                }
            }
            tokio::time::sleep(pauses.next()).await;
        }
    }

    async fn warm_up(&self, client: &Client) {
        if self.config.tiers.serving(Tier::Light) == self.tier {
            let prompts = Prompts { config: &self.config, client, cancel: &self.cancel };
            prompts.warm_up(self.needs, &self.routes).await;
        }
    }

    /// Returns when there is no hope left for this server, or none that is ours to restart. Short silences are
    /// published and survived.
    async fn until_lost(&self, running: &Running) -> String {
        loop {
            let reason = match self.watch(running).await {
                Lost::Gone(reason) => return reason,
                Lost::Silent(reason) => reason,
            };
            let Some(server) = &running.server else { return reason };
            self.down(reason.clone());
            let since = Instant::now();
            let mut pauses = Pauses::new(ANSWER);
            loop {
                if !server.is_running() {
                    return self.gone(server).await;
                }
                if running.client.alive(ANSWER).await.is_ok() {
                    self.up(&running.client, false);
                    break;
                }
                if since.elapsed() >= SILENCE {
                    return reason;
                }
                tokio::time::sleep(pauses.next()).await;
            }
        }
    }

    /// Watches a server that is up.
    async fn watch(&self, running: &Running) -> Lost {
        let mut ask = tokio::time::Instant::now() + ASK;
        loop {
            tokio::select! {
                () = running.trouble.notified() => {}
                () = tokio::time::sleep_until(ask) => {}
                () = tokio::time::sleep(LOOK), if running.server.is_some() => {
                    match &running.server {
                        Some(server) if !server.is_running() => return Lost::Gone(self.gone(server).await),
                        _ => continue,
                    }
                }
            }
            if let Err(error) = running.client.alive(ANSWER).await {
                return match &running.server {
                    Some(server) if !server.is_running() => Lost::Gone(self.gone(server).await),
                    _ => Lost::Silent(error.to_string()),
                };
            }
            ask = tokio::time::Instant::now() + ASK;
        }
    }

    async fn gone(&self, server: &Server) -> String {
        let how = server.how_it_ended().await;
        format!("the {} model server ended ({how}); it is being started again", self.tier.name())
    }

    fn up(&self, client: &Client, again: bool) {
        let restarts = self.view.borrow().restarts + u32::from(again);
        if restarts > 0 {
            tracing::info!(tier = self.tier.name(), restarts, "tier is back");
        }
        self.view.send_replace(View { restarts, ..View::new(State::Up(client.clone())) });
    }

    fn down(&self, reason: String) {
        let was = self.view.borrow().clone();
        match was.state {
            // Still down: since when counts, and the newest reason.
            State::Down(before) => {
                tracing::debug!(tier = self.tier.name(), %before, %reason, "tier is still down");
                self.view.send_replace(View { state: State::Down(reason), ..was });
            }
            _ => {
                tracing::warn!(tier = self.tier.name(), %reason, "tier is not available");
                if self.context.upkeep == Upkeep::Kept {
                    let line = reason.lines().next().unwrap_or_default();
                    (self.context.notice)(&format!("doing without the {} model: {line}", self.tier.name()));
                }
                self.publish(State::Down(reason));
            }
        }
    }

    fn publish(&self, state: State) {
        let restarts = self.view.borrow().restarts;
        self.view.send_replace(View { restarts, ..View::new(state) });
    }

    fn settings(&self) -> &TierConfig {
        self.config.tier(self.tier)
    }

    async fn start(&self) -> Result<Running, String> {
        let (tier, config, context, settings) = (self.tier, &self.config, &self.context, self.settings());
        let trouble = Arc::new(Notify::new());
        if !settings.manage {
            let client = client(tier, settings, &settings.base_url, read_key(settings)?)?.with_trouble(trouble.clone());
            if context.upkeep == Upkeep::Kept {
                client.alive(ANSWER).await.map_err(|error| error.to_string())?;
            }
            return Ok(Running { client, trouble, server: None });
        }
        let (store, spec) = (context.store.clone(), settings.model.clone());
        let resolve = move || store.resolve(&spec, Role::Llm);
        let model =
            tokio::task::spawn_blocking(resolve).await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        let launch = settings::server(tier, config, model, &context.program).map_err(|error| error.to_string())?;
        if let Some(front) = servers::Front::serving(&launch) {
            let client = client(tier, settings, &front.url, front.key.map(Secret::new))?.with_trouble(trouble.clone());
            self.front_ready(&client, &launch).await?;
            return Ok(Running { client, trouble, server: None });
        }
        let notice = context.notice.clone();
        let mut progress = move |line: &str| notice(line);
        let server = servers::ensure(&launch, &mut progress, &self.cancel).await.map_err(|error| error.to_string())?;
        let key = Some(Secret::new(server.api_key()));
        let client = client(tier, settings, &server.base_url(), key)?.with_trouble(trouble.clone());
        Ok(Running { client, trouble, server: Some(server) })
    }
}

impl Keeper {
    /// Waits until the server that `bestbox up` runs is there or asleep; what comes meanwhile would be held there, but
    /// whoever can do without the tier shall not wait.
    async fn front_ready(&self, client: &Client, launch: &servers::ServerSettings) -> Result<(), String> {
        let deadline = Instant::now() + launch.startup_timeout;
        loop {
            let Err(error) = client.alive(ANSWER).await else { return Ok(()) };
            if Instant::now() >= deadline || servers::Front::serving(launch).is_none() {
                return Err(error.to_string());
            }
            self.notice_front(&error.to_string());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// While it comes up for the first time it is starting; later it is down, and nobody waits.
    fn notice_front(&self, reason: &str) {
        if !matches!(self.view.borrow().state, State::Starting) {
            self.down(reason.to_owned());
        }
    }
}

/// Pauses between tries: doubled each time, a fifth of jitter either way, so that several bestbox do not try together.
struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    fn new(longest: Duration) -> Self {
        Pauses { next: PAUSES.0, longest }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause * 2;
        pause.mul_f64(0.8 + 0.4 * fastrand::f64())
    }

    fn reset(&mut self) {
        self.next = PAUSES.0;
    }
}

fn client(tier: Tier, settings: &TierConfig, url: &str, key: Option<Secret>) -> Result<Client, String> {
    let endpoint = Endpoint {
        tier,
        base_url: url.to_owned(),
        model: (!settings.manage && !settings.model.is_empty()).then(|| settings.model.clone()),
        key,
        connect_timeout: Duration::from_secs_f64(settings.connect_timeout_seconds),
        timeout: Duration::from_secs_f64(settings.timeout_seconds),
    };
    Client::new(endpoint).map_err(|error| error.to_string())
}

/// The key of a server that is running already, from the environment or a file.
fn read_key(settings: &TierConfig) -> Result<Option<Secret>, String> {
    if !settings.key_env.is_empty() {
        let name = &settings.key_env;
        return std::env::var(name).map(|key| Some(Secret::new(key))).map_err(|_| format!("{name} is not set"));
    }
    if !settings.key_file.is_empty() {
        let path = &settings.key_file;
        let key = std::fs::read_to_string(path).map_err(|error| format!("cannot read the key file {path}: {error}"))?;
        return Ok(Some(Secret::new(key.trim())));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over() {
        let mut pauses = Pauses::new(Duration::from_secs(60));
        for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let pause = pauses.next().as_secs_f64();
            assert!((0.8 * expected..=1.2 * expected).contains(&pause), "{pause} instead of about {expected}");
        }
        pauses.reset();
        assert!(pauses.next() < Duration::from_secs(2));
    }
}
