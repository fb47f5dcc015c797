//! The client against a real llama-server with a real (small) model.

use crate::support::llama::{KEY, Llama, SMOL};
use bestbox::outcome::{Finish, Tier};
use bestbox::text::llm::{ChatRequest, Client, Endpoint, LlmError, Message, Role, ScoreRequest, Secret};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn client(llama: &Llama, suffix: &str) -> Client {
    Client::new(Endpoint {
        tier: Tier::Light,
        base_url: format!("{}{suffix}", llama.base_url),
        model: None,
        key: Some(Secret::new(KEY)),
        connect_timeout: Duration::from_secs(2),
        timeout: Duration::from_secs(60),
    })
    .expect("client")
}

fn user(text: &str) -> Vec<Message> {
    vec![Message { role: Role::User, content: text.to_owned() }]
}

fn request(text: &str) -> ChatRequest {
    ChatRequest { messages: user(text), max_tokens: 16, temperature: 0.0, grammar: None, slot: None, timeout: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_does_all_that_the_client_offers() {
    let llama = Llama::start(SMOL);
    let never = CancellationToken::new();
    let client = client(&llama, "/v1/");

    let can = client.capabilities().await.expect("capabilities");
    assert!(can.native && can.grammar, "{can:?}");
    assert_eq!((can.slots, can.context, can.model.as_deref()), (2, Some(2048), Some("test-model")));

    // A grammar is obeyed, word for word.
    let mut constrained = ChatRequest { max_tokens: 40, ..request("Write a poem about cats.") };
    constrained.grammar = Some("root ::= \"<think>So be it.</think> Yes.\"".to_owned());
    let answer = client.chat(&constrained, &never).await.expect("chat");
    assert_eq!((answer.text.as_str(), answer.finish), ("<think>So be it.</think> Yes.", Finish::Stop));
    assert_eq!(answer.model, "test-model");
    assert!(answer.prompt_tokens.is_some_and(|n| n > 5) && answer.generated_tokens.is_some_and(|n| n > 5));

    // Whole and streamed are the same text at temperature 0, and the limit is said to be one.
    let whole = client.chat(&request("Count from one to fifty."), &never).await.expect("chat");
    let mut pieces = Vec::new();
    let mut take = |piece: &str| pieces.push(piece.to_owned());
    let streamed = client.chat_stream(&request("Count from one to fifty."), &never, &mut take).await.expect("stream");
    assert_eq!(streamed.text, whole.text);
    assert_eq!(pieces.concat(), whole.text);
    assert!(pieces.len() > 3, "{pieces:?}");
    assert_eq!((whole.finish, streamed.finish), (Finish::Length, Finish::Length));
    assert_eq!(streamed.generated_tokens, Some(16));

    // A warm prefix is read from the cache, in its slot.
    let prefix = "You sort sentences. ".repeat(60);
    let mut messages = vec![Message { role: Role::System, content: prefix }];
    client.warm_up(&messages, Some(1), &never).await.expect("warm up");
    messages.extend(user("Hello."));
    let warm = client.chat(&ChatRequest { messages, slot: Some(1), ..request("") }, &never).await.expect("chat");
    let (prompt, cached) = (warm.prompt_tokens.expect("counted"), warm.cached_tokens.expect("counted"));
    assert!(prompt > 200 && cached > prompt - 30, "{cached} of {prompt} tokens came from the cache");

    // Tokens.
    assert_eq!(client.count_tokens("").await.expect("count"), Some(0));
    let words = client.count_tokens("one two three four").await.expect("count").expect("native");
    assert!((4..=5).contains(&words), "{words}");
    let labels = ["note".to_owned(), "agent".to_owned(), "antidisestablishmentarianism".to_owned()];
    assert_eq!(client.single_tokens(&labels).await.expect("tokens"), Some(vec![true, true, false]));

    // Too long is said as such.
    let error = client.chat(&request(&"far too long ".repeat(2000)), &never).await.expect_err("2048 tokens only");
    assert!(matches!(error, LlmError::TooLong { tier: Tier::Light }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_are_the_raw_probabilities_of_the_next_token() {
    let llama = Llama::start(SMOL);
    let never = CancellationToken::new();
    let client = client(&llama, "");
    let labels: Vec<String> = ["Paris", "London", "xylophone"].map(str::to_owned).into();
    let ask = ScoreRequest {
        messages: user("Answer with one word only. What is the capital of France?"),
        labels: labels.clone(),
        slot: Some(0),
        timeout: None,
    };
    let scores = client.score(&ask, &never).await.expect("score");
    assert!(scores.mass.iter().sum::<f64>() <= 1.0 + 1e-6 && scores.mass.iter().all(|mass| *mass >= 0.0), "{scores:?}");
    assert!(scores.mass[0] > scores.mass[1] && scores.mass[2] < 1e-3, "{scores:?}");
    assert!(scores.prompt_tokens.is_some_and(|n| n > 10), "{scores:?}");

    // Same numbers from the cache, up to the arithmetic of another batch size; and it says that it was the cache.
    let again = client.score(&ask, &never).await.expect("score");
    assert!((again.mass[0] - scores.mass[0]).abs() < 0.02, "{scores:?} {again:?}");
    assert!(again.cached_tokens.is_some_and(|n| n > 5), "{again:?}");

    // The first token a greedy completion picks is a label with the mass the scores say: the same distribution.
    let greedy = ChatRequest { max_tokens: 1, messages: ask.messages.clone(), ..request("") };
    let token = client.chat(&greedy, &never).await.expect("chat").text;
    let best = client.score(&ScoreRequest { labels: vec![token.clone()], ..ask }, &never).await.expect("score");
    assert!(best.mass[0] >= scores.mass[0] - 0.02, "greedy {token:?}: {best:?}, {scores:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_real_stream_frees_the_slot_at_once() {
    let llama = Llama::start(SMOL);
    let client = client(&llama, "");
    let cancel = CancellationToken::new();
    let long = ChatRequest { max_tokens: 1900, ..request("Count from one to one thousand, in words.") };
    let mut pieces = 0;
    let mut stop_after_three = |_: &str| {
        pieces += 1;
        if pieces == 3 {
            cancel.cancel();
        }
    };
    let error = client.chat_stream(&long, &cancel, &mut stop_after_three).await.expect_err("cancelled");
    assert!(matches!(error, LlmError::Cancelled), "{error}");

    // Both slots answer again soon: the server has stopped generating for the stream.
    let start = Instant::now();
    let never = CancellationToken::new();
    let short = |slot| ChatRequest { max_tokens: 2, slot: Some(slot), ..request("Hi.") };
    let (first, second) = (short(0), short(1));
    let (a, b) = tokio::join!(client.chat(&first, &never), client.chat(&second, &never));
    a.and(b).expect("chat");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_wrong_key_is_refused_without_showing_it() {
    let llama = Llama::start(SMOL);
    let mut endpoint = client(&llama, "").endpoint().clone();
    endpoint.key = Some(Secret::new("wrong-secret-key"));
    let error = Client::new(endpoint).expect("client").capabilities().await.expect_err("wrong key");
    assert!(matches!(error, LlmError::Status { status: 401, .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrong-secret"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_program_does_not_cost_the_first_its_warm_prefixes() {
    let llama = Llama::start(SMOL);
    let never = CancellationToken::new();
    let first = client(&llama, "");
    let prefix =
        |task: &str| vec![Message { role: Role::System, content: format!("You {task} sentences. ").repeat(40) }];
    let tasks = [(0, prefix("sort")), (1, prefix("tidy up"))];
    for (slot, messages) in &tasks {
        first.warm_up(messages, Some(*slot), &never).await.expect("warm up");
    }
    // Its probe runs a token in one of the two slots.
    client(&llama, "").capabilities().await.expect("capabilities");
    for (slot, messages) in tasks {
        let messages = [messages, user("Hello.")].concat();
        let ask = ScoreRequest { messages, labels: vec!["a".to_owned()], slot: Some(slot), timeout: None };
        let scores = first.score(&ask, &never).await.expect("score");
        let (prompt, cached) = (scores.prompt_tokens.expect("counted"), scores.cached_tokens.expect("counted"));
        assert!(prompt > 150 && cached + 30 > prompt, "slot {slot}: {cached} of {prompt} tokens came from the cache");
    }
}
