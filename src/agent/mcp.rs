//! Tools of other programs, over the Model Context Protocol. The only file that names `rmcp`.
//!
//! A server is a stranger: its names, descriptions and results are data of bounded length, its hints are not believed
//! unless the configuration says so, what it asks of us is refused, and it may die, hang or lie at any time. It is
//! started when it is first needed and again, with growing pauses, when it is gone.

use super::mcp_process::{Process, Program};
use crate::text::llm::{Secret, ToolSpec};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientConfig, ContentBlock, Implementation, ResourceContents,
};
use rmcp::service::{NotificationContext, Peer, RoleClient, RunningService, ServiceError, serve_client};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Longest description, characters.
const MAX_DESCRIPTION: usize = 1000;
/// Longest schema, bytes of JSON; a tool with a longer one is left out.
const MAX_SCHEMA: usize = 16 << 10;
/// Most tools of a server.
const MAX_TOOLS: usize = 128;
/// Longest name of a tool with its server's: the API's limit.
const MAX_NAME: usize = 64;
/// Most of a result that is kept at all, bytes; the loop cuts it further.
const MAX_RESULT: usize = 1 << 20;
/// Between the end of its input and its own end.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after the first failure; doubled up to the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A server that lived so long starts with the first pause again.
const STEADY: Duration = Duration::from_secs(30);

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Reach {
    /// A program that is started.
    Program(Program),
    /// Streamable HTTP.
    Http {
        /// Its address.
        url: String,
        /// Further headers.
        headers: BTreeMap<String, String>,
        /// Bearer token; or why there is none.
        bearer: Option<Result<Secret, String>>,
    },
}

/// A server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Stands before its tools' names.
    pub name: String,
    /// How it is reached.
    pub reach: Reach,
    /// To start and to list its tools.
    pub start_timeout: Duration,
    /// Whether `readOnlyHint` is believed.
    pub trust_hints: bool,
}

/// A tool as its server lists it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Its name there.
    pub name: String,
    /// As the model sees it, with the server's name in front.
    pub spec: ToolSpec,
    /// `readOnlyHint`.
    pub says_read_only: bool,
    /// It is not what it was when it was first seen.
    pub changed: bool,
}

/// One server, started or not.
pub(super) struct Server {
    settings: ServerSettings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    up: Option<Connection>,
    failures: u32,
    not_before: Option<(Instant, String)>,
    /// What each tool was when it was first seen.
    first_seen: HashMap<String, [u8; 32]>,
}

struct Connection {
    service: RunningService<RoleClient, Handler>,
    process: Option<Process>,
    since: Instant,
    tools: Option<Vec<Listed>>,
    list_changed: Arc<AtomicBool>,
}

impl Connection {
    fn is_gone(&mut self) -> bool {
        self.service.is_closed()
            || self.service.peer().is_transport_closed()
            || self.process.as_mut().is_some_and(|process| process.ended().is_some())
    }

    async fn stop(mut self) {
        // Closes its standard input, which is how a server is told to end.
        let _ = self.service.close_with_timeout(GRACE).await;
        if let Some(process) = self.process {
            process.stop(GRACE).await;
        }
    }
}

