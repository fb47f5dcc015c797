//! Entry point: parse, logging, dispatch, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The decoder process: nothing else may be initialised in it.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == bestbox::audio::WORKER_ARG) {
        return bestbox::audio::worker_main();
    }
    ExitCode::SUCCESS
}
