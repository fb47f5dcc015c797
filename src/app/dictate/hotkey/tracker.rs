//! Shortcuts found in a bare stream of keys going down and up: for sources that do not know what a shortcut is (evdev, and
//! X11's raw events for keys that are modifiers only).

use super::Hotkey;
use crate::config::{Key, Modifier};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Another key this soon after a lone modifier: the modifier was part of that (Ctrl+C), nobody wants to speak.
const CHORD: Duration = Duration::from_millis(500);

/// What keys mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The shortcut of this index went down.
    Press(usize),
    /// It went up.
    Release(usize),
    /// It was part of another program's shortcut: what its press began is not wanted.
    Chord(usize),
    /// Escape went down.
    Escape,
}

/// Codes of the source for a key: X11 keycodes or Linux codes.
pub type Codes = BTreeSet<u32>;

/// The state of all keyboards together.
#[derive(Debug, Default)]
pub struct Tracker {
    shortcuts: Vec<Watched>,
    /// Codes of all modifiers.
    modifiers: Vec<(Modifier, Codes)>,
    escape: Codes,
    down: BTreeSet<u32>,
}

#[derive(Debug)]
struct Watched {
    index: usize,
    key: Codes,
    modifiers: BTreeSet<Modifier>,
    /// Set where the key is a modifier.
    own: Option<Modifier>,
    held: Option<Instant>,
}

impl Tracker {
    /// Watches the hotkeys that `wanted` picks; `codes` says which codes a key has here.
    pub fn new(hotkeys: &[Hotkey], wanted: impl Fn(&Hotkey) -> bool, codes: impl Fn(&Key) -> Codes) -> Self {
        let watched = |(index, hotkey): (usize, &Hotkey)| Watched {
            index,
            key: codes(hotkey.shortcut.key),
            modifiers: hotkey.shortcut.modifiers.clone(),
            own: hotkey.shortcut.key.modifier,
            held: None,
        };
        let of = |modifier: Modifier| {
            let keys = crate::config::KEYS.iter().filter(|key| key.modifier == Some(modifier));
            (modifier, keys.flat_map(&codes).collect())
        };
        let escape = crate::config::KEYS.iter().find(|key| key.name() == "escape");
        Tracker {
            shortcuts: hotkeys.iter().enumerate().filter(|(_, hotkey)| wanted(hotkey)).map(watched).collect(),
            modifiers: Modifier::ALL.into_iter().map(of).collect(),
            escape: escape.map(&codes).unwrap_or_default(),
            down: BTreeSet::new(),
        }
    }

    /// A key went down; repeats of a key that is down say nothing.
    pub fn press(&mut self, code: u32, now: Instant) -> Vec<Edge> {
        if !self.down.insert(code) {
            return Vec::new();
        }
        let mut edges = Vec::new();
        if self.escape.contains(&code) {
            edges.push(Edge::Escape);
        }
        let pressed = self.pressed();
        let plain_down = self.down.iter().any(|code| !self.is_modifier(*code));
        for shortcut in &mut self.shortcuts {
            if let Some(since) = shortcut.held {
                let other = shortcut.own.is_some() && !self.escape.contains(&code);
                if other && now.saturating_duration_since(since) < CHORD {
                    shortcut.held = None;
                    edges.push(Edge::Chord(shortcut.index));
                }
                continue;
            }
            let wanted: BTreeSet<Modifier> = shortcut.modifiers.iter().copied().chain(shortcut.own).collect();
            let key_down = shortcut.key.iter().any(|code| self.down.contains(code));
            let last = shortcut.key.contains(&code) || shortcut.own.is_some();
            // A lone modifier while something is being typed is part of that.
            let free = shortcut.own.is_none() || !plain_down;
            if last && key_down && pressed == wanted && free {
                shortcut.held = Some(now);
                edges.push(Edge::Press(shortcut.index));
            }
        }
        edges
    }

    /// A key went up.
    pub fn release(&mut self, code: u32) -> Vec<Edge> {
        self.down.remove(&code);
        let pressed = self.pressed();
        let mut edges = Vec::new();
        for shortcut in &mut self.shortcuts {
            let key_up = !shortcut.key.iter().any(|code| self.down.contains(code));
            let lost = shortcut.own.is_some() && !shortcut.modifiers.is_subset(&pressed);
            if shortcut.held.is_some() && (key_up || lost) {
                shortcut.held = None;
                edges.push(Edge::Release(shortcut.index));
            }
        }
        edges
    }

    /// Nobody will tell of keys any more: whatever is held is let go.
    pub fn release_all(&mut self) -> Vec<Edge> {
        self.down.clear();
        let held = self.shortcuts.iter_mut().filter_map(|shortcut| shortcut.held.take().map(|_| shortcut.index));
        held.map(Edge::Release).collect()
    }

