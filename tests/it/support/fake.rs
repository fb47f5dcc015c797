//! A fake model server, byte for byte: for faults only. Answers the client's probe properly, everything else as told.

use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a client sent.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    /// Lower case.
    pub head: String,
    pub body: Value,
    pub at: Instant,
}

/// What to send back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub bytes: Vec<u8>,
    pub then: Then,
}

/// What to do after that.
#[derive(Clone, Debug)]
pub enum Then {
    /// Close the connection.
    Close,
    /// Send nothing more and wait for the client to close it.
    Hold,
    /// Send this again and again until the client closes it.
    Repeat(Vec<u8>, Duration),
}

/// Which server to pretend to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// llama.cpp's, two slots.
    Llama,
    /// One with the OpenAI API only.
    OpenAi,
}

/// A running fake.
pub struct Fake {
    pub base_url: String,
    /// All requests, those of the probe too.
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// When the client closed a connection that was held.
    pub closed: Arc<Mutex<Vec<Instant>>>,
}

type Script = dyn Fn(usize, &Seen) -> Option<Reply> + Send + Sync;

impl Fake {
    /// `script` gets the number of scripted requests so far, and the request; `None` leaves it to the probe's answers.
    pub async fn start(kind: Kind, script: impl Fn(usize, &Seen) -> Option<Reply> + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base_url = format!("http://{}", listener.local_addr().expect("address"));
        let fake = Fake { base_url, seen: Arc::default(), closed: Arc::default() };
        let (seen, closed) = (Arc::clone(&fake.seen), Arc::clone(&fake.closed));
        let script: Arc<Script> = Arc::new(script);
        let count = Arc::new(Mutex::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, closed) = (Arc::clone(&seen), Arc::clone(&closed));
                let (script, count) = (Arc::clone(&script), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut stream = stream;
                    let Some(request) = read(&mut stream).await else { return };
                    seen.lock().expect("seen").push(request.clone());
                    let scripted = {
                        let mut count = count.lock().expect("count");
                        let scripted = if is_probe(&request) { None } else { script(*count, &request) };
                        *count += usize::from(scripted.is_some());
                        scripted
                    };
                    let reply = scripted.unwrap_or_else(|| probe(kind, &request));
                    if send(&mut stream, reply).await.is_err() {
                        return;
                    }
                    closed.lock().expect("closed").push(Instant::now());
                });
            }
        });
        fake
    }

    /// One that answers every chat (but the probe's) with `reply`.
    pub async fn chat(kind: Kind, reply: Reply) -> Fake {
        Fake::start(kind, move |_, request| (request.path == "/v1/chat/completions").then(|| reply.clone())).await
    }

    /// Requests to `path`, without those of the probe.
    pub fn requests(&self, path: &str) -> Vec<Seen> {
        let seen = self.seen.lock().expect("seen");
        seen.iter().filter(|request| request.path == path && !is_probe(request)).cloned().collect()
    }
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Reply {
        Reply::body(status, "application/json", body.to_string().as_bytes())
    }
    /// Any answer with its true length.
    pub fn body(status: u16, kind: &str, body: &[u8]) -> Reply {
        Reply::with_head(status, &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()), body)
    }
    /// Any answer with any headers.
    pub fn with_head(status: u16, head: &str, body: &[u8]) -> Reply {
        let mut bytes = format!("HTTP/1.1 {status} Text\r\nConnection: close\r\n{head}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        Reply { bytes, then: Then::Close }
    }
    /// Server-sent events, one a piece of data; the connection ends the body.
    pub fn events(data: &[&str]) -> Reply {
        let body: String = data.iter().map(|data| format!("data: {data}\n\n")).collect();
        Reply::with_head(200, "Content-Type: text/event-stream\r\n", body.as_bytes())
    }
    /// A chat completion with this text.
    pub fn text(text: &str) -> Reply {
        Reply::json(
            200,
            &json!({"model": "fake", "choices": [{"finish_reason": "stop", "message": {"content": text}}]}),
        )
    }
    pub fn then(self, then: Then) -> Reply {
        Reply { then, ..self }
    }
}

/// One piece of a stream.
pub fn delta(text: &str) -> String {
    json!({"model": "fake", "choices": [{"finish_reason": null, "delta": {"content": text}}]}).to_string()
}

fn is_probe(request: &Seen) -> bool {
    request.body.get("grammar").and_then(Value::as_str) == Some("root ::= \"Z\"")
}

fn probe(kind: Kind, request: &Seen) -> Reply {
    match (kind, request.path.as_str()) {
        (Kind::Llama, "/props") => {
            let settings = json!({"n_ctx": 2048});
            let props = json!({"total_slots": 2, "default_generation_settings": settings, "model_alias": "fake"});
            Reply::json(200, &props)
        }
        (Kind::OpenAi, "/v1/models") => Reply::json(200, &json!({"data": [{"id": "fake-model"}]})),
        (Kind::Llama, "/v1/chat/completions") => Reply::text("Z"),
        (Kind::OpenAi, "/v1/chat/completions") => Reply::text("Hello"),
        _ => Reply::json(404, &json!({"error": {"message": "no such path"}})),
    }
}

async fn send(stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
    stream.write_all(&reply.bytes).await?;
    match reply.then {
        Then::Close => {
            stream.shutdown().await?;
            Err(std::io::ErrorKind::NotConnected.into())
        }
        Then::Hold => {
            let mut rest = [0; 1];
            while matches!(stream.read(&mut rest).await, Ok(1)) {}
            Ok(())
        }
        Then::Repeat(piece, pause) => {
            while stream.write_all(&piece).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
            Ok(())
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let path = String::from_utf8_lossy(&bytes).split(' ').nth(1)?.to_owned();
    let body = serde_json::from_slice(&bytes[head_end..]).unwrap_or(Value::Null);
    Some(Seen { path, head, body, at: Instant::now() })
}
