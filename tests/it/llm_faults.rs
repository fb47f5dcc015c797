//! The client against servers that are down, slow, broken or hostile.

use crate::support::fake::{Fake, Kind, Reply, Then, delta};
use crate::support::llama::free_port;
use bestbox::outcome::{Finish, Tier};
use bestbox::text::llm::{ChatRequest, Client, Completion, Endpoint, LlmError, Message, Role, Secret};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const KEY: &str = "sk-very-secret-key";
const CHAT: &str = "/v1/chat/completions";

fn client(base_url: &str) -> Client {
    Client::new(Endpoint {
        tier: Tier::Heavy,
        base_url: base_url.to_owned(),
        model: None,
        key: Some(Secret::new(KEY)),
        connect_timeout: Duration::from_secs(30),
        timeout: Duration::from_secs(10),
    })
    .expect("client")
}

fn request(timeout_ms: u64) -> ChatRequest {
    ChatRequest {
        messages: vec![Message { role: Role::User, content: "Hi.".to_owned() }],
        max_tokens: 8,
        temperature: 0.0,
        grammar: None,
        slot: None,
        timeout: Some(Duration::from_millis(timeout_ms)),
    }
}

async fn chat(client: &Client) -> Result<Completion, LlmError> {
    client.chat(&request(8000), &CancellationToken::new()).await
}

async fn stream(client: &Client, timeout_ms: u64) -> (Result<Completion, LlmError>, String) {
    let mut shown = String::new();
    let mut take = |piece: &str| shown.push_str(piece);
    let result = client.chat_stream(&request(timeout_ms), &CancellationToken::new(), &mut take).await;
    (result, shown)
}

#[tokio::test]
async fn a_server_that_is_down_is_tried_again_and_then_named() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let start = Instant::now();
    let error = chat(&client(&url)).await.expect_err("nobody listens");
    assert!(matches!(error, LlmError::Unreachable { .. }) && error.to_string().contains(&url), "{error}");
    assert!(error.to_string().contains("heavy") && error.to_string().contains("refused"), "{error}");
    let took = start.elapsed();
    assert!(took > Duration::from_millis(600) && took < Duration::from_secs(4), "{took:?}");
    // Never longer than the request may take.
    let start = Instant::now();
    client(&url).chat(&request(100), &CancellationToken::new()).await.expect_err("nobody listens");
    assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
}

#[tokio::test]
async fn slow_servers_run_into_the_time_limit() {
    let silent = Reply { bytes: Vec::new(), then: Then::Hold };
    let stalls =
        Reply::with_head(200, "Content-Type: application/json\r\nContent-Length: 99\r\n", b"{\"cho").then(Then::Hold);
    let drips = Reply::with_head(200, "Content-Type: application/json\r\n", b"{")
        .then(Then::Repeat(b" ".to_vec(), Duration::from_millis(20)));
    for reply in [silent, stalls, drips] {
        let fake = Fake::chat(Kind::Llama, reply).await;
        let start = Instant::now();
        let error = client(&fake.base_url).chat(&request(400), &CancellationToken::new()).await.expect_err("slow");
        assert!(matches!(error, LlmError::Timeout { seconds, .. } if seconds == 0.4), "{error}");
        assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
        let (result, shown) = stream(&client(&fake.base_url), 400).await;
        assert!(matches!(result, Err(LlmError::Timeout { .. })) && shown.is_empty(), "{result:?}");
    }
}

