//! What the model may do besides talking: built-in tools and those of MCP servers, under one list of what is allowed.

mod calculator;
mod notes;
mod policy;
mod time;
mod transcripts;

pub use policy::{Permission, Policy, PolicySettings};
pub use transcripts::{Found, Transcripts};

use super::mcp::{self, Server, ServerSettings};
use crate::text::llm::ToolSpec;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A call's arguments: a JSON object.
pub type Arguments = Map<String, Value>;

/// Most tools that a model is offered; more only confuse it and fill its context.
const MAX_TOOLS: usize = 64;

/// What came of a call, or why nothing did: one sentence for the model.
pub type Outcome = Result<String, String>;

/// A built-in tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Builtin {
    CurrentTime,
    Calculator,
    SearchTranscripts,
    WriteNote,
}

impl Builtin {
    const ALL: [Builtin; 4] =
        [Builtin::CurrentTime, Builtin::Calculator, Builtin::SearchTranscripts, Builtin::WriteNote];

    fn spec(self) -> ToolSpec {
        let (name, description, parameters) = match self {
            Builtin::CurrentTime => time::spec(),
            Builtin::Calculator => calculator::spec(),
            Builtin::SearchTranscripts => transcripts::spec(),
            Builtin::WriteNote => notes::spec(),
        };
        ToolSpec { name: name.to_owned(), description: description.to_owned(), parameters }
    }
}

/// Where a tool comes from.
#[derive(Clone, Debug)]
enum Origin {
    Builtin(Builtin),
    /// Index of the server, and the tool's name there.
    Mcp(usize, String),
}

/// A tool with what may be done with it.
#[derive(Clone, Debug)]
pub struct Tool {
    /// As the model sees it.
    pub spec: ToolSpec,
    /// What it takes to call it.
    pub permission: Permission,
    /// It can send data out.
    pub network: bool,
    /// What it returns may hold anybody's words.
    pub untrusted: bool,
    origin: Origin,
}

impl Tool {
    /// Whether nothing about it has changed, so that a consent given to one holds for the other.
    pub fn is_same(&self, other: &Tool) -> bool {
        self.spec == other.spec
    }

    /// A tool that is none.
    #[cfg(test)]
    pub(super) fn for_test(name: &str) -> Self {
        let spec = ToolSpec { name: name.to_owned(), description: String::new(), parameters: json!({}) };
        let origin = Origin::Mcp(0, name.to_owned());
        Tool { spec, permission: Permission::Ask, network: false, untrusted: true, origin }
    }

    /// Whether it is one of ours.
    pub fn is_builtin(&self) -> bool {
        matches!(self.origin, Origin::Builtin(_))
    }
}

/// What a toolbox is made of.
#[derive(Clone, Debug, Default)]
pub struct ToolSettings {
    /// What is allowed.
    pub policy: PolicySettings,
    /// File or folder of `write_note`.
    pub notes: PathBuf,
    /// MCP servers.
    pub servers: Vec<ServerSettings>,
}

/// All tools there are. Clones are the same.
#[derive(Clone)]
pub struct Toolbox(Arc<Inner>);

struct Inner {
    policy: Policy,
    notes: PathBuf,
    servers: Vec<Server>,
    transcripts: OnceLock<Arc<dyn Transcripts>>,
}

/// What the model is offered at this moment.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Allowed tools, always in the same order.
    pub tools: Vec<Tool>,
    /// Servers that are not there: one sentence each.
    pub problems: Vec<String>,
}

impl Offer {
    /// The tool of this name.
    pub fn find(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.spec.name == name)
    }
}

impl Toolbox {
    /// Starts nothing yet.
    ///
    /// # Errors
    /// A glob that is none.
    pub fn new(settings: ToolSettings) -> Result<Self, globset::Error> {
        let policy = Policy::new(&settings.policy)?;
        let servers = settings.servers.into_iter().map(Server::new).collect();
        Ok(Toolbox(Arc::new(Inner { policy, notes: settings.notes, servers, transcripts: OnceLock::new() })))
    }

    /// Where `search_transcripts` looks; without it the tool finds nothing. Only the first one counts.
    pub fn set_transcripts(&self, transcripts: Arc<dyn Transcripts>) {
        // The second engine of a process (tests) finds it set.
        let _ = self.0.transcripts.set(transcripts);
    }

