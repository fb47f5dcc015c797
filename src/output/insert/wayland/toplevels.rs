//! The list of windows that wlroots compositors (and some others) publish, and which of them has the focus.

use super::super::Target;
use super::desk::State;
use std::collections::HashMap;
use wayland_client::backend::ObjectId;
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, event_created_child};
use wayland_protocols_wlr::foreign_toplevel::v1::client as wlr;
use wlr::zwlr_foreign_toplevel_handle_v1::{self as handle, ZwlrForeignToplevelHandleV1};
use wlr::zwlr_foreign_toplevel_manager_v1::{self as manager, ZwlrForeignToplevelManagerV1};

/// All windows.
#[derive(Default)]
pub struct Toplevels {
    windows: HashMap<ObjectId, Window>,
    counted: u64,
}

#[derive(Default)]
struct Window {
    number: u64,
    application: String,
    title: String,
    active: bool,
}

impl Toplevels {
    /// The window with the focus.
    pub fn active(&self) -> Option<Target> {
        let window = self.windows.values().find(|window| window.active)?;
        Some(Target::new(window.number, window.application.clone(), window.title.clone(), None))
    }
}

impl Dispatch<ZwlrForeignToplevelManagerV1, ()> for State {
    fn event(
        state: &mut Self,
        _: &ZwlrForeignToplevelManagerV1,
        event: manager::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let manager::Event::Toplevel { toplevel } = event {
            state.toplevels.counted += 1;
            let number = state.toplevels.counted;
            state.toplevels.windows.insert(toplevel.id(), Window { number, ..Window::default() });
        }
    }

    event_created_child!(State, ZwlrForeignToplevelManagerV1, [
        manager::EVT_TOPLEVEL_OPCODE => (ZwlrForeignToplevelHandleV1, ())
    ]);
}

impl Dispatch<ZwlrForeignToplevelHandleV1, ()> for State {
    fn event(
        state: &mut Self,
        toplevel: &ZwlrForeignToplevelHandleV1,
        event: handle::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let windows = &mut state.toplevels.windows;
        let Some(window) = windows.get_mut(&toplevel.id()) else { return };
        match event {
            handle::Event::AppId { app_id } => window.application = app_id,
            handle::Event::Title { title } => window.title = title,
            handle::Event::State { state: bytes } => {
                // An array of 32-bit numbers.
                let activated = handle::State::Activated as u32;
                window.active = bytes.chunks_exact(4).any(|four| four == activated.to_ne_bytes());
            }
            handle::Event::Closed => {
                windows.remove(&toplevel.id());
                toplevel.destroy();
            }
            _ => {}
        }
    }
}
