//! Models that are made up, of any size, loading as long as a test wants.

use super::*;
use crate::speech::Recognizer;
use crate::speech::worker::PoolSettings;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Says which model it is of.
struct Echo(String);

impl Recognizer for Echo {
    fn recognize(
        &mut self,
        _: &Utterance,
        _: &SpeechOptions,
        _: &CancellationToken,
    ) -> Result<Transcript, SpeechError> {
        let segment = crate::speech::Segment { text: self.0.clone(), ..Default::default() };
        Ok(Transcript { language: Some(Lang::ENGLISH), segments: vec![segment] })
    }

    fn detect_language(&mut self, _: &Utterance, _: &CancellationToken) -> Result<(Lang, f32), SpeechError> {
        Ok((Lang::ENGLISH, 1.0))
    }
}

/// Names are sizes: `a60` takes 60 bytes. `bad…` does not load.
struct Bench {
    models: SpeechModels,
    loads: Arc<AtomicUsize>,
}

fn bench(memory: u64, keep_alive: Option<u64>) -> Bench {
    let loads = Arc::new(AtomicUsize::new(0));
    let find = |name: Option<&str>| {
        let name = name.unwrap_or("configured10").to_owned();
        let digits: String = name.chars().filter(char::is_ascii_digit).collect();
        let bytes = digits.parse().map_err(|_| ModelError::NotOffered { name: name.clone() })?;
        Ok(Wanted { path: name.clone().into(), name, bytes })
    };
    let count = loads.clone();
    let load = move |wanted: &Wanted| {
        count.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        if wanted.name.starts_with("bad") {
            return Err(SpeechError::BadModel { path: wanted.path.clone(), why: "made up".into() });
        }
        let name = wanted.name.clone();
        Ok(PoolModel::new(move || Ok(Box::new(Echo(name.clone())))))
    };
    let source = Source { find: Box::new(find), load: Box::new(load) };
    let room_wait = Duration::from_millis(300);
    let limits = Limits { keep_alive: keep_alive.map(Duration::from_millis), memory, room_wait };
    let pool = Recognizers::start_empty(PoolSettings { recognizers: 1, threads_each: 1, queue: 1 }).expect("threads");
    let store = Store::new("/nonexistent", Vec::new());
    Bench { models: SpeechModels::with(source, limits, pool, store), loads }
}

impl Bench {
    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn names(&self) -> Vec<String> {
        self.models.loaded().into_iter().map(|model| model.name).collect()
    }

    /// Uses a model and gives it back.
    async fn touch(&self, name: &str) {
        drop(self.models.lease(Some(name)).await.expect("it loads"));
    }

