//! Uploads: a multipart body to its text fields and one file on disk, with every limit enforced while reading.

mod disposition;
mod stream;

use super::error::ApiError;
use super::form::Form;
use super::state::Service;
use crate::audio::Input;
use crate::config::ServeConfig;
use crate::error::Error;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use disposition::Parameters;
use multer::Field;
use std::io;
use std::path::{Path, PathBuf};
use stream::{Ahead, Paced, malformed};
use tempfile::TempPath;
use tokio::io::{AsyncWriteExt, BufWriter};

/// Bytes that all text fields may have together, names included.
const MAX_TEXT: usize = 512 << 10;
/// Parts of one form: a thousand names and terms, and everything else.
const MAX_PARTS: usize = 1500;
/// What a form may have around its file, bytes.
const FORM: u64 = 1 << 20;
/// Longest boundary (RFC 2046 says 70), bytes.
const MAX_BOUNDARY: usize = 200;
/// What is written at a time, bytes.
const WRITE: usize = 256 << 10;
/// Bytes of a file after which the disk is looked at again.
const LOOK: u64 = 32 << 20;
/// Beginning of the names of files that were being uploaded.
const PREFIX: &str = "upload-";

/// The folder of uploads and jobs, private to the user.
pub(super) struct Uploads {
    folder: PathBuf,
    /// Bytes of the disk that stay free.
    reserve: u64,
}

/// A file that a client sent. The file goes away with this, on every path.
pub(super) struct Audio {
    /// File name as the client gave it, without folders and control characters; never used as a path.
    pub name: String,
    pub bytes: u64,
    path: TempPath,
}

impl Audio {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For the pipeline. The file must outlive the run.
    pub fn input(&self) -> Input {
        Input::File(self.path.to_path_buf())
    }

    /// Keeps the file under another name (same file system).
    pub fn persist(self, to: &Path) -> io::Result<()> {
        self.path.persist(to).map_err(|error| error.error)
    }
}

/// A form with its file.
pub(super) struct Upload {
    pub form: Form,
    pub audio: Audio,
}

impl Uploads {
    /// # Errors
    /// One sentence when the folder cannot be made or is not ours.
    pub fn open(config: &ServeConfig) -> Result<Self, Error> {
        let root = data_folder(config);
        let folder = root.join("uploads");
        private(&root).and_then(|()| private(&folder)).map_err(|e| {
            Error::Usage(format!("cannot make the private folder {}: {e}; set serve.data_dir", folder.display()))
        })?;
        Ok(Uploads { folder, reserve: config.min_free_bytes })
    }

    /// The service's folder.
    pub fn root(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// Removes what an earlier service left behind when it was killed. Only for the one service that owns the folder.
    pub fn purge(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
            if let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::warn!(file = %entry.path().display(), %error, "an old upload cannot be removed");
            }
        }
    }

    /// # Errors
    /// 503 when `bytes` more would leave the disk too full. A disk that cannot be asked is tried.
    fn room_for(&self, bytes: u64) -> Result<(), ApiError> {
        let free = free_bytes(&self.folder).unwrap_or(u64::MAX);
        if free.saturating_sub(bytes) >= self.reserve || free == u64::MAX {
            return Ok(());
        }
        Err(disk_full("the disk of the service is too full for this upload; try again later, or send a shorter file"))
    }
}

/// The service's folder: the configured one, or one in the platform's folder for state.
pub(super) fn data_folder(config: &ServeConfig) -> PathBuf {
    if !config.data_dir.as_os_str().is_empty() {
        return config.data_dir.clone();
    }
    let dirs = directories::ProjectDirs::from("", "", "bestbox");
    let state = dirs.and_then(|dirs| dirs.state_dir().map(Path::to_owned).or(Some(dirs.data_local_dir().to_owned())));
    state.map_or_else(|| PathBuf::from("bestbox-data"), |dir| dir.join("serve"))
}

