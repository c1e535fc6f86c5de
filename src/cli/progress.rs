//! A bar on a terminal for what takes long, with rate and time left; nothing in a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One bar on standard error; gone when it is dropped.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// `what` stands in front of it, `unit` behind the numbers.
    pub(super) fn new(what: &str, unit: &str) -> Self {
        // Hidden by the library where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
        let template = format!("{{msg}} [{{bar:30}}] {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Self(bar)
    }

    /// So much of so much is done.
    pub(super) fn at(&self, done: u64, all: u64) {
        self.0.set_length(all);
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
