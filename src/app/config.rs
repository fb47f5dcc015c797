//! `bestbox config show|init|path`.

use super::{load, sources};
use crate::cli::{ConfigArgs, ConfigCommand, Global};
use crate::config::{self, ConfigError, Profile};
use crate::error::Error;
use std::path::PathBuf;

/// Runs one of the three.
pub(super) fn run(global: &Global, args: ConfigArgs) -> Result<(), Error> {
    match args.command {
        ConfigCommand::Show => show(global),
        ConfigCommand::Init { user } => init(global.profile.unwrap_or_default(), user),
        ConfigCommand::Path => {
            let sources = sources(global, vec![])?;
            let paths = sources.explicit.map_or(sources.files, |path| vec![path]);
            for path in paths {
                let state = if path.exists() { "read" } else { "absent" };
                println!("{} ({state})", path.display());
            }
            Ok(())
        }
    }
}

/// Valid TOML: every key in force; what does not come from the profile says where it comes from.
fn show(global: &Global) -> Result<(), Error> {
    let loaded = load(global, vec![])?;
    let text = toml::to_string_pretty(&loaded.config).map_err(|error| Error::Usage(error.to_string()))?;
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = format!("{name}.");
        }
        let key = line.split_once(" = ").map(|(key, _)| format!("{table}{}", key.trim_matches(['"', '\''])));
        match key.and_then(|key| loaded.origins.get(&key)) {
            Some(origin) => println!("{line}  # {origin}"),
            None => println!("{line}"),
        }
    }
    Ok(())
}

fn init(profile: Profile, user: bool) -> Result<(), Error> {
    let path = if user { config::user_file().unwrap_or_else(config::project_file) } else { config::project_file() };
    write_new(&path, &config::init_text(profile)?)?;
    println!("{}", path.display());
    Ok(())
}

fn write_new(path: &PathBuf, text: &str) -> Result<(), ConfigError> {
    let write = |source| ConfigError::Write { path: path.clone(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(write)?;
    }
    match std::fs::File::create_new(path) {
        Ok(mut file) => std::io::Write::write_all(&mut file, text.as_bytes()).map_err(write),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(ConfigError::Exists { path: path.clone() })
        }
        Err(error) => Err(write(error)),
    }
}
