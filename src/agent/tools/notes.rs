//! `write_note`: a line or more at the end of the user's notes.

use super::{Arguments, Outcome, object, text};
use jiff::ZonedDateTime;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt;

/// Longest note, bytes.
const MAX_NOTE: usize = 16 << 10;

pub(super) fn spec() -> (&'static str, &'static str, Value) {
    let note = json!({"type": "string", "description": "the note, as it shall be kept", "minLength": 1});
    ("write_note", "Adds a note to the user's notes. Only when the user asks for it.", object(&[("text", note)], 1))
}

pub(super) async fn call(notes: &Path, arguments: &Arguments) -> Outcome {
    let note = text(arguments, "text").trim();
    if note.is_empty() {
        return Err("the note is empty".into());
    }
    if note.len() > MAX_NOTE {
        return Err(format!("the note is longer than {MAX_NOTE} bytes"));
    }
    let path = file(notes);
    append(&path, note).await.map_err(|error| format!("the notes cannot be written: {}: {error}", path.display()))?;
    Ok(format!("The note was added to {}.", path.file_name().unwrap_or_default().to_string_lossy()))
}

/// A folder stands for the file `notes.md` in it.
fn file(notes: &Path) -> PathBuf {
    let is_file = notes.is_file() || (!notes.is_dir() && notes.extension().is_some());
    if is_file { notes.to_owned() } else { notes.join("notes.md") }
}

/// In one write, so that two writers do not mix their lines.
async fn append(path: &Path, note: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let mut file = tokio::fs::OpenOptions::new().append(true).create(true).open(path).await?;
    // Every line of the note belongs to its entry.
    let note = note.lines().map(str::trim_end).collect::<Vec<_>>().join("\n  ");
    let entry = format!("- {}: {note}\n", ZonedDateTime::now().strftime("%Y-%m-%d %H:%M"));
    file.write_all(entry.as_bytes()).await?;
    file.sync_data().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn notes_are_appended() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("deep/notes");
        let note = |text: &str| json!({"text": text}).as_object().cloned().unwrap();
        call(&notes, &note("buy milk\nand bread")).await.unwrap();
        assert!(call(&notes, &note("second")).await.unwrap().contains("notes.md"));
        let text = std::fs::read_to_string(notes.join("notes.md")).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains(": buy milk\n  and bread\n- ") && text.ends_with(": second\n"));
        assert!(call(&notes, &note("  ")).await.is_err());
        assert!(call(&notes, &note(&"x".repeat(20_000))).await.is_err());
        assert!(call(Path::new("/proc/none"), &note("x")).await.unwrap_err().contains("/proc/none"));
    }
}
