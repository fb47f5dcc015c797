//! Jobs when things go wrong: the service is killed, or ends, or its disk is full. No job is lost, nothing is told twice,
//! and no utterance whose text was shown is recognised again.

use crate::support::jobs::{events, recording};
use crate::support::serve::{Serve, Served, serve};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Short utterances, so that there are many moments between two of them.
fn jobs_only(serve: Serve) -> Serve {
    serve
        .set("light.manage=false")
        .set("light.base_url=http://127.0.0.1:9")
        .set("speech.max_utterance_seconds=5")
        .env("BESTBOX_LOG", "bestbox=info")
}

/// Waits until `count` utterances are shown; how many that were.
fn shown(service: &Served, id: &str, count: i64) -> i64 {
    let job = service.job_when(id, |job| job["progress"]["utterances"].as_i64() >= Some(count));
    assert_eq!(job["status"], "running", "the recording is too short for this test: {job}");
    job["progress"]["utterances"].as_i64().expect("a number")
}

/// What the log says about how a job was taken up last: utterances that were there already.
fn recalled(service: &Served) -> i64 {
    let log = service.log.lock().expect("log");
    let line = log.lines().rfind(|line| line.contains("a job begins")).expect("it began").to_owned();
    let (_, number) = line.split_once("recalled=").expect("a number");
    number.trim().parse().expect("a number")
}

/// The events of a job that is over hold its text once and in order.
fn told_once(service: &Served, id: &str, outcome: &Value) {
    let told = events(&service.get(&format!("/v1/jobs/{id}/events")).expect(200).text());
    let texts: Vec<&Value> = told.iter().filter(|event| event.1 == "segment").map(|event| &event.2["text"]).collect();
    let segments = outcome["transcript"]["segments"].as_array().expect("segments");
    assert_eq!(texts, segments.iter().map(|segment| &segment["text"]).collect::<Vec<_>>());
    let cleaned = told.iter().filter(|event| event.1 == "cleaned").flat_map(|event| event.2["cues"].as_array());
    assert_eq!(Some(cleaned.map(Vec::len).sum()), outcome["cleaned"]["cues"].as_array().map(Vec::len));
    let seconds: Vec<f64> =
        told.iter().filter(|event| event.1 == "progress").filter_map(|event| event.2["seconds"].as_f64()).collect();
    assert!(seconds.windows(2).all(|pair| pair[0] < pair[1]), "{seconds:?}");
    assert_eq!(told.iter().filter(|event| event.1 == "opened").count(), 1);
    assert_eq!(told.last().map(|event| event.1.as_str()), Some("done"));
}

#[test]
fn a_killed_service_loses_no_job_and_repeats_nothing_that_was_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), 60);
    let mut service = jobs_only(serve()).set("serve.jobs.concurrent=1").start();
    let whole = service.new_job(&file);
    let reference = service.job_over(&whole);
    let expected = service.outcome(&whole);
    let total = reference["progress"]["utterances"].as_i64().expect("a number");
    assert!(total >= 10, "{reference}");
    assert_eq!(reference["progress"]["recognitions"], total);

    // Two jobs: one in work, one that waits for it.
    let (killed, waiting) = (service.new_job(&file), service.new_job(&file));
    // At several moments: before anything is there, early, later.
    let mut done = 0;
    for moment in [0, 1, total / 2] {
        if moment > done {
            done = shown(&service, &killed, moment);
        }
        service.signal(Signal::SIGKILL);
        service.child.wait().expect("it is dead");
        // What was not a job yet when the service died is no job afterwards either.
        let orphan = service.data().join("jobs/00000000000000000000000000000000");
        std::fs::create_dir_all(&orphan).expect("a folder");
        std::fs::write(orphan.join("audio"), b"half").expect("room");
        service = jobs_only(serve().again(&service)).beside().set("serve.jobs.concurrent=1").start();
        assert!(!orphan.exists(), "left over");
        service.job_when(&killed, |job| job["progress"]["attempts"].as_i64() > Some(1) && job["status"] == "running");
        std::thread::sleep(Duration::from_millis(100));
        let kept = recalled(&service);
        assert!(kept >= done, "{kept} of {done} utterances that were shown are left");
        done = kept;
    }
    for id in [&killed, &waiting] {
        let job = service.job_over(id);
        assert_eq!(job["status"], "finished", "{job}\n{}", service.log.lock().expect("log"));
        assert_eq!(service.outcome(id), expected, "an interrupted job says the same as one that was not");
        told_once(&service, id, &expected);
        let (utterances, recognitions) = (&job["progress"]["utterances"], &job["progress"]["recognitions"]);
        assert_eq!((utterances.as_i64(), recognitions.as_i64()), (Some(total), Some(total)), "none was kept twice");
    }
    assert!(service.job(&killed)["progress"]["attempts"].as_i64() >= Some(3));
}

#[test]
fn a_service_that_ends_keeps_its_jobs_for_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), 60);
    let mut service = jobs_only(serve()).start();
    let id = service.new_job(&file);
    let done = shown(&service, &id, 2);
    let begun = Instant::now();
    service.signal(Signal::SIGTERM);
    let status = service.child.wait().expect("it ends");
    assert!(status.success(), "{status}: {}", service.log.lock().expect("log"));
    assert!(begun.elapsed() < Duration::from_secs(15), "a job does not hold the end up: {:?}", begun.elapsed());
    let service = jobs_only(serve().again(&service)).beside().start();
    let job = service.job_over(&id);
    assert_eq!(job["status"], "finished", "{job}");
    assert!(recalled(&service) >= done);
    told_once(&service, &id, &service.outcome(&id));
    assert_eq!(job["progress"]["attempts"], 2, "{job}");
}

/// Limits how large files of a process may get: to its writes that is a full disk. `None`: no limit.
fn limit_files(service: &Served, bytes: Option<u64>) {
    let soft = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let limit = format!("--fsize={soft}:unlimited");
    let status = Command::new("prlimit").args(["--pid", &service.child.id().to_string(), &limit]).status();
    assert!(status.expect("prlimit (util-linux) runs").success());
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}

#[test]
fn a_full_disk_refuses_new_jobs_pauses_running_ones_and_costs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), 45);
    let service = jobs_only(serve()).start();
    let whole = service.new_job(&file);
    service.job_over(&whole);
    let expected = service.outcome(&whole);

    let id = service.new_job(&file);
    let done = shown(&service, &id, 1);
    // From now on no file can grow beyond what the log of the database has already.
    limit_files(&service, Some(4096));
    let paused = service.job_when(&id, |job| job["waiting"].is_string());
    assert!(paused["waiting"].as_str().expect("why").contains("make room"), "{paused}");
    assert_eq!(paused["status"], "running");
    let refused = service.post_job(&file, &[]).expect(503);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "disk_full", "{error}");
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    assert_eq!(entries(&service.data().join("uploads")), 0, "nothing is half stored");
    assert_eq!(entries(&service.data().join("jobs")), 2);
    // Everything that only reads goes on.
    assert_eq!(service.outcome(&whole), expected);
    assert_eq!(service.get("/v1/jobs").expect(200).json()["data"].as_array().map(Vec::len), Some(2));

    limit_files(&service, None);
    let job = service.job_over(&id);
    assert_eq!((job["status"].as_str(), job["waiting"].is_null()), (Some("finished"), true), "{job}");
    assert_eq!(service.outcome(&id), expected);
    told_once(&service, &id, &expected);
    assert!(job["progress"]["utterances"].as_i64() > Some(done));
    assert_eq!(job["progress"]["attempts"], 1, "it paused and was not begun anew");
    service.post_job(&file, &[]).expect(202);
}
