//! What there is below IN: recordings and transcripts in a stable order, whatever they are called.
//!
//! Links to folders are followed, and no folder is visited twice by whatever names, so loops end. What bestbox itself
//! wrote is never taken up: not OUT, not the outputs of this or of another batch, no report.

use super::record::{Failure, Kind, Reason, RelativePath};
use crate::audio;
use crate::cli::{SelectArgs, TakeUp};
use crate::error::Error;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::Read;
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// Extensions of recordings: every container and codec that is decoded here or by ffmpeg.
const AUDIO: &[&str] = &[
    "wav", "wave", "bwf", "rf64", "w64", "aif", "aiff", "aifc", "caf", "flac", "ogg", "oga", "ogv", "opus", "spx",
    "mp1", "mp2", "mp3", "mpga", "m4a", "m4b", "m4r", "m4v", "mp4", "mov", "qt", "3gp", "3g2", "aac", "adts", "loas",
    "mka", "mkv", "webm", "weba", "mpeg", "mpg", "vob", "m2ts", "mts", "asf", "wma", "wmv", "amr", "awb", "ac3",
    "eac3", "dts", "flv", "f4v", "f4a", "au", "snd", "avi", "wv", "ape", "tta", "rm", "ra", "rmvb", "dsf", "dff",
    "mpc", "mxf", "sph",
];

/// Extensions that recordings share with something else: only with the right first bytes.
const PERHAPS_AUDIO: &[&str] = &["ts", "dat", "raw", "bin"];

/// Extensions of transcripts.
const TRANSCRIPTS: &[&str] = &["txt", "srt", "vtt", "json", "jsonl"];

/// Ends of names that downloads and editors give to what is not finished.
const PARTIAL: &[&str] =
    &["part", "partial", "crdownload", "tmp", "temp", "download", "opdownload", "filepart", "aria2", "!ut", "swp"];

/// Files that every run writes into OUT.
pub(super) const REPORT_FILES: &[&str] = &["report.html", "report.json", "search.html", "search-index.js"];

/// The folder in OUT that belongs to bestbox alone.
pub(super) const OWN_FOLDER: &str = ".bestbox";

/// What is walked, and what is left out.
pub(super) struct Selection {
    /// Canonical folder; every path below is relative to it.
    pub root: PathBuf,
    /// The one file, where IN is a file.
    pub only: Option<OsString>,
    out: PathBuf,
    include: Option<GlobSet>,
    exclude: GlobSet,
    recursive: bool,
    any_extension: bool,
    take_up: TakeUp,
}

/// A file to work on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// Below the root.
    pub path: RelativePath,
    /// In full.
    pub file: PathBuf,
    pub kind: Kind,
    pub stamp: Stamp,
    /// What is plainly wrong with it; it is not even opened then.
    pub problem: Option<Failure>,
    /// Left out by `--include` or `--exclude`: known, so that the others' names do not depend on it, and not worked on.
    pub filtered: bool,
}

/// What tells that a file is still the same, without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub bytes: u64,
    /// Nanoseconds since 1970.
    pub modified: i64,
    /// Inode, where there are such.
    pub inode: u64,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// In the order of their names.
    pub files: Vec<Found>,
    /// Transcripts left alone because a recording of the same name stands beside them.
    pub beside: usize,
    /// Files that are still being written by somebody.
    pub partial: usize,
    /// Folders that a batch was told to write into: what it wrote there is no input.
    pub batches: Vec<PathBuf>,
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        let modified = modified.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0);
        Stamp { bytes: metadata.len(), modified, inode }
    }
}

