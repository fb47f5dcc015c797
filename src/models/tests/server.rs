//! A Hugging Face of one file, with faults to order.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How it behaves.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// The file.
    pub body: Vec<u8>,
    /// Value of `X-Linked-Etag`.
    pub linked: Option<String>,
    /// Bytes after which a connection is cut.
    pub cut: Option<usize>,
    /// Answers every request with this status instead.
    pub status: Option<u16>,
    /// Answers a range with the whole file.
    pub no_ranges: bool,
}

/// Requests as they came: method and range.
pub type Log = Arc<Mutex<Vec<String>>>;

/// Starts it on a free port; returns its URL. It lives as long as the process.
pub fn start(behaviour: Arc<Mutex<Behaviour>>) -> (String, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let log = Log::default();
    let seen = log.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let now = behaviour.lock().unwrap().clone();
            // A client that went away is part of the tests.
            _ = answer(stream, &now, &seen);
        }
    });
    (url, log)
}

fn answer(mut stream: TcpStream, now: &Behaviour, log: &Log) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut range = None;
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("range: bytes=") {
            range = bytes.trim_end_matches('-').parse::<usize>().ok();
        }
    }
    let head = request.starts_with("HEAD");
    log.lock().unwrap().push(format!("{} {}", if head { "HEAD" } else { "GET" }, range.unwrap_or(0)));
    if let Some(status) = now.status {
        return write!(stream, "HTTP/1.1 {status} Ordered\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let start = range.filter(|_| !now.no_ranges).unwrap_or(0);
    let (total, body) = (now.body.len(), &now.body[start.min(now.body.len())..]);
    match range.filter(|_| !now.no_ranges) {
        Some(start) if start >= total => {
            write!(stream, "HTTP/1.1 416 Range\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?
        }
        Some(start) => {
            write!(stream, "HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{}/{total}\r\n", total - 1)?
        }
        None => write!(stream, "HTTP/1.1 200 OK\r\n")?,
    }
    if let Some(linked) = &now.linked {
        write!(stream, "X-Linked-Etag: \"{linked}\"\r\nX-Linked-Size: {total}\r\n")?;
    }
    write!(stream, "Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    if head {
        return Ok(());
    }
    stream.write_all(&body[..now.cut.unwrap_or(usize::MAX).min(body.len())])
}
