//! Which demultiplexer reads the input.

use super::output::Stop;
use crate::audio::mp4::SoundTrack;
use crate::audio::protocol::Failure;
use crate::audio::sniff::{Container, HEAD_BYTES, Kind, sniff};
use crate::audio::{mkv, mp4, wav};
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use symphonia::core::common::Limit;
use symphonia::core::errors::{Error, Result};
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::{
    FORMAT_ID_ADTS, FORMAT_ID_FLAC, FORMAT_ID_MP1, FORMAT_ID_MP2, FORMAT_ID_MP3,
};
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::default::formats::{
    AdtsReader, AiffReader, CafReader, FlacReader, IsoMp4Reader, MkvReader, MpaReader, OggReader, WavReader,
};

/// Cover pictures beyond this are not kept, bytes.
const MAX_PICTURE: usize = 64 * 1024;
/// Tags one after another that are still skipped.
const MAX_TAGS: usize = 16;

/// An input whose container was recognised.
pub(super) struct Opened {
    pub reader: Box<dyn FormatReader>,
    /// For people: the first half of a format such as `ogg/opus`.
    pub container: &'static str,
    /// ffmpeg's name of the container.
    pub demuxer: &'static str,
    /// Whether a signature was seen; otherwise the content has to prove itself.
    pub known: bool,
    /// Whether an end of file inside a packet means damage. Not so in streams without a length.
    pub sized: bool,
    /// Whether the header's duration is exact.
    pub exact: bool,
    /// Seconds, where symphonia does not know.
    pub duration: Option<f64>,
    /// The headers of MP4 that symphonia leaves out.
    pub sound: Option<SoundTrack>,
    /// Padding at the end of Matroska tracks: number, seconds.
    pub paddings: Vec<(u64, f64)>,
}

/// Recognises the input and reads its headers.
pub(super) fn open(mut input: File) -> std::result::Result<Opened, Stop> {
    let read = |error: std::io::Error| Stop::Failed(Failure::Read(error.to_string()));
    let seekable = input.metadata().is_ok_and(|metadata| metadata.is_file());
    if seekable {
        input.rewind().map_err(read)?;
    }
    let mut head = Vec::new();
    input.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(read)?;
    let mut start = 0;
    if seekable && head.starts_with(b"ID3") {
        // Tags may be megabytes of pictures, and any format may follow them.
        start = after_id3(&mut input).map_err(read)?;
        input.seek(SeekFrom::Start(start)).map_err(read)?;
        head.clear();
        (&input).take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(read)?;
    }
    let container = match sniff(&head) {
        Kind::Empty if start > 0 => return Err(Failure::NoSamples("mpeg".into()).into()),
        Kind::Empty => return Err(Failure::Empty.into()),
        Kind::NotAudio(what) => return Err(Failure::NotAudio(what.into()).into()),
        Kind::Foreign(foreign) => {
            let (format, demuxer) = (foreign.name.to_owned(), foreign.demuxer.map(str::to_owned));
            return Err(Failure::Unsupported { format, demuxer, duration: None }.into());
        }
        // symphonia would look for the end of headers that it does not know.
        Kind::Symphonia(Container::Ogg) if head.get(28..36) == Some(b"Speex   ") => {
            let (format, demuxer) = ("ogg/speex".to_owned(), Some("ogg".to_owned()));
            return Err(Failure::Unsupported { format, demuxer, duration: None }.into());
        }
        Kind::Wav => return Ok(riff_wave(Cursor::new(head).chain(input))?),
        Kind::Symphonia(container) => Some(container),
        Kind::Unknown => None,
    };
    // Layer III is 1, II is 2, I is 3 (ISO/IEC 11172-3, 2.4.2.3).
    let head_layer = head.get(1).map_or(0, |second| second >> 1 & 3);
    let adts = matches!(head[..], [0xFF, second, ..] if second & 0xF6 == 0xF0);
    let mpeg = matches!(head[..], [0xFF, second, ..] if second & 0xE0 == 0xE0);
    let frames = match (adts, mpeg) {
        (true, _) => Frames::Adts,
        (_, true) => Frames::Mpeg,
        _ => Frames::Search,
    };
    let (mut sound, mut paddings) = (None, Vec::new());
    let source: Box<dyn MediaSource> = if seekable {
        match container {
            Some(Container::Mp4) => sound = mp4::sound_track(&mut input),
            Some(Container::Matroska) => paddings = mkv::end_paddings(&mut input),
            _ => {}
        }
        input.seek(SeekFrom::Start(start)).map_err(read)?;
        Box::new(Tail { file: input, start })
    } else {
        Box::new(ReadOnlySource::new(Cursor::new(head).chain(input)))
    };
    let stream = MediaSourceStream::new(source, Default::default());
    let (names, reader) = demultiplex(container, frames, stream);
    let reader = reader.map_err(|error| match container {
        None => Failure::NotAudio("its format is not known".into()),
        // Some encoders write layers I and II with bit rates that the standard, and symphonia, do not allow.
        Some(Container::Mpeg) if matches!(head_layer, 2 | 3) => Failure::Unsupported {
            format: "mpeg audio layer I or II".into(),
            demuxer: Some("mp3".into()),
            duration: None,
        },
        Some(_) => failure(names.0, names.1, error),
    })?;
    let (container_name, demuxer) = match reader.format_info().format {
        FORMAT_ID_ADTS => ("adts", "aac"),
        FORMAT_ID_FLAC => ("flac", "flac"),
        FORMAT_ID_MP1 | FORMAT_ID_MP2 | FORMAT_ID_MP3 => ("mpeg", "mp3"),
        _ => names,
    };
    Ok(Opened {
        reader,
        container: container_name,
        demuxer,
        known: container.is_some(),
        sized: seekable,
        exact: matches!(container, Some(Container::Aiff | Container::Caf | Container::Flac | Container::Mp4)),
        duration: None,
        sound,
        paddings,
    })
}

