//! Real servers of tools, as their packages install them; and the end of their processes.

use super::agent_support::*;
use super::support::cli::bestbox;
use super::support::llama::free_port;
use bestbox::agent::tools::{Arguments, Permission, Toolbox};
use bestbox::agent::{Reach, ServerSettings};
use bestbox::text::llm::Secret;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn arguments(value: Value) -> Arguments {
    value.as_object().cloned().expect("an object")
}

async fn call(toolbox: &Toolbox, name: &str, value: Value) -> Result<String, String> {
    let offer = toolbox.offer().await;
    let tool = offer.find(name).unwrap_or_else(|| panic!("{name}: {:?}", offer.problems));
    toolbox.call(tool, &arguments(value), Duration::from_secs(60)).await
}

#[tokio::test]
async fn the_time_server_and_the_file_server_of_their_packages() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("a path");
    std::fs::write(root.join("hello.txt"), "Hello from a file.").expect("written");
    let files = installed("node/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js");
    let toolbox = Tools {
        allow: &["time__*", "files__read_text_file", "files__write_file"],
        read_only: &["time__*", "files__read_*"],
        servers: vec![
            program("time", installed("bin/mcp-server-time"), &["--local-timezone", "Europe/Berlin"]),
            program("files", "node", &[&files.display().to_string(), &root.display().to_string()]),
            // Nothing of it is allowed: it is not even started.
            program("idle", "/does/not/exist", &[]),
        ],
        ..Tools::default()
    }
    .toolbox();
    let offer = toolbox.offer().await;
    assert!(offer.problems.is_empty(), "{:?}", offer.problems);
    let names: Vec<_> = offer.tools.iter().map(|tool| (tool.spec.name.as_str(), tool.permission)).collect();
    let read = Permission::ReadOnly;
    let expected = [
        ("time__convert_time", read),
        ("time__get_current_time", read),
        ("files__read_text_file", read),
        ("files__write_file", Permission::Ask),
    ];
    assert_eq!(names, expected);
    let tokyo = call(&toolbox, "time__get_current_time", json!({"timezone": "Asia/Tokyo"})).await.expect("the time");
    assert!(tokyo.contains("Asia/Tokyo") && tokyo.contains("+09:00"), "{tokyo}");
    let wrong = call(&toolbox, "time__get_current_time", json!({"timezone": "Moon/Base"})).await;
    assert!(wrong.is_err(), "{wrong:?}");
    let path = root.join("hello.txt");
    let text = call(&toolbox, "files__read_text_file", json!({"path": path})).await.expect("the file");
    assert!(text.contains("Hello from a file."), "{text}");
    let outside = call(&toolbox, "files__read_text_file", json!({"path": "/etc/passwd"})).await;
    assert!(outside.is_err_and(|error| error.to_lowercase().contains("denied")));

    // In the loop: reading is done, writing is not without a word.
    let read = json!({"path": path}).to_string();
    let write = json!({"path": root.join("new.txt"), "content": "x"}).to_string();
    let replies =
        vec![calls("", &[("files__read_text_file", &read), ("files__write_file", &write)]), says("It says hello.")];
    let fake = scripted(replies).await;
    let never = tokio_util::sync::CancellationToken::new();
    let answer = agent(&fake, &toolbox).answer("What does it say?", &never, &mut |_| ()).await.expect("an answer");
    assert_eq!(answer.reply.text, "It says hello.");
    assert!(!root.join("new.txt").exists());
    toolbox.stop().await;
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn weather(port: u16) -> Killed {
    let child = Command::new(installed("bin/python"))
        .args([script("http_server.py"), port.to_string(), "secret-token".into()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let server = Killed(child);
    until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}

fn over_http(port: u16, token: &str) -> ServerSettings {
    let bearer = Some(Ok(Secret::new(token)));
    let reach = Reach::Http { url: format!("http://127.0.0.1:{port}/mcp"), headers: BTreeMap::new(), bearer };
    ServerSettings { name: "sky".into(), reach, start_timeout: Duration::from_secs(30), trust_hints: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_over_http_is_used_and_comes_back() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let port = free_port();
    let server = weather(port);
    let sky = |token| Tools {
        allow: &["sky__*"],
        read_only: &["sky__*"],
        servers: vec![over_http(port, token)],
        ..Tools::default()
    };
    let refused = sky("wrong").toolbox().offer().await;
    assert!(refused.tools.is_empty() && !refused.problems.is_empty());
    assert!(!refused.problems[0].contains("wrong"), "a token stands in {:?}", refused.problems);
    let toolbox = sky("secret-token").toolbox();
    let rain = call(&toolbox, "sky__weather", json!({"city": "Oslo"})).await;
    assert_eq!(rain.as_deref(), Ok("It rains in Oslo."));
    drop(server);
    let offer = toolbox.offer().await;
    if let Some(tool) = offer.find("sky__weather") {
        assert!(toolbox.call(tool, &arguments(json!({"city": "Oslo"})), Duration::from_secs(20)).await.is_err());
    }
    let _server = weather(port);
    let begun = std::time::Instant::now();
    loop {
        let offer = toolbox.offer().await;
        if let Some(tool) = offer.find("sky__weather")
            && toolbox.call(tool, &arguments(json!({"city": "Rome"})), Duration::from_secs(20)).await.is_ok()
        {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "it does not come back: {:?}", offer.problems);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    toolbox.stop().await;
}

/// Neither Ctrl-C nor `kill -9` leaves a server behind, not even one that stays when its input ends.
#[test]
fn no_server_outlives_bestbox() {
    for signal in ["-TERM", "-KILL"] {
        let folder = tempfile::tempdir().expect("a folder");
        let record = folder.path().join("record");
        let slow = format!(
            "import sys; sys.argv = ['x', {:?}]; exec(open({:?}).read().replace('elif method == \"tools/list\":', 'elif method == \"tools/list\": pass\\n    elif 0:'))",
            record.display().to_string(),
            script("hostile.py")
        );
        let config = format!(
            "[[agent.mcp]]\nname = \"evil\"\ncommand = \"sh\"\nargs = [\"-c\", \"python3 -c \\\"$0\\\"; true\", {slow:?}]\n"
        );
        let (mut child, _cli) = bestbox(["agent", "tools"]).file("bestbox.toml", &config).spawn();
        until("the server runs", || recorded(&record).contains("pid "));
        let pid: u32 =
            recorded(&record).lines().find_map(|line| line.strip_prefix("pid ")?.parse().ok()).expect("a pid");
        assert!(runs(pid));
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
        assert!(killed.success());
        let _ = child.wait();
        until(&format!("the server ends after {signal}"), || !runs(pid));
    }
}

#[test]
fn tools_are_listed_and_checked() {
    let config = "[agent]\nallow = [\"calculator\", \"nothing__*\"]\n[[agent.mcp]]\nname = \"gone\"\ncommand = \"/does/not/exist\"\n";
    let listed = bestbox(["agent", "tools", "--json"]).file("bestbox.toml", config).run().ok();
    let listed: Value = serde_json::from_str(&listed.out).expect("JSON");
    let state = |name: &str| {
        let tools = listed["tools"].as_array().expect("tools");
        tools.iter().find(|tool| tool["name"] == name).map(|tool| tool["permission"].clone())
    };
    assert_eq!((state("calculator"), state("write_note")), (Some(json!("read-only")), Some(json!("forbidden"))));
    assert!(listed["problems"][0].as_str().is_some_and(|problem| problem.contains("gone")), "{listed}");
    let checked = bestbox(["agent", "check"]).file("bestbox.toml", config).run();
    assert!(
        checked.code == Some(2) && checked.err.contains("nothing__*") && checked.err.contains("gone"),
        "{}",
        checked.err
    );
    let broken = "[[agent.mcp]]\nname = \"a b\"\ncommand = \"x\"\n";
    bestbox(["agent", "check"]).file("bestbox.toml", broken).run().failed(2, &["agent.mcp", "a b"]);
}
