//! Ranges and combinations that types cannot express.

use super::{Config, ConfigError, Loaded, ServeConfig, UpConfig};
use crate::language::Lang;

/// Refuses what would fail later with a worse message.
pub(super) fn check(loaded: &Loaded) -> Result<(), ConfigError> {
    let config = &loaded.config;
    let problem = numbers(config).or_else(|| texts(config));
    problem.map_or(Ok(()), |(key, reason)| {
        let origin = loaded.origins.get(key).map_or_else(|| "the profile".to_owned(), ToString::to_string);
        Err(ConfigError::BadValue { key: key.to_owned(), origin, reason })
    })
}

fn numbers(config: &Config) -> Option<(&'static str, String)> {
    let ranges = [
        ("audio.max_seconds", config.audio.max_seconds, 0.1, 1e7),
        ("audio.max_decoded_bytes", config.audio.max_decoded_bytes as f64, 64_000.0, 1e15),
        ("audio.max_spool_bytes", config.audio.max_spool_bytes as f64, 1e5, 1e15),
        ("audio.memory_bytes", config.audio.memory_bytes as f64, 67_108_864.0, 1e13),
        ("audio.cpu_seconds", config.audio.cpu_seconds as f64, 1.0, 1e7),
        ("speech.threads", f64::from(config.speech.threads), 0.0, 1024.0),
        ("speech.recognizers", f64::from(config.speech.recognizers), 1.0, 256.0),
        ("speech.queue", f64::from(config.speech.queue), 1.0, 1e5),
        ("speech.keep_alive_seconds", config.speech.keep_alive_seconds, -1e9, 1e9),
        ("serve.max_upload_bytes", config.serve.max_upload_bytes as f64, 1000.0, 1e15),
        ("serve.max_requests", f64::from(config.serve.max_requests), 1.0, 1e6),
        ("serve.max_connections", f64::from(config.serve.max_connections), 1.0, 1e6),
        ("serve.min_free_bytes", config.serve.min_free_bytes as f64, 0.0, 1e18),
        ("serve.min_bytes_per_second", config.serve.min_bytes_per_second as f64, 0.0, 1e9),
        ("serve.idle_timeout_seconds", config.serve.idle_timeout_seconds, 0.1, 1e5),
        ("serve.header_timeout_seconds", config.serve.header_timeout_seconds, 0.1, 1e5),
        ("serve.grace_seconds", config.serve.grace_seconds, 0.0, 1e5),
        ("serve.jobs.concurrent", f64::from(config.serve.jobs.concurrent), 1.0, 256.0),
        ("serve.jobs.keep_hours", config.serve.jobs.keep_hours, 0.0, 1e7),
        ("serve.realtime.max_session_seconds", config.serve.realtime.max_session_seconds, 1.0, 1e6),
        ("serve.realtime.buffer_seconds", config.serve.realtime.buffer_seconds, 30.0, 1e5),
        ("serve.realtime.partial_seconds", config.serve.realtime.partial_seconds, 0.0, 60.0),
        ("dictate.pre_roll_seconds", config.dictate.pre_roll_seconds, 0.0, 5.0),
        ("dictate.release_tail_seconds", config.dictate.release_tail_seconds, 0.0, 2.0),
        ("dictate.debounce_seconds", config.dictate.debounce_seconds, 0.0, 1.0),
        ("dictate.tap_seconds", config.dictate.tap_seconds, 0.0, 5.0),
        ("dictate.min_seconds", config.dictate.min_seconds, 0.0, 5.0),
        ("dictate.max_seconds", config.dictate.max_seconds, 1.0, 36_000.0),
        ("dictate.pause_seconds", config.dictate.pause_seconds, 0.2, 5.0),
        ("dictate.max_utterance_seconds", config.dictate.max_utterance_seconds, 3.0, 28.0),
        ("dictate.partial_seconds", config.dictate.partial_seconds, 0.0, 60.0),
        ("dictate.deadline_seconds", config.dictate.deadline_seconds, 0.0, 600.0),
        ("dictate.deadline_word_seconds", config.dictate.deadline_word_seconds, 0.0, 10.0),
        ("dictate.history.keep_days", config.dictate.history.keep_days, 0.0, 1e6),
        ("dictate.history.keep_audio_days", config.dictate.history.keep_audio_days, 0.0, 1e6),
        ("speech.max_utterance_seconds", config.speech.max_utterance_seconds, 1.0, 28.0),
        ("speech.vad_threshold", config.speech.vad_threshold, 0.0, 1.0),
        ("cleanup.deadline_seconds", config.cleanup.deadline_seconds, 0.0, 3600.0),
        ("agent.max_tokens", f64::from(config.agent.max_tokens), 1.0, 1e6),
        ("agent.timeout_seconds", config.agent.timeout_seconds, 0.1, 1e5),
        ("agent.temperature", f64::from(config.agent.temperature), 0.0, 2.0),
        ("agent.max_steps", f64::from(config.agent.max_steps), 1.0, 100.0),
        ("agent.max_calls", f64::from(config.agent.max_calls), 1.0, 32.0),
        ("agent.max_total_tokens", f64::from(config.agent.max_total_tokens), 100.0, 1e8),
        ("agent.max_result_chars", f64::from(config.agent.max_result_chars), 100.0, 1e6),
        ("agent.call_timeout_seconds", config.agent.call_timeout_seconds, 0.1, 1e4),
        ("agent.confirm_seconds", config.agent.confirm_seconds, 1.0, 86_400.0),
        ("agent.memory_turns", f64::from(config.agent.memory_turns), 0.0, 1000.0),
        ("agent.memory_minutes", config.agent.memory_minutes, 0.0, 1e5),
        ("quick.max_tokens", f64::from(config.quick.max_tokens), 1.0, 1e6),
        ("quick.timeout_seconds", config.quick.timeout_seconds, 0.1, 1e5),
        ("quick.temperature", f64::from(config.quick.temperature), 0.0, 2.0),
        ("light.context", f64::from(config.light.context), 512.0, 1e7),
        ("light.parallel", f64::from(config.light.parallel), 1.0, 64.0),
        ("light.speculate", f64::from(config.light.speculate), 0.0, 64.0),
        ("light.timeout_seconds", config.light.timeout_seconds, 0.1, 1e5),
        ("light.connect_timeout_seconds", config.light.connect_timeout_seconds, 0.01, 1e4),
        ("heavy.context", f64::from(config.heavy.context), 512.0, 1e7),
        ("heavy.parallel", f64::from(config.heavy.parallel), 1.0, 64.0),
        ("heavy.speculate", f64::from(config.heavy.speculate), 0.0, 64.0),
        ("heavy.timeout_seconds", config.heavy.timeout_seconds, 0.1, 1e5),
        ("heavy.connect_timeout_seconds", config.heavy.connect_timeout_seconds, 0.01, 1e4),
        ("head_start.share", config.head_start.share, 0.0, 1.0),
        ("servers.startup_timeout_seconds", config.servers.startup_timeout_seconds, 1.0, 1e5),
        ("servers.grace_seconds", config.servers.grace_seconds, 0.0, 600.0),
        ("output.subtitle_columns", f64::from(config.output.subtitle_columns), 10.0, 200.0),
        ("output.subtitle_lines", f64::from(config.output.subtitle_lines), 1.0, 5.0),
        ("output.subtitle_chars_per_second", config.output.subtitle_chars_per_second, 5.0, 100.0),
    ];
    ranges
        .into_iter()
        .chain(config.intent.ranges())
        .chain(UpConfig::numbers(config))
        // Written so that NaN is outside too.
        .find(|(_, value, low, high)| !(low..=high).contains(&value))
        .map(|(key, value, low, high)| (key, format!("{value} is not between {low} and {high}")))
}

