//! The track that is decoded: its decoder, and the frames at its ends that are not part of the recording.

use super::output::{Output, Stop};
use super::source::{Opened, failure};
use super::{Tally, aac, guarded};
use crate::audio::protocol::{Failure, HeAac, Request};
use std::io::Write;
use std::sync::LazyLock;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions, CODEC_ID_NULL_AUDIO};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error;
use symphonia::core::formats::{Track, TrackType};
use symphonia::core::packet::Packet;
use symphonia_adapter_libopus::OpusDecoder;

/// Opus always decodes at this rate here, whatever rate the container remembers, Hz (RFC 7845 section 5.1).
const OPUS_RATE: u32 = 48_000;
/// Edit lists count in ticks of the whole movie, often milliseconds: a smaller difference is rounding, seconds.
const EDIT_ROUNDING: f64 = 0.002;

static CODECS: LazyLock<CodecRegistry> = LazyLock::new(|| {
    let mut codecs = CodecRegistry::new();
    symphonia::default::register_enabled_codecs(&mut codecs);
    codecs.register_audio_decoder::<OpusDecoder>();
    codecs
});

/// What to do after a packet.
pub(super) enum Next {
    Continue,
    /// Parameters changed: look at the tracks again.
    Restart,
}

/// One track and its decoder.
pub(super) struct Playing {
    id: u32,
    /// Container and codec, such as `ogg/opus`.
    pub format: String,
    /// ffmpeg's name of the container.
    demuxer: &'static str,
    decoder: Box<dyn AudioDecoder>,
    /// Frames still to drop at the start.
    skip: u64,
    /// Frames still to play, where the container says.
    left: Option<u64>,
    /// Of the last good packet: frames, channels, rate.
    last: Option<(usize, usize, u32)>,
    samples: Vec<f32>,
}

impl Playing {
    /// The first audio track of the file.
    pub fn first(opened: &Opened, request: &Request) -> Result<Self, Failure> {
        let track = find(opened)?;
        let Some(CodecParameters::Audio(params)) = &track.codec_params else {
            return Err(unsupported(opened, track, ""));
        };
        let mut params = params.clone();
        let mut skip = opened.sound.as_ref().map_or(0, |sound| sound.skip);
        let mut skip_rate = opened.sound.as_ref().map_or(0, |sound| sound.timescale);
        if params.codec == CODEC_ID_OPUS {
            let pre_skip = take_pre_skip(&mut params);
            if skip == 0 {
                (skip, skip_rate) = (pre_skip, OPUS_RATE);
            }
        }
        let sbr = if params.codec == CODEC_ID_AAC { aac::sbr(&params) } else { aac::Sbr::No };
        if sbr != aac::Sbr::No {
            let core = match request.he_aac {
                HeAac::Refuse => None,
                HeAac::Core => aac::core(&params),
            };
            let name = if sbr == aac::Sbr::Yes { "he-aac" } else { "aac" };
            params = core.ok_or_else(|| unsupported(opened, track, name))?;
        }
        let decoder =
            CODECS.make_audio_decoder(&params, &AudioDecoderOptions::default()).map_err(|error| match error {
                Error::Unsupported(_) => unsupported(opened, track, &codec_name(&params)),
                error => failure(opened.container, opened.demuxer, error),
            })?;
        let rate = decoder.codec_params().sample_rate.or(params.sample_rate).unwrap_or(skip_rate);
        let frames = |ticks: u64| match skip_rate {
            0 => 0,
            scale => (u128::from(ticks) * u128::from(rate)).div_ceil(u128::from(scale)) as u64,
        };
        let left = opened.sound.as_ref().and_then(|_| {
            let ticks = track.duration?.get().checked_sub(skip).filter(|ticks| *ticks > 0)?;
            let edit = opened.sound.as_ref()?.length.map(|seconds| seconds * f64::from(rate));
            let media = frames(ticks);
            let shorter = edit.filter(|edit| edit + EDIT_ROUNDING * f64::from(rate) < media as f64);
            Some(shorter.map_or(media, |edit| edit.round() as u64))
        });
        Ok(Playing {
            id: track.id,
            format: format_name(opened.container, decoder.codec_info().short_name),
            demuxer: opened.demuxer,
            decoder,
            skip: frames(skip),
            left,
            last: None,
            samples: Vec::new(),
        })
    }

    /// Seconds, where the container says.
    pub fn duration(&self, opened: &Opened) -> Option<f64> {
        let track = opened.reader.tracks().iter().find(|track| track.id == self.id)?;
        let edit = opened.sound.as_ref().and_then(|sound| sound.length);
        opened
            .duration
            .or(edit)
            .or_else(|| seconds(opened, track))
            .filter(|seconds| seconds.is_finite() && *seconds > 0.0)
    }

    /// Seconds of padding at the end that only the container knows of.
    pub fn end_padding(&self, opened: &Opened) -> f64 {
        opened.paddings.iter().find(|(number, _)| *number == u64::from(self.id)).map_or(0.0, |(_, padding)| *padding)
    }

