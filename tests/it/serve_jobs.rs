//! Long recordings as jobs: from the upload to every format of the result, seen by the real curl.

use crate::support::jobs::{curl, events, recording};
use crate::support::serve::serve;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn the_life_of_a_job() {
    let service = serve().set("light.manage=false").set("light.base_url=http://127.0.0.1:9").start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), 12);

    // Taken at once.
    let answer = service.post_job(&file, &["-F", "timestamp_granularities[]=word", "-F", "unknown=1"]).expect(202);
    let job = answer.json();
    let id = job["id"].as_str().expect("an id").to_owned();
    assert!(answer.head.contains(&format!("location: /v1/jobs/{id}")), "{}", answer.head);
    assert_eq!(job["file_name"], "talk 12.wav");
    assert_eq!(job["bytes"].as_u64(), Some(std::fs::metadata(&file).expect("the file").len()));

    // Not there yet: 409 with how far it is.
    let early = service.get(&format!("/v1/jobs/{id}/result")).expect(409);
    assert_eq!(early.json()["error"]["code"], "job_not_finished");
    assert!(early.head.contains("retry-after: "), "{}", early.head);

    // Followed from the start; events come before the end.
    let live = curl(&["-N", &format!("{}/v1/jobs/{id}/events", service.url)]).expect(200);
    assert!(live.head.contains("content-type: text/event-stream"), "{}", live.head);
    let live = live.text();
    let seen = events(&live);
    assert!(seen.iter().map(|event| event.0).eq(1..=seen.len() as u64), "{live}");
    let names: Vec<&str> = seen.iter().map(|event| event.1.as_str()).collect();
    assert_eq!((names[0], names[names.len() - 1]), ("opened", "done"), "{names:?}");
    assert!(names.contains(&"segment") && names.contains(&"progress") && names.contains(&"cleaned"), "{names:?}");
    assert!(seen.iter().all(|event| event.2["type"] == event.1.as_str()));

    let job = service.job_over(&id);
    assert_eq!(job["status"], "finished", "{job}");
    assert_eq!(job["format"], "wav/pcm_s16le");
    assert!((job["progress"]["seconds"].as_f64().expect("seconds") - 12.0).abs() < 0.1, "{job}");
    assert!(job["started_at"].as_i64() >= job["created_at"].as_i64() && job["finished_at"].is_i64(), "{job}");

    // Whoever comes late sees the same; whoever comes back sees the rest; at the end there is nothing.
    assert_eq!(events(&service.get(&format!("/v1/jobs/{id}/events")).expect(200).text()), seen);
    let from = |number: usize| {
        let header = format!("Last-Event-ID: {number}");
        curl(&["-H", &header, &format!("{}/v1/jobs/{id}/events", service.url)])
    };
    assert_eq!(events(&from(3).expect(200).text()), seen[3..]);
    from(seen.len()).expect(204);

    // The result in every format.
    let outcome = service.outcome(&id);
    assert_eq!(outcome["source"]["name"], "talk 12.wav");
    let segments = outcome["transcript"]["segments"].as_array().expect("segments");
    let told: Vec<&Value> = seen.iter().filter(|event| event.1 == "segment").map(|event| &event.2["text"]).collect();
    assert_eq!(told, segments.iter().map(|segment| &segment["text"]).collect::<Vec<_>>());
    assert!(!segments[0]["words"].as_array().expect("words").is_empty(), "words were asked for");
    let result = |query: &str| service.get(&format!("/v1/jobs/{id}/result?{query}")).expect(200);
    let word = "Dashwood";
    for (format, begins) in [
        ("json", "{"),
        ("jsonl", "{"),
        ("verbose_json", "{\"task\":\"transcribe\""),
        ("text", ""),
        ("srt", "1\n00:00:0"),
        ("vtt", "WEBVTT"),
        ("tsv", "start\tend\ttext"),
        ("csv", "start,end,text"),
        ("lrc", "[length:"),
        ("md", "# talk 12.wav"),
    ] {
        let written = result(&format!("format={format}")).text();
        assert!(written.starts_with(begins) && written.contains(word), "{format}: {written}");
    }
    let verbose = result("format=verbose_json").json();
    assert!(!verbose["words"].as_array().expect("words").is_empty());
    assert_eq!(verbose["segments"].as_array().map(Vec::len), Some(segments.len()));
    let saved = result("format=srt&text=raw&download=true").head;
    assert!(saved.contains("attachment; filename*=utf-8''talk%2012.srt"), "{saved}");
    for bad in ["format=doc", "format=terminal", "text=best2", "download=perhaps"] {
        service.get(&format!("/v1/jobs/{id}/result?{bad}")).expect(400);
    }

    // The audio, whole and in part.
    let audio = service.get(&format!("/v1/jobs/{id}/audio")).expect(200);
    assert_eq!(audio.body, std::fs::read(&file).expect("the file"));
    assert!(audio.head.contains("content-type: audio/wav"), "{}", audio.head);
    let part = curl(&["-r", "4-7", &format!("{}/v1/jobs/{id}/audio", service.url)]).expect(206);
    assert_eq!(part.body, audio.body[4..8]);
    curl(&["-r", "99999999-", &format!("{}/v1/jobs/{id}/audio", service.url)]).expect(416);

    // Gone, with everything that belonged to it.
    service.delete(&format!("/v1/jobs/{id}")).expect(200);
    for path in ["", "/result", "/audio", "/events"] {
        service.get(&format!("/v1/jobs/{id}{path}")).expect(404);
    }
    service.delete(&format!("/v1/jobs/{id}")).expect(404);
    assert!(!service.data().join("jobs").join(&id).exists());
}

