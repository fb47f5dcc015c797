//! Uploads of every bad kind: the service answers throughout, keeps no file and no memory, and blames the right side.

use crate::support::raw::{Answer, BOUNDARY, Socket, ask, bare, eventually, files, form, head, memory, part, upload};
use crate::support::serve::Served;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Malformed requests, and threads that send them.
const REQUESTS: u32 = 10_000;
const SENDERS: u32 = 4;

fn file(content: &[u8]) -> Vec<u8> {
    part("name=\"file\"; filename=\"a.wav\"", content)
}

fn send(service: &Served, body: &[u8]) -> (u16, String) {
    let answer = ask(service, &upload(body));
    (answer.status, answer.code())
}

#[test]
fn every_shape_of_form_has_its_answer() {
    let service = bare().set("serve.max_upload_bytes=100000").start();
    let garbage = |status: u16, code: &str| (status == 400 || status == 415) && code == "invalid_audio";
    let model = || part("name=\"model\"", b"whisper-1");
    // These reach the decoder, which finds no audio in them.
    for disposition in [
        "name=\"file\"; filename=\"a.wav\"",
        "name=file; filename=a.wav",
        "filename*=UTF-8''na%C3%AFve.wav; name=\"file\"",
        "name=\"file\"; filename=\"../../etc/passwd\"",
        "name=\"file\"; filename=\"a\\\"b\\\\c\"",
        "name=\"file\"",
        "name=\"file\"; filename=\"\"",
    ] {
        let (status, code) = send(&service, &form(&[part(disposition, b"no audio"), model()]));
        assert!(garbage(status, &code), "{disposition}: {status} {code}");
    }
    let body = form(&[model(), part("name=\"language\"", b"en"), part("name=\"unknown\"", b"x"), file(b"no audio")]);
    let (status, code) = send(&service, &body);
    assert!(garbage(status, &code), "unknown fields are ignored: {status} {code}");
    let mut chunked = head(&["Transfer-Encoding: chunked"]).into_bytes();
    for piece in body.chunks(7) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(&[piece, b"\r\n"].concat());
    }
    let answer = ask(&service, &[&chunked[..], b"0\r\n\r\n"].concat());
    assert!(garbage(answer.status, &answer.code()), "{answer:?}");
    // These do not.
    let many: Vec<Vec<u8>> = (0..2000).map(|_| part("name=\"keywords[]\"", b"x")).collect();
    for (parts, status, says) in [
        (vec![model()], 400, "no field named 'file'"),
        (vec![part("name=\"audio\"; filename=\"a.wav\"", b"x")], 400, "named 'audio'"),
        (vec![file(b"x"), file(b"y")], 400, "several files"),
        (vec![file(b"")], 400, "empty"),
        (vec![part("filename=\"a.wav\"", b"x")], 400, "no name"),
        (vec![file(b"x"), part("name=\"prompt\"", b"\xff\xfe")], 400, "UTF-8"),
        (vec![part("name=\"prompt\"", &vec![b'x'; 600_000])], 413, "text fields"),
        (many, 413, "fields"),
        (vec![file(&vec![0; 200_000])], 413, "larger"),
        (vec![], 400, "no field named 'file'"),
    ] {
        let answer = ask(&service, &upload(&form(&parts)));
        assert!(answer.status == status && answer.body.contains(says), "{says}: {answer:?}");
    }
    // What has no end, no boundary or no sense.
    let whole = form(&[model(), file(b"no audio")]);
    for cut in [0, 1, BOUNDARY.len(), 60, whole.len() - BOUNDARY.len() - 7, whole.len() - 10] {
        assert_eq!(send(&service, &whole[..cut]), (400, "malformed_form".to_owned()), "cut at {cut}");
    }
    assert_eq!(send(&service, &vec![b'x'; 90_000]), (400, "malformed_form".to_owned()));
    assert_eq!(send(&service, format!("--{BOUNDARY}\r\n{}", "X: y\r\n".repeat(60)).as_bytes()).0, 400);
    // A preamble that never ends is not kept in memory.
    let endless = head(&["Content-Length: 1000000"]);
    let answer = ask(&service, &[endless.as_bytes(), &vec![b'x'; 1_000_000]].concat());
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(files(&service).is_empty());
}

