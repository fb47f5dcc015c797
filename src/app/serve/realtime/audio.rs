//! What clients send to what is recognised: PCM or telephone samples to 16 kHz mono.

use crate::audio::{ResampleError, Resampler};
use audio_codec_algorithms::{decode_alaw, decode_ulaw};

/// Rates of PCM that are taken, Hz. OpenAI takes 24,000 alone.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 8_000..=48_000;

/// G.711's rate, Hz.
pub(super) const TELEPHONE: u32 = 8_000;

/// How samples are written in `input_audio_buffer.append`; always one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Signed 16 bits, little-endian.
    Pcm { rate: u32 },
    /// G.711 mu-law at 8 kHz.
    Pcmu,
    /// G.711 A-law at 8 kHz.
    Pcma,
}

impl Format {
    /// Hz.
    pub fn rate(self) -> u32 {
        match self {
            Format::Pcm { rate } => rate,
            Format::Pcmu | Format::Pcma => TELEPHONE,
        }
    }

    fn bytes_each(self) -> usize {
        match self {
            Format::Pcm { .. } => 2,
            Format::Pcmu | Format::Pcma => 1,
        }
    }
}

impl Default for Format {
    fn default() -> Self {
        Format::Pcm { rate: 24_000 }
    }
}

/// Why bytes are no audio.
#[derive(Debug, thiserror::Error)]
pub(super) enum IntakeError {
    /// Half a sample.
    #[error("{0} bytes are not a whole number of 16-bit samples; send an even number of bytes")]
    OddBytes(usize),
    /// See there.
    #[error(transparent)]
    Resample(#[from] ResampleError),
}

/// A stream of bytes in one format to 16 kHz samples.
pub(super) struct Intake {
    format: Format,
    resampler: Resampler,
}

impl Intake {
    /// At the start of a stream.
    ///
    /// # Errors
    /// When the rate cannot be resampled; not within [`RATES`].
    pub fn new(format: Format) -> Result<Self, ResampleError> {
        Ok(Intake { format, resampler: Resampler::new(format.rate())? })
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Seconds that so many bytes last.
    pub fn seconds(&self, bytes: usize) -> f64 {
        (bytes / self.format.bytes_each()) as f64 / f64::from(self.format.rate())
    }

    /// The samples that are complete now, 16 kHz, -1 to 1. A block of up to 0.13 s stays inside.
    ///
    /// # Errors
    /// [`IntakeError::OddBytes`]: nothing was taken.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<f32>, IntakeError> {
        let scale = |sample: i16| f32::from(sample) / 32_768.0;
        let samples: Vec<f32> = match self.format {
            Format::Pcm { .. } => {
                let (pairs, rest) = bytes.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err(IntakeError::OddBytes(bytes.len()));
                }
                pairs.iter().map(|pair| scale(i16::from_le_bytes(*pair))).collect()
            }
            Format::Pcmu => bytes.iter().map(|byte| scale(decode_ulaw(*byte))).collect(),
            Format::Pcma => bytes.iter().map(|byte| scale(decode_alaw(*byte))).collect(),
        };
        let mut out = Vec::new();
        self.resampler.push(&samples, &mut out)?;
        Ok(out)
    }

    /// What is still inside; the stream begins anew, in `format`.
    ///
    /// # Errors
    /// When the rate cannot be resampled; then nothing has changed.
    pub fn restart(&mut self, format: Format) -> Result<Vec<f32>, ResampleError> {
        let next = Resampler::new(format.rate())?;
        let mut out = Vec::new();
        std::mem::replace(&mut self.resampler, next).finish(&mut out)?;
        self.format = format;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use audio_codec_algorithms::{encode_alaw, encode_ulaw};
    use std::f32::consts::TAU;

    fn tone(rate: u32) -> Vec<i16> {
        (0..rate).map(|n| ((TAU * 440.0 * n as f32 / rate as f32).sin() * 16_000.0) as i16).collect()
    }

    /// One second of a tone through `format` in pieces: what came out, and how far it is from the tone at 16 kHz.
    fn error_of(format: Format, bytes: &[u8], piece: usize) -> (usize, f32) {
        let mut intake = Intake::new(format).expect("a rate");
        let mut out = Vec::new();
        for piece in bytes.chunks(piece) {
            out.extend(intake.push(piece).expect("whole samples"));
        }
        out.extend(intake.restart(format).expect("a rate"));
        let wanted = |n: usize| (TAU * 440.0 * n as f32 / 16_000.0).sin() * 16_000.0 / 32_768.0;
        let middle = 2_000..out.len() - 2_000;
        (out.len(), middle.map(|n| (out[n] - wanted(n)).abs()).fold(0.0, f32::max))
    }

    #[test]
    fn every_format_is_the_same_tone_at_16_khz() {
        for rate in [8_000, 16_000, 24_000, 44_100, 48_000] {
            let bytes: Vec<u8> = tone(rate).iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let (length, error) = error_of(Format::Pcm { rate }, &bytes, 962);
            assert!(length == 16_000 && error < 0.002, "{rate} Hz: {length} samples, {error}");
        }
        // G.711 keeps about 13 bits of small and 8 of loud samples.
        let ulaw: Vec<u8> = tone(8_000).iter().map(|sample| encode_ulaw(*sample)).collect();
        let (length, error) = error_of(Format::Pcmu, &ulaw, 160);
        assert!(length == 16_000 && error < 0.02, "mu-law: {length} samples, {error}");
        let alaw: Vec<u8> = tone(8_000).iter().map(|sample| encode_alaw(*sample)).collect();
        let (length, error) = error_of(Format::Pcma, &alaw, 161);
        assert!(length == 16_000 && error < 0.02, "A-law: {length} samples, {error}");
    }

    #[test]
    fn half_a_sample_is_refused_and_changes_nothing() {
        let mut intake = Intake::new(Format::default()).expect("a rate");
        assert!(matches!(intake.push(&[1, 2, 3]), Err(IntakeError::OddBytes(3))));
        assert!(intake.restart(Format::Pcmu).expect("a rate").is_empty());
        assert_eq!(intake.seconds(80), 0.01);
        assert!(intake.push(&[0xff]).is_ok(), "telephone samples are one byte");
    }
}
