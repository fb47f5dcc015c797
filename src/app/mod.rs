//! Front ends: each builds a plan, calls the pipeline and delivers the outcome.

mod agent;
pub mod batch;
mod bench;
mod config;
pub mod dictate;
mod doctor;
mod eval;
mod insert;
mod interrupt;
mod keys;
mod models;
mod progress;
mod route;
pub mod serve;
mod session;
mod sqlite;
mod status;
mod text;
mod transcribe;
mod transcripts;
mod up;
pub mod wer;

use crate::cli::{Cli, Command, Global};
use crate::config::{ConfigError, Loaded, Sources};
use crate::error::Error;
use clap::CommandFactory;
use std::io::Write;
use toml::Value;

/// A flag as a configuration key, its value and the flag's own name.
type Override = (String, Value, String);

/// Runs one command to its end.
pub fn run(cli: Cli) -> Result<(), Error> {
    // One process-wide TLS provider; a second call (tests in one process) only finds it there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let global = cli.global;
    match cli.command {
        Command::Transcribe(args) => {
            block_on(transcribe::run(load(&global, transcribe::overrides(&args))?, global, args))
        }
        Command::Text(args) => block_on(text::run(load(&global, session::plan_overrides(&args.plan))?, global, args)),
        Command::Batch(args) => block_on(batch::run(load(&global, batch::overrides(&args))?, global, args)),
        Command::Serve(args) => block_on(serve::run(load(&global, serve::overrides(&args))?, global)),
        Command::Up(args) => block_on(up::run(load(&global, up::overrides(&args))?, global, args)),
        Command::Status(args) => block_on(status::run(load(&global, vec![])?.config, args)),
        Command::Insert(args) => block_on(insert::run(load(&global, vec![])?.config.dictate.insert, args)),
        Command::Dictate(args) => dictate::run(load(&global, dictate::overrides(&args))?, global, args),
        Command::Ctl(args) => dictate::ctl(args),
        Command::History(args) => dictate::history(global, args),
        Command::Keys(args) => keys::run(args),
        Command::Models(args) => models::run(load(&global, vec![])?, &global, args),
        Command::Doctor(args) => {
            let loaded = load(&global, vec![])?;
            dictate::set_sound_environment(&loaded.config.dictate);
            block_on(doctor::run(loaded, args))
        }
        Command::Devices => doctor::devices(),
        Command::Agent(args) => block_on(agent::run(load(&global, vec![])?, args)),
        Command::Config(args) => config::run(&global, args),
        Command::Bench(args) => block_on(bench::run(load(&global, vec![])?, global, args)),
        Command::Eval(args) => block_on(eval::run(load(&global, eval::overrides(&args))?, global, args)),
        Command::Route(args) => block_on(route::run(load(&global, route::overrides(&args))?, global, args)),
        Command::Man => man(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "bestbox", &mut std::io::stdout());
            Ok(())
        }
    }
}

/// A line for the person at the terminal. Where nobody reads standard error any more (the other end of a pipe is gone)
/// the line is lost and the work goes on; `eprintln!` would end it.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The manual page: all commands one after the other, as one page is what people look for.
fn man() -> Result<(), Error> {
    let failed = |source| Error::Read { path: "the manual page".into(), source };
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(failed)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let man = clap_mangen::Man::new(sub.clone());
        page.extend(format!(".SH \"BESTBOX {}\"\n", sub.get_name().to_uppercase()).into_bytes());
        if let Some(about) = sub.get_about() {
            page.extend(format!("{about}\n.PP\n").into_bytes());
        }
        let mut options = Vec::new();
        man.render_options_section(&mut options).map_err(failed)?;
        // Its own headings are those of a page.
        page.extend(String::from_utf8_lossy(&options).replace(".SH OPTIONS", ".SS Options").into_bytes());
    }
    std::io::stdout().write_all(&page).map_err(failed)
}

/// All layers of configuration, the command's own flags last.
fn load(global: &Global, flags: Vec<Override>) -> Result<Loaded, Error> {
    let loaded = sources(global, flags)?.load()?;
    for note in loaded.notes.iter().filter(|_| !global.quiet) {
        say(&format!("bestbox: {note}"));
    }
    Ok(loaded)
}

fn sources(global: &Global, flags: Vec<Override>) -> Result<Sources, ConfigError> {
    let mut all = Vec::new();
    if let Some(profile) = global.profile {
        let name = format!("{profile:?}").to_lowercase();
        all.push(("profile".to_owned(), Value::String(name), "--profile".to_owned()));
    }
    for pair in &global.set {
        let (key, text) = pair.split_once('=').ok_or_else(|| ConfigError::BadValue {
            key: pair.clone(),
            origin: "--set".into(),
            reason: "write it as key=value, such as --set light.port=9001".into(),
        })?;
        all.push((key.trim().to_owned(), crate::config::typed_flag(key.trim(), text)?, "--set".to_owned()));
    }
    all.extend(flags);
    Ok(Sources::standard(all, global.config.clone()))
}

fn block_on(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Usage(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(work);
    // A blocking read of standard input cannot be interrupted: do not wait for it.
    runtime.shutdown_background();
    result
}
