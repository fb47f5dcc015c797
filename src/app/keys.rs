//! `bestbox keys new|hash`: keys of the HTTP service. The service knows only their digests.

use crate::cli::{KeysArgs, KeysCommand};
use crate::config::KeyConfig;
use crate::error::Error;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Says what a string is when it turns up where it should not.
const PREFIX: &str = "bb_";
/// Shortest key of somebody else's making, characters: 128 random bits in base64.
const MIN_KEY: usize = 22;

/// Lines for the configuration.
#[derive(Serialize)]
struct Lines {
    serve: Serve,
}

#[derive(Serialize)]
struct Serve {
    keys: [KeyConfig; 1],
}

/// Runs one of the two.
pub(super) fn run(args: KeysArgs) -> Result<(), Error> {
    match args.command {
        KeysCommand::New { name, requests_per_minute, concurrent } => {
            if name.is_empty() || name.chars().any(char::is_control) {
                return Err(Error::Usage("a key needs a name without control characters, such as alice".to_owned()));
            }
            let key = new_key()?;
            let lines = lines(KeyConfig { name, sha256: digest(&key), requests_per_minute, concurrent })?;
            println!("{key}\n\n# The key is shown this once. To let it in, add this to bestbox.toml:\n{lines}");
            Ok(())
        }
        KeysCommand::Hash => {
            let text = std::io::read_to_string(std::io::stdin())
                .map_err(|source| Error::Read { path: "standard input".into(), source })?;
            println!("{}", digest(usable(&text)?));
            Ok(())
        }
    }
}

/// 256 random bits of the operating system.
fn new_key() -> Result<String, Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)
        .map_err(|error| Error::Usage(format!("the operating system gives no random numbers: {error}")))?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits)))
}

fn lines(key: KeyConfig) -> Result<String, Error> {
    let text = toml::to_string(&Lines { serve: Serve { keys: [key] } });
    text.map_err(|error| Error::Usage(format!("the name cannot be written down: {error}")))
}

/// A fast hash is enough for what nobody can guess, so keys that somebody could guess are refused.
fn usable(text: &str) -> Result<&str, Error> {
    let key = text.trim();
    // What a header can carry; a space would end it.
    if key.len() < MIN_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason = format!(
            "a key is one word of at least {MIN_KEY} visible ASCII characters; make one with `bestbox keys new NAME`"
        );
        return Err(Error::Usage(reason));
    }
    Ok(key)
}

fn digest(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_different_and_fit_a_header_and_a_subprotocol() {
        let (one, other) = (new_key().expect("a key"), new_key().expect("a key"));
        assert_ne!(one, other);
        assert_eq!(one.len(), PREFIX.len() + 43, "256 bits in base64");
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_eq!(usable(&format!(" {one}\n")).expect("usable"), one);
    }

    #[test]
    fn the_lines_are_configuration_that_knows_the_key() {
        let key = new_key().expect("a key");
        let made = KeyConfig { name: "a \"b\"".into(), sha256: digest(&key), requests_per_minute: 5, concurrent: 0 };
        let text = lines(made.clone()).expect("lines");
        assert!(text.starts_with("[[serve.keys]]"), "{text}");
        let config: crate::config::Config = toml::from_str(&text).expect("configuration");
        assert_eq!(config.serve.keys, [made]);
        assert_eq!(config.serve.keys[0].digest().expect("a digest"), *Sha256::digest(&key));
    }

    #[test]
    fn keys_that_can_be_guessed_are_refused() {
        for key in ["", "secret", "twenty two characters but spaces in it", "ünïcödeünïcödeünïcödeünïcöde"]
        {
            assert!(usable(key).is_err(), "{key}");
        }
    }
}
