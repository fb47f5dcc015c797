//! What was said: texts in SQLite, audio beside it, for as long as the configuration says.
//!
//! The only file of dictation that names sqlx. One connection; `bestbox history` opens its own beside a running
//! dictation. WAL with `synchronous=NORMAL`: nothing is lost when this process is killed.

use crate::config::HistoryConfig;
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteRow, SqliteSynchronous};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The table. Times are milliseconds since 1970.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS takes (
    id TEXT PRIMARY KEY,
    started INTEGER NOT NULL,
    state TEXT NOT NULL,
    binding TEXT NOT NULL,
    application TEXT NOT NULL DEFAULT '',
    seconds REAL NOT NULL DEFAULT 0,
    language TEXT NOT NULL DEFAULT '',
    raw TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    cleaned TEXT NOT NULL DEFAULT '',
    reply TEXT NOT NULL DEFAULT '',
    delivered TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS takes_by_time ON takes (started);
";

/// The history cannot be used: one sentence.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The folder or the file.
    #[error("the history in {path} cannot be opened: {why}; make room, or set dictate.data_dir to another folder")]
    Open {
        /// Where.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// What SQLite says.
    #[error("the history cannot be used: {0}")]
    Database(#[from] sqlx::Error),
}

/// How far a take has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is being recorded, or its process has died.
    Recording,
    /// Its text is being made, or its process has died.
    Processing,
    /// It has its text.
    Done,
    /// It was given up.
    Cancelled,
    /// Nobody spoke.
    Empty,
    /// Recognition failed.
    Failed,
}

impl Stage {
    const ALL: [Stage; 6] =
        [Stage::Recording, Stage::Processing, Stage::Done, Stage::Cancelled, Stage::Empty, Stage::Failed];

    /// As it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Recording => "recording",
            Stage::Processing => "processing",
            Stage::Done => "done",
            Stage::Cancelled => "cancelled",
            Stage::Empty => "empty",
            Stage::Failed => "failed",
        }
    }

    fn parse(name: &str) -> Self {
        Stage::ALL.into_iter().find(|stage| stage.name() == name).unwrap_or(Stage::Failed)
    }
}

/// A take as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// Its name: a UUID that grows with time.
    pub id: String,
    /// When it began, milliseconds since 1970.
    pub started: i64,
    /// How far it has come.
    pub state: Stage,
    /// The binding.
    pub binding: String,
    /// Class of the window that had the focus.
    pub application: String,
    /// Seconds of audio.
    pub seconds: f64,
    /// Language spoken, where it is known.
    pub language: String,
    /// As it was recognised.
    pub raw: String,
    /// As it was delivered.
    pub text: String,
    /// The cleaned text, where it came too late for the delivery.
    pub cleaned: String,
    /// A model's answer.
    pub reply: String,
    /// How it was delivered.
    pub delivered: String,
}

impl Kept {
    /// When it was said, for people.
    pub fn said_at(&self) -> String {
        let at = jiff::Timestamp::from_millisecond(self.started).unwrap_or_default();
        at.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%A, %Y-%m-%d %H:%M").to_string()
    }

    /// A take that begins now.
    pub fn begun(binding: &str, application: &str) -> Self {
        Kept {
            id: uuid::Uuid::now_v7().to_string(),
            started: now_ms(),
            state: Stage::Recording,
            binding: binding.to_owned(),
            application: application.to_owned(),
            seconds: 0.0,
            language: String::new(),
            raw: String::new(),
            text: String::new(),
            cleaned: String::new(),
            reply: String::new(),
            delivered: String::new(),
        }
    }

    /// The best text there is.
    pub fn best(&self) -> &str {
        [&self.text, &self.cleaned, &self.raw].into_iter().find(|text| !text.is_empty()).map_or("", |text| text)
    }
}