impl Selection {
    /// `input`: a folder, or one file. `out` may not be there yet.
    ///
    /// # Errors
    /// IN cannot be read, or a glob is none.
    pub fn new(input: &Path, out: &Path, args: &SelectArgs) -> Result<Self, Error> {
        let read = |source| Error::Read { path: input.to_owned(), source };
        let metadata = std::fs::metadata(input).map_err(read)?;
        let (folder, only) = if metadata.is_dir() {
            (input.to_owned(), None)
        } else {
            let folder = input.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (folder.to_owned(), input.file_name().map(OsStr::to_owned))
        };
        let root = std::fs::canonicalize(&folder).map_err(read)?;
        std::fs::read_dir(&root).map_err(read)?;
        let out = real(out);
        Ok(Selection {
            root,
            only,
            out,
            include: if args.include.is_empty() { None } else { Some(globs("--include", &args.include)?) },
            exclude: globs("--exclude", &args.exclude)?,
            recursive: !args.no_recursive,
            any_extension: args.all,
            take_up: args.inputs,
        })
    }

    /// Every file below the root. `ours` says whether bestbox wrote a file (its full path).
    ///
    /// # Errors
    /// The root itself cannot be read. What lies below and cannot be read is in the result with its reason.
    pub fn walk(&self, ours: &dyn Fn(&Path) -> bool) -> Result<Walked, Error> {
        let read = |source| Error::Read { path: self.root.clone(), source };
        std::fs::read_dir(&self.root).map_err(read)?;
        let mut walked = Walked::default();
        let mut visited = HashSet::new();
        let depth = if self.recursive && self.only.is_none() { usize::MAX } else { 1 };
        let walk = WalkDir::new(&self.root).follow_links(true).max_depth(depth).sort_by_file_name();
        let mut entries = walk.into_iter();
        // Names in each folder, to know what stands beside what.
        let mut names: HashMap<PathBuf, HashSet<OsString>> = HashMap::new();
        let mut seen = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    walked.files.extend(self.unreadable(&error));
                    continue;
                }
            };
            if entry.file_type().is_dir() {
                let own = entry.path().join(OWN_FOLDER);
                if own.is_dir() && entry.path() != self.out {
                    walked.batches.push(entry.path().to_owned());
                }
                if entry.depth() > 0 && !self.enters(&entry, &mut visited) {
                    entries.skip_current_dir();
                }
                continue;
            }
            let folder = entry.path().parent().unwrap_or(&self.root).to_owned();
            names.entry(folder).or_default().insert(entry.file_name().to_owned());
            seen.push((entry.path().to_owned(), entry.metadata().ok()));
        }
        let nothing = HashSet::new();
        for (path, metadata) in seen {
            let siblings = path.parent().and_then(|folder| names.get(folder)).unwrap_or(&nothing);
            self.consider(path, metadata.as_ref(), siblings, ours, &mut walked);
        }
        walked.files.sort_by_cached_key(|found| found.path.to_path());
        Ok(walked)
    }

    /// Whether a folder below the root is walked.
    fn enters(&self, entry: &DirEntry, visited: &mut HashSet<PathBuf>) -> bool {
        let Ok(real) = std::fs::canonicalize(entry.path()) else { return true };
        let by_link = entry.path_is_symlink();
        let wanted = !hidden(entry.file_name()) && !self.excluded(&self.relative(entry.path()));
        // A folder of the tree is walked under its own name, and what lies elsewhere once.
        wanted && real != self.out && !(by_link && real.starts_with(&self.root)) && visited.insert(real)
    }

    fn consider(
        &self,
        file: PathBuf,
        metadata: Option<&Metadata>,
        siblings: &HashSet<OsString>,
        ours: &dyn Fn(&Path) -> bool,
        walked: &mut Walked,
    ) {
        let (Some(name), relative) = (file.file_name(), self.relative(&file)) else { return };
        let named = self.only.as_deref() == Some(name);
        if self.only.is_some() && !named {
            return;
        }
        let extension = lower_extension(&file);
        let at_out = file.parent().is_some_and(|folder| folder == self.out);
        let report = at_out && REPORT_FILES.iter().any(|own| name == *own);
        if !named && (hidden(name) || report || ours(&file)) {
            return;
        }
        let Some(kind) = self.kind(&file, &extension, metadata, named) else { return };
        if !named && partial(name, siblings) {
            walked.partial += 1;
            return;
        }
        if !named && kind == Kind::Transcript {
            let beside = siblings.iter().any(|other| {
                let other = Path::new(other);
                other.file_stem() == file.file_stem() && AUDIO.contains(&lower_extension(other).as_str())
            });
            if beside && self.take_up == TakeUp::Auto {
                walked.beside += 1;
                return;
            }
        }
        let filtered = !named && self.filtered(&relative);
        let problem = match metadata {
            // Its target cannot be had: walkdir gives the link itself then.
            None => Some(Failure::new(Reason::Unreadable, "it cannot be looked at")),
            Some(metadata) if metadata.is_symlink() => {
                Some(Failure::new(Reason::NotAFile, "it is a link to something that is not there"))
            }
            Some(metadata) if !metadata.is_file() => {
                Some(Failure::new(Reason::NotAFile, "it is a pipe, a socket or a device, not a file"))
            }
            Some(metadata) if metadata.len() == 0 => Some(Failure::new(Reason::Empty, "the file is empty (0 bytes)")),
            Some(_) => None,
        };
        let stamp = metadata.map(Stamp::of).unwrap_or_default();
        let path = RelativePath::of(&relative);
        walked.files.push(Found { path, file, kind, stamp, problem, filtered });
    }

    fn kind(&self, file: &Path, extension: &str, metadata: Option<&Metadata>, named: bool) -> Option<Kind> {
        let wants = |kind| match self.take_up {
            TakeUp::Auto | TakeUp::Both => true,
            TakeUp::Audio => kind == Kind::Audio,
            TakeUp::Transcripts => kind == Kind::Transcript,
        };
        let kind = if AUDIO.contains(&extension) {
            Kind::Audio
        } else if TRANSCRIPTS.contains(&extension) {
            Kind::Transcript
        } else if named {
            return Some(Kind::Audio);
        } else if (self.any_extension || PERHAPS_AUDIO.contains(&extension))
            && metadata.is_some_and(Metadata::is_file)
            && begins_like_a_recording(file)
        {
            Kind::Audio
        } else {
            return None;
        };
        (named || wants(kind)).then_some(kind)
    }

    /// A folder that cannot be listed, or a link to nothing.
    fn unreadable(&self, error: &walkdir::Error) -> Option<Found> {
        let file = error.path()?.to_owned();
        let name = file.file_name()?;
        if error.loop_ancestor().is_some() || hidden(name) || self.only.as_deref().is_some_and(|only| only != name) {
            return None;
        }
        let relative = self.relative(&file);
        let dangling = file.is_symlink();
        let extension = lower_extension(&file);
        if self.filtered(&relative) || (dangling && !AUDIO.contains(&extension.as_str())) {
            return None;
        }
        let problem = if dangling {
            Failure::new(Reason::NotAFile, "it is a link to something that is not there")
        } else {
            let why = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
            Failure::new(Reason::Unreadable, format!("the folder cannot be read: {why}"))
        };
        let (path, stamp) = (RelativePath::of(&relative), Stamp::default());
        Some(Found { path, file, kind: Kind::Audio, stamp, problem: Some(problem), filtered: false })
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }

    fn filtered(&self, relative: &Path) -> bool {
        self.excluded(relative) || self.include.as_ref().is_some_and(|globs| !globs.is_match(relative))
    }

    fn excluded(&self, relative: &Path) -> bool {
        relative.ancestors().any(|part| !part.as_os_str().is_empty() && self.exclude.is_match(part))
    }
}

