//! `bestbox batch`: folders in, transcripts out, nothing done twice.

use crate::batch_support::{Folder, long, names, speech, tone, wav};
use crate::support::cli::{Ran, sample};
use bestbox::outcome::Outcome;
use std::fs;
use std::process::Stdio;

#[test]
fn a_tree_becomes_a_tree_and_a_second_run_does_nothing() {
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "one.wav");
    folder.sample("librivox/0880.wav", "a/same content.WAV");
    folder.sample("requests/quick-capital.mp3", "a/talk.mp3");
    folder.sample("requests/note-letter.opus", "a/talk.opus");
    folder.put(".hidden.wav", "x");
    folder.put("load.mp3.part", "x");
    let first = folder.run("out", &[]).ok();
    let outputs = folder.outputs("out");
    let stems = ["a/same content", "a/talk.mp3", "a/talk.opus", "one"];
    let expected: Vec<String> =
        stems.iter().flat_map(|stem| ["json", "srt", "txt"].map(|end| format!("{stem}.{end}"))).collect();
    assert_eq!(names(&outputs), expected, "{}", first.err);
    let outcome: Outcome = serde_json::from_str(&outputs[std::path::Path::new("a/talk.mp3.json")]).unwrap();
    assert!(outcome.transcript.text().to_lowercase().contains("capital"), "{}", outcome.transcript.text());
    assert_eq!(outcome.source.name, "a/talk.mp3");
    assert!(outcome.intent.is_none() && outcome.reply.is_none(), "nobody answers unless asked");
    assert_eq!(folder.count("out", "SELECT count(*) FROM results"), 3, "one content is recognised once");

    let recognised = "SELECT sum(times) FROM parts";
    let before = folder.count("out", recognised);
    let begun = std::time::Instant::now();
    let second = folder.run("out", &[]).ok();
    assert!(second.err.contains("4 unchanged"), "{}", second.err);
    assert!(!second.err.contains("loading"), "no model is loaded for nothing: {}", second.err);
    assert!(begun.elapsed().as_secs() < 10);

    // Moved, copied, touched: known. Another format: rendered from what is there. A lost output: written again.
    fs::rename(folder.input().join("one.wav"), folder.input().join("renamed.wav")).unwrap();
    fs::create_dir(folder.input().join("b")).unwrap();
    fs::copy(folder.input().join("a/talk.mp3"), folder.input().join("b/talk.mp3")).unwrap();
    fs::File::options()
        .write(true)
        .open(folder.input().join("a/talk.opus"))
        .and_then(|file| file.set_modified(std::time::SystemTime::now()))
        .unwrap();
    fs::remove_file(folder.path("out/a/talk.mp3.srt")).unwrap();
    let third = folder.run("out", &["--formats", "txt,srt,json,vtt,lrc,md,csv,tsv,jsonl"]).ok();
    assert!(!third.err.contains("loading"), "{}", third.err);
    let all = names(&folder.outputs("out"));
    for name in ["renamed.vtt", "b/talk.lrc", "a/talk.opus.md", "a/talk.mp3.srt", "a/same content.csv", "b/talk.jsonl"]
    {
        assert!(all.iter().any(|have| have == name), "{name} is missing from {all:?}");
    }
    assert!(!all.iter().any(|name| name.starts_with("one.")), "outputs move with their recording: {all:?}");
    assert!(third.err.contains("one.wav is called renamed.wav now"), "{}", third.err);
    assert_eq!(folder.count("out", recognised), before, "nothing was recognised again");

    // What is no longer wanted goes, unless somebody edited it.
    fs::write(folder.path("out/renamed.vtt"), "WEBVTT\n\nmine now\n").unwrap();
    folder.run("out", &["--formats", "txt"]).ok();
    let left = names(&folder.outputs("out"));
    assert!(left.iter().any(|name| name == "renamed.vtt") && !left.iter().any(|name| name == "b/talk.lrc"), "{left:?}");
    // A changed file is done again, and so is everything with --force.
    folder.sample("librivox/0930.wav", "renamed.wav");
    let changed = folder.run("out", &["--formats", "txt"]).ok();
    assert!(changed.err.contains("1 done"), "{}", changed.err);
    let forced = folder.run("out", &["--formats", "txt", "--force"]).ok();
    assert!(forced.err.contains("4 done") && forced.err.contains("1 known already"), "{}", forced.err);
}

