//! `bestbox batch`: folders of recordings in, transcripts out, nothing done twice and nothing lost.
//!
//! ```text
//! walk (what is there) -> names (what outputs are called) -> manifest (what is known) -> run (what is left, overlapping)
//!     one file: claim -> content -> stored outcome, or pipeline with a checkpoint -> outputs -> manifest -> --then
//! ```
//!
//! Invariants: an output is there whole or not at all; what bestbox did not write is never replaced unasked; what is
//! finished is in the manifest before anybody is told.

mod checkpoint;
mod dry;
mod engine;
mod inputs;
mod manifest;
mod names;
mod one;
mod outputs;
mod progress;
mod record;
mod run;
mod then;
mod walk;
mod wanted;
mod watch;

pub use record::Text;

use super::session::{Overrides, plan_overrides};
use super::{Override, interrupt};
use crate::cli::{BatchArgs, Global};
use crate::config::{Config, Loaded};
use crate::error::{Error, Exit};
use crate::output::OutputError;
use engine::Engines;
use manifest::Manifest;
use names::Base;
use one::{Again, Fatal, Shop, Task};
use progress::{Progress, clock};
use record::{FileRecord, RelativePath, Status};
use run::{Tally, work_off};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use then::Then;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use toml::Value;
use walk::{Selection, Walked};
use wanted::Wanted;

/// The command's own flags as configuration. A folder is transcribed: nobody answers unless that is asked for.
pub(super) fn overrides(args: &BatchArgs) -> Vec<Override> {
    let mut set = Overrides(plan_overrides(&args.plan));
    if args.plan.route.is_none() {
        let (route, flag) = if args.intent { ("intent", "--intent") } else { ("text", "batch") };
        set.text("intent.route", flag, Some(route.to_owned()));
    }
    set.text("speech.model", "--model", args.model.clone());
    set.text("speech.prompt", "--prompt", args.prompt.clone());
    set.value("speech.word_times", "--words", args.words.then_some(Value::Boolean(true)));
    set.value("speech.recognizers", "--recognizers", args.recognizers.map(|n| Value::Integer(n.into())));
    set.value("speech.threads", "--threads", args.threads.map(|n| Value::Integer(n.into())));
    set.0
}

/// Works through the folder.
pub(super) async fn run(loaded: Loaded, global: Global, args: BatchArgs) -> Result<(), Error> {
    let batch = Batch::new(loaded.config, &global, args)?;
    let result = if batch.args.dry_run {
        batch.dry_run().await
    } else if batch.args.watch.watch {
        watch::run(&batch).await
    } else {
        batch.once().await
    };
    batch.progress.end();
    batch.engine.stop().await;
    if matches!(result, Err(Error::Output(_))) && batch.out.join(walk::OWN_FOLDER).is_dir() {
        batch.progress.error("bestbox: what is done is kept; the same command goes on from here");
    }
    result
}

/// Everything that stays the same from the first file to the last.
struct Batch {
    args: BatchArgs,
    out: PathBuf,
    selection: Selection,
    engine: Arc<Engines>,
    progress: Progress,
    stop: CancellationToken,
}

/// A run's files: what is to be done, and the rows of those that are as they were.
struct Scan {
    tasks: Vec<Task>,
    unchanged: Vec<FileRecord>,
    /// Files that the manifest had never seen.
    new: HashSet<RelativePath>,
    walked: Walked,
}

impl Batch {
    fn new(config: Config, global: &Global, args: BatchArgs) -> Result<Self, Error> {
        let full = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let out = match &args.output {
            Some(out) => full(out),
            None if args.input.is_dir() => full(&args.input),
            None => full(&args.input).parent().map_or_else(PathBuf::new, Path::to_owned),
        };
        let selection = Selection::new(&args.input, &out, &args.select)?;
        Ok(Batch {
            out,
            selection,
            engine: Arc::new(Engines::new(config)),
            progress: Progress::new(global, args.progress),
            stop: interrupt::token(),
            args,
        })
    }

    fn wanted(&self) -> Result<Wanted, Error> {
        Wanted::new(&self.args, self.engine.config())
    }

    /// Opens the manifest and all that stands around the work.
    async fn shop(&self) -> Result<Shop, Error> {
        let then = self.args.then.as_deref().map(|line| Then::parse(line, self.args.then_timeout)).transpose()?;
        let wanted = self.wanted()?;
        let opened = Manifest::open(&self.out, &self.selection.root).await;
        let manifest = Arc::new(opened.map_err(|error| error.at(&self.out))?);
        Ok(Shop {
            journal: checkpoint::Journal::start(manifest.clone()),
            manifest,
            wanted,
            engine: self.engine.clone(),
            progress: self.progress.clone(),
            then,
            again: Again { all: self.args.force, failed: self.args.retry_failed },
            overwrite: self.args.overwrite,
            root: self.selection.root.clone(),
            stop: self.stop.clone(),
            abort: CancellationToken::new(),
            fresh: Mutex::default(),
        })
    }

