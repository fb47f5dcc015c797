//! The microphone: samples at 16 kHz mono, from the moment it is opened until it is dropped.
//!
//! Owns the only sound stream of the program, and is the only file that names cpal for capture. The sound system's
//! callback mixes to mono, pushes into a lock-free ring and does nothing else; a thread of its own opens the device,
//! empties the ring every 10 ms, resamples, and watches: a source that vanishes often just stops calling back, without
//! an error. Then, and when it fails, it is opened again until it is back; meanwhile the default takes its place.

use super::{ResampleError, Resampler, SPEECH_RATE};
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{FromSample, Sample, SampleFormat, SizedSample, StreamConfig};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the ring is emptied.
const STEP: Duration = Duration::from_millis(10);
/// What the ring holds: a thread that was kept waiting so long has worse problems.
const RING_SECONDS: usize = 2;
/// A stream that has not called back for so long is dead, whatever it says.
const WATCHDOG: Duration = Duration::from_secs(1);
/// The same for one that has just been opened: Bluetooth and a busy sound server take their time.
const FIRST_CALL: Duration = Duration::from_secs(3);
/// Between two attempts to open a device.
const RETRY: Duration = Duration::from_millis(500);
/// Between two looks whether the chosen device is back.
const POLL: Duration = Duration::from_secs(2);

/// Where sound comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The system's default microphone.
    Default,
    /// The device whose name or id contains this, in any case; the default while it is away.
    Named(String),
    /// These samples (16 kHz mono), in real time from the moment of opening, then silence. Goes the same way as sound
    /// from a microphone.
    Recording(Arc<Vec<f32>>),
}

/// What the microphone tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Sound {
    /// A device is open.
    Opened {
        /// Its name.
        name: String,
        /// Whether it is the one that was chosen.
        chosen: bool,
    },
    /// 16 kHz mono, -1 to 1; never empty.
    Samples(Vec<f32>),
    /// So many samples of the device's own rate were lost because nobody fetched them in time.
    Dropped(u64),
    /// There is no sound, and why: one sentence. It is tried again until the microphone is dropped.
    Lost(String),
}

/// An open microphone. Dropping it closes the device.
#[derive(Debug)]
pub struct Microphone {
    stop: Arc<AtomicBool>,
}

impl Microphone {
    /// Opens `source` on a thread of its own and returns at once. `tell` is called from that thread and must not block.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn open(source: Source, tell: impl Fn(Sound) + Send + 'static) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let listener = Listener { source, stop: stop.clone(), tell };
        std::thread::Builder::new().name("microphone".into()).spawn(move || listener.run())?;
        Ok(Microphone { stop })
    }
}