    async fn until(&self, names: &[&str]) {
        let begun = Instant::now();
        while self.names() != names {
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?} instead of {names:?}", self.names());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn said_by(lease: &Lease) -> String {
    let utterance = Utterance::whole(vec![0.0; 160], 0.0).expect("not empty");
    let heard = lease.recognize(utterance, SpeechOptions::default(), Ticket::default(), CancellationToken::new()).await;
    heard.expect("it works").text()
}

#[tokio::test]
async fn many_who_wait_wait_for_one_load() {
    let bench = bench(0, None);
    let leases = futures_util::future::join_all((0..10).map(|_| bench.models.lease(Some("a60")))).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!((bench.loads(), bench.models.loaded()[0].users), (1, 10));
    drop(leases);
    let loaded = bench.models.loaded();
    assert_eq!((loaded[0].users, loaded[0].state, loaded[0].bytes), (0, LoadState::Ready, 60));
    bench.touch("a60").await;
    assert_eq!(bench.loads(), 1, "it was kept");
}

#[tokio::test]
async fn each_lease_works_with_its_own_model() {
    let bench = bench(0, None);
    let a = bench.models.lease(Some("a60")).await.expect("it loads");
    let b = bench.models.lease(Some("b60")).await.expect("it loads");
    let configured = bench.models.lease(None).await.expect("it loads");
    assert_eq!((said_by(&a).await, said_by(&b).await), ("a60".into(), "b60".into()));
    assert_eq!((said_by(&configured).await, said_by(&a).await), ("configured10".into(), "a60".into()));
    assert_eq!(configured.name(), "configured10");
}

#[tokio::test]
async fn a_load_that_fails_is_everybodys_error_and_is_tried_again_later() {
    let bench = bench(0, None);
    let leases = futures_util::future::join_all((0..5).map(|_| bench.models.lease(Some("bad5")))).await;
    for lease in leases {
        let error = lease.err().expect("it does not load").to_string();
        assert!(error.contains("made up"), "{error}");
    }
    assert_eq!((bench.loads(), bench.names().len()), (1, 0));
    assert!(bench.models.lease(Some("bad5")).await.is_err());
    assert_eq!(bench.loads(), 2);
}

#[tokio::test]
async fn who_gives_up_does_not_take_the_load_from_the_others() {
    let bench = bench(0, None);
    let models = bench.models.clone();
    let first = tokio::spawn(async move { models.lease(Some("a60")).await.map(drop) });
    bench.until(&["a60"]).await;
    first.abort();
    let lease = bench.models.lease(Some("a60")).await.expect("it loads");
    assert_eq!((bench.loads(), bench.models.loaded()[0].users), (1, 1));
    drop(lease);
}

#[tokio::test]
async fn an_unused_model_goes_after_its_time_and_not_before() {
    let bench = bench(0, Some(100));
    let lease = bench.models.lease(Some("a60")).await.expect("it loads");
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(bench.names(), ["a60"], "it is in use");
    let begun = Instant::now();
    drop(lease);
    bench.until(&[]).await;
    assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
    bench.touch("a60").await;
    assert_eq!(bench.loads(), 2);
}

#[tokio::test]
async fn zero_is_at_once_but_not_before_the_first_use() {
    let bench = bench(0, Some(0));
    bench.models.preload().await.expect("it loads");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.names(), ["configured10"], "loaded ahead of its first use");
    let lease = bench.models.lease(None).await.expect("it is there");
    assert_eq!(bench.loads(), 1);
    drop(lease);
    bench.until(&[]).await;
}

#[tokio::test]
async fn the_longest_unused_makes_room() {
    let bench = bench(100, None);
    bench.touch("a40").await;
    bench.touch("b40").await;
    bench.touch("a40").await;
    bench.touch("c40").await;
    assert_eq!(bench.names(), ["a40", "c40"]);
    bench.touch("d90").await;
    assert_eq!(bench.names(), ["d90"]);
}

#[tokio::test]
async fn what_is_in_use_stays_and_who_finds_no_room_is_told() {
    let bench = bench(100, None);
    let held = bench.models.lease(Some("a60")).await.expect("it loads");
    bench.touch("b40").await;
    let begun = Instant::now();
    let error = bench.models.lease(Some("c50")).await.err().expect("no room");
    assert!(matches!(error, Error::Model(ModelError::NoRoom { needed: 50, allowed: 100, .. })), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(bench.names(), ["a60", "b40"], "nothing goes for what does not fit all the same");
    // Somebody who waits gets the room as soon as it is there.
    let (lease, ()) = tokio::join!(bench.models.lease(Some("c50")), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(held);
    });
    assert!(lease.is_ok());
    assert_eq!(bench.names(), ["b40", "c50"]);
}

#[tokio::test]
async fn what_never_fits_is_refused_at_once() {
    let bench = bench(100, None);
    let begun = Instant::now();
    let error = bench.models.lease(Some("a101")).await.err().expect("too large");
    assert!(matches!(error, Error::Model(ModelError::TooLarge { .. })), "{error}");
    assert!(begun.elapsed() < Duration::from_millis(200));
}

#[tokio::test]
async fn unloading_by_hand() {
    let bench = bench(0, None);
    let lease = bench.models.lease(Some("a60")).await.expect("it loads");
    assert_eq!(bench.models.unload("a60").await, Unloaded::InUse(1));
    drop(lease);
    assert_eq!(bench.models.unload("a60").await, Unloaded::Done);
    assert_eq!(bench.models.unload("a60").await, Unloaded::NotLoaded);
    assert!(bench.names().is_empty());
}
