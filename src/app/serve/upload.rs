//! Uploads: a multipart body to its text fields and one file on disk, with every limit enforced while reading.

use super::error::ApiError;
use super::form::Form;
use super::state::Service;
use crate::audio::Input;
use crate::config::ServeConfig;
use crate::error::Error;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;

/// Longest text field, bytes.
const MAX_FIELD: u64 = 1 << 20;

/// The folder of uploads and jobs, private to the user.
pub(super) struct Uploads {
    folder: PathBuf,
}

/// A file that a client sent. The file goes away with this, on every path.
pub(super) struct Audio {
    /// File name as the client gave it; never used as a path.
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
    pub fn persist(self, to: &Path) -> std::io::Result<()> {
        self.path.persist(to).map_err(|error| error.error)
    }
}

/// A form with its file.
pub(super) struct Upload {
    pub form: Form,
    pub audio: Audio,
}

impl Uploads {
    pub fn open(config: &ServeConfig) -> Result<Self, Error> {
        let root = data_folder(config);
        let folder = root.join("uploads");
        std::fs::create_dir_all(&folder).map_err(|e| {
            Error::Usage(format!("cannot make the folder {}: {e}; set serve.data_dir", folder.display()))
        })?;
        Ok(Uploads { folder })
    }

    /// The service's folder.
    pub fn root(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
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

/// Reads a whole multipart body.
pub(super) async fn receive(service: &Service, request: Request) -> Result<Upload, ApiError> {
    let limits = &service.config.serve;
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = content_type.and_then(|value| multer::parse_boundary(value).ok()).ok_or_else(|| {
        let message = "send the audio as multipart/form-data with a field named 'file'";
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    })?;
    let body = request.into_body().into_data_stream();
    let mut parts = multer::Multipart::new(body, boundary);
    let idle = Duration::from_secs_f64(limits.idle_timeout_seconds);
    let malformed =
        |error: multer::Error| ApiError::new(StatusCode::BAD_REQUEST, format!("the form is malformed: {error}"));
    let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the upload stopped half-way");
    let full = |error: std::io::Error| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("the upload cannot be stored: {error}")).retry_after(30)
    };
    let (mut form, mut audio) = (Form::default(), None);
    while let Some(mut field) =
        tokio::time::timeout(idle, parts.next_field()).await.map_err(late)?.map_err(malformed)?
    {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            let file_name = field.file_name().unwrap_or("upload").to_owned();
            let named =
                tempfile::Builder::new().prefix("upload-").tempfile_in(&service.uploads.folder).map_err(full)?;
            let (file, path) = named.into_parts();
            let mut file = tokio::fs::File::from_std(file);
            let mut bytes = 0;
            while let Some(chunk) = tokio::time::timeout(idle, field.chunk()).await.map_err(late)?.map_err(malformed)? {
                bytes += chunk.len() as u64;
                if bytes > limits.max_upload_bytes {
                    let message = format!("the file is larger than {} bytes", limits.max_upload_bytes);
                    return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
                        .param("file")
                        .code("file_too_large"));
                }
                file.write_all(&chunk).await.map_err(full)?;
            }
            file.flush().await.map_err(full)?;
            audio = Some(Audio { name: file_name, bytes, path });
            continue;
        }
        let mut value = Vec::new();
        while let Some(chunk) = tokio::time::timeout(idle, field.chunk()).await.map_err(late)?.map_err(malformed)? {
            value.extend_from_slice(&chunk);
            if value.len() as u64 > MAX_FIELD {
                return Err(ApiError::bad_field(&name, format!("{name} is too long")));
            }
        }
        let value = String::from_utf8(value).map_err(|_| ApiError::bad_field(&name, format!("{name} is not UTF-8")))?;
        form.0.push((name, value));
    }
    let audio = audio.ok_or_else(|| ApiError::bad_field("file", "there is no field named 'file' in the form"))?;
    Ok(Upload { form, audio })
}
