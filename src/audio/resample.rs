//! Any rate to 16 kHz, mono, as a stream.
//!
//! rubato's FFT resampler: the rates are fixed, and it is many times faster than a sinc interpolation of the same
//! quality. What this file adds is the stream around it: the start-up delay is cut off, the last block is padded and
//! flushed, and the output is exactly `round(frames * 16000 / rate)` samples long.

use super::SPEECH_RATE;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

/// Lowest and highest source rates accepted, Hz.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// Shortest filter, in samples of the lower of the two rates: the transition band of a 1024-point Blackman-Harris²
/// window at 16 kHz is about 200 Hz wide, so speech is flat to 7.7 kHz and nothing folds back.
const FILTER: usize = 1024;

/// A rate that cannot be resampled, or a failure inside the resampler.
#[derive(Debug, thiserror::Error)]
pub enum ResampleError {
    /// Out of range.
    #[error("a sample rate of {0} Hz is outside 1 kHz to 768 kHz")]
    Rate(u32),
    /// rubato could not be set up.
    #[error("cannot set up resampling: {0}")]
    Setup(#[from] rubato::ResamplerConstructionError),
    /// rubato refused a block.
    #[error("resampling failed: {0}")]
    Process(#[from] rubato::ResampleError),
    /// A buffer of the wrong size.
    #[error("resampling failed: {0}")]
    Buffer(#[from] rubato::audioadapter_buffers::SizeError),
}

/// Streaming conversion of one mono signal to 16 kHz. One instance a signal: nothing crosses over to the next.
pub struct Resampler {
    rate: u32,
    /// `None` at 16 kHz, where samples pass through.
    fft: Option<Block>,
    /// Source samples seen.
    taken: u64,
    /// Samples given out.
    given: u64,
}

/// The FFT and its fixed-size buffers.
struct Block {
    fft: Fft<f32>,
    input: Vec<f32>,
    output: Vec<f32>,
    /// Samples waiting at the start of `input`.
    filled: usize,
    /// Samples of start-up delay still to drop.
    skip: usize,
}

impl Resampler {
    /// For a source of `rate` Hz.
    ///
    /// # Errors
    /// When the rate is outside 1 kHz to 768 kHz.
    pub fn new(rate: u32) -> Result<Self, ResampleError> {
        if !RATES.contains(&rate) {
            return Err(ResampleError::Rate(rate));
        }
        let fft = if rate == SPEECH_RATE { None } else { Some(Block::new(rate)?) };
        Ok(Resampler { rate, fft, taken: 0, given: 0 })
    }

    /// Takes source samples, appends what is ready at 16 kHz to `out`.
    ///
    /// # Errors
    /// None in practice; rubato's own are passed on.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<(), ResampleError> {
        self.taken += samples.len() as u64;
        let before = out.len();
        match &mut self.fft {
            None => out.extend_from_slice(samples),
            Some(block) => block.push(samples, out)?,
        }
        self.given += (out.len() - before) as u64;
        Ok(())
    }

    /// Ends the signal: appends everything still inside. The total is `round(source samples * 16000 / rate)`.
    ///
    /// # Errors
    /// None in practice; rubato's own are passed on.
    pub fn finish(mut self, out: &mut Vec<f32>) -> Result<(), ResampleError> {
        let Some(block) = &mut self.fft else { return Ok(()) };
        let exact = u128::from(self.taken) * u128::from(SPEECH_RATE);
        let total = ((exact + u128::from(self.rate) / 2) / u128::from(self.rate)) as u64;
        let zeros = vec![0.0; block.input.len()];
        while self.given < total {
            let before = out.len();
            block.push(&zeros, out)?;
            self.given += (out.len() - before) as u64;
        }
        // `given` may only pass `total` inside this call: a block is emitted once its input is complete, delay later.
        out.truncate(out.len() - (self.given - total) as usize);
        Ok(())
    }
}

impl Block {
    fn new(rate: u32) -> Result<Self, ResampleError> {
        let divisor = greatest_common_divisor(rate, SPEECH_RATE);
        let (unit_in, unit_out) = ((rate / divisor) as usize, (SPEECH_RATE / divisor) as usize);
        // An even number of units makes both FFT sizes even, and so the delay a whole number of samples.
        let units = FILTER.div_ceil(unit_in.min(unit_out)).next_multiple_of(2);
        let fft = Fft::new_custom(
            rate as usize,
            SPEECH_RATE as usize,
            units * unit_in,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )?;
        Ok(Block {
            input: vec![0.0; fft.input_frames_next()],
            output: vec![0.0; fft.output_frames_next()],
            filled: 0,
            skip: fft.output_delay(),
            fft,
        })
    }

    fn push(&mut self, mut samples: &[f32], out: &mut Vec<f32>) -> Result<(), ResampleError> {
        while !samples.is_empty() {
            let count = samples.len().min(self.input.len() - self.filled);
            self.input[self.filled..self.filled + count].copy_from_slice(&samples[..count]);
            self.filled += count;
            samples = &samples[count..];
            if self.filled == self.input.len() {
                self.process(out)?;
            }
        }
        Ok(())
    }

    fn process(&mut self, out: &mut Vec<f32>) -> Result<(), ResampleError> {
        self.filled = 0;
        let (frames_in, frames_out) = (self.input.len(), self.output.len());
        let input = InterleavedSlice::new(&self.input, 1, frames_in)?;
        let mut output = InterleavedSlice::new_mut(&mut self.output, 1, frames_out)?;
        self.fft.process_into_buffer(&input, &mut output, None)?;
        let skip = self.skip.min(frames_out);
        self.skip -= skip;
        out.extend_from_slice(&self.output[skip..]);
        Ok(())
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
