//! Recogniser threads behind a fair queue.
//!
//! Owns N threads, which serve any number of models: how much is computed at once does not hang on how many are loaded.
//! A job carries its model, its ticket ([`super::queue`] says who is next), its reply channel and its cancellation. One
//! whose caller has gone leaves the queue at once, or is cancelled where it is in work. When the last handle is dropped
//! the queue closes, the threads finish what is queued and end. A panic on a thread becomes the error of that job, and
//! the next job gets a fresh recogniser.

use super::model::PoolModel;
use super::queue::{Charge, FairQueue, Lane, Place, Taken, Ticket};
use super::whisper::{Model, default_threads};
use super::{Recognizer, SpeechError, SpeechOptions, Transcript, Utterance};
use crate::language::Lang;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How many recognisers, and how much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Threads; each works with one recogniser at a time.
    pub recognizers: usize,
    /// Threads that each recogniser computes with.
    pub threads_each: usize,
    /// Utterances that may wait before [`Recognizers::try_submit`] refuses. Callers that await their turn are bounded by
    /// how many of them there are: each holds its utterance anyway, in the queue or outside.
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
pub struct Recognizers(Arc<Handle>);

/// Every place in the queue is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the speech recogniser is busy; try again shortly")]
pub struct QueueFull;

/// The text of an utterance, later.
pub type Reply<T> = oneshot::Receiver<Result<T, SpeechError>>;

/// One utterance that went through, for whoever counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Passed {
    /// The lane it waited in.
    pub lane: Lane,
    /// Seconds between coming in and being taken by a thread.
    pub wait_seconds: f64,
    /// Seconds on the thread.
    pub busy_seconds: f64,
    /// Seconds of audio.
    pub audio_seconds: f64,
}

/// The pool at this moment, and what it has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PoolStats {
    /// Threads.
    pub recognizers: usize,
    /// Threads at work.
    pub working: usize,
    /// Utterances waiting in the lane for short recordings.
    pub waiting_short: usize,
    /// Utterances waiting in the lane for long recordings.
    pub waiting_long: usize,
    /// Utterances done, failed and cancelled in work.
    pub utterances: u64,
    /// Seconds that all of them waited.
    pub wait_seconds: f64,
    /// Seconds that threads were at work.
    pub busy_seconds: f64,
    /// Seconds of audio in all of them.
    pub audio_seconds: f64,
}

/// Told of every utterance that went through, on the recogniser's thread: must not block.
pub type Watcher = Box<dyn Fn(&Passed) + Send + Sync>;

struct Job {
    model: PoolModel,
    utterance: Utterance,
    cancel: CancellationToken,
    since: Instant,
    work: Work,
}

enum Work {
    Recognize { options: Box<SpeechOptions>, reply: oneshot::Sender<Result<Transcript, SpeechError>> },
    Detect { reply: oneshot::Sender<Result<(Lang, f32), SpeechError>> },
}

/// How an utterance waits, and how it is given up.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// Whose it is, and how urgent.
    pub ticket: Ticket,
    /// Takes it out of the queue, or ends the work on it.
    pub cancel: CancellationToken,
}

impl From<CancellationToken> for Turn {
    /// For the only caller there is.
    fn from(cancel: CancellationToken) -> Self {
        Turn { cancel, ..Turn::default() }
    }
}

impl Recognizers {
    /// Starts the threads on a loaded model.
    ///
    /// # Errors
    /// [`SpeechError::Failed`] when a thread or its memory cannot be had.
    pub fn start(model: Model, settings: PoolSettings) -> Result<Self, SpeechError> {
        Self::start_on(PoolModel::whisper(model, settings.threads_each), settings)
    }

    /// Starts the threads with whatever `make` makes; also called to replace a recogniser that panicked.
    ///
    /// # Errors
    /// What `make` gives, or [`SpeechError::Failed`] when there is no thread to be had.
    pub fn start_with<F>(settings: PoolSettings, make: F) -> Result<Self, SpeechError>
    where
        F: Fn() -> Result<Box<dyn Recognizer>, SpeechError> + Send + Sync + 'static,
    {
        Self::start_on(PoolModel::new(make), settings)
    }