impl Drop for Microphone {
    fn drop(&mut self) {
        // Not joined: closing a device that hangs would hang the caller. The thread ends within a step.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Why a device does not work: one sentence.
#[derive(Debug, thiserror::Error)]
enum CaptureError {
    #[error("there is no microphone: plug one in, or check that this user may use the sound system")]
    None,
    #[error("the microphone '{name}' cannot be opened: {error}")]
    Open { name: String, error: cpal::Error },
    #[error("the microphone '{name}' has samples of the kind {format}, which is not supported")]
    Format { name: String, format: SampleFormat },
    #[error(transparent)]
    Resample(#[from] ResampleError),
}

struct Listener<T> {
    source: Source,
    stop: Arc<AtomicBool>,
    tell: T,
}

/// What the callback and the thread share.
#[derive(Default)]
struct Shared {
    calls: AtomicU64,
    dropped: AtomicU64,
    error: Mutex<Option<String>>,
}

/// A device that delivers.
struct Open {
    name: String,
    chosen: bool,
    rate: u32,
    ring: Consumer<f32>,
    shared: Arc<Shared>,
    /// Closes the device when dropped; none for a recording, which is fed by this thread.
    _stream: Option<cpal::Stream>,
}

impl<T: Fn(Sound)> Listener<T> {
    fn run(self) {
        let mut told = false;
        while !self.stopped() {
            let opened = self.open();
            match opened.and_then(|open| self.listen(open)) {
                Ok(None) => return,
                Ok(Some(why)) => {
                    (self.tell)(Sound::Lost(why));
                    told = true;
                }
                // Said once, not twice a second.
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        (self.tell)(Sound::Lost(error.to_string()));
                    }
                    self.pause(RETRY);
                }
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stopped() && Instant::now() < until {
            std::thread::sleep(STEP);
        }
    }

    fn open(&self) -> Result<Open, CaptureError> {
        match &self.source {
            Source::Recording(_) => {
                let (_, ring) = RingBuffer::new(1);
                let (name, shared) = ("recording".to_owned(), Arc::default());
                Ok(Open { name, chosen: true, rate: SPEECH_RATE, ring, shared, _stream: None })
            }
            Source::Default => open_device(default_device().ok_or(CaptureError::None)?, true),
            Source::Named(wanted) => match find_device(wanted) {
                Some(device) => open_device(device, true).or_else(|error| match default_device() {
                    Some(device) => open_device(device, false),
                    None => Err(error),
                }),
                None => open_device(default_device().ok_or(CaptureError::None)?, false),
            },
        }
    }

    /// Passes sound on until it is stopped (`None`), or the device has to be opened anew, and why.
    fn listen(&self, mut open: Open) -> Result<Option<String>, CaptureError> {
        (self.tell)(Sound::Opened { name: open.name.clone(), chosen: open.chosen });
        if let Source::Recording(samples) = &self.source {
            self.play(samples, open);
            return Ok(None);
        }
        let mut resampler = Resampler::new(open.rate)?;
        let mut raw = Vec::new();
        let (mut calls, mut called, mut polled) = (0, Instant::now(), Instant::now());
        while !self.stopped() {
            std::thread::sleep(STEP);
            raw.clear();
            while let Ok(sample) = open.ring.pop() {
                raw.push(sample);
            }
            let mut samples = Vec::new();
            resampler.push(&raw, &mut samples)?;
            if !samples.is_empty() {
                (self.tell)(Sound::Samples(samples));
            }
            let dropped = open.shared.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                (self.tell)(Sound::Dropped(dropped));
            }
            let now = open.shared.calls.load(Ordering::Relaxed);
            if now != calls {
                (calls, called) = (now, Instant::now());
            }
            if let Some(error) = open.shared.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Ok(Some(format!("the microphone '{}' stopped: {error}", open.name)));
            }
            if called.elapsed() >= if calls == 0 { FIRST_CALL } else { WATCHDOG } {
                return Ok(Some(format!("the microphone '{}' went silent without an error", open.name)));
            }
            if !open.chosen && polled.elapsed() >= POLL {
                polled = Instant::now();
                if matches!(&self.source, Source::Named(wanted) if find_device(wanted).is_some()) {
                    return Ok(Some(format!("'{}' gives way to the chosen microphone, which is back", open.name)));
                }
            }
        }
        Ok(None)
    }

    /// A recording in real time, through the same ring.
    fn play(&self, samples: &[f32], open: Open) {
        let (mut producer, mut consumer) = RingBuffer::new(SPEECH_RATE as usize * RING_SECONDS);
        let (began, mut at) = (Instant::now(), 0_usize);
        while !self.stopped() {
            std::thread::sleep(STEP);
            let due = (began.elapsed().as_secs_f64() * f64::from(SPEECH_RATE)) as usize;
            for n in at..due {
                push(&mut producer, samples.get(n).copied().unwrap_or(0.0), &open.shared);
            }
            at = due;
            let mut block = Vec::new();
            while let Ok(sample) = consumer.pop() {
                block.push(sample);
            }
            if !block.is_empty() {
                (self.tell)(Sound::Samples(block));
            }
            let dropped = open.shared.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                (self.tell)(Sound::Dropped(dropped));
            }
        }
    }
}

fn default_device() -> Option<cpal::Device> {
    cpal::default_host().default_input_device()
}

fn find_device(wanted: &str) -> Option<cpal::Device> {
    let wanted = wanted.to_lowercase();
    let fits = |device: &cpal::Device| {
        let id = device.id().map(|id| id.to_string()).unwrap_or_default();
        name(device).to_lowercase().contains(&wanted) || id.to_lowercase().contains(&wanted)
    };
    let devices = cpal::default_host().input_devices().ok()?;
    // Several entries stand for one card, and not every one can be opened.
    devices.into_iter().find(|device| fits(device) && device.default_input_config().is_ok())
}

fn name(device: &cpal::Device) -> String {
    device.description().map_or_else(|_| "unknown".to_owned(), |description| description.name().to_owned())
}

