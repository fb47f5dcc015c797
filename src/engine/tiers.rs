//! The language model tiers of one engine: brought up in the background, light first, then heavy; awaited only by those
//! who need one, and only the first time.

use super::keep::{self, Context, Keeper, State, View};
use super::{Need, Needs};
use crate::config::Config;
use crate::outcome::Tier;
use crate::text::intent::RouteSet;
use crate::text::llm::Client;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How a tier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TierState {
    /// Not wanted, or another tier serves in its place.
    Off,
    /// Started when somebody asks for it.
    Waiting,
    /// Coming up for the first time; runs that want it wait.
    Starting,
    /// Serving.
    Up,
    /// Not serving; runs do without it until it is back.
    Down,
}

/// How a tier is, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierStatus {
    /// Which tier.
    pub tier: Tier,
    /// How it is.
    pub state: TierState,
    /// Why it is down: one line.
    pub reason: Option<String>,
    /// Since when it is like this.
    pub since: SystemTime,
    /// How often it has come back after it was up.
    pub restarts: u32,
    /// The model: a catalogue name or a file's name.
    pub model: String,
    /// Whether bestbox starts and stops its server.
    pub managed: bool,
}

/// Both tiers and the tasks that keep them.
pub(super) struct TierSet {
    config: Config,
    views: [watch::Receiver<View>; 2],
    /// Notified when somebody wants a tier.
    demands: [Arc<Notify>; 2],
    keepers: Mutex<JoinSet<()>>,
    cancel: CancellationToken,
    /// An engine that is dropped takes its servers along.
    _end: DropGuard,
}

impl TierSet {
    /// Begins to start what `needs` names (under the `tiers` switch); returns at once.
    pub fn start(config: &Config, needs: Needs, routes: &Arc<RouteSet>, context: Context) -> Self {
        let need = |tier| {
            let named = [(needs.light, Tier::Light), (needs.heavy, Tier::Heavy)];
            let named = named.into_iter().filter(|(_, of)| config.tiers.serving(*of) == tier);
            named.map(|(need, _)| need).max().unwrap_or_default()
        };
        let cancel = CancellationToken::new();
        let demands = [Arc::new(Notify::new()), Arc::new(Notify::new())];
        let view = |tier| {
            let state = match need(tier) {
                Need::No => State::Off,
                Need::OnDemand => State::Waiting,
                Need::AtStart => State::Starting,
            };
            watch::channel(View::new(state))
        };
        let (light_in, light) = view(Tier::Light);
        let (heavy_in, heavy) = view(Tier::Heavy);
        let mut keepers = JoinSet::new();
        for (tier, view) in [(Tier::Light, light_in), (Tier::Heavy, heavy_in)] {
            let keeper = Keeper {
                tier,
                config: config.clone(),
                needs,
                routes: routes.clone(),
                context: context.clone(),
                view,
                demand: demands[tier as usize].clone(),
                // One after the other: the light tier is needed first, and two loads at once only slow each other down.
                after: (tier == Tier::Heavy).then(|| light.clone()),
                cancel: cancel.clone(),
            };
            keepers.spawn(keep::keep(keeper));
        }
        let (config, end) = (config.clone(), cancel.clone().drop_guard());
        TierSet { config, views: [light, heavy], demands, keepers: Mutex::new(keepers), cancel, _end: end }
    }

    /// The client that serves `tier`; otherwise why there is none. Waits only while the tier comes up for the first
    /// time.
    pub async fn client(&self, tier: Tier) -> Result<Client, String> {
        let tier = self.config.tiers.serving(tier);
        self.demands[tier as usize].notify_one();
        let mut view = self.views[tier as usize].clone();
        let settled = view.wait_for(|view| !matches!(view.state, State::Waiting | State::Starting)).await;
        match settled.map(|view| view.state.clone()) {
            Ok(State::Up(client)) => Ok(client),
            Ok(State::Down(reason)) => Err(reason),
            Ok(State::Off | State::Waiting | State::Starting) | Err(_) => {
                Err(format!("the {} model server was not started", tier.name()))
            }
        }
    }

    /// The client that serves `tier`, if it is up at this moment. Neither waits nor starts anything.
    pub fn peek(&self, tier: Tier) -> Option<Client> {
        match &self.views[self.config.tiers.serving(tier) as usize].borrow().state {
            State::Up(client) => Some(client.clone()),
            _ => None,
        }
    }

    /// How a tier is at this moment.
    pub fn status(&self, tier: Tier) -> TierStatus {
        let settings = self.config.tier(tier);
        let view = self.views[tier as usize].borrow();
        let (state, reason) = match &view.state {
            State::Off => (TierState::Off, None),
            State::Waiting => (TierState::Waiting, None),
            State::Starting => (TierState::Starting, None),
            State::Up(_) => (TierState::Up, None),
            State::Down(reason) => (TierState::Down, reason.lines().next().map(ToOwned::to_owned)),
        };
        TierStatus {
            tier,
            state,
            reason,
            since: view.since,
            restarts: view.restarts,
            model: Path::new(&settings.model).file_name().unwrap_or_default().to_string_lossy().into_owned(),
            managed: settings.manage,
        }
    }

    /// Ends start-ups that are still going on, and stops the servers; returns when they have ended.
    pub async fn stop(&self) {
        self.cancel.cancel();
        let mut keepers = std::mem::take(&mut *self.keepers.lock().unwrap_or_else(PoisonError::into_inner));
        while keepers.join_next().await.is_some() {}
    }
}
