//! `bestbox batch --watch`.

use crate::batch_support::{Folder, speech, wav};
use crate::support::cli::Ran;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

/// `bestbox batch --watch`; a test that fails leaves none behind.
struct Watch(Option<Child>);

impl Watch {
    fn start(folder: &Folder, out: &str, flags: &[&str]) -> Self {
        let mut all = vec!["--watch", "--formats", "txt"];
        all.extend(flags);
        Watch(Some(folder.spawn(out, &all)))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("not ended")
    }

    fn terminate(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child().id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }

    fn appears(&mut self, path: &Path) {
        let begun = Instant::now();
        while !path.exists() {
            let ended = self.child().try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}");
            assert!(begun.elapsed() < Duration::from_secs(60), "{} never came", path.display());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn end(mut self) -> Ran {
        self.terminate();
        Ran::of(self.0.take().expect("not ended").wait_with_output().unwrap())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn new_and_changed_files_are_taken_up_once_they_are_whole() {
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "first.wav");
    let mut watch = Watch::start(&folder, "out", &["--settle", "0.5"]);
    watch.appears(&folder.path("out/first.txt"));
    // A file that grows for longer than it takes to settle, held open all the while.
    let bytes = wav(&speech("librivox/0930.wav", 0.0));
    let mut growing = fs::File::create(folder.input().join("growing.wav")).unwrap();
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    growing.write_all(half).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!folder.path("out/growing.txt").exists(), "it is not whole yet");
    growing.write_all(rest).unwrap();
    drop(growing);
    watch.appears(&folder.path("out/growing.txt"));
    // A folder that comes with its files, under a name that is moved in.
    let staged = folder.path("staged");
    fs::create_dir(&staged).unwrap();
    fs::copy(folder.input().join("first.wav"), staged.join("moved.wav")).unwrap();
    fs::rename(&staged, folder.input().join("sub")).unwrap();
    watch.appears(&folder.path("out/sub/moved.txt"));
    // A change is done again.
    let before = fs::read_to_string(folder.path("out/first.txt")).unwrap();
    folder.sample("librivox/0890.wav", "first.wav");
    let begun = Instant::now();
    while fs::read_to_string(folder.path("out/first.txt")).unwrap() == before {
        assert!(begun.elapsed() < Duration::from_secs(60), "the change was not noticed");
        std::thread::sleep(Duration::from_millis(50));
    }
    let ran = watch.end();
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    assert_eq!(folder.count("out", "SELECT count(*) FROM files WHERE state = 'failed'"), 0, "{}", ran.err);
}

/// A network folder goes away and comes back; OUT is in it, so the manifest goes too.
#[test]
fn a_folder_may_go_away_and_come_back() {
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "one.wav");
    let mut watch = Watch::start(&folder, "in", &["--poll", "0.3", "--settle", "0.3"]);
    watch.appears(&folder.input().join("one.txt"));
    let away = folder.path("away");
    fs::rename(folder.input(), &away).unwrap();
    std::thread::sleep(Duration::from_millis(6000));
    assert!(watch.child().try_wait().unwrap().is_none(), "it waits");
    let left: Vec<_> = walkdir::WalkDir::new(folder.input()).into_iter().flatten().collect();
    assert!(left.is_empty(), "made in the empty place: {left:?}");
    fs::copy(away.join("one.wav"), away.join("two.wav")).unwrap();
    fs::rename(&away, folder.input()).unwrap();
    watch.appears(&folder.input().join("two.txt"));
    let ran = watch.end();
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    assert_eq!(folder.count("in", "SELECT count(*) FROM results"), 1, "the copy was known");
}

/// Whoever started it may be gone, and with it the other end of its standard error.
#[test]
fn it_ends_when_told_to_though_nobody_reads() {
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "one.wav");
    let mut watch = Watch::start(&folder, "out", &["--settle", "0.3"]);
    watch.appears(&folder.path("out/one.txt"));
    drop((watch.child().stdout.take(), watch.child().stderr.take()));
    watch.terminate();
    let begun = Instant::now();
    while watch.child().try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it goes on");
        std::thread::sleep(Duration::from_millis(50));
    }
}
