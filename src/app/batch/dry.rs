//! `--dry-run`: files, hours, estimated time. Writes nothing.

use super::one::Task;
use super::progress::{Progress, clock, printable};
use super::record::Kind;
use crate::app::session;
use crate::audio::{self, DecodeSettings, Ffmpeg, Input};
use crate::config::Config;
use crate::error::Error;
use futures_util::StreamExt;
use serde_json::json;

/// Speed where none was measured in this folder yet: a small model on a few cores does no worse.
const UNMEASURED: f64 = 5.0;

/// What a run would find.
pub(super) struct Dry<'a> {
    pub tasks: Vec<Task>,
    pub unchanged: usize,
    /// Measured by an earlier run, seconds of audio a second.
    pub speed: Option<f64>,
    pub config: &'a Config,
}

impl Dry<'_> {
    /// Looks at every file that is to be done, and says what it found.
    pub async fn say(self, progress: &Progress) -> Result<(), Error> {
        let settings = DecodeSettings {
            ffmpeg: if self.config.audio.ffmpeg { Ffmpeg::Auto } else { Ffmpeg::Off },
            worker: session::program()?,
            ..DecodeSettings::default()
        };
        let probe = |task: &Task| {
            let (found, settings) = (task.found.clone(), settings.clone());
            async move {
                let work = move || match (&found.problem, found.kind) {
                    (Some(problem), _) => Err(problem.message.clone()),
                    (None, Kind::Transcript) => Ok(Some(0.0)),
                    (None, Kind::Audio) => audio::probe(Input::File(found.file.clone()), &settings)
                        .map(|info| info.duration)
                        .map_err(|error| error.to_string()),
                };
                tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(panic.to_string()))
            }
        };
        let probes = self.tasks.iter().map(probe);
        let probed: Vec<_> = futures_util::stream::iter(probes).buffered(4).collect().await;
        let (mut seconds, mut unknown, mut bad) = (0.0, 0usize, Vec::new());
        for (task, result) in self.tasks.iter().zip(&probed) {
            match result {
                Ok(Some(length)) => seconds += length,
                Ok(None) => unknown += 1,
                Err(why) => bad.push((task.found.path.as_str(), why)),
            }
        }
        let speed = self.speed.unwrap_or(UNMEASURED);
        let bytes: u64 = self.tasks.iter().map(|task| task.found.stamp.bytes).sum();
        let report = json!({
            "event": "dry-run",
            "files": self.tasks.len(),
            "unchanged": self.unchanged,
            "bytes": bytes,
            "audio_seconds": seconds,
            "unknown_length": unknown,
            "estimated_seconds": seconds / speed,
            "speed": speed,
            "speed_measured": self.speed.is_some(),
            "unreadable": bad.iter().map(|(path, why)| json!({"path": path, "message": why})).collect::<Vec<_>>(),
            "paths": self.tasks.iter().map(|task| task.found.path.as_str()).collect::<Vec<_>>(),
        });
        if progress.is_json() {
            progress.json(|| report);
            return Ok(());
        }
        for task in &self.tasks {
            progress.result(&printable(task.found.path.as_str()));
        }
        for (path, why) in &bad {
            progress.result(&format!("{}: {why}", printable(path)));
        }
        let how = if self.speed.is_some() { "measured here" } else { "assumed; nothing was measured here yet" };
        progress.result(&format!(
            "{} files to do ({:.2} h of audio, {:.1} MB), {} unchanged, {} that cannot be read",
            self.tasks.len(),
            seconds / 3600.0,
            bytes as f64 / 1e6,
            self.unchanged,
            bad.len()
        ));
        if unknown > 0 {
            progress
                .result(&format!("{unknown} of them do not say how long they are and are not counted in the hours"));
        }
        progress.result(&format!("about {} at {speed:.1}x real time ({how})", clock(seconds / speed)));
        Ok(())
    }
}
