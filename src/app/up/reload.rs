//! Another configuration for a running `bestbox up`: on SIGHUP, which `bestbox up --reload` sends.

use super::supervisor::Supervisor;
use super::{Room, make_plan, overrides, tiers_of};
use crate::app::load;
use crate::cli::{Global, UpArgs};
use crate::error::Error;
use crate::outcome::Tier;
use crate::servers::Front;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::{Duration, Instant};

/// For reading the configuration and the models' headers.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the configuration again and puts it in force; tiers that have not changed notice nothing.
///
/// # Errors
/// When it is not valid, or does not fit into memory: everything stays as it was.
pub(super) async fn apply(supervisor: &mut Supervisor, global: &Global, args: &UpArgs) -> Result<(), Error> {
    let config = load(global, overrides(args))?.config;
    let tiers = tiers_of(&config, args.tiers)?;
    let room = make_plan(&config, &tiers, Room::AndTheirOwn).await?;
    if let Some(problems) = room.problems().filter(|_| !args.force) {
        return Err(Error::Servers(problems));
    }
    let plan = make_plan(&config, &tiers, Room::Free).await?;
    supervisor.start(config, &plan)
}

/// Asks the `bestbox up` of this user to do that, and says how it went.
///
/// # Errors
/// When there is none, or it refuses.
pub(super) async fn ask(run_dir: &Path) -> Result<(), Error> {
    let fronts =
        || [Tier::Light, Tier::Heavy].into_iter().filter_map(|tier| Some((tier, Front::of(run_dir, tier.name())?)));
    let mut asked: Vec<(Tier, Front)> = Vec::new();
    for (tier, front) in fronts() {
        if asked.iter().any(|(_, before)| before.process == front.process) {
            continue;
        }
        let pid = i32::try_from(front.process.pid).map_err(|_| Error::Servers("no such process".to_owned()))?;
        kill(Pid::from_raw(pid), Signal::SIGHUP)
            .map_err(|error| Error::Servers(format!("process {pid} cannot be asked to reload: {error}")))?;
        asked.push((tier, front));
    }
    if asked.is_empty() {
        return Err(Error::Servers("there is no `bestbox up` to reload; start one".to_owned()));
    }
    let began = Instant::now();
    for (tier, before) in asked {
        let after = loop {
            // A tier that is not wanted any more is gone: another one of the same process answers for it.
            let now = Front::of(run_dir, tier.name())
                .or_else(|| fronts().map(|(_, front)| front).find(|front| front.process == before.process));
            match now {
                Some(now) if now.reloads > before.reloads => break now,
                None => return Err(Error::Servers("`bestbox up` has ended meanwhile".to_owned())),
                Some(_) if began.elapsed() > PATIENCE => {
                    return Err(Error::Servers("`bestbox up` does not answer; see what it says".to_owned()));
                }
                Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        if let Some(reason) = after.refused {
            return Err(Error::Servers(format!("not reloaded, everything stays as it is: {reason}")));
        }
    }
    Ok(())
}
