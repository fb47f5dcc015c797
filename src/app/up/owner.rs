//! Owns one tier's server from the first start to the last: one task decides, everybody else sends orders and looks at
//! what it publishes.

use super::breaker::{Breaker, BreakerSettings, Verdict};
use super::say::Say;
use super::tier::{Backend, Phase, Tier, View};
use crate::servers::{self, ExitKind, ExitReason, Server, ServerError, ServerSettings};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often a look is taken at the process (one read of /proc), and at the time without requests.
const LOOK: Duration = Duration::from_millis(50);
/// How often a server that is ready is asked for its health. Runs no inference.
const ASK: Duration = Duration::from_secs(2);
/// Time for that answer; llama-server gives it from another thread than inference.
const ANSWER: Duration = Duration::from_secs(3);
/// A server that lived for so long has not failed, even if nobody asked it anything.
const STEADY: Duration = Duration::from_secs(30);
/// One that was killed from outside had come up if it lived for so long.
const LIVED: Duration = Duration::from_secs(1);
/// Longest wait for requests under way when everything ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a tier's server shall be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spec {
    pub settings: ServerSettings,
    /// Time without requests after which its memory is given back; none: never.
    pub idle: Option<Duration>,
    /// How long it may be silent.
    pub silence: Duration,
    /// For requests under way on a server that is replaced.
    pub drain: Duration,
    pub breaker: BreakerSettings,
}

/// A change of configuration.
pub(super) struct Order {
    pub spec: Spec,
    /// There is memory for the new server beside the old one, so nobody has to wait.
    pub beside: bool,
}

/// One tier's owner.
pub(super) struct Owner {
    pub tier: Arc<Tier>,
    pub spec: Spec,
    pub orders: mpsc::Receiver<Order>,
    /// The tier that comes up before this one.
    pub after: Option<watch::Receiver<View>>,
    pub say: Say,
    pub cancel: CancellationToken,
}

/// Why a server that was ready is not watched any more.
enum End {
    /// Its process has ended.
    Gone(ExitReason),
    /// It does not answer.
    Hung(ExitReason),
    /// Nobody wants it.
    Idle,
    Order(Order),
    Cancelled,
}

impl Owner {
    /// Runs until cancelled; all its servers have ended when this returns.
    pub async fn run(mut self) {
        let mut retiring = JoinSet::new();
        self.work(&mut retiring).await;
        self.tier.publish(Phase::Stopped);
        while retiring.join_next().await.is_some() {}
    }

    async fn work(&mut self, retiring: &mut JoinSet<()>) {
        if let Some(mut first) = self.after.take() {
            let turn = first.wait_for(|view| !matches!(view.phase, Phase::Waiting | Phase::Starting));
            if self.cancel.run_until_cancelled(turn).await.is_none() {
                return;
            }
        }
        let mut breaker = Breaker::new();
        let mut next: Option<(Server, Arc<Backend>)> = None;
        loop {
            let (server, backend) = match next.take() {
                Some(serving) => serving,
                None => {
                    let phase = if breaker.half_open() { Phase::HalfOpen } else { Phase::Starting };
                    self.tier.publish(phase);
                    match self.start().await {
                        Some(Ok(server)) => {
                            let backend = Backend::of(&server);
                            (server, backend)
                        }
                        Some(Err(error)) => {
                            self.failed(&error);
                            if !self.pause(&mut breaker).await {
                                return;
                            }
                            continue;
                        }
                        // An order came, and is in force; or the end.
                        None if self.cancel.is_cancelled() => return,
                        None => continue,
                    }
                }
            };
            self.tier.publish(Phase::Ready(backend.clone()));
            let began = Instant::now();
            let (reason, server) = match self.watch(&server, &backend).await {
                End::Gone(reason) => (reason, None),
                End::Hung(reason) => (reason, Some(server)),
                End::Idle => {
                    breaker.success();
                    self.tier.publish(Phase::Asleep);
                    self.say.line(&format!("{}: asleep, nobody has asked it anything", self.tier.name));
                    backend.drain(self.spec.drain).await;
                    server.stop().await;
                    if !self.sleep().await {
                        return;
                    }
                    continue;
                }
                End::Order(order) => {
                    next = self.replace(order, server, &backend, retiring).await;
                    continue;
                }
                End::Cancelled => {
                    self.tier.publish(Phase::Stopped);
                    backend.drain(FAREWELL).await;
                    server.stop().await;
                    return;
                }
            };
            self.tier.view.send_modify(|view| {
                view.restarts += 1;
                view.last_exit = Some(reason.clone());
            });
            self.tier.publish(Phase::Restarting);
            self.say.line(&format!("{}: ended ({reason}); starting it again", self.tier.name));
            if let Some(hung) = server {
                hung.stop().await;
            }
            // Killed from outside after it had come up: no failure of its own.
            let killed = reason.kind == ExitKind::Killed && began.elapsed() >= LIVED;
            if backend.has_served() || killed || began.elapsed() >= STEADY {
                breaker.success();
            } else if !self.pause(&mut breaker).await {
                return;
            }
        }
    }

    /// A server, or why there is none; nothing when an order or the end came first.
    async fn start(&mut self) -> Option<Result<Server, ServerError>> {
        let spec = self.spec.clone();
        let mut progress = self.say.progress();
        tokio::select! {
            started = servers::ensure(&spec.settings, &mut progress, &self.cancel) => match started {
                Err(ServerError::Cancelled) => None,
                started => Some(started),
            },
            Some(order) = self.orders.recv() => {
                self.take(order.spec);
                None
            }
        }
    }

