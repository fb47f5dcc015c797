//! The control socket: JSON lines between `bestbox dictate` and everybody who drives or watches it. The protocol is
//! described in docs/dictate-control.md.
//!
//! Private by three locks: the folder is this user's alone (0700), so is the socket (0600), and the kernel says who is
//! at the other end. A lock file beside it, given back by the kernel however its owner ends, says whether a dictation
//! is running; only who has it touches the socket, so one that a killed process left is replaced without a race.

use super::control::{Controller, Event, Status};
use super::machine::Command;
use super::take::Last;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, watch};

/// Longest request, bytes.
const LONGEST: u64 = 64 << 10;

/// A request: a [`Command`], or one of these.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
enum Question {
    /// What dictation is doing.
    Status,
    /// The last text.
    Last,
    /// Everything that happens, until the connection is closed.
    Follow,
}

/// The first line of an answer.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The folder of the socket: private to this user, made when it is missing.
///
/// # Errors
/// When it cannot be made, or belongs to somebody else.
pub(super) fn folder() -> Result<PathBuf, Error> {
    let user = nix::unistd::getuid().as_raw();
    let mine = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == user);
    let runtime =
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute() && mine(path));
    // Without one, a folder of our own that nobody else can have made.
    let folder =
        runtime.map_or_else(|| std::env::temp_dir().join(format!("bestbox-{user}")), |dir| dir.join("bestbox"));
    private_folder(&folder, user)?;
    Ok(folder)
}

fn private_folder(folder: &Path, user: u32) -> Result<(), Error> {
    let shown = folder.display();
    let unusable = |why: String| Error::Dictation(format!("the folder {shown} of the control socket {why}"));
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unusable(format!("cannot be made: {error}; set XDG_RUNTIME_DIR"))),
    }
    let meta = std::fs::symlink_metadata(folder).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    if !meta.is_dir() || meta.uid() != user {
        return Err(unusable("is not a folder of yours; set XDG_RUNTIME_DIR to one that is".into()));
    }
    if meta.mode() & 0o077 != 0 {
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder, private).map_err(|error| unusable(format!("is open to others: {error}")))?;
    }
    Ok(())
}

/// The right to be the one dictation of this user. The kernel gives it back when this process ends, however it ends.
#[derive(Debug)]
pub(super) struct Seat {
    _lock: File,
    socket: PathBuf,
}

/// What became of asking for the seat.
pub(super) enum Asked {
    /// It is ours.
    Ours(Seat),
    /// A process with this id has it.
    Taken(Option<u32>),
}

