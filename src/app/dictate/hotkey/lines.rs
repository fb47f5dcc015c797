//! What to write into a compositor's configuration, so that it calls `bestbox ctl` when a key goes down and up.

use super::Hotkey;
use crate::config::{Modifier, Shortcut};

/// A desktop whose keys are bound in its own configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desktop {
    Sway,
    Hyprland,
    Kde,
    Gnome,
}

/// The lines of the desktop that runs, or of all where that is not known.
pub fn for_here(program: &str, hotkeys: &[Hotkey]) -> String {
    let desktops = Desktop::current().map_or_else(|| Desktop::ALL.to_vec(), |desktop| vec![desktop]);
    let of = |desktop: &Desktop| format!("## {}\n{}", desktop.name(), desktop.lines(program, hotkeys));
    desktops.iter().map(of).collect::<Vec<_>>().join("\n")
}

impl Desktop {
    /// All of them.
    pub const ALL: [Desktop; 4] = [Desktop::Sway, Desktop::Hyprland, Desktop::Kde, Desktop::Gnome];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Desktop::Sway => "sway",
            Desktop::Hyprland => "Hyprland",
            Desktop::Kde => "KDE Plasma",
            Desktop::Gnome => "GNOME",
        }
    }

    /// The desktop that runs now, as XDG_CURRENT_DESKTOP and its own variables say.
    pub fn current() -> Option<Desktop> {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if set("SWAYSOCK") {
            return Some(Desktop::Sway);
        }
        if set("HYPRLAND_INSTANCE_SIGNATURE") {
            return Some(Desktop::Hyprland);
        }
        Self::of(&std::env::var("XDG_CURRENT_DESKTOP").unwrap_or_default())
    }

    /// The desktop of a value of XDG_CURRENT_DESKTOP, such as `ubuntu:GNOME`.
    pub fn of(value: &str) -> Option<Desktop> {
        value.split(':').find_map(|name| match name.to_lowercase().as_str() {
            "sway" => Some(Desktop::Sway),
            "hyprland" => Some(Desktop::Hyprland),
            "kde" => Some(Desktop::Kde),
            "gnome" | "unity" | "x-cinnamon" => Some(Desktop::Gnome),
            _ => None,
        })
    }

    /// The lines, with a comment that says where they go. `program` is what is called, such as `bestbox`.
    pub fn lines(self, program: &str, hotkeys: &[Hotkey]) -> String {
        let each: Vec<String> =
            hotkeys.iter().enumerate().map(|(at, hotkey)| self.binding(program, at, hotkey)).collect();
        let body = each.join("\n");
        match self {
            Desktop::Sway => format!(
                "# ~/.config/sway/config, then `swaymsg reload`\n{body}\nbindsym --no-repeat Mod4+Escape exec {program} ctl cancel\n"
            ),
            Desktop::Hyprland => {
                let lua: Vec<String> = hotkeys.iter().map(|hotkey| lua(program, hotkey)).collect();
                format!(
                    "-- ~/.config/hypr/hyprland.lua (0.55 and later), read again when saved\n{}\n\
                     hl.bind(\"SUPER + Escape\", hl.dsp.exec_cmd(\"{program} ctl cancel\"))\n\
                     # ~/.config/hypr/hyprland.conf (before 0.55)\n{body}\n\
                     bind = SUPER, Escape, exec, {program} ctl cancel\n",
                    lua.join("\n")
                )
            }
            Desktop::Kde => format!(
                "# Plasma tells commands only of presses: each press starts or stops. (To hold, leave dictate.hotkey.backend \
                 at auto: Plasma has the portal.)\n# In a shell, then log out and in:\n{body}\n"
            ),
            Desktop::Gnome => {
                let paths: Vec<String> = (0..hotkeys.len()).map(|at| format!("'{}'", gnome_path(at))).collect();
                format!(
                    "# GNOME tells commands only of presses: each press starts or stops. (To hold, leave \
                     dictate.hotkey.backend at auto: GNOME 48 and later have the portal.)\n# In a shell; the first line \
                     replaces the list of custom shortcuts: add yours to it.\ngsettings set \
                     org.gnome.settings-daemon.plugins.media-keys custom-keybindings \"[{}]\"\n{body}\n",
                    paths.join(", ")
                )
            }
        }
    }

    fn binding(self, program: &str, at: usize, hotkey: &Hotkey) -> String {
        let Hotkey { binding, shortcut, .. } = hotkey;
        let call = |verb: &str| format!("{program} ctl {verb} --binding {}", quoted(binding));
        let keys = |name: fn(Modifier) -> &'static str, symbol: &str| {
            shortcut.modifiers.iter().map(|modifier| name(*modifier)).chain([symbol]).collect::<Vec<_>>().join("+")
        };
        match self {
            Desktop::Sway => {
                let keys = keys(sway, shortcut.key.symbol);
                format!(
                    "bindsym --no-repeat {keys} exec {}\nbindsym --no-repeat --release {keys} exec {}",
                    call("press"),
                    call("release")
                )
            }
            Desktop::Hyprland => {
                let mods =
                    |shortcut: &Shortcut| shortcut.modifiers.iter().map(|m| hyprland(*m)).collect::<Vec<_>>().join(" ");
                // A modifier that goes up is still held in its own event.
                let own = shortcut.key.modifier.map(hyprland).unwrap_or_default();
                let up = format!("{} {own}", mods(shortcut));
                format!(
                    "bind = {}, {}, exec, {}\nbindr = {}, {}, exec, {}",
                    mods(shortcut),
                    shortcut.key.symbol,
                    call("press"),
                    up.trim(),
                    shortcut.key.symbol,
                    call("release")
                )
            }
            Desktop::Kde => {
                let file = format!("net.local.bestbox-{at}.desktop");
                let entry = format!(
                    "[Desktop Entry]\\nType=Application\\nName=bestbox {binding}\\nExec={}\\nNoDisplay=true\\n\
                     X-KDE-GlobalAccel-CommandShortcut=true\\n",
                    call("toggle")
                );
                format!(
                    "printf {} > ~/.local/share/applications/{file}\nkwriteconfig6 --file kglobalshortcutsrc --group \
                     services --group {file} --key _launch {}",
                    quoted(&entry.replace('%', "%%")),
                    quoted(&keys(qt, &qt_key(shortcut)))
                )
            }
            Desktop::Gnome => {
                let schema = "org.gnome.settings-daemon.plugins.media-keys.custom-keybinding";
                let keys: String = shortcut.modifiers.iter().map(|modifier| gtk(*modifier)).collect();
                let set = |key: &str, value: &str| {
                    format!("gsettings set {schema}:{} {key} {}", gnome_path(at), quoted(value))
                };
                [
                    set("name", &format!("bestbox {binding}")),
                    set("command", &call("toggle")),
                    set("binding", &format!("{keys}{}", shortcut.key.symbol)),
                ]
                .join("\n")
            }
        }
    }
}

