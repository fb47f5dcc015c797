//! `bestbox agent`: what tools there are and what may be done with them; and the question about a call, at a terminal.

use super::session::program;
use crate::agent::Confirm;
use crate::agent::tools::{Offer, Permission};
use crate::cli::{AgentArgs, AgentCommand};
use crate::config::Loaded;
use crate::engine;
use crate::error::Error;
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::sync::Arc;

/// Runs one command.
///
/// # Errors
/// For `check`: when a server does not run, or a name in the configuration fits no tool.
pub(super) async fn run(loaded: Loaded, args: AgentArgs) -> Result<(), Error> {
    let config = loaded.config.agent;
    let cancel = super::interrupt::token();
    let toolbox = engine::toolbox(&config, &program()?)?;
    let listed = cancel.run_until_cancelled(toolbox.everything()).await;
    let result = match (listed, args.command) {
        (None, _) => Err(Error::Interrupted),
        (Some(offer), AgentCommand::Tools { json }) => show(&offer, json),
        (Some(offer), AgentCommand::Check) => check(&offer, &config.allow),
    };
    toolbox.stop().await;
    result
}

fn show(offer: &Offer, as_json: bool) -> Result<(), Error> {
    if as_json {
        let tool = |tool: &crate::agent::tools::Tool| {
            json!({
                "name": tool.spec.name,
                "description": tool.spec.description,
                "parameters": tool.spec.parameters,
                "permission": tool.permission,
                "network": tool.network,
            })
        };
        let tools: Vec<Value> = offer.tools.iter().map(tool).collect();
        println!("{}", json!({"tools": tools, "problems": offer.problems}));
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["TOOL", "STATE", "NETWORK", "WHAT IT DOES"]);
    for tool in &offer.tools {
        let first = tool.spec.description.lines().next().unwrap_or_default();
        let network = if tool.network { "yes" } else { "" };
        let short: String = first.chars().take(70).collect();
        table.add_row([tool.spec.name.as_str(), state(tool.permission), network, &short]);
    }
    println!("{table}");
    for problem in &offer.problems {
        eprintln!("bestbox: {problem}");
    }
    Ok(())
}

fn state(permission: Permission) -> &'static str {
    match permission {
        Permission::Forbidden => "not allowed",
        Permission::ReadOnly => "allowed",
        Permission::Unconfirmed => "allowed, unconfirmed",
        Permission::Ask => "asks",
    }
}

fn check(offer: &Offer, allow: &[String]) -> Result<(), Error> {
    let mut problems = offer.problems.clone();
    for pattern in allow {
        let Ok(glob) = globset::Glob::new(pattern) else { continue };
        let glob = glob.compile_matcher();
        if !offer.tools.iter().any(|tool| glob.is_match(&tool.spec.name)) {
            problems.push(format!("agent.allow: '{pattern}' fits no tool; see `bestbox agent tools`"));
        }
    }
    let allowed = offer.tools.iter().filter(|tool| tool.permission != Permission::Forbidden).count();
    for problem in &problems {
        eprintln!("bestbox: {problem}");
    }
    println!("{allowed} of {} tools are allowed", offer.tools.len());
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!("{} of the agent's tools or servers need attention", problems.len())))
}

/// Who decides about calls at a command line: whoever sits at the terminal, if anybody does.
pub(super) fn at_terminal() -> Confirm {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Confirm::Never("nobody is there to confirm it: standard input is no terminal".into());
    }
    Confirm::Ask(Arc::new(|tool, arguments| {
        Box::pin(async move {
            // A line that nobody types is waited for on a thread that is left behind.
            tokio::task::spawn_blocking(move || ask(&tool, &arguments)).await.unwrap_or(false)
        })
    }))
}

fn ask(tool: &str, arguments: &Value) -> bool {
    let shown = serde_json::to_string_pretty(arguments).unwrap_or_else(|_| arguments.to_string());
    // Nothing in the arguments may move the cursor or hide a part of them.
    let shown: String = shown.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
    eprint!("\nThe model wants to call {tool} with\n{shown}\nAllow it? [y/N] ");
    let mut line = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut line));
    read.is_ok() && matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}