    /// Whether nothing is allowed at all.
    pub fn is_empty(&self) -> bool {
        self.0.policy.allows_nothing()
    }

    /// The allowed tools. Starts the servers that have any, all at once, each within its own time limit.
    pub async fn offer(&self) -> Offer {
        if self.is_empty() {
            return Offer::default();
        }
        let (mut tools, problems) = self.list(|server| self.0.policy.may_allow(server)).await;
        tools.retain(|tool| tool.permission != Permission::Forbidden);
        tools.truncate(MAX_TOOLS);
        Offer { tools, problems }
    }

    /// All tools, those that are not allowed too, for a person to look at.
    pub async fn everything(&self) -> Offer {
        let (tools, problems) = self.list(|_| true).await;
        Offer { tools, problems }
    }

    async fn list(&self, wanted: impl Fn(&str) -> bool) -> (Vec<Tool>, Vec<String>) {
        let inner = &self.0;
        let mut tools: Vec<Tool> = Builtin::ALL
            .into_iter()
            .map(|builtin| {
                let spec = builtin.spec();
                let permission = inner.policy.builtin(&spec.name, builtin != Builtin::WriteNote);
                let network = inner.policy.is_network(&spec.name);
                let untrusted = builtin == Builtin::SearchTranscripts;
                Tool { spec, permission, network, untrusted, origin: Origin::Builtin(builtin) }
            })
            .collect();
        let mut problems = Vec::new();
        let wanted: Vec<(usize, &Server)> =
            inner.servers.iter().enumerate().filter(|(_, server)| wanted(server.name())).collect();
        let listed = futures_util::future::join_all(wanted.iter().map(|(_, server)| server.tools())).await;
        for ((at, server), listed) in wanted.into_iter().zip(listed) {
            match listed {
                Ok(found) => tools.extend(found.into_iter().map(|found| self.of_server(at, server, found))),
                Err(error) => problems.push(format!("the tools of server '{}' are not there: {error}", server.name())),
            }
        }
        (tools, problems)
    }

    fn of_server(&self, at: usize, server: &Server, found: mcp::Listed) -> Tool {
        let policy = &self.0.policy;
        let hinted = found.says_read_only && server.trusts_hints();
        let mut permission = policy.of_server(&found.spec.name, hinted);
        // What a server changed since it was first seen was not what the configuration meant.
        if found.changed && permission != Permission::Forbidden {
            permission = Permission::Ask;
        }
        let network = policy.is_network(&found.spec.name);
        Tool { spec: found.spec, permission, network, untrusted: true, origin: Origin::Mcp(at, found.name) }
    }

    /// Calls a tool with arguments that fit its schema. Dropping the future gives the call up, and tells the server.
    pub async fn call(&self, tool: &Tool, arguments: &Arguments, limit: Duration) -> Outcome {
        let work = async {
            match &tool.origin {
                Origin::Builtin(Builtin::CurrentTime) => time::call(arguments),
                Origin::Builtin(Builtin::Calculator) => calculator::call(arguments),
                Origin::Builtin(Builtin::SearchTranscripts) => {
                    transcripts::call(self.0.transcripts.get().map(Arc::as_ref), arguments).await
                }
                Origin::Builtin(Builtin::WriteNote) => notes::call(&self.0.notes, arguments).await,
                Origin::Mcp(server, name) => match self.0.servers.get(*server) {
                    Some(server) => server.call(name, arguments).await,
                    None => Err("its server is gone".to_owned()),
                },
            }
        };
        let late = || Err(format!("it did not finish within {:.0} s and was given up", limit.as_secs_f64()));
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_elapsed| late())
    }

    /// Ends the servers that were started.
    pub async fn stop(&self) {
        futures_util::future::join_all(self.0.servers.iter().map(Server::stop)).await;
    }
}

/// A schema of an object with these properties, of which the first `required` must be there.
fn object(properties: &[(&str, Value)], required: usize) -> Value {
    let names: Vec<&str> = properties.iter().take(required).map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
}

fn text<'a>(arguments: &'a Arguments, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default()
}