    fn failed(&self, error: &ServerError) {
        self.tier.view.send_modify(|view| view.last_exit = Some(error.exit_reason()));
        let sentence = error.to_string();
        let mut lines = sentence.lines();
        let line = lines.next().unwrap_or_default();
        // Errors of a start quote the log.
        let last = lines.next_back().map(|last| format!("; its last words: {}", last.trim())).unwrap_or_default();
        self.say.line(&format!("{}: {line}{last}", self.tier.name));
    }

    /// Waits as the breaker says; false at the end.
    async fn pause(&mut self, breaker: &mut Breaker) -> bool {
        let (phase, pause) = match breaker.failure(Instant::now(), &self.spec.breaker) {
            Verdict::Wait(pause) => (Phase::Restarting, pause),
            Verdict::Open(pause) => {
                let seconds = pause.as_secs_f64();
                let name = self.tier.name;
                self.say.line(&format!("{name}: too many failures; left alone for {seconds:.0} s, requests get 503"));
                (Phase::Open(Instant::now() + pause), pause)
            }
        };
        self.tier.publish(phase);
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            Some(order) = self.orders.recv() => {
                // Perhaps it puts right what was wrong.
                breaker.success();
                self.take(order.spec);
                true
            }
            () = self.cancel.cancelled() => false,
        }
    }

    /// Until a request comes; false at the end.
    async fn sleep(&mut self) -> bool {
        loop {
            tokio::select! {
                () = self.tier.wake.notified() => {
                    self.say.line(&format!("{}: woken by a request", self.tier.name));
                    return true;
                }
                Some(order) = self.orders.recv() => self.take(order.spec),
                () = self.cancel.cancelled() => return false,
            }
        }
    }

    async fn watch(&mut self, server: &Server, backend: &Arc<Backend>) -> End {
        let mut ask = tokio::time::Instant::now() + ASK;
        let mut silent: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return End::Cancelled,
                Some(order) = self.orders.recv() => {
                    if order.spec.settings != self.spec.settings {
                        return End::Order(order);
                    }
                    self.take(order.spec);
                }
                () = self.tier.trouble.notified() => ask = tokio::time::Instant::now(),
                () = tokio::time::sleep_until(ask) => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            if !server.is_running() {
                return End::Gone(server.why_it_ended().await);
            }
            if self.spec.idle.zip(self.tier.idle()).is_some_and(|(limit, idle)| idle >= limit) {
                return End::Idle;
            }
            if tokio::time::Instant::now() < ask {
                continue;
            }
            match server.alive(ANSWER).await {
                Ok(()) if silent.take().is_some() => {
                    self.say.line(&format!("{}: answers again", self.tier.name));
                    self.tier.publish(Phase::Ready(backend.clone()));
                }
                Ok(()) => {}
                Err(_) if !server.is_running() => return End::Gone(server.why_it_ended().await),
                Err(reason) => {
                    if silent.is_none() {
                        self.say.line(&format!("{}: does not answer ({reason})", self.tier.name));
                        self.tier.publish(Phase::Silent);
                    }
                    let since = *silent.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.spec.silence {
                        return End::Hung(ExitReason::hung(format!(
                            "silent for {:.0} s",
                            since.elapsed().as_secs_f64()
                        )));
                    }
                    ask = tokio::time::Instant::now() + LOOK;
                    continue;
                }
            }
            ask = tokio::time::Instant::now() + ASK;
        }
    }

    /// Another server in the place of a ready one; requests under way end on the old one. Gives back what serves now.
    async fn replace(
        &mut self,
        order: Order,
        old: Server,
        backend: &Arc<Backend>,
        retiring: &mut JoinSet<()>,
    ) -> Option<(Server, Arc<Backend>)> {
        let name = self.tier.name;
        let mut progress = self.say.progress();
        if order.beside {
            self.say.line(&format!("{name}: another server comes up beside this one"));
            match servers::ensure(&order.spec.settings, &mut progress, &self.cancel).await {
                Ok(new) => {
                    self.take(order.spec);
                    let (backend, drain) = (backend.clone(), self.spec.drain);
                    let cancel = self.cancel.clone();
                    // Published before the old one is drained, so that nobody new comes to it.
                    let serving = Backend::of(&new);
                    self.tier.publish(Phase::Ready(serving.clone()));
                    retiring.spawn(async move {
                        let _ = cancel.run_until_cancelled(backend.drain(drain)).await;
                        old.stop().await;
                    });
                    return Some((new, serving));
                }
                Err(error) => {
                    self.failed(&error);
                    self.say.line(&format!("{name}: the server that is running stays"));
                    return Some((old, backend.clone()));
                }
            }
        }
        self.tier.publish(Phase::Restarting);
        self.say.line(&format!("{name}: requests wait while the server is replaced"));
        let _ = self.cancel.run_until_cancelled(backend.drain(self.spec.drain)).await;
        old.stop().await;
        self.tier.publish(Phase::Starting);
        match servers::ensure(&order.spec.settings, &mut progress, &self.cancel).await {
            Ok(new) => {
                self.take(order.spec);
                let serving = Backend::of(&new);
                Some((new, serving))
            }
            Err(error) => {
                self.failed(&error);
                self.say.line(&format!("{name}: going back to the server before"));
                None
            }
        }
    }

    fn take(&mut self, spec: Spec) {
        let model = model_name(&spec.settings);
        self.tier.view.send_if_modified(|view| {
            view.model = model;
            false
        });
        self.spec = spec;
    }
}

/// A model as people call it.
pub(super) fn model_name(settings: &ServerSettings) -> String {
    settings.model.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
