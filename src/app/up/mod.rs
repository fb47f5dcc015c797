//! `bestbox up`: both language model servers, watched, behind fronts that stay.
//!
//! ```text
//! client -> front (port of the tier; holds, sends again) -> llama-server (a free port) <- owner (starts, watches, replaces)
//! ```
//!
//! A front and its owner share a [`tier::Tier`] and nothing else. Other bestbox of this user find the fronts in the
//! registry (`servers::Front`) and use them in place of servers of their own.

mod breaker;
mod forward;
mod front;
pub(in crate::app) mod memory;
mod notify;
mod owner;
pub(in crate::app) mod plan;
mod reload;
mod say;
mod supervisor;
mod tier;

use super::Override;
use super::session::{Overrides, program};
use crate::cli::{Global, TierChoice, UpArgs};
use crate::config::{Config, LauncherKind, Loaded};
use crate::engine;
use crate::error::Error;
use crate::models::{Role, Store, cache_dir, gguf};
use crate::outcome::Tier;
use crate::servers::{self, Front};
use notify::Manager;
use plan::{Plan, Wanted};
use say::Say;
use std::path::PathBuf;
use std::time::Duration;
use supervisor::Supervisor;
use tokio::signal::unix::{SignalKind, signal};
use toml::Value;

/// How often the loop looks whether everything has come up.
const TICK: Duration = Duration::from_millis(100);

/// The command's own flags as configuration.
pub(super) fn overrides(args: &UpArgs) -> Vec<Override> {
    let mut set = Overrides::default();
    for launcher in &args.launcher {
        let tiers = launcher.tier.map_or_else(|| args.tiers.tiers().to_vec(), |tier| vec![tier]);
        for tier in tiers {
            let key = format!("up.{}.launcher", tier.name());
            set.variant(&key, "--launcher", Some(launcher.kind));
        }
    }
    set.text("up.key", "--key", args.key.clone());
    set.value("up.light.idle_minutes", "--idle-minutes", args.idle_minutes.map(Value::Float));
    set.value("up.heavy.idle_minutes", "--idle-minutes", args.idle_minutes.map(Value::Float));
    set.0
}

/// Runs the servers until SIGINT or SIGTERM; or only says what it would do, or asks a running one to read its
/// configuration again.
pub(super) async fn run(loaded: Loaded, global: Global, args: UpArgs) -> Result<(), Error> {
    if args.reload {
        return reload::ask(&engine::run_dir()).await;
    }
    let config = loaded.config;
    let tiers = tiers_of(&config, args.tiers)?;
    let plan = make_plan(&config, &tiers, Room::Free).await?;
    if args.dry_run {
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), "{}", plan.table(&config));
    }
    match plan.problems() {
        Some(problems) if !args.force => {
            let sentence = if args.dry_run { problems } else { format!("{problems}; or start it anyway with --force") };
            return Err(Error::Servers(sentence));
        }
        Some(problems) => Say::new(global.quiet).line(&format!("warning: {problems}")),
        None => {}
    }
    if args.dry_run {
        return Ok(());
    }
    supervise(config, &global, &args, &plan).await
}