    /// Starts the threads without a model: every job brings its own.
    ///
    /// # Errors
    /// [`SpeechError::Failed`] when there is no thread to be had.
    pub fn start_empty(settings: PoolSettings) -> Result<Self, SpeechError> {
        Self::start_handle(settings, None)
    }

    fn start_on(model: PoolModel, settings: PoolSettings) -> Result<Self, SpeechError> {
        model.prepare(settings.recognizers.max(1))?;
        Self::start_handle(settings, Some(model))
    }

    fn start_handle(settings: PoolSettings, own: Option<PoolModel>) -> Result<Self, SpeechError> {
        let recognizers = settings.recognizers.max(1);
        let shared = Arc::new(Shared::new(recognizers));
        // Made first: its drop ends the threads that were started when the next one cannot be.
        let handle = Handle { shared: shared.clone(), own, queue: settings.queue.max(1) };
        for number in 0..recognizers {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("speech-{number}"))
                .spawn(move || shared.work())
                .map_err(|e| SpeechError::Failed { doing: "starting a thread", why: e.to_string() })?;
        }
        Ok(Recognizers(Arc::new(handle)))
    }

    /// Text of one utterance, by the pool's own model. Waits for its turn. Dropping the future cancels the work.
    ///
    /// # Errors
    /// See [`SpeechError`].
    pub async fn recognize(
        &self,
        utterance: Utterance,
        options: SpeechOptions,
        cancel: CancellationToken,
    ) -> Result<Transcript, SpeechError> {
        self.recognize_by(self.own()?, utterance, options, cancel.into()).await
    }

    /// As [`Recognizers::recognize`], by `model` and when it is its turn.
    ///
    /// # Errors
    /// See [`SpeechError`].
    pub async fn recognize_by(
        &self,
        model: &PoolModel,
        utterance: Utterance,
        options: SpeechOptions,
        turn: Turn,
    ) -> Result<Transcript, SpeechError> {
        let options = Box::new(options);
        self.submit(model, utterance, turn, |reply| Work::Recognize { options, reply }).await
    }

    /// As [`Recognizers::recognize`], but never waits for a place: the reply comes through the channel.
    /// Dropping the channel does not stop work that has begun; `cancel` does.
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
        let Ok(model) = self.own() else {
            // A caller that has gone needs no answer.
            let _ = reply.send(Err(SpeechError::Stopped));
            return Ok(answer);
        };
        let work = Work::Recognize { options: Box::new(options), reply };
        let job = Job { model: model.clone(), utterance, cancel, since: Instant::now(), work };
        let room = self.0.queue;
        match self.0.shared.push_if(Ticket::default(), job, |waiting| waiting < room) {
            Some(_) => Ok(answer),
            None => Err(QueueFull),
        }
    }

    /// Utterances that wait for a thread, besides those being worked on.
    pub fn waiting(&self) -> usize {
        let stats = self.stats();
        stats.waiting_short + stats.waiting_long
    }

    /// Language of one utterance, with its probability, by the pool's own model.
    ///
    /// # Errors
    /// See [`SpeechError`].
    pub async fn detect_language(
        &self,
        utterance: Utterance,
        cancel: CancellationToken,
    ) -> Result<(Lang, f32), SpeechError> {
        self.detect_language_by(self.own()?, utterance, cancel.into()).await
    }

    /// As [`Recognizers::detect_language`], by `model` and when it is its turn.
    ///
    /// # Errors
    /// See [`SpeechError`].
    pub async fn detect_language_by(
        &self,
        model: &PoolModel,
        utterance: Utterance,
        turn: Turn,
    ) -> Result<(Lang, f32), SpeechError> {
        self.submit(model, utterance, turn, |reply| Work::Detect { reply }).await
    }

    /// The pool at this moment.
    pub fn stats(&self) -> PoolStats {
        let state = self.0.shared.state();
        PoolStats {
            waiting_short: state.queue.waiting(Lane::Short),
            waiting_long: state.queue.waiting(Lane::Long),
            ..state.stats
        }
    }

    /// From now on `watcher` is told of every utterance that went through. There is one: a second is not taken.
    pub fn watch(&self, watcher: Watcher) {
        if self.0.shared.watcher.set(watcher).is_err() {
            tracing::warn!("the recogniser threads are being watched already");
        }
    }

    /// The model that the pool was started on.
    fn own(&self) -> Result<&PoolModel, SpeechError> {
        self.0.own.as_ref().ok_or(SpeechError::Stopped)
    }

    async fn submit<T>(
        &self,
        model: &PoolModel,
        utterance: Utterance,
        turn: Turn,
        work: impl FnOnce(oneshot::Sender<Result<T, SpeechError>>) -> Work,
    ) -> Result<T, SpeechError> {
        if turn.cancel.is_cancelled() {
            return Err(SpeechError::Cancelled);
        }
        let cancel = turn.cancel.child_token();
        let (reply, mut answer) = oneshot::channel();
        let (since, work) = (Instant::now(), work(reply));
        let job = Job { model: model.clone(), utterance, cancel: cancel.clone(), since, work };
        let shared = &self.0.shared;
        let Some(place) = shared.push_if(turn.ticket, job, |_| true) else { return Err(SpeechError::Stopped) };
        // Whatever ends this future, the job leaves the queue, or is cancelled where it is in work.
        let waiting = WaitingJob { shared, place, cancel: cancel.clone() };
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = cancel.cancelled() => {
                if waiting.leave() {
                    return Err(SpeechError::Cancelled);
                }
                answer.await
            }
        };
        answered.unwrap_or(Err(SpeechError::Stopped))
    }
}