    async fn once(&self) -> Result<(), Error> {
        let begun = Instant::now();
        let shop = self.shop().await?;
        let scan = self.scan(&shop).await?;
        let mut tally = Tally::default();
        for record in scan.unchanged {
            if let Some(error) = record.error.as_ref().filter(|_| record.status == Status::Failed) {
                let name = progress::printable(record.path.as_str());
                self.progress.error(&format!("bestbox: {name}: failed before (see --retry-failed): {}", error.message));
            }
            tally.take(record);
        }
        self.progress.add(&scan.tasks.iter().map(|task| &task.found).collect::<Vec<_>>());
        let (feed, mut tasks) = mpsc::unbounded_channel();
        // The receiver lives below.
        scan.tasks.into_iter().for_each(|task| drop(feed.send(task)));
        drop(feed);
        let result = work_off(&shop, &mut tasks, &mut tally, &Notify::new()).await;
        self.progress.end();
        if result.is_ok() && !self.stop.is_cancelled() {
            self.follow_moves(&shop, &scan.new, &tally).await.map_err(|error| error.at(&self.out))?;
        }
        self.finish(&shop, &scan.walked, &tally, begun).await;
        self.report(&shop).await;
        shop.leave().await;
        self.verdict(result, &tally)
    }

    async fn dry_run(&self) -> Result<(), Error> {
        let wanted = self.wanted()?;
        let known = manifest::look(&self.out, &self.selection.root).await;
        let (rows, written, speed) = known.map_or_else(Default::default, |look| (look.rows, look.outputs, look.speed));
        let walked = self.walk(written).await?;
        let tasks = tasks(&walked);
        let all = tasks.len();
        let again = Again { all: self.args.force, failed: self.args.retry_failed };
        let done = one::Settled { wanted: &wanted, out: &self.out, again, hooks: self.args.then.is_some() };
        let left = |task: &Task| !rows.get(&task.found.path).is_some_and(|row| done.unchanged(task, row));
        let tasks: Vec<Task> = tasks.into_iter().filter(left).collect();
        let unchanged = all - tasks.len();
        dry::Dry { unchanged, tasks, speed, config: self.engine.config() }.say(&self.progress).await
    }

    /// What is there, and what of it is to be done.
    async fn scan(&self, shop: &Shop) -> Result<Scan, Error> {
        let failed = |error: manifest::ManifestError| error.at(&self.out);
        let walked = self.walk(shop.manifest.outputs().await.map_err(failed)?).await?;
        let known = shop.manifest.known().await.map_err(failed)?;
        let (mut left, mut unchanged) = (Vec::new(), Vec::new());
        for task in tasks(&walked) {
            match known.get(&task.found.path).filter(|row| shop.unchanged(&task, row)) {
                Some(row) => {
                    let status = if row.failed { Status::Failed } else { Status::Unchanged };
                    unchanged.push(FileRecord { status, ..row.record.clone() });
                }
                None => left.push(task),
            }
        }
        let unseen = left.iter().map(|task| &task.found.path).filter(|path| !known.contains_key(path));
        Ok(Scan { new: unseen.cloned().collect(), tasks: left, unchanged, walked })
    }

    /// What is there; `written`: files in OUT that bestbox wrote.
    async fn walk(&self, written: HashSet<PathBuf>) -> Result<Walked, Error> {
        let mut walked = tokio::task::block_in_place(|| self.selection.walk(&|path| written.contains(path)))?;
        for folder in walked.batches.clone() {
            let theirs = manifest::outputs_of(&folder).await;
            let report = |path: &Path| {
                let name = path.file_name().unwrap_or_default();
                path.parent() == Some(&folder) && walk::REPORT_FILES.iter().any(|own| name == *own)
            };
            walked.files.retain(|found| !theirs.contains(&found.file) && !report(&found.file));
        }
        Ok(walked)
    }