impl sqlx::FromRow<'_, SqliteRow> for Kept {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Kept {
            id: row.try_get("id")?,
            started: row.try_get("started")?,
            state: Stage::parse(&row.try_get::<String, _>("state")?),
            binding: row.try_get("binding")?,
            application: row.try_get("application")?,
            seconds: row.try_get("seconds")?,
            language: row.try_get("language")?,
            raw: row.try_get("raw")?,
            text: row.try_get("text")?,
            cleaned: row.try_get("cleaned")?,
            reply: row.try_get("reply")?,
            delivered: row.try_get("delivered")?,
        })
    }
}

/// The history of one data folder. Clones share the connection.
#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
    pool: SqlitePool,
}

impl History {
    /// Opens it, and makes what is missing.
    ///
    /// # Errors
    /// When the folder cannot be written to, or the file is no database.
    pub async fn open(folder: &Path) -> Result<Self, HistoryError> {
        let failed = |why: String| HistoryError::Open { path: folder.to_owned(), why };
        let takes = folder.join("takes");
        std::fs::create_dir_all(&takes).map_err(|error| failed(error.to_string()))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What one says is nobody else's business.
            let private = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(&takes, private.clone()).map_err(|error| failed(error.to_string()))?;
            std::fs::set_permissions(folder, private).map_err(|error| failed(error.to_string()))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(folder.join("history.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(5))
            // Deleted text is overwritten, not only forgotten.
            .pragma("secure_delete", "on")
            .pragma("journal_size_limit", "1048576");
        let pool = crate::app::sqlite::pool(1, Duration::from_secs(30))
            .connect_with(options)
            .await
            .map_err(|error| failed(error.to_string()))?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await.map_err(|error| failed(error.to_string()))?;
        Ok(History { folder: folder.to_owned(), pool })
    }

    /// The same to read only; none where there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub async fn open_to_read(folder: &Path) -> Result<Option<Self>, HistoryError> {
        let file = folder.join("history.db");
        if !file.exists() {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new().filename(&file).read_only(true).busy_timeout(Duration::from_secs(5));
        let pool = crate::app::sqlite::pool(1, Duration::from_secs(5)).connect_with(options).await;
        let failed = |error: sqlx::Error| HistoryError::Open { path: file.clone(), why: error.to_string() };
        Ok(Some(History { folder: folder.to_owned(), pool: pool.map_err(failed)? }))
    }

    /// Where the audio of a take is, or would be.
    pub fn audio(&self, id: &str) -> PathBuf {
        self.folder.join("takes").join(format!("{id}.wav"))
    }

    /// Writes a take as it is now.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn put(&self, take: &Kept) -> Result<(), HistoryError> {
        let text = "INSERT OR REPLACE INTO takes (id, started, state, binding, application, seconds, language, raw, \
                    text, cleaned, reply, delivered) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(text)
            .bind(&take.id)
            .bind(take.started)
            .bind(take.state.name())
            .bind(&take.binding)
            .bind(&take.application)
            .bind(take.seconds)
            .bind(&take.language)
            .bind(&take.raw)
            .bind(&take.text)
            .bind(&take.cleaned)
            .bind(&take.reply)
            .bind(&take.delivered)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The newest takes first.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn list(&self, limit: u32) -> Result<Vec<Kept>, HistoryError> {
        let query = sqlx::query_as("SELECT * FROM takes ORDER BY started DESC, id DESC LIMIT ?").bind(limit);
        Ok(query.fetch_all(&self.pool).await?)
    }

    /// Takes in whose texts all of `words` stand, in any case and any language; the newest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn search(&self, words: &[String], limit: usize) -> Result<Vec<Kept>, HistoryError> {
        // SQLite's LIKE knows no case beyond ASCII, and a history has some thousand short texts.
        let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
        let fits = |take: &Kept| {
            let all = format!("{}\n{}\n{}\n{}", take.text, take.cleaned, take.raw, take.reply).to_lowercase();
            words.iter().all(|word| all.contains(word))
        };
        Ok(self.list(u32::MAX).await?.into_iter().filter(fits).take(limit).collect())
    }

    /// One take: by its id or the beginning of it, or by its place in the list (`1` is the newest).
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn find(&self, name: &str) -> Result<Option<Kept>, HistoryError> {
        let all = self.list(u32::MAX).await?;
        let by_place = name.parse::<usize>().ok().filter(|place| (1..=9_999).contains(place));
        if let Some(take) = by_place.and_then(|place| all.get(place - 1)) {
            return Ok(Some(take.clone()));
        }
        let mut fitting = all.into_iter().filter(|take| name.len() >= 8 && take.id.starts_with(name));
        let first = fitting.next();
        Ok(first.filter(|_| fitting.next().is_none()))
    }

    /// The newest take in this state.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn newest(&self, stage: Stage) -> Result<Option<Kept>, HistoryError> {
        let query = sqlx::query_as("SELECT * FROM takes WHERE state = ? ORDER BY started DESC, id DESC LIMIT 1");
        Ok(query.bind(stage.name()).fetch_optional(&self.pool).await?)
    }

