//! Layers of configuration, each overriding the one before: profile, the variables of other programs (see `foreign`),
//! user file, project file, environment, flags.

use super::{Config, ConfigError, Profile, foreign};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Environment variables that begin with `BESTBOX_` and are not configuration keys.
const OTHER_VARIABLES: [&str; 14] = [
    "BESTBOX_CACHE",
    "BESTBOX_CONFIG",
    "BESTBOX_LOG",
    "BESTBOX_LOG_FORMAT",
    "BESTBOX_LONG",
    "BESTBOX_LLAMA_FLAGS",
    "BESTBOX_WEBHOOK_SECRET",
    // What a command of `batch --then` is told.
    "BESTBOX_FILE",
    "BESTBOX_NAME",
    "BESTBOX_OUT",
    "BESTBOX_OUTCOME",
    "BESTBOX_SECONDS",
    "BESTBOX_LANGUAGE",
    "BESTBOX_INTENT",
];

/// Tables whose keys are the user's own.
const FREE_TABLES: [&str; 3] = ["cleanup.replacements", "dictate.snippets", "dictate.commands"];

/// Where a value came from, for messages and `config show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A profile's default.
    Profile(Profile),
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A command-line flag.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Profile(profile) => write!(f, "profile {}", format!("{profile:?}").to_lowercase()),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Env(name) => write!(f, "environment variable {name}"),
            Origin::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

/// What the layers are read from. Collected once by `main`, so that nothing below reads the environment.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files in rising order of precedence; absent ones are skipped, except when `explicit`.
    pub files: Vec<PathBuf>,
    /// `--config FILE` or `BESTBOX_CONFIG`: must exist, and replaces `files`.
    pub explicit: Option<PathBuf>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Flags as key, value and the flag's own name.
    pub flags: Vec<(String, Value, String)>,
}

/// A validated configuration and where its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Origin by dotted key; keys that are at their profile's default are absent.
    pub origins: BTreeMap<String, Origin>,
    /// Files that were read.
    pub files: Vec<PathBuf>,
    /// What was not taken and why: one sentence each.
    pub notes: Vec<String>,
}

impl Sources {
    /// The usual files, the process's environment, and the given flags.
    pub fn standard(flags: Vec<(String, Value, String)>, explicit: Option<PathBuf>) -> Self {
        let ours = |name: &str| name.starts_with("BESTBOX_") || foreign::is_known(name);
        let env: Vec<(String, String)> = std::env::vars().filter(|(name, _)| ours(name)).collect();
        let from_env = env.iter().find(|(name, _)| name == "BESTBOX_CONFIG").map(|(_, path)| PathBuf::from(path));
        Sources {
            files: user_file().into_iter().chain([project_file()]).collect(),
            explicit: explicit.or(from_env.filter(|path| !path.as_os_str().is_empty())),
            env,
            flags,
        }
    }

    /// Reads, merges and validates all layers.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut layers: Vec<(Origin, Table)> = Vec::new();
        let paths = self.explicit.as_ref().map_or_else(|| self.files.clone(), |path| vec![path.clone()]);
        for path in paths {
            if let Some(table) = read_file(&path, self.explicit.is_some())? {
                layers.push((Origin::File(path), table));
            }
        }
        let files = layers.iter().map(|(origin, _)| origin.to_string().into()).collect();
        let (foreign, notes) = foreign::layers(&self.env, &layers);
        layers.splice(0..0, foreign);
        let known = default_table(Profile::Embedded)?;
        layers.extend(env_layers(&self.env, &known)?);
        for (key, value, flag) in &self.flags {
            layers.push((Origin::Flag(flag.clone()), nested(key, value.clone())));
        }
        Ok(Loaded { files, notes, ..merge(layers)? })
    }
}

/// The project's file: `bestbox.toml` in the current folder.
pub fn project_file() -> PathBuf {
    PathBuf::from("bestbox.toml")
}

/// The user's file in the platform's config folder.
pub fn user_file() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "bestbox").map(|dirs| dirs.config_dir().join("bestbox.toml"))
}

/// The environment variable of a dotted key: `speech.model` is `BESTBOX_SPEECH_MODEL`.
pub fn env_name(key: &str) -> String {
    format!("BESTBOX_{}", key.replace(['.', '-'], "_").to_uppercase())
}

