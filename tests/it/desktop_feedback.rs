//! What is seen and heard of dictation, on a real desktop.

use crate::support::desktop::sway::Sway;
use crate::support::desktop::{Desktop, wait_until};
use bestbox::app::dictate::desktop_session::Session;
use bestbox::app::dictate::feedback::{self, Feedback};
use bestbox::app::dictate::{Command, Control, Controller, Event, State, Status};
use bestbox::config::FeedbackConfig;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::OwnedValue;

/// Nothing of it; each test switches on what it is about.
fn off() -> FeedbackConfig {
    FeedbackConfig { notifications: false, tray: false, overlay: false, terminal: false, ..FeedbackConfig::default() }
}

/// The owner's side of dictation, played by the test.
struct Stage {
    control: Control,
    feedback: Feedback,
}

impl Stage {
    /// Starts what `config` asks for; `listeners` of it listen to events.
    fn start(config: &FeedbackConfig, session: &Session, listeners: usize) -> Stage {
        let (controller, control) = Controller::new(Status { ready: true, ..Status::default() });
        let feedback = feedback::start(config, session, &controller);
        wait_until("the listeners", || control.events.receiver_count() >= listeners);
        // The tasks hold the handles that they need.
        drop(controller);
        Stage { control, feedback }
    }

    fn tell(&self, event: Event) {
        self.control.events.send(event).expect("somebody listens");
    }

    fn state(&self, state: State) {
        let binding = (state == State::Recording).then(|| "dictate".to_owned());
        self.control.status.send_modify(|status| {
            status.state = state;
            status.binding.clone_from(&binding);
        });
        self.tell(Event::StateChanged { state, binding });
    }
}

fn session(desktop: &Desktop) -> Session {
    let bus = desktop.env().into_iter().find(|(name, _)| *name == "DBUS_SESSION_BUS_ADDRESS");
    Session { display: Some(desktop.display.clone()), wayland: None, bus: bus.map(|(_, value)| value) }
}

async fn service<I: zbus::object_server::Interface>(
    session: &Session,
    name: &str,
    path: &str,
    object: I,
) -> zbus::Connection {
    let address = session.bus.as_deref().expect("a bus");
    let builder = zbus::connection::Builder::address(address).expect("an address");
    let builder = builder.name(name.to_owned()).expect("a name");
    let builder = builder.serve_at(path.to_owned(), object).expect("an object");
    builder.build().await.expect("a service")
}

mod notifications {
    use super::*;

    const NAME: &str = "org.freedesktop.Notifications";
    const PATH: &str = "/org/freedesktop/Notifications";

    #[derive(Clone, Debug, PartialEq)]
    struct Note {
        id: u32,
        summary: String,
        body: String,
        actions: Vec<String>,
        urgency: u8,
        expire: i32,
    }

    /// A notification service that remembers all it was told to show.
    #[derive(Clone, Default)]
    struct Desk {
        notes: Arc<Mutex<Vec<Note>>>,
    }

    #[zbus::interface(name = "org.freedesktop.Notifications")]
    impl Desk {
        fn get_capabilities(&self) -> Vec<&'static str> {
            vec!["body", "body-markup", "actions"]
        }

        #[allow(clippy::too_many_arguments, reason = "the specification's")]
        fn notify(
            &self,
            _app_name: String,
            replaces: u32,
            _icon: String,
            summary: String,
            body: String,
            actions: Vec<String>,
            hints: HashMap<String, OwnedValue>,
            expire: i32,
        ) -> u32 {
            let mut notes = self.notes.lock().expect("notes");
            let id = if replaces == 0 { notes.len() as u32 + 1 } else { replaces };
            let urgency = hints.get("urgency").and_then(|value| u8::try_from(value).ok()).unwrap_or(9);
            notes.push(Note { id, summary, body, actions, urgency, expire });
            id
        }

        #[zbus(signal)]
        async fn action_invoked(emitter: &SignalEmitter<'_>, id: u32, action: &str) -> zbus::Result<()>;
    }

