//! Keys of macOS and Windows, through the global-hotkey crate. Not compiled on Linux.
//!
//! The crate wants a thread with an event loop: on Windows ours pumps messages; on macOS the main thread's run loop
//! does.

use super::{Hotkey, HotkeyError, tracker::Edge};
use crate::app::dictate::control::Controller;
use crate::app::dictate::machine::State;
use global_hotkey::hotkey::HotKey;
use global_hotkey::{GlobalHotKeyEvent, GlobalHotKeyManager, HotKeyState};

/// Keys that are registered; dropping it gives them back.
pub struct Native {
    _manager: GlobalHotKeyManager,
}

impl Native {
    /// Registers all keys, or names the one that cannot be had.
    pub fn start(hotkeys: Vec<Hotkey>, controller: Controller) -> Result<Self, HotkeyError> {
        let failed = |error: global_hotkey::Error| HotkeyError::System { reason: error.to_string() };
        let manager = GlobalHotKeyManager::new().map_err(failed)?;
        let mut ids = Vec::new();
        for hotkey in &hotkeys {
            // Its names are ours without underscores.
            let key: Result<HotKey, _> = hotkey.shortcut.to_string().replace('_', "").parse();
            let key = key.map_err(|_| HotkeyError::NoSuchKey(hotkey.shortcut.clone()))?;
            manager.register(key).map_err(|error| match error {
                global_hotkey::Error::AlreadyRegistered(_) => HotkeyError::Taken(hotkey.shortcut.clone()),
                error => failed(error),
            })?;
            ids.push(key.id());
        }
        GlobalHotKeyEvent::set_event_handler(Some(move |event: GlobalHotKeyEvent| {
            let Some(index) = ids.iter().position(|id| *id == event.id) else { return };
            let edge = match event.state {
                HotKeyState::Pressed => Edge::Press(index),
                HotKeyState::Released => Edge::Release(index),
            };
            let recording = controller.status().borrow().state == State::Recording;
            if let Some(command) = super::command(&hotkeys, edge, recording) {
                controller.send(command);
            }
        }));
        Ok(Native { _manager: manager })
    }
}
