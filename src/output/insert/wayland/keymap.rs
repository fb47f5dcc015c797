//! Keymaps of our own for the virtual keyboard: each character has its key, so no layout of the user's matters.

use std::collections::HashMap;
use std::fmt::Write;

/// Keys that carry characters on every keyboard (linux/input-event-codes.h: digits, the three rows of letters, the key
/// beside the left Shift). Programs give other keys a meaning of their own, whatever symbol the keymap puts on them.
const CHARACTER_KEYS: [std::ops::RangeInclusive<u32>; 5] = [2..=13, 16..=27, 30..=41, 43..=53, 86..=86];

/// Numbers of keys as the kernel counts them.
pub const KEY_ENTER: u32 = 28;
pub const KEY_V: u32 = 47;
pub const KEY_TAB: u32 = 15;
pub const KEY_SPACE: u32 = 57;
pub const KEY_INSERT: u32 = 110;

/// Most different characters of one keymap.
pub fn capacity() -> usize {
    CHARACTER_KEYS.into_iter().map(Iterator::count).sum()
}

/// A keymap in the text format of XKB, and which key carries which character.
pub struct Keymap {
    pub text: String,
    pub keys: HashMap<char, u32>,
}

/// Keys that every keymap has.
const FIXED: [(u32, &str); 5] =
    [(KEY_ENTER, "Return"), (KEY_TAB, "Tab"), (KEY_SPACE, "space"), (KEY_INSERT, "Insert"), (KEY_V, "v")];

impl Keymap {
    /// For shortcuts: Enter, Tab, Space, Insert and v where they always are.
    pub fn shortcuts() -> Keymap {
        let fixed = FIXED.iter().map(|(key, symbol)| (*key, (*symbol).to_owned()));
        Keymap { text: write(fixed.collect()), keys: HashMap::new() }
    }

    /// For these characters, each of which is a key of its own; those beyond the [`capacity`] are left out.
    pub fn of(characters: &[char]) -> Keymap {
        let mut keys = HashMap::from([('\n', KEY_ENTER), ('\t', KEY_TAB), (' ', KEY_SPACE)]);
        let fixed = FIXED.iter().filter(|(key, _)| ![KEY_V, KEY_INSERT].contains(key));
        let mut symbols: Vec<(u32, String)> = fixed.map(|(key, symbol)| (*key, (*symbol).to_owned())).collect();
        let own = characters.iter().filter(|c| !keys.contains_key(c)).copied().collect::<Vec<_>>();
        for (c, key) in own.into_iter().zip(CHARACTER_KEYS.into_iter().flatten()) {
            // xkbcommon reads a code point as U and hexadecimal digits.
            symbols.push((key, format!("U{:04X}", u32::from(c))));
            keys.insert(c, key);
        }
        Keymap { text: write(symbols), keys }
    }
}

fn write(mut symbols: Vec<(u32, String)>) -> String {
    symbols.sort();
    let mut codes = String::new();
    let mut rows = String::new();
    for (key, symbol) in &symbols {
        // XKB counts keys from 8 (the X11 protocol keeps 0 to 7 for itself). Writing to a string does not fail.
        let _ = write!(codes, "<K{key}> = {};", key + 8);
        let _ = write!(rows, "key <K{key}> {{ [ {symbol} ] }};");
    }
    format!(
        "xkb_keymap {{\nxkb_keycodes \"bestbox\" {{ minimum = 8; maximum = 255; {codes} }};\n\
         xkb_types \"bestbox\" {{ include \"complete\" }};\nxkb_compatibility \"bestbox\" {{ include \"complete\" }};\n\
         xkb_symbols \"bestbox\" {{ {rows} }};\n}};\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_has_a_key_of_its_own() {
        let many: Vec<char> = ('а'..='я').chain('0'..='9').collect();
        let keymap = Keymap::of(&many);
        let used: std::collections::BTreeSet<u32> = many.iter().map(|c| keymap.keys[c]).collect();
        assert_eq!(used.len(), many.len());
        assert!(many.len() <= capacity());
        assert!(keymap.text.contains("U0430") && Keymap::of(&['🦀']).text.contains("U1F980"));
        assert_eq!(keymap.keys[&'\n'], KEY_ENTER);
        assert!(!used.contains(&KEY_ENTER) && !used.contains(&KEY_TAB));
    }
}
