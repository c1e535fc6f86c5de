//! The few shapes that the plots are made of, as SVG.

use std::fmt::Write as _;

/// A picture in the making, white, with its text in one size.
pub(super) struct Svg(String);

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        let mut svg = Self(String::new());
        svg.put(format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>"#
        ));
        svg
    }

    /// `anchor` is `start`, `middle` or `end`: what of the text is at `x`.
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: &str, text: &str) {
        self.put(format_args!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#, escaped(text)));
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str, width: u8) {
        self.put(format_args!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#));
    }

    /// A circle that says `title` to who points at it.
    pub(super) fn dot(&mut self, (x, y): (f64, f64), colour: &str, title: &str) {
        self.put(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"><title>{}</title></circle>"#, escaped(title)));
    }

    /// A triangle whose top is there.
    pub(super) fn triangle(&mut self, (x, y): (f64, f64), colour: &str) {
        self.put(format_args!(r#"<path d="M{x:.1} {y:.1} l4 7 h-8 z" fill="{colour}"/>"#));
    }

    /// Dashes from one point to the next.
    pub(super) fn dashes(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: &str) {
        let points: Vec<String> = points.into_iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.put(format_args!(r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-dasharray="4 3"/>"#, points.join(" ")));
    }

    /// The whole file.
    pub(super) fn end(mut self) -> String {
        self.put(format_args!("</svg>"));
        self.0
    }

    fn put(&mut self, shape: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{shape}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_its_own_element() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((1.0, 2.0), "start", "a </text> & b");
        let svg = svg.end();
        assert!(svg.contains("a &lt;/text&gt; &amp; b") && svg.matches("</text>").count() == 1, "{svg}");
    }
}
