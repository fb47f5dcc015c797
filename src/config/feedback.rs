//! `[dictate.feedback]`: what is heard and seen of dictation.

use serde::{Deserialize, Serialize};

/// Where the overlay stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverlayPlace {
    /// At the lower edge of the screen.
    #[default]
    Bottom,
    /// At the upper edge.
    Top,
}

/// `[dictate.feedback]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedbackConfig {
    /// Sounds when recording starts, stops, is cancelled or fails.
    pub sounds: bool,
    /// Loudness of the sounds, 0 to 1.
    pub volume: f64,
    /// Desktop notifications: answers, problems, text that stays in the clipboard.
    pub notifications: bool,
    /// An icon in the tray, with a menu.
    pub tray: bool,
    /// A small window with level, partial text and state; never takes the focus.
    pub overlay: bool,
    /// Where that window is.
    pub overlay_place: OverlayPlace,
    /// Seconds that it shows the text after the take.
    pub overlay_seconds: f64,
    /// The view in the terminal, when run in one.
    pub terminal: bool,
    /// Pauses music and films while recording, and goes on with those that played.
    pub pause_media: bool,
}

impl Default for FeedbackConfig {
    fn default() -> Self {
        FeedbackConfig {
            sounds: false,
            volume: 0.3,
            notifications: true,
            tray: true,
            overlay: true,
            overlay_place: OverlayPlace::Bottom,
            overlay_seconds: 2.5,
            terminal: true,
            pause_media: false,
        }
    }
}
