//! Audio in: any container or codec to 16 kHz mono, in bounded memory, with untrusted bytes decoded in a child process.
//!
//! ```text
//! Input -> input (open, spool) -> child process [sniff -> wav | symphonia -> downmix -> resample] -> frames -> AudioStream
//!                                 `- a codec symphonia lacks: ffmpeg child | the same child again (reads ffmpeg's WAV)
//! ```
//!
//! The parent never parses audio: it looks at the first bytes of a pipe to choose between streaming and spooling, passes
//! a file descriptor on, and reads length-checked frames back. Whatever happens in the child is an [`AudioError`].

pub mod capture;
mod decode;
mod error;
mod ffmpeg;
mod input;
mod mkv;
mod mp4;
mod process;
mod protocol;
mod resample;
mod sandbox;
mod sniff;
mod stream;
mod survey;
mod wav;
mod worker;

pub use error::AudioError;
pub use input::{Input, Rereadable, rereadable};
pub use protocol::{StreamInfo, WORKER_ARG};
pub use resample::{ResampleError, Resampler};
pub use stream::{AudioStream, Canceller, open, probe};
pub use survey::{Survey, survey};
pub use worker::worker_main;

#[cfg(test)]
pub(crate) use survey::tests as surveyed;

/// Bytes at the start of a file that [`is_recording`] wants to see.
pub const HEAD_BYTES: usize = sniff::HEAD_BYTES;

/// Whether the first bytes of a file are those of a known container or codec. (MPEG audio that begins with rubbish can
/// be decoded and is not noticed here.)
pub fn is_recording(head: &[u8]) -> bool {
    use sniff::Kind;
    matches!(sniff::sniff(head), Kind::Wav | Kind::Symphonia(_) | Kind::Foreign(_))
}

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Sample rate of everything after decoding, Hz. Whisper's own.
pub const SPEECH_RATE: u32 = 16_000;

/// Mono samples in memory, -1 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audio {
    /// Samples, one channel.
    pub samples: Vec<f32>,
    /// Hz.
    pub rate: u32,
}

impl Audio {
    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        if self.rate == 0 { 0.0 } else { self.samples.len() as f64 / f64::from(self.rate) }
    }
}

/// Which channels become the mono signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channels {
    /// Mean of all channels.
    #[default]
    Average,
    /// One channel, counted from 0.
    One(usize),
}

/// Whether `ffmpeg` may decode what the built-in decoders cannot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ffmpeg {
    /// Where it is on `PATH`.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// Limits and choices of one decode.
#[derive(Clone, Debug)]
pub struct DecodeSettings {
    /// Which channels become the mono signal.
    pub channels: Channels,
    /// Longest audio decoded, seconds (`audio.max_seconds`).
    pub max_seconds: f64,
    /// Most bytes decoded, counted as 32-bit samples of all channels at the source rate (`audio.max_decoded_bytes`).
    pub max_decoded_bytes: u64,
    /// Most bytes of a pipe or upload kept in a temporary file, where the format needs seeking (`audio.max_spool_bytes`).
    pub max_spool_bytes: u64,
    /// Address space that a decoder process may use beyond its own program (`audio.memory_bytes`).
    pub memory_bytes: u64,
    /// Processor time that a decoder process may use, seconds (`audio.cpu_seconds`).
    pub cpu_seconds: u64,
    /// Whether ffmpeg may help.
    pub ffmpeg: Ffmpeg,
    /// Program executed with [`WORKER_ARG`]; it must call [`worker_main`].
    pub worker: PathBuf,
}

impl Default for DecodeSettings {
    fn default() -> Self {
        DecodeSettings {
            channels: Channels::Average,
            max_seconds: 12.0 * 3600.0,
            // 12 hours of 48 kHz stereo are 16.6 GB.
            max_decoded_bytes: 32 << 30,
            max_spool_bytes: 8 << 30,
            memory_bytes: 512 << 20,
            cpu_seconds: 1800,
            ffmpeg: Ffmpeg::Auto,
            // Where the own program cannot be found, starting it fails with a sentence that names it.
            worker: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bestbox")),
        }
    }
}