    /// Takes that never got their text, oldest first; some may be in work. Those that failed are among them as long as
    /// their audio is there: what kept them from a text (a missing model, no memory) may be gone.
    ///
    /// # Errors
    /// What SQLite says, or what keeps the folder from being read.
    pub async fn unfinished(&self) -> Result<Vec<Kept>, HistoryError> {
        let query =
            sqlx::query_as("SELECT * FROM takes WHERE state IN ('recording', 'processing', 'failed') ORDER BY started");
        let mut takes: Vec<Kept> = query.fetch_all(&self.pool).await?;
        takes.retain(|take| take.state != Stage::Failed || self.audio(&take.id).exists());
        // Audio of which the database knows nothing: it was not writable then.
        let known: Vec<String> = sqlx::query_scalar("SELECT id FROM takes").fetch_all(&self.pool).await?;
        for id in self.audio_ids()? {
            if !known.contains(&id) {
                takes.push(Kept { id, ..Kept::begun("", "") });
            }
        }
        Ok(takes)
    }

    /// Deletes a take and its audio.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn delete(&self, id: &str) -> Result<(), HistoryError> {
        sqlx::query("DELETE FROM takes WHERE id = ?").bind(id).execute(&self.pool).await?;
        remove(&self.audio(id));
        Ok(())
    }

    /// Deletes everything, but for takes that are being recorded or processed by a living process.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn delete_all(&self) -> Result<usize, HistoryError> {
        let mut deleted = 0;
        let mut ids: Vec<String> = self.list(u32::MAX).await?.into_iter().map(|take| take.id).collect();
        ids.extend(self.audio_ids()?);
        ids.sort();
        ids.dedup();
        for id in ids {
            if !in_use(&self.audio(&id)) {
                self.delete(&id).await?;
                deleted += 1;
            }
        }
        sqlx::raw_sql("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);").execute(&self.pool).await?;
        Ok(deleted)
    }

    /// Forgets what is older, and the oldest audio beyond the limit. Takes without a text keep their audio as long as
    /// others keep their text.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn forget_old(&self, limits: &HistoryConfig) -> Result<(), HistoryError> {
        let before = |days: f64| now_ms().saturating_sub((days * 86_400_000.0) as i64);
        let takes = self.list(u32::MAX).await?;
        let mut audio_bytes = 0_u64;
        // From the newest to the oldest.
        for take in takes {
            let path = self.audio(&take.id);
            if limits.keep_days > 0.0 && take.started < before(limits.keep_days) && !in_use(&path) {
                self.delete(&take.id).await?;
                continue;
            }
            audio_bytes += std::fs::metadata(&path).map_or(0, |meta| meta.len());
            let waits = matches!(take.state, Stage::Recording | Stage::Processing | Stage::Failed);
            let old = limits.keep_audio_days > 0.0 && take.started < before(limits.keep_audio_days);
            let much = limits.keep_audio_bytes > 0 && audio_bytes > limits.keep_audio_bytes;
            if (old || much) && !waits {
                audio_bytes -= std::fs::metadata(&path).map_or(0, |meta| meta.len());
                remove(&path);
            }
        }
        Ok(())
    }

    fn audio_ids(&self) -> Result<Vec<String>, HistoryError> {
        let folder = self.folder.join("takes");
        let failed = |error: std::io::Error| HistoryError::Open { path: folder.clone(), why: error.to_string() };
        let entries = std::fs::read_dir(&folder).map_err(failed)?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter_map(|name| name.strip_suffix(".wav").map(ToOwned::to_owned)).collect())
    }
}