    impl Desk {
        fn last(&self) -> Option<Note> {
            self.notes.lock().expect("notes").last().cloned()
        }

        #[track_caller]
        fn expect(&self, summary: &str, body: &str) -> Note {
            let is = |note: &Note| note.summary == summary && note.body == body;
            wait_until(summary, || self.last().as_ref().is_some_and(is));
            self.last().expect("a note")
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn answers_problems_and_cancelled_takes_are_shown_once_each_and_can_be_recovered() {
        let desktop = Desktop::start();
        let session = session(&desktop);
        let desk = Desk::default();
        let bus = service(&session, NAME, PATH, desk.clone()).await;
        let mut stage = Stage::start(&FeedbackConfig { notifications: true, ..off() }, &session, 1);
        stage.tell(Event::Error { take: None, message: "the <microphone> is gone & lost".into() });
        let problem = desk.expect("Dictation failed", "the &lt;microphone&gt; is gone &amp; lost");
        assert_eq!((problem.urgency, problem.expire), (2, -1));
        stage.tell(Event::Warning { message: "the model is slow".into() });
        assert_eq!(desk.expect("Dictation", "the model is slow").id, problem.id, "it takes the place of the last");
        for delta in ["The capital", " of Portugal"] {
            stage.tell(Event::ReplyDelta { take: 1, delta: delta.into() });
        }
        stage.tell(Event::Reply { take: 1, text: "The capital of Portugal is Lisbon.".into() });
        let answer = desk.expect("Answer", "The capital of Portugal is Lisbon.");
        assert_eq!((answer.urgency, answer.expire), (1, 0), "stays until it is read");
        let partial = desk.notes.lock().expect("notes").iter().find(|note| note.summary == "Answer").cloned();
        let partial = partial.expect("it came in pieces");
        assert!(partial.id == answer.id && partial.body.starts_with("The capital") && partial.body.ends_with('…'));
        stage.tell(Event::Delivered { take: 1, how: "clipboard".into() });
        let state = desk.expect("The text is in the clipboard", "Paste it where you want it.");
        assert_ne!(state.id, answer.id, "the answer stays where it is");
        stage.tell(Event::Cancelled { take: 2, recoverable: true });
        let cancelled = desk.expect("Cancelled", "`bestbox ctl recover` makes text of it after all.");
        assert_eq!((cancelled.id, cancelled.actions.first().map(String::as_str)), (state.id, Some("recover")));
        // Another program's notification, then ours.
        let emitter = SignalEmitter::new(&bus, PATH).expect("an emitter");
        Desk::action_invoked(&emitter, cancelled.id + 40, "recover").await.expect("a signal");
        Desk::action_invoked(&emitter, cancelled.id, "recover").await.expect("a signal");
        let order = tokio::time::timeout(Duration::from_secs(10), stage.control.orders.recv()).await;
        assert_eq!(order.expect("an order").expect("an order").command, Command::Recover);
        assert!(stage.control.orders.try_recv().is_err(), "of the other nothing came");
        // A service that ends and comes again is found again.
        drop(bus);
        stage.tell(Event::Error { take: None, message: "nobody sees this".into() });
        let desk = Desk::default();
        let _bus = service(&session, NAME, PATH, desk.clone()).await;
        wait_until("the new service", || {
            stage.tell(Event::Error { take: None, message: "seen again".into() });
            std::thread::sleep(Duration::from_millis(200));
            desk.last().is_some_and(|note| note.body == "seen again")
        });
        // The end of the session is the end of it.
        drop(desktop);
        wait_until("its end", || stage.control.events.receiver_count() == 0);
        stage.feedback.stop().await;
    }
}

mod media {
    use super::*;

    const PATH: &str = "/org/mpris/MediaPlayer2";

    /// A player; one that hangs answers nothing for a minute.
    #[derive(Clone)]
    struct Player {
        status: Arc<Mutex<String>>,
        hangs: bool,
    }

    impl Player {
        fn new(status: &str) -> Player {
            Player { status: Arc::new(Mutex::new(status.to_owned())), hangs: false }
        }

