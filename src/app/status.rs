//! `bestbox status`: how the language model servers are, whoever runs them. Asks servers, starts and wakes none.

mod table;

use super::up;
use crate::cli::StatusArgs;
use crate::config::Config;
use crate::engine;
use crate::error::Error;
use crate::outcome::Tier;
use crate::servers::{ExitReason, Front, Running, running};
use serde::Serialize;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// For one question to one server.
const LIMIT: Duration = Duration::from_secs(3);

/// Who runs a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    /// `bestbox up`.
    Up,
    /// Another bestbox, for as long as it needs it.
    Shared,
    /// Somebody else.
    External,
}

/// One server.
#[derive(Debug, Serialize)]
struct Report {
    tier: String,
    run_by: Source,
    state: String,
    /// Seconds since 1970.
    since: Option<u64>,
    model: Option<String>,
    url: String,
    port: Option<u16>,
    pid: Option<u32>,
    slots_busy: Option<u64>,
    slots_total: Option<u64>,
    /// Averages since its start.
    prompt_tokens_per_second: Option<f64>,
    generated_tokens_per_second: Option<f64>,
    /// Of the prompts' tokens, how many came from the cache.
    prompt_tokens_cached: Option<u64>,
    prompt_tokens_total: Option<u64>,
    restarts: Option<u32>,
    rss_bytes: Option<u64>,
    vram_bytes: Option<u64>,
    last_exit: Option<ExitReason>,
    /// What the front of `bestbox up` has done.
    front: Option<Value>,
}

/// Shows it once, or again and again.
pub(super) async fn run(config: Config, args: StatusArgs) -> Result<(), Error> {
    let http = client()?;
    let Some(seconds) = args.watch else {
        let reports = reports(&http, &config).await;
        let _ = std::io::stdout().write_all(shown(&reports, args.json).as_bytes());
        return if reports.iter().any(|report| report.pid.is_some() || report.state != "down") {
            Ok(())
        } else {
            Err(Error::Servers("no language model server runs; start them with `bestbox up`".to_owned()))
        };
    };
    let stop = super::interrupt::token();
    let pause = Duration::from_secs_f64(seconds.clamp(0.2, 3600.0));
    loop {
        let reports = reports(&http, &config).await;
        let mut text = shown(&reports, args.json);
        if reports.is_empty() && !args.json {
            text = "no language model server runs\n".to_owned();
        }
        if std::io::stdout().is_terminal() && !args.json {
            text = format!("\x1b[H\x1b[2J{text}");
        }
        // A reader that is gone has seen enough.
        if std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()).is_err() {
            return Ok(());
        }
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Ok(());
        }
    }
}

fn shown(reports: &[Report], json: bool) -> String {
    if json {
        let text = serde_json::to_string(&serde_json::json!({ "servers": reports })).unwrap_or_default();
        return text + "\n";
    }
    if reports.is_empty() { String::new() } else { table::table(reports) }
}

fn client() -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .timeout(LIMIT)
        .no_proxy()
        .tls_certs_only([])
        .build()
        .map_err(|error| Error::Servers(format!("cannot ask the servers: {error}")))
}

async fn reports(http: &reqwest::Client, config: &Config) -> Vec<Report> {
    let servers = running(&engine::run_dir());
    let mut reports = Vec::new();
    let mut told = Vec::new();
    for tier in [Tier::Light, Tier::Heavy] {
        let Some(front) = up::front(tier) else { continue };
        let (report, pid) = of_front(http, tier, &front, &servers).await;
        told.extend(pid);
        // A server that it is just starting is not yet its, and nobody else's.
        if pid.is_none() && report.state != "asleep" {
            told.extend(servers.iter().filter(|server| server.name == tier.name()).map(|server| server.process.pid));
        }
        reports.push(report);
    }
    for server in servers.iter().filter(|server| !told.contains(&server.process.pid)) {
        let mut report = Report::new(&server.name, Source::Shared, &server.base_url);
        report.of_process(server);
        report.ask(http, &server.base_url, Some(&server.key)).await;
        reports.push(report);
    }
    for tier in [Tier::Light, Tier::Heavy] {
        let settings = config.tier(tier);
        if settings.manage || config.tiers.serving(tier) != tier {
            continue;
        }
        let key = std::env::var(&settings.key_env).ok().or_else(|| {
            let text = std::fs::read_to_string(&settings.key_file).ok()?;
            Some(text.trim().to_owned())
        });
        let mut report = Report::new(tier.name(), Source::External, &settings.base_url);
        report.ask(http, settings.base_url.trim_end_matches('/').trim_end_matches("/v1"), key.as_deref()).await;
        reports.push(report);
    }
    reports
}

/// What `bestbox up` says about a tier, and the server behind it.
async fn of_front(http: &reqwest::Client, tier: Tier, front: &Front, servers: &[Running]) -> (Report, Option<u32>) {
    let mut report = Report::new(tier.name(), Source::Up, &front.url);
    let health = json(http, &format!("{}/health", front.url), None).await.unwrap_or_default();
    let about = &health["bestbox"];
    let number = |key: &str| about[key].as_u64();
    report.state = about["state"].as_str().unwrap_or("silent").to_owned();
    report.since = number("since");
    report.restarts = number("restarts").and_then(|number| u32::try_from(number).ok());
    report.model = about["model"].as_str().map(ToOwned::to_owned);
    report.last_exit = serde_json::from_value::<ExitReason>(about["last_exit"].clone()).ok().map(ExitReason::whole);
    report.front = about.get("front").cloned();
    let pid = number("pid").and_then(|pid| u32::try_from(pid).ok());
    // Asked directly: a question through the front would count as a request and wake it up.
    if let Some(server) = servers.iter().find(|server| Some(server.process.pid) == pid) {
        let (state, since, model) = (report.state.clone(), report.since, report.model.clone());
        report.of_process(server);
        report.ask(http, &server.base_url, Some(&server.key)).await;
        (report.state, report.since) = (state, since);
        report.model = model.or(report.model);
    }
    (report, pid)
}

