//! One tier as its front and its owner share it: the owner publishes how its server is, requests take leases of it.

use crate::servers::{ExitKind, ExitReason, Server};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, watch};

/// How a tier's server is.
#[derive(Clone)]
pub(super) enum Phase {
    /// Its turn has not come: one server loads at a time.
    Waiting,
    /// Loading its model.
    Starting,
    /// The same, after a pause of the circuit breaker: one more failure opens it again.
    HalfOpen,
    /// Serving.
    Ready(Arc<Backend>),
    /// Its memory was given back; the next request starts it.
    Asleep,
    /// It does not answer; it may come back.
    Silent,
    /// It ended, and is about to be started again.
    Restarting,
    /// Too many failures in a row: nobody waits until the pause is over.
    Open(Instant),
    /// Everything ends.
    Stopped,
}

impl Phase {
    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Starting => "starting",
            Phase::HalfOpen => "half-open",
            Phase::Ready(_) => "ready",
            Phase::Asleep => "asleep",
            Phase::Silent => "silent",
            Phase::Restarting => "restarting",
            Phase::Open(_) => "open",
            Phase::Stopped => "stopped",
        }
    }
}

/// What others see of a tier.
#[derive(Clone)]
pub(super) struct View {
    pub phase: Phase,
    pub since: SystemTime,
    /// How often its server was replaced after it had been ready.
    pub restarts: u32,
    /// How the last one ended that was not asked to.
    pub last_exit: Option<ExitReason>,
    pub model: String,
}

/// A server that is ready, and who uses it.
pub(super) struct Backend {
    pub url: String,
    pub key: String,
    pub pid: u32,
    under_way: AtomicUsize,
    served: AtomicU64,
}

impl Backend {
    pub fn of(server: &Server) -> Arc<Self> {
        Arc::new(Backend {
            url: server.base_url(),
            key: server.api_key().to_owned(),
            pid: server.pid(),
            under_way: AtomicUsize::new(0),
            served: AtomicU64::new(0),
        })
    }

    /// Whether it has answered anything.
    pub fn has_served(&self) -> bool {
        self.served.load(Ordering::Acquire) > 0
    }

    /// Returns when nobody uses it any more, or the time is up.
    pub async fn drain(&self, limit: Duration) {
        let until = Instant::now() + limit;
        while self.under_way.load(Ordering::Acquire) > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A request's hold on a server: it is not stopped before this is dropped (or its time to drain is over).
pub(super) struct Lease(pub Arc<Backend>);

impl Lease {
    /// It has answered.
    pub fn served(&self) {
        self.0.served.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a request is not held.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The circuit breaker is open for so long.
    Open(Duration),
    /// Too many wait already.
    Full,
    /// It has waited for so long.
    TooLong(Duration),
    /// Everything ends.
    Ending,
}

/// One tier.
pub(super) struct Tier {
    pub name: &'static str,
    pub view: watch::Sender<View>,
    /// Notified when a request wants a server that is asleep.
    pub wake: Notify,
    /// Notified when a request has failed.
    pub trouble: Notify,
    pub counters: Counters,
    held: AtomicUsize,
    under_way: AtomicUsize,
    last_request: Mutex<Instant>,
}

/// What the front has done so far.
#[derive(Default)]
pub(super) struct Counters {
    pub requests: AtomicU64,
    /// Sent again to another server.
    pub resent: AtomicU64,
    /// Turned away.
    pub refused: AtomicU64,
}

/// The same for the health page.
#[derive(Serialize)]
pub(super) struct Counted {
    requests: u64,
    resent: u64,
    refused: u64,
    held: usize,
    under_way: usize,
}

impl Tier {
    pub fn new(name: &'static str, model: String) -> Arc<Self> {
        let view = View { phase: Phase::Waiting, since: SystemTime::now(), restarts: 0, last_exit: None, model };
        Arc::new(Tier {
            name,
            view: watch::channel(view).0,
            wake: Notify::new(),
            trouble: Notify::new(),
            counters: Counters::default(),
            held: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            last_request: Mutex::new(Instant::now()),
        })
    }

    /// The next phase.
    pub fn publish(&self, phase: Phase) {
        self.view.send_modify(|view| {
            view.phase = phase;
            view.since = SystemTime::now();
        });
    }

    /// A request comes; it counts until this is dropped.
    pub fn enter(self: &Arc<Self>) -> Entered {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::AcqRel);
        Entered(self.clone())
    }

    /// How long there has been no request; none while there is one.
    pub fn idle(&self) -> Option<Duration> {
        let since = *self.last_request.lock().unwrap_or_else(PoisonError::into_inner);
        (self.under_way.load(Ordering::Acquire) == 0).then(|| since.elapsed())
    }

    /// Whether the last server was ended from outside, so that no request is to blame.
    pub fn was_killed(&self) -> bool {
        self.view.borrow().last_exit.as_ref().is_some_and(|exit| exit.kind == ExitKind::Killed)
    }

    pub fn counted(&self) -> Counted {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            requests: load(&self.counters.requests),
            resent: load(&self.counters.resent),
            refused: load(&self.counters.refused),
            held: self.held.load(Ordering::Relaxed),
            under_way: self.under_way.load(Ordering::Relaxed),
        }
    }

    /// A hold on a server that is ready; waits for one for at most `patience`, which it uses up.
    pub async fn lease(&self, patience: &mut Duration, most_held: usize) -> Result<Lease, Refusal> {
        let began = Instant::now();
        let whole = *patience;
        let mut view = self.view.subscribe();
        let mut place = None;
        loop {
            {
                // Counted under the lock of the view: whoever publishes the next phase sees all users of this one.
                let view = view.borrow_and_update();
                match &view.phase {
                    Phase::Ready(backend) => {
                        backend.under_way.fetch_add(1, Ordering::AcqRel);
                        return Ok(Lease(backend.clone()));
                    }
                    Phase::Open(until) => return Err(Refusal::Open(until.saturating_duration_since(Instant::now()))),
                    Phase::Stopped => return Err(Refusal::Ending),
                    Phase::Asleep => self.wake.notify_one(),
                    Phase::Waiting | Phase::Starting | Phase::HalfOpen | Phase::Silent | Phase::Restarting => {}
                }
            }
            if place.is_none() {
                place = Some(Held::take(&self.held, most_held).ok_or(Refusal::Full)?);
            }
            *patience = whole.saturating_sub(began.elapsed());
            match tokio::time::timeout(*patience, view.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Refusal::Ending),
                Err(_elapsed) => return Err(Refusal::TooLong(began.elapsed())),
            }
        }
    }
}