#[test]
fn jobs_are_listed_given_up_and_never_made_twice() {
    let service = serve().set("light.manage=false").set("light.base_url=http://127.0.0.1:9").start();
    let folder = tempfile::tempdir().expect("a folder");
    let (long, short) = (recording(folder.path(), 120), recording(folder.path(), 3));

    // Deleted while running: it ends at once and leaves nothing.
    let doomed = service.new_job(&long);
    service.job_when(&doomed, |job| job["status"] == "running");
    service.delete(&format!("/v1/jobs/{doomed}")).expect(200);
    assert!(!service.data().join("jobs").join(&doomed).exists());

    // Cancelled while running: what was recognised is the result.
    let cancelled = service.new_job(&long);
    service.job_when(&cancelled, |job| job["progress"]["seconds"].as_f64() > Some(0.0));
    curl(&["-X", "POST", &format!("{}/v1/jobs/{cancelled}/cancel", service.url)]).expect(202);
    assert_eq!(service.job_over(&cancelled)["status"], "cancelled");
    let outcome = service.outcome(&cancelled);
    assert!(!outcome["transcript"]["segments"].as_array().expect("segments").is_empty());
    assert!(outcome["warnings"].to_string().contains("interrupted"), "{}", outcome["warnings"]);

    // The same key, the same job; the same key for something else is refused.
    let keyed = ["-H", "Idempotency-Key: once"];
    let first = service.post_job(&short, &keyed).expect(202).json();
    let again = service.post_job(&short, &keyed).expect(202).json();
    assert_eq!(first["id"], again["id"]);
    let other = service.post_job(&long, &keyed).expect(422);
    assert_eq!(other.json()["error"]["code"], "idempotency_key_reused");
    let id = first["id"].as_str().expect("an id");
    assert_eq!(service.job_over(id)["status"], "finished");

    // Audio that is none: the job fails with the reason, and its result says so.
    let noise = folder.path().join("not audio.wav");
    std::fs::write(&noise, "This is a letter and no recording.").expect("room");
    let failed = service.new_job(&noise);
    let job = service.job_over(&failed);
    assert_eq!((job["status"].as_str(), job["error"]["code"].as_str()), (Some("failed"), Some("invalid_audio")));
    assert_eq!(service.get(&format!("/v1/jobs/{failed}/result")).expect(409).json()["error"]["code"], "job_failed");

    // Newest first, in pages, by status.
    let list = |query: &str| service.get(&format!("/v1/jobs{query}")).expect(200).json();
    let ids = |list: &Value| -> Vec<String> {
        let data = list["data"].as_array().expect("data");
        data.iter().map(|job| job["id"].as_str().expect("an id").to_owned()).collect()
    };
    let all = ids(&list(""));
    assert_eq!(all, [failed.as_str(), id, cancelled.as_str()]);
    let page = list("?limit=2");
    assert_eq!((ids(&page), page["has_more"].as_bool()), (all[..2].to_vec(), Some(true)));
    let rest = list(&format!("?limit=2&after={}", all[1]));
    assert_eq!((ids(&rest), rest["has_more"].as_bool()), (all[2..].to_vec(), Some(false)));
    assert_eq!(ids(&list("?status=failed")), [failed]);
    for bad in ["?limit=0", "?limit=101", "?limit=x", "?status=lost", "?after=x"] {
        assert!(service.get(&format!("/v1/jobs{bad}")).expect(400).json()["error"]["message"].is_string(), "{bad}");
    }

    // What cannot be asked is refused before anything is kept.
    for (field, param) in [("cleanup=sparkling", "cleanup"), ("language=xx", "language"), ("task=sing", "task")] {
        let refused = service.post_job(&short, &["-F", field]).expect(400).json();
        assert_eq!(refused["error"]["param"], param, "{refused}");
    }
    assert_eq!(
        service.post_job(&short, &["-F", "model=../../etc/passwd"]).expect(404).json()["error"]["param"],
        "model"
    );
    let refused = service.post_job(&short, &["-F", "webhook=https://example.org/"]).expect(400).json();
    assert_eq!(refused["error"]["param"], "webhook", "webhooks are off");
    assert_eq!(ids(&list("")).len(), 3);
    private(&service.data());
}

