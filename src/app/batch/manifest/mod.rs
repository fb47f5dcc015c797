//! What is known of a folder, in OUT/.bestbox: a SQLite database, the stored outcomes, and temporary files.
//!
//! `synchronous=FULL`: a commit is on the disk when it returns. There are a few a file and one an utterance, seconds of
//! work each, so the price is nothing. Any number of processes may work in one folder: see [`owner`].

mod owner;
mod rows;

pub(super) use owner::Claim;
pub(super) use rows::{Row, Stored};

use super::walk::OWN_FOLDER;
use crate::app::sqlite;
use crate::error::Error;
use crate::output::OutputError;
use owner::Owner;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a statement waits for another process before it is an error.
const BUSY: Duration = Duration::from_secs(30);

/// How long a part of this process waits for the connection: others may each wait as long as [`BUSY`] before it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why the manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    /// No room, or the disk does not take what is written.
    #[error("the disk cannot be written ({0})")]
    Disk(sqlx::Error),
    /// Anything else that SQLite says.
    #[error("the manifest cannot be used: {0}")]
    Database(sqlx::Error),
    /// A file beside the database.
    #[error("{0}")]
    Io(io::Error),
    /// A row that cannot be read back.
    #[error("the manifest is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl From<sqlx::Error> for ManifestError {
    fn from(error: sqlx::Error) -> Self {
        if sqlite::disk_refuses(&error) { ManifestError::Disk(error) } else { ManifestError::Database(error) }
    }
}

impl From<sqlx::migrate::MigrateError> for ManifestError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            other => ManifestError::Database(sqlx::Error::Configuration(Box::new(other))),
        }
    }
}

impl From<io::Error> for ManifestError {
    fn from(error: io::Error) -> Self {
        ManifestError::Io(error)
    }
}

impl ManifestError {
    /// Whether there is no room on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            ManifestError::Disk(_) => true,
            ManifestError::Io(error) => is_full(error),
            _ => false,
        }
    }

    /// As an error of the whole run.
    pub fn at(self, out: &Path) -> Error {
        let source = match self {
            ManifestError::Io(error) => error,
            ManifestError::Disk(error) => io::Error::new(io::ErrorKind::StorageFull, error),
            other => io::Error::other(other),
        };
        Error::Output(OutputError::Write { path: out.to_owned(), source })
    }
}

/// Whether a disk has no room for more, in one of the ways that systems say so.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// The manifest of one OUT, for one IN.
pub(super) struct Manifest {
    db: SqlitePool,
    /// OUT.
    pub out: PathBuf,
    /// IN, as text; rows of other INs that share this OUT are left alone.
    root: String,
    owner: Owner,
}

impl Manifest {
    /// Opens or creates it, and clears away what dead processes left.
    ///
    /// # Errors
    /// OUT cannot be made or written.
    pub async fn open(out: &Path, root: &Path) -> Result<Self, ManifestError> {
        let own = out.join(OWN_FOLDER);
        std::fs::create_dir_all(own.join("outcomes"))?;
        let db = connect(&own.join("manifest.db"), true).await?;
        migrations().run(&db).await?;
        let owner = Owner::register(&db, &own).await?;
        let root = super::record::RelativePath::of(root).to_string();
        Ok(Manifest { db, out: out.to_owned(), root, owner })
    }

    /// The folder for files that have no name yet: on the same disk as OUT, and cleared when its process has died.
    pub fn scratch(&self) -> &Path {
        self.owner.scratch()
    }

    /// Whether the database is still where it was: a folder may be taken away and mounted again.
    pub fn is_there(&self) -> bool {
        self.owner.is_there()
    }

    /// Says that this process lives, every few seconds.
    pub async fn beat(&self) -> Result<(), ManifestError> {
        self.owner.beat(&self.db).await
    }

    /// Tries to get something to work on.
    pub async fn claim(&self, key: &str) -> Result<Claim, ManifestError> {
        self.owner.claim(&self.db, key).await
    }

    /// Lets others have it.
    pub async fn release(&self, key: &str) -> Result<(), ManifestError> {
        self.owner.release(&self.db, key).await
    }

    /// Keeps a value for later runs: see [`look`].
    pub async fn remember(&self, key: &str, value: &str) -> Result<(), ManifestError> {
        let sql = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value";
        sqlx::query(sql).bind(key).bind(value).execute(&self.db).await?;
        Ok(())
    }

    /// Ends the process's part in the folder.
    pub async fn close(&self) {
        // What is not taken back here counts for nothing once the lock is gone.
        let _ = self.owner.leave(&self.db).await;
        self.db.close().await;
    }
}

/// Paths (in full) that a batch into `folder` wrote; none where there was no such batch.
pub(super) async fn outputs_of(folder: &Path) -> HashSet<PathBuf> {
    let path = folder.join(OWN_FOLDER).join("manifest.db");
    if !path.is_file() {
        return HashSet::new();
    }
    let read = async {
        let db = connect(&path, false).await?;
        let paths = rows::outputs(&db, folder).await?;
        db.close().await;
        Ok::<_, ManifestError>(paths)
    };
    read.await.unwrap_or_else(|error| {
        tracing::warn!(%error, folder = %folder.display(), "what another batch wrote is not known");
        HashSet::new()
    })
}

/// What a run would find in a manifest that is not to be touched.
#[derive(Default)]
pub(super) struct Look {
    pub rows: rows::Known,
    /// Files (in full) that bestbox wrote.
    pub outputs: HashSet<PathBuf>,
    /// Seconds of audio a second, in the last run.
    pub speed: Option<f64>,
}

/// A manifest that is only looked at, if there is one.
pub(super) async fn look(out: &Path, root: &Path) -> Option<Look> {
    let path = out.join(OWN_FOLDER).join("manifest.db");
    if !path.is_file() {
        return None;
    }
    let db = connect(&path, false).await.ok()?;
    let root = super::record::RelativePath::of(root).to_string();
    let rows = rows::known(&db, &root).await.ok();
    let speed: Option<String> =
        sqlx::query_scalar("SELECT value FROM meta WHERE key = 'speed'").fetch_optional(&db).await.ok().flatten();
    let outputs = rows::outputs(&db, out).await.unwrap_or_default();
    db.close().await;
    Some(Look { rows: rows?, outputs, speed: speed.and_then(|speed| speed.parse().ok()) })
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

async fn connect(path: &Path, create: bool) -> Result<SqlitePool, ManifestError> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY);
    let options = if create {
        options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // Keeps the log from staying as large as it once was.
            .pragma("journal_size_limit", "67108864")
    } else {
        options.read_only(true)
    };
    Ok(sqlite::pool(1, PATIENCE).connect_with(options).await?)
}

fn migrations() -> Migrator {
    let first =
        Migration::new(1, "first".into(), MigrationType::Simple, include_str!("schema.sql").into_sql_str(), false);
    Migrator::with_migrations(vec![first])
}
