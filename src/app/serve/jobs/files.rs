//! Audio of jobs on disk: `<data>/jobs/<id>/audio`, private to the user.

use crate::app::serve::upload::Audio;
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The folder of all jobs.
#[derive(Clone)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Under the service's data folder.
    pub fn new(root: &Path) -> Self {
        Files { folder: root.join("jobs") }
    }

    /// Makes the folder.
    pub fn open(&self) -> io::Result<()> {
        private_folder(&self.folder)
    }

    /// A job's audio. `id` is one of ours (hexadecimal), never a client's text.
    pub fn audio(&self, id: &str) -> PathBuf {
        self.folder.join(id).join("audio")
    }

    /// Moves an upload into its place. When this returns, it is there even after a power failure. On an error nothing
    /// is left of it.
    pub fn take(&self, id: &str, audio: Audio) -> io::Result<()> {
        let folder = self.folder.join(id);
        let placed = (|| {
            File::open(audio.path())?.sync_all()?;
            private_folder(&folder)?;
            audio.persist(&folder.join("audio"))?;
            File::open(&folder)?.sync_all()?;
            File::open(&self.folder)?.sync_all()
        })();
        if placed.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        placed
    }

    /// Removes a job's folder. What cannot be removed now is removed as an orphan at the next start.
    pub fn remove(&self, id: &str) {
        if let Err(error) = fs::remove_dir_all(self.folder.join(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(job = id, %error, "the audio of a job cannot be removed yet");
        }
    }

    /// Removes folders that belong to no job: uploads whose service ended before the job was stored.
    pub fn remove_orphans(&self, jobs: &HashSet<String>) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_str().is_none_or(|name| !jobs.contains(name)) {
                tracing::info!(folder = %entry.path().display(), "belongs to no job; removed");
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }
}

/// Makes a folder that only its user may enter; one that exists is fine.
fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The media type of stored audio, by its first bytes: what a client claimed is not repeated to a browser.
pub(super) fn media_type(path: &Path) -> io::Result<&'static str> {
    let mut head = Vec::new();
    File::open(path)?.take(12).read_to_end(&mut head)?;
    let is = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    Ok(match () {
        () if is(0, b"RIFF") && is(8, b"WAVE") => "audio/wav",
        () if is(0, b"OggS") => "audio/ogg",
        () if is(0, b"fLaC") => "audio/flac",
        () if is(4, b"ftyp") => "audio/mp4",
        () if is(0, &[0x1a, 0x45, 0xdf, 0xa3]) => "audio/webm",
        () if is(0, b"ID3") => "audio/mpeg",
        () if is(0, b"FORM") => "audio/aiff",
        () if is(0, b"caff") => "audio/x-caf",
        // An MPEG frame: eleven set bits; ADTS has layer 0 (ISO 13818-7), MPEG audio any other.
        () if head.len() > 1 && head[0] == 0xff && head[1] & 0xf6 == 0xf0 => "audio/aac",
        () if head.len() > 1 && head[0] == 0xff && head[1] & 0xe0 == 0xe0 => "audio/mpeg",
        () => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_audio_gets_a_type_a_browser_would_play() {
        let folder = tempfile::tempdir().unwrap();
        let of = |bytes: &[u8]| {
            let path = folder.path().join("audio");
            fs::write(&path, bytes).unwrap();
            media_type(&path).unwrap()
        };
        assert_eq!(of(b"RIFF\0\0\0\0WAVEfmt "), "audio/wav");
        assert_eq!(of(b"OggS\0"), "audio/ogg");
        assert_eq!(of(b"\0\0\0\x20ftypM4A "), "audio/mp4");
        assert_eq!(of(&[0xff, 0xf1, 0x50]), "audio/aac");
        assert_eq!(of(&[0xff, 0xfb, 0x90]), "audio/mpeg");
        assert_eq!(of(b"<html><script>"), "application/octet-stream");
        assert_eq!(of(b""), "application/octet-stream");
    }

    #[test]
    fn orphans_go_and_jobs_stay() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::new(root.path());
        files.open().unwrap();
        for id in ["a", "b"] {
            private_folder(&root.path().join("jobs").join(id)).unwrap();
            fs::write(files.audio(id), b"x").unwrap();
        }
        files.remove_orphans(&HashSet::from(["a".to_owned()])).unwrap();
        assert!(files.audio("a").exists() && !files.audio("b").exists());
        files.remove("a");
        files.remove("a");
        assert!(!files.audio("a").exists());
    }
}