/// See [`Tier::enter`].
pub(super) struct Entered(Arc<Tier>);

impl Drop for Entered {
    fn drop(&mut self) {
        *self.0.last_request.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A place among those who wait.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn take(held: &'a AtomicUsize, most: usize) -> Option<Self> {
        let next = |held| (held < most).then_some(held + 1);
        held.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok().map(|_| Held(held))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> Arc<Backend> {
        let (url, key) = ("http://127.0.0.1:1".to_owned(), String::new());
        Arc::new(Backend { url, key, pid: 1, under_way: AtomicUsize::new(0), served: AtomicU64::new(0) })
    }

    #[tokio::test]
    async fn requests_wait_bounded_in_number_and_time_and_not_at_an_open_breaker() {
        let tier = Tier::new("light", "model".into());
        let mut patience = Duration::from_millis(30);
        assert!(matches!(tier.lease(&mut patience, 1).await, Err(Refusal::TooLong(_))));
        assert!(patience < Duration::from_millis(30));
        let waiting = {
            let tier = tier.clone();
            tokio::spawn(async move { tier.lease(&mut Duration::from_secs(20), 1).await.is_ok() })
        };
        while tier.counted().held == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(tier.lease(&mut Duration::from_secs(20), 1).await, Err(Refusal::Full)));
        tier.publish(Phase::Ready(backend()));
        assert!(waiting.await.expect("a task"));
        tier.publish(Phase::Open(Instant::now() + Duration::from_secs(9)));
        let refused = tier.lease(&mut Duration::from_secs(20), 9).await;
        assert!(matches!(refused, Err(Refusal::Open(left)) if left > Duration::from_secs(5)));
        tier.publish(Phase::Stopped);
        assert!(matches!(tier.lease(&mut Duration::from_secs(20), 9).await, Err(Refusal::Ending)));
    }

    #[tokio::test]
    async fn a_server_is_drained_when_the_last_lease_is_gone_and_sleep_is_ended_by_a_request() {
        let tier = Tier::new("light", "model".into());
        let one = backend();
        tier.publish(Phase::Ready(one.clone()));
        let lease = tier.lease(&mut Duration::from_secs(1), 1).await.expect("ready");
        tier.publish(Phase::Asleep);
        let draining = tokio::spawn(async move { one.drain(Duration::from_secs(20)).await });
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(!draining.is_finished());
        drop(lease);
        draining.await.expect("drained");
        assert!(tier.lease(&mut Duration::from_millis(10), 1).await.is_err());
        tokio::time::timeout(Duration::from_secs(5), tier.wake.notified()).await.expect("woken");
        let entered = tier.enter();
        assert!(tier.idle().is_none());
        drop(entered);
        assert!(tier.idle().is_some());
    }
}
