//! `--watch`: new and changed files are taken up once they have stopped growing, for ever.
//!
//! Changes are told by the system, or looked for every `--poll` seconds where it tells of none (network folders); either
//! way the folder is listed again and each file compared with what is known, so nothing depends on an event. A folder
//! that is taken away ends nothing: the work waits until it is back.

use super::Batch;
use super::manifest::Row;
use super::one::{Fatal, Shop, Task};
use super::record::{Reason, RelativePath};
use super::run::{Tally, work_off};
use super::walk::Stamp;
use crate::error::Error;
use notify::{RecursiveMode, Watcher};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Between two looks for a folder that is away.
const AWAY: Duration = Duration::from_secs(2);

/// Between two looks where the system tells of changes: for what it did not tell.
const SAFETY: Duration = Duration::from_secs(60);

/// Events that come closer together than this are one.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// After which a file whose fault may pass is tried again.
const RETRY: Duration = Duration::from_secs(300);

/// Works in the folder until it is told to stop.
pub(super) async fn run(batch: &Batch) -> Result<(), Error> {
    let mut away = false;
    while !batch.stop.is_cancelled() {
        if std::fs::read_dir(&batch.selection.root).is_err() {
            if !std::mem::replace(&mut away, true) {
                batch.progress.line(&format!("{} is away; waiting", batch.selection.root.display()));
            }
            batch.stop.run_until_cancelled(tokio::time::sleep(AWAY)).await;
            continue;
        }
        away = false;
        match stay(batch).await {
            Ok(()) => {}
            Err(Fatal::Gone) => batch.progress.line("the folder went away; waiting for it"),
            // With the folder its manifest goes too.
            Err(_) if std::fs::read_dir(&batch.selection.root).is_err() => {}
            Err(fatal) => return Err(batch.error_of(fatal)),
        }
    }
    Err(Error::Interrupted)
}

/// One stay in the folder, until it goes away or the work is to stop.
async fn stay(batch: &Batch) -> Result<(), Fatal> {
    let shop = batch.shop().await.map_err(Fatal::Engine)?;
    let (feed, mut tasks) = mpsc::unbounded_channel();
    let (idle, mut tally) = (Notify::new(), Tally::default());
    let looking = look(batch, &shop, feed, &idle);
    let working = work_off(&shop, &mut tasks, &mut tally, &idle);
    tokio::pin!(looking, working);
    // Whichever ends takes the other along: the feed closes, or the shop is told to stop.
    let result = tokio::select! {
        worked = &mut working => worked,
        looked = &mut looking => {
            if looked.is_err() {
                shop.abort.cancel();
            }
            // Ends with the feed, or at the utterance that is in flight.
            working.await.and(looked)
        }
    };
    shop.leave().await;
    result
}

/// What is known of a file that is not finished: how it looked, since when, and whether it has been passed on.
struct Still {
    stamp: Stamp,
    since: Instant,
    taken: Option<Instant>,
}

async fn look(batch: &Batch, shop: &Shop, feed: mpsc::UnboundedSender<Task>, idle: &Notify) -> Result<(), Fatal> {
    let args = &batch.args.watch;
    let settle = Duration::try_from_secs_f64(args.settle).unwrap_or_default();
    let poll = args.poll.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.1)).ok());
    let changed = Arc::new(Notify::new());
    let _watcher = if poll.is_some() { None } else { watcher(&batch.selection.root, changed.clone(), batch) };
    let place = place_of(&batch.selection.root);
    let mut still: HashMap<RelativePath, Still> = HashMap::new();
    loop {
        if !shop.manifest.is_there() || place_of(&batch.selection.root) != place {
            return Err(Fatal::Gone);
        }
        let scan =
            batch.scan(shop).await.map_err(|error| if shop.is_there() { Fatal::Engine(error) } else { Fatal::Gone })?;
        let before = std::mem::take(&mut still);
        let (mut fresh, mut growing) = (Vec::new(), false);
        for task in scan.tasks {
            let path = task.found.path.clone();
            let known = before.get(&path).filter(|known| known.stamp == task.found.stamp);
            let mut now = match known {
                Some(known) => Still { stamp: known.stamp, since: known.since, taken: known.taken },
                None => Still { stamp: task.found.stamp, since: Instant::now(), taken: None },
            };
            let due = match now.taken {
                None => now.since.elapsed() >= settle && ready(&task),
                Some(taken) => taken.elapsed() >= RETRY && failed_for_now(shop.manifest.row(&path).await?.as_ref()),
            };
            growing |= now.taken.is_none();
            if due {
                now.taken = Some(Instant::now());
                fresh.push(task);
            }
            still.insert(path, now);
        }
        batch.progress.add(&fresh.iter().map(|task| &task.found).collect::<Vec<_>>());
        for task in fresh {
            // Whoever takes them lives as long as this.
            let _ = feed.send(task);
        }
        let pause = match (poll, growing) {
            (Some(poll), _) => poll,
            (None, true) => (settle / 2).clamp(Duration::from_millis(100), Duration::from_secs(5)),
            (None, false) => SAFETY,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changed.notified() => tokio::time::sleep(DEBOUNCE).await,
            () = idle.notified() => batch.report(shop).await,
            () = shop.stop.cancelled() => return Ok(()),
            () = shop.abort.cancelled() => return Ok(()),
        }
    }
}

/// Whether it can be taken up: an empty file is one that somebody is about to write.
fn ready(task: &Task) -> bool {
    match &task.found.problem {
        Some(problem) => problem.code != Reason::Empty,
        None => !being_written(&task.found.file),
    }
}

fn failed_for_now(row: Option<&Row>) -> bool {
    row.is_some_and(|row| row.failed && row.transient)
}

/// Tells of changes below `root`; without one (too many folders, no such service) the regular looks have to do.
fn watcher(root: &Path, changed: Arc<Notify>, batch: &Batch) -> Option<notify::RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        if !event.is_ok_and(|event| matches!(event.kind, notify::EventKind::Access(_))) {
            changed.notify_one();
        }
    };
    let made = notify::recommended_watcher(tell).and_then(|mut watcher| {
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    made.inspect_err(|error| {
        let every = SAFETY.as_secs();
        batch.progress.line(&format!("changes are not told here ({error}); looking every {every} s; see --poll"));
    })
    .ok()
}

/// Which folder it is, whatever its name: another one where a disk was mounted over it.
#[cfg(unix)]
fn place_of(root: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(root).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn place_of(root: &Path) -> Option<bool> {
    std::fs::metadata(root).ok().map(|metadata| metadata.is_dir())
}

/// Whether somebody has it open for writing, where the system can say so: it gives no read lease then.
#[cfg(target_os = "linux")]
fn being_written(file: &Path) -> bool {
    /// linux/fcntl.h; libc does not have it.
    const F_SETSIG: libc::c_int = 10;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    let Ok(file) = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file) else {
        return false;
    };
    // Whoever opens it for writing in this moment sends a signal: one that is ignored, for the default (SIGIO) would end
    // this process.
    let calls = [(F_SETSIG, libc::SIGURG), (libc::F_SETLEASE, libc::F_RDLCK)];
    let refused = calls.into_iter().any(|(command, argument)| {
        // SAFETY: fcntl on a descriptor that is open for the length of the call; both commands take an integer and
        // touch no memory.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
        result == -1 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock
    });
    // The lease goes with the descriptor.
    refused
}

#[cfg(not(target_os = "linux"))]
fn being_written(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_is_open_for_writing_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        let file = std::fs::File::create(&path).unwrap();
        assert!(super::being_written(&path));
        drop(file);
        assert!(!super::being_written(&path));
    }
}
