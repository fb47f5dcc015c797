//! Several processes in one folder: each holds a lock that the system takes back when it ends, however it ends, and
//! claims what it works on. A claim of a process that has died is anybody's.

use super::{ManifestError, now};
use crate::app::sqlite::WRITE;
use sqlx::sqlite::SqlitePool;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Seconds without a sign of life after which a process on another host counts as dead. Locks of other hosts are not
/// seen on every network file system, and clocks differ.
const SILENCE: i64 = 180;

/// What came of asking for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app::batch) enum Claim {
    /// It is this process's now.
    Mine,
    /// This process has it already.
    Already,
    /// Another process has it.
    Elsewhere,
}

/// This process in the folder.
pub(super) struct Owner {
    id: String,
    host: String,
    own: PathBuf,
    scratch: PathBuf,
    /// Held while the process lives.
    lock: File,
}

impl Owner {
    pub async fn register(db: &SqlitePool, own: &Path) -> Result<Self, ManifestError> {
        let run = own.join("run");
        let id = uuid::Uuid::now_v7().simple().to_string();
        let scratch = own.join("tmp").join(&id);
        fs::create_dir_all(&run)?;
        // Locked before it has its name: nobody sees it unlocked and takes its process for dead.
        let unnamed = run.join(format!("{id}.new"));
        let lock = File::create(&unnamed)?;
        lock.lock()?;
        fs::rename(&unnamed, run.join(format!("{id}.lock")))?;
        let owner = Owner { id, host: host(), own: own.to_owned(), scratch, lock };
        let entered = owner.enter(db).await;
        // Nobody else would know whose these are.
        entered.inspect_err(|_| owner.clear(&owner.id))?;
        owner.bury(db).await?;
        Ok(owner)
    }

    async fn enter(&self, db: &SqlitePool) -> Result<(), ManifestError> {
        fs::create_dir_all(&self.scratch)?;
        let sql = "INSERT INTO owners (id, host, beat) VALUES (?, ?, ?)";
        sqlx::query(sql).bind(&self.id).bind(&self.host).bind(now()).execute(db).await?;
        Ok(())
    }

    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The lock's file still stands where it was made.
    pub fn is_there(&self) -> bool {
        let file = fs::metadata(self.lock_of(&self.id));
        match (file, self.lock.metadata()) {
            (Ok(named), Ok(held)) => same_file(&named, &held),
            _ => false,
        }
    }

    pub async fn beat(&self, db: &SqlitePool) -> Result<(), ManifestError> {
        sqlx::query("UPDATE owners SET beat = ? WHERE id = ?").bind(now()).bind(&self.id).execute(db).await?;
        Ok(())
    }

    pub async fn claim(&self, db: &SqlitePool, key: &str) -> Result<Claim, ManifestError> {
        let mut transaction = db.begin_with(WRITE).await?;
        let sql = "SELECT owner FROM claims WHERE key = ?";
        let holder: Option<String> = sqlx::query_scalar(sql).bind(key).fetch_optional(&mut *transaction).await?;
        if let Some(holder) = holder {
            if holder == self.id {
                return Ok(Claim::Already);
            }
            let sql = "SELECT host, beat FROM owners WHERE id = ?";
            let row: Option<(String, i64)> =
                sqlx::query_as(sql).bind(&holder).fetch_optional(&mut *transaction).await?;
            if row.is_some_and(|(host, beat)| self.lives(&holder, &host, beat)) {
                return Ok(Claim::Elsewhere);
            }
        }
        let sql = "INSERT INTO claims (key, owner) VALUES (?, ?) ON CONFLICT DO UPDATE SET owner = excluded.owner";
        sqlx::query(sql).bind(key).bind(&self.id).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Claim::Mine)
    }

    pub async fn release(&self, db: &SqlitePool, key: &str) -> Result<(), ManifestError> {
        let sql = "DELETE FROM claims WHERE key = ? AND owner = ?";
        sqlx::query(sql).bind(key).bind(&self.id).execute(db).await?;
        Ok(())
    }

    pub async fn leave(&self, db: &SqlitePool) -> Result<(), ManifestError> {
        forget(db, &self.id).await?;
        self.clear(&self.id);
        Ok(())
    }

    fn lives(&self, id: &str, host: &str, beat: i64) -> bool {
        if host != self.host {
            return now() - beat < SILENCE;
        }
        match File::open(self.lock_of(id)).map(|file| file.try_lock()) {
            Ok(Ok(())) => false,
            Ok(Err(TryLockError::WouldBlock)) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // No locks on this file system: the sign of life has to do.
            _ => now() - beat < SILENCE,
        }
    }

    /// Takes away what dead processes left: claims, temporary files, locks.
    async fn bury(&self, db: &SqlitePool) -> Result<(), ManifestError> {
        let owners: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT id, host, beat FROM owners WHERE id <> ?").bind(&self.id).fetch_all(db).await?;
        for (id, _, _) in owners.iter().filter(|(id, host, beat)| !self.lives(id, host, *beat)) {
            forget(db, id).await?;
            self.clear(id);
        }
        Ok(())
    }

    fn clear(&self, id: &str) {
        // What cannot be removed now is tried again by the next run.
        let _ = fs::remove_dir_all(self.own.join("tmp").join(id));
        let _ = fs::remove_file(self.lock_of(id));
    }

    fn lock_of(&self, id: &str) -> PathBuf {
        self.own.join("run").join(format!("{id}.lock"))
    }
}

async fn forget(db: &SqlitePool, id: &str) -> Result<(), ManifestError> {
    let mut transaction = db.begin_with(WRITE).await?;
    sqlx::query("DELETE FROM claims WHERE owner = ?").bind(id).execute(&mut *transaction).await?;
    sqlx::query("DELETE FROM owners WHERE id = ?").bind(id).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

#[cfg(unix)]
fn host() -> String {
    nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned())
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

#[cfg(unix)]
fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}
