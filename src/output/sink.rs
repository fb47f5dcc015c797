//! Where renderings go. A file is there whole or not at all: written beside its place, synced, renamed. What several
//! recordings add to one file is appended a whole record at a time and taken back when it does not fit.

use super::{Format, RenderError, RenderSettings, render};
use crate::outcome::Outcome;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// One file. A device or a pipe is written to directly.
    File(PathBuf),
    /// A folder, made when missing: `talk.srt` for `talk.wav`.
    Dir(PathBuf),
}

impl Destination {
    /// What `-o` means: `-` is standard output; a folder, or a name that ends in a separator, is a folder.
    pub fn of_argument(path: &Path) -> Self {
        if path.as_os_str() == "-" {
            Destination::Stdout
        } else if path.is_dir() || path.as_os_str().to_string_lossy().ends_with(std::path::is_separator) {
            Destination::Dir(path.to_owned())
        } else {
            Destination::File(path.to_owned())
        }
    }
}

/// What to do with a file that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum Existing {
    /// Replace it, keeping its permissions.
    #[default]
    Overwrite,
    /// Leave it and go on.
    Keep,
    /// An error.
    Refuse,
}

/// What became of an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// On standard output.
    Printed,
    /// In this file.
    Written(PathBuf),
    /// Not written: this file was there before.
    Kept(PathBuf),
    /// Nobody reads standard output or the pipe any more (`| head`): stop without a word.
    ReaderGone,
}

/// Why an outcome could not be delivered.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The format cannot express this outcome.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Several recordings, one file, and a format that holds one.
    #[error(
        "several recordings cannot share one {format} output; give a folder with -o FOLDER/, or use jsonl, text or md"
    )]
    NotShareable {
        /// What was asked for.
        format: Format,
    },
    /// `Existing::Refuse`.
    #[error("{} exists already; remove it, or allow it to be overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The output would replace the recording.
    #[error("{} is the input itself; give another name with -o", path.display())]
    IsInput {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be written; what stood there before is untouched.
    #[error("cannot write {}: {}", path.display(), plain_reason(source))]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Standard output could not be written.
    #[error("cannot write to standard output: {}", plain_reason(source))]
    Stdout {
        /// The system's reason.
        source: io::Error,
    },
}

/// How many outcomes a sink will get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// One.
    One,
    /// Possibly more.
    Several,
}

/// Delivers outcomes in one format to one destination.
#[derive(Debug)]
pub struct Sink {
    destination: Destination,
    format: Format,
    settings: RenderSettings,
    existing: Existing,
    /// Files of this run, lower case: a second `talk` gets another name, a shared file is appended to.
    written: HashSet<String>,
    printed: bool,
    /// A device or pipe that `-o` names, open from the first outcome to the last: closing a pipe ends its reader.
    device: Option<File>,
}

impl Sink {
    /// A sink for `inputs` recordings. Fails before any work is done where the combination makes no sense: several
    /// recordings go into one text, md, terminal (a blank line between) or jsonl (a line each), not into one of the others.
    pub fn new(
        destination: Destination,
        format: Format,
        inputs: Inputs,
        settings: RenderSettings,
    ) -> Result<Self, OutputError> {
        let shared = inputs == Inputs::Several && !matches!(destination, Destination::Dir(_));
        let shareable = matches!(format, Format::Text | Format::Md | Format::Terminal | Format::Jsonl);
        if shared && !shareable {
            return Err(OutputError::NotShareable { format });
        }
        let (existing, written) = (Existing::default(), HashSet::new());
        Ok(Sink { destination, format, settings, existing, written, printed: false, device: None })
    }

    /// Sets what happens to files that were there before; they are overwritten otherwise.
    pub fn existing(mut self, existing: Existing) -> Self {
        self.existing = existing;
        self
    }

