//! Keys that start and stop takes. Every source only says that a binding's key went down or up; what that means, the
//! state machine decides.
//!
//! A source that is lost is said once ([`HotkeyError::Lost`] in the log) and costs nothing else: `bestbox ctl` works on.

pub mod lines;
pub mod tracker;

#[cfg(target_os = "linux")]
mod evdev;
#[cfg(any(target_os = "macos", windows))]
mod native;
#[cfg(all(unix, not(target_os = "macos")))]
mod portal;
#[cfg(all(unix, not(target_os = "macos")))]
mod x11;
#[cfg(all(unix, not(target_os = "macos")))]
mod x11_keys;
#[cfg(all(unix, not(target_os = "macos")))]
mod x11_raw;

use super::control::Controller;
use super::desktop_session::Session;
use super::machine::Command;

use crate::config::{BindingConfig, DictateConfig, HotkeyBackend, HotkeyConfig, PlanKind, Shortcut};

/// A binding and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hotkey {
    /// Name of the binding.
    pub binding: String,
    /// What it does, for the desktop's own list of shortcuts.
    pub description: String,
    /// Its key.
    pub shortcut: Shortcut,
}

/// The keys of all bindings that have one. Keys that make no sense were refused with the configuration.
pub fn of(config: &DictateConfig) -> Vec<Hotkey> {
    let describe = |binding: &BindingConfig| match binding.plan {
        PlanKind::Dictate => format!("Dictate ({})", binding.name),
        PlanKind::Translate => format!("Dictate in {} ({})", binding.to, binding.name),
        PlanKind::Agent => format!("Ask the assistant ({})", binding.name),
        PlanKind::Auto => format!("Dictate or ask ({})", binding.name),
        PlanKind::Command => format!("Say a command ({})", binding.name),
    };
    let hotkey = |binding: BindingConfig| {
        let shortcut = binding.shortcut().ok()??;
        Some(Hotkey { description: describe(&binding), binding: binding.name, shortcut })
    };
    config.bindings().into_iter().filter_map(hotkey).collect()
}

/// Keys that cannot be had: what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum HotkeyError {
    #[error("{0} is taken by another program: choose another key")]
    Taken(Shortcut),
    #[error("{0} and {1} have the same key {2}: choose another for one of them")]
    Twice(String, String, Shortcut),
    #[error("this keyboard layout has no key {0}: choose another key")]
    NoSuchKey(Shortcut),
    #[error("the X server cannot be used ({reason}): check DISPLAY, or set dictate.hotkey.backend")]
    X11 { reason: String },
    #[error(
        "the desktop has no GlobalShortcuts portal ({reason}): bind the keys in the compositor; `bestbox doctor` prints the lines"
    )]
    NoPortal { reason: String },
    #[error("the desktop did not grant the shortcuts ({reason}): allow them in its settings and start again")]
    Refused { reason: String },
    #[error(
        "no keyboard in /dev/input can be read: run `sudo usermod -aG input $USER` and log in again (every program of \
         yours can then read every key), or use another dictate.hotkey.backend"
    )]
    NoKeyboard,
    #[error("dictate.hotkey.backend '{0}' does not exist on this system: use auto")]
    NotHere(&'static str),
    #[error("keys are no longer heard ({reason}): use `bestbox ctl`, or start bestbox dictate again")]
    Lost { reason: String },
    #[error("the system does not give out hotkeys ({reason})")]
    System { reason: String },
}

/// Keys that are listened to; dropping it gives them back.
pub struct Hotkeys {
    /// Who tells us about them; never `Auto`.
    pub backend: HotkeyBackend,
    _source: Source,
}

