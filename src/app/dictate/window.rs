//! Where dictation meets windows and the clipboard: `output::insert`.

use super::deliver::Delivered;

/// The window that had the focus.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub class: String,
    pub title: String,
}

/// How text is inserted.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings;

impl Settings {
    pub fn of(_config: &crate::config::Config) -> Self {
        Settings
    }
}

/// The window that has the focus now.
pub(super) async fn focus() -> Option<Window> {
    None
}

pub(super) async fn insert(_text: &str, _window: Option<&Window>, _settings: &Settings) -> Result<Delivered, String> {
    Err("text cannot be inserted in this build".into())
}

pub(super) async fn copy(_text: &str, _settings: &Settings) -> Result<Delivered, String> {
    Err("there is no clipboard in this build".into())
}