/// What all clones of a [`Recognizers`] share; its drop ends the threads.
struct Handle {
    shared: Arc<Shared>,
    own: Option<PoolModel>,
    /// Utterances that may wait before `try_submit` refuses.
    queue: usize,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.come.notify_all();
    }
}

struct WaitingJob<'a> {
    shared: &'a Shared,
    place: Place,
    cancel: CancellationToken,
}

impl WaitingJob<'_> {
    /// Leaves the queue; `false` when the job is in work or done.
    fn leave(&self) -> bool {
        // Dropped with the lock released: a model may go with its last job.
        let job = self.shared.state().queue.remove(self.place);
        job.is_some()
    }
}

impl Drop for WaitingJob<'_> {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.leave();
    }
}

/// What the handles and the threads share.
struct Shared {
    // std: held for a few steps over small structures, never while something is computed or awaited.
    state: Mutex<State>,
    come: Condvar,
    watcher: OnceLock<Watcher>,
}

struct State {
    queue: FairQueue<Job>,
    closed: bool,
    stats: PoolStats,
    /// Seconds on a thread for a second of audio, lately: what the next utterance is expected to cost.
    rate: f64,
}

impl Shared {
    fn new(recognizers: usize) -> Self {
        let stats = PoolStats { recognizers, ..PoolStats::default() };
        // The first guess is soon corrected.
        let state = State { queue: FairQueue::new(), closed: false, stats, rate: 0.1 };
        Shared { state: Mutex::new(state), come: Condvar::new(), watcher: OnceLock::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job if `room` says so of the number that is waiting.
    fn push_if(&self, ticket: Ticket, job: Job, room: impl Fn(usize) -> bool) -> Option<Place> {
        let mut gone = Vec::new();
        let mut state = self.state();
        let waiting = |state: &State| state.queue.waiting(Lane::Short) + state.queue.waiting(Lane::Long);
        if !room(waiting(&state)) {
            // Only jobs of `try_submit` can be cancelled and still wait: nobody watches over those.
            gone = state.queue.remove_all(|job| job.cancel.is_cancelled());
        }
        let place = room(waiting(&state)).then(|| {
            let cost = state.rate * job.utterance.seconds();
            let place = state.queue.push(ticket, cost, job);
            self.come.notify_one();
            place
        });
        drop(state);
        drop(gone);
        place
    }

    /// The life of a thread.
    fn work(&self) {
        while let Some(Taken { item: job, charge }) = self.next() {
            let (seconds, wait_seconds) = (job.utterance.seconds(), job.since.elapsed().as_secs_f64());
            let begun = Instant::now();
            let done = job.run();
            let passed = Passed {
                lane: charge.ticket.lane,
                wait_seconds,
                busy_seconds: begun.elapsed().as_secs_f64(),
                audio_seconds: seconds,
            };
            self.settle(charge, &passed, done);
            if let Some(watcher) = self.watcher.get() {
                watcher(&passed);
            }
        }
    }

    /// The next job; waits for one. None when the last handle is gone and the queue empty.
    fn next(&self) -> Option<Taken<Job>> {
        let mut state = self.state();
        loop {
            if let Some(taken) = state.queue.pop() {
                state.stats.working += 1;
                return Some(taken);
            }
            if state.closed {
                return None;
            }
            state = self.come.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn settle(&self, charge: Charge, passed: &Passed, done: Done) {
        let mut state = self.state();
        state.queue.settle(charge, passed.busy_seconds);
        if done == Done::ToTheEnd {
            // One in eight: follows a change of model within some utterances, and not every outlier.
            state.rate += (passed.busy_seconds / passed.audio_seconds - state.rate) / 8.0;
        }
        let stats = &mut state.stats;
        stats.working -= 1;
        stats.utterances += 1;
        stats.wait_seconds += passed.wait_seconds;
        stats.busy_seconds += passed.busy_seconds;
        stats.audio_seconds += passed.audio_seconds;
    }
}

/// How far work went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    ToTheEnd,
    GivenUp,
}

impl Job {
    fn run(self) -> Done {
        let Job { model, utterance, cancel, work, .. } = self;
        match work {
            Work::Recognize { options, reply } => {
                answer(&model, reply, &cancel, |recognizer| recognizer.recognize(&utterance, &options, &cancel))
            }
            Work::Detect { reply } => {
                answer(&model, reply, &cancel, |recognizer| recognizer.detect_language(&utterance, &cancel))
            }
        }
    }
}

/// Does the work and sends the result. A recogniser that panicked is not used again.
fn answer<T>(
    model: &PoolModel,
    reply: oneshot::Sender<Result<T, SpeechError>>,
    cancel: &CancellationToken,
    work: impl FnOnce(&mut dyn Recognizer) -> Result<T, SpeechError>,
) -> Done {
    if cancel.is_cancelled() || reply.is_closed() {
        let _ = reply.send(Err(SpeechError::Cancelled));
        return Done::GivenUp;
    }
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut recognizer = model.take()?;
        let result = work(&mut *recognizer);
        model.put_back(recognizer);
        result
    }));
    let result = result.unwrap_or_else(|panic| {
        let why = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown panic".to_owned());
        Err(SpeechError::Failed { doing: "recognising", why })
    });
    let done = if result.is_ok() { Done::ToTheEnd } else { Done::GivenUp };
    // A caller that has gone does not want the text.
    let _ = reply.send(result);
    done
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