/// The canonical form of a path whose last parts may not be there yet.
fn real(path: &Path) -> PathBuf {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known = |ancestor: &Path| {
        let real = std::fs::canonicalize(ancestor).ok()?;
        let rest = full.strip_prefix(ancestor).ok().filter(|rest| !rest.as_os_str().is_empty());
        Some(rest.map_or(real.clone(), |rest| real.join(rest)))
    };
    full.ancestors().find_map(known).unwrap_or_else(|| full.clone())
}

/// A glob without a slash is about a name at any depth.
fn globs(flag: &str, patterns: &[String]) -> Result<GlobSet, Error> {
    let mut set = GlobSetBuilder::new();
    let wrong = |error: globset::Error| Error::Usage(format!("{flag}: {error}"));
    for pattern in patterns {
        let anywhere = if pattern.contains('/') { pattern.clone() } else { format!("**/{pattern}") };
        let glob = GlobBuilder::new(anywhere.trim_start_matches('/'))
            .literal_separator(true)
            .case_insensitive(true)
            .build()
            .map_err(wrong)?;
        set.add(glob);
    }
    set.build().map_err(wrong)
}

fn hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Whether somebody is still writing it: by its own name, or by what a download puts beside it.
fn partial(name: &OsStr, siblings: &HashSet<OsString>) -> bool {
    let bytes = name.as_encoded_bytes();
    let by_name =
        bytes.ends_with(b"~") || bytes.starts_with(b"~$") || PARTIAL.contains(&lower_extension(name).as_str());
    let beside = ["part", "crdownload", "aria2", "partial", "download"];
    by_name
        || beside.iter().any(|extension| {
            let mut companion = name.to_owned();
            companion.push(".");
            companion.push(extension);
            siblings.contains(&companion)
        })
}