/// Asks for the seat; never waits.
///
/// # Errors
/// When the folder cannot be used.
pub(super) fn ask(folder: &Path) -> Result<Asked, Error> {
    let path = folder.join("dictate.lock");
    let failed = |error: io::Error| Error::Dictation(format!("cannot use {}: {error}", path.display()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut lock = options.open(&path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {
            lock.set_len(0).and_then(|()| lock.rewind()).map_err(failed)?;
            write!(lock, "{}", std::process::id()).map_err(failed)?;
            Ok(Asked::Ours(Seat { _lock: lock, socket: socket(folder) }))
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Only for the message.
            let _ = lock.read_to_string(&mut text);
            Ok(Asked::Taken(text.trim().parse().ok()))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Where the socket is.
pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join("dictate.sock")
}

impl Seat {
    /// Opens the socket; one that a killed process left is replaced.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn listen(&self) -> Result<UnixListener, Error> {
        let path = &self.socket;
        let failed = |error: io::Error| {
            Error::Dictation(format!("the control socket {} cannot be opened: {error}", path.display()))
        };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(listener)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // While the lock is still held, so that it is ours.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Answers until the listener fails.
pub(super) async fn serve(listener: UnixListener, controller: Controller, last: watch::Receiver<Last>) {
    let user = nix::unistd::getuid().as_raw();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: some will be given back.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        if stream.peer_cred().is_ok_and(|peer| peer.uid() == user || peer.uid() == 0) {
            let (controller, last) = (controller.clone(), last.clone());
            tokio::spawn(async move {
                // A client that goes away in the middle is no error of ours.
                let _ = converse(stream, controller, last).await;
            });
        }
    }
}

async fn converse(stream: UnixStream, controller: Controller, last: watch::Receiver<Last>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = String::new();
        // One that ends nowhere is cut off, and then is no JSON.
        let bytes = (&mut read).take(LONGEST).read_line(&mut line).await?;
        if bytes == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            continue;
        }
        let mut answer = Answer { ok: true, ..Answer::default() };
        match serde_json::from_str::<Question>(&line) {
            Ok(Question::Status) => answer.status = Some(controller.status().borrow().clone()),
            Ok(Question::Last) => answer.last = Some(last.borrow().clone()),
            Ok(Question::Follow) => {
                let events = controller.events();
                answer.status = Some(controller.status().borrow().clone());
                send(&mut write, &answer).await?;
                return follow(events, read, write).await;
            }
            Err(_) => match serde_json::from_str::<Command>(&line) {
                Ok(command) => match controller.request(command).await {
                    Some(status) => answer.status = Some(status),
                    None => answer = refusal("dictation has ended"),
                },
                Err(error) => answer = refusal(&format!("this is no request: {error}")),
            },
        }
        send(&mut write, &answer).await?;
        if bytes as u64 == LONGEST {
            return Ok(());
        }
    }
}

fn refusal(why: &str) -> Answer {
    Answer { ok: false, error: Some(why.to_owned()), ..Answer::default() }
}

async fn send(write: &mut tokio::net::unix::OwnedWriteHalf, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// Events until the client goes or dictation ends.
async fn follow(
    mut events: broadcast::Receiver<Event>,
    mut read: BufReader<tokio::net::unix::OwnedReadHalf>,
    mut write: tokio::net::unix::OwnedWriteHalf,
) -> io::Result<()> {
    let mut rest = [0; 256];
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => send(&mut write, &event).await?,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    let message = format!("this follower was too slow and has missed {missed} events");
                    send(&mut write, &Event::Warning { message }).await?;
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            // Nothing more is expected; only whether it is still there.
            bytes = read.read(&mut rest) => if bytes? == 0 {
                return Ok(());
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seat_is_taken_once_and_free_again() {
        let folder = tempfile::tempdir().unwrap();
        let Asked::Ours(seat) = ask(folder.path()).unwrap() else { panic!("it is free") };
        let Asked::Taken(pid) = ask(folder.path()).unwrap() else { panic!("it is taken") };
        assert_eq!(pid, Some(std::process::id()));
        drop(seat);
        assert!(matches!(ask(folder.path()).unwrap(), Asked::Ours(_)));
    }

    #[test]
    fn a_folder_that_others_may_enter_is_closed_and_one_of_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (open, me) = (folder.path().join("open"), nix::unistd::getuid().as_raw());
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        private_folder(&open, me).unwrap();
        assert_eq!(std::fs::metadata(&open).unwrap().mode() & 0o777, 0o700);
        assert!(private_folder(&open, me + 1).is_err());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(private_folder(&link, me).is_err(), "where it leads, somebody else may have decided");
    }

    #[tokio::test]
    async fn requests_are_answered_and_nonsense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let Asked::Ours(seat) = ask(folder.path()).unwrap() else { panic!("it is free") };
        std::fs::write(socket(folder.path()), "left by a killed process").unwrap();
        let listener = seat.listen().unwrap();
        assert_eq!(std::fs::metadata(socket(folder.path())).unwrap().mode() & 0o777, 0o600);
        let (controller, mut control) = Controller::new(Status { pid: 7, ..Status::default() });
        let last = watch::channel(Last { text: "hello".into(), ..Last::default() }).1;
        tokio::spawn(serve(listener, controller, last));
        let stream = UnixStream::connect(socket(folder.path())).await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"{\"command\":\"status\"}\n{\"command\":\"last\"}\nnonsense\n").await.unwrap();
        let answer: Answer = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(answer.status.unwrap().pid, 7);
        let answer: Answer = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(answer.last.unwrap().text, "hello");
        let answer: Answer = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        assert!(!answer.ok && answer.error.unwrap().contains("no request"));
        write.write_all(b"{\"command\":\"start\",\"binding\":\"x\"}\n").await.unwrap();
        let order = control.orders.recv().await.unwrap();
        assert_eq!(order.command, Command::Start { binding: Some("x".into()) });
        order.reply.unwrap().send(Status::default()).unwrap();
        assert!(lines.next_line().await.unwrap().unwrap().contains("\"ok\":true"));
        write.write_all(b"{\"command\":\"follow\"}\n").await.unwrap();
        assert!(lines.next_line().await.unwrap().unwrap().contains("status"));
        control.events.send(Event::Level { dbfs: -20.0 }).unwrap();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), r#"{"event":"level","dbfs":-20.0}"#);
    }
}
