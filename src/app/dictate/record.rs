//! A take on the disk while it is spoken: a WAV file that grows, locked by the process that records or processes it.
//!
//! What was written is there whatever becomes of this process. The header says "until the end of the file" while it
//! grows, which every reader of ours takes as it is, and the true length once the take is complete.

use crate::audio::SPEECH_RATE;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes before the samples.
const HEADER: usize = 44;
/// The length of a file that still grows.
const OPEN_END: u32 = u32::MAX;

/// A take that is being recorded or processed.
#[derive(Debug)]
pub(super) struct Recording {
    file: File,
    path: PathBuf,
    samples: u64,
}

/// What became of asking for a take that another run has left.
pub(super) enum Found {
    /// It is ours now.
    Ours(Recording),
    /// The process that records or processes it is alive.
    InUse,
}

impl Recording {
    /// A new file, readable by this user alone.
    ///
    /// # Errors
    /// What the system says: no room, no right.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.lock()?;
        file.write_all(&header(OPEN_END))?;
        Ok(Recording { file, path: path.to_owned(), samples: 0 })
    }

    /// A file that another run has left.
    ///
    /// # Errors
    /// What the system says.
    pub fn take_over(path: &Path) -> io::Result<Found> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(Found::InUse),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        let samples = file.metadata()?.len().saturating_sub(HEADER as u64) / 2;
        Ok(Found::Ours(Recording { file, path: path.to_owned(), samples }))
    }

    /// Appends 16 kHz mono samples. They are the kernel's when this returns.
    ///
    /// # Errors
    /// What the system says; the samples before are safe.
    pub fn push(&mut self, samples: &[f32]) -> io::Result<()> {
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| to_i16(*sample).to_le_bytes()).collect();
        self.file.write_all(&bytes)?;
        self.samples += samples.len() as u64;
        Ok(())
    }

    /// The take is complete: the header gets its true length.
    ///
    /// # Errors
    /// What the system says; the file can be read all the same.
    pub fn finish(&mut self) -> io::Result<()> {
        let bytes = u32::try_from(self.samples * 2).unwrap_or(OPEN_END);
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header(bytes))?;
        self.file.seek(SeekFrom::End(0))?;
        self.file.sync_data()
    }

    /// Seconds written.
    pub fn seconds(&self) -> f64 {
        self.samples as f64 / f64::from(SPEECH_RATE)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All samples.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&mut self) -> io::Result<Vec<f32>> {
        self.file.seek(SeekFrom::Start(HEADER as u64))?;
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0).collect())
    }
}

fn to_i16(sample: f32) -> i16 {
    // Saturates; NaN is 0.
    (sample * 32_768.0).round() as i16
}

fn header(data_bytes: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let riff = if data_bytes == OPEN_END { OPEN_END } else { data_bytes + HEADER as u32 - 8 };
    let fields: [(usize, &[u8]); 12] = [
        (0, b"RIFF"),
        (4, &riff.to_le_bytes()),
        (8, b"WAVEfmt "),
        (16, &16_u32.to_le_bytes()),
        // PCM, mono.
        (20, &1_u16.to_le_bytes()),
        (22, &1_u16.to_le_bytes()),
        (24, &SPEECH_RATE.to_le_bytes()),
        (28, &(SPEECH_RATE * 2).to_le_bytes()),
        (32, &2_u16.to_le_bytes()),
        (34, &16_u16.to_le_bytes()),
        (36, b"data"),
        (40, &data_bytes.to_le_bytes()),
    ];
    for (at, bytes) in fields {
        header[at..at + bytes.len()].copy_from_slice(bytes);
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_without_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("take.wav");
        let samples: Vec<f32> = (0..1_600).map(|n| (n as f32 * 0.05).sin()).collect();
        let mut recording = Recording::create(&path).unwrap();
        recording.push(&samples[..700]).unwrap();
        recording.push(&samples[700..]).unwrap();
        // As a crash leaves it: whoever asks meanwhile is refused, and afterwards gets everything.
        assert!(matches!(Recording::take_over(&path).unwrap(), Found::InUse));
        drop(recording);
        let Found::Ours(mut left) = Recording::take_over(&path).unwrap() else { panic!("nobody has it") };
        assert_eq!(left.seconds(), 0.1);
        let read = left.read().unwrap();
        assert!(read.iter().zip(&samples).all(|(a, b)| (a - b).abs() < 1e-4) && read.len() == samples.len());
        left.finish().unwrap();
        let reader = hound::WavReader::open(&path).unwrap();
        assert_eq!((reader.spec().sample_rate, reader.len()), (16_000, 1_600));
    }

    #[test]
    fn a_crash_inside_a_sample_loses_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("take.wav");
        let mut recording = Recording::create(&path).unwrap();
        recording.push(&[0.5, -0.5, 2.0]).unwrap();
        recording.file.write_all(&[7]).unwrap();
        drop(recording);
        let Found::Ours(mut left) = Recording::take_over(&path).unwrap() else { panic!("nobody has it") };
        assert_eq!(left.read().unwrap(), [0.5, -0.5, 32_767.0 / 32_768.0]);
    }
}