#[tokio::test]
async fn nonsense_is_an_error_and_never_a_panic() {
    let deep = "[".repeat(200_000);
    let cases: [(Reply, &str); 10] = [
        (Reply::body(200, "application/json", b"certainly! here is"), "not valid JSON"),
        (Reply::body(200, "application/json", b"{\"choices\": [{\"message\": {\"content\": \"\xff\xfe\"}}]}"), "JSON"),
        (Reply::body(200, "application/json", deep.as_bytes()), "not valid JSON"),
        (Reply::body(200, "application/json", b""), "not valid JSON"),
        (Reply::body(200, "text/html; charset=utf-8", b"<html>log in</html>"), "text/html instead of JSON"),
        (Reply::body(200, "application/octet-stream", b"\0\x01"), "instead of JSON"),
        (Reply::json(200, &json!({"choices": []})), "no choices"),
        (Reply::json(200, &json!({"choices": [{"message": {"content": [1]}}]})), "not text"),
        (Reply::json(200, &json!([1, 2])), "no choices"),
        (Reply::with_head(200, "Content-Type: application/json\r\nContent-Length: 500\r\n", b"{\"choi"), "cut short"),
    ];
    for (reply, words) in cases {
        let fake = Fake::chat(Kind::Llama, reply).await;
        let error = chat(&client(&fake.base_url)).await.expect_err(words);
        assert!(matches!(error, LlmError::Garbage { .. }) && error.to_string().contains(words), "{words}: {error}");
        assert_eq!(fake.requests(CHAT).len(), 1, "{words}: nonsense is not asked for again");
    }
}