        fn is(&self, status: &str) -> bool {
            *self.status.lock().expect("status") == status
        }

        fn set(&self, status: &str) {
            status.clone_into(&mut self.status.lock().expect("status"));
        }
    }

    #[zbus::interface(name = "org.mpris.MediaPlayer2.Player")]
    impl Player {
        fn play(&self) {
            self.set("Playing");
        }
        fn pause(&self) {
            self.set("Paused");
        }
        #[zbus(property)]
        async fn playback_status(&self) -> String {
            if self.hangs {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            self.status.lock().expect("status").clone()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_plays_is_paused_while_recording_and_nothing_else_is_touched() {
        let desktop = Desktop::start();
        let session = session(&desktop);
        let (music, film, silent) = (Player::new("Playing"), Player::new("Paused"), Player::new("Stopped"));
        let stuck = Player { hangs: true, ..Player::new("Playing") };
        let mut services = Vec::new();
        for (name, player) in [("music", &music), ("film", &film), ("silent", &silent), ("stuck", &stuck)] {
            let name = format!("org.mpris.MediaPlayer2.{name}");
            services.push(service(&session, &name, PATH, player.clone()).await);
        }
        let stage = Stage::start(&FeedbackConfig { pause_media: true, ..off() }, &session, 1);
        stage.state(State::Recording);
        wait_until("silence", || music.is("Paused"));
        assert!(film.is("Paused") && silent.is("Stopped") && stuck.is("Playing"));
        stage.state(State::Processing);
        wait_until("the music", || music.is("Playing"));
        assert!(film.is("Paused") && silent.is("Stopped"));
        stage.state(State::Idle);
        // What the user does meanwhile counts.
        stage.state(State::Recording);
        wait_until("silence", || music.is("Paused"));
        music.set("Stopped");
        film.set("Playing");
        stage.state(State::Idle);
        stage.state(State::Recording);
        wait_until("the film", || film.is("Paused"));
        assert!(music.is("Stopped"));
        // The end of dictation in the middle of a take.
        stage.feedback.stop().await;
        assert!(film.is("Playing") && music.is("Stopped"));
    }
}

mod overlay {
    use super::*;
    use x11rb::connection::Connection;
    use x11rb::protocol::xproto::{ConnectionExt, ImageFormat};

    const CONFIG: FeedbackConfig = FeedbackConfig {
        sounds: false,
        volume: 0.0,
        notifications: false,
        tray: false,
        overlay: true,
        overlay_place: bestbox::config::OverlayPlace::Bottom,
        overlay_seconds: 0.5,
        terminal: false,
        pause_media: false,
    };

    fn window(desktop: &Desktop) -> Option<u32> {
        let found = desktop.run("xdotool", ["search", "--onlyvisible", "--classname", "bestbox-overlay"]);
        String::from_utf8_lossy(&found.stdout).lines().next().and_then(|line| line.trim().parse().ok())
    }

    /// Pixels of the window that are nearly white: its text.
    fn lit(desktop: &Desktop, window: u32) -> usize {
        let (connection, _) = x11rb::connect(Some(&desktop.display)).expect("the X server");
        let place = connection.get_geometry(window).expect("a request").reply();
        let Ok(place) = place else { return 0 };
        let image = connection.get_image(ImageFormat::Z_PIXMAP, window, 0, 0, place.width, place.height, !0);
        let Ok(image) = image.expect("a request").reply() else { return 0 };
        let lit = image.data.chunks_exact(4).filter(|pixel| pixel[..3].iter().all(|part| *part > 180)).count();
        connection.flush().expect("the X server");
        lit
    }

    fn speak(stage: &Stage, text: &str) {
        stage.state(State::Recording);
        stage.tell(Event::Listening { take: 1, microphone: "test".into() });
        for step in 0..20 {
            stage.tell(Event::Level { dbfs: -45.0 + step as f32 });
        }
        stage.tell(Event::Partial { take: 1, text: text.into() });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_shows_the_text_and_takes_neither_focus_nor_keys_nor_clicks() {
        let desktop = Desktop::start();
        let terminal = desktop.xterm("terminal", &[]);
        let stage = Stage::start(&CONFIG, &session(&desktop), 1);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(window(&desktop), None, "there is nothing to say yet");
        speak(&stage, "Guten Tag, wie geht es Ihnen? 漢字");
        wait_until("the overlay", || window(&desktop).is_some());
        let id = window(&desktop).expect("a window");
        wait_until("its text", || lit(&desktop, id) > 100);
        if let Some(folder) = std::env::var_os("PICTURES") {
            let path = std::path::Path::new(&folder).join("overlay.png");
            desktop.run("import", ["-window", "root", &path.display().to_string()]);
        }
        assert_eq!(desktop.xdotool(["getactivewindow"]), terminal.id, "the focus stays");
        desktop.xdotool(["type", "ls"]);
        terminal.expect("ls", Duration::from_secs(10));
        let place = desktop.xdotool(["getwindowgeometry", "--shell", &id.to_string()]);
        let number = |name: &str| -> i32 {
            let line = place.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.and_then(|value| value.parse().ok()).expect("a number")
        };
        let (x, y, width, height) = (number("X"), number("Y"), number("WIDTH"), number("HEIGHT"));
        assert!((x + width / 2 - 640).abs() <= 1, "in the middle: {place}");
        assert!(y > 600 && y + height < 800, "at the lower edge: {place}");
        desktop.xdotool(["mousemove", &(x + 20).to_string(), &(y + 20).to_string()]);
        let under = desktop.xdotool(["getmouselocation", "--shell"]);
        assert!(!under.contains(&format!("WINDOW={id}")), "clicks go through: {under}");
        // The next take begins empty; then its problem is shown; then it goes by itself.
        speak(&stage, "");
        wait_until("an empty card", || lit(&desktop, id) < 100);
        stage.tell(Event::Error { take: Some(1), message: "the microphone was unplugged in the middle".into() });
        wait_until("the problem", || lit(&desktop, id) > 100);
        stage.state(State::Idle);
        wait_until("its end", || window(&desktop).is_none());
        // A display that goes away costs nothing else.
        speak(&stage, "once more");
        wait_until("the overlay", || window(&desktop).is_some());
        drop(terminal);
        drop(desktop);
        let stopped = tokio::time::timeout(Duration::from_secs(10), stage.feedback.stop()).await;
        assert!(stopped.is_ok(), "it ends without its display");
    }

    /// A screenshot: width, and three bytes a pixel.
    fn screen(sway: &Sway) -> (usize, Vec<u8>) {
        let taken = sway.run("grim", ["-t", "ppm", "-"]);
        assert!(taken.status.success(), "grim: {}", String::from_utf8_lossy(&taken.stderr));
        // "P6\nWIDTH HEIGHT\n255\n"
        let mut lines = taken.stdout.splitn(4, |byte| *byte == b'\n');
        let mut line = || lines.next().expect("a line");
        let (_, size, _) = (line(), String::from_utf8(line().to_vec()).expect("a size"), line());
        let width = size.split_whitespace().next().and_then(|width| width.parse().ok());
        (width.expect("a width"), line().to_vec())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn on_wayland_it_is_a_layer_without_focus() {
        let sway = Sway::start("");
        let editor = sway.editor("editor");
        let socket = sway.folder().join("run/wayland-1").display().to_string();
        let session = Session { wayland: Some(socket), ..Session::default() };
        let (width, before) = screen(&sway);
        let stage = Stage::start(&CONFIG, &session, 1);
        speak(&stage, "Guten Tag, wie geht es Ihnen?");
        // The card is dark and stands in the middle, a little above the lower edge.
        let height = before.len() / 3 / width;
        let at = ((height - 48 - 80) * width + width / 2 - 180) * 3;
        let dark = |pixels: &[u8]| pixels[at..at + 3].iter().all(|part| *part < 60);
        wait_until("the overlay", || dark(&screen(&sway).1));
        if let Some(folder) = std::env::var_os("PICTURES") {
            let path = std::path::Path::new(&folder).join("overlay-sway.png");
            std::fs::write(path, sway.run("grim", ["-"]).stdout).expect("a picture");
        }
        assert_eq!(sway.focused_app().as_deref(), Some("editor"));
        wait_until("typing", || sway.run("wtype", ["x"]).status.success() && editor.text().contains('x'));
        stage.state(State::Idle);
        wait_until("its end", || !dark(&screen(&sway).1));
        drop(editor);
        drop(sway);
        let stopped = tokio::time::timeout(Duration::from_secs(10), stage.feedback.stop()).await;
        assert!(stopped.is_ok(), "it ends without its compositor");
    }
}

/// What needs the program's own environment: tray, sounds, and the view in a terminal.
mod program {
    use super::*;
    use crate::support::dictate::Home;
    use std::process::{Child, Stdio};
    use zbus::zvariant::Value;

    const CONFIG: &str =
        "profile = 'tiny'\n[cleanup]\nstyle = 'verbatim'\n[dictate.feedback]\nsounds = true\nvolume = 0.5\n";

    /// The panel's side of the tray.
    #[derive(Clone, Default)]
    struct Panel {
        items: Arc<Mutex<Vec<String>>>,
    }

    #[zbus::interface(name = "org.kde.StatusNotifierWatcher")]
    impl Panel {
        fn register_status_notifier_item(&self, service: String) {
            self.items.lock().expect("items").push(service);
        }
        #[zbus(property)]
        fn is_status_notifier_host_registered(&self) -> bool {
            true
        }
        #[zbus(property)]
        fn protocol_version(&self) -> i32 {
            0
        }
        #[zbus(property)]
        fn registered_status_notifier_items(&self) -> Vec<String> {
            self.items.lock().expect("items").clone()
        }
    }

    /// Ended when dropped.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A dictation that another program has started; ended with the test, however that ends.
    struct Started(nix::unistd::Pid);

    impl Drop for Started {
        fn drop(&mut self) {
            let program = std::fs::read_link(format!("/proc/{}/exe", self.0));
            if program.is_ok_and(|program| program == std::path::Path::new(env!("CARGO_BIN_EXE_bestbox"))) {
                let _ = nix::sys::signal::kill(self.0, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }

    /// Id of the menu's entry with this label: (id, properties, children).
    fn entry(layout: &Value<'_>, label: &str) -> Option<i32> {
        match layout {
            Value::Value(inner) => entry(inner, label),
            Value::Array(children) => children.iter().find_map(|child| entry(child, label)),
            Value::Structure(parts) => match parts.fields() {
                [Value::I32(id), Value::Dict(properties), children] => {
                    let own: Option<Option<String>> = properties.get(&"label").ok();
                    if own.flatten().as_deref() == Some(label) { Some(*id) } else { entry(children, label) }
                }
                fields => fields.iter().find_map(|field| entry(field, label)),
            },
            _ => None,
        }
    }

    fn loudest(path: &std::path::Path) -> u16 {
        let bytes = std::fs::read(path).unwrap_or_default();
        let samples = bytes.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]]).unsigned_abs());
        samples.max().unwrap_or(0)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tray_sounds_and_terminal_follow_dictation_and_drive_it() {
        let desktop = Desktop::with_sound();
        let home = Home::on(&desktop, CONFIG);
        let panel = Panel::default();
        let session = session(&desktop);
        let (name, path) = ("org.kde.StatusNotifierWatcher", "/StatusNotifierWatcher");
        let bus = service(&session, name, path, panel.clone()).await;
        let heard = desktop.folder().join("heard.raw");
        let mut recorder = desktop.command("parec");
        recorder.args([
            "--device=speaker.monitor",
            "--raw",
            "--format=s16le",
            "--rate=48000",
            "--channels=1",
            "--latency-msec=50",
        ]);
        recorder.stdin(Stdio::null()).stdout(std::fs::File::create(&heard).expect("a file"));
        let _recorder = Running(recorder.spawn().expect("parec"));
        wait_until("the loudspeaker", || std::fs::metadata(&heard).is_ok_and(|meta| meta.len() > 0));
        // In a terminal, with a protocol of what is written to it.
        let written = desktop.folder().join("written");
        let config = home.path("bestbox.toml");
        let line = format!("'{}' --config '{}' dictate", env!("CARGO_BIN_EXE_bestbox"), config.display());
        let mut terminal = desktop.command("xterm");
        terminal.args(["-u8", "-T", "view", "-geometry", "90x24", "-e", "script", "-qf"]);
        terminal.arg(&written).args(["-c", &line]).stdin(Stdio::null());
        let mut terminal = Running(terminal.spawn().expect("xterm"));
        let screen = || String::from_utf8_lossy(&std::fs::read(&written).unwrap_or_default()).into_owned();
        wait_until("the view", || screen().contains(" LOADING ") || screen().contains(" READY "));
        let status = home.until("the models", |status| status["ready"] == true);
        let pid = i32::try_from(status["pid"].as_u64().expect("a pid")).expect("a pid");
        let _dictation = Started(nix::unistd::Pid::from_raw(pid));
        wait_until("the view", || screen().contains(" READY "));

        wait_until("the icon", || !panel.items.lock().expect("items").is_empty());
        let name = panel.items.lock().expect("items")[0].clone();
        // Its changes are told by signals of its own: what a proxy remembers would be old.
        let item: zbus::Proxy<'_> = zbus::proxy::Builder::new(&bus)
            .destination(name.as_str())
            .and_then(|item| item.path("/StatusNotifierItem"))
            .and_then(|item| item.interface("org.kde.StatusNotifierItem"))
            .expect("names")
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .expect("the icon");
        let tip = || async {
            let tip: OwnedValue = item.get_property("ToolTip").await.expect("a tool tip");
            format!("{tip:?}")
        };
        let said = tip().await;
        assert!(
            said.contains("bestbox: Ready") && said.contains("Microphone: ") && said.contains("Language: "),
            "{said}"
        );
        assert!(loudest(&heard) < 100, "nothing sounds before there is a reason");
        item.call_method("Activate", &(0, 0)).await.expect("a click");
        home.until("a recording", |status| status["state"] == "recording");
        let begun = std::time::Instant::now();
        while loudest(&heard) < 3000 {
            assert!(begun.elapsed() < Duration::from_secs(60), "waited for its sound");
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("its sound came after {:.1} s", begun.elapsed().as_secs_f64());
        wait_until("the view", || screen().contains(" RECORDING ") && screen().contains("dB"));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(tip().await.contains("bestbox: Recording"));
        if let Some(folder) = std::env::var_os("PICTURES") {
            let path = std::path::Path::new(&folder).join("view.png");
            desktop.run("import", ["-window", "root", &path.display().to_string()]);
        }
        // Keys of the terminal drive it too.
        desktop.xdotool(["search", "--sync", "--onlyvisible", "--name", "^view$", "windowactivate", "--sync"]);
        desktop.xdotool(["key", "space"]);
        home.until("its end", |status| status["state"] == "idle");
        // The menu.
        let menu = zbus::Proxy::new(&bus, name.as_str(), "/MenuBar", "com.canonical.dbusmenu").await.expect("a menu");
        let layout = menu.call_method("GetLayout", &(0, -1, Vec::<String>::new())).await.expect("a layout");
        let body = layout.body();
        let layout = Value::from(body.deserialize::<zbus::zvariant::Structure<'_>>().expect("a layout"));
        let private = entry(&layout, "Private: keep nothing").expect("an entry");
        menu.call_method("Event", &(private, "clicked", Value::from(0), 0u32)).await.expect("a click");
        home.until("private", |status| status["private"] == true);

        desktop.xdotool(["key", "q"]);
        wait_until("the end", || terminal.0.try_wait().is_ok_and(|ended| ended.is_some()));
        assert!(screen().contains("\u{1b}[?1049l"), "the terminal is given back");
        let names = zbus::fdo::DBusProxy::new(&bus).await.expect("the bus");
        assert!(!names.name_has_owner(name.as_str().try_into().expect("a name")).await.expect("an answer"));
    }
}
