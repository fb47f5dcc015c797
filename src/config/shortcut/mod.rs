//! Shortcuts as users write them: `F9`, `ctrl+alt+space`, `right_ctrl`.

mod names;

pub use names::{KEYS, Key};

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A key that other keys are combined with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Modifier {
    Ctrl,
    Alt,
    Shift,
    /// The key with the logo: Windows, Command, Meta.
    Super,
}

impl Modifier {
    /// All of them, in the order in which they are written.
    pub const ALL: [Modifier; 4] = [Modifier::Ctrl, Modifier::Alt, Modifier::Shift, Modifier::Super];

    /// As it is written in a shortcut.
    pub fn name(self) -> &'static str {
        match self {
            Modifier::Ctrl => "ctrl",
            Modifier::Alt => "alt",
            Modifier::Shift => "shift",
            Modifier::Super => "super",
        }
    }
}

/// A key, perhaps with modifiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shortcut {
    /// What is held while the key is pressed.
    pub modifiers: BTreeSet<Modifier>,
    /// The key itself; may be a modifier (`right_ctrl`, `ctrl+super`).
    pub key: &'static Key,
}

/// A shortcut that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShortcutError {
    #[error("the shortcut is empty: name a key such as F9, ctrl+alt+space or right_ctrl")]
    Empty,
    #[error("'{name}' in the shortcut '{shortcut}' is no key; {hint}")]
    Unknown { shortcut: String, name: String, hint: String },
    #[error(
        "'{name}' in the shortcut '{shortcut}' is no modifier: only ctrl, alt, shift and super come before the key"
    )]
    NotModifier { shortcut: String, name: String },
    #[error("the shortcut '{shortcut}' names '{name}' twice")]
    Twice { shortcut: String, name: String },
    #[error("the shortcut '{0}' alone would fire at every use of the key: write left_{0} or right_{0}, or add a key")]
    BareModifier(String),
    #[error("the shortcut '{0}' is text that people type: add ctrl, alt or super")]
    Typed(String),
    #[error("Escape cancels a recording and cannot start one: choose another key")]
    Escape,
}

impl Shortcut {
    /// Whether it is made of modifiers only (`right_ctrl`, `ctrl+super`): such keys cannot be grabbed, only watched.
    pub fn only_modifiers(&self) -> bool {
        self.key.modifier.is_some()
    }
}

impl FromStr for Shortcut {
    type Err = ShortcutError;

    fn from_str(text: &str) -> Result<Self, ShortcutError> {
        let shortcut = text.trim().to_owned();
        let parts: Vec<&str> = text.split('+').map(str::trim).collect();
        let Some((name, before)) = parts.split_last().filter(|_| !shortcut.is_empty()) else {
            return Err(ShortcutError::Empty);
        };
        let mut modifiers = BTreeSet::new();
        for name in before {
            let twice = || ShortcutError::Twice { shortcut: shortcut.clone(), name: (*name).to_owned() };
            let key = lookup(&shortcut, name)?;
            let modifier = key.modifier.filter(|_| key.either_side());
            let Some(modifier) = modifier else {
                return Err(ShortcutError::NotModifier { shortcut, name: (*name).to_owned() });
            };
            if !modifiers.insert(modifier) {
                return Err(twice());
            }
        }
        let key = lookup(&shortcut, name)?;
        match key.modifier {
            Some(modifier) if modifiers.contains(&modifier) => {
                return Err(ShortcutError::Twice { shortcut, name: (*name).to_owned() });
            }
            Some(modifier) if modifiers.is_empty() && key.either_side() => {
                return Err(ShortcutError::BareModifier(modifier.name().to_owned()));
            }
            _ => {}
        }
        if key.name() == "escape" {
            return Err(ShortcutError::Escape);
        }
        let types = modifiers.iter().all(|modifier| *modifier == Modifier::Shift);
        let text = key.keysyms[0] < 0x100 || ["enter", "tab", "backspace"].contains(&key.name());
        if types && text {
            return Err(ShortcutError::Typed(shortcut));
        }
        Ok(Shortcut { modifiers, key })
    }
}

