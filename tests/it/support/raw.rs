//! Requests as bytes on a socket: what no well-behaved client would send, and when.

use super::serve::{Serve, Served, serve};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Boundary of the forms made here.
pub const BOUNDARY: &str = "bestbox-test-boundary";

/// A service with a speech model and without language models.
pub fn bare() -> Serve {
    ["light", "heavy"].into_iter().fold(serve(), |serve, tier| {
        serve.set(&format!("{tier}.manage=false")).set(&format!("{tier}.base_url=http://127.0.0.1:9"))
    })
}

/// A response: status, head in lower case, body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// `error.code` of the body.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A connection that waits for at most `seconds` in all.
pub struct Socket {
    stream: TcpStream,
    rest: Vec<u8>,
    until: Instant,
}

impl Socket {
    pub fn open(service: &Served, seconds: u64) -> Self {
        let address = service.url.split("//").nth(1).expect("an address");
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        Socket { stream, rest: Vec::new(), until: Instant::now() + Duration::from_secs(seconds) }
    }

    /// Whether all of it could be sent.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.set_write_timeout(Some(Duration::from_secs(20))).expect("a socket");
        self.stream.write_all(bytes).is_ok()
    }

    /// Nothing more will be sent.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next response (those of 1xx too); none when the connection ends or is silent for too long.
    pub fn answer(&mut self) -> Option<Answer> {
        let end = self.take_until(b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.rest[..end]).to_lowercase();
        self.rest.drain(..end + 4);
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Answer { status, head, body: String::new() };
        if status >= 200 {
            let length: usize = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            while self.rest.len() < length {
                self.more()?;
            }
            answer.body = String::from_utf8_lossy(&self.rest.drain(..length).collect::<Vec<_>>()).into_owned();
        }
        Some(answer)
    }

    /// Whether the other side ends the connection in time.
    pub fn ends(&mut self) -> bool {
        while self.more().is_some() {}
        Instant::now() < self.until
    }

    fn take_until(&mut self, pattern: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = self.rest.windows(pattern.len()).position(|window| window == pattern) {
                return Some(at);
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Option<()> {
        let left = self.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        self.stream.set_read_timeout(Some(left)).expect("a socket");
        let mut bytes = [0; 16384];
        match self.stream.read(&mut bytes) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.rest.extend_from_slice(&bytes[..count]);
                Some(())
            }
        }
    }
}

/// One request on a connection of its own.
pub fn ask(service: &Served, request: &[u8]) -> Answer {
    let mut socket = Socket::open(service, 60);
    socket.send(request);
    socket.answer().expect("an answer")
}

/// The head of an upload; `more` are further header lines.
pub fn head(more: &[&str]) -> String {
    let lines: String = more.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n{lines}\r\n"
    )
}

/// A part of a form: what follows `form-data; `, and its content.
pub fn part(disposition: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

/// A whole form.
pub fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), format!("--{BOUNDARY}--\r\n").into_bytes()].concat()
}

/// A whole upload.
pub fn upload(body: &[u8]) -> Vec<u8> {
    [head(&[&format!("Content-Length: {}", body.len())]).as_bytes(), body].concat()
}

/// Files that are being uploaded or worked on.
pub fn files(service: &Served) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(service.data().join("uploads")).expect("the folder of uploads");
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Fails unless it becomes true within `seconds`.
pub fn eventually(seconds: u64, what: &str, mut true_now: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !true_now() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} seconds");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Resident memory of the service, bytes.
pub fn memory(service: &Served) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.child.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
}
