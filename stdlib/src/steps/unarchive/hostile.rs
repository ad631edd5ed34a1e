//! Hostile archives: nothing outside the target is written, and every refusal says why.

use super::{Inner, LIMITS, Limits, Tree, unpack};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tar::{EntryType, Header};

/// One entry, with its fields as they are: nothing is checked when it is written.
#[derive(Clone, Debug)]
struct Raw {
    kind: u8,
    path: String,
    target: String,
    mode: u32,
    content: Vec<u8>,
}

impl Raw {
    fn new(kind: EntryType, path: &str) -> Self {
        Self {
            kind: kind.as_byte(),
            path: path.to_owned(),
            target: String::new(),
            mode: 0o644,
            content: Vec::new(),
        }
    }

    fn file(path: &str) -> Self {
        Self { content: b"content".to_vec(), ..Self::new(EntryType::Regular, path) }
    }

    fn link(path: &str, target: &str) -> Self {
        Self { target: target.to_owned(), ..Self::new(EntryType::Symlink, path) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        for (field, text) in [(&mut old.name, &self.path), (&mut old.linkname, &self.target)] {
            for (byte, value) in field.iter_mut().zip(text.bytes()) {
                *byte = value;
            }
        }
        header.set_entry_type(EntryType::new(self.kind));
        header.set_mode(self.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(self.content.len() as u64);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&self.content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

fn tar_of(entries: &[Raw]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        entry.write(&mut bytes);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A folder with a target in it; what is beside the target must stay as it is.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("target")).expect("made");
        fs::write(folder.path().join("victim"), "kept").expect("written");
        Self(folder)
    }

    fn target(&self) -> std::path::PathBuf {
        self.0.path().join("target")
    }

    fn unpack(&self, bytes: &[u8], limits: Limits) -> Result<usize, String> {
        let tree =
            Tree::open(&self.target(), &Inner::parse(".").expect("the root")).expect("opens");
        unpack(bytes, &tree, limits).map_err(|error| error.to_string())
    }

    /// Nothing lies beside the target, and no link below it leads to what does.
    fn is_unharmed(&self) -> bool {
        let mut names: Vec<_> = fs::read_dir(self.0.path())
            .expect("there")
            .map(|entry| entry.expect("there").file_name())
            .collect();
        names.sort();
        let kept = fs::read(self.0.path().join("victim")).expect("there") == b"kept";
        kept && names == ["target", "victim"] && stays_inside(&self.target(), &self.target())
    }
}

fn stays_inside(folder: &Path, root: &Path) -> bool {
    let root = root.canonicalize().expect("there");
    fs::read_dir(folder).expect("there").all(|entry| {
        let path = entry.expect("there").path();
        let metadata = fs::symlink_metadata(&path).expect("there");
        if metadata.mode() & 0o7000 != 0 {
            return false;
        }
        if metadata.is_dir() {
            return stays_inside(&path, &root);
        }
        // A link to nothing, or round and round, leads nowhere.
        metadata.is_file() || path.canonicalize().map_or(true, |real| real.starts_with(&root))
    })
}

#[track_caller]
fn check(entries: &[Raw], expected: &str) {
    let place = Place::new();
    match place.unpack(&tar_of(entries), LIMITS) {
        Ok(count) => assert_eq!(format!("{count} made"), expected),
        Err(said) => assert!(said.contains(expected), "{said}"),
    }
    assert!(place.is_unharmed(), "{entries:?}");
}

#[test]
fn honest_entries_are_made() {
    check(&[Raw::new(EntryType::Directory, "a/"), Raw::file("a/b")], "1 made");
    check(&[Raw::file("./a/b"), Raw::link("l", "a/b"), Raw::link("a/m", "../l")], "3 made");
    check(&[Raw::new(EntryType::Directory, "./")], "0 made");
    check(&[], "0 made");
}

#[test]
fn paths_that_lead_out_are_refused() {
    check(&[Raw::file("../victim")], "has a '.' or '..' in it");
    check(&[Raw::file("a/../../victim")], "has a '.' or '..' in it");
    check(&[Raw::file("/victim")], "is absolute");
    check(&[Raw::file("")], "is no name");
    check(&[Raw::file("a\u{1b}[31m")], "control character");
}

#[test]
fn links_that_lead_out_are_refused() {
    check(&[Raw::link("l", "../victim")], "leads out");
    check(&[Raw::link("l", "/etc/passwd")], "is absolute");
    check(&[Raw::link("l", "")], "is no path");
    // The first link is inside, and the second would be too if the first were a folder.
    let chain = [Raw::link("a/b/up", "../.."), Raw::link("l", "a/b/up/../victim")];
    check(&chain, "has a '..' behind a name");
    // Links are made last, so no file is written through one.
    check(&[Raw::link("l", "d"), Raw::file("l/x")], "'l'");
    check(&[Raw::link("l", "."), Raw::file("l")], "'l' is in it twice");
}

#[test]
fn what_is_no_file_folder_or_link_is_refused() {
    check(&[Raw::new(EntryType::Char, "d")], "'d' is a device");
    check(&[Raw::new(EntryType::Block, "d")], "'d' is a device");
    check(&[Raw::new(EntryType::Fifo, "d")], "'d' is a pipe");
    check(
        &[Raw { target: "x".to_owned(), ..Raw::new(EntryType::Link, "d") }],
        "'d' is a hard link",
    );
    check(&[Raw::new(EntryType::XHeader, "d")], "a header in pax format");
    check(&[Raw { mode: 0o4755, ..Raw::file("d") }], "'d' is setuid");
    check(&[Raw::file("d"), Raw::file("./d")], "'d' is in it twice");
    check(&[Raw::file("d"), Raw::file("d/e")], "'d' is a link or a file where a folder must be");
    let name = Raw { content: vec![b'a'; 5000], ..Raw::new(EntryType::GNULongName, "x") };
    check(&[name, Raw::file("d")], "a name in it has more than 4096 bytes");
}

#[test]
fn limits_hold() {
    let limits = Limits { entries: 3, bytes: 10_000, free_bytes: 5_000, ratio: 10 };
    let limited = |bytes: &[u8], expected: &str| {
        let said = Place::new().unpack(bytes, limits).expect_err(expected);
        assert!(said.contains(expected), "{said}");
    };
    let many: Vec<Raw> = (0..4).map(|n| Raw::file(&n.to_string())).collect();
    limited(&tar_of(&many), "more than 3 files");
    let long = Raw { content: vec![7; 20_000], ..Raw::file("long") };
    let tar = tar_of(&[long]);
    limited(&tar, "more than 10000 bytes");
    let packed = zstd::encode_all(tar.as_slice(), 3).expect("packs");
    limited(&packed, "unpack to more than 10 times as many");
    let mut cut = zstd::encode_all(tar_of(&[Raw::file("a")]).as_slice(), 3).expect("packs");
    cut.truncate(cut.len() - 3);
    assert!(Place::new().unpack(&cut, LIMITS).is_err(), "it is cut off");
    let tar = tar_of(&[Raw::file("a")]);
    limited(&tar[..515], "it is cut off in 'a'");
}

/// Mostly what could be unpacked, so that most archives get far.
fn entries() -> impl Strategy<Value = Vec<Raw>> {
    let path = prop_oneof![
        8 => "(a/|b/|l/){0,2}(a|b|l|m|n)",
        1 => "(\\.\\./|/|\\./|a/){0,3}(a|l|\\.\\.|victim|)/?",
    ];
    let target = "(\\.\\./){0,3}(a/|b/|l/|m/){0,2}(\\.\\./)?(a|m|\\.\\.|victim)";
    let kind = prop_oneof![
        4 => Just(b'0'),
        4 => Just(b'2'),
        2 => Just(b'5'),
        1 => any::<u8>(),
    ];
    let mode = prop_oneof![9 => Just(0o644_u32), 1 => 0_u32..0o10000];
    let content = prop::collection::vec(any::<u8>(), 0..20);
    let raw = (kind, path, target, mode, content)
        .prop_map(|(kind, path, target, mode, content)| Raw { kind, path, target, mode, content });
    prop::collection::vec(raw, 0..4)
}

proptest! {
    #[test]
    fn whatever_is_in_an_archive_nothing_outside_is_touched(
        first in entries(),
        second in entries(),
    ) {
        let place = Place::new();
        // The second comes to a target that already holds what the first left there.
        for entries in [first, second] {
            place.unpack(&tar_of(&entries), LIMITS).ok();
            prop_assert!(place.is_unharmed());
        }
    }

    #[test]
    fn noise_is_no_archive(bytes in prop::collection::vec(any::<u8>(), 0..2000), packed: bool) {
        let place = Place::new();
        let packed = if packed { zstd::encode_all(bytes.as_slice(), 1).ok() } else { None };
        place.unpack(&packed.unwrap_or(bytes), LIMITS).ok();
        prop_assert!(place.is_unharmed());
    }
}
