//! Keys on a real X server, and through a portal.

use crate::support::desktop::{Desktop, wait_until};
use bestbox::app::dictate::desktop_session::Session;
use bestbox::app::dictate::hotkey::{self, Hotkey, HotkeyError, Hotkeys};
use bestbox::app::dictate::{Command, Control, Controller, State, Status};
use bestbox::config::{HotkeyBackend, HotkeyConfig};
use std::time::Duration;

fn keys(all: &[(&str, &str)]) -> Vec<Hotkey> {
    let hotkey = |(binding, key): &(&str, &str)| Hotkey {
        binding: (*binding).to_owned(),
        description: format!("Dictate ({binding})"),
        shortcut: key.parse().expect("a shortcut"),
    };
    all.iter().map(hotkey).collect()
}

/// Keys that are listened to, and what they have said.
struct Ears {
    control: Control,
    _hotkeys: Hotkeys,
}

async fn listen(desktop: &Desktop, all: &[(&str, &str)]) -> Result<Ears, HotkeyError> {
    let (controller, control) = Controller::new(Status::default());
    let session = Session { display: Some(desktop.display.clone()), ..Session::default() };
    let hotkeys = hotkey::start(&HotkeyConfig::default(), &session, keys(all), &controller).await?;
    assert_eq!(hotkeys.backend, HotkeyBackend::X11, "chosen by the environment");
    Ok(Ears { control, _hotkeys: hotkeys })
}

impl Ears {
    /// What has been said until it is quiet for `quiet`.
    async fn heard(&mut self, quiet: Duration) -> Vec<String> {
        let mut all = Vec::new();
        while let Ok(Some(order)) = tokio::time::timeout(quiet, self.control.orders.recv()).await {
            all.push(match order.command {
                Command::Press { binding } => format!("press {}", binding.expect("a name")),
                Command::Release { binding } => format!("release {}", binding.expect("a name")),
                Command::Cancel => "cancel".to_owned(),
                other => format!("{other:?}"),
            });
        }
        all
    }

    async fn soon(&mut self) -> Vec<String> {
        self.heard(Duration::from_millis(300)).await
    }
}

const LOCKS: [&str; 2] = ["Caps_Lock", "Num_Lock"];

