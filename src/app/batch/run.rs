//! Several files in flight, so that decoding, recognition, language models and writing overlap: as many are being heard
//! as keep every recogniser busy, and those that are heard make room for the next while their text is being written.

use super::one::{Done, Fatal, Shop, Task};
use super::record::{FileRecord, RelativePath, Status};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};

/// Files that are heard and whose text is still being made. They hold text and no sound, so there may be many; a bound
/// all the same, where language models are much slower than recognition.
const WRITING: usize = 32;

/// Between two looks at files that another process or another file of the same content is busy with.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(5);

/// What became of the files of one run.
#[derive(Default)]
pub(super) struct Tally {
    pub records: HashMap<RelativePath, FileRecord>,
    /// Files that were given up half-way.
    pub unfinished: usize,
}

impl Tally {
    pub fn take(&mut self, record: FileRecord) {
        self.records.insert(record.path.clone(), record);
    }

    pub fn count(&self, status: Status) -> usize {
        self.records.values().filter(|record| record.status == status).count()
    }
}

/// Works off what `feed` brings until it ends. Tells `idle` whenever nothing is left for now.
pub(super) async fn work_off(
    shop: &Shop,
    feed: &mut mpsc::UnboundedReceiver<Task>,
    tally: &mut Tally,
    idle: &Notify,
) -> Result<(), Fatal> {
    let listening = Arc::new(Semaphore::new(shop.engine.listening()));
    let most = shop.engine.listening() + WRITING;
    let (mut queue, mut later) = (VecDeque::new(), Vec::new());
    let mut in_flight = FuturesUnordered::new();
    let mut open = true;
    let mut fatal = None;
    let mut waiting = 0u32;
    let beating = beat(shop);
    tokio::pin!(beating);
    // Nothing is awaited but here: a future that is not polled may hold the manifest's connection.
    loop {
        let ending = fatal.is_some() || shop.stop.is_cancelled();
        let left = open || !queue.is_empty() || !later.is_empty();
        if in_flight.is_empty() && (ending || !left) {
            break;
        }
        tokio::select! {
            Some(done) = in_flight.next(), if !in_flight.is_empty() => {
                waiting = 0;
                match done {
                    Ok(Done::Recorded(record, notes)) => {
                        let record: Box<FileRecord> = record;
                        shop.progress.done(&record, &notes);
                        tally.take(*record);
                        // It may be what they waited for.
                        queue.extend(later.drain(..));
                    }
                    Ok(Done::Later(task)) => later.push(task),
                    Ok(Done::Vanished(path)) => {
                        shop.progress.vanished(path.as_str());
                    }
                    Ok(Done::Unfinished) => tally.unfinished += 1,
                    Err(error) => {
                        tally.unfinished += 1;
                        shop.abort.cancel();
                        fatal.get_or_insert(error);
                    }
                }
                if in_flight.is_empty() && queue.is_empty() && later.is_empty() {
                    idle.notify_one();
                }
            }
            task = feed.recv(), if open && !ending => match task {
                Some(task) => queue.push_back(task),
                None => open = false,
            },
            Ok(permit) = listening.clone().acquire_owned(), if !ending && !queue.is_empty() && in_flight.len() < most => {
                in_flight.extend(queue.pop_front().map(|task| shop.work(task, permit)));
            }
            () = tokio::time::sleep(LOOK_AGAIN), if !ending && !later.is_empty() => {
                queue.extend(later.drain(..));
                waiting += 1;
                if waiting == 10 && in_flight.is_empty() {
                    shop.progress.line("waiting for files that another process is working on");
                }
            }
            trouble = &mut beating, if fatal.is_none() => {
                shop.abort.cancel();
                fatal = Some(trouble);
            }
            () = shop.journal.stuck.cancelled(), if fatal.is_none() => {
                shop.abort.cancel();
                fatal = shop.journal.trouble().map(Fatal::from);
            }
            () = shop.stop.cancelled(), if !ending => {}
        }
    }
    tally.unfinished += queue.len() + later.len();
    shop.journal.flush().await;
    fatal.or_else(|| shop.journal.trouble().map(Fatal::from)).map_or(Ok(()), Err)
}

/// Signs of life, until something is wrong with the manifest.
async fn beat(shop: &Shop) -> Fatal {
    loop {
        tokio::time::sleep(BEAT).await;
        if !shop.manifest.is_there() {
            return Fatal::Gone;
        }
        match shop.manifest.beat().await {
            Err(error) if error.is_full() => return error.into(),
            // Another process is at it for long: the next one will do.
            _ => {}
        }
    }
}
