//! Keys through `zwp_virtual_keyboard_v1`: a keyboard of our own beside the user's, so that what the user holds, and
//! the user's layout, do not matter.

use super::super::config::PasteKeys;
use super::super::{KeyPress, ToolError};
use super::keymap::{KEY_ENTER, KEY_INSERT, KEY_V, Keymap, capacity};
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Instant;
use wayland_client::globals::{GlobalListContents, registry_queue_init};
use wayland_client::protocol::wl_keyboard::KeymapFormat;
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::{Connection, Dispatch, EventQueue, QueueHandle, delegate_noop};
use wayland_protocols_misc::zwp_virtual_keyboard_v1::client::zwp_virtual_keyboard_manager_v1::ZwpVirtualKeyboardManagerV1;
use wayland_protocols_misc::zwp_virtual_keyboard_v1::client::zwp_virtual_keyboard_v1::ZwpVirtualKeyboardV1;

/// Bits of Shift and Control in every keymap (the real modifiers of XKB).
const SHIFT: u32 = 1;
const CONTROL: u32 = 4;
/// Strokes between two answers of the compositor.
const AT_ONCE: usize = 32;

/// The virtual keyboard, for one insertion.
pub struct WaylandKeys {
    keyboard: ZwpVirtualKeyboardV1,
    queue: EventQueue<Nothing>,
    start: Instant,
}

/// Nothing comes back from a virtual keyboard.
struct Nothing;

impl WaylandKeys {
    pub fn take() -> Result<WaylandKeys, ToolError> {
        let connection = Connection::connect_to_env()?;
        let (globals, mut queue) = registry_queue_init::<Nothing>(&connection)?;
        let handle = queue.handle();
        let seat: WlSeat = globals.bind(&handle, 1..=1, ())?;
        let manager: ZwpVirtualKeyboardManagerV1 = globals
            .bind(&handle, 1..=1, ())
            .map_err(|_| ToolError::Desktop("the compositor has no virtual keyboard".into()))?;
        let keyboard = manager.create_virtual_keyboard(&seat, &handle, ());
        // A compositor that does not trust this program says so now.
        queue.roundtrip(&mut Nothing)?;
        Ok(WaylandKeys { keyboard, queue, start: Instant::now() })
    }

    /// Presses the application's paste shortcut, or Enter.
    pub fn press(&mut self, what: KeyPress) -> Result<(), ToolError> {
        let (modifiers, key) = match what {
            KeyPress::Paste(PasteKeys::CtrlV) => (CONTROL, KEY_V),
            KeyPress::Paste(PasteKeys::CtrlShiftV) => (CONTROL | SHIFT, KEY_V),
            KeyPress::Paste(PasteKeys::ShiftInsert) => (SHIFT, KEY_INSERT),
            KeyPress::Enter => (0, KEY_ENTER),
            KeyPress::ShiftEnter => (SHIFT, KEY_ENTER),
        };
        self.use_keymap(&Keymap::shortcuts())?;
        self.keyboard.modifiers(modifiers, 0, 0, 0);
        self.tap(key);
        self.keyboard.modifiers(0, 0, 0, 0);
        self.settle()
    }

    /// Types `text`; a line feed is Enter, a tab Tab.
    pub fn type_text(&mut self, text: &str) -> Result<(), ToolError> {
        let mut rest: Vec<char> = text.chars().collect();
        while !rest.is_empty() {
            // As far as one keymap goes.
            let mut distinct: Vec<char> = Vec::new();
            let mut end = 0;
            for c in &rest {
                if !distinct.contains(c) {
                    if distinct.len() == capacity() {
                        break;
                    }
                    distinct.push(*c);
                }
                end += 1;
            }
            let keymap = Keymap::of(&distinct);
            self.use_keymap(&keymap)?;
            let strokes: Vec<u32> = rest.drain(..end).filter_map(|c| keymap.keys.get(&c).copied()).collect();
            for part in strokes.chunks(AT_ONCE) {
                part.iter().for_each(|key| self.tap(*key));
                self.settle()?;
            }
        }
        Ok(())
    }

    fn use_keymap(&mut self, keymap: &Keymap) -> Result<(), ToolError> {
        let failed = |error: std::io::Error| ToolError::Desktop(format!("cannot hand over a keymap: {error}"));
        let mut file = tempfile::tempfile().map_err(failed)?;
        // The compositor maps it as a C string.
        file.write_all(keymap.text.as_bytes()).and_then(|()| file.write_all(&[0])).map_err(failed)?;
        let size = u32::try_from(keymap.text.len() + 1).unwrap_or(u32::MAX);
        self.keyboard.keymap(KeymapFormat::XkbV1 as u32, file.as_fd(), size);
        self.settle()
    }

    fn tap(&self, key: u32) {
        // Milliseconds that wrap around, as the protocol wants them.
        let time = u32::try_from(self.start.elapsed().as_millis() & u128::from(u32::MAX)).unwrap_or(0);
        self.keyboard.key(time, key, 1);
        self.keyboard.key(time, key, 0);
    }

    fn settle(&mut self) -> Result<(), ToolError> {
        self.queue.roundtrip(&mut Nothing)?;
        Ok(())
    }
}

impl Drop for WaylandKeys {
    fn drop(&mut self) {
        self.keyboard.destroy();
        // The compositor that is gone has no keyboard of ours.
        let _ = self.queue.roundtrip(&mut Nothing);
    }
}

impl Dispatch<WlRegistry, GlobalListContents> for Nothing {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: wl_registry::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
    }
}

delegate_noop!(Nothing: ignore WlSeat);
delegate_noop!(Nothing: ZwpVirtualKeyboardManagerV1);
delegate_noop!(Nothing: ZwpVirtualKeyboardV1);