    fn is_modifier(&self, code: u32) -> bool {
        self.modifiers.iter().any(|(_, codes)| codes.contains(&code))
    }

    fn pressed(&self) -> BTreeSet<Modifier> {
        let down = |codes: &Codes| codes.iter().any(|code| self.down.contains(code));
        self.modifiers.iter().filter(|(_, codes)| down(codes)).map(|(modifier, _)| *modifier).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(shortcuts: &[&str]) -> Tracker {
        let hotkeys: Vec<Hotkey> = shortcuts
            .iter()
            .map(|text| Hotkey {
                binding: (*text).to_owned(),
                description: String::new(),
                shortcut: text.parse().expect("a shortcut"),
            })
            .collect();
        Tracker::new(&hotkeys, |_| true, |key| key.codes.iter().map(|code| u32::from(*code)).collect())
    }

    const F9: u32 = 67;
    const SPACE: u32 = 57;
    const C: u32 = 46;
    const LEFT_CTRL: u32 = 29;
    const RIGHT_CTRL: u32 = 97;
    const ALT: u32 = 56;
    const SUPER: u32 = 125;

    #[test]
    fn a_key_that_repeats_is_pressed_and_released_once() {
        let mut tracker = tracker(&["F9"]);
        let now = Instant::now();
        assert_eq!(tracker.press(F9, now), [Edge::Press(0)]);
        assert!(tracker.press(F9, now).is_empty());
        assert_eq!(tracker.release(F9), [Edge::Release(0)]);
        assert!(tracker.release(F9).is_empty());
    }

    #[test]
    fn modifiers_must_be_those_and_no_others() {
        let mut tracker = tracker(&["ctrl+alt+space", "ctrl+space"]);
        let now = Instant::now();
        assert!(tracker.press(SPACE, now).is_empty());
        tracker.release(SPACE);
        tracker.press(LEFT_CTRL, now);
        assert_eq!(tracker.press(SPACE, now), [Edge::Press(1)]);
        // Which finger goes first does not matter: it is held until the key itself is up.
        assert!(tracker.release(LEFT_CTRL).is_empty());
        assert_eq!(tracker.release(SPACE), [Edge::Release(1)]);
        tracker.press(RIGHT_CTRL, now);
        tracker.press(ALT, now);
        assert_eq!(tracker.press(SPACE, now), [Edge::Press(0)]);
        assert!(tracker.press(SUPER, now).is_empty(), "what comes later changes nothing");
    }

    #[test]
    fn a_lone_modifier_talks_unless_it_is_part_of_another_shortcut() {
        let mut tracker = tracker(&["right_ctrl"]);
        let now = Instant::now();
        assert!(tracker.press(LEFT_CTRL, now).is_empty(), "the other side");
        tracker.release(LEFT_CTRL);
        assert_eq!(tracker.press(RIGHT_CTRL, now), [Edge::Press(0)]);
        assert_eq!(tracker.press(C, now + Duration::from_millis(100)), [Edge::Chord(0)]);
        tracker.release(C);
        assert!(tracker.release(RIGHT_CTRL).is_empty(), "it was given up already");
        assert_eq!(tracker.press(RIGHT_CTRL, now), [Edge::Press(0)]);
        // Who has been talking for seconds is not thrown out by a slip.
        assert!(tracker.press(C, now + Duration::from_secs(3)).is_empty());
        assert_eq!(tracker.release(RIGHT_CTRL), [Edge::Release(0)]);
        assert!(tracker.press(RIGHT_CTRL, now).is_empty(), "C is down: somebody types");
    }

    #[test]
    fn two_modifiers_together_talk_in_either_order_until_one_is_up() {
        let mut tracker = tracker(&["ctrl+super"]);
        let now = Instant::now();
        for (one, other) in [(LEFT_CTRL, SUPER), (SUPER, RIGHT_CTRL)] {
            assert!(tracker.press(one, now).is_empty());
            assert_eq!(tracker.press(other, now), [Edge::Press(0)]);
            assert_eq!(tracker.release(one), [Edge::Release(0)]);
            assert!(tracker.release(other).is_empty());
        }
    }

    #[test]
    fn escape_is_told_and_is_no_chord() {
        let mut tracker = tracker(&["right_ctrl"]);
        let now = Instant::now();
        tracker.press(RIGHT_CTRL, now);
        assert_eq!(tracker.press(1, now), [Edge::Escape]);
        assert_eq!(tracker.release(1), []);
        assert_eq!(tracker.release(RIGHT_CTRL), [Edge::Release(0)]);
    }
}