    /// Decodes a packet if it is of this track. What does not decode becomes silence of the same length, so that the
    /// times of everything after it stay true.
    pub fn decode<W: Write>(
        &mut self,
        packet: &Packet,
        tally: &mut Tally,
        output: &mut Output<'_, W>,
    ) -> Result<Next, Stop> {
        if packet.track_id != self.id {
            return Ok(Next::Continue);
        }
        let decoder = &mut self.decoder;
        let (channels, rate) = match guarded(|| decoder.decode(packet)) {
            Ok(buffer) => {
                let (channels, rate) = (buffer.num_planes(), buffer.spec().rate());
                buffer.copy_to_vec_interleaved(&mut self.samples);
                self.last = Some((buffer.frames(), channels, rate));
                tally.good += 1;
                (channels, rate)
            }
            Err(Error::Unsupported(what)) if self.last.is_none() => {
                let demuxer = Some(self.demuxer.to_owned());
                return Err(Failure::Unsupported {
                    format: format!("{} ({what})", self.format),
                    demuxer,
                    duration: None,
                }
                .into());
            }
            Err(Error::DecodeError(_) | Error::IoError(_) | Error::Unsupported(_) | Error::LimitError(_)) => {
                tally.bad += 1;
                let Some((frames, channels, rate)) = self.last else { return Ok(Next::Continue) };
                self.samples.clear();
                self.samples.resize(frames * channels, 0.0);
                (channels, rate)
            }
            Err(Error::ResetRequired) => return Ok(Next::Restart),
            Err(error) => return Err(Failure::Corrupt(error.to_string()).into()),
        };
        output.push(self.trim(channels), channels, rate)?;
        Ok(Next::Continue)
    }

    /// The part of `samples` that belongs to the recording.
    fn trim(&mut self, channels: usize) -> &[f32] {
        let frames = (self.samples.len() / channels.max(1)) as u64;
        let start = self.skip.min(frames);
        self.skip -= start;
        let count = self.left.map_or(frames - start, |left| left.min(frames - start));
        self.left = self.left.map(|left| left - count);
        &self.samples[start as usize * channels..(start + count) as usize * channels]
    }
}

fn format_name(container: &str, codec: &str) -> String {
    match (container, codec) {
        ("flac", "flac") => "flac".into(),
        ("mpeg", codec) => codec.into(),
        (container, codec) => format!("{container}/{codec}"),
    }
}

fn find(opened: &Opened) -> Result<&Track, Failure> {
    let tracks = opened.reader.tracks();
    if let Some(sound) = &opened.sound {
        // symphonia has no type for a track whose codec it does not know; the handler box has.
        if let Some(track) = tracks.iter().find(|track| track.id == sound.id) {
            return Ok(track);
        }
    }
    let known = |track: &&Track| match &track.codec_params {
        Some(CodecParameters::Audio(params)) => params.codec != CODEC_ID_NULL_AUDIO,
        _ => false,
    };
    let first = opened.reader.first_track(TrackType::Audio);
    match first.or_else(|| tracks.iter().find(|track| track.codec_params.is_none())) {
        Some(track) if known(&track) => Ok(track),
        Some(track) => Err(unsupported(opened, track, "")),
        None if tracks.is_empty() && opened.demuxer == "ogg" => Err(Failure::Unsupported {
            format: "ogg with an unknown codec".into(),
            demuxer: Some("ogg".into()),
            duration: None,
        }),
        None => Err(Failure::NoTrack(opened.container.into())),
    }
}

fn unsupported(opened: &Opened, track: &Track, codec: &str) -> Failure {
    let fourcc = opened.sound.as_ref().map(|sound| String::from_utf8_lossy(&sound.codec).trim().to_lowercase());
    let codec = match (codec, fourcc) {
        ("", Some(fourcc)) => fourcc,
        ("", None) => "unknown codec".into(),
        (codec, _) => codec.into(),
    };
    Failure::Unsupported {
        format: format!("{}/{codec}", opened.container),
        demuxer: Some(opened.demuxer.into()),
        duration: seconds(opened, track),
    }
}

/// Seconds of the track, or else of the whole file.
fn seconds(opened: &Opened, track: &Track) -> Option<f64> {
    let media = opened.reader.media_info();
    let of_track = || track.time_base?.calc_duration(track.duration?);
    let of_file = || media.time_base?.calc_duration(media.duration?);
    of_track().or_else(of_file).map(|time| time.as_secs_f64())
}

/// Takes the pre-skip out of the Opus header: the adapter drops at most one packet's worth, here it may be any length.
/// Frames at 48 kHz.
fn take_pre_skip(params: &mut AudioCodecParameters) -> u64 {
    params.sample_rate = Some(OPUS_RATE);
    let Some(bytes) = params.extra_data.as_deref_mut().and_then(|header| header.get_mut(10..12)) else { return 0 };
    let pre_skip = u16::from_le_bytes([bytes[0], bytes[1]]);
    bytes.fill(0);
    u64::from(pre_skip)
}

/// Names of the codecs that symphonia recognises and cannot decode.
fn codec_name(params: &AudioCodecParameters) -> String {
    use symphonia::core::codecs::audio::well_known as known;
    let surround = params.channels.as_ref().is_some_and(|channels| channels.count() > 2);
    let name = match params.codec {
        known::CODEC_ID_AAC => "aac",
        known::CODEC_ID_AC3 => "ac3",
        known::CODEC_ID_EAC3 => "eac3",
        known::CODEC_ID_AC4 => "ac4",
        known::CODEC_ID_DCA => "dts",
        known::CODEC_ID_OPUS => "opus",
        known::CODEC_ID_SPEEX => "speex",
        known::CODEC_ID_TRUEHD => "truehd",
        known::CODEC_ID_WMA => "wma",
        known::CODEC_ID_WAVPACK => "wavpack",
        known::CODEC_ID_TTA => "tta",
        known::CODEC_ID_MUSEPACK => "musepack",
        _ => "",
    };
    if surround && !name.is_empty() { format!("{name}-surround") } else { name.to_owned() }
}