#[test]
fn a_file_of_the_user_is_never_replaced() {
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "talk.wav");
    folder.put("talk.txt", "my own notes");
    let flags = ["--formats", "txt"];
    let run = || Ran::of(folder.batch("in", flags).output().unwrap());
    let first = run().ok();
    assert_eq!(fs::read_to_string(folder.input().join("talk.txt")).unwrap(), "my own notes");
    assert!(first.err.contains("talk.txt is not bestbox's own"), "{}", first.err);
    let written = folder.input().join("talk.wav.txt");
    let text = fs::read_to_string(&written).unwrap();
    assert!(text.to_lowercase().contains("young man"), "{text}");
    // OUT is IN: nothing that was written is taken up, and nothing of it changes.
    let second = run().ok();
    assert!(second.err.contains("1 unchanged") && second.err.contains("0 done"), "{}", second.err);
    // An edited transcript is somebody's work too.
    fs::write(&written, "corrected by hand").unwrap();
    Ran::of(folder.batch("in", ["--formats", "txt", "--force"]).output().unwrap()).ok();
    assert_eq!(fs::read_to_string(&written).unwrap(), "corrected by hand");
    Ran::of(folder.batch("in", ["--formats", "txt", "--force", "--overwrite"]).output().unwrap()).ok();
    assert!(fs::read_to_string(folder.input().join("talk.txt")).unwrap().to_lowercase().contains("young man"));
}

#[test]
fn out_inside_in_is_not_fed_back() {
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "talk.wav");
    for _ in 0..2 {
        folder.run("in/out", &["--formats", "txt,json,srt"]).ok();
    }
    // Another OUT beside it: what the first one wrote is no input either.
    let other = folder.run("in/other", &["--formats", "txt"]).ok();
    assert!(other.err.contains("1 done"), "{}", other.err);
    assert_eq!(names(&folder.outputs("in/out")), ["talk.json", "talk.srt", "talk.txt"]);
    assert_eq!(names(&folder.outputs("in/other")), ["talk.txt"]);
}

#[test]
fn another_cleanup_needs_no_recognition_and_texts_have_their_names() {
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "talk.wav");
    folder.run("out", &["--texts", "raw,cleaned", "--formats", "txt,json"]).ok();
    assert_eq!(names(&folder.outputs("out")), ["talk.clean.txt", "talk.json", "talk.raw.txt"]);
    let times = folder.count("out", "SELECT sum(times) FROM parts");
    // Rules alone: there is no server, which is a warning of the file and not its failure.
    let flags = ["--cleanup", "punctuate", "--set", "light.manage=false", "--set", "light.base_url=http://127.0.0.1:9"];
    let again = folder.run("out", &flags).ok();
    assert!(again.err.contains("1 done"), "{}", again.err);
    assert_eq!(folder.count("out", "SELECT sum(times) FROM parts"), times, "{}", again.err);
    assert_eq!(names(&folder.outputs("out")), ["talk.json", "talk.srt", "talk.txt"]);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let folder = Folder::new();
    folder.sample("librivox/0870.wav", "one.wav");
    folder.put("bad.wav", "not a recording");
    let dry = folder.run("out", &["--dry-run"]).ok();
    assert!(dry.out.contains("2 files to do") && dry.out.contains("1 that cannot be read"), "{}", dry.out);
    assert!(!folder.path("out").exists());
    let mut json = folder.batch("out", ["--dry-run", "--progress", "json"]);
    let json = Ran::of(json.output().unwrap()).ok();
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let seconds = json["audio_seconds"].as_f64().unwrap();
    assert!((7.0..7.3).contains(&seconds) && json["estimated_seconds"].as_f64().unwrap() > 0.0, "{json}");
}

