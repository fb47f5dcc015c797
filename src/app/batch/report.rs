//! What is known of the folder, for people and for programs: `report.json`, `report.html`, and `search.html` with its
//! index. Made anew from the manifest and the stored outcomes at the end of each run, so they are about every file that
//! is known and not only about those of this run. docs/batch-report.md describes the JSON.

mod charts;
mod html;
mod links;
mod search;
mod totals;

use super::manifest::{Manifest, ManifestError};
use super::outputs::{self, WriteError};
use super::record::{Failure, FileRecord, Hook, Kind, Reason, Status, Summary, Text};
use links::Links;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use totals::Totals;

/// Version of report.json. Raised when a field changes its meaning or goes; never for a new field.
const SCHEMA: u32 = 1;

/// Where the names of the files that the last report consisted of are remembered.
const REMEMBERED: &str = "report";

/// Everything that a report says.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    /// The version that wrote it.
    bestbox: &'static str,
    /// Seconds since 1970.
    made: i64,
    /// IN, and the way from OUT to it as a percent-encoded relative link (with a `/` at its end, or empty).
    input: String,
    input_link: String,
    /// Seconds of audio a second of work, in the last run that did any.
    speed: Option<f64>,
    totals: Totals,
    /// In the order of their paths.
    files: Vec<File>,
}

/// One file of IN.
#[derive(Debug, Serialize)]
struct File {
    path: String,
    /// Percent-encoded, relative to OUT.
    link: String,
    /// Whether it is still there.
    present: bool,
    status: State,
    kind: Kind,
    bytes: u64,
    seconds: f64,
    wall_s: f64,
    finished: i64,
    attempts: u32,
    error: Option<Failure>,
    outputs: Vec<Output>,
    /// The stored outcome, percent-encoded, relative to OUT.
    outcome: Option<String>,
    then: Option<Hook>,
    #[serde(flatten)]
    summary: Summary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Done,
    Failed,
}

#[derive(Debug, Serialize)]
struct Output {
    path: String,
    /// Percent-encoded, relative to OUT.
    link: String,
    format: &'static str,
    text: Option<Text>,
}

impl File {
    fn of(record: FileRecord, links: &Links, root: &Path) -> Self {
        let output = |output: super::record::OutputFile| Output {
            path: output.path.to_string(),
            link: links::encoded(&output.path.to_bytes()),
            format: output.format.name(),
            text: output.text,
        };
        File {
            link: links.input(&record.path.to_bytes()),
            present: root.join(record.path.to_path()).is_file(),
            status: if record.status == Status::Failed { State::Failed } else { State::Done },
            path: record.path.to_string(),
            kind: record.kind,
            bytes: record.bytes,
            seconds: record.seconds,
            wall_s: record.wall_s,
            finished: record.finished,
            attempts: record.attempts,
            outputs: if record.error.is_some() { Vec::new() } else { record.outputs.into_iter().map(output).collect() },
            error: record.error,
            outcome: record.outcome.map(|path| links::encoded(&path.to_bytes())),
            then: record.then,
            summary: record.summary.unwrap_or_default(),
        }
    }

    fn failure(&self) -> Option<Reason> {
        self.error.as_ref().map(|error| error.code)
    }
}

/// Writes everything anew. Gives what a person should know of it.
///
/// # Errors
/// The manifest cannot be read, or OUT cannot be written.
pub(super) async fn write(manifest: &Manifest, root: &Path, speed: Option<f64>) -> Result<Vec<String>, WriteError> {
    let mut records: Vec<FileRecord> = manifest.known().await?.into_values().map(|row| row.record).collect();
    records.sort_by(|a, b| a.path.cmp(&b.path));
    let speed = match speed {
        Some(speed) => Some(speed),
        None => manifest.remembered("speed").await?.and_then(|speed| speed.parse().ok()),
    };
    let before = manifest.remembered(REMEMBERED).await?;
    let before = before.and_then(|names| serde_json::from_str::<BTreeSet<String>>(&names).ok()).unwrap_or_default();
    let (out, scratch, root) = (manifest.out.clone(), manifest.scratch().to_owned(), root.to_owned());
    let work =
        move || Pages { out, scratch, before, now: BTreeSet::new(), notes: Vec::new() }.write(records, &root, speed);
    let panicked = |panic| WriteError::Manifest(ManifestError::Io(std::io::Error::other(panic)));
    let pages = tokio::task::spawn_blocking(work).await.map_err(panicked)??;
    let names = serde_json::to_string(&pages.now).map_err(ManifestError::from)?;
    manifest.remember(REMEMBERED, &names).await?;
    // Pieces of the index that nothing refers to any more.
    for stale in pages.before.difference(&pages.now).filter(|name| name.starts_with(search::FOLDER)) {
        // Gone already is as good.
        let _ = std::fs::remove_file(pages.out.join(stale));
    }
    Ok(pages.notes)
}

/// The files that a report consists of.
struct Pages {
    out: PathBuf,
    scratch: PathBuf,
    /// Names that an earlier run wrote, and that this one does.
    before: BTreeSet<String>,
    now: BTreeSet<String>,
    notes: Vec<String>,
}

impl Pages {
    fn write(mut self, records: Vec<FileRecord>, root: &Path, speed: Option<f64>) -> Result<Self, WriteError> {
        let links = Links::new(&self.out, root);
        let stored: Vec<Option<PathBuf>> =
            records.iter().map(|record| Some(self.out.join(record.outcome.as_ref()?.to_path()))).collect();
        let files: Vec<File> = records.into_iter().map(|record| File::of(record, &links, root)).collect();
        let report = Report {
            schema: SCHEMA,
            bestbox: env!("CARGO_PKG_VERSION"),
            made: super::manifest::now(),
            input: super::progress::printable(&root.to_string_lossy()),
            input_link: links.input(b""),
            speed,
            totals: Totals::of(&files),
            files,
        };
        let json = serde_json::to_vec_pretty(&report).map_err(ManifestError::from)?;
        self.put("report.json", &json)?;
        search::write(&report, &stored, &mut self)?;
        self.put("search.html", search::page().as_bytes())?;
        self.put("report.html", html::page(&report).as_bytes())?;
        Ok(self)
    }

    /// Puts one file in its place, unless something of the user's stands there.
    fn put(&mut self, name: &str, content: &[u8]) -> Result<(), WriteError> {
        let target = self.out.join(name);
        if target.exists() && !self.before.contains(name) && !name.starts_with(search::FOLDER) {
            self.notes.push(format!("{name} was not written: a file of that name is there that is not bestbox's"));
            return Ok(());
        }
        outputs::replace(&self.scratch, &target, content)?;
        self.now.insert(name.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
