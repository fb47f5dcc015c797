//! Recogniser threads behind a bounded queue.
//!
//! Owns N threads, each with one recogniser. A job carries its own reply channel and cancellation; a job whose caller
//! has gone is cancelled. When the last handle is dropped the queue closes, the threads finish what is queued and end.
//! A panic on a thread becomes the error of that job, and the thread goes on with a fresh recogniser.

use super::whisper::{Model, WhisperRecognizer, default_threads};
use super::{Recognizer, SpeechError, SpeechOptions, Transcript, Utterance};
use crate::language::Lang;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How many recognisers, and how much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Threads with a recogniser each.
    pub recognizers: usize,
    /// Threads that each recogniser computes with.
    pub threads_each: usize,
    /// Utterances that may wait, besides those being worked on.
    pub queue: usize,
}

impl Default for PoolSettings {
    /// One recogniser with all physical cores: the lowest latency, and on a processor also about the best throughput.
    fn default() -> Self {
        PoolSettings { recognizers: 1, threads_each: default_threads(), queue: 4 }
    }
}

/// A handle to the threads. Clones share them.
#[derive(Clone)]
pub struct Recognizers {
    queue: mpsc::Sender<Job>,
}

/// Every place in the queue is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the speech recogniser is busy; try again shortly")]
pub struct QueueFull;

/// The text of an utterance, later.
pub type Reply<T> = oneshot::Receiver<Result<T, SpeechError>>;

enum Job {
    Recognize {
        utterance: Utterance,
        options: Box<SpeechOptions>,
        cancel: CancellationToken,
        reply: oneshot::Sender<Result<Transcript, SpeechError>>,
    },
    Detect {
        utterance: Utterance,
        cancel: CancellationToken,
        reply: oneshot::Sender<Result<(Lang, f32), SpeechError>>,
    },
}

impl Job {
    /// Every thread is gone.
    fn refuse(self) {
        // A caller that has gone needs no answer.
        match self {
            Job::Recognize { reply, .. } => drop(reply.send(Err(SpeechError::Stopped))),
            Job::Detect { reply, .. } => drop(reply.send(Err(SpeechError::Stopped))),
        }
    }
}

impl Recognizers {
    /// Starts the threads on a loaded model.
    ///
    /// # Errors
    /// [`SpeechError::Failed`] when a thread or its memory cannot be had.
    pub fn start(model: Model, settings: PoolSettings) -> Result<Self, SpeechError> {
        let threads = settings.threads_each;
        Self::start_with(settings, move || {
            Ok(Box::new(WhisperRecognizer::new(model.clone(), threads)?) as Box<dyn Recognizer>)
        })
    }

    /// Starts the threads with whatever `make` makes; also called to replace a recogniser that panicked.
    ///
    /// # Errors
    /// What `make` gives, or [`SpeechError::Failed`] when there is no thread to be had.
    pub fn start_with<F>(settings: PoolSettings, make: F) -> Result<Self, SpeechError>
    where
        F: Fn() -> Result<Box<dyn Recognizer>, SpeechError> + Send + Sync + 'static,
    {
        let (queue, jobs) = mpsc::channel(settings.queue.max(1));
        // std: held only while waiting for the next job, by threads that have nothing else to do.
        let jobs = Arc::new(Mutex::new(jobs));
        let make = Arc::new(make);
        for number in 0..settings.recognizers.max(1) {
            let recognizer = make()?;
            let (jobs, make) = (jobs.clone(), make.clone());
            std::thread::Builder::new()
                .name(format!("speech-{number}"))
                .spawn(move || work(recognizer, &jobs, &*make))
                .map_err(|e| SpeechError::Failed { doing: "starting a thread", why: e.to_string() })?;
        }
        Ok(Recognizers { queue })
    }

