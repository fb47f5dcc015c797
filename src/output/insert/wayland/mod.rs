//! Wayland, spoken directly: the data-control protocols for the clipboard, a virtual keyboard for keys, and the list of
//! windows for the focus. Compositors offer them or not; GNOME offers none.

mod clipboard;
mod desk;
mod keyboard;
mod keymap;
mod protocol;
mod toplevels;

pub use clipboard::WaylandClipboard;
pub use keyboard::WaylandKeys;

use super::{Target, ToolError};
use wayland_client::backend::WaylandError;
use wayland_client::globals::{BindError, GlobalError};
use wayland_client::{ConnectError, DispatchError};

/// The window with the focus, where the compositor tells (wlroots and others: `zwlr_foreign_toplevel_manager_v1`).
pub fn focus() -> Result<Option<Target>, ToolError> {
    desk::DESK.call(|desk| {
        desk.round_trip()?;
        Ok(desk.state.toplevels.active())
    })
}

impl From<ConnectError> for ToolError {
    fn from(error: ConnectError) -> Self {
        ToolError::Desktop(format!("no Wayland compositor: {error}"))
    }
}

impl From<GlobalError> for ToolError {
    fn from(error: GlobalError) -> Self {
        ToolError::Desktop(format!("the Wayland compositor does not answer: {error}"))
    }
}

impl From<DispatchError> for ToolError {
    fn from(error: DispatchError) -> Self {
        ToolError::Desktop(format!("the Wayland compositor is gone: {error}"))
    }
}

impl From<WaylandError> for ToolError {
    fn from(error: WaylandError) -> Self {
        ToolError::Desktop(format!("the Wayland compositor is gone: {error}"))
    }
}

impl From<BindError> for ToolError {
    fn from(error: BindError) -> Self {
        ToolError::Desktop(format!("the compositor has not what is needed: {error}"))
    }
}
