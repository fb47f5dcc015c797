//! WAV headers as the world writes them, turned into ones that symphonia's strict reader accepts.
//!
//! Recorders that were switched off leave a data size of 0, pipes write 0xFFFFFFFF, RF64 keeps 64-bit sizes elsewhere,
//! and extensible headers come with zero valid bits. Here the chunks are walked once, forwards, so pipes work; the
//! samples themselves are decoded by symphonia behind a plain header without sizes.

use super::protocol::Failure;
use std::io::{self, Cursor, Read};

/// Longest format chunk worth reading, bytes.
const MAX_FORMAT: u64 = 4096;
/// Chunks before the data that are still believed.
const MAX_CHUNKS: usize = 1000;
/// What 32-bit sizes say when the real one is unknown or in the `ds64` chunk.
const UNKNOWN: u32 = u32::MAX;

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const EXTENSIBLE: u16 = 0xFFFE;

/// A WAV stream behind a clean header.
pub(super) struct Wav<R> {
    /// Header and data, to be read once.
    pub stream: io::Chain<Cursor<Vec<u8>>, io::Take<R>>,
    /// Seconds, where the header says and the format has a constant rate.
    pub duration: Option<f64>,
}

/// Reads up to the samples.
///
/// # Errors
/// [`Failure`] when there are no format and data chunks, or the codec is not one of symphonia's.
pub(super) fn open<R: Read>(mut input: R) -> Result<Wav<R>, Failure> {
    let corrupt = |what: &str| Failure::Corrupt(format!("the WAV header {what}"));
    let mut riff = [0; 12];
    read_exact(&mut input, &mut riff)?;
    let mut format: Option<Vec<u8>> = None;
    let mut long_size = None;
    for _ in 0..MAX_CHUNKS {
        let mut head = [0; 8];
        read_exact(&mut input, &mut head)?;
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        match &head[..4] {
            b"data" => {
                let Some(format) = format else { return Err(corrupt("has no format before its data")) };
                let size = match (size, long_size) {
                    (UNKNOWN, Some(long)) => Some(long),
                    // An unfinished recording: everything up to the end of the file is sound.
                    (0 | UNKNOWN, _) => None,
                    (size, _) => Some(u64::from(size)),
                };
                return clean(&format, size, input);
            }
            b"fmt " => {
                let mut bytes = Vec::new();
                input.by_ref().take(u64::from(size).min(MAX_FORMAT)).read_to_end(&mut bytes).map_err(read_failure)?;
                skip(&mut input, padded(size) - bytes.len() as u64)?;
                format = Some(bytes);
            }
            b"ds64" if size >= 16 => {
                let mut bytes = [0; 16];
                read_exact(&mut input, &mut bytes)?;
                let (_, data) = bytes.split_at(8);
                long_size = data.try_into().ok().map(u64::from_le_bytes);
                skip(&mut input, padded(size) - 16)?;
            }
            _ => skip(&mut input, padded(size))?,
        }
    }
    Err(corrupt("has too many chunks"))
}

/// Chunks start at even offsets (RIFF specification).
fn padded(size: u32) -> u64 {
    u64::from(size) + u64::from(size & 1)
}

/// Puts a plain header before the samples.
fn clean<R: Read>(format: &[u8], size: Option<u64>, input: R) -> Result<Wav<R>, Failure> {
    let word = |at: usize| format.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    let long = |at: usize| u32::from(word(at)) | u32::from(word(at + 2)) << 16;
    if format.len() < 16 {
        return Err(Failure::Corrupt("the WAV format chunk is too short".into()));
    }
    let (channels, rate, mut align, mut bits) = (word(2), long(4), word(12), word(14));
    // The first two bytes of the sub-format GUID are the plain format tag.
    let tag = if word(0) == EXTENSIBLE { word(24) } else { word(0) };
    if channels == 0 || rate == 0 {
        return Err(Failure::Corrupt("the WAV header says 0 channels or 0 Hz".into()));
    }
    let chunk = match tag {
        PCM | FLOAT | A_LAW | MU_LAW => {
            // 12- or 20-bit samples fill whole bytes, left-justified; the block size says how many.
            let bytes = if align % channels == 0 && (1..=8).contains(&(align / channels)) {
                align / channels
            } else {
                bits.div_ceil(8)
            };
            bits = bytes.saturating_mul(8);
            align = bytes.saturating_mul(channels);
            let mut chunk = Vec::with_capacity(18);
            for value in [tag, channels] {
                chunk.extend(value.to_le_bytes());
            }
            chunk.extend(rate.to_le_bytes());
            chunk.extend(rate.saturating_mul(u32::from(align)).to_le_bytes());
            for value in [align, bits, 0] {
                chunk.extend(value.to_le_bytes());
            }
            if tag == FLOAT || tag == PCM {
                chunk.truncate(16);
            }
            chunk
        }
        // ADPCM: the codec's own fields follow.
        2 | 0x11 => format.to_vec(),
        other => {
            let (format, demuxer) = (format!("wav/codec 0x{other:04x}"), Some("wav".into()));
            return Err(Failure::Unsupported { format, demuxer, duration: None });
        }
    };
    let mut header = b"RIFF\xFF\xFF\xFF\xFFWAVEfmt ".to_vec();
    header.extend((chunk.len() as u32).to_le_bytes());
    header.extend(&chunk);
    header.extend(b"data\xFF\xFF\xFF\xFF");
    let bytes_a_second = f64::from(rate) * f64::from(align);
    let constant = !matches!(tag, 2 | 0x11) && align > 0;
    let duration = size.filter(|_| constant).map(|size| size as f64 / bytes_a_second);
    Ok(Wav { stream: Cursor::new(header).chain(input.take(size.unwrap_or(u64::MAX))), duration })
}

fn read_exact(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), Failure> {
    input.read_exact(bytes).map_err(read_failure)
}

fn skip(input: &mut impl Read, count: u64) -> Result<(), Failure> {
    io::copy(&mut input.take(count), &mut io::sink()).map(drop).map_err(read_failure)
}

fn read_failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::Corrupt("the WAV file ends before its samples".into()),
        _ => Failure::Read(error.to_string()),
    }
}
