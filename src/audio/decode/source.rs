//! Which demultiplexer reads the input.

use super::output::Stop;
use crate::audio::mp4::SoundTrack;
use crate::audio::protocol::Failure;
use crate::audio::sniff::{Container, HEAD_BYTES, Kind, sniff};
use crate::audio::{mkv, mp4, wav};
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use symphonia::core::common::Limit;
use symphonia::core::errors::{Error, Result};
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::{
    FORMAT_ID_ADTS, FORMAT_ID_FLAC, FORMAT_ID_MP1, FORMAT_ID_MP2, FORMAT_ID_MP3,
};
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::default::formats::{AiffReader, CafReader, FlacReader, IsoMp4Reader, MkvReader, OggReader, WavReader};

/// Cover pictures beyond this are not kept, bytes.
const MAX_PICTURE: usize = 64 * 1024;

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
    let container = match sniff(&head) {
        Kind::Empty => return Err(Failure::Empty.into()),
        Kind::NotAudio(what) => return Err(Failure::NotAudio(what.into()).into()),
        Kind::Foreign(foreign) => {
            let (format, demuxer) = (foreign.name.to_owned(), foreign.demuxer.map(str::to_owned));
            return Err(Failure::Unsupported { format, demuxer, duration: None }.into());
        }
        Kind::Wav => return Ok(riff_wave(Cursor::new(head).chain(input))?),
        Kind::Symphonia(container) => Some(container),
        Kind::Unknown => None,
    };
    let (mut sound, mut paddings) = (None, Vec::new());
    let source: Box<dyn MediaSource> = if seekable {
        match container {
            Some(Container::Mp4) => sound = mp4::sound_track(&mut input),
            Some(Container::Matroska) => paddings = mkv::end_paddings(&mut input),
            _ => {}
        }
        input.rewind().map_err(read)?;
        Box::new(input)
    } else {
        Box::new(ReadOnlySource::new(Cursor::new(head).chain(input)))
    };
    let stream = MediaSourceStream::new(source, Default::default());
    let (names, reader) = demultiplex(container, stream);
    let reader = reader.map_err(|error| match container {
        None => Failure::NotAudio("its format is not known".into()),
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

/// Names (ours, ffmpeg's) and reader of a container; without one, looks for MPEG audio in the first megabyte.
fn demultiplex(
    container: Option<Container>,
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
        Some(Container::Mpeg) | None => {
            let metadata = MetadataOptions::default().limit_visual_bytes(Limit::Maximum(MAX_PICTURE));
            let reader = symphonia::default::get_probe().probe(&Hint::new(), stream, options, metadata);
            (("mpeg", "mp3"), reader)
        }
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
