//! Lines on standard error. A terminal that is gone must not stop anything.

/// Whether and how lines are said.
#[derive(Clone, Copy)]
pub(super) struct Say {
    quiet: bool,
}

impl Say {
    pub fn new(quiet: bool) -> Self {
        Say { quiet }
    }

    /// One line.
    pub fn line(self, line: &str) {
        if !self.quiet {
            crate::app::say(line);
        }
        tracing::info!("{line}");
    }

    /// For what a start says: its news, not that it still goes on.
    pub fn progress(self) -> impl FnMut(&str) + Send {
        move |line: &str| {
            if !line.contains("is loading its model") {
                self.line(line);
            }
        }
    }
}
