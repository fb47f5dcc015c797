//! Where BestBox and programs like it look for their language model servers, taken as configuration: whoever has
//! `LLM_BASE_URL` set need not say it again.
//!
//! | variable | key |
//! |---|---|
//! | `LLM_HEAVY_BASE_URL`, else `LLM_BASE_URL` | `heavy.base_url`, with `heavy.manage = false` |
//! | `LLM_HEAVY_MODEL`, else `LLM_MODEL` | `heavy.model` |
//! | `LLM_HEAVY_API_KEY`, else `LLM_API_KEY` | `heavy.key_env` |
//! | `LLM_LIGHT_BASE_URL`, `LLM_LIGHT_MODEL`, `LLM_LIGHT_API_KEY` | the same of `light` |
//!
//! They stand for other programs as well, so they count for less than a configuration file: a tier that a file says
//! anything about is left alone, and without an address a model or a key means nothing. And they may stand for a service
//! on the internet: what one says goes there only where a configuration says so.

use super::load::Origin;
use toml::{Table, Value};

/// What a tier's variables begin with, the more precise first.
const TIERS: [(&str, &[&str]); 2] = [("light", &["LLM_LIGHT_"]), ("heavy", &["LLM_HEAVY_", "LLM_"])];

/// Keys of a tier that say where its server is.
const WHERE: [&str; 3] = ["manage", "base_url", "model"];

/// Whether this is one of the variables.
pub(super) fn is_known(name: &str) -> bool {
    TIERS
        .iter()
        .flat_map(|(_, prefixes)| *prefixes)
        .any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| matches!(rest, "BASE_URL" | "MODEL" | "API_KEY")))
}

/// A layer and where it is from.
type Layer = (Origin, Table);

/// The layers that the variables in `env` make beneath those of the `files`, and why some make none.
pub(super) fn layers(env: &[(String, String)], files: &[Layer]) -> (Vec<Layer>, Vec<String>) {
    let settled = |tier: &str| {
        let tables = files.iter().filter_map(|(_, file)| file.get(tier)?.as_table());
        tables.into_iter().any(|table| WHERE.iter().any(|key| table.contains_key(*key)))
    };
    let (mut layers, mut notes) = (Vec::new(), Vec::new());
    for (tier, prefixes) in TIERS.into_iter().filter(|(tier, _)| !settled(tier)) {
        let find = |what: &str| {
            let names = prefixes.iter().map(|prefix| format!("{prefix}{what}"));
            names
                .into_iter()
                .find_map(|name| env.iter().find(|(given, value)| *given == name && !value.trim().is_empty()))
        };
        let Some((url_name, url)) = find("BASE_URL") else { continue };
        if !is_near(url) {
            notes.push(format!(
                "{url_name} is not on this machine or its network, so it is not used; set {tier}.base_url and \
                 {tier}.manage = false in the configuration where your words may go there"
            ));
            continue;
        }
        let mut add = |origin: &str, key: &str, value: Value| {
            let table =
                Table::from_iter([(tier.to_owned(), Value::Table(Table::from_iter([(key.to_owned(), value)])))]);
            layers.push((Origin::Env(origin.to_owned()), table));
        };
        add(url_name, "manage", false.into());
        add(url_name, "base_url", url.trim().into());
        // Not the name of the profile's own model: a server that has another would refuse it.
        let model = find("MODEL");
        add(model.map_or(url_name, |(name, _)| name), "model", model.map_or("", |(_, model)| model.trim()).into());
        if let Some((name, _)) = find("API_KEY") {
            add(name, "key_env", name.as_str().into());
        }
    }
    (layers, notes)
}

/// Whether an address is this machine's or its local network's: a loopback or private address, or a name without a dot or
/// one that only local networks give (RFC 6762, RFC 8375, RFC 9476).
fn is_near(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url.trim()) else { return true };
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback() || address.is_private() || address.is_link_local(),
        Some(url::Host::Ipv6(a)) => a.is_loopback() || a.is_unique_local() || a.is_unicast_link_local(),
        Some(url::Host::Domain(name)) => {
            !name.contains('.')
                || [".localhost", ".local", ".lan", ".home.arpa", ".internal"].iter().any(|end| name.ends_with(end))
        }
        // What is wrong with it is said where it is used.
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::{Loaded, Sources};

    fn load(env: &[(&str, &str)], file: &str) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bestbox.toml");
        std::fs::write(&path, file).unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { files: vec![path], env, ..Sources::default() }.load().unwrap()
    }

    #[test]
    fn a_server_that_others_use_is_used() {
        let env = [("LLM_BASE_URL", "http://127.0.0.1:8080/v1"), ("LLM_MODEL", "qwen2.5"), ("LLM_API_KEY", "secret")];
        let config = load(&env, "").config;
        assert!(!config.heavy.manage && config.light.manage);
        assert_eq!(config.heavy.base_url, "http://127.0.0.1:8080/v1");
        assert_eq!((config.heavy.model.as_str(), config.heavy.key_env.as_str()), ("qwen2.5", "LLM_API_KEY"));
        let both = [env[0], ("LLM_HEAVY_BASE_URL", "http://10.0.0.2"), ("LLM_LIGHT_BASE_URL", "http://llm-light:8081")];
        let loaded = load(&both, "");
        assert_eq!(loaded.config.heavy.base_url, "http://10.0.0.2", "the more precise one");
        let light = loaded.config.light;
        assert_eq!((light.base_url.as_str(), light.model.as_str(), light.manage), ("http://llm-light:8081", "", false));
        assert_eq!(loaded.origins["light.base_url"].to_string(), "environment variable LLM_LIGHT_BASE_URL");
    }

    #[test]
    fn a_configuration_of_ours_counts_for_more() {
        let env = [("LLM_BASE_URL", "http://127.0.0.1:8080/v1"), ("BESTBOX_LIGHT_PORT", "9001")];
        let config = load(&env, "[heavy]\nmodel = 'qwen2.5-coder-0.5b'").config;
        assert!(config.heavy.manage && config.heavy.model == "qwen2.5-coder-0.5b" && config.light.port == 9001);
        // A model's name without an address names nothing of ours.
        assert_eq!(load(&[("LLM_MODEL", "gpt")], "").config, load(&[], "").config);
    }

    #[test]
    fn nothing_goes_to_the_internet_because_another_program_does() {
        let loaded = load(&[("LLM_BASE_URL", "https://api.example.com/v1")], "");
        assert!(loaded.config.heavy.manage);
        assert!(
            loaded.notes[0].contains("LLM_BASE_URL") && loaded.notes[0].contains("heavy.base_url"),
            "{:?}",
            loaded.notes
        );
        for near in ["http://[::1]:1", "http://192.168.1.9:8080", "http://box.local", "http://localhost:8080/v1"] {
            assert_eq!(load(&[("LLM_BASE_URL", near)], "").config.heavy.base_url, near);
        }
    }
}