/// Reads a whole multipart body. Nothing of it is asked for before its head has been found good.
///
/// # Errors
/// 415 for what is no form, 413 for too much, 400 for a form without its one file or without sense, 503 for a full disk.
pub(super) async fn receive(service: &Service, request: Request) -> Result<Upload, ApiError> {
    let limit = service.config.serve.max_upload_bytes;
    let boundary = boundary(request.headers())?;
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > limit.saturating_add(FORM)) {
        return Err(too_large(limit));
    }
    service.uploads.room_for(declared.unwrap_or(0))?;
    let ahead = Ahead::default();
    let body = Paced::new(request.into_body().into_data_stream(), limit.saturating_add(FORM), ahead.clone());
    let mut reading = Reading { uploads: &service.uploads, limit, ahead, text: 0, stranger: None };
    let mut parts = multer::Multipart::new(body, boundary);
    let (mut form, mut audio) = (Form::default(), None);
    let mut count = 0;
    while let Some(part) = parts.next_field().await.map_err(|error| malformed(&error, limit))? {
        reading.ahead.reset();
        count += 1;
        if count > MAX_PARTS {
            return Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the form has more than {MAX_PARTS} fields"),
            ));
        }
        let head = part.headers().get(header::CONTENT_DISPOSITION).map(|value| Parameters::parse(value.as_bytes()));
        let name =
            head.as_ref().and_then(|head| head.text("name")).filter(|name| !name.is_empty()).ok_or_else(|| {
                ApiError::new(StatusCode::BAD_REQUEST, "a part of the form has no name").code("malformed_form")
            })?;
        let file_name = head.as_ref().and_then(Parameters::file_name);
        match (&*name, file_name) {
            ("file", _) if audio.is_some() => {
                return Err(ApiError::bad_field("file", "there are several files; send one a request"));
            }
            ("file", file_name) => audio = Some(reading.file(part, file_name.unwrap_or_default()).await?),
            (name, Some(_)) => reading.skip(part, name).await?,
            (name, None) => form.0.push((name.to_owned(), reading.text(part, name).await?)),
        }
    }
    match audio {
        Some(audio) if audio.bytes == 0 => Err(ApiError::bad_field("file", "the file is empty").code("invalid_audio")),
        Some(audio) => Ok(Upload { form, audio }),
        None => Err(ApiError::bad_field("file", reading.missing())),
    }
}

/// What is counted over all parts of one form.
struct Reading<'a> {
    uploads: &'a Uploads,
    limit: u64,
    ahead: Ahead,
    /// Bytes of text so far.
    text: usize,
    /// A file under another name than `file`.
    stranger: Option<String>,
}

impl Reading<'_> {
    async fn next(&self, part: &mut Field<'_>) -> Result<Option<bytes::Bytes>, ApiError> {
        let chunk = part.chunk().await.map_err(|error| malformed(&error, self.limit))?;
        self.ahead.reset();
        Ok(chunk)
    }

    async fn file(&self, mut part: Field<'_>, name: String) -> Result<Audio, ApiError> {
        let made = tempfile::Builder::new().prefix(PREFIX).tempfile_in(&self.uploads.folder).map_err(|e| stored(&e))?;
        let (file, path) = made.into_parts();
        let mut file = BufWriter::with_capacity(WRITE, tokio::fs::File::from_std(file));
        let (mut bytes, mut look) = (0, LOOK);
        while let Some(chunk) = self.next(&mut part).await? {
            bytes += chunk.len() as u64;
            if bytes > self.limit {
                return Err(too_large(self.limit));
            }
            if bytes > look {
                self.uploads.room_for(LOOK)?;
                look += LOOK;
            }
            file.write_all(&chunk).await.map_err(|error| stored(&error))?;
        }
        file.flush().await.map_err(|error| stored(&error))?;
        let name = if name.is_empty() { "upload".to_owned() } else { name };
        Ok(Audio { name, bytes, path })
    }

    async fn text(&mut self, mut part: Field<'_>, name: &str) -> Result<String, ApiError> {
        let mut value = Vec::new();
        self.text += name.len();
        while let Some(chunk) = self.next(&mut part).await? {
            self.text += chunk.len();
            if self.text > MAX_TEXT {
                let message = format!("the text fields have more than {MAX_TEXT} bytes together");
                return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).param(&shown(name)));
            }
            value.extend_from_slice(&chunk);
        }
        let name = shown(name);
        String::from_utf8(value).map_err(|_| ApiError::bad_field(&name, format!("{name} is not UTF-8")))
    }

    /// Files that nobody asked for are neither kept nor held against the sender.
    async fn skip(&mut self, mut part: Field<'_>, name: &str) -> Result<(), ApiError> {
        while self.next(&mut part).await?.is_some() {}
        self.stranger = Some(shown(name));
        Ok(())
    }

    fn missing(&self) -> String {
        self.stranger.as_ref().map_or_else(
            || "there is no field named 'file' in the form".to_owned(),
            |name| format!("there is no field named 'file' in the form; is it the one named '{name}'?"),
        )
    }
}

