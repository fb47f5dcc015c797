//! `[up]`: the two servers under one supervisor.

use super::Config;
use crate::outcome::Tier;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[up]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpConfig {
    /// Address of the fronts. Anything but this machine itself needs a key.
    pub host: String,
    /// Key of the fronts: `none` (this machine only), or the file that holds it, made when it is not there; empty:
    /// `run/up.key` in the cache.
    pub key: String,
    /// Requests that may wait for a server at once; more get 503.
    pub held_requests: u32,
    /// Bytes of all requests under way together; more get 503.
    pub held_bytes: u64,
    /// Seconds that a request waits for a server.
    pub hold_seconds: f64,
    /// Seconds that requests under way have on a server that is replaced.
    pub drain_seconds: f64,
    /// Seconds that a server may be silent before it is replaced.
    pub silence_seconds: f64,
    /// Failures in a row, within `breaker_window_seconds`, after which a server is left alone for a while.
    pub breaker_failures: u32,
    /// Seconds in which these failures count together.
    pub breaker_window_seconds: f64,
    /// Seconds for which it is left alone; doubled each time up to ten times this.
    pub breaker_pause_seconds: f64,
    /// The light server.
    pub light: UpTierConfig,
    /// The heavy server.
    pub heavy: UpTierConfig,
}

impl Default for UpConfig {
    fn default() -> Self {
        UpConfig {
            host: "127.0.0.1".into(),
            key: String::new(),
            held_requests: 128,
            held_bytes: 64 << 20,
            hold_seconds: 120.0,
            drain_seconds: 300.0,
            silence_seconds: 20.0,
            breaker_failures: 5,
            breaker_window_seconds: 120.0,
            breaker_pause_seconds: 30.0,
            light: UpTierConfig::default(),
            heavy: UpTierConfig::default(),
        }
    }
}

/// What runs a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LauncherKind {
    /// llama-server on this machine
    #[default]
    Native,
    /// llama-server in a container
    Docker,
}

/// `[up.light]` and `[up.heavy]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpTierConfig {
    /// What runs it.
    pub launcher: LauncherKind,
    /// Minutes without a request after which its memory is given back, until the next request; 0: never.
    pub idle_minutes: f64,
    /// Docker: the client, such as `docker` or `podman`.
    pub docker: String,
    /// Docker: image whose entry point is llama-server.
    pub image: String,
    /// Docker: devices of this machine that the container may use.
    pub devices: Vec<String>,
    /// Docker: groups that may use them.
    pub groups: Vec<String>,
    /// Docker: version that ROCm takes the GPU for, such as `11.0.0`; empty: the GPU's own.
    pub hsa_override_gfx_version: String,
    /// Docker: further arguments of `docker run`.
    pub docker_args: Vec<String>,
}

impl Default for UpTierConfig {
    fn default() -> Self {
        UpTierConfig {
            launcher: LauncherKind::Native,
            idle_minutes: 0.0,
            docker: "docker".into(),
            image: "bestbox-llama:rocm".into(),
            devices: vec!["/dev/kfd".into(), "/dev/dri".into()],
            groups: vec!["video".into()],
            hsa_override_gfx_version: String::new(),
            docker_args: Vec::new(),
        }
    }
}

impl UpConfig {
    /// The settings of one tier.
    pub fn tier(&self, tier: Tier) -> &UpTierConfig {
        match tier {
            Tier::Light => &self.light,
            Tier::Heavy => &self.heavy,
        }
    }

    /// Whether anybody who reaches the fronts may use them.
    pub fn open(&self) -> bool {
        self.key.eq_ignore_ascii_case("none")
    }

    /// The file that holds the key of the fronts.
    pub fn key_file(&self, run_dir: &std::path::Path) -> Option<PathBuf> {
        match self.key.as_str() {
            _ if self.open() => None,
            "" => Some(run_dir.join("up.key")),
            path => Some(PathBuf::from(path)),
        }
    }

    /// What is out of range, and why.
    pub(super) fn numbers(config: &Config) -> [(&'static str, f64, f64, f64); 10] {
        let up = &config.up;
        [
            ("up.held_requests", f64::from(up.held_requests), 0.0, 1e5),
            ("up.held_bytes", up.held_bytes as f64, 1e5, 1e12),
            ("up.hold_seconds", up.hold_seconds, 0.1, 1e5),
            ("up.drain_seconds", up.drain_seconds, 0.0, 1e5),
            ("up.silence_seconds", up.silence_seconds, 0.5, 3600.0),
            ("up.breaker_failures", f64::from(up.breaker_failures), 1.0, 1000.0),
            ("up.breaker_window_seconds", up.breaker_window_seconds, 1.0, 1e6),
            ("up.breaker_pause_seconds", up.breaker_pause_seconds, 0.1, 1e5),
            ("up.light.idle_minutes", up.light.idle_minutes, 0.0, 1e6),
            ("up.heavy.idle_minutes", up.heavy.idle_minutes, 0.0, 1e6),
        ]
    }

    /// Combinations that cannot work.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let host = self.host.trim_matches(['[', ']']);
        let Ok(address) = host.parse::<std::net::IpAddr>() else {
            return Some(("up.host", format!("'{}' is not an address such as 127.0.0.1", self.host)));
        };
        if self.open() && !address.is_loopback() {
            return Some(("up.key", "'none' is for 127.0.0.1 only; name a file for the key".to_owned()));
        }
        for (key, tier) in [("up.light.image", &self.light), ("up.heavy.image", &self.heavy)] {
            if tier.launcher == LauncherKind::Docker && (tier.image.is_empty() || tier.image.starts_with('-')) {
                return Some((key, "name an image whose entry point is llama-server".to_owned()));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_front_stays_on_this_machine() {
        let up = UpConfig { key: "none".into(), ..UpConfig::default() };
        assert!(up.problem().is_none() && up.key_file(std::path::Path::new("/run")).is_none());
        let exposed = UpConfig { host: "0.0.0.0".into(), ..up };
        assert_eq!(exposed.problem().map(|(key, _)| key), Some("up.key"));
        let named = UpConfig { host: "localhost".into(), ..UpConfig::default() };
        assert_eq!(named.problem().map(|(key, _)| key), Some("up.host"));
    }
}
