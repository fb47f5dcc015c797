//! The overlay's window on an X server: override-redirect (no window manager, no focus), with an empty input shape
//! (clicks go through it).

use super::draw::{Corners, Frame, Painter};
use super::view::View;
use super::{HEIGHT, MARGIN, WIDTH, newest};
use crate::config::OverlayPlace;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use x11rb::connection::{Connection, RequestConnection};
use x11rb::errors::ReplyOrIdError;
use x11rb::protocol::Event;
use x11rb::protocol::randr::ConnectionExt as _;
use x11rb::protocol::shape::SK;
use x11rb::protocol::xfixes::ConnectionExt as _;
use x11rb::protocol::xproto::{
    AtomEnum, ColormapAlloc, ConfigureWindowAux, ConnectionExt as _, CreateGCAux, CreateWindowAux, EventMask, Gcontext,
    ImageFormat, ImageOrder, PropMode, Screen, StackMode, Visualid, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// Between two looks for events while the window is there.
const SHOWN: Duration = Duration::from_millis(150);
/// While it is not, nothing can happen to it.
const HIDDEN: Duration = Duration::from_secs(3600);

/// Shows views until no more come.
pub fn show(display: Option<&str>, place: OverlayPlace, views: &Receiver<Option<View>>) -> Result<(), String> {
    let (connection, screen) = x11rb::connect(display).map_err(|error| format!("the X server: {error}"))?;
    if connection.setup().image_byte_order != ImageOrder::LSB_FIRST {
        return Err("the X server wants pictures in an order that is not supported".into());
    }
    let mut painter = Painter::default();
    let canvas = Canvas::new(&connection, screen).map_err(|error| format!("the X server: {error}"))?;
    let mut last: Option<Frame> = None;
    loop {
        let wait = if last.is_some() { SHOWN } else { HIDDEN };
        let Ok(news) = newest(views, wait) else { return Ok(()) };
        let result = match news {
            Some(Some(view)) => {
                let frame = painter.draw(&view, canvas.scale, canvas.corners);
                let frame = frame.ok_or("the screen's scale is too large")?;
                let appears = last.is_none();
                let result = if appears { canvas.appear(place) } else { Ok(()) };
                let result = result.and_then(|()| canvas.put(&frame));
                last = Some(frame);
                result
            }
            Some(None) => {
                last = None;
                canvas.vanish()
            }
            None => Ok(()),
        };
        result.and_then(|()| canvas.events(last.as_ref())).map_err(|error| format!("the X server: {error}"))?;
    }
}

struct Canvas<'a> {
    connection: &'a RustConnection,
    screen: &'a Screen,
    window: Window,
    context: Gcontext,
    depth: u8,
    scale: f32,
    corners: Corners,
}

impl<'a> Canvas<'a> {
    fn new(connection: &'a RustConnection, number: usize) -> Result<Self, ReplyOrIdError> {
        let screen = &connection.setup().roots[number];
        // Where a compositor runs, transparency is real; otherwise it would be black.
        let atom = connection.intern_atom(false, format!("_NET_WM_CM_S{number}").as_bytes())?.reply()?.atom;
        let composited = connection.get_selection_owner(atom)?.reply()?.owner != x11rb::NONE;
        let deep = if composited { visual_of_depth(screen, 32) } else { None };
        let (depth, visual) = deep.map_or((screen.root_depth, screen.root_visual), |visual| (32, visual));
        let corners = if deep.is_some() { Corners::Round } else { Corners::Square };
        let scale = scale(connection);
        let (window, context) = (connection.generate_id()?, connection.generate_id()?);
        let colormap = connection.generate_id()?;
        connection.create_colormap(ColormapAlloc::NONE, colormap, screen.root, visual)?;
        // A border and a background are named because those of the parent have another depth.
        let aux = CreateWindowAux::new()
            .override_redirect(1)
            .colormap(colormap)
            .border_pixel(0)
            .background_pixel(0)
            .event_mask(EventMask::EXPOSURE);
        let (width, height) = ((WIDTH as f32 * scale) as u16, (HEIGHT as f32 * scale) as u16);
        let class = WindowClass::INPUT_OUTPUT;
        connection.create_window(depth, window, screen.root, 0, 0, width, height, 0, class, visual, &aux)?.check()?;
        connection.create_gc(context, window, &CreateGCAux::new())?;
        let atom = |name: &str| connection.intern_atom(false, name.as_bytes())?.reply().map(|reply| reply.atom);
        let kind = atom("_NET_WM_WINDOW_TYPE")?;
        let notification = atom("_NET_WM_WINDOW_TYPE_NOTIFICATION")?;
        connection.change_property32(PropMode::REPLACE, window, kind, AtomEnum::ATOM, &[notification])?;
        connection.change_property8(PropMode::REPLACE, window, AtomEnum::WM_NAME, AtomEnum::STRING, b"bestbox")?;
        let class = b"bestbox-overlay\0bestbox\0";
        connection.change_property8(PropMode::REPLACE, window, AtomEnum::WM_CLASS, AtomEnum::STRING, class)?;
        // Clicks go through.
        connection.xfixes_query_version(5, 0)?.reply()?;
        let nothing = connection.generate_id()?;
        connection.xfixes_create_region(nothing, &[])?;
        connection.xfixes_set_window_shape_region(window, SK::INPUT, 0, 0, nothing)?;
        connection.xfixes_destroy_region(nothing)?;
        connection.flush()?;
        Ok(Canvas { connection, screen, window, context, depth, scale, corners })
    }

