//! HTTP by hand, so that a test decides every byte that goes out and sees when each comes in.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a server said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and header fields as they came.
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header field, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let field = |line: &'_ str| line.split_once(':').is_some_and(|(field, _)| field.eq_ignore_ascii_case(name));
        self.head.lines().find(|line| field(line)).and_then(|line| Some(line.split_once(':')?.1.trim()))
    }

    /// Asserts an error in OpenAI's form and returns its `param` and `code`.
    pub fn error(&self, status: u16) -> (Option<String>, Option<String>) {
        assert_eq!(self.status, status, "{self:?}");
        let json = self.json();
        let error = json["error"].as_object().unwrap_or_else(|| panic!("{self:?}"));
        let keys: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(keys, ["message", "type", "param", "code"], "{self:?}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        let text = |name: &str| error[name].as_str().map(ToOwned::to_owned);
        (text("param"), text("code"))
    }
}

/// A multipart form under way.
#[derive(Default)]
pub struct Form(Vec<u8>);

/// Separates the parts.
pub const BOUNDARY: &str = "----bestbox-test-boundary";

impl Form {
    pub fn new() -> Self {
        Form::default()
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        self.0.extend([head.as_bytes(), value.as_bytes(), b"\r\n"].concat());
        self
    }

    pub fn fields(self, fields: &[(&str, &str)]) -> Self {
        fields.iter().fold(self, |form, (name, value)| form.field(name, value))
    }

    /// The part `file`.
    pub fn file(mut self, file_name: &str, kind: &str, bytes: &[u8]) -> Self {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file_name}\"\r\nContent-Type: {kind}\r\n\r\n"
        );
        self.0.extend([head.as_bytes(), bytes, b"\r\n"].concat());
        self
    }

    pub fn bytes(mut self) -> Vec<u8> {
        self.0.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.0
    }
}

/// The content type of a [`Form`].
pub fn multipart() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// A connection to `http://HOST:PORT`; nothing on it takes more than a minute and a half.
pub fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.trim_start_matches("http://")).expect("the service listens");
    stream.set_read_timeout(Some(Duration::from_secs(90))).expect("timeout");
    stream.set_write_timeout(Some(Duration::from_secs(30))).expect("timeout");
    stream
}

/// Sends a whole form.
pub fn post(url: &str, path: &str, form: Form) -> Answer {
    send(url, "POST", path, &multipart(), &form.bytes())
}

pub fn post_json(url: &str, path: &str, json: &str) -> Answer {
    send(url, "POST", path, "application/json", json.as_bytes())
}

pub fn get(url: &str, path: &str) -> Answer {
    send(url, "GET", path, "", b"")
}

/// One request on a connection of its own.
pub fn send(url: &str, method: &str, path: &str, kind: &str, body: &[u8]) -> Answer {
    let mut stream = connect(url);
    stream.write_all(head(method, path, kind, Some(body.len())).as_bytes()).expect("sent");
    // A server that refuses need not read the body: its answer counts.
    let _ = stream.write_all(body);
    read_answer(&mut BufReader::new(stream))
}

/// The head of a request; without a length it is chunked.
pub fn head(method: &str, path: &str, kind: &str, length: Option<usize>) -> String {
    let length = length.map_or("Transfer-Encoding: chunked".to_owned(), |bytes| format!("Content-Length: {bytes}"));
    let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{kind}{length}\r\n\r\n")
}

/// The whole answer.
pub fn read_answer(reader: &mut impl BufRead) -> Answer {
    let (status, head) = read_head(reader);
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let mut body = Vec::new();
    if chunked {
        while let Some(chunk) = read_chunk(reader) {
            body.extend(chunk);
        }
    } else {
        // Fewer bytes than announced show in the body.
        let _ = reader.read_to_end(&mut body);
    }
    Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() }
}

/// Status and head of an answer.
pub fn read_head(reader: &mut impl BufRead) -> (u16, String) {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        let read = reader.read_line(&mut line).expect("an answer in time");
        if read == 0 || line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {head:?}")), head)
}

fn read_chunk(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut size = String::new();
    reader.read_line(&mut size).ok()?;
    let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk).ok()?;
    chunk.truncate(size);
    Some(chunk)
}

/// A server-sent event, and when it came.
#[derive(Debug)]
pub struct Sent {
    pub event: Option<String>,
    pub data: serde_json::Value,
    /// The lines as they came, without comments.
    pub lines: Vec<String>,
    pub at: Instant,
}

/// Sends a form and reads its stream of events to the end; status and head too.
pub fn post_stream(url: &str, path: &str, form: Form) -> (u16, String, Vec<Sent>) {
    stream_of(url, path, &multipart(), &form.bytes())
}

/// As [`post_stream`], for any body.
pub fn stream_of(url: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String, Vec<Sent>) {
    let mut stream = connect(url);
    stream.write_all(head("POST", path, kind, Some(body.len())).as_bytes()).expect("sent");
    stream.write_all(body).expect("sent");
    let mut reader = BufReader::new(stream);
    let (status, head) = read_head(&mut reader);
    let (mut events, mut text) = (Vec::new(), String::new());
    while let Some(chunk) = read_chunk(&mut reader) {
        text.push_str(&String::from_utf8(chunk).expect("events are whole characters"));
        while let Some(end) = text.find("\n\n") {
            let block: String = text.drain(..end + 2).collect();
            let lines: Vec<String> = block
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with(':'))
                .map(ToOwned::to_owned)
                .collect();
            let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name).map(str::trim));
            let Some(data) = value("data:") else { continue };
            let data = serde_json::from_str(data).expect("JSON");
            events.push(Sent { event: value("event:").map(ToOwned::to_owned), data, lines, at: Instant::now() });
        }
    }
    (status, head, events)
}

/// A file of the samples.
pub fn sample(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Recordings in a row with pauses of a second between them, 16 kHz mono WAV.
pub fn joined(names: &[&str]) -> Vec<u8> {
    let mut samples = Vec::new();
    for name in names {
        let bytes = sample(name);
        let mut reader = hound::WavReader::new(bytes.as_slice()).expect("a WAV");
        assert_eq!((reader.spec().sample_rate, reader.spec().channels), (16_000, 1), "{name}");
        samples.extend(reader.samples::<i16>().map(|sample| sample.expect("a sample")));
        samples.extend(std::iter::repeat_n(0, 16_000));
    }
    wav(&samples)
}

/// Samples as 16 kHz mono WAV.
pub fn wav(samples: &[i16]) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).expect("a WAV");
    samples.iter().for_each(|sample| writer.write_sample(*sample).expect("written"));
    writer.finalize().expect("written");
    bytes.into_inner()
}
