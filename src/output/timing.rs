//! Display times of captions, in whole milliseconds so that no rounding can make two overlap.

use super::atoms::width;
use super::subtitles::{Caption, SubtitleLimits};

/// Turns the times of the words into times of display. Afterwards: starts grow, no caption is empty in time or
/// reaches into the next, none leaves the recording (unless it holds more captions than milliseconds); captions stay
/// up for `min_seconds` and for the reading speed as far as the pauses allow, and never longer than `max_seconds`.
pub(super) fn set_times(captions: &mut [Caption], duration: Option<f64>, limits: &SubtitleLimits) {
    let ms = |seconds: f64| (seconds * 1000.0).round().max(0.0) as u64;
    let (min, gap) = (ms(limits.min_seconds).max(1), ms(limits.gap_seconds));
    let max = ms(limits.max_seconds).max(min);
    // Rounded down: a caption that ends half a millisecond after the recording is outside of it.
    let limit = duration.filter(|d| d.is_finite() && *d > 0.0).map_or(u64::MAX / 2, |d| (d * 1000.0).floor() as u64);

    order_starts(captions, limit);
    let count = captions.len();
    let mut spoken_until = 0;
    for i in 0..count {
        let next = captions.get(i + 1).map_or(limit, |c| c.start_ms);
        let spoken_end = captions[i].end_ms;
        let room = usable(captions[i].start_ms, next, i + 1 == count, gap);
        if room < min {
            // Too little time before the next: start earlier, in the pause before this one.
            let earliest = if i == 0 { 0 } else { spoken_until + gap };
            let start = captions[i].start_ms;
            captions[i].start_ms = start.saturating_sub(min - room).max(earliest).min(start);
        }
        spoken_until = spoken_end.max(captions[i].start_ms + 1);
    }
    for i in 0..count {
        let next = captions.get(i + 1).map_or(limit, |c| c.start_ms);
        let start = captions[i].start_ms;
        let columns: usize = captions[i].lines().map(|line| width(&line)).sum();
        let to_read = ms(columns as f64 / limits.columns_per_second);
        let wanted = (captions[i].end_ms.saturating_sub(start)).max(to_read).max(min).min(max);
        let room = usable(start, next, i + 1 == count, gap);
        captions[i].end_ms = start + wanted.min(room).max(1);
    }
}

/// Milliseconds that a caption may be up before `next`. The gap is given up where it would cost most of the time.
fn usable(start: u64, next: u64, last: bool, gap: u64) -> u64 {
    let room = next.saturating_sub(start);
    if last || room < gap * 3 { room } else { room - gap }
}

/// Makes the starts grow by at least a millisecond and leaves the last caption at least one before `limit`.
fn order_starts(captions: &mut [Caption], limit: u64) {
    let mut next = limit;
    for caption in captions.iter_mut().rev() {
        caption.start_ms = caption.start_ms.min(next.saturating_sub(1));
        next = caption.start_ms;
    }
    let mut earliest = 0;
    for caption in captions.iter_mut() {
        caption.start_ms = caption.start_ms.max(earliest);
        earliest = caption.start_ms + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, RenderSettings, parse::parse_srt, render, samples};

    /// Start and end in milliseconds of the captions of an English recording.
    fn times(segments: &[(f64, f64, &str)], duration: f64) -> Vec<(u64, u64)> {
        let srt = render(&samples::spoken(segments, duration), Format::Srt, &RenderSettings::default()).unwrap();
        let ms = |seconds: f64| (seconds * 1000.0).round() as u64;
        parse_srt(&srt).unwrap().iter().map(|cue| (ms(cue.start), ms(cue.end))).collect()
    }

    #[test]
    fn a_caption_stays_long_enough_to_be_read_where_a_pause_follows() {
        // 34 columns at 17 a second are two seconds.
        let text = "Thirty-four columns take two secs.";
        assert_eq!(text.len(), 34);
        assert_eq!(times(&[(1.0, 1.5, text)], 60.0), [(1000, 3000)]);
        assert_eq!(times(&[(1.0, 1.2, "Yes.")], 60.0), [(1000, 1833)]);
        assert_eq!(times(&[(1.0, 20.0, "Yes.")], 60.0), [(1000, 8000)]);
    }

    #[test]
    fn captions_leave_a_gap_and_never_overlap() {
        assert_eq!(
            times(&[(0.0, 3.0, "One sentence here."), (3.0, 5.0, "Another sentence.")], 60.0),
            [(0, 2917), (3000, 5000)]
        );
        assert_eq!(
            times(&[(0.0, 4.0, "One sentence here."), (3.0, 5.0, "Another sentence.")], 60.0),
            [(0, 2917), (3000, 5000)]
        );
    }

    #[test]
    fn the_end_of_the_recording_is_the_end() {
        assert_eq!(times(&[(1.0, 99.0, "One.")], 5.0005), [(1000, 5000)]);
        // Half a second before the end is too short: the caption moves into the silence before it.
        assert_eq!(times(&[(9.5, 9.9, "One.")], 10.0), [(9167, 10000)]);
        assert_eq!(times(&[(50.0, 51.0, "Too late.")], 10.0), [(9167, 10000)]);
    }

    #[test]
    fn many_captions_at_one_moment_still_follow_each_other() {
        let long = "word ".repeat(200);
        let times = times(&[(2.0, 2.0, &long), (2.0, 2.0, &long)], 30.0);
        assert!(times.len() > 20);
        assert!(times.iter().all(|(start, end)| start < end && *end <= 30_000));
        assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    }
}
