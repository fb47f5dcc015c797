//! Real llama-server processes for tests: on a free port, stopped by process id.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The smallest chat model: for tests in which language quality is not the point.
pub const SMOL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Key of the servers started here.
pub const KEY: &str = "test-key-0123456789";

/// `BESTBOX_CACHE`, or `~/.cache/bestbox`.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/bestbox");
    std::env::var_os("BESTBOX_CACHE").map_or_else(home, PathBuf::from)
}

/// llama-server as `make setup` builds it.
pub fn program() -> PathBuf {
    existing(cache().join("bin/llama-server"))
}

/// A model as `make setup` fetches it.
pub fn model(name: &str) -> PathBuf {
    existing(cache().join("models").join(name))
}

fn existing(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run make setup", path.display());
    path
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Held while a test keeps both cores busy, so that tests which measure time do not measure each other.
pub struct Alone(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

pub fn alone() -> Alone {
    static ALONE: Mutex<()> = Mutex::new(());
    Alone(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A running llama-server, two slots of 2048 tokens; dropping it ends it.
pub struct Llama {
    child: Child,
    pub base_url: String,
    _alone: Alone,
}

impl Llama {
    pub fn start(model_name: &str) -> Self {
        Llama::start_as(model_name, "test-model", 2048)
    }

    /// Same, under the name `alias`, with `context` tokens a slot.
    pub fn start_as(model_name: &str, alias: &str, context: u32) -> Self {
        Llama::start_at(model_name, alias, context, free_port())
    }

    /// Same as `start`, on this port.
    pub fn start_on(model_name: &str, port: u16) -> Self {
        Llama::start_at(model_name, "test-model", 2048, port)
    }

    fn start_at(model_name: &str, alias: &str, context: u32, port: u16) -> Self {
        let alone = alone();
        let child = Command::new(program())
            .arg("-m")
            .arg(model(model_name))
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["-c", &(2 * context).to_string(), "-np", "2", "-t", "2", "-ngl", "0", "--cache-ram", "64"])
            .args(["--offline", "--no-ui", "--alias", alias])
            .env("LLAMA_API_KEY", KEY)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("llama-server starts");
        let mut llama = Llama { child, base_url: format!("http://127.0.0.1:{port}"), _alone: alone };
        let start = Instant::now();
        while !healthy(port) {
            let ended = llama.child.try_wait().expect("child can be asked");
            assert!(ended.is_none(), "llama-server ended while loading: {ended:?}");
            assert!(start.elapsed() < Duration::from_secs(60), "llama-server is not ready after a minute");
            std::thread::sleep(Duration::from_millis(50));
        }
        llama
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `GET /health` says 200.
fn healthy(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let asked = stream.write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let mut head = [0; 12];
    asked.is_ok() && stream.read_exact(&mut head).is_ok() && head.ends_with(b"200")
}
