//! Entry point: parse, logging, dispatch, exit code.

use bestbox::cli::{Cli, Command};
#[cfg(all(unix, not(target_os = "macos")))]
use bestbox::output::insert;
use bestbox::{agent, app, audio, error::Exit, servers};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // bestbox re-executes itself to decode untrusted bytes, to keep servers and to keep a clipboard. Before anything else, so that this
    // costs milliseconds and shares no state with the rest.
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some(audio::WORKER_ARG) => return audio::worker_main(),
        Some(servers::KEEPER_ARGUMENT) => return servers::keeper_main(),
        Some(agent::GUARD_ARGUMENT) => return agent::guard_main(),
        #[cfg(all(unix, not(target_os = "macos")))]
        Some(insert::KEEPER_ARGUMENT) => return insert::keeper_main(),
        _ => {}
    }
    let cli = Cli::parse();
    start_logging(&cli);
    match app::run(cli) {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            app::say(&format!("bestbox: {error}"));
            error.exit().into()
        }
    }
}

/// Logs go to standard error: errors unless `-v` or `BESTBOX_LOG` says more; for the service its requests too.
/// `BESTBOX_LOG_FORMAT=json` makes every line a JSON object.
fn start_logging(cli: &Cli) {
    use tracing_subscriber::EnvFilter;
    let serves = matches!(cli.command, Command::Serve(_));
    let default = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error",
        (false, 0) if serves => "bestbox=warn,bestbox::access=info",
        (false, 0) => "error",
        (false, 1) => "bestbox=info",
        (false, _) => "bestbox=debug",
    };
    let filter = EnvFilter::try_from_env("BESTBOX_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    // It would say so with `eprintln!`, which ends the program where nobody reads standard error.
    let log = log.log_internal_errors(false);
    let json = std::env::var_os("BESTBOX_LOG_FORMAT").is_some_and(|format| format == "json");
    match (json, serves) {
        (true, _) => log.json().flatten_event(true).init(),
        (false, true) => log.init(),
        (false, false) => log.without_time().init(),
    }
}