    /// Notes what it was asked, in order, taking a millisecond for 10 of audio; waits for the gate before each.
    struct Noting {
        gate: Arc<tokio::sync::Semaphore>,
        order: Arc<Mutex<Vec<String>>>,
    }

    impl Recognizer for Noting {
        fn recognize(
            &mut self,
            utterance: &Utterance,
            options: &SpeechOptions,
            cancel: &CancellationToken,
        ) -> Result<Transcript, SpeechError> {
            self.order.lock().expect("order").push(options.prompt.clone().unwrap_or_default());
            let begun = Instant::now();
            while begun.elapsed().as_secs_f64() < utterance.seconds() / 10.0 {
                if cancel.is_cancelled() {
                    return Err(SpeechError::Cancelled);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            while self.gate.try_acquire().map(tokio::sync::SemaphorePermit::forget).is_err() {
                std::thread::sleep(Duration::from_micros(200));
            }
            Ok(Transcript::default())
        }

        fn detect_language(&mut self, _: &Utterance, _: &CancellationToken) -> Result<(Lang, f32), SpeechError> {
            Ok((Lang::ENGLISH, 1.0))
        }
    }

    struct Watched {
        pool: Recognizers,
        model: PoolModel,
        gate: Arc<tokio::sync::Semaphore>,
        order: Arc<Mutex<Vec<String>>>,
    }

    impl Watched {
        fn new() -> Self {
            let (gate, order) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(Mutex::new(Vec::new())));
            let model = {
                let (gate, order) = (gate.clone(), order.clone());
                PoolModel::new(move || Ok(Box::new(Noting { gate: gate.clone(), order: order.clone() })))
            };
            let settings = PoolSettings { recognizers: 1, threads_each: 1, queue: 1 };
            Watched { pool: Recognizers::start_empty(settings).expect("threads start"), model, gate, order }
        }

        /// Queues an utterance of so many milliseconds under a name, and waits until it is in the queue or in work.
        async fn ask(&self, name: &str, ms: usize, ticket: Ticket) -> tokio::task::JoinHandle<()> {
            let count =
                |stats: PoolStats| stats.utterances as usize + stats.working + stats.waiting_short + stats.waiting_long;
            let before = count(self.pool.stats());
            let (pool, model, options) = (self.pool.clone(), self.model.clone(), asking(name));
            let utterance = Utterance::whole(vec![0.0; 16 * ms], 0.0).expect("not empty");
            let asked = tokio::spawn(async move {
                let turn = Turn { ticket, ..Turn::default() };
                // Some are given up.
                let _ = pool.recognize_by(&model, utterance, options, turn).await;
            });
            until(|| count(self.pool.stats()) > before).await;
            asked
        }

        fn order(&self) -> Vec<String> {
            self.order.lock().expect("order").clone()
        }
    }