impl Report {
    fn new(tier: &str, run_by: Source, url: &str) -> Self {
        let port = reqwest::Url::parse(url).ok().and_then(|url| url.port_or_known_default());
        Report {
            tier: tier.to_owned(),
            run_by,
            state: "down".to_owned(),
            since: None,
            model: None,
            url: url.to_owned(),
            port,
            pid: None,
            slots_busy: None,
            slots_total: None,
            prompt_tokens_per_second: None,
            generated_tokens_per_second: None,
            prompt_tokens_cached: None,
            prompt_tokens_total: None,
            restarts: None,
            rss_bytes: None,
            vram_bytes: None,
            last_exit: None,
            front: None,
        }
    }

    fn of_process(&mut self, server: &Running) {
        let pid = server.process.pid;
        self.pid = Some(pid);
        self.since = server.since.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs());
        self.model = server.model.file_stem().map(|name| name.to_string_lossy().into_owned());
        // The process of a container is docker's client: its memory says nothing.
        if server.container.is_none() {
            self.rss_bytes = up::memory::resident(pid);
            self.vram_bytes = of_cards(&Path::new("/proc").join(pid.to_string()));
        }
    }

    /// What the server itself says.
    async fn ask(&mut self, http: &reqwest::Client, url: &str, key: Option<&str>) {
        let health = http.get(format!("{url}/health")).send().await;
        self.state = match health {
            Ok(answer) if answer.status().is_success() => "ready".to_owned(),
            Ok(answer) if answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE => "starting".to_owned(),
            // A server of another make has no such page, and answers.
            Ok(_) => "ready".to_owned(),
            Err(_) if self.pid.is_some() => "silent".to_owned(),
            Err(_) => "down".to_owned(),
        };
        if self.state != "ready" {
            return;
        }
        if let Some(slots) = json(http, &format!("{url}/slots"), key).await.and_then(|slots| slots.as_array().cloned())
        {
            self.slots_total = Some(slots.len() as u64);
            self.slots_busy = Some(slots.iter().filter(|slot| slot["is_processing"] == true).count() as u64);
        }
        let metrics = text(http, &format!("{url}/metrics"), key).await.unwrap_or_default();
        let metric = |name: &str| {
            let line =
                metrics.lines().find_map(|line| line.strip_prefix("llamacpp:")?.strip_prefix(name)?.strip_prefix(' '));
            line?.trim().parse::<f64>().ok()
        };
        let count = |name: &str| metric(name).map(|count| count as u64);
        let rate = |tokens: &str, seconds: &str| {
            let (tokens, seconds) = (metric(tokens)?, metric(seconds)?);
            // A single token takes no time that it could count.
            (seconds >= 0.01).then(|| tokens / seconds)
        };
        self.prompt_tokens_per_second = rate("prompt_tokens_total", "prompt_seconds_total");
        self.generated_tokens_per_second = rate("tokens_predicted_total", "tokens_predicted_seconds_total");
        self.prompt_tokens_cached = count("prompt_tokens_cached_total");
        let read = count("prompt_tokens_total");
        self.prompt_tokens_total = self.prompt_tokens_cached.zip(read).map(|(cached, read)| cached + read);
        if self.model.is_none() {
            let models = json(http, &format!("{url}/v1/models"), key).await.unwrap_or_default();
            self.model = models.pointer("/data/0/id").and_then(Value::as_str).map(ToOwned::to_owned);
        }
    }
}

async fn text(http: &reqwest::Client, url: &str, key: Option<&str>) -> Option<String> {
    let mut request = http.get(url);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    request.send().await.ok()?.text().await.ok()
}

async fn json(http: &reqwest::Client, url: &str, key: Option<&str>) -> Option<Value> {
    serde_json::from_str(&text(http, url, key).await?).ok()
}

/// Bytes on graphics cards, as the kernel's drivers count them (drm-usage-stats): one entry a client of a card.
fn of_cards(process: &Path) -> Option<u64> {
    let mut clients = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(process.join("fdinfo")).ok()?.flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let Some(client) = field("drm-client-id:") else { continue };
        let card = field("drm-pdev:").unwrap_or_default();
        let regions =
            text.lines().filter(|line| line.starts_with("drm-memory-vram") || line.starts_with("drm-resident-vram"));
        let kib =
            regions.filter_map(|line| line.split(':').nth(1)?.split_whitespace().next()?.parse::<u64>().ok()).max();
        clients.insert((card.to_owned(), client.to_owned()), kib.unwrap_or(0) << 10);
    }
    (!clients.is_empty()).then(|| clients.values().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_once_for_each_client_of_a_card() {
        let process = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(process.path().join("fdinfo")).expect("made");
        let info = "pos:\t0\ndrm-pdev:\t0000:03:00.0\ndrm-client-id:\t7\ndrm-memory-vram:\t2048 KiB\n";
        for name in ["5", "6"] {
            std::fs::write(process.path().join("fdinfo").join(name), info).expect("written");
        }
        assert_eq!(of_cards(process.path()), Some(2 << 20));
        assert!(up::memory::resident(std::process::id()).is_some_and(|bytes| bytes > 1 << 20));
    }
}
