//! Entry point: parse, logging, dispatch, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: the keeper of a server is not a command of this program.
    if std::env::args_os().nth(1).is_some_and(|first| first == bestbox::servers::KEEPER_ARGUMENT) {
        return bestbox::servers::keeper_main();
    }
    ExitCode::SUCCESS
}
