//! Managed servers whose program misbehaves: scripts in the place of llama-server.

use crate::support::servers::{assert_gone, bare_settings};
use bestbox::servers::{Port, ServerError, ServerSettings, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Settings with a shell script as the program; it writes its process id to `DIR/pid` and then does `body`.
fn scripted(dir: &Path, body: &str) -> ServerSettings {
    let mut settings = bare_settings(dir);
    settings.program = dir.join("llama-server");
    settings.model = dir.join("model.gguf");
    settings.grace = Duration::from_millis(500);
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --help ]; then echo '--port PORT   port'; exit; fi\n\
         echo $$ > {dir}/pid.part; mv {dir}/pid.part {dir}/pid\n{body}\n",
        dir = dir.display()
    );
    std::fs::write(&settings.program, script).expect("script");
    std::fs::set_permissions(&settings.program, std::fs::Permissions::from_mode(0o755)).expect("executable");
    std::fs::write(&settings.model, "model").expect("model");
    settings
}

fn pid(dir: &Path) -> Option<u32> {
    std::fs::read_to_string(dir.join("pid")).ok()?.trim().parse().ok()
}

async fn fails(settings: &ServerSettings) -> ServerError {
    ensure(settings, &mut |_: &str| {}, &CancellationToken::new()).await.expect_err("no server can come of this")
}

#[tokio::test]
async fn a_missing_program_or_model_says_what_to_do() {
    let dir = TempDir::new().expect("a folder");
    let error = fails(&bare_settings(dir.path())).await;
    assert!(matches!(error, ServerError::ProgramMissing { .. }), "{error}");
    for part in ["make setup", "servers.program", "PATH", "no-such-program"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let mut settings = scripted(dir.path(), "exit 0");
    settings.model = dir.path().join("nothing.gguf");
    let error = fails(&settings).await.to_string();
    assert!(error.contains("nothing.gguf") && error.contains("models pull"), "{error}");
}

#[tokio::test]
async fn a_program_that_cannot_run_is_named() {
    let dir = TempDir::new().expect("a folder");
    let settings = scripted(dir.path(), "");
    std::fs::write(&settings.program, "#!/bin/sh\necho 'libmissing.so: cannot open' >&2\nexit 127\n").expect("script");
    let error = fails(&settings).await;
    assert!(matches!(error, ServerError::ProgramBroken { .. }), "{error}");
    assert!(error.to_string().contains("libmissing.so"), "{error}");
}

#[tokio::test]
async fn a_crash_while_loading_is_told_with_its_last_words() {
    let dir = TempDir::new().expect("a folder");
    let error = fails(&scripted(dir.path(), "echo 'out of luck' >&2; kill -SEGV $$")).await;
    let ServerError::Died { how, kind, tail, .. } = &error else { panic!("{error}") };
    assert!(how.contains("SIGSEGV") && kind.advice().contains("crashed") && tail.contains("out of luck"), "{error}");

    // The next one is not confused by the one before.
    let error = fails(&scripted(dir.path(), "echo 'bad luck'; exit 3")).await;
    let ServerError::Died { how, tail, .. } = &error else { panic!("{error}") };
    assert!(how.contains('3') && tail.contains("bad luck") && !tail.contains("out of luck"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_and_killed_even_if_it_ignores_sigterm() {
    let dir = TempDir::new().expect("a folder");
    let mut settings = scripted(dir.path(), "trap '' TERM; echo 'still thinking'; while :; do sleep 1; done");
    settings.startup_timeout = Duration::from_secs(2);
    let error = fails(&settings).await;
    let ServerError::NotReady { tail, .. } = &error else { panic!("{error}") };
    assert!(tail.contains("still thinking"), "{error}");
    let pid = pid(dir.path()).expect("it ran");
    assert_gone(pid, Duration::from_secs(15));
}

#[tokio::test]
async fn cancelling_a_start_returns_at_once_and_ends_the_process() {
    let dir = TempDir::new().expect("a folder");
    let settings = scripted(dir.path(), "while :; do sleep 1; done");
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let watched = dir.path().to_path_buf();
    let canceller = tokio::spawn(async move {
        while pid(&watched).is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        Instant::now()
    });
    let error = ensure(&settings, &mut |_: &str| {}, &cancel).await.expect_err("cancelled");
    let took = canceller.await.expect("cancelled").elapsed();
    assert!(matches!(error, ServerError::Cancelled), "{error}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert_gone(pid(dir.path()).expect("it ran"), Duration::from_secs(15));
}

#[tokio::test]
async fn another_program_on_the_port_is_not_taken_for_the_server() {
    let dir = TempDir::new().expect("a folder");
    let arguments = dir.path().join("arguments");
    let body = format!("echo \"$@\" > {0}.part; mv {0}.part {0}; while :; do sleep 1; done", arguments.display());
    let mut settings = scripted(dir.path(), &body);
    settings.startup_timeout = Duration::from_secs(3);
    // As soon as the port is known somebody else takes it, and answers 200 to everything.
    tokio::spawn(async move {
        let line = loop {
            match std::fs::read_to_string(&arguments) {
                Ok(line) => break line,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let port = line.split("--port ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port");
        let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("free until now");
        axum::serve(listener, axum::Router::new().fallback(|| async { "{\"content\": \"hello\"}" })).await
    });
    let error = fails(&settings).await;
    let ServerError::NotReady { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("200 OK without a key"), "{error}");
}

#[tokio::test]
async fn a_port_lost_between_choice_and_bind_is_chosen_anew_a_few_times() {
    let dir = TempDir::new().expect("a folder");
    let starts = dir.path().join("starts");
    let body = format!("echo x >> {}; echo \"couldn't bind HTTP server socket\" >&2; exit 1", starts.display());
    let count = || std::fs::read_to_string(&starts).unwrap_or_default().lines().count();
    let mut settings = scripted(dir.path(), &body);
    assert!(matches!(fails(&settings).await, ServerError::PortTaken { .. }));
    assert_eq!(count(), 3);
    settings.port = Port::Exactly(crate::support::llama::free_port());
    assert!(matches!(fails(&settings).await, ServerError::PortTaken { .. }));
    assert_eq!(count(), 4);
}