#[test]
fn slow_senders_and_those_who_hang_up_give_back_place_and_file() {
    let service = bare()
        .set("serve.max_requests=1")
        .set("serve.idle_timeout_seconds=1.5")
        .set("serve.min_bytes_per_second=1000")
        .start();
    let begun = part("name=\"file\"; filename=\"a.wav\"", &vec![0; 300_000]);
    let start = || {
        let mut socket = Socket::open(&service, 20);
        socket.send(head(&["Content-Length: 1000000"]).as_bytes());
        socket.send(&begun[..begun.len() - 2]);
        eventually(5, "the upload begins", || files(&service).len() == 1);
        socket
    };
    let free = || {
        eventually(5, "its file goes", || files(&service).is_empty());
        eventually(5, "its place is free", || send(&service, &form(&[file(b"x")])).0 != 429);
    };
    let path = |service: &Served| files(service).pop().expect("a file");
    // It stops.
    let mut stopped = start();
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&path(&service)), mode(&service.data().join("uploads"))), (0o600, 0o700));
    assert_eq!(ask(&service, &upload(b"x")).status, 429, "the only place is taken");
    let answer = stopped.answer().expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (408, "upload_too_slow"));
    free();
    // It trickles, never silent for long enough to be called stopped.
    let mut trickle = Socket::open(&service, 30);
    trickle.send(head(&["Content-Length: 1000000"]).as_bytes());
    trickle.send(&file(b"")[..60]);
    let begun_at = Instant::now();
    let answer: Answer = loop {
        trickle.send(b"-");
        std::thread::sleep(Duration::from_millis(300));
        if begun_at.elapsed() > Duration::from_secs(4) {
            break trickle.answer().expect("an answer");
        }
    };
    assert_eq!((answer.status, answer.code().as_str()), (408, "upload_too_slow"));
    free();
    // It hangs up.
    drop(start());
    free();
    // It says that nothing more will come, in the middle.
    let mut short = start();
    short.finish();
    let _ = short.answer();
    free();
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_behind() {
    let service = bare().set("serve.min_free_bytes=1000000000000000000").start();
    let answer = ask(&service, head(&["Content-Length: 1000", "Expect: 100-continue"]).as_bytes());
    assert_eq!((answer.status, answer.code().as_str()), (503, "disk_full"), "decided from the head");
    assert!(answer.header("retry-after").is_some());
    drop(service);
    let service = bare().start();
    let limit = |bytes: u64| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        let pid = i32::try_from(service.child.id()).expect("a process id");
        // SAFETY: both pointers are valid for the call or null, and the process is our own child.
        assert_eq!(unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) }, 0);
    };
    limit(100_000);
    let big = form(&[part("name=\"model\"", b"whisper-1"), file(&vec![0; 3_000_000])]);
    for _ in 0..3 {
        assert_eq!(send(&service, &big), (503, "disk_full".to_owned()));
        assert!(files(&service).is_empty());
    }
    limit(libc::RLIM_INFINITY);
    assert_eq!(send(&service, &big).1, "invalid_audio", "it works again by itself");
}

#[test]
fn what_a_killed_service_left_is_removed_by_the_next() {
    let mut service = bare().start();
    let mut socket = Socket::open(&service, 20);
    socket.send(head(&["Content-Length: 1000000"]).as_bytes());
    socket.send(&file(&vec![0; 300_000])[..300_000]);
    eventually(5, "the upload begins", || files(&service).len() == 1);
    service.child.kill().expect("killed");
    service.child.wait().expect("gone");
    assert_eq!(files(&service).len(), 1, "nobody was there to remove it");
    let next = bare().again(&service).beside().start_listening();
    assert!(files(&next).is_empty());
}

/// Ten thousand requests that are wrong in every way, on kept and on new connections, with somebody who watches.
#[test]
fn ten_thousand_malformed_requests() {
    let service = bare().set("serve.max_upload_bytes=200000").set("serve.idle_timeout_seconds=2").start();
    let (done, answered, over) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let early = std::thread::scope(|threads| {
        let watcher = threads.spawn(|| {
            let (mut worst, mut early) = (Duration::ZERO, 0);
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let answer = ask(&service, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
                assert_eq!(answer.status, 200);
                worst = worst.max(asked.elapsed());
                if early == 0 && done.load(Ordering::Relaxed) > REQUESTS / 5 {
                    early = memory(&service);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            assert!(worst < Duration::from_secs(15), "a health check took {worst:?}");
            early
        });
        let senders: Vec<_> = (0..SENDERS)
            .map(|seed| {
                let (service, done, answered) = (&service, &done, &answered);
                threads.spawn(move || attack(service, u64::from(seed), done, answered))
            })
            .collect();
        let results: Vec<_> = senders.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok), "a sender found a fault");
        watcher.join().expect("the service answered throughout")
    });
    assert_eq!(done.load(Ordering::Relaxed), REQUESTS);
    let answered = answered.into_inner();
    assert!(answered > REQUESTS / 2, "only {answered} were answered; the rest found their connection ended");
    eventually(10, "no upload stays behind", || files(&service).is_empty());
    let grown = memory(&service).saturating_sub(early);
    assert!(grown < 50 << 20, "memory grew by {grown} bytes");
    let (status, code) = send(&service, &form(&[part("name=\"model\"", b"whisper-1"), file(b"no audio")]));
    assert!(status < 500 && code == "invalid_audio", "it still works: {status} {code}");
}