#[tokio::test]
async fn error_statuses_are_told_and_not_tried_again() {
    let html = b"<html><body>Bad gateway</body></html>";
    let cases = [
        (Reply::json(500, &json!({"error": {"message": "out of memory", "code": 500}})), 500, "out of memory"),
        (Reply::json(500, &json!({"error": "plain words"})), 500, "plain words"),
        (Reply::json(422, &json!({"detail": "which field"})), 422, "which field"),
        (Reply::body(502, "text/html", html), 502, "HTML page"),
        (Reply::body(504, "text/plain", b""), 504, "Gateway Timeout"),
        (Reply::body(418, "text/plain", b"caf\xe9"), 418, "caf"),
        (Reply::with_head(302, "Location: http://elsewhere.invalid/\r\nContent-Length: 0\r\n", b""), 302, "Found"),
    ];
    for (reply, code, words) in cases {
        let fake = Fake::chat(Kind::Llama, reply).await;
        let error = chat(&client(&fake.base_url)).await.expect_err(words);
        assert!(matches!(error, LlmError::Status { status, .. } if status == code), "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert_eq!(fake.requests(CHAT).len(), 1, "{words}");
        let (result, _) = stream(&client(&fake.base_url), 8000).await;
        assert!(matches!(result, Err(LlmError::Status { status, .. }) if status == code), "{result:?}");
    }
    let too_long = json!({"error": {"code": 400, "type": "exceed_context_size_error", "message": "too many"}});
    let fake = Fake::chat(Kind::Llama, Reply::json(400, &too_long)).await;
    let error = chat(&client(&fake.base_url)).await.expect_err("too long");
    assert!(matches!(error, LlmError::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says() {
    let fake = Fake::start(Kind::Llama, |count, request| {
        (request.path == CHAT).then(|| match count {
            0 => Reply::with_head(503, "Retry-After: 1\r\nContent-Length: 0\r\n", b""),
            1 => Reply::body(429, "text/plain", b"slow down"),
            _ => Reply::text("At last."),
        })
    })
    .await;
    assert_eq!(chat(&client(&fake.base_url)).await.expect("third time").text, "At last.");
    let asked: Vec<Instant> = fake.requests(CHAT).iter().map(|request| request.at).collect();
    assert_eq!(asked.len(), 3);
    let waits = [asked[1] - asked[0], asked[2] - asked[1]];
    assert!(waits[0] >= Duration::from_secs(1) && waits[0] < Duration::from_secs(6), "{waits:?}");
    assert!(waits[1] >= Duration::from_millis(180) && waits[1] < Duration::from_secs(6), "{waits:?}");

    // A wait that the request has no time for is not begun; and there is an end to asking.
    for (head, requests) in
        [("Retry-After: 3600\r\n", 1), ("Retry-After: Fri, 31 Dec 2100 00:00:00 GMT\r\n", 1), ("", 4)]
    {
        let fake = Fake::chat(Kind::Llama, Reply::with_head(429, &format!("{head}Content-Length: 0\r\n"), b"")).await;
        let start = Instant::now();
        let error = chat(&client(&fake.base_url)).await.expect_err("always busy");
        assert!(matches!(error, LlmError::Status { status: 429, .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(fake.requests(CHAT).len(), requests, "{head:?}");
    }
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_not_asked_again() {
    let fake = Fake::chat(Kind::Llama, Reply { bytes: Vec::new(), then: Then::Close }).await;
    let error = chat(&client(&fake.base_url)).await.expect_err("died");
    assert!(matches!(error, LlmError::Unreachable { .. }), "{error}");
    // The work may have been done: doing it twice is for the caller to decide.
    assert_eq!(fake.requests(CHAT).len(), 1);
}

#[tokio::test]
async fn a_broken_stream_keeps_its_text() {
    let (one, two) = (delta("Hello"), delta(" there"));
    let error = json!({"error": {"code": 500, "message": "CUDA error"}}).to_string();
    let not_text = [format!("data: {one}\n\n").as_bytes(), b"data: \xff\xff\n\n"].concat();
    let invalid = Reply::with_head(200, "Content-Type: text/event-stream\r\n", &not_text);
    for reply in [
        Reply::events(&[&one, &two]),
        Reply::events(&[&one, &two[..20]]),
        Reply::events(&[&one, &error]),
        Reply::events(&[&one, "gibberish"]),
        invalid,
    ] {
        let fake = Fake::chat(Kind::Llama, reply).await;
        let (result, shown) = stream(&client(&fake.base_url), 8000).await;
        let completion = result.expect("text came");
        assert_eq!(completion.finish, Finish::Broken);
        assert!(completion.text == shown && shown.starts_with("Hello"), "{completion:?} {shown:?}");
    }
    // Before any text it is an error.
    for reply in [
        Reply::events(&[]),
        Reply::events(&[&error]),
        Reply::events(&["gibberish"]),
        Reply::body(200, "text/html", b"<html>"),
        Reply::with_head(200, "Content-Type: text/event-stream\r\n", b"data: \xff\xff\n\n"),
    ] {
        let fake = Fake::chat(Kind::Llama, reply).await;
        let (result, shown) = stream(&client(&fake.base_url), 8000).await;
        assert!(matches!(result, Err(LlmError::Garbage { .. } | LlmError::Status { .. })), "{result:?}");
        assert_eq!(shown, "");
    }
}

#[tokio::test]
async fn a_stalled_stream_ends_with_its_text() {
    // Pings are no progress.
    let reply = Reply::events(&[&delta("Wait")]);
    let pings = reply.clone().then(Then::Repeat(b": ping\n\n".to_vec(), Duration::from_millis(50)));
    for reply in [reply.then(Then::Hold), pings] {
        let fake = Fake::chat(Kind::Llama, reply).await;
        let start = Instant::now();
        let patient = client(&fake.base_url);
        let (result, _) = stream(&patient.clone().with_stall_limit(Duration::from_millis(300)), 8000).await;
        let completion = result.expect("text came");
        assert_eq!((completion.text.as_str(), completion.finish), ("Wait", Finish::Broken));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        // With the limit of the whole request before that of the stall.
        let (result, _) = stream(&patient, 500).await;
        let completion = result.expect("text came");
        assert_eq!((completion.text.as_str(), completion.finish), ("Wait", Finish::Timeout));
    }
}

#[tokio::test]
async fn answers_without_end_are_cut_off() {
    let block = vec![b' '; 1 << 20];
    let no_pause = Duration::ZERO;
    let whole =
        Reply::with_head(200, "Content-Type: application/json\r\n", b"").then(Then::Repeat(block.clone(), no_pause));
    let line = Reply::with_head(200, "Content-Type: text/event-stream\r\n", b"data: ")
        .then(Then::Repeat(block.clone(), no_pause));
    let page = Reply::with_head(500, "Content-Type: text/plain\r\n", b"oops ").then(Then::Repeat(block, no_pause));
    let fake = Fake::chat(Kind::Llama, whole).await;
    let error = chat(&client(&fake.base_url)).await.expect_err("endless");
    assert!(error.to_string().contains("more than 16 MB"), "{error}");
    let fake = Fake::chat(Kind::Llama, line).await;
    let (result, _) = stream(&client(&fake.base_url), 8000).await;
    assert!(matches!(result, Err(LlmError::Garbage { .. })), "{result:?}");
    let fake = Fake::chat(Kind::Llama, page).await;
    let error = chat(&client(&fake.base_url)).await.expect_err("endless");
    assert!(matches!(error, LlmError::Status { status: 500, .. }) && error.to_string().len() < 500, "{error}");
}

#[tokio::test]
async fn the_key_is_sent_and_never_shown() {
    let echo = json!({"error": {"message": format!("Incorrect API key provided: {KEY}.")}});
    let fake = Fake::chat(Kind::Llama, Reply::json(401, &echo)).await;
    let client = client(&fake.base_url);
    let error = chat(&client).await.expect_err("refused");
    for text in [error.to_string(), format!("{error:?}"), format!("{client:?}"), format!("{:?}", client.endpoint())] {
        assert!(!text.contains(KEY), "{text}");
    }
    assert!(error.to_string().contains("***"), "{error}");
    assert!(fake.requests(CHAT)[0].head.contains(&format!("authorization: bearer {KEY}\r\n")));

    let mut endpoint = client.endpoint().clone();
    for bad in ["http://user:hunter2@host:1", "hunter2", "ftp://hunter2", "http://host/?key=hunter2", ""] {
        endpoint.base_url = bad.to_owned();
        let error = Client::new(endpoint.clone()).expect_err("no base URL");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn cancelling_closes_the_connection_at_once() {
    let silent = Reply { bytes: Vec::new(), then: Then::Hold };
    let body = Reply::with_head(200, "Content-Type: application/json\r\nContent-Length: 99\r\n", b"{").then(Then::Hold);
    let events = Reply::events(&[&delta("One")]).then(Then::Hold);
    for (reply, streamed) in [(silent.clone(), false), (body, false), (silent, true), (events, true)] {
        let fake = Fake::chat(Kind::Llama, reply).await;
        let client = client(&fake.base_url);
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let canceller = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            stop.cancel();
            Instant::now()
        });
        let request = request(8000);
        let result = if streamed {
            client.chat_stream(&request, &cancel, &mut |_: &str| {}).await
        } else {
            client.chat(&request, &cancel).await
        };
        let returned = Instant::now();
        let cancelled = canceller.await.expect("cancelled");
        assert!(matches!(result, Err(LlmError::Cancelled)), "{result:?}");
        assert!(returned - cancelled < Duration::from_millis(100), "{:?}", returned - cancelled);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let closed = fake.closed.lock().expect("closed").clone();
        assert!(matches!(closed[..], [at] if at - cancelled < Duration::from_millis(250)), "{closed:?}");
    }
}

#[tokio::test]
async fn cancelling_works_while_connecting_and_while_waiting_to_try_again() {
    // A full accept queue: the kernel leaves further connections unanswered.
    let socket = tokio::net::TcpSocket::new_v4().expect("socket");
    socket.bind("127.0.0.1:0".parse().expect("address")).expect("bound");
    let listener = socket.listen(1).expect("listens");
    let address = listener.local_addr().expect("address");
    let mut fill = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
    {
        fill.push(stream);
        assert!(fill.len() < 100, "the queue does not fill");
    }
    let busy = Fake::chat(Kind::Llama, Reply::with_head(503, "Retry-After: 6\r\nContent-Length: 0\r\n", b"")).await;
    for url in [format!("http://{address}"), busy.base_url.clone()] {
        let client = client(&url);
        let cancel = CancellationToken::new();
        let request = request(8000);
        let start = Instant::now();
        let stop = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cancel.cancel();
        };
        let (result, ()) = tokio::join!(client.chat(&request, &cancel), stop);
        assert!(matches!(result, Err(LlmError::Cancelled)), "{url}: {result:?}");
        assert!(start.elapsed() < Duration::from_millis(600), "{url}: {:?}", start.elapsed());
    }
}
