//! What the manifest says of files, results and outputs.

use super::{Manifest, ManifestError, now};
use crate::app::batch::record::{FileRecord, RelativePath, Summary};
use crate::app::batch::walk::Stamp;
use crate::app::sqlite::WRITE;
use crate::pipeline::Written;
use crate::speech::Transcript;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{FromRow, Row as _};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// A file as an earlier run left it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::app::batch) struct Row {
    pub stamp: Stamp,
    /// SHA-256 of its bytes.
    pub content: Option<String>,
    /// Hash of the settings that mattered.
    pub settings: String,
    /// Which outputs were wanted.
    pub shape: String,
    /// Under which name.
    pub base: String,
    pub failed: bool,
    /// Whether the failure may pass by itself.
    pub transient: bool,
    /// Whether the command of `--then` is still to be run.
    pub pending: bool,
    pub record: FileRecord,
}

/// Rows by path.
pub(in crate::app::batch) type Known = HashMap<RelativePath, Row>;

/// An outcome that is there.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::app::batch) struct Stored {
    /// Its file, below OUT.
    pub outcome: RelativePath,
    /// Seconds of audio.
    pub seconds: f64,
    pub summary: Summary,
}

/// A file that bestbox wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app::batch) struct Owned {
    /// For which file of IN, if it was this IN's.
    pub source: Option<RelativePath>,
    /// SHA-256 of what it holds if nobody edited it: what was written last, or before that.
    pub hashes: Vec<String>,
}

/// Utterances of one recording by their first sample.
pub(in crate::app::batch) type Utterances<T> = HashMap<u64, T>;

impl FromRow<'_, SqliteRow> for Row {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let record: String = row.try_get("record")?;
        let record = serde_json::from_str(&record).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let unsigned = |name| row.try_get::<i64, _>(name).map(i64::cast_unsigned);
        Ok(Row {
            stamp: Stamp { bytes: unsigned("bytes")?, modified: row.try_get("modified")?, inode: unsigned("inode")? },
            content: row.try_get("content")?,
            settings: row.try_get("settings")?,
            shape: row.try_get("shape")?,
            base: row.try_get("base")?,
            failed: row.try_get::<String, _>("state")? == "failed",
            transient: row.try_get("transient")?,
            pending: row.try_get("pending")?,
            record,
        })
    }
}

/// Every file of `root`.
pub(super) async fn known(db: &SqlitePool, root: &str) -> Result<Known, ManifestError> {
    let rows: Vec<Row> = sqlx::query_as("SELECT * FROM files WHERE root = ?").bind(root).fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| (row.record.path.clone(), row)).collect())
}

/// Files (in full) that bestbox wrote below `out`.
pub(super) async fn outputs(db: &SqlitePool, out: &Path) -> Result<HashSet<PathBuf>, ManifestError> {
    let paths: Vec<String> = sqlx::query_scalar("SELECT path FROM outputs").fetch_all(db).await?;
    Ok(paths.into_iter().map(|path| out.join(RelativePath::from_text(path).to_path())).collect())
}

impl Manifest {
    /// Files (in full) that bestbox wrote.
    pub async fn outputs(&self) -> Result<HashSet<PathBuf>, ManifestError> {
        let out = std::fs::canonicalize(&self.out)?;
        outputs(&self.db, &out).await
    }

    /// Every file of this IN.
    pub async fn known(&self) -> Result<Known, ManifestError> {
        known(&self.db, &self.root).await
    }

    pub async fn row(&self, path: &RelativePath) -> Result<Option<Row>, ManifestError> {
        let sql = "SELECT * FROM files WHERE root = ? AND path = ?";
        Ok(sqlx::query_as(sql).bind(&self.root).bind(path.as_str()).fetch_optional(&self.db).await?)
    }

