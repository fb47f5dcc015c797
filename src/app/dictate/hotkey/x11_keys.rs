//! What the X server's keyboard map says: which keycodes a key has, and which bits its modifiers are.

use super::tracker::Codes;
use crate::config::{Key, Modifier, Shortcut};
use std::collections::BTreeSet;
use x11rb::errors::ReplyError;
use x11rb::protocol::xproto::{ConnectionExt, KeyButMask, ModMask};
use x11rb::rust_connection::RustConnection;

const ALT: [u32; 2] = [0xffe9, 0xffea];
const SUPER: [u32; 2] = [0xffeb, 0xffec];
const NUM_LOCK: u32 = 0xff7f;
const SCROLL_LOCK: u32 = 0xff14;

/// The keyboard's map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keyboard {
    first: u8,
    columns: usize,
    /// Keysyms of each keycode, `columns` for each.
    symbols: Vec<u32>,
    /// Keycodes of each of the eight modifier bits.
    modifiers: Vec<Vec<u8>>,
}

/// One passive grab: a keycode and the modifier bits that go with it.
pub type Grab = (u8, u16);

impl Keyboard {
    /// Asks the server.
    pub fn read(connection: &RustConnection) -> Result<Self, ReplyError> {
        let setup = x11rb::connection::Connection::setup(connection);
        let (first, last) = (setup.min_keycode, setup.max_keycode);
        let map = connection.get_keyboard_mapping(first, last - first + 1)?;
        let modifiers = connection.get_modifier_mapping()?.reply()?;
        let map = map.reply()?;
        let each = usize::from(modifiers.keycodes_per_modifier()).max(1);
        Ok(Keyboard {
            first,
            columns: usize::from(map.keysyms_per_keycode).max(1),
            symbols: map.keysyms,
            modifiers: modifiers.keycodes.chunks(each).map(<[u8]>::to_vec).collect(),
        })
    }

    /// Keycodes of a key: where it stands unshifted on the first layout, otherwise on another layout.
    pub fn codes(&self, key: &Key) -> Codes {
        // Columns 0 and 1 are the first layout, 2 and 3 the second; 4 and on are further layouts (XKB's core view).
        let find = |columns: &[usize]| -> Codes {
            let rows = self.symbols.chunks(self.columns).zip(u32::from(self.first)..);
            let has =
                |row: &[u32]| columns.iter().filter_map(|at| row.get(*at)).any(|symbol| key.keysyms.contains(symbol));
            rows.filter(|(row, _)| has(row)).map(|(_, code)| code).collect()
        };
        let first = find(&[0]);
        if first.is_empty() { find(&[2, 4, 6]) } else { first }
    }

    /// Every grab that a shortcut needs: each of its keycodes with each combination of the locks.
    pub fn grabs(&self, shortcut: &Shortcut) -> Vec<Grab> {
        let codes = self.codes(shortcut.key);
        let bits = self.bits(&shortcut.modifiers);
        let masks = self.with_locks(bits);
        codes
            .iter()
            .filter_map(|code| u8::try_from(*code).ok())
            .flat_map(|code| masks.iter().map(move |mask| (code, *mask)))
            .collect()
    }

    /// Bits of modifiers.
    pub fn bits(&self, modifiers: &BTreeSet<Modifier>) -> u16 {
        modifiers.iter().map(|modifier| self.bit(*modifier)).fold(0, |all, bit| all | bit)
    }

    /// The bits of an event's state that decide, without locks and layouts.
    pub fn relevant(&self, state: KeyButMask) -> u16 {
        u16::from(state) & Modifier::ALL.into_iter().map(|modifier| self.bit(modifier)).fold(0, |all, bit| all | bit)
    }

    /// `bits` with every combination of Caps Lock, Num Lock and Scroll Lock: a grab ignores none by itself.
    pub fn with_locks(&self, bits: u16) -> BTreeSet<u16> {
        let locks = [u16::from(ModMask::LOCK), self.bit_of(&[NUM_LOCK]), self.bit_of(&[SCROLL_LOCK])];
        let mut masks = BTreeSet::from([bits]);
        for lock in locks {
            let more: Vec<u16> = masks.iter().map(|mask| mask | lock).collect();
            masks.extend(more);
        }
        masks
    }

    fn bit(&self, modifier: Modifier) -> u16 {
        match modifier {
            Modifier::Ctrl => ModMask::CONTROL.into(),
            Modifier::Shift => ModMask::SHIFT.into(),
            // Where the map names none, what every server does.
            Modifier::Alt => Some(self.bit_of(&ALT)).filter(|bit| *bit != 0).unwrap_or(ModMask::M1.into()),
            Modifier::Super => Some(self.bit_of(&SUPER)).filter(|bit| *bit != 0).unwrap_or(ModMask::M4.into()),
        }
    }

    /// The modifier bit whose keys have one of these keysyms; 0 where there is none.
    fn bit_of(&self, keysyms: &[u32]) -> u16 {
        let has = |code: u8| {
            let at = usize::from(code.saturating_sub(self.first)) * self.columns;
            code >= self.first
                && self.symbols.get(at..at + self.columns).is_some_and(|row| row.iter().any(|k| keysyms.contains(k)))
        };
        let index = self.modifiers.iter().position(|codes| codes.iter().any(|code| has(*code)));
        index.map_or(0, |index| 1 << index)
    }
}
