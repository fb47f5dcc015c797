//! `--then`: a command for each finished file, without a shell.

use super::record::{FileRecord, Hook};
use crate::error::Error;
use crate::output::Format;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio_util::sync::CancellationToken;

/// What is kept of a command's standard error, bytes.
const MAX_STDERR: u64 = 64 << 10;

/// How long a command that has ended is listened to.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A command and how long it may take.
pub(super) struct Then {
    words: Vec<String>,
    limit: Duration,
}

/// What the placeholders stand for.
pub(super) struct About<'a> {
    /// The recording, in full.
    pub file: &'a Path,
    pub out: &'a Path,
    pub record: &'a FileRecord,
}

impl Then {
    /// # Errors
    /// A command line with an open quote, an unknown placeholder, or nothing in it; a time limit that is none.
    pub fn parse(line: &str, seconds: f64) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Usage(format!("--then '{line}': {why}"));
        let words = shlex::split(line).ok_or_else(|| wrong("a quote is not closed"))?;
        if words.is_empty() {
            return Err(wrong("name a program"));
        }
        let limit = Duration::try_from_secs_f64(seconds).ok().filter(|limit| !limit.is_zero());
        let limit = limit.ok_or_else(|| Error::Usage(format!("--then-timeout {seconds}: give seconds above 0")))?;
        Ok(Then { words, limit })
    }

    /// Runs it to its end; what went wrong is in the result.
    pub async fn run(&self, about: About<'_>, cancel: &CancellationToken) -> Hook {
        let mut words = self.words.iter().map(|word| about.fill(word));
        let Some(program) = words.next() else { return problem(None, "there is no command") };
        let mut command = Command::new(&program);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .envs(about.environment())
            .kill_on_drop(true);
        // Ends with everything it started; and Ctrl-C is this process's business.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return problem(None, format!("{} does not start: {error}", program.display())),
        };
        let listening = child.stderr.take().map(|stderr| tokio::spawn(listen(stderr)));
        let work = child.wait();
        let ended = tokio::select! {
            ended = tokio::time::timeout(self.limit, work) => ended,
            () = cancel.cancelled() => {
                end(&mut child).await;
                return problem(None, "interrupted");
            }
        };
        match ended {
            Err(_) => {
                end(&mut child).await;
                problem(None, format!("took longer than {} s and was ended", self.limit.as_secs_f64()))
            }
            Ok(Err(error)) => problem(None, error.to_string()),
            Ok(Ok(status)) if status.success() => Hook { code: Some(0), problem: None },
            Ok(Ok(status)) => {
                // What it left running in the background may hold the pipe for ever.
                let said = match listening {
                    Some(said) => tokio::time::timeout(LAST_WORDS, said).await.ok().and_then(Result::ok),
                    None => None,
                };
                let said = said.unwrap_or_default();
                let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
                problem(status.code(), last.map_or_else(|| status.to_string(), |line| format!("{status}: {line}")))
            }
        }
    }
}

/// What it says, as much as is kept; the rest is taken from it so that it does not stop at a full pipe.
async fn listen(mut stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    // A command that cannot be listened to still has its exit code.
    let _ = (&mut stderr).take(MAX_STDERR).read_to_end(&mut said).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&said).into_owned()
}

fn problem(code: Option<i32>, why: impl Into<String>) -> Hook {
    Hook { code, problem: Some(why.into()) }
}

async fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // Its group: an error means that it is gone already.
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.kill().await;
}

impl About<'_> {
    /// `{}` is the recording, `{json}`, `{srt}` and so on what was written, `{outcome}` the stored outcome, `{out}` OUT.
    /// What was not written is an empty word; other braces stay as they are.
    fn fill(&self, word: &str) -> OsString {
        let mut filled = OsString::new();
        let mut rest = word;
        while let Some(at) = rest.find('{') {
            filled.push(&rest[..at]);
            let placeholder = rest[at + 1..].find('}').map(|end| &rest[at + 1..at + 1 + end]);
            match placeholder.and_then(|name| Some((name, self.value(name)?))) {
                Some((name, value)) => {
                    filled.push(value);
                    rest = &rest[at + name.len() + 2..];
                }
                None => {
                    filled.push("{");
                    rest = &rest[at + 1..];
                }
            }
        }
        filled.push(rest);
        filled
    }

    fn value(&self, name: &str) -> Option<OsString> {
        let of = |path: &super::record::RelativePath| self.out.join(path.to_path()).into_os_string();
        match name {
            "" => Some(self.file.as_os_str().to_owned()),
            "out" => Some(self.out.as_os_str().to_owned()),
            "outcome" => Some(self.record.outcome.as_ref().map(of).unwrap_or_default()),
            name => {
                let format: Format = name.parse().ok()?;
                let output = self.record.outputs.iter().find(|output| output.format == format);
                Some(output.map(|output| of(&output.path)).unwrap_or_default())
            }
        }
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let summary = self.record.summary.as_ref();
        let language = summary.and_then(|summary| summary.language).map(|lang| lang.code());
        let intent = summary.and_then(|summary| summary.intent.as_ref()).map(|intent| intent.label.as_str());
        vec![
            ("BESTBOX_FILE", self.file.into()),
            ("BESTBOX_NAME", self.record.path.as_str().into()),
            ("BESTBOX_OUT", self.out.into()),
            ("BESTBOX_OUTCOME", self.value("outcome").unwrap_or_default()),
            ("BESTBOX_SECONDS", self.record.seconds.to_string().into()),
            ("BESTBOX_LANGUAGE", language.unwrap_or_default().into()),
            ("BESTBOX_INTENT", intent.unwrap_or_default().into()),
        ]
    }
}
