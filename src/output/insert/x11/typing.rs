//! Text typed key by key. Characters that the layout has not are put on keys without symbols for the time.

use super::super::ToolError;
use super::keyboard::Keys;
use super::layout::{Stroke, symbol};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    ChangeWindowAttributesAux, ClientMessageData, ClientMessageEvent, ConnectionExt as _, EventMask, Keycode, Keysym,
};

/// Strokes between two answers of the server.
const AT_ONCE: usize = 64;

impl Keys {
    /// Types `text`; a line feed is Enter, a tab Tab.
    pub fn type_text(&mut self, text: &str) -> Result<(), ToolError> {
        let mut borrowed: HashMap<char, Keycode> = HashMap::new();
        let mut batch: Vec<Stroke> = Vec::new();
        for c in text.chars() {
            let direct = match c {
                '\n' | '\t' => self.layout.stroke(symbol(c)),
                c => self.layout.character(c),
            };
            let stroke = match (direct, borrowed.get(&c)) {
                (Some(stroke), _) => stroke,
                (None, Some(key)) => Stroke { key: *key, shift: false, level3: false },
                (None, None) => {
                    if borrowed.len() == self.layout.spare.len() {
                        self.strike(&mut batch)?;
                        self.give_keys_back()?;
                        borrowed.clear();
                    }
                    let key = self.borrow(symbol(c))?;
                    borrowed.insert(c, key);
                    Stroke { key, shift: false, level3: false }
                }
            };
            batch.push(stroke);
        }
        self.strike(&mut batch)?;
        self.give_keys_back()
    }

    fn strike(&mut self, batch: &mut Vec<Stroke>) -> Result<(), ToolError> {
        for part in batch.chunks(AT_ONCE) {
            for stroke in part {
                self.stroke(*stroke)?;
            }
            self.settle()?;
        }
        if batch.iter().any(|stroke| self.borrowed.contains(&stroke.key)) {
            self.unhandled = Some(Instant::now());
        }
        batch.clear();
        Ok(())
    }

    /// Puts a symbol on a key that has none, in all groups and levels.
    pub(super) fn borrow(&mut self, symbol: Keysym) -> Result<Keycode, ToolError> {
        let free = self.layout.spare.iter().copied().find(|key| !self.borrowed.contains(key));
        let key = free.ok_or_else(|| ToolError::Desktop("the keyboard map has no free key".into()))?;
        self.display.conn.change_keyboard_mapping(1, key, 2, &[symbol, symbol])?.check()?;
        self.borrowed.push(key);
        Ok(key)
    }

    /// Takes the symbols off the spare keys, once the window has seen what was typed with them: programs look a key
    /// up when they handle it, and would find nothing any more.
    pub(super) fn give_keys_back(&mut self) -> Result<(), ToolError> {
        if let Some(since) = self.unhandled.take()
            && !self.handled()?
        {
            std::thread::sleep(Self::ASSUMED.saturating_sub(since.elapsed()));
        }
        for key in std::mem::take(&mut self.borrowed) {
            self.display.conn.change_keyboard_mapping(1, key, 2, &[0, 0])?;
        }
        self.settle()
    }

    /// Asks the window whether it is alive (`_NET_WM_PING`, EWMH): it answers after the keys that came before. False
    /// if it does not know that question, or does not answer within two seconds.
    fn handled(&self) -> Result<bool, ToolError> {
        let display = &self.display;
        let (protocols, ping) = (display.atom("WM_PROTOCOLS")?, display.atom("_NET_WM_PING")?);
        let Some(target) = self.target else { return Ok(false) };
        if !display.numbers(target, "WM_PROTOCOLS")?.contains(&ping) {
            return Ok(false);
        }
        let listen = ChangeWindowAttributesAux::new().event_mask(EventMask::SUBSTRUCTURE_NOTIFY);
        display.conn.change_window_attributes(display.root, &listen)?;
        // The answer carries the time back; the process id tells it from the window manager's own questions.
        let stamp = std::process::id() | 1 << 31;
        let data = ClientMessageData::from([ping, stamp, target, 0, 0]);
        let question = ClientMessageEvent::new(32, target, protocols, data);
        display.conn.send_event(false, target, EventMask::NO_EVENT, question)?;
        display.conn.flush()?;
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut answered = false;
        while !answered && Instant::now() < deadline {
            match display.conn.poll_for_event()? {
                Some(Event::ClientMessage(message)) => {
                    let data = message.data.as_data32();
                    answered = message.type_ == protocols && data[0] == ping && data[1] == stamp;
                }
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        let quiet = ChangeWindowAttributesAux::new().event_mask(EventMask::NO_EVENT);
        display.conn.change_window_attributes(display.root, &quiet)?;
        Ok(answered)
    }
}
