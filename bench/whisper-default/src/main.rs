//! whisper.cpp with its defaults: full audio context, no flash attention, greedy with best_of 5, no tuned kernels.
//!
//! `whisper-default MODEL [--threads N] [--language xx] [--repeats N]`
//!
//! Loads the ggml weights, warms up once on a second of silence, says `{"ready":…}`, then reads one WAV path a line
//! (16 kHz, mono, 16-bit) and answers each with one JSON line per repeat: `{"file":…,"ms":…,"text":…}`, or
//! `{"file":…,"error":…}`. Only recognition is timed, not the reading of the file. Ends at the end of its input.

use serde_json::{Value, json};
use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState};

struct Args {
    model: String,
    threads: i32,
    language: String,
    repeats: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = args()?;
    // Takes whisper.cpp's log off standard error.
    whisper_rs::install_logging_hooks();
    let started = Instant::now();
    let context = WhisperContext::new_with_params(&args.model, WhisperContextParameters::default())?;
    let mut state = context.create_state()?;
    recognize(&mut state, &args, &vec![0.0; 16_000])?;
    say(&json!({ "ready": "whisper-default", "threads": args.threads, "load_ms": ms(started) }))?;
    for line in std::io::stdin().lock().lines() {
        let file = line?;
        if file.trim().is_empty() {
            continue;
        }
        let samples = match read_wav(&file) {
            Ok(samples) => samples,
            Err(error) => {
                say(&json!({ "file": file, "error": error.to_string() }))?;
                continue;
            }
        };
        for _ in 0..args.repeats {
            let started = Instant::now();
            let answer = match recognize(&mut state, &args, &samples) {
                Ok(text) => json!({ "file": file, "ms": ms(started), "text": text }),
                Err(error) => json!({ "file": file, "error": error.to_string() }),
            };
            say(&answer)?;
        }
    }
    Ok(())
}

fn args() -> Result<Args, Box<dyn Error>> {
    const USAGE: &str = "usage: whisper-default MODEL [--threads N] [--language xx] [--repeats N]";
    let mut given = std::env::args().skip(1);
    let model = given.next().ok_or(USAGE)?;
    let mut args = Args { model, threads: 2, language: "en".into(), repeats: 1 };
    while let Some(flag) = given.next() {
        let value = given.next().ok_or(USAGE)?;
        match flag.as_str() {
            "--threads" => args.threads = value.parse()?,
            "--language" => args.language = value,
            "--repeats" => args.repeats = value.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(args)
}

fn recognize(state: &mut WhisperState, args: &Args, samples: &[f32]) -> Result<String, Box<dyn Error>> {
    // best_of is whisper.cpp's default for greedy sampling; it matters only when the temperature is raised.
    let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 5 });
    params.set_n_threads(args.threads);
    params.set_language(Some(&args.language));
    params.set_print_special(false);
    params.set_print_progress(false);
    params.set_print_realtime(false);
    params.set_print_timestamps(false);
    state.full(params, samples)?;
    let mut text = String::new();
    for segment in state.as_iter() {
        text.push_str(&segment.to_str_lossy()?);
    }
    Ok(text.trim().to_owned())
}

fn read_wav(file: &str) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut reader = hound::WavReader::open(file)?;
    let spec = reader.spec();
    if (spec.sample_rate, spec.channels, spec.bits_per_sample) != (16_000, 1, 16) {
        return Err("not a WAV file of 16 kHz, mono, 16-bit".into());
    }
    Ok(reader.samples::<i16>().map(|s| s.map(|s| f32::from(s) / 32_768.0)).collect::<Result<_, _>>()?)
}

fn ms(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1e4).round() / 10.0
}

fn say(answer: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    out.flush()
}
