//! What is seen and heard of dictation: notifications, tray, sounds, overlay, paused media, the view in the terminal.
//!
//! Each is a task that only reads the status and the events, and may send what any client may. Whatever fails in one of
//! them ends in a line of the log: a take never waits for any of them.

#[cfg(all(unix, not(target_os = "macos")))]
mod media;
#[cfg(all(unix, not(target_os = "macos")))]
mod notify;
#[cfg(any(target_os = "macos", windows))]
mod notify_native;
#[cfg(all(unix, not(target_os = "macos")))]
pub mod overlay;
pub mod sounds;
pub mod terminal;
#[cfg(all(unix, not(target_os = "macos")))]
mod tray;

use super::control::{Controller, Event};
use super::desktop_session::Session;
use crate::config::FeedbackConfig;
use std::future::Future;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Everything that shows; [`Feedback::stop`] ends it.
pub struct Feedback {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts what the configuration asks for, as far as this desktop has it. Never fails, never waits. Needs tokio.
pub fn start(config: &FeedbackConfig, session: &Session, controller: &Controller) -> Feedback {
    let stop = CancellationToken::new();
    let mut feedback = Feedback { stop: stop.clone(), tasks: Vec::new() };
    if config.sounds {
        feedback.add("sounds", sounds::run(config.volume, controller.clone(), stop.clone()));
    }
    #[cfg(all(unix, not(target_os = "macos")))]
    {
        if config.notifications {
            feedback.add("notifications", notify::run(session.clone(), controller.clone(), stop.clone()));
        }
        if config.pause_media {
            feedback.add("media", media::run(session.clone(), controller.clone(), stop.clone()));
        }
        if config.tray {
            feedback.add("tray", tray::run(controller.clone(), stop.clone()));
        }
        if config.overlay {
            let options = overlay::Options { place: config.overlay_place, seconds: config.overlay_seconds };
            feedback.add("overlay", overlay::run(options, session.clone(), controller.clone(), stop.clone()));
        }
    }
    #[cfg(any(target_os = "macos", windows))]
    {
        let _ = session;
        if config.notifications {
            feedback.add("notifications", notify_native::run(controller.clone(), stop.clone()));
        }
    }
    feedback
}

impl Feedback {
    fn add(&mut self, name: &'static str, work: impl Future<Output = Result<(), String>> + Send + 'static) {
        self.tasks.push(tokio::spawn(async move {
            if let Err(reason) = work.await {
                tracing::warn!("no {name}: {reason}");
            }
        }));
    }

    /// Takes everything down again: media go on, windows and icons vanish. At most two seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        let all = futures_util::future::join_all(self.tasks);
        if tokio::time::timeout(std::time::Duration::from_secs(2), all).await.is_err() {
            tracing::warn!("some of the desktop's programs do not answer");
        }
    }
}

/// The next event; `None` when dictation has ended or the view is to stop. Events that were missed are passed over.
async fn next(events: &mut broadcast::Receiver<Event>, stop: &CancellationToken) -> Option<Event> {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = stop.cancelled() => return None,
        };
        match event {
            Ok(event) => return Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => tracing::debug!("{missed} events missed"),
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}