/// Nobody else reads transcripts or recordings.
fn private(data: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &str| std::fs::metadata(data.join(path)).expect(path).permissions().mode() & 0o777;
    assert_eq!((mode("jobs.db"), mode("jobs")), (0o600, 0o700));
    for entry in std::fs::read_dir(data.join("jobs")).expect("jobs") {
        let name = entry.expect("a job").file_name().into_string().expect("hexadecimal");
        assert_eq!((mode(&format!("jobs/{name}")), mode(&format!("jobs/{name}/audio"))), (0o700, 0o600));
    }
}

#[test]
fn a_job_that_is_over_is_announced_signed_and_again_when_it_was_not_taken() {
    let receiver = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = receiver.local_addr().expect("an address");
    let service = serve()
        .set("light.manage=false")
        .set("light.base_url=http://127.0.0.1:9")
        .set("serve.jobs.webhook_hosts=[\"127.0.0.1\"]")
        .env("BESTBOX_WEBHOOK_SECRET", "a secret of the test")
        .start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), 2);
    let refused = service.post_job(&file, &["-F", "webhook=https://elsewhere.example/"]).expect(400);
    assert_eq!(refused.json()["error"]["param"], "webhook");
    let hook = format!("webhook=http://{address}/done");
    let job = service.post_job(&file, &["-F", &hook]).expect(202).json();
    // The first attempt is refused; the second is taken.
    let first = answer(&receiver, "HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let second = answer(&receiver, "HTTP/1.1 204 Yes\r\nconnection: close\r\n\r\n");
    for (head, body) in [&first, &second] {
        assert!(head.starts_with("POST /done HTTP/1.1"), "{head}");
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.to_lowercase().starts_with(name).then(|| line.to_owned()));
            line.and_then(|line| Some(line.split_once(": ")?.1.to_owned())).expect(name)
        };
        assert_eq!(header("x-bestbox-id:"), job["id"].as_str().expect("an id"));
        let signature = header("x-bestbox-signature:");
        let (time, signed) = signature.strip_prefix("t=").and_then(|s| s.split_once(",v1=")).expect("t=…,v1=…");
        let mut mac = Hmac::<Sha256>::new_from_slice(b"a secret of the test").expect("any length");
        mac.update(format!("{time}.{body}").as_bytes());
        let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(signed, expected);
        let told: Value = serde_json::from_str(body).expect("the job");
        assert_eq!((told["id"].clone(), told["status"].as_str()), (job["id"].clone(), Some("finished")));
    }
    let id = job["id"].as_str().expect("an id");
    let job = service.job_when(id, |job| job["webhook"]["state"] == "delivered");
    assert_eq!(job["webhook"]["attempts"], 2);
}

/// Takes one request and answers it: its head and body.
fn answer(receiver: &TcpListener, response: &str) -> (String, String) {
    let (mut stream, _) = receiver.accept().expect("a call");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    stream.write_all(response.as_bytes()).expect("an answer");
    (head, String::from_utf8(body).expect("UTF-8"))
}

