//! Peak memory of `bestbox transcribe` on a one-minute and a one-hour recording.

use super::clips::{load, write_wav};
use super::{Bench, Figure};
use crate::app::session::program;
use crate::audio::SPEECH_RATE;
use crate::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

pub(super) async fn run(bench: &Bench<'_>) -> Result<Vec<Figure>, Error> {
    let clips = load(bench).await?;
    let english = clips.iter().filter(|clip| clip.language == crate::language::Lang::ENGLISH);
    let pause = vec![0.0; SPEECH_RATE as usize / 2];
    let speech: Vec<f32> = english.flat_map(|clip| clip.samples.iter().chain(&pause).copied()).collect();
    let folder = tempfile::tempdir().map_err(|error| Error::Usage(format!("no temporary folder: {error}")))?;
    let mut peaks = Vec::new();
    for seconds in [60usize, 3600] {
        let path = folder.path().join(format!("{seconds}.wav"));
        write_wav(&path, speech.iter().copied().cycle().take(seconds * SPEECH_RATE as usize))?;
        bench.progress.line(&format!("transcribing {seconds} s of speech"));
        peaks.push(peak(bench, &path).await?);
    }
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let value = format!("{:.0} MB and {:.0} MB", mb(peaks[0]), mb(peaks[1]));
    let difference = mb(peaks[1]) - mb(peaks[0]);
    let note = format!(
        "peak resident memory on 1 minute and on 1 hour, {difference:+.0} MB; model {}",
        bench.loaded.config.speech.model
    );
    Ok(vec![Figure::new("memory of transcribe", value, note)])
}

/// Highest resident size of the process, bytes, as Linux keeps it (VmHWM), read until the process ends.
async fn peak(bench: &Bench<'_>, path: &Path) -> Result<u64, Error> {
    let failed = |error: std::io::Error| Error::Usage(format!("cannot run bestbox: {error}"));
    let mut child = tokio::process::Command::new(program()?)
        .args([
            "transcribe",
            "--quiet",
            "--cleanup",
            "verbatim",
            "--route",
            "text",
            "--format",
            "json",
            "--language",
            "en",
        ])
        .args(["--model", &bench.loaded.config.speech.model])
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let pid = child.id().unwrap_or_default();
    let mut highest = 0;
    loop {
        highest = highest.max(resident(pid).unwrap_or(0));
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(failed)?;
                return if status.success() { Ok(highest) } else { Err(Error::Usage(format!("transcribe ended with {status}"))) };
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
}

/// Highest resident size of a process so far, bytes.
pub(super) fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
