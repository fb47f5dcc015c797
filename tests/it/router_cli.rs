//! `bestbox route`, routes asked for by name, and the service's conversations.

use crate::intent_data::sample;
use crate::support::cli::bestbox;
use crate::support::serve::serve;
use serde_json::{Value, json};

/// Two levels, so few examples that a small machine reads them in a moment.
fn few() -> String {
    let set: toml::Table = sample("routes-bestbox.toml").parse().expect("TOML");
    fn cut(route: &mut toml::Value) {
        let route = route.as_table_mut().expect("a table");
        if let Some(toml::Value::Array(examples)) = route.get_mut("examples") {
            examples.truncate(3);
        }
        if let Some(toml::Value::Array(children)) = route.get_mut("child") {
            children.iter_mut().for_each(cut);
        }
    }
    let mut set = toml::Value::Table(set);
    set["route"].as_array_mut().expect("routes").iter_mut().for_each(cut);
    // The small model is never sure; the larger one always is.
    let sure = "\n[[calibration]]\nmodel = \"smollm2\"\nscale = 1.0\nthreshold = 1.0\n\
                \n[[calibration]]\nmodel = \"qwen2.5-coder-0.5b\"\nscale = 1.0\nthreshold = 0.0\n";
    format!("min_label_mass = 0.0\n{}{sure}", toml::to_string(&set).expect("TOML").replace("threshold = 0.4\n", ""))
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn decisions_are_explained_and_the_heavy_model_is_asked_where_the_light_one_does_not_know() {
    let common = ["--profile", "tiny", "--set", "intent.routes=routes.toml", "--set", "heavy.model=qwen2.5-coder-0.5b"];
    let second = ["--set", "intent.second_opinion=heavy", "--set", "intent.second_opinion_seconds=120"];
    let texts = ["hey best box", "restart the web server", "-"];
    let args = ["-q", "route", "--json"].into_iter().chain(common).chain(second).chain(texts);
    let ran = bestbox(args).file("routes.toml", &few()).stdin("what is the capital of portugal\n").run().ok();
    let found = lines(&ran.out);
    assert_eq!(found.len(), 3, "{}", ran.out);
    assert_eq!((&found[0]["intent"]["by"], &found[0]["intent"]["attention"]), (&json!("rule"), &json!(true)));
    assert!(found[0]["ms"].as_f64().is_some_and(|ms| ms < 1000.0) && found[0]["levels"] == json!([]));
    for line in &found[1..] {
        assert_eq!(line["intent"]["by"], json!("second-opinion"), "{line}");
        let (light, heavy) = (&line["levels"][0], &line["second_opinion"]["level"]);
        assert_eq!(
            (&light["tier"], &light["taken"], &light["threshold"]),
            (&json!("light"), &Value::Null, &json!(1.0))
        );
        assert_eq!((&heavy["tier"], &heavy["threshold"]), (&json!("heavy"), &json!(0.0)));
        assert_eq!(heavy["taken"], line["intent"]["label"]);
    }

    let args = ["-q", "route", "what is the capital of portugal"].into_iter().chain(common);
    let ran = bestbox(args).file("routes.toml", &few()).run().ok();
    for word in
        ["by default: undecided", "label mass", "prompt ", "cached", "calibration smollm2", "threshold of", " ms"]
    {
        assert!(ran.out.contains(word), "{word} is missing:\n{}", ran.out);
    }
}

#[test]
fn a_route_that_does_not_exist_is_said_with_all_that_do() {
    for args in [
        ["-q", "text", "--route", "agent/kitchen"],
        ["-q", "text", "--hint", "kitchen"],
        ["-q", "route", "--force", "kitchen"],
    ] {
        let args = args.into_iter().chain(["--set", "intent.routes=routes.toml"]);
        let args: Vec<&str> = args.chain(["text"]).collect();
        let ran = bestbox(&args).file("routes.toml", &few()).file("text", "hello").run();
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.err);
        assert!(ran.err.contains("agent/erp") && ran.err.contains("kitchen"), "{}", ran.err);
    }
    // No server is started for what is sure.
    let args = ["-q", "route", "--json", "--force", "crm", "--set", "intent.routes=routes.toml", "anything"];
    let ran = bestbox(args).file("routes.toml", &few()).env("PATH", "/nowhere").run().ok();
    assert_eq!(lines(&ran.out)[0]["intent"]["path"], json!(["agent", "crm"]));
}

#[test]
fn a_shadow_report_reads_a_log() {
    let line = |route: &str, shadow: Value| {
        json!({"time": 1.0, "route": route, "action": "heavy", "by": "rule", "undecided": false, "probability": 1.0,
            "context": 0, "levels": [], "ms": 0.1, "shadow": shadow})
        .to_string()
    };
    let asked = json!({"setting": "heavy", "route": "note", "action": "text", "ms": 9.0});
    let log = format!("{}\n{}\n", line("agent", asked), line("agent", json!({"setting": "heavy", "dropped": "busy"})));
    let ran = bestbox(["route", "--shadow-report", "log"]).file("log", &log).run().ok();
    assert!(ran.out.contains("2 decisions, 1 compared") && ran.out.contains("not asked 1 times: busy"), "{}", ran.out);
    assert_eq!(bestbox(["route", "--shadow-report", "none"]).run().code, Some(3));
}

/// Rules need no model server, and attention belongs to one conversation.
#[test]
fn the_service_keeps_conversations_apart() {
    // No server comes up: what is not by a rule is by default.
    let served = serve()
        .set("servers.program=/nowhere/llama-server")
        .set("cleanup.style=verbatim")
        // However slow the machine is.
        .set("intent.attention_seconds=600")
        .start();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let by = |text: &str, conversation: &str, field: bool| {
        let mut body = json!({"text": text, "route": "intent"});
        let mut request = reqwest::Client::new().post(format!("{}/v1/text", served.url));
        if field {
            body["conversation"] = json!(conversation);
        } else {
            request = request.header("x-conversation-id", conversation);
        }
        let answer = runtime.block_on(async { request.json(&body).send().await?.json::<Value>().await });
        let intent = answer.expect("an answer")["intent"].clone();
        (intent["by"].clone(), intent["attention"].clone())
    };
    assert_eq!(by("Hey, Best Box!", "kitchen", true), (json!("rule"), json!(true)));
    assert_eq!(by("call Ann", "hall", true).0, json!("default"));
    assert_eq!(by("call Ann", "kitchen", false), (json!("rule"), Value::Null), "the header is as good as the field");
    assert_eq!(by("call Ann", "kitchen", true).0, json!("default"), "once");
}
