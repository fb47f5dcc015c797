//! Draws a view: a dark card with a dot for the state, the level of the last seconds, and the end of the text.

use super::view::View;
use super::{HEIGHT, WIDTH};
use crate::app::dictate::machine::State;
use cosmic_text::{Attrs, Buffer, FontSystem, Metrics, Shaping, SwashCache};
use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, Rect, Transform};

/// Characters of the text that are laid out: more than fit are never seen.
const LONGEST: usize = 400;
/// Lines of text.
const LINES: f32 = 2.0;
/// Height of a line, logical pixels.
const LINE: f32 = 21.0;
const FONT: f32 = 15.5;
/// Radius of the corners, logical pixels.
const CORNER: f32 = 14.0;
/// Level that has no height, dB of full scale.
const FLOOR: f32 = -60.0;

/// A picture: rows from the top, four bytes a pixel in the order blue, green, red, alpha, premultiplied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// `4 * width * height` bytes.
    pub bgra: Vec<u8>,
}

/// Fonts and glyphs; made once, as finding the fonts takes a while.
pub struct Painter {
    fonts: FontSystem,
    glyphs: SwashCache,
}

impl Default for Painter {
    fn default() -> Self {
        Painter { fonts: FontSystem::new(), glyphs: SwashCache::new() }
    }
}

impl Painter {
    /// Draws `view` at `scale` pixels for each logical one. `opaque`: the corners are filled too. `None` for a scale
    /// that no memory holds.
    pub fn draw(&mut self, view: &View, scale: f32, opaque: Corners) -> Option<Frame> {
        let (width, height) = ((WIDTH as f32 * scale) as u32, (HEIGHT as f32 * scale) as u32);
        let mut pixmap = Pixmap::new(width, height)?;
        let at = Transform::from_scale(scale, scale);
        let card = Color::from_rgba8(24, 26, 30, 238);
        match opaque {
            Corners::Square => pixmap.fill(Color::from_rgba8(24, 26, 30, 255)),
            Corners::Round => {
                let path = rounded(0.0, 0.0, WIDTH as f32, HEIGHT as f32, CORNER)?;
                pixmap.fill_path(&path, &paint(card), FillRule::Winding, at, None);
            }
        }
        let color = match view.state {
            _ if view.problem => Color::from_rgba8(255, 167, 38, 255),
            State::Recording => Color::from_rgba8(239, 68, 68, 255),
            State::Processing => Color::from_rgba8(251, 191, 36, 255),
            State::Idle => Color::from_rgba8(74, 201, 126, 255),
        };
        let mut dot = PathBuilder::new();
        dot.push_circle(24.0, 22.0, 6.0);
        pixmap.fill_path(&dot.finish()?, &paint(color), FillRule::Winding, at, None);
        for (index, dbfs) in view.levels.iter().rev().enumerate() {
            let tall = ((dbfs - FLOOR) / -FLOOR).clamp(0.04, 1.0) * 20.0;
            let left = WIDTH as f32 - 26.0 - index as f32 * 5.0;
            let bar = rounded(left, 22.0 - tall / 2.0, 3.0, tall, 1.5)?;
            pixmap.fill_path(&bar, &paint(color), FillRule::Winding, at, None);
        }
        let label = Text { text: &label(view), left: 40.0, top: 11.0, width: 240.0, lines: 1.0, gray: 165 };
        self.write(&mut pixmap, &label, scale);
        let text = tail(&view.text);
        let text = Text { text, left: 20.0, top: 40.0, width: WIDTH as f32 - 40.0, lines: LINES, gray: 240 };
        self.write(&mut pixmap, &text, scale);
        let mut bgra = pixmap.take();
        bgra.chunks_exact_mut(4).for_each(|pixel| pixel.swap(0, 2));
        Some(Frame { width, height, bgra })
    }

    /// Writes the last lines of a text into its place.
    fn write(&mut self, pixmap: &mut Pixmap, place: &Text, scale: f32) {
        // A machine without any font still sees the level and the state.
        if self.fonts.db().is_empty() {
            return;
        }
        let metrics = Metrics::new(FONT * scale, LINE * scale);
        let mut buffer = Buffer::new(&mut self.fonts, metrics);
        buffer.set_size(Some(place.width * scale), None);
        buffer.set_text(place.text, &Attrs::new(), Shaping::Advanced, None);
        buffer.shape_until_scroll(&mut self.fonts, false);
        let lines = buffer.layout_runs().count() as f32;
        let above = ((lines - place.lines).max(0.0) * LINE * scale) as i32;
        let (left, top) = ((place.left * scale) as i32, (place.top * scale) as i32);
        let bottom = top + (place.lines * LINE * scale) as i32;
        let (width, height) = (pixmap.width() as i32, pixmap.height() as i32);
        let pixels = pixmap.data_mut();
        let ink = cosmic_text::Color::rgb(place.gray, place.gray, place.gray);
        buffer.draw(&mut self.fonts, &mut self.glyphs, ink, |x, y, w, h, color| {
            for (x, y) in
                (0..h as i32).flat_map(|dy| (0..w as i32).map(move |dx| (x + dx + left, y + dy + top - above)))
            {
                let inside = (0..width).contains(&x) && (top..bottom.min(height)).contains(&y);
                if inside {
                    let at = ((y * width + x) * 4) as usize;
                    blend(&mut pixels[at..at + 4], color);
                }
            }
        });
    }
}