fn attack(service: &Served, seed: u64, done: &AtomicU32, answered: &AtomicU32) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kept = Socket::open(service, 60);
    for _ in 0..REQUESTS / SENDERS {
        if random.u8(..) < 150 {
            let request = malformed(&mut random);
            kept.send(&request);
            let Some(answer) = kept.answer() else {
                // It had ended that connection after the request before; nothing is wrong with that.
                kept = Socket::open(service, 60);
                done.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            check(&answer, &request);
            answered.fetch_add(1, Ordering::Relaxed);
            if answer.header("connection") == Some("close") {
                kept = Socket::open(service, 60);
            }
        } else {
            let mut socket = Socket::open(service, 60);
            let request = broken(&mut random);
            socket.send(&request);
            socket.finish();
            if let Some(answer) = socket.answer() {
                check(&answer, &request);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn check(answer: &Answer, request: &[u8]) {
    let shown = || String::from_utf8_lossy(&request[..request.len().min(1500)]).into_owned();
    assert!(answer.status < 500, "{answer:?} to {}", shown());
    let form = answer.body.is_empty() || answer.body.starts_with("{\"error\"");
    assert!(answer.status < 400 || form, "{answer:?} to {}", shown());
}

/// A whole HTTP request whose form makes no sense.
fn malformed(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut content = vec![0; random.usize(..2000)];
    random.fill(&mut content);
    let model = part("name=\"model\"", b"whisper-1");
    let mut body = match random.u8(..14) {
        0 => form(&[model]),
        1 => form(&[file(&content), file(&content)]),
        2 => form(&[file(b""), model]),
        3 => form(&[part("filename=a", &content)]),
        4 => form(&[part("name=\"prompt\"", &[&content[..], b"\xff"].concat()), file(b"x")]),
        5 => content,
        6 => [model, file(&content)].concat(),
        7 => form(&[model, file(&content)]).repeat(2)[1..].to_vec(),
        8 => form(&[part(&format!("name=\"{}\"", "n".repeat(content.len())), b"x")]),
        9 => format!("--{BOUNDARY}\r\n{}\r\n\r\nx\r\n--{BOUNDARY}--\r\n", "A: b\r\n".repeat(50)).into_bytes(),
        10 => [format!("--{BOUNDARY}\n").as_bytes(), &content, b"\n--"].concat(),
        11 => form(&[model, file(&content)]),
        _ => form(&[model]),
    };
    // Flipped, lost and doubled bytes: some of these forms are whole again and reach the decoder.
    for _ in 0..random.usize(..4) {
        if body.is_empty() {
            break;
        }
        let at = random.usize(..body.len());
        match random.u8(..3) {
            0 => body[at] ^= 1 << random.u8(..8),
            1 => drop(body.remove(at)),
            _ => body.insert(at, random.u8(..)),
        }
    }
    let kind = match random.u8(..8) {
        0 => "Content-Type: multipart/form-data".to_owned(),
        1 => "Content-Type: audio/wav".to_owned(),
        2 => format!("Content-Type: multipart/form-data; boundary=\"{BOUNDARY}x\""),
        _ => format!("Content-Type: multipart/form-data; boundary={BOUNDARY}"),
    };
    let paths = ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/pipeline", "/v1/jobs"];
    let path = paths[random.usize(..paths.len())];
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), &body].concat()
}

/// Bytes that are no HTTP request, or one whose length is a lie.
fn broken(random: &mut fastrand::Rng) -> Vec<u8> {
    let whole = form(&[part("name=\"model\"", b"whisper-1"), file(&[7; 500])]);
    let cut = random.usize(..whole.len());
    let mut noise = vec![0; random.usize(1..600)];
    random.fill(&mut noise);
    let post = |lines: &[&str], body: &[u8]| [head(lines).as_bytes(), body].concat();
    match random.u8(..14) {
        0 => noise,
        1 => [b"GET / HTTP/1.1\r\n".as_slice(), &noise, b"\r\n\r\n"].concat(),
        // Truncated: more was announced.
        2..5 => post(&[&format!("Content-Length: {}", whole.len())], &whole[..cut]),
        5 => post(&[&format!("Content-Length: {cut}")], &whole),
        6 => post(&["Content-Length: -1"], &whole),
        7 => post(&["Content-Length: 10", "Content-Length: 20"], &whole),
        8 => post(&["Content-Length: 99999999999999999999999"], &whole),
        9 => post(&["Transfer-Encoding: chunked"], &whole),
        10 => post(&["Transfer-Encoding: chunked"], &[b"fffffffffffffffff\r\n", &whole[..cut]].concat()),
        11 => post(&["Transfer-Encoding: chunked", "Content-Length: 5"], b"5\r\nhello\r\n"),
        12 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        _ => {
            let lines = [
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                "POST /v1/text HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET  / HTTP/1.1\r\n\r\n",
            ];
            let lines =
                [&lines[..], &["GET /\0 HTTP/1.1\r\n\r\n", "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", "\r\n\r\n"]]
                    .concat();
            lines[random.usize(..lines.len())].as_bytes().to_vec()
        }
    }
}
