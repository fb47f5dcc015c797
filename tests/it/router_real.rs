//! The router with the real embedded light model: departments, follow-ups, wake phrases, forced and hinted routes, the
//! second opinion, the shadow, the log.

use crate::intent_data::sample;
use crate::support::llama::{KEY, Llama, free_port};
use bestbox::audio::Channels;
use bestbox::config::{Sources, typed_flag};
use bestbox::engine::{Engine, Entry, Need, Needs, Start, Upkeep};
use bestbox::outcome::{Action, DecidedBy, Outcome, Plan, Route, Style, WarningCode};
use bestbox::pipeline::{self, Run};
use bestbox::speech::{Segment, Transcript};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const LIGHT: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";

/// An engine with this light server; `heavy` is another server's address.
async fn engine(llama: &Llama, heavy: &str, folder: &Path, more: &[(&str, &str)]) -> Engine {
    // Err: another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = folder.join("key");
    std::fs::write(&key, KEY).expect("a key file");
    let key = key.display().to_string();
    let pairs = [
        ("profile", "external"),
        ("light.base_url", llama.base_url.as_str()),
        ("light.key_file", key.as_str()),
        ("light.timeout_seconds", "120"),
        ("heavy.base_url", heavy),
        ("heavy.key_file", key.as_str()),
    ];
    let flag =
        |(name, text): &(&str, &str)| ((*name).to_owned(), typed_flag(name, text).expect("a value"), "test".to_owned());
    let flags = pairs.iter().chain(more).map(flag).collect();
    let config = Sources { flags, ..Sources::default() }.load().expect("a configuration").config;
    let needs = Needs { light: Need::AtStart, intent: true, heavy: Need::AtStart, ..Needs::default() };
    let start = Start {
        config,
        needs,
        channels: Channels::Average,
        program: env!("CARGO_BIN_EXE_bestbox").into(),
        notice: Arc::new(|_: &str| {}),
        upkeep: Upkeep::Once,
    };
    let engine = Engine::start(start).await.expect("an engine");
    engine.ready(&[bestbox::outcome::Tier::Light, bestbox::outcome::Tier::Heavy]).await;
    engine
}

fn deciding() -> Plan {
    Plan { clean: Style::Verbatim, route: Route::Intent, ..Plan::default() }
}

async fn said(engine: &Engine, text: &str, plan: &Plan) -> Outcome {
    let never = CancellationToken::new();
    let observer = |_: pipeline::Event<'_>| {};
    let segments = vec![Segment { text: text.to_owned(), ..Segment::default() }];
    let transcript = Transcript { language: "en".parse().ok(), segments };
    let run = Run::new(engine, plan, &observer, &never);
    pipeline::run_text(run, transcript, "test").await.expect("an outcome")
}

async fn path(engine: &Engine, text: &str, plan: &Plan) -> (String, DecidedBy) {
    let intent = said(engine, text, plan).await.intent.expect("an intent");
    (intent.path.join("/"), intent.by)
}

fn entries(log: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
}

