//! A page of documentation that is executed: its `sh` blocks, and whether what they printed is what the `text` block below them shows.
//!
//! Blocks of other kinds (`console`, `toml`, `yaml`) are for machines that a test does not have, and are only read. In a `text` block, lines appear
//! in the order of the output; `...` stands for what is left out. What differs from run to run is compared by its form.

/// A shell block with the line that it begins on, and the output that is shown below it.
#[derive(Debug, Clone)]
pub struct Block {
    /// The number of the line with its fence, from 1.
    pub line: usize,
    /// The heading of the second level that it stands under; empty above the first.
    pub section: String,
    /// What follows `sh` on the line of the fence.
    pub note: String,
    /// The commands.
    pub script: String,
    /// The lines of the `text` block.
    pub shown: Vec<String>,
}

/// The shell blocks of `page`, in order.
///
/// # Panics
/// Where the page is not written as it should be, with the line.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for Fenced { line, section, info, body } in fenced(page) {
        let (kind, note) = info.split_once(' ').unwrap_or((info, ""));
        match kind {
            "sh" => {
                let (section, note, script) = (section.to_owned(), note.to_owned(), body.join("\n"));
                blocks.push(Block { line, section, note, script, shown: vec![] });
            }
            "text" => {
                let block = blocks.last_mut().unwrap_or_else(|| panic!("line {line}: output of nothing"));
                assert!(block.shown.is_empty(), "line {line}: a second output of the block in line {}", block.line);
                block.shown = body.into_iter().map(str::to_owned).collect();
            }
            "console" | "toml" | "yaml" => {}
            other => panic!("line {line}: a block of an unknown kind {other:?}"),
        }
    }
    blocks
}

/// The bodies of the blocks of this kind (`ini`, `toml`, ..) under a heading of the second level, in order; code that a test takes as it stands.
pub fn bodies(page: &str, section: &str, kind: &str) -> Vec<String> {
    let wanted = fenced(page).into_iter().filter(|block| block.section == section && block.info == kind);
    wanted.map(|block| block.body.iter().map(|line| format!("{line}\n")).collect()).collect()
}

/// A block between fences, of any kind.
struct Fenced<'a> {
    /// The number of the line with its fence, from 1.
    line: usize,
    /// The heading of the second level that it stands under; empty above the first.
    section: &'a str,
    /// What stands behind the fence.
    info: &'a str,
    body: Vec<&'a str>,
}

fn fenced(page: &str) -> Vec<Fenced<'_>> {
    let (mut found, mut section) = (Vec::new(), "");
    let mut lines = page.lines().zip(1..);
    while let Some((text, line)) = lines.next() {
        if let Some(heading) = text.strip_prefix("## ") {
            section = heading;
        }
        let Some(info) = text.strip_prefix("```") else { continue };
        let body = lines.by_ref().map(|(text, _)| text).take_while(|text| *text != "```").collect();
        found.push(Fenced { line, section, info, body });
    }
    found
}

/// Asserts that `output` has the shown lines of `block`, in their order.
#[track_caller]
pub fn assert_shown(page: &str, block: &Block, output: &[String]) {
    let mut rest = output.iter().map(|line| normal(line));
    for line in block.shown.iter().filter(|line| !line.trim().is_empty() && line.trim() != "...") {
        let wanted = normal(line);
        assert!(
            rest.any(|line| line == wanted),
            "the block in line {} of {page} does not print (in this place)\n  {wanted}\nbut:\n{}",
            block.line,
            output.join("\n")
        );
    }
}

/// The text with what differs from run to run replaced by its form, and white space made equal.
pub fn normal(line: &str) -> String {
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn word(word: &str) -> String {
    let bare = word.trim_end_matches([',', ':', ';']);
    let tail = &word[bare.len()..];
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = bare.split('.').collect();
    if let ["kw1", keyring, version, check] = parts[..]
        && hex(keyring, 16)
        && hex(check, 32)
    {
        return format!("kw1.KEYRING.{version}.CHECK{tail}");
    }
    if bare.strip_prefix("sha256:").is_some_and(|digest| hex(digest, 64)) {
        return format!("sha256:DIGEST{tail}");
    }
    // The key_id of another plugin, or anything else that ends in a number drawn at random.
    if let Some((name, number)) = bare.rsplit_once('.')
        && hex(number, 32)
    {
        return format!("{name}.RANDOM{tail}");
    }
    if is_time(bare) {
        return format!("TIME{tail}");
    }
    if hex(bare, 16) {
        return format!("KEYRING{tail}");
    }
    word.to_owned()
}

/// `2026-11-25T02:44:50Z`
fn is_time(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:ddZ";
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, wanted)| if wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_by_their_form_and_everything_else_by_the_letter() {
        let key_id = "kw1.2247dd733dcb73da.2.1f68c85513e53fbe3e8006107ab0a0ed";
        assert_eq!(normal(&format!(" 2  staged   2026-11-25T02:44:50Z {key_id}: 0")), "2 staged TIME kw1.KEYRING.2.CHECK: 0");
        assert_ne!(normal(key_id), normal(&key_id.replace(".2.", ".3.")));
        assert_eq!(normal("keyring 2247dd733dcb73da"), "keyring KEYRING");
        assert_eq!(normal("other.2247dd733dcb73da2247dd733dcb73da seed"), "other.RANDOM seed");
        assert_ne!(normal("2026-11-25T02:44:5xZ"), "TIME");
    }

    #[test]
    fn blocks_have_their_section_their_note_and_what_is_shown_below_them() {
        let page = "# P\n```sh\na\nb\n```\n## One\n```yaml\nx: y\n```\n```sh on every node\nc\n```\n```text\nout\n```\n";
        let blocks = blocks(page);
        let seen: Vec<_> = blocks.iter().map(|b| (b.line, b.section.as_str(), b.note.as_str(), b.script.as_str(), b.shown.len())).collect();
        assert_eq!(seen, [(2, "", "", "a\nb", 0), (10, "One", "on every node", "c", 1)]);
    }

    #[test]
    fn bodies_are_those_of_one_kind_under_one_heading() {
        let page = "```ini\nzero\n```\n## One\n```ini\na\n## b\n```\n```sh\nc\n```\n```ini\nd\n```\n## Two\n```ini\ne\n```\n";
        assert_eq!(bodies(page, "One", "ini"), ["a\n## b\n", "d\n"]);
        assert_eq!(bodies(page, "One", "sh"), ["c\n"]);
        assert_eq!(bodies(page, "Three", "ini"), [""; 0]);
    }

    #[test]
    #[should_panic(expected = "does not print")]
    fn a_line_that_did_not_come_out_is_found() {
        let block = blocks("```sh\na\n```\n```text\none\n...\ntwo\n```\n").remove(0);
        assert_shown("page", &block, &["two".to_owned(), "one".to_owned()]);
    }
}