    /// Fails now where `deliver` would fail after the work is done: a place that cannot be written, a file that must
    /// not be replaced, an output that is one of `inputs`. Makes the folder of `Destination::Dir`.
    pub fn check(&self, inputs: &[PathBuf]) -> Result<(), OutputError> {
        let folder = match &self.destination {
            Destination::Stdout => return Ok(()),
            Destination::Dir(dir) => {
                fs::create_dir_all(dir).map_err(|source| OutputError::Write { path: dir.clone(), source })?;
                dir.clone()
            }
            Destination::File(path) => {
                let fail = |source| OutputError::Write { path: path.clone(), source };
                if inputs.iter().any(|input| is_same_file(path, input)) {
                    return Err(OutputError::IsInput { path: path.clone() });
                }
                match fs::metadata(path) {
                    Ok(found) if found.is_dir() => return Err(fail(ErrorKind::IsADirectory.into())),
                    // Opening a pipe would wait for its reader, and closing it again would tell that reader to go.
                    Ok(found) if !found.is_file() => return Ok(()),
                    Ok(_) if self.existing == Existing::Refuse => {
                        return Err(OutputError::Exists { path: path.clone() });
                    }
                    Ok(_) if self.existing == Existing::Keep => return Ok(()),
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(fail(error)),
                    _ => {}
                }
                folder_of(&fs::canonicalize(path).unwrap_or_else(|_| path.clone())).to_owned()
            }
        };
        let path = match &self.destination {
            Destination::File(path) => path.clone(),
            _ => folder.clone(),
        };
        temporary(&folder).map(|_| ()).map_err(|source| OutputError::Write { path, source })
    }

    /// Renders and delivers one outcome. Blocks on the disk (two syncs).
    pub fn deliver(&mut self, outcome: &Outcome) -> Result<Delivered, OutputError> {
        let text = render(outcome, self.format, &self.settings)?;
        match self.destination.clone() {
            Destination::Stdout => self.print(&text),
            Destination::File(path) => self.write(&path, &text, outcome),
            Destination::Dir(dir) => {
                fs::create_dir_all(&dir).map_err(|source| OutputError::Write { path: dir.clone(), source })?;
                let path = self.name_in(&dir, &outcome.source.name);
                self.write(&path, &text, outcome)
            }
        }
    }

    fn print(&mut self, text: &str) -> Result<Delivered, OutputError> {
        let mut out = io::stdout().lock();
        let between = self.separator(self.printed && !text.is_empty());
        let result = out.write_all(between.as_bytes()).and_then(|()| out.write_all(text.as_bytes()));
        self.printed |= !text.is_empty();
        match result.and_then(|()| out.flush()) {
            Ok(()) => Ok(Delivered::Printed),
            Err(source) if source.kind() == ErrorKind::BrokenPipe => Ok(Delivered::ReaderGone),
            Err(source) => Err(OutputError::Stdout { source }),
        }
    }

    fn separator(&self, needed: bool) -> &'static str {
        if needed && self.format != Format::Jsonl { "\n" } else { "" }
    }

    fn write(&mut self, path: &Path, text: &str, outcome: &Outcome) -> Result<Delivered, OutputError> {
        let fail = |source| OutputError::Write { path: path.to_owned(), source };
        if self.written.contains(&key(path)) {
            let between = self.separator(!text.is_empty());
            append(path, &format!("{between}{text}")).map_err(fail)?;
            return Ok(Delivered::Written(path.to_owned()));
        }
        let found = fs::metadata(path).ok();
        if found.as_ref().is_some_and(|m| !m.is_file() && !m.is_dir()) {
            return self.write_device(path, text);
        }
        if found.is_some() {
            if is_same_file(path, Path::new(&outcome.source.name)) {
                return Err(OutputError::IsInput { path: path.to_owned() });
            }
            match self.existing {
                Existing::Overwrite => {}
                Existing::Keep => return Ok(Delivered::Kept(path.to_owned())),
                Existing::Refuse => return Err(OutputError::Exists { path: path.to_owned() }),
            }
        }
        replace(path, text, found.map(|m| m.permissions())).map_err(fail)?;
        self.written.insert(key(path));
        Ok(Delivered::Written(path.to_owned()))
    }

    /// A device or a named pipe: there is nothing to rename.
    fn write_device(&mut self, path: &Path, text: &str) -> Result<Delivered, OutputError> {
        let fail = |source| OutputError::Write { path: path.to_owned(), source };
        let between = self.separator(self.printed && !text.is_empty());
        self.printed |= !text.is_empty();
        let mut device = match self.device.take() {
            Some(device) => device,
            None => OpenOptions::new().write(true).open(path).map_err(fail)?,
        };
        let result = device.write_all(format!("{between}{text}").as_bytes());
        self.device = Some(device);
        match result {
            Ok(()) => Ok(Delivered::Written(path.to_owned())),
            Err(source) if source.kind() == ErrorKind::BrokenPipe => Ok(Delivered::ReaderGone),
            Err(source) => Err(fail(source)),
        }
    }

    /// `talk.srt` for `talk.wav`; `talk.mp3.srt` where this run has written a `talk.srt` or where that is the input,
    /// then `talk.mp3-2.srt` and so on.
    fn name_in(&self, dir: &Path, source: &str) -> PathBuf {
        let extension = self.format.extension();
        let (stem, full) = names(source);
        let numbered = (2..).map(|n| format!("{full}-{n}.{extension}"));
        [format!("{stem}.{extension}"), format!("{full}.{extension}")]
            .into_iter()
            .chain(numbered)
            .map(|name| dir.join(name))
            .find(|path| !self.written.contains(&key(path)) && !is_same_file(path, Path::new(source)))
            .unwrap_or_else(|| dir.join(full))
    }
}

