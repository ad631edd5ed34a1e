//! Globs: what `matches` compares with, for branches, tags and paths.

/// Whether a text matches a glob as a whole: `?` is one character but `/`, `*` any number of
/// characters but `/`, `**` any number of characters, and `**/` also nothing. All else is itself.
///
/// Takes time in proportion to both lengths multiplied, whatever the glob.
#[must_use]
pub fn matches(glob: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // Which lengths of the text, from its beginning, the glob so far can match.
    let mut reach = vec![false; text.len() + 1];
    reach[0] = true;
    let mut rest = glob;
    while let Some(sign) = rest.chars().next() {
        let next = if let Some(behind) = rest.strip_prefix("**/") {
            rest = behind;
            let mut next = reach.clone();
            let mut open = false;
            for (index, character) in text.iter().enumerate() {
                open |= reach[index];
                next[index + 1] |= open && *character == '/';
            }
            next
        } else if let Some(behind) = rest.strip_prefix("**") {
            rest = behind;
            spread(&reach, &text, |_| true)
        } else {
            rest = &rest[sign.len_utf8()..];
            match sign {
                '*' => spread(&reach, &text, |character| character != '/'),
                '?' => advance(&reach, &text, |character| character != '/'),
                literal => advance(&reach, &text, |character| character == literal),
            }
        };
        reach = next;
    }
    reach[text.len()]
}

/// One more character, of those that will do.
fn advance(reach: &[bool], text: &[char], will_do: impl Fn(char) -> bool) -> Vec<bool> {
    let mut next = vec![false; reach.len()];
    for (index, character) in text.iter().enumerate() {
        next[index + 1] = reach[index] && will_do(*character);
    }
    next
}

/// Any number of characters, of those that will do.
fn spread(reach: &[bool], text: &[char], will_do: impl Fn(char) -> bool) -> Vec<bool> {
    let mut next = reach.to_vec();
    for (index, character) in text.iter().enumerate() {
        next[index + 1] |= next[index] && will_do(*character);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::matches;
    use proptest::prelude::*;

    #[test]
    fn globs_match_as_a_whole() {
        let check = |glob: &str, yes: &[&str], no: &[&str]| {
            for it in yes {
                assert!(matches(glob, it), "{glob} matches {it}");
            }
            for it in no {
                assert!(!matches(glob, it), "{glob} does not match {it}");
            }
        };
        check("main", &["main"], &["", "mai", "mains", "xmain"]);
        check("release/*", &["release/", "release/1.2"], &["release", "release/1/2"]);
        check("app/**", &["app/", "app/a", "app/a/b"], &["app", "xapp/a"]);
        check("**/x", &["x", "a/x", "a/b/x"], &["ax", "a/xb"]);
        check("a/**/b", &["a/b", "a/c/b", "a/c/d/b"], &["ab", "a/cb"]);
        check("v?.*", &["v1.", "v1.2"], &["v.1", "v/.1", "v12."]);
        check("", &[""], &["a"]);
        check("*é?", &["éa", "xéü"], &["é"]);
        check("[a]{b}", &["[a]{b}"], &["ab"]);
    }

    #[test]
    fn a_hostile_glob_takes_no_time() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
        assert!(!matches(&"**/".repeat(200), &"a/".repeat(500).replace("a/", "ab")));
    }

    /// What a glob means, by trying everything.
    fn matches_slowly(glob: &[char], text: &[char]) -> bool {
        let rests = |will_do: fn(char) -> bool| {
            let most = text.iter().take_while(|it| will_do(**it)).count();
            (0..=most).map(|taken| &text[taken..])
        };
        match glob {
            [] => text.is_empty(),
            ['*', '*', '/', rest @ ..] => {
                matches_slowly(rest, text)
                    || (0..text.len())
                        .any(|at| text[at] == '/' && matches_slowly(rest, &text[at + 1..]))
            }
            ['*', '*', rest @ ..] => rests(|_| true).any(|text| matches_slowly(rest, text)),
            ['*', rest @ ..] => rests(|it| it != '/').any(|text| matches_slowly(rest, text)),
            ['?', rest @ ..] => {
                text.first().is_some_and(|it| *it != '/') && matches_slowly(rest, &text[1..])
            }
            [sign, rest @ ..] => text.first() == Some(sign) && matches_slowly(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn globs_mean_what_they_mean_slowly(glob in "[ab/*?]{0,8}", text in "[ab/]{0,8}") {
            let signs = |text: &str| text.chars().collect::<Vec<char>>();
            let slowly = matches_slowly(&signs(&glob), &signs(&text));
            prop_assert_eq!(matches(&glob, &text), slowly);
        }
    }
}
