//! Comes by a server: shares a running one, or starts one and waits for its first token.

use super::exit::{Exit, is_bind_error};
use super::registry::{Home, Launch, State};
use super::{Launcher, Port, ServerError, ServerSettings, TICK, command, health, keeper};
use std::fs::File;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Tries of a start where the port was taken between the choice and the server's own bind.
const PORT_TRIES: u32 = 3;

/// How much life a server must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Health,
    Token,
}

/// One attempt to come by a server.
pub(super) struct Start<'a> {
    pub settings: &'a ServerSettings,
    pub home: &'a Home,
    pub deadline: Instant,
}

impl Start<'_> {
    /// Comes by a server: its state, the user's lock on it, and whether it ran already.
    pub async fn run(&self, progress: &mut (dyn FnMut(&str) + Send)) -> Result<(State, File, bool), ServerError> {
        let name = &self.settings.name;
        // Whoever holds this starts the server; the others wait and find it running.
        let mut said = false;
        let starting = self
            .until("another bestbox is still starting it", || {
                let lock = self.home.try_start_lock();
                if matches!(lock, Ok(None)) && !std::mem::replace(&mut said, true) {
                    progress(&format!("waiting for another bestbox that is starting the {name} server"));
                }
                lock
            })
            .await?;
        let user = self.until("the one before it is still ending", || self.home.try_use()).await?;
        if let Some(state) = self.home.running_state() {
            progress(&format!("the {name} server runs already; sharing it"));
            // Its starter has seen a token; another one here would push other users' prefixes out of the cache.
            match self.answer(&state, Depth::Health, progress).await {
                Ok(()) => return Ok((state, user, true)),
                Err(ServerError::Died { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let state = self.start(progress).await?;
        drop(starting);
        Ok((state, user, false))
    }

    async fn start(&self, progress: &mut (dyn FnMut(&str) + Send)) -> Result<State, ServerError> {
        let began = Instant::now();
        let flags = match &self.settings.launcher {
            Launcher::Native => command::flags(&self.settings.program).await?,
            Launcher::Docker(docker) => docker.prepare(self.settings, self.deadline, progress).await?,
        };
        let file = self.settings.model.file_name().unwrap_or_default().to_string_lossy();
        progress(&format!("starting the {} server ({file})", self.settings.name));
        let mut attempt = 1;
        let state = loop {
            let port = self.port(attempt)?;
            let launch = match &self.settings.launcher {
                Launcher::Native => Launch {
                    program: self.settings.program.clone(),
                    arguments: command::arguments(self.settings, port, &flags),
                    stop: Vec::new(),
                    container: None,
                },
                Launcher::Docker(docker) => docker.launch(self.settings, port, &flags),
            };
            let spec = self.home.spec(self.settings, port, launch)?;
            match self.launch(&spec, progress).await {
                Err(ServerError::Died { ref tail, .. }) if is_bind_error(tail) => {
                    if let Port::Exactly(port) = self.settings.port {
                        return Err(ServerError::PortTaken { name: self.settings.name.clone(), port });
                    }
                    if attempt == PORT_TRIES {
                        return Err(ServerError::PortTaken { name: self.settings.name.clone(), port });
                    }
                    attempt += 1;
                }
                other => break other?,
            }
        };
        progress(&format!("the {} server is ready after {:.1} s", self.settings.name, began.elapsed().as_secs_f64()));
        Ok(state)
    }

    async fn launch(&self, spec: &keeper::Spec, progress: &mut (dyn FnMut(&str) + Send)) -> Result<State, ServerError> {
        // The keeper before may have died and its server with it; this one must be gone before its lock is free.
        self.until("the one before it is still ending", || Ok((!self.home.keeper_runs()).then_some(()))).await?;
        self.home.clear_end();
        let keeper = keeper::spawn(&self.settings.keeper, &self.settings.name, spec)?;
        let state = self
            .until("its process did not appear", || match self.home.end() {
                Some(how) => Err(self.died(how)),
                None => match (self.home.running_state(), keeper.ended()) {
                    (None, Some(how)) => Err(ServerError::Keeper {
                        name: self.settings.name.clone(),
                        reason: self.home.end().unwrap_or(how),
                    }),
                    (state, _) => Ok(state),
                },
            })
            .await?;
        self.answer(&state, Depth::Token, progress).await?;
        Ok(state)
    }

    /// Waits for a sign of life.
    async fn answer(
        &self,
        state: &State,
        depth: Depth,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), ServerError> {
        let name = &self.settings.name;
        let probe = health::Probe::new(state).map_err(|reason| self.not_ready(reason))?;
        let mut next_word = Instant::now() + Duration::from_secs(2);
        let began = Instant::now();
        let mut last = "it does not listen yet".to_owned();
        loop {
            if !state.server.is_running() {
                // The keeper notices a moment later and says how it ended.
                tokio::time::sleep(TICK * 4).await;
                return Err(self.died(self.home.end().unwrap_or_else(|| "it is gone".to_owned())));
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.not_ready(last));
            }
            let ask = async {
                match depth {
                    Depth::Health => probe.healthy().await.map(|()| health::Answer::Right),
                    Depth::Token => probe.token().await,
                }
            };
            match tokio::time::timeout(left, ask).await {
                Ok(Ok(health::Answer::Right)) => break,
                Ok(Ok(health::Answer::Odd)) => {
                    let odd = "does not know the capital of France: check the model and the GPU driver";
                    tracing::warn!("the {name} server {odd}");
                    progress(&format!("the {name} server {odd}"));
                    break;
                }
                Ok(Err(reason)) => last = reason,
                Err(_elapsed) => continue,
            }
            if Instant::now() >= next_word {
                progress(&format!("the {name} server is loading its model ({:.0} s)", began.elapsed().as_secs_f64()));
                next_word += Duration::from_secs(2);
            }
            tokio::time::sleep(TICK).await;
        }
        // The answer was this server's only if this server is there.
        if state.server.is_running() { Ok(()) } else { Err(self.died("it is gone".to_owned())) }
    }

    /// Repeats `attempt` until it gives something, fails, or the time is up.
    async fn until<T>(
        &self,
        reason: &str,
        mut attempt: impl FnMut() -> Result<Option<T>, ServerError>,
    ) -> Result<T, ServerError> {
        loop {
            if let Some(got) = attempt()? {
                return Ok(got);
            }
            if Instant::now() >= self.deadline {
                return Err(self.not_ready(reason.to_owned()));
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn port(&self, attempt: u32) -> Result<u16, ServerError> {
        let host = self.settings.host.as_str();
        let free = |port| TcpListener::bind((host, port)).and_then(|listener| listener.local_addr());
        let taken = |port| ServerError::PortTaken { name: self.settings.name.clone(), port };
        match self.settings.port {
            Port::Exactly(port) => free(port).map(|_| port).map_err(|_| taken(port)),
            Port::Prefer(port) if attempt == 1 && free(port).is_ok() => Ok(port),
            Port::Prefer(_) | Port::Any => free(0).map(|address| address.port()).map_err(|source| ServerError::Io {
                what: "find a free port on",
                path: host.into(),
                source,
            }),
        }
    }

    fn died(&self, how: String) -> ServerError {
        let tail = self.home.log_tail();
        let exit = self.home.exit().unwrap_or_else(|| Exit::unknown(&how));
        let (kind, log) = (self.home.reason(&exit).kind, self.home.log().to_path_buf());
        ServerError::Died { name: self.settings.name.clone(), how, kind, log, tail }
    }

    fn not_ready(&self, reason: String) -> ServerError {
        ServerError::NotReady {
            name: self.settings.name.clone(),
            seconds: self.settings.startup_timeout.as_secs_f64(),
            reason,
            log: self.home.log().to_path_buf(),
            tail: self.home.log_tail(),
        }
    }
}
