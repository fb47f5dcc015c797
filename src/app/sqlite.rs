//! What the SQLite databases of this program have in common: jobs of the service, manifests of folders.

use sqlx::Connection;
use sqlx::sqlite::SqlitePoolOptions;
use std::time::Duration;

/// How a transaction that writes begins: with the newest state and the right to change it, so that what it reads first is
/// still so when it writes.
pub(super) const WRITE: &str = "BEGIN IMMEDIATE";

/// So many connections that stay open; whoever wants one waits for it so long.
pub(super) fn pool(connections: u32, wait: Duration) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(wait)
        .idle_timeout(None)
        .max_lifetime(None)
        // After a COMMIT that failed (a full disk) sqlx 0.9 takes its connection for one inside a transaction for ever,
        // and what is committed on it later is seen by nobody. The ping lets rollbacks that wait take place.
        .after_release(|connection, _| {
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
}

/// Whether the disk has no room or does not take what is written: SQLITE_FULL is 13, SQLITE_IOERR 10; extended codes
/// carry the primary one in their low byte.
pub(super) fn disk_refuses(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<u32>().ok());
    matches!(code.map(|code| code & 0xff), Some(10 | 13))
}
