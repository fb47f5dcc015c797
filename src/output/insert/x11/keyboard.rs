//! Keys pressed through the XTEST extension, independent of the layout in force and of what the user still holds.

use super::super::config::PasteKeys;
use super::super::{KeyPress, ToolError};
use super::Display;
use super::layout::{CONTROL, INSERT, LEVEL3, Layout, RETURN, SHIFT, Stroke};
use std::time::{Duration, Instant};
use x11rb::protocol::xinput::{ConnectionExt as _, DeviceUse, InputStateData};
use x11rb::protocol::xkb::{ConnectionExt as _, ID};
use x11rb::protocol::xproto::{
    ConnectionExt as _, KEY_PRESS_EVENT, KEY_RELEASE_EVENT, Keycode, Keysym, ModMask, Window,
};
use x11rb::protocol::xtest::ConnectionExt as _;

/// The keyboard, taken over for one insertion. Dropping it puts everything back: the keyboard map, Caps Lock, and the
/// modifiers that the user still holds.
pub struct Keys {
    pub(super) display: Display,
    pub(super) layout: Layout,
    /// Window that gets the keys; to learn when it has handled them.
    pub(super) target: Option<Window>,
    /// Spare keys that carry symbols now.
    pub(super) borrowed: Vec<Keycode>,
    /// When keys that were borrowed were last pressed, unless the target has handled them.
    pub(super) unhandled: Option<Instant>,
    /// Modifiers that were down.
    held: Vec<Keycode>,
    unlocked: ModMask,
}

impl Keys {
    /// Connects and lets go of modifiers that are down: with a hold-to-talk key still pressed, Ctrl+V would be another
    /// shortcut. `target`: the window that is to get the keys.
    pub fn take(target: Option<u64>) -> Result<Keys, ToolError> {
        let display = Display::open()?;
        let version = display.conn.xtest_get_version(2, 2).map_err(ToolError::from);
        version.and_then(|cookie| Ok(cookie.reply()?)).map_err(|_| ToolError::Desktop("no XTEST extension".into()))?;
        let layout = Layout::read(&display)?;
        let target = target.and_then(|window| Window::try_from(window).ok());
        let (borrowed, held) = (Vec::new(), Vec::new());
        let mut keys = Keys { display, layout, target, borrowed, unhandled: None, held, unlocked: ModMask::from(0u16) };
        keys.release_held()?;
        Ok(keys)
    }

    /// Presses the application's paste shortcut, or Enter.
    pub fn press(&mut self, what: KeyPress) -> Result<(), ToolError> {
        match what {
            KeyPress::Paste(PasteKeys::CtrlV) => self.shortcut(&[CONTROL], u32::from(b'v')),
            KeyPress::Paste(PasteKeys::CtrlShiftV) => self.shortcut(&[CONTROL, SHIFT], u32::from(b'v')),
            KeyPress::Paste(PasteKeys::ShiftInsert) => self.shortcut(&[SHIFT], INSERT),
            KeyPress::Enter => self.shortcut(&[], RETURN),
            KeyPress::ShiftEnter => self.shortcut(&[SHIFT], RETURN),
        }
    }

    fn shortcut(&mut self, modifiers: &[Keysym], symbol: Keysym) -> Result<(), ToolError> {
        // A key that gives the symbol without a modifier: under a Cyrillic layout there is none for "v".
        let plain = self.layout.stroke(symbol).filter(|stroke| !stroke.shift && !stroke.level3);
        let key = match plain {
            Some(stroke) => stroke.key,
            None => self.borrow(symbol)?,
        };
        let held = modifiers.iter().map(|symbol| self.modifier(*symbol)).collect::<Result<Vec<_>, _>>()?;
        for modifier in &held {
            self.fake(KEY_PRESS_EVENT, *modifier)?;
        }
        self.tap(key)?;
        for modifier in held.iter().rev() {
            self.fake(KEY_RELEASE_EVENT, *modifier)?;
        }
        if plain.is_none() {
            self.unhandled = Some(Instant::now());
        }
        self.settle()
    }

