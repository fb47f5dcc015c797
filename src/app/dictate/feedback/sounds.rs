//! Short sounds, made here: a rising one when somebody may speak, a falling one at the end.
//!
//! The first sounds only when the microphone has delivered its first real sample: whoever waits for it loses no word.

use super::next;
use crate::app::dictate::control::{Controller, Event};
use crate::app::dictate::machine::State;
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{FromSample, SampleFormat, SizedSample};
use std::sync::mpsc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// Speak now.
    Start,
    /// The recording is complete.
    Stop,
    /// It was given up, or there was nothing in it.
    Cancel,
    /// There is no text although somebody spoke.
    Failure,
}

/// Seconds of one tone.
const TONE: f64 = 0.07;
/// Seconds over which a tone swells and fades: shorter ones click.
const RAMP: f64 = 0.012;

impl Sound {
    /// Frequencies one after the other, Hz.
    fn tones(self) -> &'static [f64] {
        match self {
            Sound::Start => &[587.3, 880.0],
            Sound::Stop => &[880.0, 587.3],
            Sound::Cancel => &[440.0, 330.0],
            Sound::Failure => &[330.0, 330.0, 262.0],
        }
    }

    /// Its samples at `rate` Hz, -`volume` to `volume`.
    pub fn samples(self, rate: u32, volume: f64) -> Vec<f32> {
        let rate = f64::from(rate);
        let each = (TONE * rate) as usize;
        let tone = |frequency: f64| {
            (0..each).map(move |at| {
                let seconds = at as f64 / rate;
                let ramp = (seconds / RAMP).min((TONE - seconds) / RAMP).clamp(0.0, 1.0);
                // A raised cosine has no corners.
                let gain = 0.5 - 0.5 * (std::f64::consts::PI * ramp).cos();
                (volume * gain * (std::f64::consts::TAU * frequency * seconds).sin()) as f32
            })
        };
        self.tones().iter().flat_map(|frequency| tone(*frequency)).collect()
    }
}

/// Plays sounds until `stop`.
pub async fn run(volume: f64, controller: Controller, stop: CancellationToken) -> Result<(), String> {
    let mut events = controller.events();
    let (play, sounds) = mpsc::channel();
    // The output device belongs to a thread: its stream cannot move between threads.
    let player = std::thread::Builder::new().name("sounds".into());
    player.spawn(move || play_all(&sounds, volume)).map_err(|error| error.to_string())?;
    let mut recording = false;
    while let Some(event) = next(&mut events, &stop).await {
        let (sound, now) = after(&event, recording);
        recording = now;
        if let Some(sound) = sound
            && play.send(sound).is_err()
        {
            return Err("its thread has ended".into());
        }
    }
    Ok(())
}

/// The sound of an event, and whether a take is recorded after it.
fn after(event: &Event, recording: bool) -> (Option<Sound>, bool) {
    match event {
        Event::Listening { .. } => (Some(Sound::Start), true),
        // A take without a sample had no first sound and gets no second.
        Event::StateChanged { state, .. } if *state != State::Recording && recording => (Some(Sound::Stop), false),
        Event::Cancelled { .. } => (Some(Sound::Cancel), false),
        Event::Error { .. } => (Some(Sound::Failure), recording),
        _ => (None, recording),
    }
}

fn play_all(sounds: &mpsc::Receiver<Sound>, volume: f64) {
    while let Ok(first) = sounds.recv() {
        // Of several that wait only the last says how things are.
        let sound = sounds.try_iter().last().unwrap_or(first);
        if let Err(error) = play(sound, volume) {
            tracing::warn!("no sound: {error}");
        }
    }
}

/// Plays one sound on the default output and waits for its end.
fn play(sound: Sound, volume: f64) -> Result<(), String> {
    let device = cpal::default_host().default_output_device().ok_or("there is no audio output")?;
    let config = device.default_output_config().map_err(|error| error.to_string())?;
    let samples = sound.samples(config.sample_rate(), volume);
    match config.sample_format() {
        SampleFormat::F32 => play_as::<f32>(&device, config.config(), samples),
        SampleFormat::I16 => play_as::<i16>(&device, config.config(), samples),
        SampleFormat::I32 => play_as::<i32>(&device, config.config(), samples),
        SampleFormat::U8 => play_as::<u8>(&device, config.config(), samples),
        other => Err(format!("the output takes samples of the kind {other} only")),
    }
}

/// With small periods where the device has them: PulseAudio, told to be quick for the microphone's sake
/// (`PULSE_LATENCY_MSEC`), never asks for a period that is longer than that time.
fn play_as<T: SizedSample + FromSample<f32>>(
    device: &cpal::Device,
    config: cpal::StreamConfig,
    samples: Vec<f32>,
) -> Result<(), String> {
    let small = cpal::StreamConfig { buffer_size: cpal::BufferSize::Fixed(config.sample_rate / 200), ..config };
    stream::<T>(device, small, samples.clone()).or_else(|_| stream::<T>(device, config, samples))
}

/// An error also where the device has taken none of it.
fn stream<T: SizedSample + FromSample<f32>>(
    device: &cpal::Device,
    config: cpal::StreamConfig,
    samples: Vec<f32>,
) -> Result<(), String> {
    let channels = usize::from(config.channels).max(1);
    let seconds = samples.len() as f64 / f64::from(config.sample_rate);
    let mut samples = samples.into_iter();
    let (ended, end) = mpsc::channel();
    let fill = move |data: &mut [T], _: &cpal::OutputCallbackInfo| {
        for frame in data.chunks_mut(channels) {
            let next = samples.next();
            if next.is_none() {
                let _ = ended.send(());
            }
            frame.fill(T::from_sample(next.unwrap_or(0.0)));
        }
    };
    let failed = |error: cpal::Error| tracing::debug!("sound: {error}");
    let stream = device.build_output_stream(config, fill, failed, Some(Duration::from_secs(2)));
    let stream = stream.map_err(|error| error.to_string())?;
    stream.play().map_err(|error| error.to_string())?;
    // A device that never asks for samples must not hold the next sound up for ever.
    let ended = end.recv_timeout(Duration::from_secs_f64(seconds + 1.0));
    ended.map_err(|_| "the output takes no samples".to_owned())?;
    // What the device still holds.
    std::thread::sleep(Duration::from_millis(150));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sounds_are_short_quiet_as_asked_and_without_clicks() {
        for sound in [Sound::Start, Sound::Stop, Sound::Cancel, Sound::Failure] {
            let samples = sound.samples(48_000, 0.3);
            assert!(samples.len() < 12_000, "{sound:?} is shorter than a quarter of a second");
            let loudest = samples.iter().fold(0f32, |most, sample| most.max(sample.abs()));
            assert!((0.25..=0.3).contains(&loudest), "{sound:?}: {loudest}");
            let jump = samples.windows(2).map(|two| (two[1] - two[0]).abs()).fold(0f32, f32::max);
            // A sine of 880 Hz and 0.3 rises by at most 0.035 a sample at 48 kHz.
            assert!(jump < 0.036, "{sound:?}: {jump}");
        }
    }

    #[test]
    fn nothing_sounds_before_the_first_sample() {
        let state = |state| Event::StateChanged { state, binding: None };
        assert_eq!(after(&state(State::Recording), false), (None, false));
        assert_eq!(after(&Event::Listening { take: 1, microphone: "m".into() }, false), (Some(Sound::Start), true));
        assert_eq!(after(&state(State::Processing), true), (Some(Sound::Stop), false));
        assert_eq!(after(&state(State::Idle), false), (None, false));
    }
}