fn lower_extension(path: impl AsRef<Path>) -> String {
    path.as_ref().extension().map_or_else(String::new, |extension| extension.to_string_lossy().to_lowercase())
}

fn begins_like_a_recording(file: &Path) -> bool {
    let mut head = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(audio::HEAD_BYTES as u64).read_to_end(&mut head));
    read.is_ok() && audio::is_recording(&head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
    }

    fn walk(root: &Path, args: SelectArgs) -> Walked {
        let selection = Selection::new(root, &root.join("out"), &args).unwrap();
        selection.walk(&|_| false).unwrap()
    }

    fn names(walked: &Walked) -> Vec<String> {
        walked.files.iter().filter(|f| !f.filtered).map(|f| f.path.to_string()).collect()
    }

    #[test]
    fn hidden_partial_and_foreign_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &[
                "b.MP3",
                "a/deep/er/c.opus",
                ".hidden.wav",
                ".git/x.wav",
                "load.wav.part",
                "firefox.wav",
                "firefox.wav.part",
                "x.tmp",
                "y.wav~",
                "picture.png",
                "out/b.wav",
                "code.ts",
                "日本語/音声.flac",
            ],
        );
        let walked = walk(dir.path(), SelectArgs::default());
        assert_eq!(names(&walked), ["a/deep/er/c.opus", "b.MP3", "日本語/音声.flac"]);
        assert_eq!(walked.partial, 1);
        let flat = walk(dir.path(), SelectArgs { no_recursive: true, ..SelectArgs::default() });
        assert_eq!(names(&flat), ["b.MP3"]);
    }

    #[test]
    fn globs_are_about_names_or_paths() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &["one.wav", "two.mp3", "old/one.wav", "old/three.MP3", "new/old/x.mp3"]);
        let with = |include: &[&str], exclude: &[&str]| {
            let own = |list: &[&str]| list.iter().map(ToString::to_string).collect();
            names(&walk(
                dir.path(),
                SelectArgs { include: own(include), exclude: own(exclude), ..SelectArgs::default() },
            ))
        };
        assert_eq!(with(&["*.mp3"], &[]), ["new/old/x.mp3", "old/three.MP3", "two.mp3"]);
        assert_eq!(with(&["old/*"], &[]), ["old/one.wav", "old/three.MP3"]);
        assert_eq!(with(&[], &["old"]), ["one.wav", "two.mp3"]);
        assert_eq!(with(&[], &["old/**", "t?o.*"]), ["new/old/x.mp3", "one.wav"]);
        let wrong = SelectArgs { include: vec!["a[".into()], ..SelectArgs::default() };
        assert!(Selection::new(dir.path(), dir.path(), &wrong).is_err());
    }

    #[test]
    fn transcripts_beside_their_recording_are_its_owner_s() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &["talk.wav", "talk.txt", "notes.srt", "report.json"]);
        assert_eq!(names(&walk(dir.path(), SelectArgs::default())), ["notes.srt", "report.json", "talk.wav"]);
        let both = SelectArgs { inputs: TakeUp::Both, ..SelectArgs::default() };
        assert_eq!(names(&walk(dir.path(), both)), ["notes.srt", "report.json", "talk.txt", "talk.wav"]);
        let audio = SelectArgs { inputs: TakeUp::Audio, ..SelectArgs::default() };
        assert_eq!(names(&walk(dir.path(), audio)), ["talk.wav"]);
        let selection = Selection::new(dir.path(), dir.path(), &SelectArgs::default()).unwrap();
        let ours = selection.walk(&|path| path.ends_with("notes.srt")).unwrap();
        assert_eq!(names(&ours), ["talk.wav"], "neither what bestbox wrote nor a report in OUT");
    }

    #[cfg(unix)]
    #[test]
    fn loops_end_and_what_is_no_file_is_named() {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::symlink;
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(dir.path(), &["a/one.wav", "folder.wav/two.wav"]);
        write(other.path(), &["far.wav", "sub/further.wav"]);
        symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        symlink(dir.path().join("a"), dir.path().join("b")).unwrap();
        symlink(other.path(), dir.path().join("elsewhere")).unwrap();
        symlink(other.path().join("sub"), dir.path().join("zz")).unwrap();
        symlink("a/one.wav", dir.path().join("linked.wav")).unwrap();
        symlink("nowhere", dir.path().join("gone.wav")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe.wav"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        fs::write(dir.path().join("empty.wav"), "").unwrap();
        fs::write(dir.path().join(OsStr::from_bytes(b"new\nline \xff.wav")), "x").unwrap();
        let walked = walk(dir.path(), SelectArgs::default());
        let expected = [
            "a/one.wav",
            "elsewhere/far.wav",
            "elsewhere/sub/further.wav",
            "empty.wav",
            "folder.wav/two.wav",
            "gone.wav",
            "linked.wav",
            "new\nline \\xff.wav",
            "pipe.wav",
        ];
        assert_eq!(names(&walked), expected);
        let reason = |name: &str| {
            let found = walked.files.iter().find(|f| f.path.as_str() == name).unwrap();
            found.problem.as_ref().map(|problem| problem.code)
        };
        assert_eq!(reason("gone.wav"), Some(Reason::NotAFile));
        assert_eq!(reason("pipe.wav"), Some(Reason::NotAFile));
        assert_eq!(reason("empty.wav"), Some(Reason::Empty));
        assert_eq!(reason("linked.wav"), None);
    }

    #[test]
    fn one_file_is_taken_whatever_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &["voice", "other.wav"]);
        let selection = Selection::new(&dir.path().join("voice"), dir.path(), &SelectArgs::default()).unwrap();
        assert_eq!(names(&selection.walk(&|_| false).unwrap()), ["voice"]);
    }

    #[test]
    fn anything_that_begins_like_a_recording_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("voice.dat"), b"RIFF\0\0\0\0WAVEfmt ").unwrap();
        fs::write(dir.path().join("voice.xyz"), b"fLaC....").unwrap();
        fs::write(dir.path().join("stream.ts"), [&[0x47u8][..], &[0; 187]].concat().repeat(4)).unwrap();
        fs::write(dir.path().join("code.ts"), b"const x = 1;").unwrap();
        assert_eq!(names(&walk(dir.path(), SelectArgs::default())), ["stream.ts", "voice.dat"]);
        let all = SelectArgs { all: true, ..SelectArgs::default() };
        assert_eq!(names(&walk(dir.path(), all)), ["stream.ts", "voice.dat", "voice.xyz"]);
    }
}
