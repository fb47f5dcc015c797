//! The overlay under Wayland: a surface of the layer shell (sway, Hyprland, KDE), above all windows, without keyboard and
//! with an empty input region.

use super::draw::{Corners, Frame, Painter};
use super::view::View;
use super::{HEIGHT, MARGIN, WIDTH, newest};
use crate::config::OverlayPlace;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;
use wayland_client::globals::{GlobalListContents, registry_queue_init};
use wayland_client::protocol::wl_buffer::{self, WlBuffer};
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_output::{self, WlOutput};
use wayland_client::protocol::wl_region::WlRegion;
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_shm::{Format, WlShm};
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::protocol::wl_surface::{self, WlSurface};
use wayland_client::{Connection, Dispatch, EventQueue, QueueHandle, delegate_noop};
use wayland_protocols_wlr::layer_shell::v1::client::zwlr_layer_shell_v1::{Layer, ZwlrLayerShellV1};
use wayland_protocols_wlr::layer_shell::v1::client::zwlr_layer_surface_v1::{
    self, Anchor, KeyboardInteractivity, ZwlrLayerSurfaceV1,
};

/// Between two looks for events while the surface is there.
const SHOWN: Duration = Duration::from_millis(150);
/// And while it is not.
const HIDDEN: Duration = Duration::from_secs(5);

/// What the compositor has told us.
#[derive(Default)]
struct State {
    /// Largest scale of the outputs, until the compositor names one for the surface.
    outputs: i32,
    preferred: Option<i32>,
    configured: bool,
    closed: bool,
}

/// Shows views until no more come.
pub fn show(socket: &str, place: OverlayPlace, views: &Receiver<Option<View>>) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("the Wayland compositor: {error}");
    let stream = UnixStream::connect(path(socket)).map_err(|error| failed(&error))?;
    let connection = Connection::from_socket(stream).map_err(|error| failed(&error))?;
    let (globals, mut queue) = registry_queue_init::<State>(&connection).map_err(|error| failed(&error))?;
    let handle = queue.handle();
    let shell = globals.bind::<ZwlrLayerShellV1, _, _>(&handle, 1..=4, ());
    let shell = shell.map_err(|_| "the compositor has no layer shell (GNOME has none)".to_owned())?;
    let compositor = globals.bind::<WlCompositor, _, _>(&handle, 4..=6, ()).map_err(|error| failed(&error))?;
    let shm = globals.bind::<WlShm, _, _>(&handle, 1..=1, ()).map_err(|error| failed(&error))?;
    for global in globals.contents().clone_list().iter().filter(|global| global.interface == "wl_output") {
        globals.registry().bind::<WlOutput, _, _>(global.name, global.version.min(2), &handle, ());
    }
    let mut stage = Stage { handle, shell, compositor, shm, place, sheet: None };
    let mut state = State::default();
    let mut painter = Painter::default();
    let mut last: Option<View> = None;
    queue.roundtrip(&mut state).map_err(|error| failed(&error))?;
    loop {
        let wait = if last.is_some() { SHOWN } else { HIDDEN };
        let Ok(news) = newest(views, wait) else {
            stage.vanish();
            let _ = connection.flush();
            return Ok(());
        };
        let redraw = news.is_some();
        if let Some(view) = news {
            last = view;
        }
        match &last {
            Some(view) if redraw => stage.draw(&mut queue, &mut state, &mut painter, view)?,
            Some(_) => {}
            None => stage.vanish(),
        }
        queue.roundtrip(&mut state).map_err(|error| failed(&error))?;
        if state.closed {
            // Its output is gone; the next view makes a new one.
            state.closed = false;
            stage.vanish();
        }
    }
}

/// The socket's path: a name is looked up in the runtime folder.
fn path(socket: &str) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).unwrap_or_default();
    if Path::new(socket).is_absolute() { PathBuf::from(socket) } else { runtime.join(socket) }
}

struct Stage {
    handle: QueueHandle<State>,
    shell: ZwlrLayerShellV1,
    compositor: WlCompositor,
    shm: WlShm,
    place: OverlayPlace,
    /// What is on the screen.
    sheet: Option<(WlSurface, ZwlrLayerSurfaceV1)>,
}

