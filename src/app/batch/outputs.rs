//! Files in OUT: each is there whole or not at all, and none that bestbox did not write is ever replaced unasked.

use super::manifest::{Manifest, ManifestError, is_full};
use super::names::{Base, folder_of, variants};
use super::record::{Failure, OutputFile, Reason, RelativePath};
use super::wanted::{Wanted, hex};
use crate::outcome::Outcome;
use crate::output::{Format, render};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What was written for a file.
pub(super) struct Wrote {
    pub outputs: Vec<OutputFile>,
    /// What a person should know of it.
    pub notes: Vec<String>,
}

/// Why nothing was.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// One file.
    #[error("cannot write {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl WriteError {
    /// Whether there is no room on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            WriteError::Manifest(error) => error.is_full(),
            WriteError::Io { source, .. } => is_full(source),
        }
    }

    pub fn failure(&self) -> Failure {
        let code = if self.is_full() { Reason::DiskFull } else { Reason::Output };
        Failure::new(code, self.to_string())
    }
}

/// Whose outputs, and how.
pub(super) struct Job<'a> {
    pub manifest: &'a Arc<Manifest>,
    pub wanted: &'a Wanted,
    pub base: &'a Base,
    pub source: &'a RelativePath,
    /// Replace what is not ours too.
    pub overwrite: bool,
}

/// One file to write.
struct Piece {
    variant: Option<String>,
    format: Format,
    text: Option<super::record::Text>,
    content: String,
}

impl Job<'_> {
    /// Renders and writes everything that is wanted of `outcome`.
    pub async fn write(&self, outcome: &Outcome) -> Result<Wrote, WriteError> {
        let mut wrote = Wrote { outputs: Vec::new(), notes: Vec::new() };
        let pieces = self.render(outcome, &mut wrote.notes);
        let base = self.free_base(&pieces, &mut wrote.notes).await?;
        let mut files = Vec::with_capacity(pieces.len());
        let mut owned = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let relative = base.output(piece.variant.as_deref(), piece.format);
            let path = RelativePath::of(&relative);
            owned.push((path.clone(), hex(&Sha256::digest(&piece.content))));
            wrote.outputs.push(OutputFile { path, format: piece.format, text: piece.text });
            files.push((self.manifest.out.join(&relative), piece.content));
        }
        self.manifest.own(self.source, &owned).await?;
        let scratch = self.manifest.scratch().to_owned();
        blocking(move || files.iter().try_for_each(|(target, content)| replace(&scratch, target, content.as_bytes())))
            .await?;
        Ok(wrote)
    }

    fn render(&self, outcome: &Outcome, notes: &mut Vec<String>) -> Vec<Piece> {
        let (source, target) = (outcome.transcript.language, self.wanted.plan.translate);
        let texts = match &self.wanted.texts {
            Some(texts) => variants(texts, source, target).into_iter().map(|(t, name)| (Some(t), name)).collect(),
            None => vec![(None, None)],
        };
        let mut pieces = Vec::new();
        for format in &self.wanted.formats {
            let whole = matches!(format, Format::Json | Format::Jsonl);
            for (text, variant) in texts.iter().take(if whole { 1 } else { usize::MAX }) {
                let missing = *text == Some(super::record::Text::Translated) && outcome.translated.is_none();
                // A recording without words has empty translations; one that could not be translated has none.
                if missing && !whole && !outcome.transcript.segments.is_empty() {
                    notes.push(format!("no translation came out, so no {format} of it"));
                    continue;
                }
                let (text, variant) = if whole { (None, None) } else { (*text, variant.clone()) };
                match render(outcome, *format, &self.wanted.rendering(text)) {
                    Ok(content) => pieces.push(Piece { variant, format: *format, text, content }),
                    Err(error) => notes.push(error.to_string()),
                }
            }
        }
        pieces
    }

    /// The planned name, or a longer one where something stands that is not ours.
    async fn free_base(&self, pieces: &[Piece], notes: &mut Vec<String>) -> Result<Base, ManifestError> {
        let mut base = self.base.clone();
        loop {
            let mut taken = None;
            for piece in pieces {
                let relative = base.output(piece.variant.as_deref(), piece.format);
                if !self.overwrite && !self.may_write(&relative).await? {
                    taken = Some(relative);
                    break;
                }
            }
            let Some(taken) = taken else { return Ok(base) };
            let Some(longer) = base.longer() else { return Ok(base) };
            let name = longer.output(None, Format::Text).with_extension("");
            notes.push(format!(
                "{} is not bestbox's own or was edited, so it stays and the outputs are called {}.*",
                taken.display(),
                name.display()
            ));
            base = longer;
        }
    }

    /// Nothing stands there, or what bestbox itself wrote for this file, or for one that is gone.
    async fn may_write(&self, relative: &Path) -> Result<bool, ManifestError> {
        let full = self.manifest.out.join(relative);
        if fs::symlink_metadata(&full).is_err() {
            return Ok(true);
        }
        let Some(owned) = self.manifest.output(&RelativePath::of(relative)).await? else { return Ok(false) };
        // That of another IN which shares this OUT.
        let ours = owned.source.is_some();
        let sha = tokio::task::spawn_blocking(move || hash_of(&full)).await.unwrap_or_default();
        Ok(ours && sha.is_some_and(|sha| owned.hashes.contains(&sha)))
    }
}