fn riff_wave(input: impl Read + Send + Sync + 'static) -> std::result::Result<Opened, Failure> {
    let wav = wav::open(input)?;
    let stream = MediaSourceStream::new(Box::new(ReadOnlySource::new(wav.stream)), Default::default());
    let reader = WavReader::try_new(stream, FormatOptions::default()).map_err(|error| failure("wav", "wav", error))?;
    Ok(Opened {
        reader: Box::new(reader),
        container: "wav",
        demuxer: "wav",
        known: true,
        sized: false,
        exact: true,
        duration: wav.duration,
        sound: None,
        paddings: Vec::new(),
    })
}

type Demultiplexer = (&'static str, &'static str);

/// Where frames of MPEG audio start.
enum Frames {
    /// Here: layers 1 to 3.
    Mpeg,
    /// Here: AAC.
    Adts,
    /// Perhaps within the first megabyte.
    Search,
}

/// Names (ours, ffmpeg's) and reader of a container; without one, looks for MPEG audio.
fn demultiplex(
    container: Option<Container>,
    frames: Frames,
    stream: MediaSourceStream<'static>,
) -> (Demultiplexer, Result<Box<dyn FormatReader>>) {
    fn boxed<R: FormatReader + 'static>(reader: Result<R>) -> Result<Box<dyn FormatReader>> {
        reader.map(|reader| Box::new(reader) as Box<dyn FormatReader>)
    }
    let options = FormatOptions::default();
    match container {
        Some(Container::Aiff) => (("aiff", "aiff"), boxed(AiffReader::try_new(stream, options))),
        Some(Container::Caf) => (("caf", "caf"), boxed(CafReader::try_new(stream, options))),
        Some(Container::Flac) => (("flac", "flac"), boxed(FlacReader::try_new(stream, options))),
        Some(Container::Matroska) => (("mkv", "matroska"), boxed(MkvReader::try_new(stream, options))),
        Some(Container::Mp4) => (("mp4", "mov"), boxed(IsoMp4Reader::try_new(stream, options))),
        Some(Container::Ogg) => (("ogg", "ogg"), boxed(OggReader::try_new(stream, options))),
        Some(Container::Mpeg) if matches!(frames, Frames::Adts) => {
            (("adts", "aac"), boxed(AdtsReader::try_new(stream, options)))
        }
        Some(Container::Mpeg) if matches!(frames, Frames::Mpeg) => {
            (("mpeg", "mp3"), boxed(MpaReader::try_new(stream, options)))
        }
        Some(Container::Mpeg) | None => {
            let metadata = MetadataOptions::default().limit_visual_bytes(Limit::Maximum(MAX_PICTURE));
            let reader = symphonia::default::get_probe().probe(&Hint::new(), stream, options, metadata);
            (("mpeg", "mp3"), reader)
        }
    }
}

/// Where the ID3v2 tags at the start of a file end (ID3v2.4 section 3.1: sizes of 7 bits a byte, without the header).
fn after_id3(file: &mut File) -> io::Result<u64> {
    let mut at = 0;
    for _ in 0..MAX_TAGS {
        file.seek(SeekFrom::Start(at))?;
        let mut head = Vec::with_capacity(10);
        (&*file).take(10).read_to_end(&mut head)?;
        let [b'I', b'D', b'3', _, _, flags, size @ ..] = &head[..] else { break };
        let size = size.iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7F));
        let footer = if flags & 0x10 == 0 { 0 } else { 10 };
        at += 10 + size + footer;
    }
    Ok(at)
}

/// A file from an offset on.
struct Tail {
    file: File,
    start: u64,
}

impl Read for Tail {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl Seek for Tail {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(at.saturating_add(self.start)),
            other => other,
        };
        Ok(self.file.seek(to)?.saturating_sub(self.start))
    }
}

impl MediaSource for Tail {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        self.file.metadata().ok().map(|metadata| metadata.len().saturating_sub(self.start))
    }
}

/// symphonia's error while it reads headers.
pub(super) fn failure(container: &str, demuxer: &str, error: Error) -> Failure {
    match error {
        Error::Unsupported(what) => Failure::Unsupported {
            format: format!("{container} ({what})"),
            demuxer: Some(demuxer.into()),
            duration: None,
        },
        Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Failure::Corrupt(format!("the {container} file ends inside its headers"))
        }
        Error::IoError(error) => Failure::Read(error.to_string()),
        error => Failure::Corrupt(format!("{container}: {error}")),
    }
}