#[cfg(unix)]
#[test]
fn a_command_follows_each_file_and_a_failing_one_stops_nothing() {
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "it's; $(one).wav");
    folder.sample("librivox/0930.wav", "two.wav");
    let list = folder.path("list");
    let script = folder.path("hook.sh");
    fs::write(&script, "#!/bin/sh\nprintf '%s|%s|%s\\n' \"$1\" \"$2\" \"$BESTBOX_LANGUAGE\" >> \"$3\"\ncase $1 in *two*) echo oh no >&2; exit 7;; esac\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let command = format!("{} {{}} {{txt}} {}", script.display(), list.display());
    let ran = folder.run("out", &["--then", &command]).ok();
    let mut lines: Vec<String> = fs::read_to_string(&list).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    let line = |stem: &str| {
        format!(
            "{}|{}|en",
            folder.input().canonicalize().unwrap().join(format!("{stem}.wav")).display(),
            folder.path(&format!("out/{stem}.txt")).display()
        )
    };
    assert_eq!(lines, [line("it's; $(one)"), line("two")]);
    assert!(ran.err.contains("--then") && ran.err.contains("oh no"), "{}", ran.err);
    assert_eq!(folder.count("out", "SELECT count(*) FROM files WHERE record LIKE '%\"code\":7%'"), 1);
    // A second run has nothing to run it for; a hanging one is ended.
    folder.run("out", &["--then", &command]).ok();
    assert_eq!(fs::read_to_string(&list).unwrap().lines().count(), 2);
    let slow = folder.run("out", &["--force", "--then", "sleep 60", "--then-timeout", "0.3"]).ok();
    assert_eq!(slow.err.matches("took longer").count(), 2, "{}", slow.err);
}

#[test]
fn json_progress_is_json_lines_on_standard_output() {
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "one.wav");
    folder.put("bad.mp3", "no");
    let ran = Ran::of(folder.batch("out", ["--progress", "json"]).output().unwrap());
    assert_eq!(ran.code, Some(6), "{}", ran.err);
    let events: Vec<serde_json::Value> = ran.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(of("start").len(), 1);
    let files = of("file");
    let status = |path: &str| files.iter().find(|e| e["file"]["path"] == path).map(|e| e["file"]["status"].clone());
    assert_eq!(status("one.wav"), Some("done".into()));
    assert_eq!(status("bad.mp3"), Some("failed".into()));
    assert_eq!(of("end")[0]["failed"], 1);
}

#[test]
fn an_intent_is_written_down_and_nobody_answers() {
    let folder = Folder::new();
    folder.sample("requests/quick-capital.mp3", "question.mp3");
    folder.run("out", &["--intent", "--formats", "json"]).ok();
    let outputs = folder.outputs("out");
    let outcome: Outcome = serde_json::from_str(&outputs[std::path::Path::new("question.json")]).unwrap();
    let intent = outcome.intent.expect("an intent");
    assert!(intent.probabilities.len() >= 2 || !outcome.warnings.is_empty(), "{intent:?}");
    assert!(outcome.reply.is_none());
}