/// A commented file with every key at its default, for `config init`.
pub fn init_text(profile: Profile) -> Result<String, ConfigError> {
    let table = default_table(profile)?;
    // Not the pretty form: an array over several lines cannot be uncommented by one key.
    let body = toml::to_string(&table)
        .map_err(|error| ConfigError::Syntax { path: PathBuf::from("defaults"), reason: error.to_string() })?;
    let name = format!("{profile:?}").to_lowercase();
    let mut text = format!(
        "# bestbox configuration. Uncomment what you change; everything else follows the profile.\n\
         # Each key can also be set by its environment variable (speech.model: {}) or with --set key=value.\n\nprofile = \"{name}\"\n",
        env_name("speech.model")
    );
    for line in body.lines().filter(|line| !line.starts_with("profile =")) {
        let keep = line.is_empty() || line.starts_with('[');
        text.push_str(&if keep { format!("{line}\n") } else { format!("# {line}\n") });
    }
    Ok(text)
}

fn merge(layers: Vec<(Origin, Table)>) -> Result<Loaded, ConfigError> {
    let profile = layers.iter().rev().find_map(|(origin, table)| Some((origin, table.get("profile")?)));
    let profile = match profile {
        None => Profile::default(),
        Some((origin, value)) => value.clone().try_into().map_err(|error| bad_value("profile", origin, &error))?,
    };
    let mut merged = default_table(profile)?;
    let mut origins = BTreeMap::new();
    for (origin, table) in layers {
        overlay(&mut merged, table, "", &origin, &mut origins)?;
    }
    let config: Config = serde_path_to_error::deserialize(Value::Table(merged)).map_err(|error| {
        let key = error.path().to_string();
        let origin = origins.get(&key).cloned().unwrap_or(Origin::Profile(profile));
        bad_value(&key, &origin, error.inner())
    })?;
    let loaded = Loaded { config, origins, files: Vec::new(), notes: Vec::new() };
    super::validate::check(&loaded)?;
    Ok(loaded)
}

fn read_file(path: &Path, required: bool) -> Result<Option<Table>, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(None),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    text.parse::<Table>().map(Some).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: error.to_string().trim_end().replace('\n', " "),
    })
}

/// The profile's file over the type's defaults: every key that exists, each with a value of its type.
fn default_table(profile: Profile) -> Result<Table, ConfigError> {
    let (name, text) = match profile {
        Profile::Tiny => ("tiny", include_str!("profiles/tiny.toml")),
        Profile::Embedded => ("embedded", include_str!("profiles/embedded.toml")),
        Profile::Seed => ("seed", include_str!("profiles/seed.toml")),
        Profile::External => ("external", include_str!("profiles/external.toml")),
    };
    let broken = |reason: String| ConfigError::Syntax { path: PathBuf::from(name), reason };
    let mut table = Table::try_from(Config { profile, ..Config::default() }).map_err(|e| broken(e.to_string()))?;
    let changes = text.parse::<Table>().map_err(|e| broken(e.to_string()))?;
    overlay(&mut table, changes, "", &Origin::Profile(profile), &mut BTreeMap::new())?;
    Ok(table)
}

/// Writes `layer` over `base`; a key that `base` does not have, or a value of another type, is an error.
fn overlay(
    base: &mut Table,
    layer: Table,
    prefix: &str,
    origin: &Origin,
    origins: &mut BTreeMap<String, Origin>,
) -> Result<(), ConfigError> {
    for (name, value) in layer {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let free = FREE_TABLES.contains(&prefix);
        let Some(old) = base.get_mut(&name) else {
            if free {
                origins.insert(key, origin.clone());
                base.insert(name, value);
                continue;
            }
            let candidates = base.keys().map(|k| if prefix.is_empty() { k.clone() } else { format!("{prefix}.{k}") });
            let hint = nearest_hint(&key, candidates.chain(leaf_keys_of_all()));
            return Err(ConfigError::UnknownKey { key, origin: origin.to_string(), hint });
        };
        match (old, value) {
            (Value::Table(old), Value::Table(new)) => overlay(old, new, &key, origin, origins)?,
            (old, value) => {
                *old = same_type(old, value).map_err(|reason| ConfigError::BadValue {
                    key: key.clone(),
                    origin: origin.to_string(),
                    reason,
                })?;
                origins.insert(key, origin.clone());
            }
        }
    }
    Ok(())
}

