//! Where the user's desktop is: its display servers and its message bus. Read from the environment once.

/// The desktop that this program belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// X display, such as `:0`.
    pub display: Option<String>,
    /// Wayland socket, such as `wayland-0`, or a path.
    pub wayland: Option<String>,
    /// Address of the session bus; none: the platform's rule finds it.
    pub bus: Option<String>,
}

impl Session {
    /// As the environment says.
    pub fn from_env() -> Self {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Session { display: get("DISPLAY"), wayland: get("WAYLAND_DISPLAY"), bus: get("DBUS_SESSION_BUS_ADDRESS") }
    }

    /// A new connection to the session bus.
    #[cfg(all(unix, not(target_os = "macos")))]
    pub async fn bus(&self) -> zbus::Result<zbus::Connection> {
        match &self.bus {
            Some(address) => zbus::connection::Builder::address(address.as_str())?.build().await,
            None => zbus::Connection::session().await,
        }
    }
}
