//! Where dictation meets windows and the clipboard: `output::insert`.

use super::deliver::Delivered;
use crate::config::Config;
use crate::output::insert::{self, Because, How, InsertConfig, InsertError, Inserted};
use std::time::Duration;

/// The window that had the focus.
pub(super) use crate::output::insert::Target as Window;

/// A desktop that does not say within this which window has the focus does not say it: the take must not wait.
const PATIENCE: Duration = Duration::from_millis(500);

/// How text is inserted.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings(InsertConfig);

impl Settings {
    pub fn of(config: &Config) -> Self {
        Settings(config.dictate.insert.clone())
    }
}

/// The window that has the focus now; none where the desktop does not tell.
pub(super) async fn focus() -> Option<Window> {
    tokio::time::timeout(PATIENCE, insert::focus()).await.ok().flatten()
}

/// Inserts into `window`; where another has the focus by now the text is in the clipboard, and a note says so.
///
/// # Errors
/// One sentence, when the text is in no window and in no clipboard.
pub(super) async fn insert(text: &str, window: Option<&Window>, settings: &Settings) -> Result<Delivered, String> {
    let target = window.cloned().unwrap_or_default();
    match insert::insert(text, &target, &settings.0).await {
        Ok(inserted) => Ok(delivered(&inserted)),
        // Nothing presses keys here; the sentence says what to do.
        Err(error @ InsertError::NoTool { .. }) => {
            Ok(Delivered { note: Some(error.to_string()), ..Delivered::by("clipboard") })
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Puts `text` into the clipboard, to stay.
///
/// # Errors
/// One sentence.
pub(super) async fn copy(text: &str) -> Result<Delivered, String> {
    insert::copy(text).await.map_err(|error| error.to_string())?;
    Ok(Delivered::by("clipboard"))
}

/// To be called before this process ends, so that the clipboard outlives it.
pub(super) async fn hand_over() {
    insert::hand_over().await;
}

fn delivered(inserted: &Inserted) -> Delivered {
    let how = match inserted.how {
        How::Pasted => "paste",
        How::Typed => "type",
        How::Clipboard => "clipboard",
        How::Nothing => "nothing",
    };
    let because = inserted.because.as_ref().filter(|because| **because != Because::Asked);
    let note = because.map(|because| match inserted.how {
        How::Clipboard => format!("{because}: the text is in the clipboard"),
        _ => because.to_string(),
    });
    Delivered { note, ..Delivered::by(how) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_waits_in_the_clipboard_is_told() {
        let because = Because::FocusChanged { from: "gedit".into(), to: "xterm".into() };
        let inserted = Inserted { how: How::Clipboard, tool: None, because: Some(because), failed: Vec::new() };
        let told = delivered(&inserted);
        assert_eq!(told.how, "clipboard");
        assert_eq!(told.note.as_deref(), Some("the focus went from gedit to xterm: the text is in the clipboard"));
        let asked = Inserted { because: Some(Because::Asked), ..inserted };
        assert_eq!(delivered(&asked).note, None);
    }
}