fn same_type(old: &Value, new: Value) -> Result<Value, String> {
    match (old, new) {
        (Value::Float(_), Value::Integer(number)) => Ok(Value::Float(number as f64)),
        (old, new) if old.same_type(&new) => Ok(new),
        (old, new) => Err(format!("expected {}, found {} ({new})", type_name(old), type_name(&new))),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text in quotes",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
        Value::Datetime(_) => "a date",
    }
}

/// One layer a variable, so that a message can name it.
fn env_layers(env: &[(String, String)], known: &Table) -> Result<Vec<(Origin, Table)>, ConfigError> {
    let keys: BTreeMap<String, String> = leaf_keys(known, "").into_iter().map(|key| (env_name(&key), key)).collect();
    let mut layers = Vec::new();
    for (name, text) in
        env.iter().filter(|(name, _)| !OTHER_VARIABLES.contains(&name.as_str()) && !foreign::is_known(name))
    {
        let origin = Origin::Env(name.clone());
        let Some(key) = keys.get(name) else {
            let hint = nearest_hint(name, keys.keys().cloned());
            return Err(ConfigError::UnknownKey { key: name.clone(), origin: "the environment".into(), hint });
        };
        let value = parse_as(lookup(known, key), text).map_err(|reason| ConfigError::BadValue {
            key: key.clone(),
            origin: origin.to_string(),
            reason,
        })?;
        layers.push((origin, nested(key, value)));
    }
    Ok(layers)
}

/// Reads the text of a variable or of `--set` as the type that the key has.
pub(super) fn parse_as(like: Option<&Value>, text: &str) -> Result<Value, String> {
    let expected = |like: &Value| format!("expected {}, found '{text}'", type_name(like));
    match like {
        Some(like @ Value::Integer(_)) => text.trim().parse().map(Value::Integer).map_err(|_| expected(like)),
        Some(like @ Value::Float(_)) => text.trim().parse().map(Value::Float).map_err(|_| expected(like)),
        Some(like @ Value::Boolean(_)) => match text.trim().to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Value::Boolean(true)),
            "false" | "0" | "no" | "off" => Ok(Value::Boolean(false)),
            _ => Err(expected(like)),
        },
        Some(Value::Array(_)) if text.trim_start().starts_with('[') => format!("x = {text}")
            .parse::<Table>()
            .map(|mut t| t.remove("x").unwrap_or(Value::Array(vec![])))
            .map_err(|error| error.message().to_owned()),
        Some(Value::Array(_)) => Ok(Value::Array(
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| part.into()).collect(),
        )),
        Some(like @ Value::Table(_)) => text.parse::<Table>().map(Value::Table).map_err(|_| expected(like)),
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// Value for `--set key=value`, typed by the key; an unknown key stays text and is refused when the layers are merged.
pub fn typed_flag(key: &str, text: &str) -> Result<Value, ConfigError> {
    let known = default_table(Profile::Embedded)?;
    parse_as(lookup(&known, key), text).map_err(|reason| ConfigError::BadValue {
        key: key.to_owned(),
        origin: "--set".into(),
        reason,
    })
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => lookup(table.get(first)?.as_table()?, rest),
    }
}

fn nested(key: &str, value: Value) -> Table {
    let mut table = Table::new();
    match key.split_once('.') {
        None => table.insert(key.to_owned(), value),
        Some((first, rest)) => table.insert(first.to_owned(), Value::Table(nested(rest, value))),
    };
    table
}

fn leaf_keys_of_all() -> Vec<String> {
    default_table(Profile::Embedded).map(|table| leaf_keys(&table, "")).unwrap_or_default()
}

fn leaf_keys(table: &Table, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if !FREE_TABLES.contains(&key.as_str()) => keys.extend(leaf_keys(inner, &key)),
            _ => keys.push(key),
        }
    }
    keys
}

