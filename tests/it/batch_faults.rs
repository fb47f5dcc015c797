//! What goes wrong while a folder is worked through.

use crate::batch_support::{Folder, long, names, speech, tone, wav};
use crate::support::cli::Ran;
use crate::support::servers::kill_9;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Recordings of several utterances each: pauses split them.
fn recordings(folder: &Folder, files: usize, utterances: usize) {
    for n in 0..files {
        let mut samples = Vec::new();
        for u in 0..utterances {
            let clip = ["librivox/0880.wav", "librivox/0930.wav", "librivox/0890.wav"][(n + u) % 3];
            samples.extend(speech(clip, 1.5));
        }
        samples.extend(vec![i16::try_from(n).unwrap(); 1600]);
        folder.put(format!("{n}/talk {n}.wav"), wav(&samples));
    }
    folder.put("bad.wav", "no sound");
}

#[test]
fn killed_at_any_moment_the_next_run_ends_with_the_same_result() {
    let folder = Folder::new();
    let (files, kills) = if long() { (6, 20) } else { (2, 3) };
    recordings(&folder, files, 3);
    let flags = ["--formats", "txt,srt,json"];
    let begun = Instant::now();
    let plain = folder.run("whole", &flags);
    assert_eq!(plain.code, Some(6), "{}", plain.err);
    let whole = begun.elapsed();
    let mut killed = 0;
    while killed < kills {
        let mut child = folder.spawn("cut", &flags);
        // Spread over the run; odd moments between.
        let moment = whole.mul_f64(0.2 + 0.6 * fastrand::f64());
        let deadline = Instant::now() + moment / 2;
        while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        if child.try_wait().unwrap().is_none() {
            kill_9(child.id());
        }
        child.wait().unwrap();
        killed += 1;
        // What is there is whole at any time: it parses.
        if folder.path("cut").exists() {
            folder.outputs("cut");
        }
    }
    let last = folder.run("cut", &flags);
    assert_eq!(last.code, Some(6), "{}", last.err);
    assert_eq!(folder.outputs("cut"), folder.outputs("whole"));
    let repeated = folder.count("cut", "SELECT sum(times - 1) FROM parts");
    assert!(repeated <= kills, "{repeated} utterances were recognised again after {kills} kills");
    let scratch = fs::read_dir(folder.path("cut/.bestbox/tmp")).unwrap().count();
    assert_eq!(scratch, 0, "no temporary file is left");
}

#[test]
fn ctrl_c_finishes_the_utterance_and_saves() {
    let folder = Folder::new();
    recordings(&folder, 1, 12);
    let mut child = folder.spawn("out", &["--formats", "txt", "--progress", "json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("\"progress\"")), "it has begun");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    let ran = Ran::of(child.wait_with_output().unwrap());
    rest.join().unwrap();
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    let saved = folder.count("out", "SELECT count(*) FROM parts");
    assert!(saved >= 1, "{saved}");
    assert!(!folder.path("out/0/talk 0.txt").exists(), "half a text is no output");
    let last = folder.run("out", &["--formats", "txt"]);
    assert_eq!(last.code, Some(6), "{}", last.err);
    assert_eq!(folder.count("out", "SELECT sum(times) FROM parts WHERE times > 1"), 0, "nothing was recognised twice");
}