/// The entries once there are so many.
async fn entries_of(log: &Path, count: usize) -> Vec<Entry> {
    let begun = Instant::now();
    loop {
        let found = entries(log);
        if found.len() >= count {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{} of {count} entries", found.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn routes(folder: &Path) -> String {
    let file = folder.join("routes.toml");
    std::fs::write(&file, sample("routes-bestbox.toml")).expect("a route file");
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn departments_rules_follow_ups_and_what_is_asked_for() {
    let llama = Llama::start_as(LIGHT, LIGHT, 4096);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("intent.jsonl");
    let (file, logged) = (routes(folder.path()), log.display().to_string());
    let more = [("intent.routes", file.as_str()), ("intent.log", logged.as_str()), ("intent.second_opinion", "heavy")];
    // Nobody is at home there.
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let engine = engine(&llama, &nowhere, folder.path(), &more).await;
    let plain = deciding();

    // Two questions, each with its own prompt in the server's cache.
    let clear = [
        ("restart the web server in the data centre", "agent/it_ops"),
        ("which supplier has the cheapest screws and how many are in the warehouse", "agent/erp"),
        ("how many vacation days do i have left this year", "agent/oa"),
        ("add the new lead from the fair and prepare an offer for the customer", "agent/crm"),
        ("dear mister miller thank you very much for the flowers best regards tom", "note"),
        ("what is the capital of portugal", "quick"),
    ];
    let mut right = 0;
    for (text, wanted) in clear {
        let (found, by) = path(&engine, text, &plain).await;
        println!("{text}: {found} {by:?}");
        right += usize::from(found == wanted);
        assert!(found == wanted || by == DecidedBy::Default || found.starts_with(&wanted[..wanted.len().min(5)]));
    }
    assert!(right >= 4, "{right} of 6");

    let found = entries_of(&log, 6).await;
    let asked: Vec<_> = found.iter().flat_map(|entry| &entry.trace.levels).collect();
    for level in &asked {
        let sum: f64 = level.probabilities.values().sum();
        assert!((sum - 1.0).abs() < 1e-6 && level.label_mass > 0.0 && level.ms > 0.0, "{level:?}");
        assert_eq!(level.model.as_deref(), Some(LIGHT));
    }
    for depth in [0, 1] {
        let mut of: Vec<_> = asked.iter().filter(|level| level.under.len() == depth).collect();
        assert!(of.len() >= 3, "{depth}: {}", of.len());
        // The first of each may have to read its prompt.
        for level in of.drain(1..) {
            let (prompt, cached) = (level.prompt_tokens.expect("a count"), level.cached_tokens.expect("a count"));
            println!("level {depth}: {prompt} tokens, {cached} cached, {:.0} ms", level.ms);
            assert!(f64::from(cached) > 0.8 * f64::from(prompt), "{level:?}");
        }
    }
    assert_eq!(found[0].text.as_deref(), Some(clear[0].0));

    // A wake phrase as recognisers write it; the department is asked for, by these routes' wish.
    for heard in ["Hey BestBox,", "hey best box", "Hey, Best Box!", "Hay Bestbox."] {
        let (found, by) = path(&engine, &format!("{heard} restart the web server in the data centre"), &plain).await;
        assert!(by == DecidedBy::Rule && found.starts_with("agent"), "{heard}: {found}");
    }

    // Asked for by name: no model, no time.
    let forced = Plan { force: Some("agent/oa".into()), ..deciding() };
    let intent = said(&engine, "what is the capital of portugal", &forced).await.intent.expect("an intent");
    assert_eq!((intent.path.join("/").as_str(), intent.by), ("agent/oa", DecidedBy::Forced));
    let last = entries_of(&log, 11).await.pop().expect("an entry");
    assert!(last.trace.levels.is_empty() && last.by == DecidedBy::Forced, "{last:?}");

    // A hint moves odds by its factor and no further.
    let text = "what is the capital of portugal";
    let hinted = Plan { hint: Some("agent".into()), private: true, ..deciding() };
    let before = said(&engine, text, &plain).await.intent.expect("an intent").probabilities["agent"];
    let after = said(&engine, text, &hinted).await.intent.expect("an intent").probabilities["agent"];
    let odds = |p: f64| p / (1.0 - p);
    let factor = odds(after) / odds(before);
    assert!((2.5..3.5).contains(&factor), "{factor}");
    let last = entries_of(&log, 13).await.pop().expect("an entry");
    assert!(last.text.is_none() && last.text_hash.is_none() && last.trace.hint.as_deref() == Some("agent"));

    follow_ups(&engine).await;

    // Undecided: the heavy model is asked and is not there; nothing else changes.
    let murmur = "well you know it is sort of the thing with the";
    let outcome = said(&engine, murmur, &plain).await;
    let intent = outcome.intent.expect("an intent");
    if intent.undecided {
        assert_eq!(outcome.warnings[0].code, WarningCode::IntentUndecided);
        let said = entries(&log).into_iter().rfind(|entry| entry.text.as_deref() == Some(murmur));
        let second = said.and_then(|entry| entry.trace.second_opinion).expect("it was asked");
        assert!(second.level.is_none() && second.reason.is_some(), "{second:?}");
    }
    engine.stop().await;
}

/// "and tomorrow?" goes where its predecessor went.
async fn follow_ups(engine: &Engine) {
    let talk = |name: &str| Plan { conversation: Some(name.into()), ..deciding() };
    let share = |outcome: Outcome, name: &str| outcome.intent.expect("an intent").probabilities[name];
    for (name, first) in
        [("agent", "move my appointment with the lawyer to next week"), ("quick", "what is the capital of finland")]
    {
        let plan = talk(name);
        assert_eq!(said(engine, first, &plan).await.intent.expect("an intent").label, name, "{first}");
        let follow = "and the one after that";
        let alone = share(said(engine, follow, &deciding()).await, name);
        let after = share(said(engine, follow, &plan).await, name);
        println!("'{follow}' alone {name} {alone:.3}, after '{first}' {after:.3}");
        assert!(after > alone, "{name}: {alone} alone, {after} after it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_logged_and_delays_nobody() {
    let llama = Llama::start_as(LIGHT, LIGHT, 4096);
    let folder = tempfile::tempdir().expect("a folder");
    // Short prompts: what is measured is who waits for whom.
    let file = folder.path().join("routes.toml");
    let few = sample("routes-bestbox.toml").replace("examples_in_prompt = 24", "examples_in_prompt = 4");
    std::fs::write(&file, few).expect("a route file");
    let file = file.display().to_string();
    let log = folder.path().join("intent.jsonl");
    let logged = log.display().to_string();
    let plan = deciding();
    let texts = ["what is the capital of portugal", "is the backup complete", "dear tom thank you", "who was napoleon"];
    let mut medians = Vec::new();
    for shadow in ["", "heavy"] {
        let more = [("intent.routes", file.as_str()), ("intent.log", &logged), ("intent.shadow", shadow)];
        // One server for both tiers: the hardest case, as the shadow takes the very slots that are needed.
        let engine = engine(&llama, &llama.base_url, folder.path(), &more).await;
        said(&engine, "warm up", &plan).await;
        let mut times: Vec<f64> = Vec::new();
        for text in texts.iter().cycle().take(12) {
            let begun = Instant::now();
            said(&engine, text, &plan).await;
            times.push(begun.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        medians.push(times[times.len() / 2]);
        if shadow == "heavy" {
            // Now there is a pause: the last one is asked.
            let entries = entries_of(&log, 26).await;
            let shadows: Vec<_> = entries.iter().filter_map(|entry| entry.shadow.as_ref()).collect();
            assert_eq!(shadows.len(), 13);
            let asked: Vec<_> = shadows.iter().filter(|shadow| shadow.dropped.is_none()).collect();
            assert!(!asked.is_empty(), "{shadows:?}");
            assert!(asked.iter().all(|shadow| shadow.route.is_some() && shadow.setting == "heavy"));
            println!("{} of 13 shadows were asked", asked.len());
        }
        engine.stop().await;
    }
    println!("medians without and with shadow: {medians:?}");
    assert!(medians[1] < 2.0 * medians[0] + 0.05, "{medians:?}");
}

/// What a route adds to the instructions, and that a wake phrase alone is answered by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_wake_phrase_alone_is_answered_by_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let llama = Llama::start(crate::support::llama::SMOL);
    let engine = engine(&llama, &llama.base_url, folder.path(), &[("agent.max_tokens", "4")]).await;
    let plan = Plan { route: Route::Auto, conversation: Some("a".into()), ..deciding() };
    let outcome = said(&engine, "Hey, Best Box!", &plan).await;
    let intent = outcome.intent.expect("an intent");
    assert!(intent.attention && intent.action == Action::Heavy && outcome.reply.is_none(), "{intent:?}");
    // What follows is the request; once.
    let outcome = said(&engine, "call Ann", &plan).await;
    let intent = outcome.intent.expect("an intent");
    assert_eq!((intent.label.as_str(), intent.by, intent.attention), ("agent", DecidedBy::Rule, false));
    assert!(outcome.reply.is_some(), "{:?}", outcome.warnings);
    assert_ne!(
        said(&engine, "call Ann", &Plan { route: Route::Intent, ..plan }).await.intent.map(|i| i.by),
        Some(DecidedBy::Rule)
    );
    engine.stop().await;
}
