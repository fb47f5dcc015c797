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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f64::consts::TAU;

    const RATES: &[u32] = &[
        8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 37_800, 44_056, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000,
    ];

    fn resample(samples: &[f32], rate: u32) -> Vec<f32> {
        let mut out = Vec::new();
        let mut resampler = Resampler::new(rate).unwrap();
        resampler.push(samples, &mut out).unwrap();
        resampler.finish(&mut out).unwrap();
        out
    }

    fn tone(frequency: f64, rate: u32, seconds: f64) -> Vec<f32> {
        let count = (seconds * f64::from(rate)) as usize;
        (0..count).map(|n| (TAU * frequency * n as f64 / f64::from(rate)).sin() as f32).collect()
    }

    fn decibels(ratio: f64) -> f64 {
        20.0 * ratio.max(1e-12).log10()
    }

    /// Of the middle of a 16 kHz signal: amplitude and phase of a tone (least squares), and what remains without it.
    fn measure(signal: &[f32], frequency: f64) -> (f64, f64, f64) {
        let middle = 2_000..signal.len() - 2_000;
        let (mut sine, mut cosine) = (0.0, 0.0);
        let angle = |n: usize| TAU * frequency * n as f64 / f64::from(SPEECH_RATE);
        // A whole number of periods of every frequency used here (multiples of 10 Hz): the two are orthogonal.
        let count = middle.len() / 1_600 * 1_600;
        let range = || middle.clone().take(count);
        for n in range() {
            sine += f64::from(signal[n]) * angle(n).sin() * 2.0 / count as f64;
            cosine += f64::from(signal[n]) * angle(n).cos() * 2.0 / count as f64;
        }
        let power: f64 =
            range().map(|n| (f64::from(signal[n]) - sine * angle(n).sin() - cosine * angle(n).cos()).powi(2)).sum();
        (sine.hypot(cosine), cosine.atan2(sine), (2.0 * power / count as f64).sqrt())
    }

    #[test]
    fn sine_sweeps_pass_below_7_khz_and_vanish_above_9() {
        println!("rate Hz: ripple up to 7 kHz, residue in band, rejection of 9 kHz and above, phase error");
        for &rate in RATES {
            let (mut ripple, mut residue, mut alias, mut late) = (0.0_f64, -300.0_f64, -300.0_f64, 0.0_f64);
            let nyquist = f64::from(rate) / 2.0;
            for step in 1..=28 {
                let frequency = f64::from(step) * 250.0;
                // Below 0.44 of the rate: above it, a recording at 8 kHz has nothing either.
                if frequency > 0.88 * nyquist {
                    break;
                }
                let out = resample(&tone(frequency, rate, 0.9), rate);
                let (amplitude, phase, rest) = measure(&out, frequency);
                ripple = ripple.max(decibels(amplitude).abs());
                residue = residue.max(decibels(rest));
                late = late.max((phase / TAU / frequency * f64::from(SPEECH_RATE)).abs());
            }
            let mut frequency = 9_000.0;
            while frequency < nyquist - 10.0 {
                let out = resample(&tone(frequency, rate, 0.9), rate);
                let middle = &out[2_000..out.len() - 2_000];
                let power = middle.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / middle.len() as f64;
                alias = alias.max(decibels((2.0 * power).sqrt()));
                frequency += (nyquist / 37.0).max(330.0);
            }
            println!("{rate:6}: {ripple:.4} dB, {residue:.1} dB, {alias:.1} dB, {late:.5} samples");
            assert!(ripple <= 0.1, "{rate} Hz: ripple {ripple} dB");
            assert!(residue <= -80.0, "{rate} Hz: residue {residue} dB");
            assert!(alias <= -80.0, "{rate} Hz: alias {alias} dB");
            assert!(late <= 0.01, "{rate} Hz: {late} samples late");
        }
    }

    #[test]
    fn the_last_samples_come_out() {
        for &rate in RATES {
            // Silence, then a tone in the last 20 ms only.
            let mut signal = vec![0.0; rate as usize];
            let burst = tone(500.0, rate, 0.02);
            signal.extend(&burst);
            let out = resample(&signal, rate);
            let tail = &out[out.len() - 320..];
            let energy: f64 = tail.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 320.0;
            assert!((energy - 0.5).abs() < 0.02, "{rate} Hz: energy {energy} of the last 20 ms");
        }
    }

    #[test]
    fn silly_rates_are_refused() {
        assert!(Resampler::new(0).is_err());
        assert!(Resampler::new(u32::MAX).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn length_is_exact_and_blocks_do_not_matter(
            rate in prop::sample::select(RATES), frames in 0_usize..60_000, cuts in prop::collection::vec(1_usize..9_000, 1..6)
        ) {
            let signal: Vec<f32> = tone(440.0, rate, 8.0)[..frames].to_vec();
            let whole = resample(&signal, rate);
            let expected = (frames as f64 * 16_000.0 / f64::from(rate)).round() as i64;
            prop_assert!((whole.len() as i64 - expected).abs() <= 1, "{} for {}", whole.len(), expected);
            let (mut out, mut rest, mut cut) = (Vec::new(), signal.as_slice(), cuts.iter().cycle());
            let mut resampler = Resampler::new(rate).unwrap();
            while let (false, Some(size)) = (rest.is_empty(), cut.next()) {
                let (now, later) = rest.split_at((*size).min(rest.len()));
                resampler.push(now, &mut out).unwrap();
                rest = later;
            }
            resampler.finish(&mut out).unwrap();
            prop_assert_eq!(out, whole);
        }
    }
}