    /// Text of one utterance. Waits for a place in the queue. Dropping the future cancels the work.
    ///
    /// # Errors
    /// See [`SpeechError`].
    pub async fn recognize(
        &self,
        utterance: Utterance,
        options: SpeechOptions,
        cancel: CancellationToken,
    ) -> Result<Transcript, SpeechError> {
        let cancel = cancel.child_token();
        let _gone = cancel.clone().drop_guard();
        let (reply, answer) = oneshot::channel();
        let job = Job::Recognize { utterance, options: Box::new(options), cancel: cancel.clone(), reply };
        self.enqueue(job, &cancel).await?;
        answer.await.unwrap_or(Err(SpeechError::Stopped))
    }

    /// As [`Recognizers::recognize`], but never waits for a place: the reply comes through the channel.
    /// Dropping the channel does not stop the work; `cancel` does.
    ///
    /// # Errors
    /// [`QueueFull`] when every place is taken.
    pub fn try_submit(
        &self,
        utterance: Utterance,
        options: SpeechOptions,
        cancel: CancellationToken,
    ) -> Result<Reply<Transcript>, QueueFull> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Recognize { utterance, options: Box::new(options), cancel, reply };
        match self.queue.try_send(job) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(QueueFull),
            Err(mpsc::error::TrySendError::Closed(job)) => {
                job.refuse();
                Ok(answer)
            }
        }
    }

    /// Utterances that wait for a thread, besides those being worked on.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Language of one utterance, with its probability.
    ///
    /// # Errors
    /// See [`SpeechError`].
    pub async fn detect_language(
        &self,
        utterance: Utterance,
        cancel: CancellationToken,
    ) -> Result<(Lang, f32), SpeechError> {
        let cancel = cancel.child_token();
        let _gone = cancel.clone().drop_guard();
        let (reply, answer) = oneshot::channel();
        self.enqueue(Job::Detect { utterance, cancel: cancel.clone(), reply }, &cancel).await?;
        answer.await.unwrap_or(Err(SpeechError::Stopped))
    }

    async fn enqueue(&self, job: Job, cancel: &CancellationToken) -> Result<(), SpeechError> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(SpeechError::Cancelled),
            sent = self.queue.send(job) => sent.map_err(|_| SpeechError::Stopped),
        }
    }
}

type Make = dyn Fn() -> Result<Box<dyn Recognizer>, SpeechError> + Send + Sync;

fn work(mut recognizer: Box<dyn Recognizer>, jobs: &Mutex<mpsc::Receiver<Job>>, make: &Make) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(job) = next else { return };
        let survived = match job {
            Job::Recognize { utterance, options, cancel, reply } => {
                answer(reply, &cancel, || recognizer.recognize(&utterance, &options, &cancel))
            }
            Job::Detect { utterance, cancel, reply } => {
                answer(reply, &cancel, || recognizer.detect_language(&utterance, &cancel))
            }
        };
        if !survived {
            match make() {
                Ok(fresh) => recognizer = fresh,
                // The other threads go on; when there is none the callers see `Stopped`.
                Err(error) => {
                    tracing::error!(%error, "a recogniser thread ends: no replacement after a panic");
                    return;
                }
            }
        }
    }
}

