//! The pipe between the decoder process and its parent: frames of a tag byte, a little-endian `u32` length and a payload.
//!
//! The parent trusts nothing here: lengths are bounded before anything is allocated, samples are made finite.

use super::Channels;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// Hidden first argument of the program that makes it a decoder process.
pub const WORKER_ARG: &str = "__decode-worker";

/// Samples in a full block: one second at 16 kHz.
pub(super) const BLOCK_SAMPLES: usize = super::SPEECH_RATE as usize;
/// Longest JSON payload accepted, bytes.
const MAX_JSON: usize = 64 * 1024;
/// Longest block accepted, bytes.
const MAX_BLOCK: usize = 4 * BLOCK_SAMPLES;

/// What a container says about its audio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Container and codec, such as `ogg/opus`.
    pub format: String,
    /// Sample rate of the source, Hz.
    pub rate: u32,
    /// Channels of the source.
    pub channels: usize,
    /// Seconds, where the container says.
    pub duration: Option<f64>,
}

/// Second argument of the decoder process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub task: Task,
    pub channels: Channels,
    pub max_seconds: f64,
    pub max_decoded_bytes: u64,
    pub limits: Limits,
    /// What to do with the spectral-band-replicated layer of HE-AAC, which the built-in decoder lacks.
    pub he_aac: HeAac,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Task {
    Decode,
    /// Only the header frame.
    Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum HeAac {
    /// Report it as unsupported: ffmpeg is there.
    Refuse,
    /// Decode the AAC-LC core: right in time, and complete up to the crossover frequency.
    Core,
}

/// Resource limits that a child process sets on itself before it reads its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Address space beyond what the program has mapped when it starts, bytes.
    pub memory_bytes: u64,
    pub cpu_seconds: u64,
    /// Process id of the parent; a child that finds another parent ends at once.
    pub parent: u32,
}

/// An error as the decoder process reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Failure {
    Empty,
    Read(String),
    NotAudio(String),
    /// ffmpeg may know it: `demuxer` is ffmpeg's name of the container.
    Unsupported {
        format: String,
        demuxer: Option<String>,
        duration: Option<f64>,
    },
    NoTrack(String),
    NoSamples(String),
    Channel {
        wanted: usize,
        available: usize,
    },
    TooLong,
    TooManyBytes,
    Corrupt(String),
    /// A decoder panicked.
    Panic(String),
}

/// One message of the decoder process.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Frame {
    /// Always the first one of a successful decode.
    Header(StreamInfo),
    /// 16 kHz mono, -1 to 1.
    Block(Vec<f32>),
    /// The last one; says what was damaged, if anything.
    End(Option<String>),
    /// The last one.
    Failed(Failure),
}

const TAG_HEADER: u8 = b'H';
const TAG_BLOCK: u8 = b'B';
const TAG_END: u8 = b'E';
const TAG_FAILED: u8 = b'X';

/// Writes one frame. Errors are the pipe's (the parent is gone).
pub(super) fn write_frame(out: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let (tag, payload) = match frame {
        Frame::Header(info) => (TAG_HEADER, serde_json::to_vec(info)?),
        Frame::Block(samples) => (TAG_BLOCK, samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()),
        Frame::End(note) => (TAG_END, serde_json::to_vec(note)?),
        Frame::Failed(failure) => (TAG_FAILED, serde_json::to_vec(failure)?),
    };
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(5 + payload.len());
    bytes.push(tag);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&payload);
    out.write_all(&bytes)?;
    out.flush()
}

/// Reads one frame.
///
/// # Errors
/// `UnexpectedEof` when the child is gone; `InvalidData` when it does not keep to the protocol.
pub(super) fn read_frame(input: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; 5];
    input.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let limit = if head[0] == TAG_BLOCK { MAX_BLOCK } else { MAX_JSON };
    if length > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is longer than allowed"));
    }
    let mut payload = vec![0; length];
    input.read_exact(&mut payload)?;
    let frame = match head[0] {
        TAG_HEADER => Frame::Header(serde_json::from_slice(&payload)?),
        TAG_BLOCK if length.is_multiple_of(4) && length > 0 => Frame::Block(samples(&payload)),
        TAG_END => Frame::End(serde_json::from_slice(&payload)?),
        TAG_FAILED => Frame::Failed(serde_json::from_slice(&payload)?),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "an unknown frame")),
    };
    Ok(frame)
}

fn samples(payload: &[u8]) -> Vec<f32> {
    let (words, _) = payload.as_chunks::<4>();
    words.iter().map(|word| finite(f32::from_le_bytes(*word))).collect()
}

/// A sample between -1 and 1; what is not a number is silence.
pub(super) fn finite(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(frame: &Frame) -> Frame {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, frame).unwrap();
        read_frame(&mut bytes.as_slice()).unwrap()
    }

    #[test]
    fn frames_survive_the_pipe() {
        let info = StreamInfo { format: "ogg/opus".into(), rate: 48_000, channels: 2, duration: Some(1.5) };
        for frame in [
            Frame::Header(info),
            Frame::Block(vec![0.5; BLOCK_SAMPLES]),
            Frame::End(Some("cut".into())),
            Frame::End(None),
            Frame::Failed(Failure::Channel { wanted: 3, available: 2 }),
        ] {
            assert_eq!(round_trip(&frame), frame);
        }
    }

    #[test]
    fn hostile_samples_become_finite() {
        let frame = round_trip(&Frame::Block(vec![f32::NAN, f32::INFINITY, -7.0, 0.25]));
        assert_eq!(frame, Frame::Block(vec![0.0, 0.0, -1.0, 0.25]));
    }

    #[test]
    fn a_giant_length_is_refused_before_it_is_allocated() {
        let error = read_frame(&mut [TAG_BLOCK, 255, 255, 255, 255].as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut input = bytes.as_slice();
            while read_frame(&mut input).is_ok() {}
        }
    }
}
