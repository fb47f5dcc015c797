//! `bestbox batch`: folders of recordings in, transcripts out, nothing done twice and nothing lost.

mod checkpoint;
mod inputs;
mod manifest;
mod names;
mod one;
mod outputs;
mod progress;
mod record;
mod report;
mod then;
mod walk;
mod wanted;

pub use record::Text;

use super::Override;
use super::session::plan_overrides;
use crate::cli::{BatchArgs, Global};
use crate::config::Loaded;
use crate::error::Error;

/// The command's own flags as configuration.
pub(super) fn overrides(args: &BatchArgs) -> Vec<Override> {
    plan_overrides(&args.plan)
}

/// Works through the folder.
pub(super) async fn run(_loaded: Loaded, _global: Global, _args: BatchArgs) -> Result<(), Error> {
    Err(Error::Usage("not there yet".into()))
}