/// Two processes share the work of one folder and do none of it twice.
#[test]
fn two_processes_share_a_folder() {
    let folder = Folder::new();
    let samples = speech("librivox/0880.wav", 0.0);
    let count = if long() { 40 } else { 8 };
    for n in 0..count {
        let mut own = samples.clone();
        own.extend(vec![i16::try_from(n).unwrap(); 160]);
        folder.put(format!("{n:02}.wav"), wav(&own));
    }
    folder.put("copy.wav", fs::read(folder.input().join("00.wav")).unwrap());
    let run = || {
        let mut child = folder.batch("out", ["--formats", "txt,json"]);
        child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (one, two) = (run(), run());
    let (one, two) = (Ran::of(one.wait_with_output().unwrap()).ok(), Ran::of(two.wait_with_output().unwrap()).ok());
    assert_eq!(folder.outputs("out").len(), 2 * (count + 1));
    assert_eq!(folder.count("out", "SELECT max(times) FROM parts"), 1, "{}\n{}", one.err, two.err);
    assert_eq!(folder.count("out", "SELECT count(*) FROM results"), i64::try_from(count).unwrap());
    let done = |ran: &Ran| ran.err.matches("s, ").count();
    assert!(done(&one) > 0 && done(&two) > 0, "both did some: {}\n{}", one.err, two.err);
}

/// Hundreds of files, real ones and tones, with damaged ones among them: every one has its result or its reason.
#[test]
fn hundreds_of_files_with_bad_ones_among_them() {
    let folder = Folder::new();
    let count: u32 = if long() { 500 } else { 60 };
    let real = fs::read(sample("requests/quick-capital.mp3")).unwrap();
    let (mut bad, mut good) = (0, 0);
    for n in 0..count {
        let name = format!("{}/{n:03}", n % 7);
        match n % 10 {
            3 => folder.put(format!("{name}.mp3"), format!("this is no audio {n}")),
            6 => folder.put(format!("{name}.flac"), [b"fLaC".to_vec(), vec![n as u8; 200]].concat()),
            9 if n % 20 == 9 => {
                folder.put(format!("{name}.m4a"), [&[0, 0, 0, 24][..], b"ftypM4A ", &[n as u8; 64]].concat())
            }
            5 if n % 50 == 5 => folder.put(format!("{name}.mp3"), [&real[..], &[n as u8; 8]].concat()),
            _ => folder.put(format!("{name}.wav"), tone(n, 0.4)),
        };
        let is_bad = matches!(n % 10, 3 | 6) || n % 20 == 9;
        if is_bad { bad += 1 } else { good += 1 }
    }
    let ran = folder.run("out", &["--formats", "txt,json"]);
    assert_eq!(ran.code, Some(6), "{}", ran.err);
    let jsons = folder.outputs("out").keys().filter(|path| path.extension().is_some_and(|e| e == "json")).count();
    assert_eq!(jsons, good, "{}", ran.err);
    assert_eq!(folder.count("out", "SELECT count(*) FROM files WHERE state = 'failed'"), bad);
    let reasons = "SELECT count(*) FROM files WHERE state = 'failed' AND record NOT LIKE '%\"message\":\"%'";
    assert_eq!(folder.count("out", reasons), 0);
    let said = ran.err.lines().filter(|line| line.starts_with("bestbox: ") && line.contains(": ")).count();
    assert!(i64::try_from(said).unwrap() >= bad, "each is said: {}", ran.err);
    // The failures stay known, are not tried again unasked, and still count.
    let again = folder.run("out", &["--formats", "txt,json"]);
    assert_eq!(again.code, Some(6));
    assert!(again.err.contains(&format!("{good} unchanged")) && !again.err.contains("loading"), "{}", again.err);
}

/// Decoding, writing and starting the next file happen while the recogniser works: it is busy nearly all of the time.
#[test]
fn recognition_is_not_idle_while_work_is_left() {
    let folder = Folder::new();
    let clips = ["librivox/0870.wav", "librivox/0890.wav", "librivox/0920.wav"];
    for n in 0..12 {
        let mut samples = speech(clips[n % 3], 0.5);
        samples.extend(vec![i16::try_from(n).unwrap(); 1600]);
        folder.put(format!("{n:02}.wav"), wav(&samples));
    }
    let long: Vec<i16> = (0..8).flat_map(|n| speech(clips[n % 3], 1.5)).collect();
    folder.put("long.wav", wav(&long));
    for recognizers in ["1", "2"] {
        let flags = ["--progress", "json", "--force", "--formats", "txt,json", "--recognizers", recognizers];
        let ran = Ran::of(folder.batch("out", flags).output().unwrap()).ok();
        let end: serde_json::Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
        let number = |name: &str| end[name].as_f64().unwrap_or_else(|| panic!("{name} in {end}"));
        let working = number("wall_seconds") - number("loading_seconds");
        let share = number("recognizer_busy_seconds") / number("recognizers") / working;
        println!("{recognizers} recognisers: busy {:.1} % of {working:.1} s", share * 100.0);
        // On a quiet machine 97 % and 93 %; where others compete for the cores every hand-over takes longer.
        assert!(share > 0.75, "the recognisers were idle: {end}");
    }
}
