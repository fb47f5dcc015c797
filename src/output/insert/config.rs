//! `[dictate.insert]`: how text gets into the focused window, for all applications and by rule for some.

use serde::{Deserialize, Serialize};

/// How text is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Paste; where that cannot be done, type; where that cannot be done either, leave it in the clipboard.
    #[default]
    Auto,
    /// Through the clipboard, with the application's paste shortcut.
    Paste,
    /// Key by key. Slower; leaves the clipboard alone.
    Type,
    /// Only into the clipboard.
    Clipboard,
}

/// The shortcut that pastes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PasteKeys {
    /// Nearly every application. Cmd+V on macOS.
    #[default]
    #[serde(rename = "ctrl+v")]
    CtrlV,
    /// Nearly every terminal.
    #[serde(rename = "ctrl+shift+v")]
    CtrlShiftV,
    /// xterm, rxvt, Emacs, gvim. Pastes the clipboard or the primary selection, as the application is set up: the text
    /// is offered as both.
    #[serde(rename = "shift+insert")]
    ShiftInsert,
}

/// What becomes of line breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Newlines {
    /// Stay as they are.
    #[default]
    Keep,
    /// Become spaces: in a shell a line break would run the line.
    Space,
    /// Are pressed as Shift+Enter: a chat would send the message at Enter.
    ShiftEnter,
}

/// A way to press keys in other programs' windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// Built in: the X server's XTEST, the Wayland compositor's virtual keyboard, the system's own interface elsewhere.
    Native,
    /// The program xdotool (X11).
    Xdotool,
    /// The program wtype (Wayland).
    Wtype,
    /// The program ydotool with its daemon (Linux, any desktop; types ASCII only).
    Ydotool,
    /// The desktop's RemoteDesktop portal (Wayland; asks for permission once).
    Portal,
}

/// `[dictate.insert]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InsertConfig {
    /// How text is delivered.
    pub method: Method,
    /// Shortcut that pastes; empty rules and terminals aside. Terminals have ctrl+shift+v of their own.
    pub paste_keys: PasteKeys,
    /// Whether a space follows the text.
    pub trailing_space: bool,
    /// Whether Enter is pressed after the text.
    pub submit: bool,
    /// What becomes of line breaks.
    pub newlines: Newlines,
    /// Ways to press keys, in the order in which they are tried.
    pub tools: Vec<Tool>,
    /// Whether the clipboard gets its former content back after pasting.
    pub restore_clipboard: bool,
    /// Seconds that the application has to read the pasted text; then the text stays in the clipboard until it is read.
    pub read_timeout_seconds: f64,
    /// Applications that want it otherwise. The first rule that fits counts.
    #[serde(rename = "rule")]
    pub rules: Vec<InsertRule>,
}

impl Default for InsertConfig {
    fn default() -> Self {
        InsertConfig {
            method: Method::Auto,
            paste_keys: PasteKeys::CtrlV,
            trailing_space: false,
            submit: false,
            newlines: Newlines::Keep,
            tools: vec![Tool::Native, Tool::Xdotool, Tool::Wtype, Tool::Ydotool, Tool::Portal],
            restore_clipboard: true,
            read_timeout_seconds: 5.0,
            rules: Vec::new(),
        }
    }
}

/// `[[dictate.insert.rule]]`: what is not set is as elsewhere.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InsertRule {
    /// Window class (X11) or application id (Wayland) in any case, `*` for any characters: `org.kde.*`.
    pub application: String,
    /// How text is delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Shortcut that pastes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paste_keys: Option<PasteKeys>,
    /// Whether a space follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trailing_space: Option<bool>,
    /// Whether Enter is pressed after the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submit: Option<bool>,
    /// What becomes of line breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newlines: Option<Newlines>,
}

/// What holds for one application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Manner {
    pub method: Method,
    pub paste_keys: PasteKeys,
    pub trailing_space: bool,
    pub submit: bool,
    pub newlines: Newlines,
}