#[tokio::test(flavor = "multi_thread")]
async fn holds_taps_and_bindings_are_told_apart_whatever_the_locks() {
    let desktop = Desktop::start();
    let all = [("dictate", "F9"), ("ask", "ctrl+alt+space"), ("translate", "shift+F9")];
    let mut ears = listen(&desktop, &all).await.expect("keys");
    // Longer than the X server's autorepeat delay (660 ms) and then some repeats.
    desktop.xdotool(["keydown", "F9", "sleep", "1.2", "keyup", "F9"]);
    assert_eq!(ears.soon().await, ["press dictate", "release dictate"]);
    for _ in 0..5 {
        desktop.xdotool(["key", "--delay", "5", "F9"]);
    }
    assert_eq!(ears.soon().await, ["press dictate", "release dictate"].repeat(5));
    desktop.xdotool(["key", "ctrl+alt+space"]);
    assert_eq!(ears.soon().await, ["press ask", "release ask"]);
    desktop.xdotool(["key", "shift+F9"]);
    assert_eq!(ears.soon().await, ["press translate", "release translate"]);
    // The modifier goes up first: the key is held until the key itself is up.
    desktop.xdotool(["keydown", "ctrl", "keydown", "alt", "keydown", "space", "keyup", "ctrl", "keyup", "alt"]);
    assert_eq!(ears.soon().await, ["press ask"]);
    desktop.xdotool(["keyup", "space"]);
    assert_eq!(ears.soon().await, ["release ask"]);
    desktop.xdotool(["key", "ctrl+F9", "key", "space", "key", "a"]);
    assert!(ears.soon().await.is_empty(), "keys that are nobody's");
    for lock in LOCKS {
        desktop.xdotool(["key", lock]);
        desktop.xdotool(["key", "F9"]);
        assert_eq!(ears.soon().await, ["press dictate", "release dictate"], "with {lock}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn escape_is_ours_only_while_recording() {
    let desktop = Desktop::start();
    let editor = desktop.xterm("terminal", &[]);
    let mut ears = listen(&desktop, &[("dictate", "F9"), ("modifier", "right_ctrl")]).await.expect("keys");
    desktop.xdotool(["key", "Escape", "type", "a"]);
    assert!(ears.soon().await.is_empty());
    let record = |ears: &Ears, state| ears.control.status.send_modify(|status| status.state = state);
    record(&ears, State::Recording);
    tokio::time::sleep(Duration::from_millis(200)).await;
    desktop.xdotool(["key", "Escape"]);
    assert_eq!(ears.soon().await, ["cancel"]);
    // While the key is held, and while a modifier that is a hotkey by itself is.
    desktop.xdotool(["keydown", "F9", "key", "Escape", "keyup", "F9"]);
    assert_eq!(ears.soon().await, ["press dictate", "cancel", "release dictate"]);
    desktop.xdotool(["keydown", "Control_R", "key", "Escape", "keyup", "Control_R"]);
    let heard = ears.soon().await;
    assert_eq!(heard.first().map(String::as_str), Some("press modifier"), "{heard:?}");
    assert!(heard.contains(&"cancel".to_owned()) && heard.contains(&"release modifier".to_owned()), "{heard:?}");
    record(&ears, State::Idle);
    tokio::time::sleep(Duration::from_millis(200)).await;
    desktop.xdotool(["key", "Escape"]);
    assert!(ears.soon().await.is_empty(), "given back");
    drop(editor);
}

#[tokio::test(flavor = "multi_thread")]
async fn modifiers_alone_talk_and_stay_modifiers() {
    let desktop = Desktop::start();
    let mut ears = listen(&desktop, &[("dictate", "right_ctrl"), ("ask", "ctrl+super")]).await.expect("keys");
    desktop.xdotool(["keydown", "Control_R", "sleep", "1", "keyup", "Control_R"]);
    assert_eq!(ears.soon().await, ["press dictate", "release dictate"]);
    desktop.xdotool(["key", "Control_L"]);
    assert!(ears.soon().await.is_empty());
    desktop.xdotool(["keydown", "Control_L", "keydown", "Super_L", "keyup", "Super_L", "keyup", "Control_L"]);
    assert_eq!(ears.soon().await, ["press ask", "release ask"]);
    // Part of another shortcut: nobody wants to speak.
    desktop.xdotool(["keydown", "Control_R", "key", "c", "keyup", "Control_R"]);
    assert_eq!(ears.soon().await, ["press dictate", "cancel"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_had_is_named_and_all_are_given_back() {
    let desktop = Desktop::start();
    let first = listen(&desktop, &[("dictate", "F9")]).await.expect("keys");
    let taken = listen(&desktop, &[("other", "F8"), ("dictate", "F9")]).await.err().expect("taken").to_string();
    assert!(taken.starts_with("F9 is taken by another program: choose another key"), "{taken}");
    drop(first);
    let again = listen(&desktop, &[("other", "F8"), ("dictate", "F9")]).await.expect("both are free again");
    drop(again);
    let missing = listen(&desktop, &[("dictate", "F24")]).await;
    if let Err(error) = missing {
        assert!(error.to_string().contains("no key F24"), "{error}");
    }
    let twice = listen(&desktop, &[("one", "F9"), ("two", "f9")]).await.err().expect("twice").to_string();
    assert!(twice.contains("one and two"), "{twice}");
    let nowhere = Session { display: Some(":987".into()), ..Session::default() };
    let none = hotkey::check(&HotkeyConfig::default(), &nowhere, keys(&[("dictate", "F9")])).await;
    assert!(none.expect_err("no server").to_string().contains("DISPLAY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_found_again_on_another_layout_and_the_end_of_the_server_is_survived() {
    let desktop = Desktop::start();
    let mut ears = listen(&desktop, &[("dictate", "ctrl+z"), ("other", "F9")]).await.expect("keys");
    desktop.layout("de");
    tokio::time::sleep(Duration::from_millis(300)).await;
    // On a German keyboard z is where y is on an American one: keycode 29.
    desktop.xdotool(["keydown", "ctrl", "key", "29", "keyup", "ctrl"]);
    assert_eq!(ears.soon().await, ["press dictate", "release dictate"]);
    desktop.layout("us,ru");
    tokio::time::sleep(Duration::from_millis(300)).await;
    desktop.xdotool(["keydown", "ctrl", "key", "52", "keyup", "ctrl"]);
    assert_eq!(ears.soon().await, ["press dictate", "release dictate"]);
    desktop.xdotool(["keydown", "F9"]);
    assert_eq!(ears.soon().await, ["press other"]);
    drop(desktop);
    assert_eq!(ears.soon().await, ["release other"], "nobody else will tell us");
}

mod portal {
    use super::*;
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};
    use zbus::object_server::SignalEmitter;
    use zbus::zvariant::{ObjectPath, OwnedObjectPath, OwnedValue, Value};

    type Options = HashMap<String, OwnedValue>;

    /// What is granted, and what was asked for.
    #[derive(Clone)]
    struct Fake {
        grant: bool,
        asked: Arc<Mutex<Vec<(String, String)>>>,
        session: Arc<Mutex<Option<OwnedObjectPath>>>,
    }

    struct SessionObject;

    #[zbus::interface(name = "org.freedesktop.portal.Session")]
    impl SessionObject {
        fn close(&self) {}
        #[zbus(signal)]
        async fn closed(emitter: &SignalEmitter<'_>, details: HashMap<&str, Value<'_>>) -> zbus::Result<()>;
        #[zbus(property)]
        fn version(&self) -> u32 {
            1
        }
    }

    fn text(value: Option<&OwnedValue>) -> String {
        value.and_then(|value| <&str>::try_from(&**value).ok()).unwrap_or_default().to_owned()
    }

    fn request_path(sender: &str, token: &str) -> String {
        let sender = sender.trim_start_matches(':').replace('.', "_");
        format!("/org/freedesktop/portal/desktop/request/{sender}/{token}")
    }

    async fn respond(
        connection: &zbus::Connection,
        to: &str,
        path: &str,
        code: u32,
        results: HashMap<&'static str, Value<'static>>,
    ) {
        let body = (code, results);
        let name = "org.freedesktop.portal.Request";
        connection.emit_signal(Some(to), path, name, "Response", &body).await.expect("a signal");
    }

    #[zbus::interface(name = "org.freedesktop.portal.GlobalShortcuts")]
    impl Fake {
        async fn create_session(
            &self,
            options: Options,
            #[zbus(header)] header: zbus::message::Header<'_>,
            #[zbus(connection)] connection: &zbus::Connection,
        ) -> OwnedObjectPath {
            let sender = header.sender().expect("a sender").to_string();
            let request = request_path(&sender, &text(options.get("handle_token")));
            let owner = sender.trim_start_matches(':').replace('.', "_");
            let token = text(options.get("session_handle_token"));
            let session = format!("/org/freedesktop/portal/desktop/session/{owner}/{token}");
            connection.object_server().at(session.as_str(), SessionObject).await.expect("a session");
            let path = ObjectPath::try_from(session.clone()).expect("a path");
            *self.session.lock().expect("session") = Some(path.into());
            let results = HashMap::from([("session_handle", Value::from(session))]);
            respond(connection, &sender, &request, 0, results).await;
            ObjectPath::try_from(request).expect("a path").into()
        }

        async fn bind_shortcuts(
            &self,
            _session: OwnedObjectPath,
            shortcuts: Vec<(String, Options)>,
            _parent: String,
            options: Options,
            #[zbus(header)] header: zbus::message::Header<'_>,
            #[zbus(connection)] connection: &zbus::Connection,
        ) -> OwnedObjectPath {
            let sender = header.sender().expect("a sender").to_string();
            let request = request_path(&sender, &text(options.get("handle_token")));
            let asked = shortcuts.iter().map(|(id, info)| (id.clone(), text(info.get("preferred_trigger"))));
            self.asked.lock().expect("asked").extend(asked);
            let granted: Vec<(String, HashMap<String, Value<'static>>)> = shortcuts
                .into_iter()
                .filter(|_| self.grant)
                .map(|(id, _)| {
                    let info = [("description", "d"), ("trigger_description", "t")];
                    (id, info.map(|(key, value)| (key.to_owned(), Value::from(value))).into())
                })
                .collect();
            let code = u32::from(!self.grant);
            respond(connection, &sender, &request, code, HashMap::from([("shortcuts", Value::from(granted))])).await;
            ObjectPath::try_from(request).expect("a path").into()
        }

        #[zbus(property)]
        fn version(&self) -> u32 {
            1
        }
    }

    async fn fake(session: &Session, grant: bool) -> (zbus::Connection, Fake) {
        let fake = Fake { grant, asked: Arc::default(), session: Arc::default() };
        let address = session.bus.as_deref().expect("a bus");
        let builder = zbus::connection::Builder::address(address).expect("an address");
        let builder = builder.name("org.freedesktop.portal.Desktop").expect("a name");
        let builder = builder.serve_at("/org/freedesktop/portal/desktop", fake.clone()).expect("an object");
        (builder.build().await.expect("a service"), fake)
    }

    fn session(desktop: &Desktop) -> Session {
        let bus = desktop.env().into_iter().find(|(name, _)| *name == "DBUS_SESSION_BUS_ADDRESS");
        Session { wayland: Some("wayland-none".into()), bus: bus.map(|(_, value)| value), ..Session::default() }
    }

    impl Fake {
        /// A key goes down or up.
        async fn signal(&self, connection: &zbus::Connection, name: &str, id: &str) {
            let session = self.session.lock().expect("session").clone().expect("a session");
            let body = (session, id, 0u64, HashMap::<String, Value<'_>>::new());
            let path = "/org/freedesktop/portal/desktop";
            let interface = "org.freedesktop.portal.GlobalShortcuts";
            connection.emit_signal(None::<&str>, path, interface, name, &body).await.expect("a signal");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_portal_tells_of_presses_and_releases_in_order() {
        let desktop = Desktop::start();
        let session = session(&desktop);
        let (service, fake) = fake(&session, true).await;
        let (controller, control) = Controller::new(Status::default());
        let wanted = keys(&[("dictate", "ctrl+alt+space"), ("ask", "F9")]);
        let hotkeys = hotkey::start(&HotkeyConfig::default(), &session, wanted, &controller).await.expect("keys");
        assert_eq!(hotkeys.backend, HotkeyBackend::Portal);
        let mut ears = Ears { control, _hotkeys: hotkeys };
        wait_until("the shortcuts", || fake.asked.lock().expect("asked").len() == 2);
        let asked = fake.asked.lock().expect("asked").clone();
        let expected = [("dictate", "CTRL+ALT+space"), ("ask", "F9")];
        assert_eq!(asked, expected.map(|(id, trigger)| (id.to_owned(), trigger.to_owned())));
        tokio::time::sleep(Duration::from_millis(200)).await;
        // A desktop that repeats, quick taps, and a shortcut that is not ours.
        for (name, id) in [
            ("Activated", "dictate"),
            ("Activated", "dictate"),
            ("Deactivated", "dictate"),
            ("Activated", "dictate"),
            ("Deactivated", "dictate"),
            ("Activated", "stranger"),
            ("Deactivated", "ask"),
            ("Activated", "ask"),
        ] {
            fake.signal(&service, name, id).await;
        }
        let expected = ["press dictate", "release dictate", "press dictate", "release dictate", "press ask"];
        assert_eq!(ears.soon().await, expected);
        // The desktop ends the session: what is held is let go, and the keys are asked for again.
        let path = fake.session.lock().expect("session").clone().expect("a session");
        let closed = SignalEmitter::new(&service, path).expect("an emitter");
        SessionObject::closed(&closed, HashMap::new()).await.expect("a signal");
        assert_eq!(ears.soon().await, ["release ask"]);
        wait_until("the shortcuts once more", || fake.asked.lock().expect("asked").len() == 4);
        tokio::time::sleep(Duration::from_millis(200)).await;
        fake.signal(&service, "Activated", "ask").await;
        assert_eq!(ears.soon().await, ["press ask"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_portal_the_way_out_is_named() {
        let desktop = Desktop::start();
        let error = hotkey::check(&HotkeyConfig::default(), &session(&desktop), keys(&[("dictate", "F9")])).await;
        let error = error.expect_err("no portal").to_string();
        assert!(error.contains("GlobalShortcuts") && error.contains("bestbox doctor"), "{error}");
    }
}

/// The lines that `bestbox doctor` prints, in a compositor that knows no portal.
#[test]
fn the_lines_for_sway_tell_of_press_and_release() {
    use crate::support::desktop::sway::Sway;
    let folder = tempfile::tempdir().expect("a folder");
    // Stands in for the program and notes what it is called with; the compositor may be another user.
    let (program, said) = (folder.path().join("bestbox"), folder.path().join("said"));
    std::fs::write(&program, format!("#!/bin/sh\necho \"$@\" >> '{}'\n", said.display())).expect("a program");
    std::fs::write(&said, "").expect("a file");
    for (path, mode) in [(folder.path(), 0o777), (program.as_path(), 0o755), (said.as_path(), 0o666)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("permissions");
    }
    let lines = hotkey::lines::Desktop::Sway.lines(&program.display().to_string(), &keys(&[("dictate", "F9")]));
    let sway = Sway::start(&lines);
    let editor = sway.editor("editor");
    // Longer than the delay of autorepeat.
    assert!(sway.run("wtype", ["-P", "F9", "-s", "1200", "-p", "F9"]).status.success());
    let text = || std::fs::read_to_string(&said).expect("a file");
    wait_until("press and release", || text().lines().count() >= 2);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(text(), "ctl press --binding dictate\nctl release --binding dictate\n");
    drop(editor);
}
