//! All tiers of one `bestbox up`: their ports, fronts, owners, and what others are told about them.

use super::breaker::BreakerSettings;
use super::front::{self, Limits, Listening, Serving};
use super::owner::{Order, Owner, Spec, model_name};
use super::plan::Plan;
use super::say::Say;
use super::tier::{Phase, Tier as Shared};
use crate::config::{Config, LauncherKind};
use crate::engine;
use crate::error::Error;
use crate::outcome::Tier;
use crate::servers::{self, Docker, Front, FrontLock, Launcher, Port, ServerError, front_key};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One tier that runs.
struct Active {
    tier: Tier,
    shared: Arc<Shared>,
    spec: Spec,
    serving: Serving,
    published: Front,
    lock: FrontLock,
    orders: mpsc::Sender<Order>,
    owner: JoinHandle<()>,
    cancel: CancellationToken,
}

/// All of them.
pub(super) struct Supervisor {
    program: PathBuf,
    say: Say,
    pub config: Config,
    active: Vec<Active>,
    /// How often the configuration was read again, and why the last one was refused.
    reloads: u32,
}

/// A tier that will run, with everything taken that can fail.
struct Prepared {
    tier: Tier,
    spec: Spec,
    /// None where the port stays as it is.
    listening: Option<Listening>,
    /// None where it is held already.
    lock: Option<FrontLock>,
    key: Option<String>,
}

impl Supervisor {
    pub fn new(program: PathBuf, say: Say) -> Self {
        Supervisor { program, say, config: Config::default(), active: Vec::new(), reloads: 0 }
    }

    /// Brings the tiers of `plan` to what `config` says: the first time, and after a change. Whatever can be refused is
    /// refused before anything is changed.
    pub fn start(&mut self, config: Config, plan: &Plan) -> Result<(), Error> {
        let mut prepared = Vec::new();
        for row in &plan.rows {
            prepared.push(self.prepare(&config, row.wanted.tier, &row.wanted.path)?);
        }
        let wanted = |tier: Tier| plan.rows.iter().any(|row| row.wanted.tier == tier);
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.active).into_iter().partition(|a| wanted(a.tier));
        self.active = kept;
        for active in gone {
            self.say.line(&format!("{}: not wanted any more", active.tier.name()));
            // Its requests end first; see `Owner`.
            active.cancel.cancel();
        }
        for prepared in prepared {
            let row = plan.rows.iter().find(|row| row.wanted.tier == prepared.tier);
            // What does not fit beside the old server has to wait for its memory.
            let beside = row.is_some_and(|row| row.beside);
            self.put(&config, prepared, beside)?;
        }
        self.config = config;
        Ok(())
    }

    fn prepare(&self, config: &Config, tier: Tier, model: &Path) -> Result<Prepared, Error> {
        let (name, up) = (tier.name(), &config.up);
        let spec = spec(config, tier, model, &self.program)?;
        spec.settings.check()?;
        let run_dir = &spec.settings.run_dir;
        let active = self.active.iter().find(|active| active.tier == tier);
        let lock = match active {
            Some(_) => None,
            None => Some(FrontLock::take(run_dir, name)?.ok_or_else(|| taken(run_dir, name))?),
        };
        let key = up.key_file(run_dir).map(|file| front_key(&file)).transpose()?;
        let port = config.tier(tier).port;
        let stays = active.is_some_and(|active| {
            let address = active.serving.address;
            address.ip().to_string() == up.host.trim_matches(['[', ']']) && (port == 0 || address.port() == port)
        });
        let listening = match stays {
            true => None,
            false => Some(front::listen(name, &up.host, port).map_err(|error| own(error, run_dir, port))?),
        };
        Ok(Prepared { tier, spec, listening, lock, key })
    }

    fn put(&mut self, config: &Config, prepared: Prepared, beside: bool) -> Result<(), Error> {
        let Prepared { tier, spec, listening, lock, key } = prepared;
        let at = self.active.iter().position(|active| active.tier == tier);
        let shared = match at {
            Some(at) => self.active[at].shared.clone(),
            None => Shared::new(tier.name(), model_name(&spec.settings)),
        };
        let front = front::Front::new(shared.clone(), limits(config), key.clone())?;
        let serving = listening.map(|listening| listening.serve(front.clone())).transpose()?;
        if let Some(at) = at {
            let active = &mut self.active[at];
            match serving {
                Some(serving) => active.serving = serving,
                None => active.serving.change(front),
            }
            active.publish(key, &spec)?;
            if active.spec != spec {
                active.spec = spec.clone();
                // Err: it is ending anyway.
                let _ = active.orders.try_send(Order { spec, beside });
            }
            return Ok(());
        }
        let (Some(serving), Some(lock)) = (serving, lock) else { return Ok(()) };
        let published = Front::new(url(&serving), key.clone(), &spec.settings)
            .ok_or_else(|| Error::Servers("this process cannot find itself in /proc".to_owned()))?;
        lock.publish(&published)?;
        self.say.line(&format!("{}: listens on {}{}", tier.name(), published.url, hint(config, &spec)));
        let (orders, received) = mpsc::channel(16);
        let cancel = CancellationToken::new();
        let after = self.active.iter().find(|active| active.tier == Tier::Light);
        let owner = Owner {
            tier: shared.clone(),
            spec: spec.clone(),
            orders: received,
            after: after.filter(|_| tier == Tier::Heavy).map(|light| light.shared.view.subscribe()),
            say: self.say,
            cancel: cancel.clone(),
        };
        let owner = tokio::spawn(owner.run());
        self.active.push(Active { tier, shared, spec, serving, published, lock, orders, owner, cancel });
        Ok(())
    }

    /// Tells everybody how a reload went.
    pub fn refused(&mut self, reason: Option<String>) {
        self.reloads += 1;
        for active in &mut self.active {
            active.published.reloads = self.reloads;
            active.published.refused.clone_from(&reason);
            if let Err(error) = active.lock.publish(&active.published) {
                tracing::warn!(%error, "other programs cannot be told");
            }
        }
    }

    /// Whether every tier has come up, or has been tried.
    pub fn settled(&self) -> bool {
        let settled = |phase: &Phase| !matches!(phase, Phase::Waiting | Phase::Starting);
        self.active.iter().all(|active| settled(&active.shared.view.borrow().phase))
    }

    /// One line for the service manager.
    pub fn summary(&self) -> String {
        let one = |active: &Active| format!("{} {}", active.tier.name(), active.shared.view.borrow().phase.word());
        self.active.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Stops everything; returns when all servers have ended.
    pub async fn stop(&mut self) {
        for active in &self.active {
            active.cancel.cancel();
        }
        for active in std::mem::take(&mut self.active) {
            let Active { owner, serving, lock, .. } = active;
            // A panic there has been said already.
            let _ = owner.await;
            drop((serving, lock));
        }
    }
}

