//! Keys through the desktop's GlobalShortcuts portal (KDE, GNOME 48, Hyprland): the desktop asks the user and tells us.
//!
//! Owns one task with one session. A portal that restarts is asked again; Escape is not ours here (a portal grants keys
//! for good, not for the time of a recording): `bestbox ctl cancel`, or a key that the compositor binds to it.

use super::{Hotkey, HotkeyError, Task};
use crate::app::dictate::control::Controller;
use crate::app::dictate::desktop_session::Session;
use crate::app::dictate::machine::Command;
use crate::config::{Modifier, Shortcut};
use ashpd::desktop::CreateSessionOptions;
use ashpd::desktop::global_shortcuts::{Activated, BindShortcutsOptions, Deactivated, GlobalShortcuts, NewShortcut};
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::time::Duration;

/// Name of the desktop entry that packages install; portals know programs by it.
pub const APP_ID: &str = "org.bestbox.BestBox";
/// To answer at all. To be granted shortcuts has no limit: a user may be reading a dialog.
const ANSWER: Duration = Duration::from_secs(5);
/// Between attempts to reach a portal that went away.
const AGAIN: Duration = Duration::from_secs(5);

/// Asks the desktop for the keys, and listens.
pub async fn start(session: Session, hotkeys: Vec<Hotkey>, controller: Controller) -> Result<Task, HotkeyError> {
    let none = |error: &dyn std::fmt::Display| HotkeyError::NoPortal { reason: error.to_string() };
    let opened = tokio::time::timeout(ANSWER, open(&session)).await;
    let link = opened.map_err(|_| none(&"it does not answer"))?.map_err(|error| none(&error))?;
    // The rest waits for the user, and dictation must not: the keys work once they are granted.
    Ok(Task(tokio::spawn(keep(link, session, hotkeys, controller))))
}

/// A connection with a session of its own.
struct Link {
    portal: GlobalShortcuts,
    session: ashpd::desktop::Session<GlobalShortcuts>,
}

async fn open(session: &Session) -> Result<Link, ashpd::Error> {
    // Of its own, so that it can be made anew when the bus restarts.
    let connection = session.bus().await?;
    // Desktops before 2025 have no registry and go by the systemd unit; they work without.
    if let Ok(id) = ashpd::AppID::try_from(APP_ID)
        && let Err(error) = ashpd::register_host_app_with_connection(connection.clone(), id).await
    {
        tracing::debug!("the portal does not take our name: {error}");
    }
    let portal = GlobalShortcuts::with_connection(connection).await?;
    let session = portal.create_session(CreateSessionOptions::default()).await?;
    Ok(Link { portal, session })
}

async fn keep(first: Link, session: Session, hotkeys: Vec<Hotkey>, controller: Controller) {
    let mut link = Some(first);
    loop {
        let current = match link.take() {
            Some(link) => Ok(link),
            None => open(&session).await,
        };
        let ended = match current {
            Ok(current) => listen(&current, &hotkeys, &controller).await,
            Err(error) => Err(HotkeyError::NoPortal { reason: error.to_string() }),
        };
        match ended {
            Err(error @ HotkeyError::Refused { .. }) => {
                tracing::error!("{error}");
                return;
            }
            Err(error) => tracing::warn!("{error}"),
            Ok(()) => tracing::warn!("the portal ended its session; asking again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Until the portal ends the session. Keys that are down then are let go.
async fn listen(link: &Link, hotkeys: &[Hotkey], controller: &Controller) -> Result<(), HotkeyError> {
    let lost = |error: ashpd::Error| HotkeyError::Lost { reason: error.to_string() };
    let refused = |error: ashpd::Error| HotkeyError::Refused { reason: error.to_string() };
    let portal = &link.portal;
    // Before they are bound, so that no press is missed.
    // One stream for all signals keeps their order: a release and the press after it must not change places.
    let mut signals = portal.receive_all_signals().await.map_err(|error| lost(error.into()))?;
    let closed = link.session.receive_closed().await.map_err(lost)?;
    let mut closed = std::pin::pin!(closed);
    let wanted: Vec<NewShortcut> = hotkeys
        .iter()
        .map(|hotkey| {
            let trigger = trigger(&hotkey.shortcut);
            NewShortcut::new(&hotkey.binding, &hotkey.description).preferred_trigger(trigger.as_str())
        })
        .collect();
    let request = portal.bind_shortcuts(&link.session, &wanted, None, BindShortcutsOptions::default()).await;
    let bound = request.and_then(|request| request.response()).map_err(refused)?;
    let granted: Vec<&str> = bound.shortcuts().iter().map(ashpd::desktop::global_shortcuts::Shortcut::id).collect();
    if granted.is_empty() {
        return Err(HotkeyError::Refused { reason: "none was granted".into() });
    }
    for hotkey in hotkeys.iter().filter(|hotkey| !granted.contains(&hotkey.binding.as_str())) {
        tracing::warn!("the desktop did not grant {} for {}", hotkey.shortcut, hotkey.binding);
    }
    let ours = |id: &str| hotkeys.iter().find(|hotkey| hotkey.binding == id).map(|hotkey| hotkey.binding.clone());
    let mut down: BTreeSet<String> = BTreeSet::new();
    loop {
        tokio::select! {
            signal = signals.next() => {
                let Some(signal) = signal else { break };
                match signal.header().member().map(|member| member.as_str()) {
                    // Desktops repeat the signal while the key repeats.
                    Some("Activated") => {
                        let event = signal.body().deserialize::<Activated>();
                        let binding = event.ok().and_then(|event| ours(event.shortcut_id()));
                        if let Some(binding) = binding.filter(|binding| down.insert(binding.clone())) {
                            controller.send(Command::Press { binding: Some(binding) });
                        }
                    }
                    Some("Deactivated") => {
                        let event = signal.body().deserialize::<Deactivated>();
                        let binding = event.ok().and_then(|event| ours(event.shortcut_id()));
                        if let Some(binding) = binding.filter(|binding| down.remove(binding)) {
                            controller.send(Command::Release { binding: Some(binding) });
                        }
                    }
                    _ => {}
                }
            }
            _ = closed.next() => break,
        }
    }
    for binding in down {
        controller.send(Command::Release { binding: Some(binding) });
    }
    Ok(())
}

/// The XDG shortcuts specification's form: `CTRL+ALT+space`.
fn trigger(shortcut: &Shortcut) -> String {
    let modifier = |modifier: &Modifier| match modifier {
        Modifier::Ctrl => "CTRL",
        Modifier::Alt => "ALT",
        Modifier::Shift => "SHIFT",
        Modifier::Super => "LOGO",
    };
    let parts: Vec<&str> = shortcut.modifiers.iter().map(modifier).chain([shortcut.key.symbol]).collect();
    parts.join("+")
}

#[cfg(test)]
mod tests {
    #[test]
    fn triggers_are_those_of_the_specification() {
        for (shortcut, trigger) in
            [("ctrl+alt+space", "CTRL+ALT+space"), ("F9", "F9"), ("super+right_ctrl", "LOGO+Control_R")]
        {
            assert_eq!(super::trigger(&shortcut.parse().expect("a shortcut")), trigger);
        }
    }
}