#[cfg(unix)]
#[test]
fn what_is_no_recording_is_named_and_stops_nothing() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "good.wav");
    folder.put("noise.mp3", [0x55; 3000]);
    folder.put("empty.wav", "");
    folder.put("folder.wav/inside.wav", tone(3, 0.3));
    folder.put("cut.flac", &fs::read(crate::support::cli::sample("requests/note-diary.flac")).unwrap()[..2000]);
    std::os::unix::fs::symlink("nowhere", folder.input().join("dangling.wav")).unwrap();
    nix::unistd::mkfifo(&folder.input().join("pipe.wav"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let strange: Vec<std::ffi::OsString> = vec![
        "日本語 🎤.wav".into(),
        "new\nline.wav".into(),
        "-rf.wav".into(),
        "a'b\"c$(d).wav".into(),
        format!("{}.wav", "x".repeat(251)).into(),
        format!("{}.wav", "語".repeat(83)).into(),
        std::ffi::OsStr::from_bytes(b"latin \xe9\xff.wav").into(),
    ];
    for (n, name) in strange.iter().enumerate() {
        folder.put(name, tone(100 + n as u32, 0.3));
    }
    let ran = folder.run("out", &["--formats", "txt,json"]);
    assert_eq!(ran.code, Some(6), "{}", ran.err);
    let outputs = folder.outputs("out");
    let good = 2 + strange.len();
    let jsons: Vec<_> = outputs.keys().filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    assert!(jsons.len() >= good, "{jsons:?} {}", ran.err);
    for code in ["not-audio", "empty", "not-a-file"] {
        let sql = match code {
            "not-audio" => {
                "SELECT count(*) FROM files WHERE record LIKE '%\"code\":\"not-audio\"%' OR record LIKE '%\"code\":\"corrupt\"%'"
            }
            "empty" => "SELECT count(*) FROM files WHERE record LIKE '%\"code\":\"empty\"%'",
            _ => "SELECT count(*) - 1 FROM files WHERE record LIKE '%\"code\":\"not-a-file\"%'",
        };
        assert!(folder.count("out", sql) >= 1, "{code}: {}", ran.err);
    }
    assert!(folder.path("out/new\nline.txt").exists() && folder.path("out/folder.wav/inside.txt").exists());
    let again = folder.run("out", &["--formats", "txt,json"]);
    assert_eq!(folder.outputs("out"), outputs, "{}", again.err);
}

#[test]
fn all_bad_is_another_code_and_a_missing_folder_too() {
    let folder = Folder::new();
    folder.put("bad.mp3", "no");
    folder.run("out", &[]).failed(3, &["1 of 1 inputs failed"]);
    let mut missing = Command::new(env!("CARGO_BIN_EXE_bestbox"));
    let ran = missing.args(["batch", "/nowhere/at/all"]).output().unwrap();
    Ran::of(ran).failed(3, &["/nowhere/at/all"]);
    folder.run("out", &["--include", "a["]).failed(2, &["--include"]);
}

#[cfg(unix)]
#[test]
fn an_input_that_cannot_be_written_is_no_obstacle() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "talk.wav");
    fs::set_permissions(folder.input(), fs::Permissions::from_mode(0o555)).unwrap();
    let ran = folder.run("out", &["--formats", "txt"]);
    let left: Vec<_> = fs::read_dir(folder.input()).unwrap().collect();
    fs::set_permissions(folder.input(), fs::Permissions::from_mode(0o755)).unwrap();
    ran.ok();
    assert_eq!(left.len(), 1, "nothing is written into IN");
    assert_eq!(names(&folder.outputs("out")), ["talk.txt"]);
    // An OUT that cannot be is said before anything is loaded.
    fs::write(folder.path("file"), "x").unwrap();
    let ran = folder.run("file/out", &[]);
    assert_eq!(ran.code, Some(5), "{}", ran.err);
}

/// A limit on the size of files stands for a full disk: writing fails half-way, and no privilege is needed.
#[cfg(unix)]
#[test]
fn a_full_disk_stops_cleanly_and_the_next_run_goes_on() {
    let folder = Folder::new();
    recordings(&folder, 3, 2);
    let command = folder.batch("out", ["--formats", "txt,json"]);
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    // 600 blocks of 512 bytes: the manifest can be made, and its log grows up to there in the middle of the work.
    let mut limited = Command::new("sh");
    limited.arg("-c").arg("trap '' XFSZ; ulimit -f 600; exec \"$@\"").arg("sh").args(words);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let ran = Ran::of(limited.stdin(Stdio::null()).output().unwrap());
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    assert!(ran.err.contains("disk is full") && ran.err.contains("goes on from here"), "{}", ran.err);
    assert!(ran.err.contains("not finished"), "{}", ran.err);
    let next = folder.run("out", &["--formats", "txt,json"]);
    assert_eq!(next.code, Some(6), "{}", next.err);
    let whole = folder.run("whole", &["--formats", "txt,json"]);
    assert_eq!(whole.code, Some(6));
    assert_eq!(folder.outputs("out"), folder.outputs("whole"));
}

/// Memory does not grow with the length of a recording.
#[cfg(target_os = "linux")]
#[test]
fn a_long_recording_needs_no_more_memory() {
    let folder = Folder::new();
    let hours = if long() { 3.0 } else { 0.4 };
    // Mostly silence, so that recognition does not take hours; an utterance every ten minutes.
    let clip = speech("librivox/0880.wav", 0.0);
    let mut samples = vec![0i16; (hours * 3600.0 * 16_000.0) as usize];
    for start in (0..samples.len() - clip.len()).step_by(600 * 16_000) {
        samples[start..start + clip.len()].copy_from_slice(&clip);
    }
    folder.put("long.wav", wav(&samples));
    let bytes = samples.len() * 2;
    drop(samples);
    let mut child = folder.spawn("out", &["--formats", "srt"]);
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default();
        peak = peak.max(line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(50));
    }
    let ran = Ran::of(child.wait_with_output().unwrap()).ok();
    assert!(names(&folder.outputs("out")) == ["long.srt"], "{}", ran.err);
    // Model and working memory of tiny.en; the samples alone would be several times the file.
    assert!(peak < 450 * 1024, "{peak} kB for a file of {} kB", bytes / 1024);
}

#[test]
fn a_file_that_failed_is_tried_again_when_asked() {
    let folder = Folder::new();
    let path = folder.put("talk.wav", "no sound");
    assert_eq!(folder.run("out", &["--formats", "txt"]).code, Some(3));
    let told = folder.run("out", &["--formats", "txt"]);
    assert!(told.code == Some(3) && told.err.contains("failed before"), "{}", told.err);
    let again = folder.run("out", &["--formats", "txt", "--retry-failed"]);
    assert!(again.code == Some(3) && !again.err.contains("failed before"), "{}", again.err);
    fs::copy(crate::support::cli::sample("librivox/0880.wav"), path).unwrap();
    folder.run("out", &["--formats", "txt"]).ok();
}