/// What the corners of the card are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corners {
    /// The card has none: the screen cannot show what is transparent.
    Square,
    /// Transparent around the curve.
    Round,
}

/// A text and its place, logical pixels.
struct Text<'a> {
    text: &'a str,
    left: f32,
    top: f32,
    width: f32,
    lines: f32,
    gray: u8,
}

fn label(view: &View) -> String {
    let state = match view.state {
        _ if view.problem => "Problem",
        State::Recording => "Listening",
        State::Processing if view.answer => "Answering",
        State::Processing => "Making text",
        State::Idle if view.answer => "Answer",
        State::Idle => "Done",
    };
    if view.binding.is_empty() { state.to_owned() } else { format!("{state} · {}", view.binding) }
}

fn tail(text: &str) -> &str {
    let skip = text.chars().count().saturating_sub(LONGEST);
    text.char_indices().nth(skip).map_or("", |(at, _)| &text[at..])
}

/// Lays a color over a premultiplied pixel (red, green, blue, alpha).
fn blend(pixel: &mut [u8], color: cosmic_text::Color) {
    let alpha = u32::from(color.a());
    let over = |top: u8, below: u8| ((u32::from(top) * alpha + u32::from(below) * (255 - alpha)) / 255) as u8;
    let colors = [color.r(), color.g(), color.b(), 255];
    pixel.iter_mut().zip(colors).for_each(|(below, top)| *below = over(top, *below));
}

fn paint(color: Color) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(color);
    paint
}

/// A rectangle with round corners.
fn rounded(x: f32, y: f32, width: f32, height: f32, radius: f32) -> Option<Path> {
    let r = radius.min(width / 2.0).min(height / 2.0);
    let Rect { .. } = Rect::from_xywh(x, y, width, height)?;
    let (right, bottom) = (x + width, y + height);
    let mut path = PathBuilder::new();
    path.move_to(x + r, y);
    path.line_to(right - r, y);
    path.quad_to(right, y, right, y + r);
    path.line_to(right, bottom - r);
    path.quad_to(right, bottom, right - r, bottom);
    path.line_to(x + r, bottom);
    path.quad_to(x, bottom, x, bottom - r);
    path.line_to(x, y + r);
    path.quad_to(x, y, x + r, y);
    path.close();
    path.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lit(frame: &Frame, rows: std::ops::Range<u32>) -> usize {
        let row = (frame.width * 4) as usize;
        let part = &frame.bgra[rows.start as usize * row..rows.end as usize * row];
        part.chunks_exact(4).filter(|pixel| pixel.iter().take(3).all(|byte| *byte > 150)).count()
    }

    #[test]
    fn text_of_any_script_and_levels_are_drawn_inside_the_card() {
        let mut painter = Painter::default();
        let mut view = View { state: State::Recording, levels: vec![-10.0; 40], ..View::default() };
        let without = painter.draw(&view, 1.0, Corners::Round).expect("a frame");
        assert_eq!(without.bgra.len(), (WIDTH * HEIGHT * 4) as usize);
        assert_eq!(without.bgra[3], 0, "the corner is transparent");
        assert_eq!(painter.draw(&view, 1.0, Corners::Square).expect("a frame").bgra[3], 255);
        assert_eq!(lit(&without, 40..92), 0, "no text yet");
        for text in ["Hello there", "äöü ё", &"many words ".repeat(300)] {
            text.clone_into(&mut view.text);
            let frame = painter.draw(&view, 1.0, Corners::Round).expect("a frame");
            assert!(lit(&frame, 40..84) > 30, "{text}");
            assert_eq!(lit(&frame, 85..92), 0, "{text}: stays in its place");
            // What is premultiplied is never brighter than it is opaque.
            assert!(frame.bgra.chunks_exact(4).all(|pixel| pixel[..3].iter().all(|color| *color <= pixel[3])));
        }
        assert_eq!(painter.draw(&view, 2.0, Corners::Round).expect("a frame").width, WIDTH * 2);
    }
}