impl Server {
    /// Starts nothing yet.
    pub fn new(settings: ServerSettings) -> Self {
        Server { settings, state: Mutex::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether `readOnlyHint` is believed.
    pub fn trusts_hints(&self) -> bool {
        self.settings.trust_hints
    }

    /// Its tools, by name. Starts it where it is not there; asks again when it said that they changed.
    ///
    /// # Errors
    /// One sentence, at once while it is left alone after a failure.
    pub async fn tools(&self) -> Result<Vec<Listed>, String> {
        let mut state = self.state.lock().await;
        let limit = self.settings.start_timeout;
        let listed = tokio::time::timeout(limit, self.listed(&mut state)).await;
        let listed = listed.unwrap_or_else(|_| Err(format!("it did not answer within {:.0} s", limit.as_secs_f64())));
        match listed {
            Ok(tools) => {
                state.not_before = None;
                Ok(tools)
            }
            Err(reason) => {
                // Also what a list that never came leaves behind.
                if let Some(gone) = state.up.take() {
                    tokio::spawn(gone.stop());
                }
                if state.not_before.as_ref().is_none_or(|(until, _)| *until <= Instant::now()) {
                    let pause = (PAUSE * 2_u32.saturating_pow(state.failures.min(16))).min(LONGEST_PAUSE);
                    state.failures += 1;
                    state.not_before = Some((Instant::now() + pause, reason.clone()));
                }
                Err(reason)
            }
        }
    }

    async fn listed(&self, state: &mut State) -> Result<Vec<Listed>, String> {
        if state.up.as_mut().is_some_and(Connection::is_gone)
            && let Some(mut gone) = state.up.take()
        {
            if gone.since.elapsed() >= STEADY {
                state.failures = 0;
            }
            let how = gone.process.as_mut().and_then(Process::ended).unwrap_or_else(|| "connection lost".to_owned());
            tracing::warn!(server = self.name(), how, "an MCP server is gone; starting it again");
        }
        if let Some((until, reason)) = &state.not_before
            && *until > Instant::now()
        {
            return Err(format!("{reason}; tried again in {:.0} s", (*until - Instant::now()).as_secs_f64().ceil()));
        }
        if state.up.is_none() {
            state.up = Some(self.connect().await?);
        }
        let State { up: Some(connection), first_seen, .. } = state else { return Err("it is gone".into()) };
        if connection.list_changed.swap(false, Ordering::AcqRel) {
            connection.tools = None;
        }
        if let Some(tools) = &connection.tools {
            return Ok(tools.clone());
        }
        let mut tools = self.list(connection.service.peer(), first_seen).await?;
        tools.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        tools.dedup_by(|a, b| a.spec.name == b.spec.name);
        connection.tools = Some(tools.clone());
        Ok(tools)
    }

    async fn connect(&self) -> Result<Connection, String> {
        let list_changed = Arc::new(AtomicBool::new(false));
        let handler = Handler { server: self.name().to_owned(), list_changed: list_changed.clone() };
        let (service, process) = match &self.settings.reach {
            Reach::Program(program) => {
                let (mut process, pipes) = Process::start(program, self.name()).await?;
                let service = serve_client(handler, pipes).await.map_err(|error| match process.ended() {
                    Some(how) => {
                        format!("'{}' ended at its start ({how}); its last words are in the log", program.command)
                    }
                    None => format!("it does not speak MCP: {error}"),
                })?;
                (service, Some(process))
            }
            Reach::Http { url, headers, bearer } => {
                let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
                config = config.max_json_response_size(4 * MAX_RESULT).max_sse_event_size(4 * MAX_RESULT);
                if let Some(bearer) = bearer {
                    config = config.auth_header(bearer.as_ref().map_err(String::clone)?.expose());
                }
                let transport = StreamableHttpClientTransport::with_client(http_client(headers)?, config);
                let service = serve_client(handler, transport).await;
                (service.map_err(|error| format!("{url} does not answer as an MCP server: {error}"))?, None)
            }
        };
        tracing::info!(server = self.name(), "an MCP server is up");
        Ok(Connection { service, process, since: Instant::now(), tools: None, list_changed })
    }

    async fn list(
        &self,
        peer: &Peer<RoleClient>,
        first_seen: &mut HashMap<String, [u8; 32]>,
    ) -> Result<Vec<Listed>, String> {
        let tools = peer.list_all_tools().await.map_err(|error| format!("it does not list its tools: {error}"))?;
        let mut listed = Vec::new();
        for tool in tools.into_iter().take(MAX_TOOLS) {
            let schema = Value::Object(tool.input_schema.as_ref().clone());
            let name = full_name(self.name(), &tool.name);
            let (Some(name), true) = (name, schema.to_string().len() <= MAX_SCHEMA) else {
                tracing::warn!(server = self.name(), "a tool was left out: its name or its schema is too long");
                continue;
            };
            let description = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
            let spec = ToolSpec { name, description: plain(description, MAX_DESCRIPTION), parameters: schema };
            let now: [u8; 32] = Sha256::digest(format!("{description}\0{}", spec.parameters)).into();
            let changed = *first_seen.entry(spec.name.clone()).or_insert(now) != now;
            let says_read_only = tool.annotations.as_ref().and_then(|hints| hints.read_only_hint) == Some(true);
            listed.push(Listed { name: tool.name.into_owned(), spec, says_read_only, changed });
        }
        Ok(listed)
    }

    /// Calls a tool by its name there. Dropping the future tells the server that the call is cancelled.
    ///
    /// # Errors
    /// What the model is told.
    pub async fn call(&self, tool: &str, arguments: &super::tools::Arguments) -> Result<String, String> {
        let peer = {
            let mut state = self.state.lock().await;
            let gone = || format!("the server '{}' is not running", self.name());
            let connection = state.up.as_mut().ok_or_else(gone)?;
            if connection.is_gone() {
                return Err(gone());
            }
            connection.service.peer().clone()
        };
        let mut params = CallToolRequestParams::new(tool.to_owned());
        params.arguments = Some(arguments.clone());
        match peer.call_tool_once(params).await {
            Ok(CallToolResponse::Complete(result)) => {
                let text = shown(&result.content, result.structured_content.as_ref());
                if result.is_error == Some(true) { Err(text) } else { Ok(text) }
            }
            Ok(_) => Err("the tool asks for more than a single answer, which is not supported".into()),
            Err(ServiceError::McpError(error)) => Err(plain(&error.message, MAX_DESCRIPTION)),
            Err(ServiceError::TransportClosed | ServiceError::TransportSend(_)) => {
                Err(format!("the server '{}' ended in the middle of the call", self.name()))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Ends it.
    pub async fn stop(&self) {
        let up = self.state.lock().await.up.take();
        if let Some(connection) = up {
            connection.stop().await;
        }
    }
}

/// Our side: what a server may tell us. Everything it may ask of us (to run a model, to question the user) is refused.
struct Handler {
    server: String,
    list_changed: Arc<AtomicBool>,
}

impl rmcp::ClientHandler for Handler {
    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        tracing::debug!(server = self.server, "an MCP server's tools have changed");
        self.list_changed.store(true, Ordering::Release);
    }

    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        info.client_info = Implementation::new("bestbox", env!("CARGO_PKG_VERSION"));
        info
    }
}

fn http_client(headers: &BTreeMap<String, String>) -> Result<reqwest::Client, String> {
    let mut map = reqwest::header::HeaderMap::new();
    for (name, value) in headers {
        let name = reqwest::header::HeaderName::try_from(name).map_err(|_| format!("'{name}' is no header"))?;
        let mut value =
            reqwest::header::HeaderValue::try_from(value).map_err(|_| format!("header {name} is no text"))?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    let client = reqwest::Client::builder()
        .default_headers(map)
        .connect_timeout(Duration::from_secs(10))
        // A server cannot send our token elsewhere.
        .redirect(reqwest::redirect::Policy::none());
    client.build().map_err(|error| error.to_string())
}

/// `server__tool` in the letters that models' APIs take; none where it is too long.
fn full_name(server: &str, tool: &str) -> Option<String> {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let name: String = format!("{server}__{tool}").chars().map(letter).collect();
    (!tool.is_empty() && name.len() <= MAX_NAME).then_some(name)
}

/// Text without control characters, cut.
fn plain(text: &str, longest: usize) -> String {
    let visible = text.chars().filter(|c| !c.is_control() || *c == '\n');
    let mut plain: String = visible.clone().take(longest).collect();
    if visible.count() > longest {
        plain.push('…');
    }
    plain
}

/// What a result says, as text.
fn shown(content: &[ContentBlock], structured: Option<&Value>) -> String {
    let mut text = String::new();
    for block in content {
        if !text.is_empty() {
            text.push('\n');
        }
        match block {
            ContentBlock::Text(found) => text.push_str(&found.text),
            ContentBlock::Resource(found) => match &found.resource {
                ResourceContents::TextResourceContents { text: found, .. } => text.push_str(found),
                _ => text.push_str("[data that is no text]"),
            },
            ContentBlock::ResourceLink(link) => text.push_str(&link.uri),
            _ => text.push_str("[a picture or sound]"),
        }
        if text.len() > MAX_RESULT {
            cut(&mut text);
            return text;
        }
    }
    if text.is_empty() {
        text = structured.map(Value::to_string).unwrap_or_default();
        cut(&mut text);
    }
    text
}

/// Not inside a character.
fn cut(text: &mut String) {
    let mut end = text.len().min(MAX_RESULT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_descriptions_fit_the_api() {
        assert_eq!(full_name("files", "read.text file").as_deref(), Some("files__read_text_file"));
        assert_eq!(full_name("files", ""), None);
        assert_eq!(full_name("files", &"x".repeat(80)), None);
        assert_eq!(plain("a\u{1b}[31mb\nc", 100), "a[31mb\nc");
        assert_eq!(plain(&"ü".repeat(20), 5), "üüüüü…");
    }
}