fn nearest_hint(key: &str, candidates: impl Iterator<Item = String>) -> String {
    candidates
        .map(|candidate| (strsim::normalized_damerau_levenshtein(key, &candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(
            || "see `bestbox config show`".to_owned(),
            |(_, name)| format!("the nearest is '{name}' (see `bestbox config show` for all)"),
        )
}

fn bad_value(key: &str, origin: &Origin, error: &dyn std::fmt::Display) -> ConfigError {
    let message = error.to_string().trim_end().replace('\n', " ");
    // serde lists the variants of an enum in back quotes: name the nearest to what was written.
    let mut quoted = message.split('`').skip(1).step_by(2);
    let given = quoted.next().unwrap_or_default().to_owned();
    let nearest = quoted
        .map(|variant| (strsim::jaro_winkler(&given, variant), variant))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|_| message.contains("unknown variant"))
        .map(|(_, variant)| format!("; the nearest is '{variant}'"))
        .unwrap_or_default();
    ConfigError::BadValue { key: key.to_owned(), origin: origin.to_string(), reason: format!("{message}{nearest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_env(pairs: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let env = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Sources { env, ..Sources::default() }.load()
    }

    fn with_file(text: &str) -> Result<Loaded, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bestbox.toml");
        std::fs::write(&path, text).unwrap();
        Sources { files: vec![path], ..Sources::default() }.load()
    }

    #[test]
    fn every_profile_loads() {
        for name in ["tiny", "embedded", "seed", "external"] {
            let loaded = with_env(&[("BESTBOX_PROFILE", name)]).unwrap();
            assert_eq!(loaded.config.light.manage, name != "external");
        }
    }

    #[test]
    fn later_layers_win_and_keep_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let (user, project) = (dir.path().join("user.toml"), dir.path().join("project.toml"));
        std::fs::write(&user, "[light]\nport = 1\nparallel = 3\n[audio]\nmax_seconds = 60").unwrap();
        std::fs::write(&project, "[light]\nport = 2").unwrap();
        let sources = Sources {
            files: vec![user, project.clone()],
            env: vec![("BESTBOX_LIGHT_THREADS".into(), "7".into())],
            flags: vec![("light.context".into(), Value::Integer(999), "--set".into())],
            ..Sources::default()
        };
        let loaded = sources.load().unwrap();
        let light = &loaded.config.light;
        assert_eq!((light.port, light.parallel, light.threads, light.context), (2, 3, 7, 999));
        assert_eq!(loaded.config.audio.max_seconds, 60.0);
        assert_eq!(loaded.origins["light.port"], Origin::File(project));
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let error = with_file("[speech]\nmodle = 'x'").unwrap_err().to_string();
        assert!(error.contains("'speech.modle'") && error.contains("'speech.model'"), "{error}");
        let error = with_env(&[("BESTBOX_LIGHT_PROT", "1")]).unwrap_err().to_string();
        assert!(error.contains("BESTBOX_LIGHT_PORT"), "{error}");
    }

    #[test]
    fn bad_values_name_key_and_origin() {
        let error = with_env(&[("BESTBOX_SPEECH_THREADS", "many")]).unwrap_err().to_string();
        assert!(error.contains("speech.threads") && error.contains("BESTBOX_SPEECH_THREADS"), "{error}");
        let error = with_file("[cleanup]\nstyle = 'tidyy'").unwrap_err().to_string();
        assert!(error.contains("cleanup.style") && error.contains("'tidy'"), "{error}");
        let error = with_file("[light]\nport = 'x'").unwrap_err().to_string();
        assert!(error.contains("a whole number"), "{error}");
        let error = with_file("[speech]\nlanguage = 'klingon'").unwrap_err().to_string();
        assert!(error.contains("speech.language") && error.contains("klingon"), "{error}");
    }

    #[test]
    fn replacements_are_the_users_own_keys() {
        let loaded = with_file("[cleanup.replacements]\n'best box' = 'BestBox'").unwrap();
        assert_eq!(loaded.config.cleanup.replacements["best box"], "BestBox");
    }

    #[test]
    fn the_written_file_loads_back() {
        let text = init_text(Profile::Tiny).unwrap();
        assert_eq!(with_file(&text).unwrap().config.profile, Profile::Tiny);
        let uncommented: String = text
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|l| l.contains(" = ")).unwrap_or(line).to_owned() + "\n")
            .collect();
        assert_eq!(with_file(&uncommented).unwrap().config, with_env(&[("BESTBOX_PROFILE", "tiny")]).unwrap().config);
    }
}
