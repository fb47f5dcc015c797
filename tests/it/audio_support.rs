//! Signals, encoders and decoding for the audio tests.

use bestbox::audio::{AudioError, DecodeSettings, Input, StreamInfo, open};
use std::f64::consts::TAU;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Settings with the built program as the decoder.
pub fn settings() -> DecodeSettings {
    DecodeSettings { worker: env!("CARGO_BIN_EXE_bestbox").into(), ..DecodeSettings::default() }
}

/// Everything that a decode gives.
#[derive(Debug)]
pub struct Decoded {
    pub info: StreamInfo,
    pub samples: Vec<f32>,
    pub damage: Option<String>,
}

pub fn decode(input: Input, settings: &DecodeSettings) -> Result<Decoded, AudioError> {
    let mut stream = open(input, settings)?;
    let mut samples = Vec::new();
    while let Some(block) = stream.next_block()? {
        assert!(!block.is_empty() && block.len() <= 16_000, "a block of {} samples", block.len());
        samples.extend(block);
    }
    Ok(Decoded { info: stream.info().clone(), samples, damage: stream.truncated().map(str::to_owned) })
}

pub fn decode_file(path: &Path) -> Result<Decoded, AudioError> {
    decode(Input::File(path.to_owned()), &settings())
}

/// A linear sweep with a fade of 5 ms at both ends, as a function of time.
#[derive(Clone, Copy)]
pub struct Chirp {
    pub from: f64,
    pub to: f64,
    pub seconds: f64,
}

impl Chirp {
    /// Sampled; `round(seconds * rate)` samples.
    pub fn at(&self, rate: u32) -> Vec<f32> {
        let count = (self.seconds * f64::from(rate)).round() as usize;
        (0..count).map(|n| self.value(n as f64 / f64::from(rate)) as f32).collect()
    }

    fn value(&self, t: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        let fade = (t / 0.005).min((self.seconds - t) / 0.005).clamp(0.0, 1.0);
        0.5 * fade * (TAU * (self.from * t + slope * t * t / 2.0)).sin()
    }
}

/// Interleaves the same signal on every channel, each with its own gain so that a swap shows.
pub fn on_channels(mono: &[f32], gains: &[f32]) -> Vec<f32> {
    mono.iter().flat_map(|sample| gains.iter().map(move |gain| sample * gain)).collect()
}

/// A plain 32-bit float WAV.
pub fn wav_f32(samples: &[f32], rate: u32, channels: u16) -> Vec<u8> {
    let data = samples.len() as u32 * 4;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x03\0");
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * u32::from(channels) * 4).to_le_bytes());
    bytes.extend((channels * 4).to_le_bytes());
    bytes.extend(b"\x20\0data");
    bytes.extend(data.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

/// Runs ffmpeg over `input` (a WAV in memory) with output arguments ending in the file.
pub fn encode(input: &[u8], arguments: &[&str], output: &Path) {
    let mut child = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-f", "wav", "-i", "pipe:0"])
        .args(arguments)
        .arg(output)
        .stdin(Stdio::piped())
        .spawn()
        .expect("ffmpeg is needed to make the test files: run make setup");
    child.stdin.take().expect("piped").write_all(input).expect("ffmpeg reads its input");
    assert!(child.wait().expect("ffmpeg runs").success(), "ffmpeg {arguments:?}");
}

/// Normalised correlation of two signals of (about) the same length.
pub fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let (mut ab, mut aa, mut bb) = (0.0, 1e-12, 1e-12);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    ab / (aa * bb).sqrt()
}

/// The shift of `b` against `a` (samples, within `reach`) with the highest correlation, and that correlation.
pub fn best_lag(a: &[f32], b: &[f32], reach: usize) -> (i64, f64) {
    let mut best = (0, -1.0);
    // Already aligned: only look closely around.
    let reach = if correlation(a, b) > 0.98 { reach.min(8) } else { reach };
    for lag in 0..=reach {
        for (sign, value) in
            [(1, correlation(a, b.get(lag..).unwrap_or(&[]))), (-1, correlation(a.get(lag..).unwrap_or(&[]), b))]
        {
            if value > best.1 {
                best = (sign * lag as i64, value);
            }
        }
    }
    best
}