/// Takes away those outputs of `source` that are not among `now`: no longer wanted, or called otherwise. Those that were
/// edited stay.
pub(super) async fn clear(
    manifest: &Manifest,
    source: &RelativePath,
    before: &[OutputFile],
    now: &[OutputFile],
) -> Result<(), ManifestError> {
    for old in before.iter().filter(|old| !now.iter().any(|new| new.path == old.path)) {
        let Some(owned) = manifest.output(&old.path).await? else { continue };
        if owned.source.as_ref() != Some(source) {
            continue;
        }
        let path = manifest.out.join(old.path.to_path());
        if hash_of(&path).is_some_and(|sha| owned.hashes.contains(&sha)) {
            // Gone already is as good.
            let _ = fs::remove_file(&path);
        }
        manifest.disown(&old.path).await?;
    }
    Ok(())
}

/// Keeps an outcome under its key; its path below OUT.
pub(super) async fn store(manifest: &Manifest, key: &str, outcome: &Outcome) -> Result<RelativePath, WriteError> {
    let json = serde_json::to_vec(outcome).map_err(ManifestError::from)?;
    let relative = Path::new(super::walk::OWN_FOLDER).join("outcomes").join(&key[..2]).join(format!("{key}.json"));
    let (scratch, target) = (manifest.scratch().to_owned(), manifest.out.join(&relative));
    blocking(move || replace(&scratch, &target, &json)).await?;
    Ok(RelativePath::of(&relative))
}

/// Reads a stored outcome again; none when it is gone or damaged.
pub(super) async fn stored(out: &Path, path: &RelativePath) -> Option<Outcome> {
    let file = out.join(path.to_path());
    let read = move || serde_json::from_slice(&fs::read(file).ok()?).ok();
    tokio::task::spawn_blocking(read).await.ok().flatten()
}

async fn blocking(work: impl FnOnce() -> Result<(), WriteError> + Send + 'static) -> Result<(), WriteError> {
    let panicked = |panic| WriteError::Manifest(ManifestError::Io(io::Error::other(panic)));
    tokio::task::spawn_blocking(work).await.map_err(panicked)?
}

/// Puts `content` in the place of `target` in one step, through a file in `scratch`.
fn replace(scratch: &Path, target: &Path, content: &[u8]) -> Result<(), WriteError> {
    let failed = |source| WriteError::Io { path: target.to_owned(), source };
    let folder = folder_of(target);
    fs::create_dir_all(folder).map_err(failed)?;
    if fs::symlink_metadata(target).is_ok_and(|found| found.is_dir()) {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    if fs::metadata(target).is_ok_and(|found| found.len() == content.len() as u64)
        && fs::read(target).is_ok_and(|found| found == content)
    {
        return Ok(());
    }
    let temporary = write_into(scratch, content).map_err(failed)?;
    match temporary.persist(target) {
        Ok(_) => {}
        // A folder of OUT on another disk.
        Err(error) if error.error.kind() == io::ErrorKind::CrossesDevices => {
            write_into(folder, content).map_err(failed)?.persist(target).map_err(|error| failed(error.error))?;
        }
        Err(error) => return Err(failed(error.error)),
    }
    sync_folder(folder);
    Ok(())
}

fn write_into(folder: &Path, content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bestbox-").suffix(".part");
    #[cfg(unix)]
    let shareable = {
        use std::os::unix::fs::PermissionsExt;
        // As any new file would be: the process's umask takes its part off. (Temporary files are private otherwise.)
        fs::Permissions::from_mode(0o666)
    };
    #[cfg(unix)]
    builder.permissions(shareable);
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// A rename lasts once its folder is on the disk; where folders cannot be synced it is merely later.
fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    #[cfg(not(unix))]
    let _ = folder;
}

/// SHA-256 of a file; none when it is gone, or no file.
fn hash_of(path: &Path) -> Option<String> {
    let metadata = fs::symlink_metadata(path).ok()?;
    if !metadata.is_file() {
        return None;
    }
    content_of(path, &CancellationToken::new()).ok()
}

/// SHA-256 of a recording, given up when `cancel` fires.
pub(super) fn content_of(path: &Path, cancel: &CancellationToken) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}