/// Stem and full name of an input, fit to be file names anywhere: no separators, no control characters, short.
fn names(source: &str) -> (String, String) {
    let name = source.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe: String = name.chars().map(|c| if c.is_control() || ":*?\"<>|".contains(c) { '_' } else { c }).collect();
    let full = match safe.as_str() {
        "" | "-" | "." | ".." => "standard-input".to_owned(),
        _ => safe,
    };
    let stem = Path::new(&full).file_stem().map_or_else(|| full.clone(), |s| s.to_string_lossy().into_owned());
    (shortened(&stem), shortened(&full))
}

/// File systems end at 255 bytes; this leaves room for a number, an extension and the temporary file's name.
fn shortened(name: &str) -> String {
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 200).last();
    name[..end.unwrap_or(0)].to_owned()
}

/// Case-insensitive, as file systems on Windows and macOS are.
fn key(path: &Path) -> String {
    path.to_string_lossy().to_lowercase()
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Writes a file that is there whole or not at all; one that was there keeps its permissions.
///
/// # Errors
/// The path, and why it cannot be written.
pub fn write_whole(path: &Path, text: &str) -> Result<(), OutputError> {
    let permissions = fs::metadata(path).ok().map(|found| found.permissions());
    replace(path, text, permissions).map_err(|source| OutputError::Write { path: path.to_owned(), source })
}

/// Puts `text` in the place of `path` in one step.
fn replace(path: &Path, text: &str, permissions: Option<fs::Permissions>) -> io::Result<()> {
    // Through a symbolic link, so that the link stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if target.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let folder = folder_of(&target);
    let mut file = temporary(folder)?;
    file.write_all(text.as_bytes())?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|e| e.error)?;
    sync_folder(folder);
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file without its name yet; gone when dropped.
pub(crate) fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bestbox-").suffix(".part");
    #[cfg(unix)]
    let shareable = {
        use std::os::unix::fs::PermissionsExt;
        // As any new file would be: the process's umask takes its part off. (Temporary files are private otherwise.)
        fs::Permissions::from_mode(0o666)
    };
    #[cfg(unix)]
    builder.permissions(shareable);
    builder.tempfile_in(folder)
}

/// A rename lasts once its folder is on the disk. Where folders cannot be synced (some network file systems), the
/// file itself is safe and the rename merely later.
pub(crate) fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    #[cfg(not(unix))]
    let _ = folder;
}

/// Adds a whole record or nothing.
fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    let before = file.metadata()?.len();
    let result = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if result.is_err() {
        file.set_len(before)?;
    }
    result
}