async fn supervise(config: Config, global: &Global, args: &UpArgs, plan: &Plan) -> Result<(), Error> {
    let say = Say::new(global.quiet);
    let manager = Manager::from_env();
    let unusable = |error: std::io::Error| Error::Usage(format!("cannot listen for signals: {error}"));
    let terminal = has_terminal();
    let mut hang_up = signal(SignalKind::hangup()).map_err(unusable)?;
    let stop = super::interrupt::token();
    let mut supervisor = Supervisor::new(program()?, say);
    supervisor.start(config, plan)?;
    let mut tick = tokio::time::interval(TICK);
    let mut watchdog = manager.watchdog_interval().map(tokio::time::interval);
    let mut ready = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(()) = hang_up.recv() => {
                // The terminal it was started in has been closed: not somebody who wants a reload.
                if terminal && !has_terminal() {
                    break;
                }
                manager.reloading();
                if let Err(error) = reload::apply(&mut supervisor, global, args).await {
                    say.line(&format!("not reloaded, everything stays as it is: {error}"));
                    supervisor.refused(Some(error.to_string()));
                } else {
                    say.line("reloaded");
                    supervisor.refused(None);
                }
                manager.ready(&supervisor.summary());
            }
            _ = tick.tick() => {
                if !ready && supervisor.settled() {
                    ready = true;
                    manager.ready(&supervisor.summary());
                }
            }
            () = next(&mut watchdog) => manager.watchdog(),
        }
    }
    manager.stopping();
    supervisor.stop().await;
    say.line("stopped");
    Ok(())
}

/// Whether there is a terminal that a person may close.
fn has_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal()
}

/// The next tick of a clock; never without one.
async fn next(clock: &mut Option<tokio::time::Interval>) {
    match clock {
        Some(clock) => drop(clock.tick().await),
        None => std::future::pending().await,
    }
}

/// The tiers to run: those that the configuration uses and manages, of those that were asked for.
fn tiers_of(config: &Config, choice: TierChoice) -> Result<Vec<Tier>, Error> {
    let used = |tier: &Tier| config.tiers.serving(*tier) == *tier;
    let used: Vec<Tier> = choice.tiers().iter().copied().filter(used).collect();
    let managed: Vec<Tier> = used.iter().copied().filter(|tier| config.tier(*tier).manage).collect();
    if managed.is_empty() {
        return Err(Error::Usage(match used.first() {
            Some(tier) => {
                let name = tier.name();
                format!(
                    "the {name} server is run by somebody else ({name}.manage = false); set it to true, or choose a profile"
                )
            }
            None => "the configured tiers leave nothing to run; see `tiers` and --tiers".to_owned(),
        }));
    }
    Ok(managed)
}

/// Which memory a plan may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    /// What is free.
    Free,
    /// And what the servers of these tiers have, which they will give back.
    AndTheirOwn,
}

/// Reads the models' headers and looks at the memory.
async fn make_plan(config: &Config, tiers: &[Tier], room: Room) -> Result<Plan, Error> {
    let store = Store::new(cache_dir(), config.models.folders.clone());
    let running = servers::running(&engine::run_dir());
    let mut wanted = Vec::new();
    for tier in tiers {
        let (store, spec) = (store.clone(), config.tier(*tier).model.clone());
        let read = move || -> Result<(PathBuf, gguf::Gguf), Error> {
            let path = store.resolve(&spec, Role::Llm)?;
            let model = gguf::read(&path).map_err(|error| Error::Servers(error.to_string()))?;
            Ok((path, model))
        };
        let joined = tokio::task::spawn_blocking(read).await;
        let (path, model) = joined.map_err(|error| Error::Servers(error.to_string()))??;
        let same = running.iter().any(|server| server.name == tier.name() && server.model == path);
        wanted.push(Wanted { tier: *tier, path, model, running: same });
    }
    // What runs in containers does not use the devices that a llama-server of this machine knows.
    let native = tiers.iter().any(|tier| config.up.tier(*tier).launcher == LauncherKind::Native);
    let program = native.then(|| engine::llama_server(config).ok()).flatten();
    let mut memory = memory::of_this_machine(program.as_deref()).await;
    if room == Room::AndTheirOwn {
        let own = running.iter().filter(|server| tiers.iter().any(|tier| tier.name() == server.name));
        memory.system.free += own.map(|server| memory::resident(server.process.pid).unwrap_or(0)).sum::<u64>();
    }
    Ok(plan::make(config, &wanted, memory))
}

/// Where a `bestbox up` runs a tier.
pub(in crate::app) fn front(tier: Tier) -> Option<Front> {
    Front::of(&engine::run_dir(), tier.name())
}
