//! Long recordings, and the jobs made of them, as a client with curl sees them.

use super::serve::Served;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// An answer of the service.
pub struct Answer {
    pub status: u16,
    /// Head of the last response, lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The answer, when it has this status.
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text());
        self
    }
}

/// One request with curl; at most four minutes (two cores that others use too).
pub fn curl(args: &[&str]) -> Answer {
    let folder = tempfile::tempdir().expect("a folder");
    let (head, body) = (folder.path().join("head"), folder.path().join("body"));
    let output = Command::new("curl")
        .args(["-sS", "-m", "240", "-w", "%{http_code}", "-D"])
        .arg(&head)
        .arg("-o")
        .arg(&body)
        .args(args)
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "curl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let status = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a status");
    let heads = std::fs::read_to_string(head).unwrap_or_default().to_lowercase();
    let last = heads.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default().to_owned();
    Answer { status, head: last, body: std::fs::read(body).unwrap_or_default() }
}

/// Speech of at least `seconds`: LibriVox readings one after the other.
pub fn recording(folder: &Path, seconds: u32) -> PathBuf {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/librivox");
    let mut all = Vec::new();
    for name in ["0870", "0880", "0890", "0920", "0930"] {
        let reader = hound::WavReader::open(samples.join(format!("{name}.wav"))).expect("a sample");
        assert_eq!((reader.spec().sample_rate, reader.spec().channels), (16_000, 1));
        all.extend(reader.into_samples::<i16>().map(|sample| sample.expect("a sample")));
    }
    let path = folder.join(format!("talk {seconds}.wav"));
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&path, spec).expect("a file");
    for sample in all.iter().cycle().take(seconds as usize * 16_000) {
        writer.write_sample(*sample).expect("room");
    }
    writer.finalize().expect("room");
    path
}

impl Served {
    /// A request to a path of this service.
    pub fn get(&self, path: &str) -> Answer {
        curl(&[&format!("{}{path}", self.url)])
    }

    pub fn delete(&self, path: &str) -> Answer {
        curl(&["-X", "DELETE", &format!("{}{path}", self.url)])
    }

    /// Sends a recording with more of curl's arguments.
    pub fn post_job(&self, file: &Path, more: &[&str]) -> Answer {
        let file = format!("file=@{}", file.display());
        let url = format!("{}/v1/jobs", self.url);
        let mut args = vec!["-F", &file, "-F", "route=text", "-F", "cleanup=verbatim"];
        args.extend(more);
        args.push(&url);
        curl(&args)
    }

    /// The id of a new job.
    pub fn new_job(&self, file: &Path) -> String {
        let job = self.post_job(file, &[]).expect(202).json();
        job["id"].as_str().expect("an id").to_owned()
    }

    pub fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).expect(200).json()
    }

    /// The job, once `ready` says so.
    pub fn job_when(&self, id: &str, ready: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let job = self.job(id);
            if ready(&job) {
                return job;
            }
            assert!(begun.elapsed() < Duration::from_secs(240), "{job}\n{}", self.log.lock().expect("log"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The job when nothing more happens to it.
    pub fn job_over(&self, id: &str) -> Value {
        self.job_when(id, |job| !matches!(job["status"].as_str(), Some("queued" | "running")))
    }

    /// Its outcome, without what differs from run to run.
    pub fn outcome(&self, id: &str) -> Value {
        let mut outcome = self.get(&format!("/v1/jobs/{id}/result")).expect(200).json();
        outcome["timings"] = Value::Null;
        outcome
    }
}

/// Events of a stream: number, name and data.
pub fn events(text: &str) -> Vec<(u64, String, Value)> {
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    let one = |block: &str| {
        let data = serde_json::from_str(&field(block, "data:")?).expect("JSON");
        Some((field(block, "id:")?.parse().expect("a number"), field(block, "event:")?, data))
    };
    text.split("\n\n").filter_map(one).collect()
}