    #[tokio::test]
    async fn a_clip_overtakes_a_long_file_and_the_file_goes_on_behind_it() {
        let watched = Watched::new();
        let (file, clip) = (Ticket { lane: Lane::Long, caller: 1 }, Ticket { lane: Lane::Short, caller: 2 });
        let mut asked = Vec::new();
        for name in ["long 0", "long 1", "long 2"] {
            asked.push(watched.ask(name, 20, file).await);
        }
        until(|| watched.order() == ["long 0"]).await;
        asked.push(watched.ask("clip", 20, clip).await);
        let stats = watched.pool.stats();
        assert_eq!((stats.working, stats.waiting_short, stats.waiting_long), (1, 1, 2));
        watched.gate.add_permits(4);
        for one in asked {
            one.await.expect("it ran");
        }
        assert_eq!(watched.order(), ["long 0", "clip", "long 1", "long 2"]);
    }

    #[tokio::test]
    async fn clips_without_end_leave_a_long_file_its_share() {
        let watched = Watched::new();
        let (file, clip) = (Ticket { lane: Lane::Long, caller: 1 }, Ticket { lane: Lane::Short, caller: 2 });
        let first = watched.ask("clip", 20, clip).await;
        let mut asked = vec![first];
        for _ in 0..30 {
            asked.push(watched.ask("clip", 20, clip).await);
        }
        for _ in 0..5 {
            asked.push(watched.ask("long", 20, file).await);
        }
        watched.gate.add_permits(100);
        for one in asked {
            one.await.expect("it ran");
        }
        let order = watched.order();
        // How large the share is, the queue's own tests say exactly; the clock of a busy machine does not.
        let (clip, long) =
            (order.iter().rposition(|name| name == "clip"), order.iter().position(|name| name == "long"));
        assert!(long < Some(15) && long < clip, "a long one came between the clips: {order:?}");
    }

