//! A text to where it goes.

use super::plans::Destination;
use super::window::{self, Window};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// A program that takes the text may work so long before it is ended.
const PROGRAM_LIMIT: Duration = Duration::from_secs(60);

/// A text that reached something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    /// What it reached: see `Event::Delivered`.
    pub how: String,
    /// What the user should know, such as that the window was another.
    pub note: Option<String>,
}

impl Delivered {
    /// With nothing to say.
    pub fn by(how: &str) -> Self {
        Delivered { how: how.to_owned(), note: None }
    }
}

/// Why a text did not get there: one sentence. It is in the history all the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliverError {
    #[error("standard output does not take the text: {0}")]
    Stdout(std::io::Error),
    #[error("{path} does not take the text: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the program '{line}' {why}")]
    Program { line: String, why: String },
    #[error("{0}")]
    Window(String),
}

/// Delivers `text`. `window` is the one that had the focus when the take began.
pub(super) async fn deliver(
    text: &str,
    to: &Destination,
    window: Option<&Window>,
    settings: &window::Settings,
) -> Result<Delivered, DeliverError> {
    match to {
        Destination::Insert => window::insert(text, window, settings).await.map_err(DeliverError::Window),
        Destination::Clipboard => window::copy(text).await.map_err(DeliverError::Window),
        Destination::Stdout => {
            let mut out = tokio::io::stdout();
            let line = format!("{text}\n");
            out.write_all(line.as_bytes()).await.map_err(DeliverError::Stdout)?;
            out.flush().await.map_err(DeliverError::Stdout)?;
            Ok(Delivered::by("stdout"))
        }
        Destination::File(path) => append(path, text).await,
        Destination::Command(line) => program(line, text).await,
    }
}

async fn append(path: &Path, text: &str) -> Result<Delivered, DeliverError> {
    let failed = |source| DeliverError::File { path: path.to_owned(), source };
    let mut file = tokio::fs::OpenOptions::new().append(true).create(true).open(path).await.map_err(failed)?;
    file.write_all(format!("{text}\n").as_bytes()).await.map_err(failed)?;
    file.flush().await.map_err(failed)?;
    Ok(Delivered::by("file"))
}

/// Starts a program of the user's, as the shell would, with the text on its standard input.
pub(super) async fn program(line: &str, text: &str) -> Result<Delivered, DeliverError> {
    let failed = |why: String| DeliverError::Program { line: line.to_owned(), why };
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut child = tokio::process::Command::new(shell)
        .args([flag, line])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let work = async {
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read its input is none of our business.
            let _ = input.write_all(text.as_bytes()).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(PROGRAM_LIMIT, work).await {
        Ok(Ok(status)) if status.success() => Ok(Delivered::by("command")),
        Ok(Ok(status)) => Err(failed(format!("ended with {status}"))),
        Ok(Err(error)) => Err(failed(format!("cannot be waited for: {error}"))),
        Err(_) => Err(failed(format!("was ended: it took longer than {} s", PROGRAM_LIMIT.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_and_programs_get_the_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        append(&path, "ä 漢字").await.unwrap();
        append(&path, "two").await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ä 漢字\ntwo\n");
        let copy = folder.path().join("copy");
        let line = format!("cat > '{}'", copy.display());
        assert_eq!(program(&line, "hello").await.unwrap(), Delivered::by("command"));
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), "hello");
    }

    #[tokio::test]
    async fn what_fails_says_so() {
        let error = program("exit 3", &"long ".repeat(100_000)).await.unwrap_err().to_string();
        assert!(error.contains("exit 3") && error.contains('3'), "{error}");
        let error = append(Path::new("/nowhere/notes"), "text").await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/notes"), "{error}");
    }
}