impl fmt::Display for Shortcut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for modifier in &self.modifiers {
            write!(f, "{}+", modifier.name())?;
        }
        let name = self.key.name();
        // F9 is how it stands on the key.
        let function = name.len() > 1 && name.starts_with('f') && name[1..].bytes().all(|byte| byte.is_ascii_digit());
        if function { f.write_str(&name.to_uppercase()) } else { f.write_str(name) }
    }
}

impl TryFrom<String> for Shortcut {
    type Error = ShortcutError;
    fn try_from(text: String) -> Result<Self, ShortcutError> {
        text.parse()
    }
}

impl From<Shortcut> for String {
    fn from(shortcut: Shortcut) -> String {
        shortcut.to_string()
    }
}

fn lookup(shortcut: &str, name: &str) -> Result<&'static Key, ShortcutError> {
    names::find(name).ok_or_else(|| {
        let hint = match names::nearest(name) {
            Some((near, _)) => format!("did you mean '{near}'?"),
            None => "write a key such as F9, space, pause or right_ctrl".to_owned(),
        };
        ShortcutError::Unknown { shortcut: shortcut.to_owned(), name: name.to_owned(), hint }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Shortcut>().map_or_else(|error| error.to_string(), |shortcut| shortcut.to_string())
    }

    #[test]
    fn shortcuts_are_read_whatever_their_case_and_shown_in_one_form() {
        for (written, form) in [
            ("F9", "F9"),
            ("f13", "F13"),
            ("Ctrl+Alt+Space", "ctrl+alt+space"),
            ("alt + control + SPACE", "ctrl+alt+space"),
            ("Right_Ctrl", "right_ctrl"),
            ("right-control", "right_ctrl"),
            ("RightAlt", "right_alt"),
            ("AltGr", "right_alt"),
            ("win+grave", "super+grave"),
            ("super+-", "super+minus"),
            ("meta+PageUp", "super+page_up"),
            ("pause", "pause"),
            ("ctrl+super", "ctrl+super"),
            ("ctrl+shift+Return", "ctrl+shift+enter"),
            ("ctrl+f", "ctrl+f"),
        ] {
            assert_eq!(shown(written), form, "{written}");
            assert_eq!(shown(form), form, "what is shown is read again");
        }
    }

    #[test]
    fn what_is_no_shortcut_is_refused_with_what_to_write() {
        for (written, word) in [
            ("", "empty"),
            ("  ", "empty"),
            ("ctrl+", "no key"),
            ("F25", "did you mean"),
            ("ctrl+alt+spcae", "did you mean 'space'"),
            ("right_ctl", "did you mean 'right_ctrl'"),
            ("pausse", "did you mean 'pause'"),
            ("漢", "write a key such as"),
            ("F9+space", "'F9' in the shortcut 'F9+space' is no modifier"),
            ("right_ctrl+space", "no modifier"),
            ("ctrl+control+a", "twice"),
            ("ctrl+right_ctrl", "twice"),
            ("ctrl", "left_ctrl or right_ctrl"),
            ("a", "text that people type"),
            ("shift+space", "text that people type"),
            ("escape", "cancels"),
        ] {
            let error = written.parse::<Shortcut>().expect_err(written).to_string();
            assert!(error.contains(word), "{written}: {error}");
        }
    }

    #[test]
    fn every_key_has_a_name_of_its_own_and_is_found_by_each() {
        for key in KEYS {
            for name in key.names {
                assert_eq!(names::find(name), Some(key), "{name}");
            }
            assert!(!key.keysyms.is_empty() && !key.codes.is_empty() && !key.symbol.is_empty(), "{key:?}");
        }
    }

    #[test]
    fn shortcuts_are_text_in_files() {
        #[derive(Deserialize, Serialize)]
        struct File {
            key: Shortcut,
        }
        let file: File = toml::from_str("key = \"Ctrl+F9\"").expect("a shortcut");
        assert_eq!(toml::to_string(&file).expect("text").trim(), "key = \"ctrl+F9\"");
        let error = toml::from_str::<File>("key = \"F99\"").err().expect("no key").to_string();
        assert!(error.contains("did you mean 'f9'"), "{error}");
    }
}
