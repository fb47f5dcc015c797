//! `[dictate.hotkey]`: who tells us about keys.

use serde::{Deserialize, Serialize};

/// Who tells us about keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HotkeyBackend {
    /// The portal under Wayland, X11 under X11, the system's own elsewhere; nobody where there is none.
    #[default]
    Auto,
    /// The X server.
    X11,
    /// The GlobalShortcuts portal of the desktop.
    Portal,
    /// The kernel's input devices (Linux): needs the right to read every keyboard.
    Evdev,
    /// Nobody: keys are bound in the compositor and call `bestbox ctl`.
    None,
}

/// `[dictate.hotkey]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HotkeyConfig {
    /// Who tells us about keys.
    pub backend: HotkeyBackend,
}