    /// Puts the window on the screen where the pointer is, above the others.
    fn appear(&self, place: OverlayPlace) -> Result<(), ReplyOrIdError> {
        let (left, top, width, height) = self.monitor();
        let own = |length: u32| (length as f32 * self.scale) as i32;
        let x = left + (width - own(WIDTH)) / 2;
        let y = match place {
            OverlayPlace::Top => top + own(MARGIN),
            OverlayPlace::Bottom => top + height - own(HEIGHT) - own(MARGIN),
        };
        let aux = ConfigureWindowAux::new().x(x).y(y).stack_mode(StackMode::ABOVE);
        self.connection.configure_window(self.window, &aux)?;
        self.connection.map_window(self.window)?;
        Ok(())
    }

    fn vanish(&self) -> Result<(), ReplyOrIdError> {
        self.connection.unmap_window(self.window)?;
        self.connection.flush()?;
        Ok(())
    }

    /// Left, top, width, height of the monitor with the pointer; the whole screen where that is not known.
    fn monitor(&self) -> (i32, i32, i32, i32) {
        let whole = (0, 0, i32::from(self.screen.width_in_pixels), i32::from(self.screen.height_in_pixels));
        let find = || -> Result<Option<_>, ReplyOrIdError> {
            let pointer = self.connection.query_pointer(self.screen.root)?.reply()?;
            let monitors = self.connection.randr_get_monitors(self.screen.root, true)?.reply()?.monitors;
            let place = |m: &x11rb::protocol::randr::MonitorInfo| {
                (i32::from(m.x), i32::from(m.y), i32::from(m.width), i32::from(m.height))
            };
            let (x, y) = (i32::from(pointer.root_x), i32::from(pointer.root_y));
            let under = |(left, top, width, height): &(i32, i32, i32, i32)| {
                (*left..left + width).contains(&x) && (*top..top + height).contains(&y)
            };
            Ok(monitors.iter().map(place).find(under))
        };
        find().ok().flatten().unwrap_or(whole)
    }

    /// Sends a picture, in as many requests as the server wants.
    fn put(&self, frame: &Frame) -> Result<(), ReplyOrIdError> {
        let row = frame.width as usize * 4;
        // A request has a head of 24 bytes, 28 for large ones.
        let rows = (self.connection.maximum_request_bytes().saturating_sub(64) / row).max(1);
        for (index, part) in frame.bgra.chunks(row * rows).enumerate() {
            let (width, height) = (frame.width as u16, (part.len() / row) as u16);
            let top = (index * rows) as i16;
            let format = ImageFormat::Z_PIXMAP;
            self.connection.put_image(format, self.window, self.context, width, height, 0, top, 0, self.depth, part)?;
        }
        self.connection.flush()?;
        Ok(())
    }

    /// Draws again what the server has lost; notices that it is gone.
    fn events(&self, last: Option<&Frame>) -> Result<(), ReplyOrIdError> {
        while let Some(event) = self.connection.poll_for_event()? {
            if let (Event::Expose(_), Some(frame)) = (event, last) {
                self.put(frame)?;
            }
        }
        Ok(())
    }
}

fn visual_of_depth(screen: &Screen, depth: u8) -> Option<Visualid> {
    let depth = screen.allowed_depths.iter().find(|allowed| allowed.depth == depth)?;
    depth.visuals.first().map(|visual| visual.visual_id)
}

/// Pixels for each logical one: what the desktop has set as the resolution of text.
fn scale(connection: &RustConnection) -> f32 {
    let database = x11rb::resource_manager::new_from_default(connection).ok();
    let dpi = database.and_then(|database| database.get_value::<f32>("Xft.dpi", "").ok().flatten());
    dpi.map_or(1.0, |dpi| (dpi / 96.0).clamp(1.0, 4.0))
}
