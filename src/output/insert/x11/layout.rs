//! The keyboard as it is now: which key, with which modifiers, gives which character in the group in force.

use super::super::ToolError;
use super::Display;
use std::collections::{BTreeSet, HashMap};
use x11rb::protocol::xkb::{ConnectionExt as _, ID, KeySymMap, KeyType, MapPart, SetOfGroup};
use x11rb::protocol::xproto::{ConnectionExt as _, Keycode, Keysym, ModMask};

/// Left Shift, left Control: the keys that are held for a shortcut.
pub const SHIFT: Keysym = 0xffe1;
pub const CONTROL: Keysym = 0xffe3;
pub const LEVEL3: Keysym = 0xfe03;
pub const INSERT: Keysym = 0xff63;
pub const RETURN: Keysym = 0xff0d;
pub const TAB: Keysym = 0xff09;

/// A key and what is held with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stroke {
    pub key: Keycode,
    pub shift: bool,
    pub level3: bool,
}

/// A snapshot of the keyboard map.
pub struct Layout {
    strokes: HashMap<Keysym, Stroke>,
    /// Keys without any symbol, free to carry what the layout has not.
    pub spare: Vec<Keycode>,
    /// Keys of each of the eight modifiers.
    pub modifiers: BTreeSet<Keycode>,
    /// Locked modifiers.
    pub locked: ModMask,
}

impl Layout {
    pub fn read(display: &Display) -> Result<Layout, ToolError> {
        let conn = &display.conn;
        let device = u16::from(ID::USE_CORE_KBD);
        conn.xkb_use_extension(1, 0)?.reply()?;
        let state = conn.xkb_get_state(device)?.reply()?;
        let full = MapPart::KEY_TYPES | MapPart::KEY_SYMS;
        let none = MapPart::from(0u16);
        let reply =
            conn.xkb_get_map(device, full, none, 0, 0, 0, 0, 0, 0, 0, 0, 0u16.into(), 0, 0, 0, 0, 0, 0)?.reply()?;
        let types = reply.map.types_rtrn.unwrap_or_default();
        let symbols = reply.map.syms_rtrn.unwrap_or_default();
        let modmap = conn.get_modifier_mapping()?.reply()?;
        let modifiers: BTreeSet<Keycode> = modmap.keycodes.iter().copied().filter(|key| *key != 0).collect();
        // Which modifier AltGr is: that of the key with ISO_Level3_Shift.
        let per = usize::from(modmap.keycodes_per_modifier()).max(1);
        let level3_keys: Vec<Keycode> = keys_with(reply.first_key_sym, &symbols)
            .filter(|(_, s)| s.syms.contains(&LEVEL3))
            .map(|(k, _)| k)
            .collect();
        let level3 = modmap.keycodes.chunks(per).position(|keys| keys.iter().any(|key| level3_keys.contains(key)));
        let level3 = level3.map_or(ModMask::from(0u16), |index| ModMask::from(1u16 << index));

        let mut strokes = HashMap::new();
        let mut spare = Vec::new();
        for (key, entry) in keys_with(reply.first_key_sym, &symbols) {
            if entry.syms.iter().all(|symbol| *symbol == 0) {
                spare.extend((!modifiers.contains(&key)).then_some(key));
                continue;
            }
            for (symbol, stroke) in reachable(key, entry, &types, u8::from(state.group), level3) {
                // The first key, and the lowest level of it, is the simplest way.
                strokes.entry(symbol).or_insert(stroke);
            }
        }
        Ok(Layout { strokes, spare, modifiers, locked: state.locked_mods })
    }

    /// The stroke for a symbol in the group in force.
    pub fn stroke(&self, symbol: Keysym) -> Option<Stroke> {
        self.strokes.get(&symbol).copied()
    }

    /// The stroke for a character, whichever of its symbols the layout has: `ä` may be `adiaeresis` or `U00E4`.
    pub fn character(&self, c: char) -> Option<Stroke> {
        let symbols = [xkeysym::Keysym::from_char(c).raw(), symbol(c)];
        symbols.into_iter().find_map(|symbol| self.stroke(symbol))
    }
}

/// The symbol of a character: Latin-1 as it is, the rest by its code point (X11 protocol, appendix A).
pub fn symbol(c: char) -> Keysym {
    match c {
        '\n' => RETURN,
        '\t' => TAB,
        ' '..='~' | '\u{a0}'..='\u{ff}' => u32::from(c),
        c => 0x0100_0000 | u32::from(c),
    }
}

fn keys_with(first: Keycode, symbols: &[KeySymMap]) -> impl Iterator<Item = (Keycode, &KeySymMap)> {
    (first..=Keycode::MAX).zip(symbols)
}

/// The symbols of one key that Shift and AltGr reach in this group.
fn reachable(key: Keycode, entry: &KeySymMap, types: &[KeyType], group: u8, level3: ModMask) -> Vec<(Keysym, Stroke)> {
    let groups = entry.group_info & 0x0f;
    if groups == 0 {
        return Vec::new();
    }
    // Out of range: bits 6 and 7 say wrap (0), clamp, or redirect to the group in bits 4 and 5 (XKB protocol 4.2).
    let group = match entry.group_info & 0xc0 {
        _ if group < groups => group,
        clamp if clamp == u8::from(SetOfGroup::from(0x40u8)) => groups - 1,
        0x80 => ((entry.group_info >> 4) & 0x03).min(groups - 1),
        _ => group % groups,
    };
    let Some(kind) = entry.kt_index.get(usize::from(group)).and_then(|at| types.get(usize::from(*at))) else {
        return Vec::new();
    };
    let (shift_mask, level3_mask) = (u16::from(ModMask::SHIFT), u16::from(level3));
    let mut found = Vec::new();
    for level in 0..kind.num_levels.min(entry.width) {
        let at = usize::from(group) * usize::from(entry.width) + usize::from(level);
        let Some(symbol) = entry.syms.get(at).copied().filter(|symbol| *symbol != 0) else { continue };
        let masks: Vec<u16> = if level == 0 {
            vec![0]
        } else {
            let entries = kind.map.iter().filter(|entry| entry.active && entry.level == level);
            entries.map(|entry| u16::from(entry.mods_mask)).collect()
        };
        let usable = masks.into_iter().find(|mask| mask & !(shift_mask | level3_mask) == 0);
        let Some(mask) = usable else { continue };
        let (shift, level3) = (mask & shift_mask != 0, level3_mask != 0 && mask & level3_mask != 0);
        found.push((symbol, Stroke { key, shift, level3 }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_characters() {
        assert_eq!(symbol('a'), 0x61);
        assert_eq!(symbol('ä'), 0xe4);
        assert_eq!(symbol('ё'), 0x0100_0451);
        assert_eq!(symbol('漢'), 0x0100_6f22);
        assert_eq!(symbol('🦀'), 0x0101_f980);
        assert_eq!(symbol('\n'), RETURN);
    }
}
