//! Keys through the desktop's RemoteDesktop portal: GNOME and KDE on Wayland. The desktop asks the user once; the
//! permission is remembered by a token.

use super::config::PasteKeys;
use super::{KeyPress, ToolError};
use ashpd::desktop::remote_desktop::{DeviceType, KeyState, RemoteDesktop, SelectDevicesOptions};
use ashpd::desktop::{PersistMode, Session};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// Time that the user has to answer the desktop's question.
const PERMISSION: Duration = Duration::from_secs(30);
/// Time for all keys of one text.
const LIMIT: Duration = Duration::from_secs(60);

/// Keysyms (X11/keysymdef.h).
const SHIFT: u32 = 0xffe1;
const CONTROL: u32 = 0xffe3;
const INSERT: u32 = 0xff63;
const RETURN: u32 = 0xff0d;

/// A session that may press keys; one a process, because each costs the user a question.
struct Granted {
    portal: RemoteDesktop,
    session: Session<RemoteDesktop>,
}

static GRANTED: Mutex<Option<Arc<Granted>>> = Mutex::const_new(None);

/// The portal, for one insertion. Used on a thread of the runtime's that may block.
pub struct PortalKeys {
    granted: Arc<Granted>,
    runtime: Handle,
}

impl PortalKeys {
    pub fn take() -> Result<PortalKeys, ToolError> {
        let runtime = Handle::try_current()
            .map_err(|_| ToolError::Desktop("the portal is only reached from the program's runtime".into()))?;
        let granted = runtime.block_on(async {
            let mut granted = GRANTED.lock().await;
            if let Some(granted) = granted.as_ref() {
                return Ok::<_, ToolError>(Arc::clone(granted));
            }
            let asked = tokio::time::timeout(PERMISSION, grant()).await;
            let new = asked.map_err(|_| ToolError::Desktop("nobody answered the desktop's question".into()))?;
            let new = Arc::new(new.map_err(|error| ToolError::Desktop(format!("no RemoteDesktop portal: {error}")))?);
            *granted = Some(Arc::clone(&new));
            Ok(new)
        })?;
        Ok(PortalKeys { granted, runtime })
    }

    /// Presses the application's paste shortcut, or Enter.
    pub fn press(&mut self, what: KeyPress) -> Result<(), ToolError> {
        let keys: &[u32] = match what {
            KeyPress::Paste(PasteKeys::CtrlV) => &[CONTROL, 0x76],
            KeyPress::Paste(PasteKeys::CtrlShiftV) => &[CONTROL, SHIFT, 0x76],
            KeyPress::Paste(PasteKeys::ShiftInsert) => &[SHIFT, INSERT],
            KeyPress::Enter => &[RETURN],
            KeyPress::ShiftEnter => &[SHIFT, RETURN],
        };
        let down = keys.iter().map(|key| (*key, KeyState::Pressed));
        let up = keys.iter().rev().map(|key| (*key, KeyState::Released));
        self.send(down.chain(up).collect())
    }

    /// Types `text`; a line feed is Enter.
    pub fn type_text(&mut self, text: &str) -> Result<(), ToolError> {
        let keys = text.chars().map(super::x11::symbol);
        self.send(keys.flat_map(|key| [(key, KeyState::Pressed), (key, KeyState::Released)]).collect())
    }

    fn send(&self, keys: Vec<(u32, KeyState)>) -> Result<(), ToolError> {
        let Granted { portal, session } = &*self.granted;
        let sent = self.runtime.block_on(tokio::time::timeout(LIMIT, async {
            for (key, state) in keys {
                // Keysyms are 29 bits wide.
                let key = i32::try_from(key).unwrap_or_default();
                portal.notify_keyboard_keysym(session, key, state, Default::default()).await?;
            }
            Ok::<(), ashpd::Error>(())
        }));
        let failed = |reason: String| {
            // The user, or the desktop, has ended the session: ask again next time.
            self.runtime.block_on(async { *GRANTED.lock().await = None });
            ToolError::Desktop(format!("the portal does not press keys: {reason}"))
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("it does not answer".into())),
        }
    }
}

async fn grant() -> Result<Granted, ashpd::Error> {
    let portal = RemoteDesktop::new().await?;
    let session = portal.create_session(Default::default()).await?;
    let token = token_file().and_then(|path| std::fs::read_to_string(path).ok());
    let options = SelectDevicesOptions::default()
        .set_devices(Some(DeviceType::Keyboard.into()))
        .set_persist_mode(PersistMode::ExplicitlyRevoked)
        .set_restore_token(token.as_deref().map(str::trim));
    portal.select_devices(&session, options).await?.response()?;
    let devices = portal.start(&session, None, Default::default()).await?.response()?;
    if !devices.devices().contains(DeviceType::Keyboard) {
        return Err(ashpd::Error::NoResponse);
    }
    if let (Some(path), Some(token)) = (token_file(), devices.restore_token()) {
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, token));
        if let Err(error) = written {
            tracing::warn!("the desktop will ask again: cannot write {}: {error}", path.display());
        }
    }
    Ok(Granted { portal, session })
}

/// Where the desktop's permission is remembered.
fn token_file() -> Option<PathBuf> {
    let dirs = directories::ProjectDirs::from("", "", "bestbox")?;
    Some(dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).join("remote-desktop.token"))
}