/// The boundary of a form.
fn boundary(headers: &HeaderMap) -> Result<String, ApiError> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (kind, second) = (types.next(), types.next());
    let kind = kind.filter(|_| second.is_none()).map(|kind| Parameters::parse(kind.as_bytes()));
    let kind = kind.filter(|kind| kind.value == "multipart/form-data").ok_or_else(|| {
        let message =
            "send the audio as multipart/form-data with a field named 'file' (with curl: -F file=@speech.wav)";
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).code("unsupported_content_type")
    })?;
    let boundary = kind.bytes("boundary").and_then(|bytes| std::str::from_utf8(bytes).ok());
    let good = |boundary: &&str| (1..=MAX_BOUNDARY).contains(&boundary.len());
    boundary.filter(good).map(str::to_owned).ok_or_else(|| {
        let message = "the Content-Type names no usable boundary; let your HTTP library set it";
        ApiError::new(StatusCode::BAD_REQUEST, message).code("malformed_form")
    })
}

/// A field's name as a message may show it.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn too_large(limit: u64) -> ApiError {
    let message = format!("the file is larger than the {limit} bytes that are allowed");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).param("file").code("file_too_large")
}

fn disk_full(message: &str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("disk_full").retry_after(60)
}

/// An upload that cannot be written: always our disk's fault.
fn stored(error: &io::Error) -> ApiError {
    tracing::error!(%error, "an upload cannot be stored");
    disk_full("the service cannot store this upload, because its disk is full or failing; try again later")
}

/// A folder that only its owner can look into.
fn private(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
    }
    #[cfg(not(unix))]
    std::fs::create_dir_all(folder)
}

/// Bytes that this user can still write to the disk of a folder; none where that cannot be found out.
fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let disk = nix::sys::statvfs::statvfs(folder).ok()?;
        Some((disk.blocks_available() as u64).saturating_mul(disk.fragment_size() as u64))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of(content_type: &str) -> Result<String, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).expect("a value"));
        boundary(&headers).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn a_boundary_is_found_as_clients_write_it() {
        assert_eq!(of("multipart/form-data; boundary=abc"), Ok("abc".into()));
        assert_eq!(of("Multipart/Form-Data;charset=utf-8;Boundary=\"a b:c\""), Ok("a b:c".into()));
        assert_eq!(of("multipart/form-data; boundary=----=_Part_1_2.3"), Ok("----=_Part_1_2.3".into()));
    }

    #[test]
    fn everything_that_is_no_form_is_told_so() {
        for kind in
            ["audio/wav", "application/json", "multipart/mixed; boundary=a", "multipart/form-datax; boundary=a", ""]
        {
            assert_eq!(of(kind), Err(415), "{kind}");
        }
        for kind in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"\""] {
            assert_eq!(of(kind), Err(400), "{kind}");
        }
        assert_eq!(of(&format!("multipart/form-data; boundary={}", "x".repeat(201))), Err(400));
        assert_eq!(boundary(&HeaderMap::new()).expect_err("none").status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[test]
    fn folders_are_private_and_what_was_left_behind_is_removed() {
        let root = tempfile::tempdir().expect("a folder");
        let config = ServeConfig { data_dir: root.path().join("data"), ..ServeConfig::default() };
        let uploads = Uploads::open(&config).expect("opened");
        for name in ["upload-abc", "other"] {
            std::fs::write(uploads.folder.join(name), b"x").expect("written");
        }
        uploads.purge();
        let left: Vec<_> =
            std::fs::read_dir(&uploads.folder).expect("folder").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["other"]);
        #[cfg(unix)]
        for folder in [uploads.root(), &uploads.folder] {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(folder).expect("there").permissions().mode() & 0o777, 0o700);
        }
    }
}
