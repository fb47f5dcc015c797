//! What is allowed, and what it takes. Nothing of a server is allowed but what the configuration names, and nothing that
//! a server or a model says changes that.

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Serialize;

/// Patterns of the configuration, each a name or a glob.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicySettings {
    /// What may be seen and called.
    pub allow: Vec<String>,
    /// Tools of servers that change nothing.
    pub read_only: Vec<String>,
    /// Tools that can send data out.
    pub network: Vec<String>,
    /// Tools that change something and are called without asking.
    pub unconfirmed: Vec<String>,
}

/// What it takes to call a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// It is not on the list: the model never sees it.
    Forbidden,
    /// It changes nothing.
    ReadOnly,
    /// It changes something, and the configuration has waived the question.
    Unconfirmed,
    /// A person must say yes to each call.
    Ask,
}

/// The compiled patterns.
#[derive(Clone, Debug)]
pub struct Policy {
    settings: PolicySettings,
    allow: GlobSet,
    read_only: GlobSet,
    network: GlobSet,
    unconfirmed: GlobSet,
}

impl Policy {
    /// # Errors
    /// A glob that is none.
    pub fn new(settings: &PolicySettings) -> Result<Self, globset::Error> {
        Ok(Policy {
            allow: globs(&settings.allow)?,
            read_only: globs(&settings.read_only)?,
            network: globs(&settings.network)?,
            unconfirmed: globs(&settings.unconfirmed)?,
            settings: settings.clone(),
        })
    }

    /// Whether nothing can be allowed.
    pub fn allows_nothing(&self) -> bool {
        self.settings.allow.is_empty()
    }

    /// Whether a tool of this server could be allowed: otherwise it is not even started.
    pub fn may_allow(&self, server: &str) -> bool {
        let prefix = format!("{server}__");
        self.settings.allow.iter().any(|pattern| {
            let literal: String = pattern.chars().take_while(|c| !"*?[{\\".contains(*c)).collect();
            literal.starts_with(&prefix) || (literal.len() < pattern.len() && prefix.starts_with(&literal))
        })
    }

    /// Of a built-in tool.
    pub fn builtin(&self, name: &str, read_only: bool) -> Permission {
        self.judge(name, read_only)
    }

    /// Of a server's tool; `hinted`: the server says that it changes nothing, and its word is taken.
    pub fn of_server(&self, name: &str, hinted: bool) -> Permission {
        self.judge(name, hinted || self.read_only.is_match(name))
    }

    /// Whether it can send data out.
    pub fn is_network(&self, name: &str) -> bool {
        self.network.is_match(name)
    }

    fn judge(&self, name: &str, read_only: bool) -> Permission {
        if !self.allow.is_match(name) {
            Permission::Forbidden
        } else if read_only {
            Permission::ReadOnly
        } else if self.unconfirmed.is_match(name) {
            Permission::Unconfirmed
        } else {
            Permission::Ask
        }
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern)?);
    }
    set.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], read_only: &[&str], unconfirmed: &[&str]) -> Policy {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let settings = PolicySettings {
            allow: list(allow),
            read_only: list(read_only),
            network: list(&["web__*"]),
            unconfirmed: list(unconfirmed),
        };
        Policy::new(&settings).unwrap()
    }

    #[test]
    fn only_what_is_named_is_allowed_and_what_changes_something_asks() {
        let policy = policy(&["time__*", "files__read", "files__write", "calculator"], &["time__*"], &["files__write"]);
        assert_eq!(policy.of_server("time__now", false), Permission::ReadOnly);
        assert_eq!(policy.of_server("files__read", false), Permission::Ask);
        assert_eq!(policy.of_server("files__read", true), Permission::ReadOnly);
        assert_eq!(policy.of_server("files__write", false), Permission::Unconfirmed);
        assert_eq!(policy.of_server("files__delete", true), Permission::Forbidden);
        assert_eq!(policy.builtin("calculator", true), Permission::ReadOnly);
        assert_eq!(policy.builtin("write_note", false), Permission::Forbidden);
        assert!(policy.is_network("web__fetch") && !policy.is_network("files__read"));
    }

    #[test]
    fn a_server_of_which_nothing_is_allowed_is_not_started() {
        let policy = policy(&["time__*", "files__read", "w*"], &[], &[]);
        for (server, wanted) in [("time", true), ("files", true), ("web", true), ("mail", false), ("tim", false)] {
            assert_eq!(policy.may_allow(server), wanted, "{server}");
        }
        assert!(!super::Policy::new(&PolicySettings::default()).unwrap().may_allow("x"));
    }
}
