//! What the channels of a recording have to do with each other, before any of it is recognised: whether they are the
//! same signal (dual mono), and how loud each is at any moment. A decoder process for each channel: decoding is a
//! hundredth of the work of recognition, and each stays as confined as any other.

use super::{AudioError, AudioStream, Channels, DecodeSettings, Input, SPEECH_RATE, open, probe};

/// Samples of one frame: 20 ms, shorter than any sound of speech.
const FRAME: usize = SPEECH_RATE as usize / 50;

/// Most channels that are told apart.
const MOST: usize = 8;

/// Correlation over the whole recording from which two channels count as one signal. What the one does not explain of
/// the other has then less than a tenth of its energy (1 - 0.95²): codec noise, a noise floor 10 dB down. Two people
/// in a call who are heard in each other's channel 12 dB down come to about 0.5.
const SAME: f64 = 0.95;

/// Mean square under which a channel is silent (-80 dBFS): its correlation would be that of noise.
const SILENT: f64 = 1e-8;

/// The channels of one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// Mean square of each frame of 20 ms, for each channel.
    energies: Vec<Vec<f32>>,
    /// Absolute correlation of each two channels, by `min * channels + max`.
    correlations: Vec<f64>,
    /// Mean square over the whole recording.
    levels: Vec<f64>,
}

/// Decodes every channel once. Blocking. Memory: four bytes for each 20 ms of each channel.
///
/// # Errors
/// As [`open`]; [`AudioError::Cancelled`] once `cancelled` says so.
pub fn survey(input: &Input, settings: &DecodeSettings, cancelled: &dyn Fn() -> bool) -> Result<Survey, AudioError> {
    let channels = probe(input.clone(), settings)?.channels.clamp(1, MOST);
    if channels == 1 {
        return Ok(Survey { energies: vec![Vec::new()], correlations: vec![1.0], levels: vec![1.0] });
    }
    let one = |channel| {
        let settings = DecodeSettings { channels: Channels::One(channel), ..settings.clone() };
        open(input.clone(), &settings)
    };
    let mut streams: Vec<AudioStream> = (0..channels).map(one).collect::<Result<_, _>>()?;
    let mut sums = Sums::new(channels);
    let mut waiting: Vec<Vec<f32>> = vec![Vec::new(); channels];
    loop {
        if cancelled() {
            return Err(AudioError::Cancelled);
        }
        let mut ended = false;
        for (stream, waiting) in streams.iter_mut().zip(&mut waiting) {
            match stream.next_block() {
                Ok(Some(block)) => waiting.extend(block),
                Ok(None) => ended = true,
                // What is damaged further on is told when it is recognised.
                Err(_) if sums.count > 0 => ended = true,
                Err(error) => return Err(error),
            }
        }
        sums.take(&mut waiting);
        if ended {
            return Ok(sums.survey());
        }
    }
}

impl Survey {
    /// How many channels there are.
    pub fn channels(&self) -> usize {
        self.energies.len()
    }

    /// The channels with a signal of their own, in order; of several with the same signal the loudest. One alone: the
    /// recording is mono, whatever it is stored as.
    pub fn distinct(&self) -> Vec<usize> {
        let mut found: Vec<usize> = Vec::new();
        for channel in 0..self.channels() {
            match found.iter_mut().find(|other| self.same(channel, **other)) {
                Some(other) if self.levels[channel] > self.levels[*other] => *other = channel,
                Some(_) => {}
                None => found.push(channel),
            }
        }
        found.sort_unstable();
        found
    }

    /// Seconds that were heard; 0 of a recording with one channel, which needs no survey.
    pub fn seconds(&self) -> f64 {
        self.energies[0].len() as f64 * FRAME as f64 / f64::from(SPEECH_RATE)
    }

    /// Energies of a channel's frames between two times, seconds.
    pub fn energies(&self, channel: usize, (start, end): (f64, f64)) -> &[f32] {
        let frames = &self.energies[channel];
        let at = |seconds: f64| ((seconds.max(0.0) * f64::from(SPEECH_RATE)) as usize / FRAME).min(frames.len());
        &frames[at(start)..at(end).max(at(start))]
    }

    fn same(&self, a: usize, b: usize) -> bool {
        let heard = self.levels[a] > SILENT && self.levels[b] > SILENT;
        heard && self.correlations[a.min(b) * self.channels() + a.max(b)] >= SAME
    }
}

/// Running sums, in double precision: a day of samples is 10^9.
struct Sums {
    channels: usize,
    count: u64,
    sums: Vec<f64>,
    products: Vec<f64>,
    energies: Vec<Vec<f32>>,
}

impl Sums {
    fn new(channels: usize) -> Self {
        let (sums, products) = (vec![0.0; channels], vec![0.0; channels * channels]);
        Sums { channels, count: 0, sums, products, energies: vec![Vec::new(); channels] }
    }