/// The system's reason as a person would say it, and what to do.
fn plain_reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull => "the disk is full; free some space or choose another place".into(),
        ErrorKind::QuotaExceeded => {
            "your quota on that disk is used up; free some space or choose another place".into()
        }
        ErrorKind::FileTooLarge => "the file would be larger than allowed there".into(),
        ErrorKind::PermissionDenied => "you have no permission to write there; choose another place".into(),
        ErrorKind::ReadOnlyFilesystem => "that disk is read-only; choose another place".into(),
        ErrorKind::NotFound => "its folder does not exist; create it first".into(),
        ErrorKind::NotADirectory => "part of its path is a file, not a folder".into(),
        ErrorKind::IsADirectory => "it is a folder; give a file name, or end it with '/'".into(),
        ErrorKind::AlreadyExists => "a file of that name stands where a folder is needed".into(),
        ErrorKind::InvalidFilename => "the name is too long or not allowed there".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn sink(destination: Destination, format: Format, inputs: Inputs) -> Sink {
        Sink::new(destination, format, inputs, RenderSettings::default()).unwrap()
    }

    fn named(name: &str, text: &str) -> Outcome {
        let mut outcome = samples::spoken(&[(0.0, 1.0, text)], 2.0);
        outcome.source.name = name.into();
        outcome
    }

    fn listing(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_gets_one_file_a_recording_whatever_the_names() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("new/folder");
        let mut sink = sink(Destination::Dir(out.clone()), Format::Srt, Inputs::Several);
        for name in ["a/talk.wav", "b/talk.mp3", "c/Talk.mp3", "-", "../..", "x/../evil:?.ogg", &"ä".repeat(300)] {
            sink.deliver(&named(name, "Hi.")).unwrap();
        }
        let names = listing(&out);
        assert_eq!(names.len(), 7, "{names:?}");
        for name in ["talk.srt", "talk.mp3.srt", "Talk.mp3-2.srt", "standard-input.srt", "evil__.srt"] {
            assert!(names.iter().any(|n| n == name), "{name} is missing from {names:?}");
        }
        assert_eq!(listing(dir.path()), ["new"], "nothing is written outside of the folder");
    }

    #[test]
    fn several_recordings_share_a_text_or_jsonl_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all.jsonl");
        fs::write(&path, "old").unwrap();
        let mut lines = sink(Destination::File(path.clone()), Format::Jsonl, Inputs::Several);
        for name in ["a.wav", "b.wav", "c.wav"] {
            assert_eq!(lines.deliver(&named(name, "Hi.")).unwrap(), Delivered::Written(path.clone()));
        }
        let written = fs::read_to_string(&path).unwrap();
        let read: Vec<Outcome> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read.iter().map(|o| o.source.name.as_str()).collect::<Vec<_>>(), ["a.wav", "b.wav", "c.wav"]);

        let path = dir.path().join("all.txt");
        let mut texts = sink(Destination::File(path.clone()), Format::Text, Inputs::Several);
        texts.deliver(&named("a.wav", "One.")).unwrap();
        texts.deliver(&named("b.wav", "Two.")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "One.\n\nTwo.\n");

        for format in [Format::Json, Format::Srt, Format::Vtt, Format::Tsv, Format::Csv, Format::Lrc] {
            let error = Sink::new(Destination::Stdout, format, Inputs::Several, RenderSettings::default()).unwrap_err();
            assert!(error.to_string().contains("give a folder"), "{error}");
        }
    }

    #[test]
    fn files_that_were_there_are_treated_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("talk.txt");
        let file = || sink(Destination::File(path.clone()), Format::Text, Inputs::One);
        fs::write(&path, "old").unwrap();
        let outcome = named("talk.wav", "New.");
        let kept = file().existing(Existing::Keep).deliver(&outcome).unwrap();
        assert_eq!((kept, fs::read_to_string(&path).unwrap().as_str()), (Delivered::Kept(path.clone()), "old"));
        let refused = file().existing(Existing::Refuse).deliver(&outcome).unwrap_err();
        assert!(refused.to_string().contains("exists already"), "{refused}");
        file().deliver(&outcome).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "New.\n");
        assert_eq!(listing(dir.path()), ["talk.txt"], "no temporary file is left");
    }

    #[test]
    fn the_input_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("notes.txt");
        fs::write(&input, "dear diary").unwrap();
        let outcome = named(input.to_str().unwrap(), "Dear diary.");
        let error = sink(Destination::File(input.clone()), Format::Text, Inputs::One).deliver(&outcome).unwrap_err();
        assert!(matches!(error, OutputError::IsInput { .. }), "{error}");
        sink(Destination::Dir(dir.path().into()), Format::Text, Inputs::One).deliver(&outcome).unwrap();
        assert_eq!(fs::read_to_string(&input).unwrap(), "dear diary");
        assert_eq!(listing(dir.path()), ["notes.txt", "notes.txt.txt"]);
    }

    #[test]
    fn places_that_cannot_be_written_are_named_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let to = |path: PathBuf| sink(Destination::File(path), Format::Text, Inputs::One).deliver(&named("a", "Hi."));
        let said = |path: &str| to(dir.path().join(path)).unwrap_err().to_string();
        assert!(said("missing/a.txt").contains("folder does not exist"), "{}", said("missing/a.txt"));
        assert!(said("file/a.txt").contains("not a folder"), "{}", said("file/a.txt"));
        assert!(to(dir.path().into()).unwrap_err().to_string().contains("it is a folder"));
        assert!(said(&"n".repeat(400)).contains("name is too long"), "{}", said(&"n".repeat(400)));
    }

    #[test]
    fn what_would_fail_after_the_work_fails_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("there.txt");
        fs::write(&there, "old").unwrap();
        let check = |path: &Path, existing, inputs: &[PathBuf]| {
            sink(Destination::File(path.to_owned()), Format::Text, Inputs::One).existing(existing).check(inputs)
        };
        let says = |result: Result<(), OutputError>| result.unwrap_err().to_string();
        assert!(says(check(&dir.path().join("no/a.txt"), Existing::Overwrite, &[])).contains("folder does not exist"));
        assert!(says(check(dir.path(), Existing::Overwrite, &[])).contains("it is a folder"));
        assert!(says(check(&there, Existing::Refuse, &[])).contains("exists already"));
        assert!(says(check(&there, Existing::Overwrite, std::slice::from_ref(&there))).contains("is the input itself"));
        assert!(check(&there, Existing::Overwrite, &[]).is_ok() && check(&there, Existing::Keep, &[]).is_ok());
        assert!(
            says(sink(Destination::Dir(there.join("x")), Format::Srt, Inputs::One).check(&[])).contains("not a folder")
        );
        assert_eq!(listing(dir.path()), ["there.txt"], "a check leaves nothing behind");
        assert_eq!(fs::read_to_string(&there).unwrap(), "old");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_are_written_directly_and_a_full_one_is_an_error() {
        let to =
            |path: &str| sink(Destination::File(path.into()), Format::Text, Inputs::One).deliver(&named("a", "Hi."));
        assert_eq!(to("/dev/null").unwrap(), Delivered::Written("/dev/null".into()));
        assert!(to("/dev/full").unwrap_err().to_string().contains("the disk is full"));
        assert!(Path::new("/dev/null").exists() && !Path::new("/dev/null").is_file());
    }

    #[cfg(unix)]
    #[test]
    fn a_named_pipe_gets_every_recording_in_one_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let reader = std::thread::spawn({
            let path = path.clone();
            move || fs::read_to_string(path).unwrap()
        });
        let mut pipe = sink(Destination::File(path), Format::Text, Inputs::Several);
        pipe.check(&[]).unwrap();
        pipe.deliver(&named("a.wav", "One.")).unwrap();
        pipe.deliver(&named("b.wav", "Two.")).unwrap();
        drop(pipe);
        assert_eq!(reader.join().unwrap(), "One.\n\nTwo.\n");
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_permissions_stay() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.txt"), dir.path().join("link.txt"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        sink(Destination::File(link.clone()), Format::Text, Inputs::One).deliver(&named("a", "Hi.")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "Hi.\n");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
