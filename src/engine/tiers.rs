//! The language model tiers of one engine: started in the background, light first, then heavy; awaited only by those
//! who need one.

use super::prompts::Prompts;
use super::{Need, Needs, Notice, settings};
use crate::config::{Config, TierConfig};
use crate::models::{Role, Store};
use crate::outcome::Tier;
use crate::servers::{self, Server};
use crate::text::intent::RouteSet;
use crate::text::llm::{Client, Endpoint, Secret};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What starting a tier needs besides the configuration.
#[derive(Clone)]
pub(super) struct Context {
    pub store: Store,
    pub program: PathBuf,
    pub notice: Notice,
}

#[derive(Clone)]
enum State {
    Starting,
    Ready(Client),
    Failed(String),
}

/// Both tiers and the task that starts them and owns their processes.
pub(super) struct TierSet {
    config: Config,
    states: [watch::Receiver<State>; 2],
    /// Set when somebody wants a tier that is only started on demand.
    demands: [Arc<Notify>; 2],
    starter: Mutex<Option<JoinHandle<Vec<Server>>>>,
    cancel: CancellationToken,
}

/// One tier to start.
struct Job {
    tier: Tier,
    state: watch::Sender<State>,
    /// What to wait for first; `None`: start at once.
    demand: Option<Arc<Notify>>,
}

impl TierSet {
    /// Begins to start what `needs` names (under the `tiers` switch); returns at once.
    pub fn start(config: &Config, needs: Needs, routes: &Arc<RouteSet>, context: Context) -> Self {
        let need = |tier| {
            let named = [(needs.light, Tier::Light), (needs.heavy, Tier::Heavy)];
            named.into_iter().filter(|(_, of)| config.tiers.serving(*of) == tier).map(|(need, _)| need).max()
        };
        let cancel = CancellationToken::new();
        let demands = [Arc::new(Notify::new()), Arc::new(Notify::new())];
        let (light_in, light) = watch::channel(State::Starting);
        let (heavy_in, heavy) = watch::channel(State::Starting);
        let mut jobs = Vec::new();
        for (tier, state) in [(Tier::Light, light_in), (Tier::Heavy, heavy_in)] {
            let demand = demands[tier as usize].clone();
            match need(tier).unwrap_or_default() {
                Need::No => {}
                Need::OnDemand => jobs.push(Job { tier, state, demand: Some(demand) }),
                Need::AtStart => jobs.push(Job { tier, state, demand: None }),
            }
        }
        let work = start_all(jobs, needs, config.clone(), routes.clone(), context, cancel.clone());
        let starter = Mutex::new(Some(tokio::spawn(work)));
        TierSet { config: config.clone(), states: [light, heavy], demands, starter, cancel }
    }

    /// The client that serves `tier`, once it is up; otherwise why not.
    pub async fn client(&self, tier: Tier) -> Result<Client, String> {
        let tier = self.config.tiers.serving(tier);
        self.demands[tier as usize].notify_one();
        let mut state = self.states[tier as usize].clone();
        let settled = state.wait_for(|state| !matches!(state, State::Starting)).await;
        match settled.map(|state| state.clone()) {
            Ok(State::Ready(client)) => Ok(client),
            Ok(State::Failed(reason)) => Err(reason),
            Ok(State::Starting) | Err(_) => Err(format!("the {} model server was not started", tier.name())),
        }
    }

    /// Ends the start-up if it is still going on, and stops the servers.
    pub async fn stop(&self) {
        self.cancel.cancel();
        let starter = self.starter.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(starter) = starter else { return };
        if let Ok(servers) = starter.await {
            for server in servers {
                server.stop().await;
            }
        }
    }
}

/// One after the other: the light tier is needed first, and two loads at once only slow each other down.
async fn start_all(
    jobs: Vec<Job>,
    needs: Needs,
    config: Config,
    routes: Arc<RouteSet>,
    context: Context,
    cancel: CancellationToken,
) -> Vec<Server> {
    let mut servers = Vec::new();
    for Job { tier, state, demand } in jobs {
        if let Some(demand) = demand
            && cancel.run_until_cancelled(demand.notified()).await.is_none()
        {
            break;
        }
        match start_one(tier, &config, &context, &cancel).await {
            Ok((client, server)) => {
                servers.extend(server);
                if config.tiers.serving(Tier::Light) == tier {
                    let prompts = Prompts { config: &config, client: &client, cancel: &cancel };
                    prompts.warm_up(needs, &routes).await;
                }
                state.send_replace(State::Ready(client));
            }
            Err(reason) => {
                tracing::warn!(tier = tier.name(), %reason, "tier is not available");
                state.send_replace(State::Failed(reason));
            }
        }
    }
    servers
}

async fn start_one(
    tier: Tier,
    config: &Config,
    context: &Context,
    cancel: &CancellationToken,
) -> Result<(Client, Option<Server>), String> {
    let settings = config.tier(tier);
    if !settings.manage {
        let client = client(tier, settings, &settings.base_url, read_key(settings)?)?;
        return Ok((client, None));
    }
    let (store, spec) = (context.store.clone(), settings.model.clone());
    let resolve = move || store.resolve(&spec, Role::Llm);
    let model = tokio::task::spawn_blocking(resolve).await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    let launch = settings::server(tier, config, model, &context.program).map_err(|error| error.to_string())?;
    let notice = context.notice.clone();
    let mut progress = move |line: &str| notice(line);
    let server = servers::ensure(&launch, &mut progress, cancel).await.map_err(|error| error.to_string())?;
    let key = Some(Secret::new(server.api_key()));
    let client = client(tier, settings, &server.base_url(), key)?;
    Ok((client, Some(server)))
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