/// Whether a living process records or processes it.
fn in_use(path: &Path) -> bool {
    matches!(super::record::Recording::take_over(path), Ok(super::record::Found::InUse))
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "audio of a take cannot be removed");
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::record::Recording;
    use super::*;

    async fn history() -> (tempfile::TempDir, History) {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("dictate")).await.unwrap();
        (folder, history)
    }

    async fn add(history: &History, text: &str, days_ago: i64) -> Kept {
        let mut take = Kept { state: Stage::Done, text: text.into(), ..Kept::begun("dictate", "xterm") };
        take.started -= days_ago * 86_400_000;
        Recording::create(&history.audio(&take.id)).unwrap().push(&[0.1; 1_000]).unwrap();
        history.put(&take).await.unwrap();
        take
    }

    #[tokio::test]
    async fn takes_are_found_again() {
        let (_folder, history) = history().await;
        let old = add(&history, "Über den Dächern", 2).await;
        let new = add(&history, "Hello there", 1).await;
        assert_eq!(history.list(10).await.unwrap(), [new.clone(), old.clone()]);
        assert_eq!(history.search(&["ÜBER".into()], 9).await.unwrap(), std::slice::from_ref(&old));
        assert_eq!(history.search(&["hello".into(), "dach".into()], 9).await.unwrap(), []);
        assert_eq!(history.find("2").await.unwrap().as_ref(), Some(&old));
        assert_eq!(history.find(&new.id).await.unwrap(), Some(new));
        assert_eq!(history.find("3").await.unwrap(), None);
    }

    #[tokio::test]
    async fn old_takes_go_and_audio_before_text() {
        let (_folder, history) = history().await;
        let mut takes = Vec::new();
        for days in [100, 30, 2, 1, 0] {
            takes.push(add(&history, "text", days).await);
        }
        // Two files of 2,044 bytes fit.
        let limits = HistoryConfig { keep_days: 90.0, keep_audio_days: 7.0, keep_audio_bytes: 5_000 };
        history.forget_old(&limits).await.unwrap();
        assert_eq!(history.list(10).await.unwrap().len(), 4);
        let audio: Vec<bool> = takes.iter().map(|take| history.audio(&take.id).exists()).collect();
        assert_eq!(audio, [false, false, false, true, true]);
    }

    #[tokio::test]
    async fn a_take_that_is_in_work_is_not_deleted_and_one_without_a_text_waits() {
        let (_folder, history) = history().await;
        add(&history, "text", 0).await;
        let lost = Kept::begun("dictate", "");
        history.put(&lost).await.unwrap();
        let recording = Recording::create(&history.audio(&lost.id)).unwrap();
        drop(Recording::create(&history.audio("0190-unknown")).unwrap());
        let without_audio = Kept { state: Stage::Failed, ..Kept::begun("dictate", "") };
        history.put(&without_audio).await.unwrap();
        let failed = Kept { state: Stage::Failed, ..add(&history, "", 1).await };
        history.put(&failed).await.unwrap();
        let ids: Vec<String> = history.unfinished().await.unwrap().into_iter().map(|take| take.id).collect();
        assert_eq!(ids, [failed.id.clone(), lost.id.clone(), "0190-unknown".to_owned()]);
        assert_eq!(history.delete_all().await.unwrap(), 4);
        assert_eq!(history.list(9).await.unwrap().len(), 1);
        drop(recording);
        assert_eq!(history.delete_all().await.unwrap(), 1);
        assert_eq!((history.list(9).await.unwrap().len(), history.audio_ids().unwrap().len()), (0, 0));
    }
}