fn texts(config: &Config) -> Option<(&'static str, String)> {
    let to = &config.translation.to;
    if let Some(error) = (!to.is_empty()).then(|| to.parse::<Lang>().err()).flatten() {
        return Some(("translation.to", error.to_string()));
    }
    for (name, key, tier) in [("light", "light.base_url", &config.light), ("heavy", "heavy.base_url", &config.heavy)] {
        if !tier.manage && !tier.base_url.starts_with("http://") && !tier.base_url.starts_with("https://") {
            let reason =
                format!("a {name} server that bestbox does not manage needs a URL such as http://127.0.0.1:8081");
            return Some((key, reason));
        }
    }
    if let Some(problem) = config.agent.problem() {
        return Some(problem);
    }
    if let Some(problem) = config.dictate.problem() {
        return Some(problem);
    }
    if let Some(problem) = config.up.problem() {
        return Some(problem);
    }
    if let Some(problem) = serve(&config.serve) {
        return Some(problem);
    }
    config.speech.model.is_empty().then(|| ("speech.model", "name a model; see `bestbox models list`".to_owned()))
}

/// Keys, names and certificates of the service: a mistake in them must not let anybody in, or shut everybody out.
fn serve(config: &ServeConfig) -> Option<(&'static str, String)> {
    let mut names = std::collections::BTreeSet::new();
    for key in &config.keys {
        let name = &key.name;
        if name.is_empty() || name.chars().any(char::is_control) || !names.insert(name) {
            return Some((
                "serve.keys",
                format!("every key needs a name of its own, and '{}' is none", name.escape_debug()),
            ));
        }
        if key.digest().is_none() {
            let reason = format!(
                "the sha256 of key '{name}' is not 64 hexadecimal digits; make one with `bestbox keys new {name}`"
            );
            return Some(("serve.keys", reason));
        }
    }
    let unfit = |host: &&String| {
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "-._[:]".contains(c));
        host.as_str() != "*" && (host.is_empty() || host.contains(odd))
    };
    if let Some(host) = config.hosts.iter().find(unfit) {
        return Some(("serve.hosts", format!("'{host}' is not a host name such as speech.example.org")));
    }
    let no_origin = |origin: &&String| {
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        rest.is_none_or(|rest| rest.is_empty() || rest.contains(['/', '?', '#', '@', ' ', '*']))
    };
    if let Some(origin) = config.cors_origins.iter().find(no_origin) {
        return Some(("serve.cors_origins", format!("'{origin}' is not an origin such as https://app.example.org")));
    }
    let tls = &config.tls;
    match (tls.certificate.as_os_str().is_empty(), tls.key.as_os_str().is_empty()) {
        (true, false) => Some(("serve.tls.certificate", "serve.tls.key is set, so this is needed too".to_owned())),
        (false, true) => Some(("serve.tls.key", "serve.tls.certificate is set, so this is needed too".to_owned())),
        _ => None,
    }
}