    pub async fn save(&self, row: &Row) -> Result<(), ManifestError> {
        let sql = "INSERT OR REPLACE INTO files (root, path, bytes, modified, inode, content, settings, shape, base, \
                   state, transient, pending, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(&self.root)
            .bind(row.record.path.as_str())
            .bind(row.stamp.bytes.cast_signed())
            .bind(row.stamp.modified)
            .bind(row.stamp.inode.cast_signed())
            .bind(&row.content)
            .bind(&row.settings)
            .bind(&row.shape)
            .bind(&row.base)
            .bind(if row.failed { "failed" } else { "done" })
            .bind(row.transient)
            .bind(row.pending)
            .bind(serde_json::to_string(&row.record)?)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Drops a file that is no longer there.
    pub async fn forget(&self, path: &RelativePath) -> Result<(), ManifestError> {
        let sql = "DELETE FROM files WHERE root = ? AND path = ?";
        sqlx::query(sql).bind(&self.root).bind(path.as_str()).execute(&self.db).await?;
        Ok(())
    }

    pub async fn result(&self, key: &str) -> Result<Option<Stored>, ManifestError> {
        let sql = "SELECT outcome, seconds, summary FROM results WHERE key = ?";
        let row: Option<(String, f64, String)> = sqlx::query_as(sql).bind(key).fetch_optional(&self.db).await?;
        let stored = |(outcome, seconds, summary): (String, f64, String)| {
            let summary = serde_json::from_str(&summary)?;
            Ok(Stored { outcome: RelativePath::from_text(outcome), seconds, summary })
        };
        row.map(stored).transpose()
    }

    /// Keeps an outcome's place. What was only kept to be taken up again goes.
    pub async fn save_result(&self, key: &str, stored: &Stored) -> Result<(), ManifestError> {
        let mut transaction = self.db.begin_with(WRITE).await?;
        let sql = "INSERT OR REPLACE INTO results (key, outcome, seconds, summary, made) VALUES (?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(key)
            .bind(stored.outcome.as_str())
            .bind(stored.seconds)
            .bind(serde_json::to_string(&stored.summary)?)
            .bind(now())
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM texts WHERE key = ?").bind(key).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    pub async fn output(&self, path: &RelativePath) -> Result<Option<Owned>, ManifestError> {
        let sql = "SELECT root, source, sha, previous FROM outputs WHERE path = ?";
        let row: Option<(String, String, String, Option<String>)> =
            sqlx::query_as(sql).bind(path.as_str()).fetch_optional(&self.db).await?;
        Ok(row.map(|(root, source, sha, previous)| Owned {
            source: (root == self.root).then(|| RelativePath::from_text(source)),
            hashes: std::iter::once(sha).chain(previous).collect(),
        }))
    }

    /// Notes that these paths are about to hold what hashes to this: before they do, so that they are known as ours
    /// whatever happens in between.
    pub async fn own(&self, source: &RelativePath, outputs: &[(RelativePath, String)]) -> Result<(), ManifestError> {
        // Written again with the same content it still is what was written before, so that stays known.
        let sql = "INSERT INTO outputs (path, root, source, sha) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET \
                   root = excluded.root, source = excluded.source, \
                   previous = CASE WHEN sha = excluded.sha THEN previous ELSE sha END, sha = excluded.sha";
        let mut transaction = self.db.begin_with(WRITE).await?;
        for (path, sha) in outputs {
            let query = sqlx::query(sql).bind(path.as_str()).bind(&self.root).bind(source.as_str()).bind(sha);
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    pub async fn disown(&self, path: &RelativePath) -> Result<(), ManifestError> {
        sqlx::query("DELETE FROM outputs WHERE path = ?").bind(path.as_str()).execute(&self.db).await?;
        Ok(())
    }

    /// What was recognised of a recording.
    pub async fn parts(&self, key: &str) -> Result<Utterances<Transcript>, ManifestError> {
        let sql = "SELECT sample, part FROM parts WHERE key = ?";
        self.utterances(sqlx::query_as(sql).bind(key).fetch_all(&self.db).await?)
    }

    /// The texts made of it.
    pub async fn texts(&self, key: &str) -> Result<Utterances<Written>, ManifestError> {
        let sql = "SELECT sample, written FROM texts WHERE key = ?";
        self.utterances(sqlx::query_as(sql).bind(key).fetch_all(&self.db).await?)
    }

    fn utterances<T: serde::de::DeserializeOwned>(
        &self,
        rows: Vec<(i64, String)>,
    ) -> Result<Utterances<T>, ManifestError> {
        rows.into_iter().map(|(sample, json)| Ok((sample.cast_unsigned(), serde_json::from_str(&json)?))).collect()
    }

    /// Keeps what was recognised.
    pub async fn save_part(&self, key: &str, sample: u64, part: &str) -> Result<(), ManifestError> {
        let sql = "INSERT INTO parts (key, sample, part) VALUES (?, ?, ?) \
                   ON CONFLICT DO UPDATE SET part = excluded.part, times = times + 1";
        sqlx::query(sql).bind(key).bind(sample.cast_signed()).bind(part).execute(&self.db).await?;
        Ok(())
    }

    /// Keeps the text made of it.
    pub async fn save_text(&self, key: &str, sample: u64, written: &str) -> Result<(), ManifestError> {
        let sql = "INSERT OR REPLACE INTO texts (key, sample, written) VALUES (?, ?, ?)";
        sqlx::query(sql).bind(key).bind(sample.cast_signed()).bind(written).execute(&self.db).await?;
        Ok(())
    }

    /// Forgets what was recognised and written: it is to be done again.
    pub async fn begin_anew(&self, speech: &str, full: &str) -> Result<(), ManifestError> {
        sqlx::query("DELETE FROM parts WHERE key = ?").bind(speech).execute(&self.db).await?;
        sqlx::query("DELETE FROM texts WHERE key = ?").bind(full).execute(&self.db).await?;
        Ok(())
    }
}