/// Hyprland's lines since 0.55.
fn lua(program: &str, hotkey: &Hotkey) -> String {
    let shortcut = &hotkey.shortcut;
    let held: Vec<&str> = shortcut.modifiers.iter().map(|modifier| hyprland(*modifier)).collect();
    let own = shortcut.key.modifier.map(hyprland);
    let keys = |held: Vec<&str>| held.into_iter().chain([shortcut.key.symbol]).collect::<Vec<_>>().join(" + ");
    let call = |verb: &str| format!("{program} ctl {verb} --binding {}", quoted(&hotkey.binding)).replace('"', "\\\"");
    format!(
        "hl.bind(\"{}\", hl.dsp.exec_cmd(\"{}\"))\nhl.bind(\"{}\", hl.dsp.exec_cmd(\"{}\"), {{ release = true }})",
        keys(held.clone()),
        call("press"),
        keys(held.into_iter().chain(own).collect()),
        call("release")
    )
}

fn gnome_path(at: usize) -> String {
    format!("/org/gnome/settings-daemon/plugins/media-keys/custom-keybindings/bestbox{at}/")
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn sway(modifier: Modifier) -> &'static str {
    match modifier {
        Modifier::Ctrl => "Ctrl",
        Modifier::Alt => "Mod1",
        Modifier::Shift => "Shift",
        Modifier::Super => "Mod4",
    }
}

fn hyprland(modifier: Modifier) -> &'static str {
    match modifier {
        Modifier::Ctrl => "CTRL",
        Modifier::Alt => "ALT",
        Modifier::Shift => "SHIFT",
        Modifier::Super => "SUPER",
    }
}