    /// Presses a key with what belongs to it.
    pub(super) fn stroke(&mut self, stroke: Stroke) -> Result<(), ToolError> {
        let held = [(stroke.shift, SHIFT), (stroke.level3, LEVEL3)];
        let held = held.into_iter().filter(|(wanted, _)| *wanted).map(|(_, symbol)| self.modifier(symbol));
        let held = held.collect::<Result<Vec<_>, _>>()?;
        for modifier in &held {
            self.fake(KEY_PRESS_EVENT, *modifier)?;
        }
        self.tap(stroke.key)?;
        for modifier in held.iter().rev() {
            self.fake(KEY_RELEASE_EVENT, *modifier)?;
        }
        Ok(())
    }

    pub(super) fn tap(&self, key: Keycode) -> Result<(), ToolError> {
        self.fake(KEY_PRESS_EVENT, key)?;
        self.fake(KEY_RELEASE_EVENT, key)
    }

    /// Everything sent so far has been taken by the server.
    pub(super) fn settle(&self) -> Result<(), ToolError> {
        self.display.conn.get_input_focus()?.reply()?;
        Ok(())
    }

    fn modifier(&self, symbol: Keysym) -> Result<Keycode, ToolError> {
        let found = self.layout.stroke(symbol).map(|stroke| stroke.key);
        found.ok_or_else(|| ToolError::Desktop(format!("the keyboard layout has no key for symbol {symbol:#x}")))
    }

    fn fake(&self, what: u8, key: Keycode) -> Result<(), ToolError> {
        self.display.conn.xtest_fake_input(what, key, x11rb::CURRENT_TIME, x11rb::NONE, 0, 0, 0)?;
        Ok(())
    }

    fn release_held(&mut self) -> Result<(), ToolError> {
        let down = self.display.conn.query_keymap()?.reply()?.keys;
        let is_down = |key: &Keycode| down[usize::from(*key / 8)] >> (key % 8) & 1 == 1;
        self.held = self.layout.modifiers.iter().copied().filter(is_down).collect();
        // All of them, not only those that are down: a modifier that an earlier insertion gave back and the user let
        // go of since is still down for XTEST's own keyboard, which would then not press it again.
        for key in &self.layout.modifiers {
            self.fake(KEY_RELEASE_EVENT, *key)?;
        }
        self.unlocked = self.layout.locked & ModMask::LOCK;
        self.lock(ModMask::from(0u16))?;
        self.settle()
    }

    /// Caps Lock would turn letters around.
    fn lock(&self, locks: ModMask) -> Result<(), ToolError> {
        if u16::from(self.unlocked) != 0 {
            let device = u16::from(ID::USE_CORE_KBD);
            let none = ModMask::from(0u16);
            let affected = ModMask::LOCK;
            self.display.conn.xkb_latch_lock_state(device, affected, locks, false, 0u8.into(), none, false, 0)?;
        }
        Ok(())
    }

    fn put_back(&mut self) -> Result<(), ToolError> {
        self.give_keys_back()?;
        self.lock(self.unlocked)?;
        let physical = self.physically_down()?;
        for key in std::mem::take(&mut self.held) {
            if physical.contains(&key) {
                self.fake(KEY_PRESS_EVENT, key)?;
            }
        }
        self.settle()
    }

    /// Keys that are down on a real keyboard. XTEST's own is none: what it holds, a program holds.
    fn physically_down(&self) -> Result<Vec<Keycode>, ToolError> {
        let mut down = Vec::new();
        if self.held.is_empty() {
            return Ok(down);
        }
        let conn = &self.display.conn;
        let list = conn.xinput_list_input_devices()?.reply()?;
        for (device, name) in list.devices.iter().zip(&list.names) {
            let xtest = String::from_utf8_lossy(&name.name).contains("XTEST");
            if device.device_use != DeviceUse::IS_X_EXTENSION_KEYBOARD || xtest {
                continue;
            }
            // Some devices cannot be asked without being opened; theirs are then not given back, which is harmless.
            let Ok(state) = conn.xinput_query_device_state(device.device_id)?.reply() else { continue };
            for class in &state.classes {
                if let InputStateData::Key(keys) = &class.data {
                    let is_down = |key: &Keycode| keys.keys[usize::from(*key / 8)] >> (key % 8) & 1 == 1;
                    down.extend((0..=Keycode::MAX).filter(is_down));
                }
            }
        }
        Ok(down)
    }

    /// Time after which a window that cannot say so has handled a key.
    pub(super) const ASSUMED: Duration = Duration::from_millis(400);
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Err(error) = self.put_back() {
            tracing::warn!("the keyboard could not be put back as it was: {error}");
        }
    }
}
