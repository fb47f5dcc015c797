//! The mel filter bank that whisper.cpp expects inside a model file.

/// Bins of a 400-point real spectrum.
pub const BINS: usize = 201;
const SAMPLE_RATE: f64 = 16_000.0;
const N_FFT: f64 = 400.0;

/// Triangular filters on the Slaney mel scale with Slaney normalisation (each filter has the same area), 0 to 8,000 Hz:
/// `bands` rows of [`BINS`] weights. The same numbers as `librosa.filters.mel(sr=16000, n_fft=400, n_mels=bands)`,
/// which is what Whisper was trained on. (M. Slaney, Auditory Toolbox, Interval Research 1998-010.)
pub fn filters(bands: usize) -> Vec<f32> {
    let top = to_mel(SAMPLE_RATE / 2.0);
    let edge = |i: usize| to_hz(top * i as f64 / (bands + 1) as f64);
    let mut out = Vec::with_capacity(bands * BINS);
    for band in 0..bands {
        let (low, mid, high) = (edge(band), edge(band + 1), edge(band + 2));
        let area = 2.0 / (high - low);
        out.extend((0..BINS).map(|bin| {
            let hz = bin as f64 * SAMPLE_RATE / N_FFT;
            let weight = ((hz - low) / (mid - low)).min((high - hz) / (high - mid)).max(0.0);
            // librosa rounds the triangle before it is normalised, so the last bit agrees only in this order.
            (f64::from(weight as f32) * area) as f32
        }));
    }
    out
}

/// Below 1 kHz the scale is linear, 200/3 Hz a mel; above, 27 mels are a factor of 6.4.
const LINEAR: f64 = 200.0 / 3.0;
const BREAK_HZ: f64 = 1_000.0;
const BREAK_MEL: f64 = BREAK_HZ / LINEAR;

fn log_step() -> f64 {
    libm::log(6.4) / 27.0
}

fn to_mel(hz: f64) -> f64 {
    if hz < BREAK_HZ { hz / LINEAR } else { BREAK_MEL + libm::log(hz / BREAK_HZ) / log_step() }
}

fn to_hz(mel: f64) -> f64 {
    if mel < BREAK_MEL { mel * LINEAR } else { BREAK_HZ * libm::exp(log_step() * (mel - BREAK_MEL)) }
}
