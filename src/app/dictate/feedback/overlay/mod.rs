//! A small window with level, text and state. It never takes the focus, a click or a key.
//!
//! Owns one thread with its own connection to the display server; the task hands it what is to be seen, and only the
//! newest of that is drawn.

mod draw;
mod view;
mod wayland;
mod x11;

pub use draw::{Corners, Frame, Painter};
pub use view::View;

use crate::app::dictate::control::Controller;
use crate::app::dictate::desktop_session::Session;
use crate::config::OverlayPlace;
use std::sync::mpsc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Width of the window, logical pixels.
pub const WIDTH: u32 = 520;
/// Height, logical pixels.
pub const HEIGHT: u32 = 92;
/// From the edge of the screen, logical pixels.
const MARGIN: u32 = 48;
/// Between two frames.
const FRAME: Duration = Duration::from_millis(50);

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Which edge of the screen.
    pub place: OverlayPlace,
    /// Seconds that the text stays after the take.
    pub seconds: f64,
}

/// Shows the overlay until `stop`.
pub async fn run(
    options: Options,
    session: Session,
    controller: Controller,
    stop: CancellationToken,
) -> Result<(), String> {
    if session.wayland.is_none() && session.display.is_none() {
        return Err("there is no display".into());
    }
    let (show, views) = mpsc::channel::<Option<View>>();
    let (ended, end) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("overlay".into());
    let work = move || {
        let on_x11 = |display: &str| x11::show(Some(display), options.place, &views);
        let result = match (&session.wayland, &session.display) {
            // A compositor without a layer shell shows windows of X11 programs, mostly.
            (Some(socket), display) => wayland::show(socket, options.place, &views)
                .or_else(|reason| display.as_deref().map_or(Err(reason), on_x11)),
            (None, Some(display)) => on_x11(display),
            (None, None) => Ok(()),
        };
        let _ = ended.send(result);
    };
    thread.spawn(work).map_err(|error| error.to_string())?;
    let feeding = feed(options, &controller, &stop, &show);
    let mut end = std::pin::pin!(end);
    tokio::select! {
        result = &mut end => return result.unwrap_or_else(|_| Err("its thread has ended".into())),
        () = feeding => {}
    }
    // The window is taken down before the program ends.
    drop(show);
    end.await.unwrap_or(Ok(()))
}

/// Tells the thread what is to be seen now; `None`: nothing.
async fn feed(options: Options, controller: &Controller, stop: &CancellationToken, show: &mpsc::Sender<Option<View>>) {
    let mut events = controller.events();
    let mut status = controller.status();
    let mut view = View::default();
    view.status(&status.borrow_and_update());
    let mut tick = tokio::time::interval(FRAME);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut dirty = true;
    let mut seen = true;
    let mut hide: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            event = super::next(&mut events, stop) => {
                let Some(event) = event else { return };
                dirty |= view.event(&event);
            }
            changed = status.changed() => {
                if changed.is_err() {
                    return;
                }
                dirty |= view.status(&status.borrow_and_update());
            }
            _ = tick.tick(), if dirty || hide.is_some() => {
                if view.is_busy() {
                    hide = None;
                    seen = true;
                } else if hide.is_none() && seen {
                    hide = Some(Instant::now() + Duration::from_secs_f64(options.seconds * view.linger()));
                }
                let over = hide.is_some_and(|at| Instant::now() >= at);
                if over {
                    hide = None;
                    seen = false;
                    view.forget();
                }
                if dirty || over {
                    dirty = false;
                    let frame = (seen && view.has_something()).then(|| view.clone());
                    if show.send(frame).is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// The newest of what is to be seen; `Err` when nothing more will come. Waits up to `wait` for the first.
fn newest(views: &mpsc::Receiver<Option<View>>, wait: Duration) -> Result<Option<Option<View>>, mpsc::RecvError> {
    match views.recv_timeout(wait) {
        Ok(first) => Ok(Some(views.try_iter().last().unwrap_or(first))),
        Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(mpsc::RecvError),
    }
}
