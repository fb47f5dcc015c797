//! `bestbox dictate`: hold a key, speak, release, and the text is there.
//!
//! ```text
//! key, `bestbox ctl`, tray -> Controller -> owner task [machine] -> take (disk, utterances, text) -> delivery, history
//!                                             ^ microphone thread      `-> Status and Event to every view
//! ```
//!
//! One owner task holds all state; everybody else has a [`Controller`].

pub mod control;
pub mod desktop_session;
pub mod feedback;
pub mod hotkey;
pub mod machine;

pub use control::{Control, Controller, Event, Order, Status};
pub use machine::{Command, Mode, State, TakeId};
