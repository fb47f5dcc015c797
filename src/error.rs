//! What ends a command: one variant a stage, the source kept, and an exit code for each.

use crate::audio::AudioError;
use crate::config::ConfigError;
use crate::models::ModelError;
use crate::output::OutputError;
use crate::servers::ServerError;
use crate::speech::SpeechError;
use std::path::PathBuf;

/// A failure that leaves nothing to deliver. After recognition there are only warnings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Configuration or flags.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Flags that do not go together, or a file of the user's that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The recording.
    #[error(transparent)]
    Audio(#[from] AudioError),
    /// Recognition.
    #[error(transparent)]
    Speech(#[from] SpeechError),
    /// A model that is missing, damaged or cannot be fetched.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A language model server, where it is the point of the command.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Servers that cannot be run, or are not there: what is wrong and what to do.
    #[error("{0}")]
    Servers(String),
    /// Delivering the result.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Text that did not get into the window, in words that say where it is.
    #[error("{0}")]
    Insert(String),
    /// A text file.
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// Several inputs, some of which failed; each has been reported.
    #[error("{failed} of {total} inputs failed")]
    Some { failed: usize, total: usize, worst: Exit },
    /// `bestbox doctor` found something that does not work.
    #[error("{problems} of these must be put right before everything works")]
    Unfit { problems: usize },
    /// Dictation: what is wrong and what to do.
    #[error("{0}")]
    Dictation(String),
    /// A service that listens already and cannot recognise speech yet.
    #[error("the speech model is still being loaded; try again in a moment")]
    Loading,
    /// A service that ends keeps what it could not finish; the id of the job.
    #[error("the service is ending; the recording is kept as the job {0}, which goes on when the service is back")]
    Kept(String),
    /// Ctrl-C, or a caller that gave up.
    #[error("interrupted")]
    Interrupted,
}

/// Exit codes. Part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// Something failed that has no code of its own.
    Failure = 1,
    /// Flags or configuration.
    Usage = 2,
    /// An input cannot be read or decoded.
    Input = 3,
    /// A model or server is missing.
    Model = 4,
    /// The result cannot be written.
    Output = 5,
    /// Several inputs, some failed.
    Partial = 6,
    /// Ctrl-C (128 + SIGINT).
    Interrupted = 130,
}

impl Error {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Config(_) | Error::Usage(_) => Exit::Usage,
            Error::Audio(AudioError::Cancelled) | Error::Speech(SpeechError::Cancelled) | Error::Interrupted => {
                Exit::Interrupted
            }
            Error::Audio(_) | Error::Read { .. } => Exit::Input,
            Error::Speech(_) | Error::Unfit { .. } | Error::Dictation(_) | Error::Loading | Error::Kept(_) => {
                Exit::Failure
            }
            Error::Model(_) | Error::Server(_) | Error::Servers(_) => Exit::Model,
            Error::Output(_) | Error::Insert(_) => Exit::Output,
            Error::Some { failed, total, worst } => {
                if failed == total {
                    *worst
                } else {
                    Exit::Partial
                }
            }
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}