/// Terminals that paste the clipboard with Ctrl+Shift+V, by window class or application id.
const TERMINALS: [&str; 33] = [
    "*.ptyxis*",
    "alacritty",
    "blackbox",
    "com.raggesilver.blackbox",
    "*.kgx",
    "*console",
    "*konsole",
    "contour",
    "cool-retro-term",
    "deepin-terminal",
    "foot",
    "footclient",
    "*ghostty*",
    "gnome-terminal*",
    "org.gnome.terminal",
    "guake*",
    "io.elementary.terminal",
    "kitty",
    "lxterminal",
    "mate-terminal",
    "qterminal",
    "rio",
    "roxterm",
    "sakura",
    "st-256color",
    "terminator",
    "terminology",
    "tilda",
    "tilix",
    "*wezterm*",
    "wezterm",
    "xfce4-terminal",
    "yakuake",
];

/// Terminals that know no Ctrl+Shift+V.
const CLASSIC_TERMINALS: [&str; 6] = ["xterm", "uxterm", "koi8rxterm", "urxvt", "rxvt", "st"];

/// Editors in which Ctrl+V is something else.
const CLASSIC_EDITORS: [&str; 4] = ["emacs", "gvim", "xemacs", "nvim-qt"];

impl InsertConfig {
    /// What holds for the application: its rule, then what is known of it, then the general settings.
    pub fn manner(&self, application: &str) -> Manner {
        let rule = self.rules.iter().find(|rule| fits(&rule.application, application)).cloned().unwrap_or_default();
        let terminal = is_terminal(application);
        let known_keys = if fits_any(&CLASSIC_TERMINALS, application) || fits_any(&CLASSIC_EDITORS, application) {
            Some(PasteKeys::ShiftInsert)
        } else {
            terminal.then_some(PasteKeys::CtrlShiftV)
        };
        let known_newlines = (terminal && self.newlines == Newlines::Keep).then_some(Newlines::Space);
        Manner {
            method: rule.method.unwrap_or(self.method),
            paste_keys: rule.paste_keys.or(known_keys).unwrap_or(self.paste_keys),
            trailing_space: rule.trailing_space.unwrap_or(self.trailing_space),
            submit: rule.submit.unwrap_or(self.submit),
            newlines: rule.newlines.or(known_newlines).unwrap_or(self.newlines),
        }
    }
}

/// Whether the application is a terminal, by its window class or application id.
pub fn is_terminal(application: &str) -> bool {
    fits_any(&TERMINALS, application) || fits_any(&CLASSIC_TERMINALS, application)
}

fn fits_any(patterns: &[&str], application: &str) -> bool {
    patterns.iter().any(|pattern| fits(pattern, application))
}

/// `*` stands for any characters; case does not matter. Nothing fits an application that nobody knows.
fn fits(pattern: &str, application: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), application.to_lowercase());
    if name.is_empty() {
        return false;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some((_, after)) = rest.split_once(middle) else { return false };
            rest = after;
        }
    }
    last.map_or(rest.is_empty(), |end: &str| rest.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("firefox", "Firefox", true),
            ("firefox", "firefox-esr", false),
            ("firefox*", "firefox-esr", true),
            ("*konsole", "org.kde.konsole", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "b a", false),
            ("ab*ab", "ab", false),
            ("*", "anything", true),
            ("*", "", false),
            ("", "anything", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn rules_come_before_what_is_known() {
        let mut config = InsertConfig::default();
        assert_eq!(config.manner("Gedit").paste_keys, PasteKeys::CtrlV);
        assert_eq!(config.manner("XTerm").paste_keys, PasteKeys::ShiftInsert);
        assert_eq!(config.manner("org.gnome.Ptyxis").paste_keys, PasteKeys::CtrlShiftV);
        assert_eq!(config.manner("kitty").newlines, Newlines::Space);
        assert_eq!(config.manner("").paste_keys, PasteKeys::CtrlV);
        config.submit = true;
        config.rules = toml::from_str::<InsertConfig>(
            "[[rule]]\napplication = 'KITTY'\npaste_keys = 'shift+insert'\nmethod = 'type'\nsubmit = false\n",
        )
        .map(|parsed| parsed.rules)
        .unwrap();
        let kitty = config.manner("kitty");
        assert_eq!((kitty.paste_keys, kitty.method, kitty.submit), (PasteKeys::ShiftInsert, Method::Type, false));
        assert!(config.manner("Gedit").submit);
    }
}
