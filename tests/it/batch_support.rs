//! A folder, a batch over it, and what it left behind.

use crate::support::cli::{Ran, sample};
use crate::support::llama::{Alone, alone, cache};
use bestbox::outcome::Outcome;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// IN and OUT in one temporary folder, alone on the machine's cores among these tests.
pub struct Folder {
    dir: tempfile::TempDir,
    _alone: Alone,
}

impl Folder {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("in")).expect("IN");
        Folder { dir, _alone: alone() }
    }

    pub fn input(&self) -> PathBuf {
        self.dir.path().join("in")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file in IN.
    pub fn put(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.input().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(&path, bytes).expect("a file");
        path
    }

    /// A sample of the repository in IN.
    pub fn sample(&self, sample_name: &str, name: impl AsRef<Path>) -> PathBuf {
        self.put(name, fs::read(sample(sample_name)).expect("a sample"))
    }

    /// `bestbox batch IN OUT FLAGS…` with English tiny models and no language model.
    pub fn batch<S: AsRef<OsStr>>(&self, out: &str, flags: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bestbox"));
        let flags: Vec<_> = flags.into_iter().map(|flag| flag.as_ref().to_owned()).collect();
        let has = |name: &str| flags.iter().any(|flag| flag == name);
        let defaults = [("--progress", "plain"), ("--cleanup", "verbatim"), ("--recognizers", "2")];
        command
            .args(["--profile", "tiny", "batch"])
            .args(defaults.into_iter().filter(|(name, _)| !has(name)).flat_map(|(name, value)| [name, value]))
            // One thread each: threads of one recogniser wait for each other where the machine is busy.
            .args(["--threads", "1"])
            .arg(self.input())
            .arg(self.path(out))
            .args(flags)
            .current_dir(self.dir.path())
            .env("XDG_CONFIG_HOME", self.dir.path())
            .env("BESTBOX_CACHE", cache())
            .env_remove("BESTBOX_LONG")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, out: &str, flags: &[&str]) -> Ran {
        Ran::of(self.batch(out, flags).output().expect("bestbox starts"))
    }

    pub fn spawn(&self, out: &str, flags: &[&str]) -> Child {
        self.batch(out, flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bestbox starts")
    }

    /// Every output below `out` by its path, without what changes from run to run.
    pub fn outputs(&self, out: &str) -> BTreeMap<PathBuf, String> {
        let root = self.path(out);
        let mut found = BTreeMap::new();
        collect(&root, &root, &mut found);
        found
    }

    /// One value from the manifest.
    pub fn count(&self, out: &str, sql: &'static str) -> i64 {
        let path = self.path(out).join(".bestbox/manifest.db");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let pool = sqlx::SqlitePool::connect_with(options).await.expect("a manifest");
            let count = sqlx::query_scalar(sql).fetch_one(&pool).await.expect(sql);
            pool.close().await;
            count
        })
    }
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            if name != ".bestbox" {
                collect(root, &path, found);
            }
            continue;
        }
        if name.to_string_lossy().starts_with("report.") || name.to_string_lossy().starts_with("search") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("UTF-8");
        let text = if path.extension() == Some(OsStr::new("json")) {
            let mut outcome: Outcome = serde_json::from_str(&text).expect("an outcome, whole");
            outcome.timings = Default::default();
            serde_json::to_string(&outcome).expect("JSON")
        } else {
            text
        };
        found.insert(path.strip_prefix(root).expect("below").to_owned(), text);
    }
}

/// Names of outputs below `out`.
pub fn names(outputs: &BTreeMap<PathBuf, String>) -> Vec<String> {
    outputs.keys().map(|path| path.to_string_lossy().into_owned()).collect()
}

/// A tone as WAV, 16 kHz mono 16 bit: `seed` makes the bytes differ from those of any other.
pub fn tone(seed: u32, seconds: f64) -> Vec<u8> {
    let samples: Vec<i16> = (0..(seconds * 16_000.0) as u32)
        .map(|n| ((f64::from(n) * f64::from(seed % 40 + 200) / 16_000.0 * std::f64::consts::TAU).sin() * 900.0) as i16)
        .map(|sample| sample.wrapping_add(i16::try_from(seed % 13).expect("small")))
        .collect();
    wav(&samples)
}

pub fn wav(samples: &[i16]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::new(&mut bytes, spec).expect("a WAV");
    samples.iter().for_each(|sample| writer.write_sample(*sample).expect("a sample"));
    writer.finalize().expect("a WAV");
    bytes.into_inner()
}

/// A sample's samples, with `pad` seconds of silence before them.
pub fn speech(name: &str, pad: f64) -> Vec<i16> {
    let mut reader = hound::WavReader::open(sample(name)).expect("a sample");
    assert_eq!((reader.spec().sample_rate, reader.spec().channels), (16_000, 1), "{name}");
    let silence = vec![0; (pad * 16_000.0) as usize];
    silence.into_iter().chain(reader.samples::<i16>().map(|sample| sample.expect("a sample"))).collect()
}

pub fn long() -> bool {
    std::env::var_os("BESTBOX_LONG").is_some()
}
