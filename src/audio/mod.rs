//! Audio in: any container or codec to 16 kHz mono, in bounded memory, with untrusted bytes decoded in a child process.

use serde::{Deserialize, Serialize};

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