    /// A file that was renamed or moved has its outputs under its new name now: those under the old one go.
    async fn follow_moves(
        &self,
        shop: &Shop,
        new: &HashSet<RelativePath>,
        tally: &Tally,
    ) -> Result<(), manifest::ManifestError> {
        let known = shop.manifest.known().await?;
        let came =
            tally.records.values().filter(|record| record.status == Status::Reused && new.contains(&record.path));
        let contents: HashMap<&str, &RelativePath> =
            came.filter_map(|record| Some((known.get(&record.path)?.content.as_deref()?, &record.path))).collect();
        for (path, row) in &known {
            let Some(now) = row.content.as_deref().and_then(|content| contents.get(content)) else { continue };
            let found = std::fs::symlink_metadata(self.selection.root.join(path.to_path()));
            if found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
                outputs::clear(&shop.manifest, path, &row.record.outputs, &[]).await?;
                shop.manifest.forget(path).await?;
                let (old, now) = (progress::printable(path.as_str()), progress::printable(now.as_str()));
                self.progress.line(&format!("{old} is called {now} now, and so are its outputs"));
            }
        }
        Ok(())
    }

    /// Writes the report and the search page over everything that is known of the folder.
    async fn report(&self, _shop: &Shop) {}

    /// What a person wants to know at the end.
    async fn finish(&self, shop: &Shop, walked: &Walked, tally: &Tally, begun: Instant) {
        if let Some(speed) = self.progress.speed() {
            // An estimate for the next dry run: nothing depends on it.
            let _ = shop.manifest.remember("speed", &speed.to_string()).await;
        }
        let done: Vec<&FileRecord> = tally.records.values().filter(|record| record.status == Status::Done).collect();
        let seconds: f64 = done.iter().map(|record| record.seconds).sum();
        let elapsed = begun.elapsed().as_secs_f64();
        let (failed, reused) = (tally.count(Status::Failed), tally.count(Status::Reused));
        let unchanged = tally.count(Status::Unchanged);
        let busy = self.engine.busy();
        self.progress.json(|| {
            serde_json::json!({
                "event": "end", "done": done.len(), "reused": reused, "unchanged": unchanged, "failed": failed,
                "unfinished": tally.unfinished, "audio_seconds": seconds, "wall_seconds": elapsed,
                "recognizers": busy.as_ref().map(|busy| busy.recognizers),
                "recognizer_busy_seconds": busy.as_ref().map(|busy| busy.seconds),
                "loading_seconds": busy.as_ref().map(|busy| busy.loading),
            })
        });
        if self.progress.is_json() {
            return;
        }
        if tally.records.is_empty() && tally.unfinished == 0 {
            let folder = self.selection.root.display();
            self.progress.line(&format!("there is nothing to transcribe in {folder}"));
        }
        let mut line = format!("{} done ({} of audio in {}", done.len(), clock(seconds), clock(elapsed));
        if seconds > 0.0 {
            line.push_str(&format!(", {:.1}x real time", seconds / elapsed.max(0.001)));
        }
        line.push(')');
        for (count, what) in [
            (reused, "known already"),
            (unchanged, "unchanged"),
            (failed, "failed"),
            (tally.unfinished, "not finished"),
            (walked.partial, "still being written"),
            (walked.beside, "transcripts beside their recording left alone"),
        ] {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        }
        self.progress.line(&line);
    }

    fn verdict(&self, result: Result<(), Fatal>, tally: &Tally) -> Result<(), Error> {
        match result {
            Err(fatal) => return Err(self.error_of(fatal)),
            Ok(()) if self.stop.is_cancelled() => return Err(Error::Interrupted),
            Ok(()) => {}
        }
        match tally.count(Status::Failed) {
            0 => Ok(()),
            failed => Err(Error::Some { failed, total: tally.records.len(), worst: Exit::Input }),
        }
    }

    fn error_of(&self, fatal: Fatal) -> Error {
        match fatal {
            Fatal::Manifest(error) => error.at(&self.out),
            Fatal::Write(outputs::WriteError::Manifest(error)) => error.at(&self.out),
            Fatal::Write(outputs::WriteError::Io { path, source }) => {
                Error::Output(OutputError::Write { path, source })
            }
            Fatal::Gone => {
                let source = std::io::Error::new(std::io::ErrorKind::NotFound, "the folder is gone");
                Error::Read { path: self.selection.root.clone(), source }
            }
            Fatal::Engine(error) => error,
        }
    }
}

/// A task for every file that was found and not left out. Names take those that were left out into account.
fn tasks(walked: &Walked) -> Vec<Task> {
    let paths: Vec<PathBuf> = walked.files.iter().map(|found| found.path.to_path()).collect();
    let named = walked.files.iter().zip(Base::plan(&paths));
    let task = |(found, base): (&walk::Found, Base)| Task { found: found.clone(), base, attempts: 0, content: None };
    named.filter(|(found, _)| !found.filtered).map(task).collect()
}
