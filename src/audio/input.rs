//! Where bytes come from, and how they reach a decoder: a file is passed on as it is, a pipe either flows through or,
//! where its format needs seeking, is stored first.

use super::sniff::{HEAD_BYTES, Kind, sniff};
use super::{AudioError, DecodeSettings};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A recording.
#[derive(Clone, Debug)]
pub enum Input {
    /// A file, a named pipe or a device.
    File(PathBuf),
    /// Standard input of this process.
    Stdin,
    /// An upload in memory.
    Bytes(Bytes),
    /// An upload in a file that may have no name; read from its start.
    Handle(std::sync::Arc<File>),
}

/// An input that may be opened several times, also at once.
#[derive(Debug)]
pub struct Rereadable {
    /// To be opened.
    pub input: Input,
    /// The copy that `input` names; goes away with this.
    _copy: Option<tempfile::NamedTempFile>,
}

/// Copies what can be read only once (a pipe), or by one reader at a time (an open file has one position), to a temporary
/// file. Blocking.
///
/// # Errors
/// As opening the input; [`AudioError::SpoolLimit`] and [`AudioError::Spool`] where there is no room for the copy.
pub fn rereadable(input: Input, settings: &DecodeSettings) -> Result<Rereadable, AudioError> {
    let as_it_is = match &input {
        Input::Bytes(_) => true,
        Input::File(path) => !path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()),
        Input::Stdin | Input::Handle(_) => false,
    };
    if as_it_is {
        return Ok(Rereadable { input, _copy: None });
    }
    let failed = |source| AudioError::Spool { folder: std::env::temp_dir(), source };
    let (head, rest) = match prepare(input, settings)? {
        Source::Pipe { head, rest } => (head, rest),
        Source::File(mut file) => {
            file.rewind().map_err(AudioError::Read)?;
            (Vec::new(), file)
        }
    };
    let mut copy = tempfile::NamedTempFile::new().map_err(failed)?;
    store(copy.as_file_mut(), &head, rest, settings)?;
    Ok(Rereadable { input: Input::File(copy.path().to_owned()), _copy: Some(copy) })
}

/// What a decoder process reads.
pub(super) enum Source {
    /// Seekable.
    File(File),
    /// Decodes from start to end: the first bytes, and the rest.
    Pipe { head: Vec<u8>, rest: File },
}

/// Opens an input.
///
/// # Errors
/// What is missing, unreadable, empty, a folder, too large to store, or plainly not audio.
pub(super) fn prepare(input: Input, settings: &DecodeSettings) -> Result<Source, AudioError> {
    match input {
        Input::File(path) => {
            let file = open(&path)?;
            if file.metadata().is_ok_and(|metadata| metadata.is_file()) { whole(file) } else { pipe(file, settings) }
        }
        Input::Stdin if io::stdin().is_terminal() => {
            Err(AudioError::NotAudio("standard input is a terminal; pipe a recording in, or name a file".into()))
        }
        Input::Stdin => {
            let mut file = standard_input().map_err(AudioError::Read)?;
            let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
            // Redirected from a file, and nobody has read from it.
            if is_file && file.stream_position().is_ok_and(|at| at == 0) { whole(file) } else { pipe(file, settings) }
        }
        Input::Handle(file) => {
            let mut file = file.try_clone().map_err(AudioError::Read)?;
            file.rewind().map_err(AudioError::Read)?;
            whole(file)
        }
        Input::Bytes(bytes) if bytes.is_empty() => Err(AudioError::Empty),
        Input::Bytes(bytes) => Ok(Source::File(spool(&bytes, io::empty(), settings)?)),
    }
}

fn open(path: &Path) -> Result<File, AudioError> {
    let failed = |source| AudioError::Open { path: path.to_owned(), source };
    if path.metadata().map_err(failed)?.is_dir() {
        return Err(AudioError::Directory(path.to_owned()));
    }
    File::open(path).map_err(failed)
}

fn whole(file: File) -> Result<Source, AudioError> {
    match file.metadata().map_err(AudioError::Read)?.len() {
        0 => Err(AudioError::Empty),
        _ => Ok(Source::File(file)),
    }
}

fn pipe(file: File, settings: &DecodeSettings) -> Result<Source, AudioError> {
    let mut head = Vec::new();
    (&file).take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(AudioError::Read)?;
    match sniff(&head) {
        Kind::Empty => Err(AudioError::Empty),
        Kind::NotAudio(what) => Err(AudioError::NotAudio(what.into())),
        Kind::Wav if plain_wav(&head) => Ok(Source::Pipe { head, rest: file }),
        Kind::Symphonia(container) if container.streams() => Ok(Source::Pipe { head, rest: file }),
        // Needs seeking, or may need to be read a second time by ffmpeg.
        _ => Ok(Source::File(spool(&head, file, settings)?)),
    }
}

/// Whether the format chunk is in sight and names a codec that is certain to be decoded here.
fn plain_wav(head: &[u8]) -> bool {
    let format = head.windows(4).position(|window| window == b"fmt ").and_then(|at| head.get(at + 8..at + 10));
    format.is_some_and(|tag| matches!(u16::from_le_bytes([tag[0], tag[1]]), 1 | 3 | 6 | 7 | 0xFFFE))
}

/// Stores bytes in a temporary file that has no name and goes away with its last descriptor.
fn spool(head: &[u8], rest: impl Read, settings: &DecodeSettings) -> Result<File, AudioError> {
    let failed = |source| AudioError::Spool { folder: std::env::temp_dir(), source };
    let mut file = tempfile::tempfile().map_err(failed)?;
    store(&mut file, head, rest, settings)?;
    Ok(file)
}

fn store(file: &mut File, head: &[u8], rest: impl Read, settings: &DecodeSettings) -> Result<(), AudioError> {
    let failed = |source| AudioError::Spool { folder: std::env::temp_dir(), source };
    let limit = settings.max_spool_bytes;
    file.write_all(head).map_err(failed)?;
    let mut rest = rest.take((limit + 1).saturating_sub(head.len() as u64));
    let mut buffer = vec![0; 64 * 1024];
    let mut stored = head.len() as u64;
    loop {
        let count = match rest.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(AudioError::Read(error)),
        };
        stored += count as u64;
        if stored > limit {
            return Err(AudioError::SpoolLimit { limit });
        }
        file.write_all(&buffer[..count]).map_err(failed)?;
    }
    if stored > limit {
        return Err(AudioError::SpoolLimit { limit });
    }
    Ok(())
}

#[cfg(unix)]
fn standard_input() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn standard_input() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stdin().as_handle().try_clone_to_owned()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn an_open_file_is_copied_so_that_two_may_read_it() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"RIFF and what follows").expect("room");
        let settings = DecodeSettings::default();
        let kept = rereadable(Input::Handle(Arc::new(file.try_clone().expect("a handle"))), &settings).expect("a copy");
        let Input::File(path) = &kept.input else { panic!("{:?}", kept.input) };
        assert_eq!(std::fs::read(path).expect("the copy"), b"RIFF and what follows");
        let path = path.clone();
        drop(kept);
        assert!(!path.exists(), "gone with its owner");
        let small = DecodeSettings { max_spool_bytes: 4, ..settings };
        let refused = rereadable(Input::Handle(Arc::new(file)), &small);
        assert!(matches!(refused, Err(AudioError::SpoolLimit { limit: 4 })), "{refused:?}");
    }

    #[test]
    fn a_file_stays_where_it_is() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let kept = rereadable(Input::File(file.path().to_owned()), &DecodeSettings::default()).expect("the file");
        assert!(matches!(&kept.input, Input::File(path) if path == file.path()));
    }
}