impl Stage {
    fn draw(
        &mut self,
        queue: &mut EventQueue<State>,
        state: &mut State,
        painter: &mut Painter,
        view: &View,
    ) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("the Wayland compositor: {error}");
        if self.sheet.is_none() {
            state.configured = false;
            self.appear();
            // Nothing may be drawn before the compositor has configured the surface.
            for _ in 0..3 {
                queue.roundtrip(state).map_err(|error| failed(&error))?;
                if state.configured {
                    break;
                }
            }
        }
        let Some((surface, _)) = self.sheet.as_ref().filter(|_| state.configured && !state.closed) else {
            return Ok(());
        };
        let scale = state.preferred.unwrap_or(state.outputs).clamp(1, 4);
        let frame = painter.draw(view, scale as f32, Corners::Round).ok_or("the screen's scale is too large")?;
        let buffer = self.buffer(&frame).map_err(|error| format!("no memory to share: {error}"))?;
        surface.set_buffer_scale(scale);
        surface.attach(Some(&buffer), 0, 0);
        surface.damage_buffer(0, 0, frame.width as i32, frame.height as i32);
        surface.commit();
        Ok(())
    }

    fn appear(&mut self) {
        let surface = self.compositor.create_surface(&self.handle, ());
        let nothing = self.compositor.create_region(&self.handle, ());
        surface.set_input_region(Some(&nothing));
        nothing.destroy();
        let name = "bestbox".to_owned();
        let layer = self.shell.get_layer_surface(&surface, None, Layer::Overlay, name, &self.handle, ());
        layer.set_size(WIDTH, HEIGHT);
        layer.set_anchor(match self.place {
            OverlayPlace::Bottom => Anchor::Bottom,
            OverlayPlace::Top => Anchor::Top,
        });
        let margin = MARGIN as i32;
        layer.set_margin(margin, 0, margin, 0);
        layer.set_keyboard_interactivity(KeyboardInteractivity::None);
        surface.commit();
        self.sheet = Some((surface, layer));
    }

    fn vanish(&mut self) {
        if let Some((surface, layer)) = self.sheet.take() {
            layer.destroy();
            surface.destroy();
        }
    }

    /// A buffer with the picture; it is destroyed when the compositor has done with it.
    fn buffer(&self, frame: &Frame) -> std::io::Result<WlBuffer> {
        let mut file = tempfile::tempfile()?;
        file.write_all(&frame.bgra)?;
        let (width, height) = (frame.width as i32, frame.height as i32);
        let pool = self.shm.create_pool(file.as_fd(), frame.bgra.len() as i32, &self.handle, ());
        // Argb8888 is one number in the machine's order, and that is little-endian: blue first.
        let buffer = pool.create_buffer(0, width, height, width * 4, Format::Argb8888, &self.handle, ());
        pool.destroy();
        Ok(buffer)
    }
}

impl Dispatch<WlRegistry, GlobalListContents> for State {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: wl_registry::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
    }
}

impl Dispatch<WlOutput, ()> for State {
    fn event(state: &mut Self, _: &WlOutput, event: wl_output::Event, (): &(), _: &Connection, _: &QueueHandle<Self>) {
        if let wl_output::Event::Scale { factor } = event {
            state.outputs = state.outputs.max(factor);
        }
    }
}

impl Dispatch<WlSurface, ()> for State {
    fn event(
        state: &mut Self,
        _: &WlSurface,
        event: wl_surface::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_surface::Event::PreferredBufferScale { factor } = event {
            state.preferred = Some(factor);
        }
    }
}

impl Dispatch<WlBuffer, ()> for State {
    fn event(_: &mut Self, buffer: &WlBuffer, event: wl_buffer::Event, (): &(), _: &Connection, _: &QueueHandle<Self>) {
        if matches!(event, wl_buffer::Event::Release) {
            buffer.destroy();
        }
    }
}

impl Dispatch<ZwlrLayerSurfaceV1, ()> for State {
    fn event(
        state: &mut Self,
        surface: &ZwlrLayerSurfaceV1,
        event: zwlr_layer_surface_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            zwlr_layer_surface_v1::Event::Configure { serial, .. } => {
                surface.ack_configure(serial);
                state.configured = true;
            }
            zwlr_layer_surface_v1::Event::Closed => state.closed = true,
            _ => {}
        }
    }
}

delegate_noop!(State: WlCompositor);
delegate_noop!(State: WlRegion);
delegate_noop!(State: ignore WlShm);
delegate_noop!(State: WlShmPool);
delegate_noop!(State: ZwlrLayerShellV1);