    /// Takes as many whole frames as every channel has.
    fn take(&mut self, waiting: &mut [Vec<f32>]) {
        let length = waiting.iter().map(Vec::len).min().unwrap_or(0) / FRAME * FRAME;
        for a in 0..self.channels {
            self.sums[a] += waiting[a][..length].iter().map(|sample| f64::from(*sample)).sum::<f64>();
            for b in a..self.channels {
                let pairs = waiting[a][..length].iter().zip(&waiting[b][..length]);
                self.products[a * self.channels + b] += pairs.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
            }
            let energy = |frame: &[f32]| frame.iter().map(|sample| sample * sample).sum::<f32>() / FRAME as f32;
            self.energies[a].extend(waiting[a][..length].chunks_exact(FRAME).map(energy));
        }
        waiting.iter_mut().for_each(|samples| drop(samples.drain(..length)));
        self.count += length as u64;
    }

    /// Means taken off: a constant offset is no signal.
    fn survey(self) -> Survey {
        let count = self.count.max(1) as f64;
        let covariance = |a: usize, b: usize| {
            self.products[a.min(b) * self.channels + a.max(b)] / count - self.sums[a] * self.sums[b] / (count * count)
        };
        let mut correlations = vec![1.0; self.channels * self.channels];
        for a in 0..self.channels {
            for b in a + 1..self.channels {
                let scale = (covariance(a, a) * covariance(b, b)).sqrt();
                correlations[a * self.channels + b] = if scale > 0.0 { (covariance(a, b) / scale).abs() } else { 0.0 };
            }
        }
        let levels = (0..self.channels).map(|channel| covariance(channel, channel)).collect();
        Survey { energies: self.energies, correlations, levels }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A survey of samples in memory.
    pub(crate) fn of(channels: &[Vec<f32>]) -> Survey {
        let mut sums = Sums::new(channels.len());
        // In uneven pieces, as they come from decoders.
        let mut waiting = vec![Vec::new(); channels.len()];
        let longest = channels.iter().map(Vec::len).max().unwrap_or(0);
        for start in (0..longest).step_by(7001) {
            for (waiting, samples) in waiting.iter_mut().zip(channels) {
                waiting.extend_from_slice(&samples[start.min(samples.len())..(start + 7001).min(samples.len())]);
            }
            sums.take(&mut waiting);
        }
        sums.survey()
    }

    /// Noise whose loudness comes and goes as that of speech does.
    pub(crate) fn voice(seed: u64, seconds: usize, level: f32) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut loud = 0.0f32;
        (0..seconds * SPEECH_RATE as usize)
            .map(|n| {
                if n % 1600 == 0 {
                    loud = random.f32() * random.f32();
                }
                (random.f32() * 2.0 - 1.0) * loud * level
            })
            .collect()
    }

    fn mixed(a: &[f32], b: &[f32], gain: f32) -> Vec<f32> {
        a.iter().zip(b).map(|(a, b)| a + b * gain).collect()
    }

    #[test]
    fn one_signal_in_two_channels_is_mono() {
        let (voice_a, noise) = (voice(1, 5, 0.5), voice(2, 5, 0.5));
        let quieter: Vec<f32> = voice_a.iter().map(|sample| sample * 0.3).collect();
        let inverted: Vec<f32> = voice_a.iter().map(|sample| -sample + 0.1).collect();
        assert_eq!(of(&[voice_a.clone(), quieter.clone()]).distinct(), [0]);
        assert_eq!(of(&[quieter, voice_a.clone()]).distinct(), [1], "the louder one");
        assert_eq!(of(&[voice_a.clone(), inverted]).distinct(), [0]);
        assert_eq!(of(&[voice_a.clone(), mixed(&voice_a, &noise, 0.1)]).distinct(), [0], "noise 20 dB down");
    }

    #[test]
    fn two_people_are_two_channels_bleed_or_silence() {
        let (a, b) = (voice(1, 5, 0.5), voice(2, 5, 0.5));
        assert_eq!(of(&[a.clone(), b.clone()]).distinct(), [0, 1]);
        assert_eq!(of(&[mixed(&a, &b, 0.25), mixed(&b, &a, 0.25)]).distinct(), [0, 1], "12 dB down in each other");
        assert_eq!(of(&[a.clone(), vec![0.0; a.len()]]).distinct(), [0, 1], "one is silent");
        assert_eq!(of(&[a.clone(), b, a.clone()]).distinct(), [0, 1], "the third is the first");
    }

    #[test]
    fn energies_are_those_of_the_time_asked_for() {
        let mut samples = vec![0.0; 16_000];
        samples[8_000..].fill(0.5);
        let survey = of(&[samples.clone(), samples]);
        assert!(survey.energies(0, (0.0, 0.5)).iter().all(|energy| *energy == 0.0));
        assert!(survey.energies(0, (0.5, 9.0)).iter().all(|energy| (*energy - 0.25).abs() < 1e-6));
        assert_eq!((survey.energies(0, (0.5, 9.0)).len(), survey.energies(1, (5.0, 2.0)).len()), (25, 0));
    }
}