fn gtk(modifier: Modifier) -> &'static str {
    match modifier {
        Modifier::Ctrl => "<Control>",
        Modifier::Alt => "<Alt>",
        Modifier::Shift => "<Shift>",
        Modifier::Super => "<Super>",
    }
}

fn qt(modifier: Modifier) -> &'static str {
    match modifier {
        Modifier::Ctrl => "Ctrl",
        Modifier::Alt => "Alt",
        Modifier::Shift => "Shift",
        Modifier::Super => "Meta",
    }
}

/// Qt's name of a key (QKeySequence's portable text), where it is not that of the keysym.
fn qt_key(shortcut: &Shortcut) -> String {
    let name = shortcut.key.name();
    let qt = match name {
        "page_up" => "PgUp",
        "page_down" => "PgDown",
        "insert" => "Ins",
        "delete" => "Del",
        "print_screen" => "Print",
        "scroll_lock" => "ScrollLock",
        "caps_lock" => "CapsLock",
        "num_lock" => "NumLock",
        "volume_mute" => "Volume Mute",
        "microphone_mute" => "Microphone Mute",
        "play_pause" => "Media Play",
        "minus" => "-",
        "equal" => "=",
        "left_bracket" => "[",
        "right_bracket" => "]",
        "semicolon" => ";",
        "apostrophe" => "'",
        "grave" => "`",
        "backslash" => "\\",
        "comma" => ",",
        "period" => ".",
        "slash" => "/",
        "less" => "<",
        _ => return capital(shortcut.key.symbol),
    };
    qt.to_owned()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(desktop: Desktop, keys: &[(&str, &str)]) -> String {
        let hotkey = |(binding, key): &(&str, &str)| Hotkey {
            binding: (*binding).to_owned(),
            description: String::new(),
            shortcut: key.parse().expect("a shortcut"),
        };
        desktop.lines("bestbox", &keys.iter().map(hotkey).collect::<Vec<_>>())
    }

    #[test]
    fn sway_and_hyprland_are_told_of_press_and_release() {
        let text = lines(Desktop::Sway, &[("dictate", "ctrl+alt+space"), ("ask me", "right_ctrl")]);
        assert!(
            text.contains("bindsym --no-repeat Ctrl+Mod1+space exec bestbox ctl press --binding dictate\n"),
            "{text}"
        );
        assert!(
            text.contains("bindsym --no-repeat --release Ctrl+Mod1+space exec bestbox ctl release --binding dictate\n"),
            "{text}"
        );
        assert!(text.contains("Control_R exec bestbox ctl press --binding 'ask me'\n"), "{text}");
        let text = lines(Desktop::Hyprland, &[("dictate", "super+F9"), ("ask", "right_ctrl")]);
        assert!(text.contains("bind = SUPER, F9, exec, bestbox ctl press --binding dictate\n"), "{text}");
        assert!(text.contains("bindr = SUPER, F9, exec, bestbox ctl release --binding dictate\n"), "{text}");
        assert!(
            text.contains("hl.bind(\"SUPER + F9\", hl.dsp.exec_cmd(\"bestbox ctl press --binding dictate\"))\n"),
            "{text}"
        );
        assert!(text.contains("ctl release --binding dictate\"), { release = true })\n"), "{text}");
        assert!(text.contains("bindr = CTRL, Control_R, exec, bestbox ctl release --binding ask\n"), "{text}");
    }

    #[test]
    fn desktops_that_tell_only_of_presses_toggle() {
        let text = lines(Desktop::Gnome, &[("dictate", "ctrl+alt+space"), ("b", "F9")]);
        assert!(text.contains("binding '<Control><Alt>space'"), "{text}");
        assert!(text.contains("command 'bestbox ctl toggle --binding dictate'"), "{text}");
        assert!(text.contains("bestbox0/', '/org"), "{text}");
        let text = lines(Desktop::Kde, &[("dictate", "super+page_up")]);
        assert!(text.contains("--key _launch 'Meta+PgUp'"), "{text}");
        assert!(text.contains("Exec=bestbox ctl toggle --binding dictate\\n"), "{text}");
        assert!(!text.contains("ctl press") && !text.contains("ctl release"), "{text}");
    }

    #[test]
    fn the_desktop_is_known_by_its_name() {
        assert_eq!(Desktop::of("ubuntu:GNOME"), Some(Desktop::Gnome));
        assert_eq!(Desktop::of("KDE"), Some(Desktop::Kde));
        assert_eq!(Desktop::of(""), None);
    }
}
