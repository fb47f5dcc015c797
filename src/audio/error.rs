//! What can go wrong between a file and its samples.

use std::io;
use std::path::PathBuf;

/// Why audio could not be read. Each message is one sentence: what, and what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// The file could not be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// As given.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A directory where a file was expected.
    #[error("{} is a folder, not a recording", .0.display())]
    Directory(PathBuf),
    /// Reading the input failed.
    #[error("cannot read the input: {0}")]
    Read(#[source] io::Error),
    /// No bytes at all.
    #[error("the input is empty (0 bytes)")]
    Empty,
    /// Recognised as something else, or not recognised.
    #[error("this is not audio: {0}")]
    NotAudio(String),
    /// Recognised, but nothing here decodes it.
    #[error("{format} cannot be decoded by the built-in decoders; {advice}")]
    Unsupported {
        /// Container and codec, such as `asf/wma`.
        format: String,
        /// What would help.
        advice: &'static str,
    },
    /// A container without a sound track.
    #[error("the {0} file has no audio track")]
    NoTrack(String),
    /// A sound track without samples.
    #[error("the {0} file holds no audio samples")]
    NoSamples(String),
    /// `--channel N` beyond the channels of the file.
    #[error("channel {} was asked for, but the recording has {available}", wanted + 1)]
    Channel {
        /// Counted from 0.
        wanted: usize,
        /// How many there are.
        available: usize,
    },
    /// Longer than allowed.
    #[error("the recording is longer than {limit:.0} s; raise audio.max_seconds to read it")]
    TooLong {
        /// Seconds.
        limit: f64,
    },
    /// More samples than allowed.
    #[error("the recording decodes to more than {limit} bytes; raise audio.max_decoded_bytes to read it")]
    TooManyBytes {
        /// Bytes.
        limit: u64,
    },
    /// A pipe or upload that must be seekable is larger than allowed.
    #[error(
        "this format must be stored before decoding and is larger than {limit} bytes; give it as a file or raise audio.max_spool_bytes"
    )]
    SpoolLimit {
        /// Bytes.
        limit: u64,
    },
    /// The temporary file could not be written.
    #[error("cannot store the input in {} for decoding: {source}; free some space there or set TMPDIR", folder.display())]
    Spool {
        /// Folder of the temporary file.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Damaged so that nothing could be decoded.
    #[error("the audio is damaged: {0}")]
    Corrupt(String),
    /// The decoder process asked for more memory than allowed.
    #[error(
        "decoding needs more than {limit} bytes of memory: the file is damaged or hostile, or audio.memory_bytes is too low"
    )]
    Memory {
        /// Bytes.
        limit: u64,
    },
    /// The decoder process used more processor time than allowed.
    #[error(
        "decoding took more than {limit} s of processor time: the file is damaged or hostile, or audio.cpu_seconds is too low"
    )]
    CpuTime {
        /// Seconds.
        limit: u64,
    },
    /// The decoder process ended in another way than it should.
    #[error("the decoder process failed: {0}; the file is probably damaged")]
    Worker(String),
    /// The decoder process did not start.
    #[error("cannot start the decoder {}: {source}", program.display())]
    Start {
        /// Program.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// ffmpeg was needed, ran, and failed.
    #[error("ffmpeg could not decode this {format}: {message}")]
    Ffmpeg {
        /// Container and codec.
        format: String,
        /// The last line that ffmpeg wrote.
        message: String,
    },
    /// The stream was cancelled through its [`Canceller`](super::Canceller).
    #[error("decoding was cancelled")]
    Cancelled,
}
