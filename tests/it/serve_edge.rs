//! What stands before the handlers, seen from sockets: keys, hosts, origins, limits, TLS, and the log.

use crate::support::raw::{Answer, BOUNDARY, Socket, ask, bare, eventually, files, form, head, part, upload};
use crate::support::serve::Served;
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

const ANN: &str = "bb_ann_0123456789_0123456789";

fn keys() -> String {
    let sha256: String = Sha256::digest(ANN).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("serve.keys=[{{name = \"ann\", sha256 = \"{sha256}\", requests_per_minute = 60, concurrent = 1}}]")
}

fn get(service: &Served, path: &str, headers: &[&str]) -> Answer {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    ask(service, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").as_bytes())
}

fn key() -> String {
    format!("Authorization: Bearer {ANN}")
}

#[test]
fn keys_and_their_limits_are_decided_before_the_body() {
    let service = bare().set(&keys()).env("BESTBOX_LOG_FORMAT", "json").start();
    // Without its key nobody is even told to go on, and an idle sender holds nothing.
    let expecting = head(&["Content-Length: 100000", "Expect: 100-continue"]);
    let refused = ask(&service, expecting.as_bytes());
    assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_api_key"), "{refused:?}");
    assert_eq!(refused.header("www-authenticate"), Some("bearer"));
    assert_eq!(get(&service, "/health/live", &[]).status, 200);
    assert_eq!(get(&service, "/", &[]).status, 200);
    for path in ["/v1/models", "/metrics", "/openapi.json", "/v1/jobs", "/v1/realtime"] {
        assert_eq!(get(&service, path, &[]).status, 401, "{path}");
        assert_eq!(get(&service, path, &["Authorization: Bearer sk-other"]).status, 401, "{path}");
    }
    assert_eq!(
        get(&service, "/v1/models?secret=bb_in_the_query", &[&key(), "X-Request-Id: from-the-test"]).status,
        200
    );
    // One upload at once for this key: the second is refused from its head, until the first hangs up.
    let length = "Content-Length: 100000";
    let mut first = Socket::open(&service, 30);
    first.send(head(&[length, &key(), "Expect: 100-continue"]).as_bytes());
    assert_eq!(first.answer().expect("go on").status, 100);
    let second = ask(&service, head(&[length, &key(), "Expect: 100-continue"]).as_bytes());
    assert_eq!((second.status, second.code().as_str()), (429, "too_many_concurrent_requests"), "{second:?}");
    assert!(second.header("retry-after").expect("seconds").parse::<u64>().expect("an integer") >= 1);
    drop(first);
    eventually(10, "the place of a client that hung up", || {
        ask(&service, head(&[length, &key(), "Expect: 100-continue"]).as_bytes()).status == 100
    });
    // A WebSocket shows its key as a subprotocol.
    let socket = |key: &str| {
        let protocols = format!("Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{key}");
        let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
        let lines = [&upgrade[..], &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", &protocols]].concat();
        get(&service, "/v1/realtime?intent=transcription", &lines).status
    };
    assert_eq!(socket("wrong"), 401);
    eventually(10, "a WebSocket with its key", || socket(ANN) == 101);
    // Sixty a minute.
    eventually(10, "the limit of the key", || get(&service, "/v1/models", &[&key()]).status == 429);
    let limited = get(&service, "/v1/models", &[&key()]);
    assert_eq!(limited.code(), "rate_limit_exceeded");
    assert!(limited.header("retry-after").expect("seconds").parse::<u64>().expect("an integer") >= 1);
    // The log names requests, clients and routes, and neither keys nor values of queries.
    let log = service.log.lock().expect("log").clone();
    let line = log.lines().find(|line| line.contains("from-the-test")).expect("a line for the request");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((&line["client"], &line["route"], &line["status"]), (&"ann".into(), &"/v1/models".into(), &200.into()));
    assert_eq!(line["query"], "secret");
    for secret in [ANN, "bb_in_the_query", "sk-other"] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}

#[test]
fn foreign_hosts_and_origins_are_refused_everywhere() {
    let service = bare().set("serve.cors_origins=https://app.example.org").start();
    let status = |request: &str| ask(&service, request.as_bytes()).status;
    assert_eq!(status("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 403);
    assert_eq!(status("GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"), 403);
    assert_eq!(status("GET /v1/models HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(status("GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), 200);
    let from = |origin: &str| get(&service, "/v1/models", &[&format!("Origin: {origin}")]);
    assert_eq!(from("http://localhost").status, 200);
    assert_eq!(from("null").status, 403);
    assert_eq!(from("https://evil.example").status, 403);
    let allowed = from("https://app.example.org");
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, Some("https://app.example.org")));
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    let socket = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let lines = [&upgrade[..], &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", &origin]].concat();
        get(&service, "/v1/realtime?intent=transcription", &lines).status
    };
    assert_eq!(socket("https://evil.example"), 403);
    assert_eq!(socket("http://localhost"), 101);
    // A form that a page of somebody else posts is refused before its body is read.
    let posted = ask(&service, head(&["Content-Length: 100000", "Origin: https://evil.example"]).as_bytes());
    assert_eq!((posted.status, posted.code().as_str()), (403, "origin_not_allowed"));
    let page = get(&service, "/", &[]);
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn what_cannot_be_taken_is_refused_from_the_head() {
    let service = bare().set("serve.max_requests=1").set("serve.max_upload_bytes=1000000").start();
    let refused = |lines: &[&str]| {
        let answer = ask(&service, head(&[lines, &["Expect: 100-continue"]].concat()).as_bytes());
        (answer.status, answer.code())
    };
    assert_eq!(refused(&["Content-Length: 26000000"]), (413, "file_too_large".to_owned()));
    let audio = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\n\
        Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(ask(&service, audio.as_bytes()).status, 415);
    // A client that sends all of its 26 MB without looking still reads why they were not wanted.
    let mut socket = Socket::open(&service, 30);
    socket.send(head(&["Content-Length: 26000000"]).as_bytes());
    assert!(socket.send(&vec![0; 26_000_000]), "the rest is taken in");
    assert_eq!(socket.answer().expect("an answer").status, 413);
    // The only place is taken by somebody who has not sent anything yet.
    let mut first = Socket::open(&service, 30);
    first.send(head(&["Content-Length: 1000", "Expect: 100-continue"]).as_bytes());
    assert_eq!(first.answer().expect("go on").status, 100);
    let answer = ask(&service, head(&["Content-Length: 1000", "Expect: 100-continue"]).as_bytes());
    assert_eq!((answer.status, answer.code().as_str()), (429, "queue_full"));
    assert!(answer.header("retry-after").expect("seconds").parse::<u64>().is_ok());
    assert_eq!(get(&service, "/health/live", &[]).status, 200);
    // While it ends, nothing new is taken, and the one under way is.
    service.signal(Signal::SIGTERM);
    eventually(10, "503 while it ends", || refused(&["Content-Length: 1000"]) == (503, "draining".to_owned()));
    let answer = ask(&service, head(&["Content-Length: 1000"]).as_bytes());
    assert!(answer.header("retry-after").expect("seconds").parse::<u64>().is_ok());
    drop(first);
}

#[test]
fn silent_and_surplus_connections_are_ended() {
    let service = bare().set("serve.header_timeout_seconds=1").set("serve.max_connections=6").start();
    for begun in ["", "GET /health/live HTTP/1.1\r\nHost: loc"] {
        let mut socket = Socket::open(&service, 5);
        socket.send(begun.as_bytes());
        assert!(socket.ends(), "{begun:?} is waited for too long");
    }
    let mut kept = Socket::open(&service, 5);
    kept.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(kept.answer().expect("an answer").status, 200);
    assert!(kept.ends(), "an idle connection is kept for too long");
    let huge = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    assert_eq!(ask(&service, huge.as_bytes()).status, 431);
    eventually(30, "a connection too many is turned away", || {
        // They are silent, so they are ended soon: each try has a crowd of its own.
        let _crowd: Vec<Socket> = (0..6).map(|_| Socket::open(&service, 5)).collect();
        let mut socket = Socket::open(&service, 5);
        socket.answer().is_some_and(|answer| answer.status == 503 && answer.code() == "busy")
    });
    eventually(30, "there is room again", || {
        let mut socket = Socket::open(&service, 5);
        socket.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        socket.answer().is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn it_does_not_listen_to_others_without_keys() {
    let (code, said) = bare().args(["--host", "0.0.0.0"]).refused();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--insecure") && said.contains("bestbox keys new"), "{said}");
    let (code, said) = bare().set("serve.tls.certificate=/nowhere.pem").set("serve.tls.key=/nowhere.key").refused();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("/nowhere.pem") && said.trim().lines().count() == 1, "{said}");
    let (code, said) = bare().set("serve.keys=[{name = \"ann\", sha256 = \"abc\"}]").refused();
    assert_eq!(code, Some(2), "{said}");
    let service = bare().set(&keys()).args(["--host", "0.0.0.0"]).start_listening();
    assert!(!service.log.lock().expect("log").contains("warning"));
    drop(service);
    let service = bare().args(["--host", "0.0.0.0", "--insecure"]).start_listening();
    assert!(service.log.lock().expect("log").contains("warning: anybody"));
}

#[test]
fn a_certificate_is_renewed_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, private) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let make = |ca: &str| -> PathBuf {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&private, made.signing_key.serialize_pem()).expect("written");
        let ca = folder.path().join(ca);
        std::fs::write(&ca, made.cert.pem()).expect("written");
        ca
    };
    let old = make("old.pem");
    let service = bare()
        .set(&format!("serve.tls.certificate={}", certificate.display()))
        .set(&format!("serve.tls.key={}", private.display()))
        .start_listening();
    assert!(service.url.starts_with("https://"), "{}", service.url);
    let port = service.url.rsplit(':').next().expect("a port").to_owned();
    let trusts = |ca: &Path| {
        let output = Command::new("curl")
            .args(["-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "--cacert"])
            .arg(ca)
            .arg(format!("https://localhost:{port}/health/live"))
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(trusts(&old), "200 2", "HTTP/2 where it is agreed on");
    let new = make("new.pem");
    eventually(20, "the new certificate", || trusts(&new) == "200 2");
    assert_eq!(trusts(&old), "000 0");
    // Half a renewal: the certificate that works stays.
    std::fs::write(&private, "no key").expect("written");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(trusts(&new), "200 2");
}

#[test]
fn transcripts_stand_in_the_log_only_when_asked_for() {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/requests/note-roof.wav");
    let file = part("name=\"file\"; filename=\"roof.wav\"", &std::fs::read(clip).expect("a clip"));
    for asked in [false, true] {
        let service = bare().set(&format!("serve.log_transcripts={asked}")).args(["-v"]).start();
        // The file last, then first; the answer is the same.
        let model = part("name=\"model\"", b"whisper-1");
        let last = ask(&service, &upload(&form(&[model.clone(), file.clone()])));
        let first = ask(&service, &upload(&form(&[file.clone(), model])));
        assert!(last.status == 200 && last.body.to_lowercase().contains("scaffolding"), "{last:?}");
        assert_eq!(first.body, last.body);
        assert!(files(&service).is_empty(), "an upload stays behind");
        let log = service.log.lock().expect("log").to_lowercase();
        assert_eq!(log.contains("scaffolding"), asked, "{log}");
        assert!(!log.contains("roof.wav") && !log.contains(BOUNDARY), "{log}");
    }
}
