//! Ctrl-C and SIGTERM: once ends the work and delivers what is there; twice ends the process.

use crate::error::Exit;
use tokio_util::sync::CancellationToken;

/// A token that the first signal cancels. The second ends the process at once; servers that were started notice by
/// themselves (see `servers`).
pub(super) fn token() -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        if wait().await {
            cancel.cancel();
            super::say("bestbox: stopping; press Ctrl-C again to stop at once");
        }
        if wait().await {
            std::process::exit(Exit::Interrupted as i32);
        }
    });
    token
}

/// Resolves to false where signals cannot be had: the default action then ends the process.
async fn wait() -> bool {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else { return false };
        tokio::select! {
            result = tokio::signal::ctrl_c() => result.is_ok(),
            _ = terminate.recv() => true,
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.is_ok()
}