fn open_device(device: cpal::Device, chosen: bool) -> Result<Open, CaptureError> {
    let name = name(&device);
    let failed = |error| CaptureError::Open { name: name.clone(), error };
    let supported = device.default_input_config().map_err(failed)?;
    let (format, config) = (supported.sample_format(), supported.config());
    let rate = config.sample_rate;
    let (producer, ring) = RingBuffer::new(rate as usize * RING_SECONDS);
    let shared = Arc::new(Shared::default());
    let build = Build { device: &device, config, producer, shared: shared.clone() };
    let stream = match format {
        SampleFormat::F32 => build.stream::<f32>(),
        SampleFormat::F64 => build.stream::<f64>(),
        SampleFormat::I8 => build.stream::<i8>(),
        SampleFormat::I16 => build.stream::<i16>(),
        SampleFormat::I32 => build.stream::<i32>(),
        SampleFormat::U8 => build.stream::<u8>(),
        SampleFormat::U16 => build.stream::<u16>(),
        format => return Err(CaptureError::Format { name, format }),
    };
    let stream = stream.map_err(failed)?;
    stream.play().map_err(failed)?;
    Ok(Open { name, chosen, rate, ring, shared, _stream: Some(stream) })
}

struct Build<'a> {
    device: &'a cpal::Device,
    config: StreamConfig,
    producer: Producer<f32>,
    shared: Arc<Shared>,
}

impl Build<'_> {
    fn stream<S>(self) -> Result<cpal::Stream, cpal::Error>
    where
        S: SizedSample,
        f32: FromSample<S>,
    {
        let Build { device, config, mut producer, shared } = self;
        let channels = usize::from(config.channels).max(1);
        let failing = shared.clone();
        let callback = move |data: &[S], _: &cpal::InputCallbackInfo| {
            shared.calls.fetch_add(1, Ordering::Relaxed);
            for frame in data.chunks_exact(channels) {
                let sum: f32 = frame.iter().map(|sample| f32::from_sample(*sample)).sum();
                push(&mut producer, sum / channels as f32, &shared);
            }
        };
        let failed = move |error: cpal::Error| {
            // An overrun inside the sound system: counted, and the stream goes on.
            if error.kind() == cpal::ErrorKind::Xrun {
                failing.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if !matches!(error.kind(), cpal::ErrorKind::RealtimeDenied | cpal::ErrorKind::DeviceChanged) {
                *failing.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
        };
        device.build_input_stream(config, callback, failed, Some(Duration::from_secs(2)))
    }
}

fn push(ring: &mut Producer<f32>, sample: f32, shared: &Shared) {
    let sample = if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
    if ring.push(sample).is_err() {
        shared.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_recording_comes_in_real_time_whole_and_in_order_then_silence() {
        let samples: Vec<f32> = (1..=8_000).map(|n| n as f32 / 10_000.0).collect();
        let (sound_in, sound) = mpsc::channel();
        let begun = Instant::now();
        let microphone = Microphone::open(Source::Recording(Arc::new(samples.clone())), move |sound| {
            let _ = sound_in.send(sound);
        })
        .unwrap();
        let mut heard: Vec<f32> = Vec::new();
        assert_eq!(sound.recv().unwrap(), Sound::Opened { name: "recording".into(), chosen: true });
        while heard.len() < 10_000 {
            match sound.recv_timeout(Duration::from_secs(5)).unwrap() {
                Sound::Samples(block) => heard.extend(block),
                other => panic!("{other:?}"),
            }
        }
        assert!(begun.elapsed() >= Duration::from_millis(600), "0.625 s of sound in {:?}", begun.elapsed());
        assert_eq!(heard[..8_000], samples);
        assert!(heard[8_000..].iter().all(|sample| *sample == 0.0));
        drop(microphone);
        // The thread ends, and with it the channel.
        while sound.recv_timeout(Duration::from_secs(5)).is_ok() {}
        assert_eq!(sound.recv_timeout(Duration::from_secs(1)), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_ring_that_is_full_counts_what_it_loses() {
        let (mut producer, _consumer) = RingBuffer::new(10);
        let shared = Shared::default();
        for _ in 0..25 {
            push(&mut producer, f32::NAN, &shared);
        }
        assert_eq!(shared.dropped.load(Ordering::Relaxed), 15);
    }
}
