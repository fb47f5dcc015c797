//! Decoded frames to 16 kHz mono blocks, under the limits of the request.

use crate::audio::protocol::{BLOCK_SAMPLES, Failure, Frame, Request, StreamInfo, finite, write_frame};
use crate::audio::resample::{ResampleError, Resampler};
use crate::audio::{Channels, SPEECH_RATE};
use std::io::{self, Write};

/// Why decoding ended early.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(Failure),
    /// The parent is gone.
    Pipe(io::Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

impl From<ResampleError> for Stop {
    fn from(error: ResampleError) -> Self {
        Stop::Failed(Failure::Corrupt(error.to_string()))
    }
}

/// Mixes, resamples and sends.
pub(super) struct Output<'a, W> {
    out: &'a mut W,
    request: &'a Request,
    info: StreamInfo,
    header: Header,
    /// Of the source rate that is playing, Hz.
    resampler: Option<(u32, Resampler)>,
    /// Mono at the source rate: the last `held_back` samples wait here, for they may be padding.
    mono: Vec<f32>,
    held_back: usize,
    /// Seconds to hold back.
    padding: f64,
    /// 16 kHz mono, less than a block.
    ready: Vec<f32>,
    /// Samples made at 16 kHz.
    made: u64,
    decoded_bytes: u64,
}

#[derive(PartialEq)]
enum Header {
    /// Nothing has been decoded.
    Waiting,
    /// Rate and channels are known.
    Known,
    Sent,
}

impl<'a, W: Write> Output<'a, W> {
    pub fn new(out: &'a mut W, request: &'a Request, format: String, duration: Option<f64>) -> Self {
        Output {
            out,
            request,
            info: StreamInfo { format, rate: 0, channels: 0, duration },
            header: Header::Waiting,
            resampler: None,
            mono: Vec::new(),
            held_back: 0,
            padding: 0.0,
            ready: Vec::with_capacity(BLOCK_SAMPLES),
            made: 0,
            decoded_bytes: 0,
        }
    }

    /// Seconds at the very end that are the encoder's padding.
    pub fn hold_back(&mut self, padding: f64) {
        self.padding = padding;
    }

    /// Takes interleaved samples.
    pub fn push(&mut self, samples: &[f32], channels: usize, rate: u32) -> Result<(), Stop> {
        if channels == 0 || samples.is_empty() {
            return Ok(());
        }
        if self.header == Header::Waiting {
            (self.info.rate, self.info.channels) = (rate, channels);
            self.header = Header::Known;
        }
        self.decoded_bytes += 4 * samples.len() as u64;
        if self.decoded_bytes > self.request.max_decoded_bytes {
            return Err(Failure::TooManyBytes.into());
        }
        if self.resampler.as_ref().is_none_or(|(known, _)| *known != rate) {
            self.flush()?;
            self.held_back = (self.padding * f64::from(rate)).round() as usize;
            self.resampler = Some((rate, Resampler::new(rate)?));
        }
        mix(samples, channels, self.request.channels, &mut self.mono)?;
        let released = self.mono.len().saturating_sub(self.held_back);
        if let Some((_, resampler)) = &mut self.resampler {
            let before = self.ready.len();
            resampler.push(&self.mono[..released], &mut self.ready)?;
            self.made += (self.ready.len() - before) as u64;
        }
        self.mono.drain(..released);
        self.send(BLOCK_SAMPLES)
    }

    /// For a probe: once rate and channels are known, sends the header and is done.
    pub fn probed(&mut self) -> Result<bool, Stop> {
        if self.header == Header::Known {
            self.send_header()?;
        }
        Ok(self.header == Header::Sent)
    }

    /// Sends everything that is left; seconds in all.
    pub fn finish(mut self) -> Result<f64, Stop> {
        self.mono.clear();
        self.flush()?;
        self.send(1)?;
        if self.header != Header::Sent {
            self.send_header()?;
        }
        Ok(self.made as f64 / f64::from(SPEECH_RATE))
    }

    /// Ends the signal at the present rate.
    fn flush(&mut self) -> Result<(), Stop> {
        if let Some((_, mut resampler)) = self.resampler.take() {
            let before = self.ready.len();
            // Held back for padding that did not come: another rate follows, so this was not the end.
            resampler.push(&std::mem::take(&mut self.mono), &mut self.ready)?;
            resampler.finish(&mut self.ready)?;
            self.made += (self.ready.len() - before) as u64;
        }
        Ok(())
    }

    /// Sends full blocks, and the rest too if it has at least `least` samples.
    fn send(&mut self, least: usize) -> Result<(), Stop> {
        if self.made as f64 > self.request.max_seconds * f64::from(SPEECH_RATE) {
            return Err(Failure::TooLong.into());
        }
        self.ready.iter_mut().for_each(|sample| *sample = finite(*sample));
        let mut sent = 0;
        while self.ready.len() - sent >= least.max(1) {
            let end = self.ready.len().min(sent + BLOCK_SAMPLES);
            let block = Frame::Block(self.ready[sent..end].to_vec());
            if self.header != Header::Sent {
                self.send_header()?;
            }
            write_frame(self.out, &block).map_err(Stop::Pipe)?;
            sent = end;
        }
        self.ready.drain(..sent);
        Ok(())
    }

    fn send_header(&mut self) -> Result<(), Stop> {
        self.header = Header::Sent;
        write_frame(self.out, &Frame::Header(self.info.clone())).map_err(Stop::Pipe)
    }
}

/// Interleaved samples to one channel, appended to `mono`. What is not a number counts as silence.
fn mix(samples: &[f32], channels: usize, wanted: Channels, mono: &mut Vec<f32>) -> Result<(), Failure> {
    let clean = |sample: &f32| if sample.is_finite() { *sample } else { 0.0 };
    match wanted {
        Channels::One(index) if index >= channels => {
            return Err(Failure::Channel { wanted: index, available: channels });
        }
        Channels::One(index) => mono.extend(samples.iter().skip(index).step_by(channels).map(clean)),
        Channels::Average => {
            let scale = 1.0 / channels as f32;
            mono.extend(samples.chunks_exact(channels).map(|frame| frame.iter().map(clean).sum::<f32>() * scale));
        }
    }
    Ok(())
}