impl Active {
    /// The key or the server behind the front is another one.
    fn publish(&mut self, key: Option<String>, spec: &Spec) -> Result<(), Error> {
        if let Some(front) = Front::new(url(&self.serving), key, &spec.settings) {
            let before = &self.published;
            self.published = Front { reloads: before.reloads, refused: before.refused.clone(), ..front };
        }
        Ok(self.lock.publish(&self.published)?)
    }
}

fn spec(config: &Config, tier: Tier, model: &Path, program: &Path) -> Result<Spec, Error> {
    let (up, own) = (&config.up, config.up.tier(tier));
    let mut settings = match own.launcher {
        LauncherKind::Native => engine::server_settings(tier, config, model.to_owned(), program)?,
        // The image has its own.
        LauncherKind::Docker => engine::server_settings_without_program(tier, config, model.to_owned(), program),
    };
    settings.port = Port::Any;
    if own.launcher == LauncherKind::Docker {
        let hsa = &own.hsa_override_gfx_version;
        let env = (!hsa.is_empty()).then(|| ("HSA_OVERRIDE_GFX_VERSION".to_owned(), hsa.clone()));
        settings.launcher = Launcher::Docker(Docker {
            program: PathBuf::from(&own.docker),
            image: own.image.clone(),
            devices: own.devices.clone(),
            groups: own.groups.clone(),
            env: env.into_iter().collect(),
            extra_args: own.docker_args.clone(),
        });
    }
    Ok(Spec {
        settings,
        idle: (own.idle_minutes > 0.0).then(|| Duration::from_secs_f64(own.idle_minutes * 60.0)),
        silence: Duration::from_secs_f64(up.silence_seconds),
        drain: Duration::from_secs_f64(up.drain_seconds),
        breaker: BreakerSettings {
            failures: up.breaker_failures as usize,
            window: Duration::from_secs_f64(up.breaker_window_seconds),
            pause: Duration::from_secs_f64(up.breaker_pause_seconds),
        },
    })
}

fn limits(config: &Config) -> Limits {
    let up = &config.up;
    Limits {
        held: up.held_requests as usize,
        bytes: usize::try_from(up.held_bytes).unwrap_or(usize::MAX),
        patience: Duration::from_secs_f64(up.hold_seconds),
    }
}

fn url(serving: &Serving) -> String {
    format!("http://{}", serving.address)
}

/// How other programs are let in.
fn hint(config: &Config, spec: &Spec) -> String {
    match config.up.key_file(&spec.settings.run_dir) {
        Some(file) => format!(" (key in {})", file.display()),
        None => " (no key)".to_owned(),
    }
}

fn taken(run_dir: &Path, name: &str) -> Error {
    let (process, url) = Front::of(run_dir, name).map_or((String::new(), String::new()), |front| {
        (format!(" (process {})", front.process.pid), format!(" on {}", front.url))
    });
    Error::Servers(format!(
        "another `bestbox up`{process} runs the {name} server{url}; stop that one first, or change it with `bestbox up --reload`"
    ))
}

/// A port that one of our own servers has is worth another word.
fn own(error: ServerError, run_dir: &Path, port: u16) -> Error {
    let ours = servers::running(run_dir).into_iter().find(|server| server.base_url.ends_with(&format!(":{port}")));
    match (&error, ours) {
        (ServerError::PortTaken { .. }, Some(server)) => Error::Servers(format!(
            "port {port} is taken by the {} server (process {}) that another bestbox has started; stop that bestbox first",
            server.name, server.process.pid
        )),
        _ => error.into(),
    }
}