    #[tokio::test]
    async fn a_caller_with_many_utterances_does_not_hold_up_another() {
        let watched = Watched::new();
        let of = |caller| Ticket { lane: Lane::Short, caller };
        let mut asked = Vec::new();
        for _ in 0..10 {
            asked.push(watched.ask("many", 5, of(1)).await);
        }
        for _ in 0..2 {
            asked.push(watched.ask("few", 5, of(2)).await);
        }
        watched.gate.add_permits(12);
        for one in asked {
            one.await.expect("it ran");
        }
        let last = watched.order().iter().rposition(|name| name == "few");
        assert!(last.is_some_and(|last| last <= 5), "{:?}", watched.order());
    }

    #[tokio::test]
    async fn who_hangs_up_while_waiting_leaves_the_queue_at_once() {
        let watched = Watched::new();
        let running = watched.ask("running", 1, Ticket::default()).await;
        let dropped = watched.ask("dropped", 1, Ticket::default()).await;
        let (pool, model) = (watched.pool.clone(), watched.model.clone());
        let cancel = CancellationToken::new();
        let turn = Turn { cancel: cancel.clone(), ticket: Ticket { lane: Lane::Long, caller: 7 } };
        let cancelled =
            tokio::spawn(async move { pool.recognize_by(&model, utterance(), asking("cancelled"), turn).await });
        until(|| watched.pool.stats().waiting_long == 1 && watched.pool.stats().waiting_short == 1).await;
        dropped.abort();
        cancel.cancel();
        // The thread is at its gate all the while.
        assert!(matches!(cancelled.await, Ok(Err(SpeechError::Cancelled))));
        until(|| watched.pool.stats().waiting_short == 0).await;
        let stats = watched.pool.stats();
        assert_eq!((stats.working, stats.waiting_short, stats.waiting_long), (1, 0, 0));
        watched.gate.add_permits(1);
        running.await.expect("it ran");
        assert_eq!(watched.order(), ["running"]);
    }

    #[tokio::test]
    async fn models_share_the_threads_and_go_with_their_last_handle() {
        let (pool, own) = pool(1, 1);
        let alive = Arc::new(AtomicUsize::new(0));
        let count = alive.clone();
        let second = PoolModel::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Scripted(count.clone())) as Box<dyn Recognizer>)
        });
        let heard = pool.recognize_by(&second, utterance(), asking("hello"), Turn::default()).await;
        assert!(heard.is_ok() && pool.recognize(utterance(), asking("hello"), CancellationToken::new()).await.is_ok());
        assert_eq!((alive.load(Ordering::SeqCst), own.load(Ordering::SeqCst)), (1, 1));
        let remains = second.remains();
        assert!(!remains.are_gone());
        drop(second);
        // The thread is idle and must not be needed for it.
        until(|| remains.are_gone() && alive.load(Ordering::SeqCst) == 0).await;
        assert_eq!(own.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_went_through_is_counted() {
        let (pool, _) = pool(1, 1);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        pool.watch(Box::new(move |passed| into.lock().expect("list").push(*passed)));
        pool.recognize(utterance(), asking("hello"), CancellationToken::new()).await.expect("it works");
        until(|| pool.stats().utterances == 1 && seen.lock().expect("list").len() == 1).await;
        let passed = seen.lock().expect("list")[0];
        assert_eq!((passed.lane, passed.audio_seconds), (Lane::Short, 0.01));
        assert!(passed.wait_seconds >= 0.0 && passed.busy_seconds > 0.0);
        let stats = pool.stats();
        assert_eq!((stats.recognizers, stats.working), (1, 0));
        assert_eq!((stats.audio_seconds, stats.busy_seconds), (passed.audio_seconds, passed.busy_seconds));
    }
}
