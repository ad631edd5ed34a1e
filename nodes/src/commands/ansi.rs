//! What steps print, made harmless for a terminal: colours may stay, nothing may move the cursor,
//! change the title or answer in the reader's name.

/// A text without control sequences, but for colours where they are wanted. Line ends and tabs
/// stay.
pub(super) fn harmless(text: &str, colored: bool) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find(|c: char| c.is_control() && c != '\n' && c != '\t') {
        clean.push_str(&rest[..position]);
        rest = &rest[position..];
        let (color, length) = sequence(rest);
        if color && colored {
            clean.push_str(&rest[..length]);
        }
        rest = &rest[length..];
    }
    clean.push_str(rest);
    clean
}

/// A path or another name on one line, its control characters written out: whoever names a file
/// draws nothing on the terminal.
pub(super) fn on_one_line(name: &str) -> String {
    let written = |c: char| -> String {
        if c.is_control() { c.escape_default().collect() } else { c.to_string() }
    };
    name.chars().map(written).collect()
}

/// Whether a text begins with a colour, and the length of the control sequence that it begins with.
fn sequence(text: &str) -> (bool, usize) {
    let first = text.chars().next().map_or(0, char::len_utf8);
    if let Some(body) = text.strip_prefix("\x1b[") {
        // Parameters and intermediates up to a final letter.
        let parameters = body.bytes().take_while(|byte| (0x20..0x40).contains(byte)).count();
        let end = 2 + parameters;
        return match text.as_bytes().get(end) {
            Some(b'm') => (true, end + 1),
            Some(0x40..=0x7e) => (false, end + 1),
            Some(_) | None => (false, end),
        };
    }
    if let Some(body) = text.strip_prefix("\x1b]") {
        // Titles and links, up to a bell or a string terminator.
        let bell = body.find('\x07').map(|position| position + 3);
        let terminator = body.find("\x1b\\").map(|position| position + 4);
        let end = [bell, terminator].into_iter().flatten().min();
        return (false, end.unwrap_or(2));
    }
    (false, first)
}

#[cfg(test)]
mod tests {
    use super::{harmless, on_one_line};

    #[test]
    fn a_name_stays_on_its_line() {
        assert_eq!(on_one_line("pa th/é"), "pa th/é");
        assert_eq!(on_one_line("a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
    }

    #[test]
    fn colours_may_stay_and_nothing_else() {
        let check = |text: &str, colored: &str, plain: &str| {
            assert_eq!(harmless(text, true), colored, "{text:?}");
            assert_eq!(harmless(text, false), plain, "{text:?}");
        };
        check("plain\ttext\n", "plain\ttext\n", "plain\ttext\n");
        check("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m", "red");
        check("a\x1b[2Jb\x1b[10;3Hc", "abc", "abc");
        check("a\x1b]0;title\x07b", "ab", "ab");
        check("a\x1b]8;;http://x\x1b\\b", "ab", "ab");
        check("a\rb\u{9b}31mc", "ab31mc", "ab31mc");
        check("cut \x1b[1", "cut ", "cut ");
        check("cut \x1b", "cut ", "cut ");
        check("é\x1b[0mé", "é\x1b[0mé", "éé");
    }
}
