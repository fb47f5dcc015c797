//! The recordings of a manifest, decoded.

use super::Bench;
use crate::app::session::program;
use crate::audio::{self, DecodeSettings, Input, SPEECH_RATE};
use crate::error::Error;
use crate::language::Lang;
use std::path::{Path, PathBuf};

/// One recording with what is said in it.
#[derive(Clone, Debug)]
pub(super) struct Clip {
    pub path: PathBuf,
    pub language: Lang,
    pub reference: String,
    /// 16 kHz mono.
    pub samples: Vec<f32>,
}

impl Clip {
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(SPEECH_RATE)
    }
}

#[derive(serde::Deserialize)]
struct Line {
    audio: PathBuf,
    language: Lang,
    text: String,
}

/// Every recording of the manifest (JSON lines with `audio`, `language`, `text`; paths beside the manifest).
pub(super) async fn load(bench: &Bench<'_>) -> Result<Vec<Clip>, Error> {
    let manifest = bench.args.manifest.clone();
    let settings = DecodeSettings { worker: program()?, ..DecodeSettings::default() };
    let work = move || read(&manifest, &settings);
    tokio::task::spawn_blocking(work).await.map_err(|panic| Error::Usage(panic.to_string()))?
}

fn read(manifest: &Path, settings: &DecodeSettings) -> Result<Vec<Clip>, Error> {
    let text = std::fs::read_to_string(manifest).map_err(|source| Error::Read { path: manifest.to_owned(), source })?;
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let mut clips = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line)
            .map_err(|error| Error::Usage(format!("{} line {}: {error}", manifest.display(), number + 1)))?;
        let path = folder.join(line.audio);
        let samples = decode(&path, settings)?;
        clips.push(Clip { path, language: line.language, reference: line.text, samples });
    }
    Ok(clips)
}

fn decode(path: &Path, settings: &DecodeSettings) -> Result<Vec<f32>, Error> {
    let mut stream = audio::open(Input::File(path.to_owned()), settings)?;
    let mut samples = Vec::new();
    while let Some(block) = stream.next_block()? {
        samples.extend(block);
    }
    Ok(samples)
}

/// Writes 16 kHz mono samples as a 16-bit WAV file, which every engine reads.
pub(super) fn write_wav(path: &Path, samples: impl Iterator<Item = f32>) -> Result<(), Error> {
    let failed = |error: hound::Error| Error::Usage(format!("cannot write {}: {error}", path.display()));
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SPEECH_RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).map_err(failed)?;
    for sample in samples {
        writer.write_sample((sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16).map_err(failed)?;
    }
    writer.finalize().map_err(failed)
}