/// Does the work and sends the result; `false` when it panicked.
fn answer<T>(
    reply: oneshot::Sender<Result<T, SpeechError>>,
    cancel: &CancellationToken,
    work: impl FnOnce() -> Result<T, SpeechError>,
) -> bool {
    if cancel.is_cancelled() || reply.is_closed() {
        let _ = reply.send(Err(SpeechError::Cancelled));
        return true;
    }
    let result = catch_unwind(AssertUnwindSafe(work));
    let survived = result.is_ok();
    let result = result.unwrap_or_else(|panic| {
        let why = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown panic".to_owned());
        Err(SpeechError::Failed { doing: "recognising", why })
    });
    // A caller that has gone does not want the text.
    let _ = reply.send(result);
    survived
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// Waits until cancelled when asked for a prompt of "wait", panics at "panic", else answers at once.
    struct Scripted(Arc<AtomicUsize>);

    impl Recognizer for Scripted {
        fn recognize(
            &mut self,
            _: &Utterance,
            options: &SpeechOptions,
            cancel: &CancellationToken,
        ) -> Result<Transcript, SpeechError> {
            match options.prompt.as_deref() {
                Some("wait") => {
                    while !cancel.is_cancelled() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Err(SpeechError::Cancelled)
                }
                Some("panic") => panic!("as asked"),
                _ => Ok(Transcript { language: Some(Lang::ENGLISH), ..Transcript::default() }),
            }
        }

        fn detect_language(&mut self, _: &Utterance, _: &CancellationToken) -> Result<(Lang, f32), SpeechError> {
            Ok((Lang::ENGLISH, 1.0))
        }
    }

    impl Drop for Scripted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn pool(recognizers: usize, queue: usize) -> (Recognizers, Arc<AtomicUsize>) {
        let alive = Arc::new(AtomicUsize::new(0));
        let count = alive.clone();
        let settings = PoolSettings { recognizers, threads_each: 1, queue };
        let pool = Recognizers::start_with(settings, move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Scripted(count.clone())) as Box<dyn Recognizer>)
        });
        (pool.expect("threads start"), alive)
    }

    fn utterance() -> Utterance {
        Utterance::whole(vec![0.0; 160], 0.0).expect("not empty")
    }

    fn asking(what: &str) -> SpeechOptions {
        SpeechOptions { prompt: Some(what.to_owned()), ..SpeechOptions::default() }
    }

    async fn until(what: impl Fn() -> bool) {
        for _ in 0..5_000 {
            if what() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("it never came true");
    }

    #[tokio::test]
    async fn a_full_queue_says_so_and_a_cancelled_job_makes_room() {
        let (pool, _) = pool(1, 1);
        let cancel = CancellationToken::new();
        let running = pool.try_submit(utterance(), asking("wait"), cancel.clone()).expect("a place");
        // The thread takes the first job at its own time.
        let waiting = loop {
            if let Ok(reply) = pool.try_submit(utterance(), asking("hello"), CancellationToken::new()) {
                break reply;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert_eq!(pool.try_submit(utterance(), asking("hello"), CancellationToken::new()).err(), Some(QueueFull));
        cancel.cancel();
        assert!(matches!(running.await, Ok(Err(SpeechError::Cancelled))));
        assert!(matches!(waiting.await, Ok(Ok(_))));
    }

    #[tokio::test]
    async fn dropping_the_future_frees_the_thread() {
        let (pool, _) = pool(1, 1);
        let work = pool.recognize(utterance(), asking("wait"), CancellationToken::new());
        assert!(tokio::time::timeout(Duration::from_millis(50), work).await.is_err());
        let next = pool.recognize(utterance(), asking("hello"), CancellationToken::new());
        assert!(tokio::time::timeout(Duration::from_secs(10), next).await.expect("the thread is free").is_ok());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_that_job_alone() {
        let (pool, alive) = pool(1, 1);
        let error =
            pool.recognize(utterance(), asking("panic"), CancellationToken::new()).await.expect_err("it panics");
        assert!(error.to_string().contains("as asked"), "{error}");
        assert!(pool.recognize(utterance(), asking("hello"), CancellationToken::new()).await.is_ok());
        assert_eq!(alive.load(Ordering::SeqCst), 1, "one went, one came");
    }

    #[tokio::test]
    async fn the_last_handle_takes_the_threads_along() {
        let (pool, alive) = pool(3, 2);
        let other = pool.clone();
        drop(pool);
        assert!(other.detect_language(utterance(), CancellationToken::new()).await.is_ok());
        assert_eq!(alive.load(Ordering::SeqCst), 3);
        drop(other);
        until(|| alive.load(Ordering::SeqCst) == 0).await;
    }

    #[tokio::test]
    async fn a_cancelled_caller_does_not_wait_for_a_place() {
        let (pool, _) = pool(1, 1);
        let stop = CancellationToken::new();
        let _running = pool.try_submit(utterance(), asking("wait"), stop.clone());
        tokio::time::sleep(Duration::from_millis(20)).await;
        let _queued = pool.try_submit(utterance(), asking("wait"), stop.clone());
        let cancel = CancellationToken::new();
        cancel.cancel();
        let result = pool.recognize(utterance(), asking("hello"), cancel).await;
        assert!(matches!(result, Err(SpeechError::Cancelled)));
        stop.cancel();
    }
}
