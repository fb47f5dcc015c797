//! Managed servers with a real llama-server: started, shared, stopped, never left behind.

use crate::support::llama::{Alone, alone, free_port};
use crate::support::servers::{assert_gone, kill_9, parent, runs, settings};
use bestbox::servers::{Port, Server, ServerError, ServerSettings, ensure};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

fn place() -> (Alone, TempDir) {
    (alone(), TempDir::new().expect("a folder"))
}

async fn start(settings: &ServerSettings) -> Result<Server, ServerError> {
    ensure(settings, &mut |_: &str| {}, &CancellationToken::new()).await
}

/// A token from a server, or why not.
async fn token(server: &Server) -> Result<String, String> {
    let url = format!("{}/completion", server.base_url());
    let body = serde_json::json!({"prompt": "One, two, three,", "n_predict": 1});
    let http = reqwest::Client::builder().tls_certs_only([]).build().map_err(|error| error.to_string())?;
    let answer = http.post(url).bearer_auth(server.api_key()).json(&body).send().await;
    let answer = answer.map_err(|error| error.to_string())?.error_for_status().map_err(|error| error.to_string())?;
    let answer: serde_json::Value = answer.json().await.map_err(|error| error.to_string())?;
    Ok(answer["content"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_says_so_answers_and_ends() {
    let (_alone, dir) = place();
    let mut said = Vec::new();
    let cancel = CancellationToken::new();
    let mut settings = settings(dir.path());
    settings.port = Port::preferred(free_port());
    let server = ensure(&settings, &mut |line: &str| said.push(line.to_owned()), &cancel).await.expect("server");
    assert!(!server.shared() && server.is_running());
    assert!(
        Port::Prefer(server.base_url().rsplit(':').next().expect("port").parse().expect("number")) == settings.port
    );
    assert!(said.first().is_some_and(|line| line.contains("starting the light server (SmolLM2")), "{said:?}");
    assert!(said.last().is_some_and(|line| line.contains("ready after")), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("does not know")), "{said:?}");
    token(&server).await.expect("a token");

    // The key is needed, random, and not among the arguments; its file is private.
    let arguments = std::fs::read_to_string(format!("/proc/{}/cmdline", server.pid())).expect("arguments");
    assert!(server.api_key().len() == 32 && !arguments.contains(server.api_key()), "{arguments}");
    assert!(arguments.contains("--offline") && arguments.contains("--no-ui"), "{arguments}");
    let keeper = std::fs::read_to_string(format!("/proc/{}/cmdline", parent(server.pid()))).expect("arguments");
    assert!(keeper.contains("__keep-server") && !keeper.contains(server.api_key()), "{keeper}");
    let mode = |path: &Path| std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect("meta").permissions());
    let home = std::fs::read_dir(dir.path().join("run")).expect("run").next().expect("one").expect("entry").path();
    assert_eq!((mode(&home) & 0o777, mode(&home.join("state.json")) & 0o777), (0o700, 0o600));

    // Its log is kept; and when stop returns, it is gone.
    assert!(server.log().starts_with(dir.path().join("logs")) && server.log().metadata().expect("log").len() > 100);
    let (pid, keeper) = (server.pid(), parent(server.pid()));
    server.stop().await;
    assert!(!runs(pid), "the server outlives stop");
    assert_gone(keeper, Duration::from_secs(10));
    assert!(!home.join("state.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_with_the_same_settings_share_one_server() {
    let (_alone, dir) = place();
    let settings = settings(dir.path());
    // At the same time, so that both find nothing at first.
    let (first, second) = tokio::join!(start(&settings), start(&settings));
    let (first, second) = (first.expect("first"), second.expect("second"));
    assert_eq!((first.pid(), first.base_url()), (second.pid(), second.base_url()));
    assert_eq!(u8::from(first.shared()) + u8::from(second.shared()), 1);

    // The first one leaves; the second keeps working, also for newcomers.
    let began = Instant::now();
    first.stop().await;
    assert!(began.elapsed() < Duration::from_secs(4), "leaving a shared server takes {:?}", began.elapsed());
    token(&second).await.expect("a token after the first user left");
    let third = start(&settings).await.expect("third");
    assert!(third.shared() && third.pid() == second.pid());
    drop(second);
    token(&third).await.expect("a token after the second user left");

    // Other settings are another server.
    let mut other_settings = settings.clone();
    other_settings.context_per_request = 256;
    let other = start(&other_settings).await.expect("another");
    assert!(other.pid() != third.pid() && !other.shared());

    // Dropping is enough.
    let pids = [third.pid(), other.pid()];
    drop((third, other));
    pids.iter().for_each(|pid| assert_gone(*pid, Duration::from_secs(30)));
    // And from nothing again.
    let again = start(&settings).await.expect("again");
    assert!(!again.shared() && !pids.contains(&again.pid()));
    again.stop().await;
}

/// Not a test: a bestbox that uses a server until it is killed. Other tests run it as a process of its own.
#[test]
#[ignore = "run by other tests as a process of its own"]
fn user_process() {
    let Some(dir) = std::env::var_os("BESTBOX_TEST_SERVERS_DIR") else { return };
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let server = runtime.block_on(start(&settings(Path::new(&dir)))).expect("server");
    println!("\nserver {} {}", server.pid(), server.shared());
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Starts `user_process`; it says the server's process id and whether it was shared once it is ready.
fn user(dir: &Path) -> (Child, u32, bool) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "servers_real::user_process", "--ignored", "--nocapture"])
        .env("BESTBOX_TEST_SERVERS_DIR", dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("user starts");
    let lines = BufReader::new(child.stdout.take().expect("output")).lines();
    for line in lines.map_while(Result::ok) {
        if let Some((pid, shared)) = line.strip_prefix("server ").and_then(|rest| rest.split_once(' ')) {
            return (child, pid.parse().expect("pid"), shared == "true");
        }
    }
    let status = child.wait().expect("reaped");
    panic!("the user process ended without a server: {status}");
}

#[test]
fn kill_9_of_every_user_leaves_no_server() {
    let (_alone, dir) = place();
    let (mut first, pid, shared) = user(dir.path());
    let (mut second, second_pid, second_shared) = user(dir.path());
    assert!(!shared && second_shared && pid == second_pid);
    let keeper = parent(pid);

    first.kill().expect("kill -9");
    first.wait().expect("reaped");
    std::thread::sleep(Duration::from_millis(300));
    assert!(runs(pid), "the server ended with its first user while the second uses it");

    second.kill().expect("kill -9");
    second.wait().expect("reaped");
    assert_gone(pid, Duration::from_secs(30));
    assert_gone(keeper, Duration::from_secs(10));
}

#[test]
fn kill_9_of_the_keeper_leaves_no_server_and_the_next_start_works() {
    let (_alone, dir) = place();
    let (mut user, pid, _) = user(dir.path());
    kill_9(parent(pid));
    assert_gone(pid, Duration::from_secs(10));

    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let server = runtime.block_on(start(&settings(dir.path()))).expect("a new server");
    assert!(!server.shared() && server.pid() != pid);
    // The user of the dead server has the same settings, so it counts as a user of this one.
    user.kill().expect("kill -9");
    user.wait().expect("reaped");
    let pid = server.pid();
    runtime.block_on(server.stop());
    assert!(!runs(pid));
}

#[test]
fn kill_9_in_the_middle_of_a_start_leaves_no_server() {
    let (_alone, dir) = place();
    let long = std::env::var_os("BESTBOX_LONG").is_some_and(|value| value == "1");
    let delays: Vec<u64> = if long { (0..120).map(|step| step * 7).collect() } else { vec![20, 60, 150, 400] };
    for after_ms in delays {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "servers_real::user_process", "--ignored", "--nocapture"])
            .env("BESTBOX_TEST_SERVERS_DIR", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("user starts");
        std::thread::sleep(Duration::from_millis(after_ms));
        child.kill().expect("kill -9");
        child.wait().expect("reaped");
        let start = Instant::now();
        while !started_for(dir.path()).is_empty() {
            assert!(start.elapsed() < Duration::from_secs(30), "something is left: {:?}", started_for(dir.path()));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Processes that hold a file of this test's registry open (keepers), or that were started, at whatever remove, by a
/// `user_process` of this test (keepers and servers: they inherit its environment).
fn started_for(dir: &Path) -> Vec<u32> {
    let name = dir.as_os_str().as_encoded_bytes();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let ours = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        environment.windows(name.len()).any(|window| window == name)
            || files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file.starts_with(dir))
    };
    pids.filter(ours).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_an_error_or_the_next_free_one() {
    let (_alone, dir) = place();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("address").port();
    let mut settings = settings(dir.path());
    settings.port = Port::Exactly(port);
    let error = start(&settings).await.expect_err("taken");
    assert!(matches!(error, ServerError::PortTaken { port: taken, .. } if taken == port), "{error}");
    assert!(error.to_string().contains(&port.to_string()));

    settings.port = Port::Prefer(port);
    let server = start(&settings).await.expect("another port");
    assert!(!server.base_url().ends_with(&format!(":{port}")));
    token(&server).await.expect("a token");
    server.stop().await;

    // An exact port that was in use a moment ago is free again.
    drop(listener);
    settings.port = Port::Exactly(port);
    for _ in 0..2 {
        let server = start(&settings).await.expect("the exact port");
        assert!(server.base_url().ends_with(&format!(":{port}")));
        token(&server).await.expect("a token");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_model_is_quoted_from_the_log() {
    let (_alone, dir) = place();
    let mut settings = settings(dir.path());
    settings.model = dir.path().join("broken.gguf");
    std::fs::write(&settings.model, b"GGUF this is no model").expect("written");
    let error = start(&settings).await.expect_err("no model");
    let ServerError::Died { tail, log, .. } = &error else { panic!("{error}") };
    assert!(tail.contains("broken.gguf") && log.exists(), "{error}");
    assert!(started_for(&dir.path().join("run")).is_empty());
}