/// What keeps a source alive.
enum Source {
    None,
    #[cfg(all(unix, not(target_os = "macos")))]
    X11 {
        _x11: x11::X11,
        _escape: Task,
    },
    #[cfg(all(unix, not(target_os = "macos")))]
    Portal(#[allow(dead_code, reason = "held for its Drop")] Task),
    #[cfg(target_os = "linux")]
    Evdev(#[allow(dead_code, reason = "held for its Drop")] Task),
    #[cfg(any(target_os = "macos", windows))]
    Native(#[allow(dead_code, reason = "held for its Drop")] native::Native),
}

/// A task that ends with its owner.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The backend that `auto` means here.
pub fn choose(config: &HotkeyConfig, session: &Session) -> HotkeyBackend {
    if config.backend != HotkeyBackend::Auto {
        return config.backend;
    }
    if cfg!(any(target_os = "macos", windows)) {
        HotkeyBackend::Auto
    } else if session.wayland.is_some() {
        HotkeyBackend::Portal
    } else if session.display.is_some() {
        HotkeyBackend::X11
    } else {
        HotkeyBackend::None
    }
}

/// Listens to the keys and tells `controller` about them; Escape, while a take is recorded, cancels it where the source
/// can tell. Needs tokio.
pub async fn start(
    config: &HotkeyConfig,
    session: &Session,
    hotkeys: Vec<Hotkey>,
    controller: &Controller,
) -> Result<Hotkeys, HotkeyError> {
    for (index, hotkey) in hotkeys.iter().enumerate() {
        if let Some(other) = hotkeys[..index].iter().find(|other| other.shortcut == hotkey.shortcut) {
            let (one, two) = (other.binding.clone(), hotkey.binding.clone());
            return Err(HotkeyError::Twice(one, two, hotkey.shortcut.clone()));
        }
    }
    let backend = if hotkeys.is_empty() { HotkeyBackend::None } else { choose(config, session) };
    let source = match backend {
        HotkeyBackend::None => Source::None,
        #[cfg(all(unix, not(target_os = "macos")))]
        HotkeyBackend::X11 => {
            let (display, to) = (session.display.clone(), controller.clone());
            let start = move || x11::X11::start(display.as_deref(), hotkeys, to);
            let started = tokio::task::spawn_blocking(start).await;
            let x11 = started.map_err(|error| HotkeyError::X11 { reason: error.to_string() })??;
            let escape = x11.escape();
            let mut status = controller.status();
            let follow = async move {
                loop {
                    escape.wanted(status.borrow_and_update().state == super::machine::State::Recording);
                    if status.changed().await.is_err() {
                        return;
                    }
                }
            };
            Source::X11 { _x11: x11, _escape: Task(tokio::spawn(follow)) }
        }
        #[cfg(all(unix, not(target_os = "macos")))]
        HotkeyBackend::Portal => Source::Portal(portal::start(session.clone(), hotkeys, controller.clone()).await?),
        #[cfg(target_os = "linux")]
        HotkeyBackend::Evdev => Source::Evdev(evdev::start(hotkeys, controller.clone())?),
        #[cfg(any(target_os = "macos", windows))]
        HotkeyBackend::Auto => Source::Native(native::Native::start(hotkeys, controller.clone())?),
        #[allow(unreachable_patterns, reason = "which are left depends on the system")]
        HotkeyBackend::X11 => return Err(HotkeyError::NotHere("x11")),
        #[allow(unreachable_patterns, reason = "which are left depends on the system")]
        HotkeyBackend::Portal => return Err(HotkeyError::NotHere("portal")),
        #[allow(unreachable_patterns, reason = "which are left depends on the system")]
        HotkeyBackend::Evdev => return Err(HotkeyError::NotHere("evdev")),
        #[allow(unreachable_patterns, reason = "which are left depends on the system")]
        HotkeyBackend::Auto => Source::None,
    };
    Ok(Hotkeys { backend, _source: source })
}

/// What the state machine is told. Escape counts only while a take is recorded.
fn command(hotkeys: &[Hotkey], edge: tracker::Edge, escape: bool) -> Option<Command> {
    let binding = |index: usize| hotkeys.get(index).map(|hotkey| hotkey.binding.clone());
    match edge {
        tracker::Edge::Press(index) => Some(Command::Press { binding: Some(binding(index)?) }),
        tracker::Edge::Release(index) => Some(Command::Release { binding: Some(binding(index)?) }),
        tracker::Edge::Chord(_) => Some(Command::Cancel),
        tracker::Edge::Escape => escape.then_some(Command::Cancel),
    }
}

/// Whether the keys could be had now, without keeping them: for `bestbox doctor`.
pub async fn check(
    config: &HotkeyConfig,
    session: &Session,
    hotkeys: Vec<Hotkey>,
) -> Result<HotkeyBackend, HotkeyError> {
    let (controller, _control) = Controller::new(super::control::Status::default());
    Ok(start(config, session, hotkeys, &controller).await?.backend)
}