#[test]
fn old_jobs_and_too_many_bytes_go_as_a_whole() {
    let quiet =
        |serve: crate::support::serve::Serve| serve.set("light.manage=false").set("light.base_url=http://127.0.0.1:9");
    let folder = tempfile::tempdir().expect("a folder");
    let (small, large) = (recording(folder.path(), 3), recording(folder.path(), 60));
    // A minute is 1.9 MB.
    let mut service = quiet(serve()).set("serve.jobs.keep_bytes=2200000").start();
    let first = service.new_job(&small);
    service.job_over(&first);
    let second = service.new_job(&small);
    service.job_over(&second);
    let third = service.new_job(&large);
    assert_eq!(service.get(&format!("/v1/jobs/{first}")).status, 200, "there is room for all three");
    // There is not for a fourth: the two that are over go, and that does not suffice.
    let refused = service.post_job(&large, &[]).expect(503);
    assert_eq!(refused.json()["error"]["code"], "storage_full");
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    for id in [&first, &second] {
        service.get(&format!("/v1/jobs/{id}")).expect(404);
        assert!(!service.data().join("jobs").join(id).exists());
    }
    service.job(&third);
    let uploads = std::fs::read_dir(service.data().join("uploads")).expect("uploads").count();
    assert_eq!(uploads, 0, "nothing is left of what was refused");
    service.job_when(&third, |job| job["progress"]["seconds"].as_f64() > Some(0.0));
    curl(&["-X", "POST", &format!("{}/v1/jobs/{third}/cancel", service.url)]).expect(202);
    service.job_over(&third);

    // Their time is over when the service looks, which it does when it starts.
    service.signal(nix::sys::signal::Signal::SIGTERM);
    service.child.wait().expect("it ends");
    let service = quiet(serve().again(&service)).beside().set("serve.jobs.keep_hours=0.00001").start();
    let begun = std::time::Instant::now();
    while service.get(&format!("/v1/jobs/{third}")).status != 404 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is kept");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!service.data().join("jobs").join(&third).exists());
}

#[test]
fn text_comes_while_the_job_runs() {
    let service = serve().set("light.manage=false").set("light.base_url=http://127.0.0.1:9").start();
    let folder = tempfile::tempdir().expect("a folder");
    let id = service.new_job(&recording(folder.path(), 60));
    let mut follower = Command::new("curl")
        .args(["-sSN", "-m", "240", &format!("{}/v1/jobs/{id}/events", service.url)])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl runs");
    let lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let found = lines.into_iter().any(|line| line == "event: segment");
    assert!(found, "no text came");
    assert_eq!(service.job(&id)["status"], "running", "the text was there before the end");
    follower.kill().expect("curl ends");
    follower.wait().expect("curl ends");
    service.delete(&format!("/v1/jobs/{id}")).expect(200);
}

#[test]
fn a_job_of_another_key_is_not_there() {
    use sha2::Digest;
    let entry = |name: &str| {
        let hash: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{{name=\"{name}\",sha256=\"{hash}\"}}")
    };
    let service = serve()
        .set("light.manage=false")
        .set("light.base_url=http://127.0.0.1:9")
        .set(&format!("serve.keys=[{},{}]", entry("alice"), entry("bob")))
        .start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), 2);
    service.post_job(&file, &[]).expect(401);
    let (alice, bob) = ("Authorization: Bearer alice", "Authorization: Bearer bob");
    let job = service.post_job(&file, &["-H", alice, "-H", "Idempotency-Key: same"]).expect(202).json();
    let id = job["id"].as_str().expect("an id");
    let ask = |who: &str, method: &str, path: &str| {
        curl(&["-X", method, "-H", who, &format!("{}/v1/jobs{path}", service.url)])
    };
    for path in ["", "/result", "/audio", "/events"] {
        ask(bob, "GET", &format!("/{id}{path}")).expect(404);
    }
    ask(bob, "DELETE", &format!("/{id}")).expect(404);
    ask(bob, "POST", &format!("/{id}/cancel")).expect(404);
    assert_eq!(ask(bob, "GET", "").expect(200).json()["data"].as_array().map(Vec::len), Some(0));
    let own = service.post_job(&file, &["-H", bob, "-H", "Idempotency-Key: same"]).expect(202).json();
    assert_ne!(own["id"], job["id"], "a key of one client says nothing of another's");
    assert_eq!(ask(alice, "GET", &format!("/{id}")).expect(200).json()["id"], job["id"]);
    assert_eq!(ask(alice, "GET", "").expect(200).json()["data"].as_array().map(Vec::len), Some(1));
}
