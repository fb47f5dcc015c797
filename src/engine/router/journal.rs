//! The log of decisions: a JSON line each. Writing it never fails a request; a disk that takes nothing is one warning.

use crate::config::IntentConfig;
use crate::outcome::{Action, DecidedBy, Plan, Tier};
use crate::text::intent::{Decision, Level, Trace};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970, UTC.
    pub time: f64,
    /// What was said; absent where the words are not to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// In its place, with `intent.log_text = false`: a hash that is the same for the same text until the program ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_hash: Option<String>,
    /// Path of the route taken.
    pub route: String,
    /// What it does.
    pub action: Action,
    /// Who decided.
    pub by: DecidedBy,
    /// Whether the default was taken.
    pub undecided: bool,
    /// Only a wake phrase was said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attention: bool,
    /// Probability of the first level of the route.
    pub probability: f64,
    /// Whose answer it was; absent where no model was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// How it came to be.
    #[serde(flatten)]
    pub trace: Trace,
    /// What another setting would have decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

/// What another setting would have decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shadow {
    /// `heavy`, `light`, or the route file.
    pub setting: String,
    /// Path of its route.
    pub route: Option<String>,
    /// What that does.
    pub action: Option<Action>,
    /// A model, a rule or the default.
    pub by: Option<DecidedBy>,
    /// Whether that is the default.
    pub undecided: bool,
    /// Who was asked; absent for a rule.
    pub tier: Option<Tier>,
    /// The questions that were asked.
    pub levels: Vec<Level>,
    /// Milliseconds.
    pub ms: f64,
    /// Why it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
}

impl Shadow {
    /// One that was not asked.
    pub(super) fn dropped(setting: &str, why: &str) -> Self {
        Shadow { setting: setting.to_owned(), dropped: Some(why.to_owned()), ..Shadow::default() }
    }
}

/// The file. Opened for each line, so that several programs may write to one and it may be moved at any time.
pub(super) struct Journal {
    path: PathBuf,
    limit: u64,
    words: bool,
    /// Without it a hash would say which of two guesses was said.
    salt: [u8; 16],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last line may be half there.
    torn: bool,
    warned: bool,
}

impl Journal {
    /// None where no file is configured. Nothing is opened yet.
    pub fn of(config: &IntentConfig) -> Option<Self> {
        let mut salt = [0; 16];
        salt.fill_with(|| fastrand::u8(..));
        (!config.log.is_empty()).then(|| Journal {
            path: PathBuf::from(&config.log),
            limit: config.log_bytes,
            words: config.log_text,
            salt,
            state: Mutex::default(),
        })
    }

    /// The line of a decision, the shadow still missing.
    pub fn entry(&self, plan: &Plan, text: &str, decision: &Decision) -> Entry {
        let intent = &decision.intent;
        let second = decision.trace.second_opinion.as_ref().and_then(|second| second.level.as_ref());
        let answered = if intent.by == DecidedBy::SecondOpinion { second } else { decision.trace.levels.first() };
        let hash = || {
            let digest = Sha256::new().chain_update(self.salt).chain_update(text).finalize();
            digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
        };
        Entry {
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            text: (self.words && !plan.private).then(|| text.to_owned()),
            text_hash: (!self.words && !plan.private).then(hash),
            route: intent.path.join("/"),
            action: intent.action,
            by: intent.by,
            undecided: intent.undecided,
            attention: intent.attention,
            probability: intent.probability,
            tier: answered.map(|level| level.tier),
            trace: decision.trace.clone(),
            shadow: None,
        }
    }

    /// Appends a line. Blocks as long as the disk does.
    pub fn write(&self, entry: &Entry) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_string(entry).map_err(io::Error::other).and_then(|line| {
            let line = if state.torn { format!("\n{line}\n") } else { format!("{line}\n") };
            self.append(&line)
        });
        match written {
            Ok(()) => state.torn = false,
            Err(error) => {
                state.torn = true;
                if !std::mem::replace(&mut state.warned, true) {
                    let path = self.path.display();
                    tracing::warn!(%error, %path, "decisions cannot be logged; nothing else depends on it");
                }
            }
        }
    }

    fn append(&self, line: &str) -> io::Result<()> {
        let length = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        if length > 0 && length + line.len() as u64 > self.limit {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
        }
        open(&self.path)?.write_all(line.as_bytes())
    }
}

/// For its owner alone: it may hold what people say.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::intent::{RouteSet, Second, taken_at};

    fn journal(folder: &Path, change: impl Fn(&mut IntentConfig)) -> Journal {
        let log = folder.join("intent.jsonl").display().to_string();
        let mut config = IntentConfig { log, ..IntentConfig::default() };
        change(&mut config);
        Journal::of(&config).unwrap()
    }

    fn decision() -> Decision {
        let level = Level { best: "agent".into(), tier: Tier::Heavy, ..Level::default() };
        let second_opinion = Some(Second { level: Some(level.clone()), ..Second::default() });
        let levels = vec![Level { tier: Tier::Light, ..level }];
        let path = vec!["agent".to_owned()];
        Decision {
            intent: taken_at(&RouteSet::built_in(), path, DecidedBy::SecondOpinion),
            text: "call ann".into(),
            warning: None,
            trace: Trace { levels, second_opinion, ms: 5.0, ..Trace::default() },
        }
    }

    fn lines(path: &Path) -> Vec<Entry> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_says_all_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), |_| {});
        let mut entry = journal.entry(&Plan::default(), "hey bestbox call ann", &decision());
        entry.shadow = Some(Shadow::dropped("heavy", "busy"));
        journal.write(&entry);
        assert_eq!(lines(&journal.path), [entry.clone()]);
        assert_eq!((entry.text.as_deref(), entry.tier), (Some("hey bestbox call ann"), Some(Tier::Heavy)));
    }

    #[test]
    fn words_stay_out_where_they_are_not_to_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        let hashed = journal(folder.path(), |config| config.log_text = false);
        let private = Plan { private: true, ..Plan::default() };
        for plan in [Plan::default(), private] {
            hashed.write(&hashed.entry(&plan, "call ann", &decision()));
            hashed.write(&hashed.entry(&plan, "call ann", &decision()));
        }
        let text = std::fs::read_to_string(&hashed.path).unwrap();
        assert!(!text.contains("ann"), "{text}");
        let found = lines(&hashed.path);
        assert!(found[0].text_hash.is_some() && found[0].text_hash == found[1].text_hash);
        assert_eq!((&found[2].text_hash, &found[2].text), (&None, &None), "in private mode not even a hash");
        let other = journal(folder.path(), |config| config.log_text = false);
        let entry = other.entry(&Plan::default(), "call ann", &decision());
        assert_ne!(entry.text_hash, found[0].text_hash, "no table of hashes helps");
    }

    #[test]
    fn a_full_log_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), |config| config.log_bytes = 10_000);
        for _ in 0..60 {
            journal.write(&journal.entry(&Plan::default(), "call ann", &decision()));
        }
        let old = folder.path().join("intent.jsonl.1");
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(size(&journal.path) <= 10_000 && size(&old) <= 10_000);
        assert!(!lines(&journal.path).is_empty() && !lines(&old).is_empty());
    }

    #[test]
    fn a_disk_that_takes_nothing_is_one_warning_and_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let config = IntentConfig { log: folder.path().display().to_string(), ..IntentConfig::default() };
        let journal = Journal::of(&config).unwrap();
        for _ in 0..3 {
            journal.write(&journal.entry(&Plan::default(), "call ann", &decision()));
        }
        let state = journal.state.lock().unwrap();
        assert!(state.warned && state.torn);
    }
}
