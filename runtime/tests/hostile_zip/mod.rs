//! Makes zips byte by byte, so that every field of them can lie, and lists those that must be refused.

use std::io::{Read, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Where the fields of a directory's record are.
pub(crate) mod central {
    pub(crate) const FLAGS: usize = 8;
    pub(crate) const METHOD: usize = 10;
    pub(crate) const PACKED_SIZE: usize = 20;
    pub(crate) const SIZE: usize = 24;
    pub(crate) const ATTRIBUTES: usize = 38;
    pub(crate) const HEADER_START: usize = 42;
    pub(crate) const NAME: usize = 46;
}

/// Where the fields of the header before an entry's data are.
pub(crate) mod local {
    pub(crate) const FLAGS: usize = 6;
    pub(crate) const METHOD: usize = 8;
    pub(crate) const CHECKSUM: usize = 14;
    pub(crate) const PACKED_SIZE: usize = 18;
    pub(crate) const SIZE: usize = 22;
    pub(crate) const NAME: usize = 30;
}

/// Where the fields of the end record are.
pub(crate) mod end {
    pub(crate) const DISK: usize = 4;
    pub(crate) const N_ENTRIES_HERE: usize = 8;
    pub(crate) const N_ENTRIES: usize = 10;
    pub(crate) const DIRECTORY_SIZE: usize = 12;
    pub(crate) const DIRECTORY_START: usize = 16;
    pub(crate) const COMMENT_LEN: usize = 20;
}

/// An entry as it goes into a zip.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) packed: Vec<u8>,
    pub(crate) size: u32,
    pub(crate) crc: u32,
    pub(crate) extra: Vec<u8>,
}

impl Entry {
    pub(crate) fn stored(name: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let mut crc = Crc::new();
        crc.update(bytes);
        let size = u32::try_from(bytes.len()).unwrap();
        Self {
            name: name.as_ref().into(),
            method: 0,
            packed: bytes.into(),
            size,
            crc: crc.sum(),
            extra: Vec::new(),
        }
    }

    pub(crate) fn deflated(name: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes.as_ref()).unwrap();
        Self { method: 8, packed: encoder.finish().unwrap(), ..Self::stored(name, bytes) }
    }

    /// So many zeros, deflated to about a thousandth.
    pub(crate) fn bomb(name: &str, n_bytes: u64) -> Self {
        let mut zeros = Vec::new();
        std::io::repeat(0).take(n_bytes).read_to_end(&mut zeros).unwrap();
        Self::deflated(name, zeros)
    }

    fn fields(&self) -> [u32; 3] {
        [self.crc, u32::try_from(self.packed.len()).unwrap(), self.size]
    }
}

/// A zip, and where its records are, so that they can be patched.
#[derive(Clone)]
pub(crate) struct Zip {
    pub(crate) bytes: Vec<u8>,
    locals: Vec<usize>,
    centrals: Vec<usize>,
    end: usize,
}

impl Zip {
    /// A zip that any reader takes.
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let (mut bytes, mut locals, mut centrals) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            locals.push(bytes.len());
            bytes.extend(b"PK\x03\x04\x14\0\0\0");
            bytes.extend(entry.method.to_le_bytes());
            bytes.extend([0, 0, 0x21, 0]);
            entry.fields().iter().for_each(|field| bytes.extend(field.to_le_bytes()));
            bytes.extend(len16(&entry.name));
            bytes.extend([0, 0]);
            bytes.extend(&entry.name);
            bytes.extend(&entry.packed);
        }
        let directory = bytes.len();
        for (entry, header_start) in entries.iter().zip(&locals) {
            centrals.push(bytes.len());
            bytes.extend(b"PK\x01\x02\x14\x03\x14\0\0\0");
            bytes.extend(entry.method.to_le_bytes());
            bytes.extend([0, 0, 0x21, 0]);
            entry.fields().iter().for_each(|field| bytes.extend(field.to_le_bytes()));
            bytes.extend(len16(&entry.name));
            bytes.extend(len16(&entry.extra));
            bytes.extend([0; 10]);
            bytes.extend(u32::try_from(*header_start).unwrap().to_le_bytes());
            bytes.extend(&entry.name);
            bytes.extend(&entry.extra);
            // The record has 2 bytes each of comment length, disk and internal attributes, 4 of external ones.
            debug_assert_eq!(
                bytes.len(),
                centrals.last().unwrap() + 46 + entry.name.len() + entry.extra.len()
            );
        }
        let end = bytes.len();
        let n_entries = u16::try_from(entries.len()).unwrap().to_le_bytes();
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend(n_entries);
        bytes.extend(n_entries);
        bytes.extend(u32::try_from(end - directory).unwrap().to_le_bytes());
        bytes.extend(u32::try_from(directory).unwrap().to_le_bytes());
        bytes.extend([0, 0]);
        Self { bytes, locals, centrals, end }
    }

    pub(crate) fn central(self, entry: usize, field: usize, value: impl AsRef<[u8]>) -> Self {
        let at = self.centrals[entry] + field;
        self.patch(at, value.as_ref())
    }

    pub(crate) fn local(self, entry: usize, field: usize, value: impl AsRef<[u8]>) -> Self {
        let at = self.locals[entry] + field;
        self.patch(at, value.as_ref())
    }

    pub(crate) fn end(self, field: usize, value: impl AsRef<[u8]>) -> Self {
        let at = self.end + field;
        self.patch(at, value.as_ref())
    }

    /// Puts bytes between the directory and the end record, as zip64 does.
    fn before_end(mut self, bytes: &[u8]) -> Self {
        self.bytes.splice(self.end..self.end, bytes.iter().copied());
        self.end += bytes.len();
        self
    }

    fn patch(mut self, at: usize, value: &[u8]) -> Self {
        self.bytes[at..at + value.len()].copy_from_slice(value);
        self
    }
}

fn len16(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap().to_le_bytes()
}

/// The files of a package that is taken.
pub(crate) fn good_entries() -> Vec<Entry> {
    let code = "const connector = { testConnection() {}, execute() {} };\n".repeat(20);
    vec![Entry::stored("config.json", "{}"), Entry::deflated("connector.ts", code)]
}

/// A zip that must be refused, and the message that it must be refused with.
pub(crate) struct Refusal {
    pub(crate) zip: Vec<u8>,
    pub(crate) message: &'static str,
}

/// Every kind of hostile or broken zip.
pub(crate) fn refusals() -> Vec<Refusal> {
    [names(), layouts(), kinds(), lies(), bombs(), structure(), contents()].into_iter().flatten().collect()
}

fn refusal(zip: Zip, message: &'static str) -> Refusal {
    Refusal { zip: zip.bytes, message }
}

/// A good package with these entries besides.
fn with(names: &[&str]) -> Zip {
    let added = names.iter().map(|name| Entry::stored(name, "x"));
    Zip::of(&good_entries().into_iter().chain(added).collect::<Vec<_>>())
}

fn names() -> Vec<Refusal> {
    let long = format!("{}{}", "long/".repeat(2), "n".repeat(600));
    let not_utf8 = [good_entries(), vec![Entry::stored(b"\x81ber.md", "")]].concat();
    vec![
        refusal(
            with(&["../evil.ts"]),
            r#"entry "../evil.ts" leads out of the package: names must not hold `..`"#,
        ),
        refusal(
            with(&["a/../../evil"]),
            r#"entry "a/../../evil" leads out of the package: names must not hold `..`"#,
        ),
        refusal(
            with(&["..\\evil"]),
            r#"entry "..\\evil" leads out of the package: names must not hold `..`"#,
        ),
        refusal(
            with(&["/etc/passwd"]),
            r#"entry "/etc/passwd" has an absolute path: names begin at the package's own folder"#,
        ),
        refusal(
            with(&["\\\\server\\share"]),
            r#"entry "\\\\server\\share" has an absolute path: names begin at the package's own folder"#,
        ),
        refusal(
            with(&["C:\\evil.ts"]),
            r#"entry "C:\\evil.ts" has an absolute path: names begin at the package's own folder"#,
        ),
        refusal(
            with(&["docs\\readme.md"]),
            r#"entry "docs\\readme.md" has a name that can't be used: it holds a backslash; folders in a zip are separated by `/`"#,
        ),
        refusal(
            with(&["evil\0.ts"]),
            r#"entry "evil\0.ts" has a name that can't be used: it holds a control character"#,
        ),
        refusal(
            with(&["./notes.md"]),
            r#"entry "./notes.md" has a name that can't be used: a part of its path is empty or `.`"#,
        ),
        refusal(
            with(&[&long]),
            r#"entry "long/long/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…nnnnnnnnnnnnnnnnnnnn" has a name that can't be used: it is longer than 512 bytes"#,
        ),
        refusal(
            Zip::of(&not_utf8),
            r#"entry "�ber.md" has a name that can't be used: it is not UTF-8; use letters without accents"#,
        ),
        refusal(with(&["config.json"]), r#"entry "config.json" stands there twice: keep one"#),
        refusal(
            with(&["connector.ts/"])
                .central(2, central::SIZE, [0])
                .central(2, central::PACKED_SIZE, [0])
                .local(2, local::SIZE, [0])
                .local(2, local::PACKED_SIZE, [0]),
            r#"entry "connector.ts" stands there twice: keep one"#,
        ),
        refusal(with(&["connector.ts/x"]), r#"entry "connector.ts" stands there twice: keep one"#),
        refusal(
            with(&["Connector.TS"]),
            r#"entries "connector.ts" and "Connector.TS" differ in case alone, so some systems take them for one: rename one"#,
        ),
        refusal(
            with(&["docs/a", "Docs/b"]),
            r#"entries "docs" and "Docs" differ in case alone, so some systems take them for one: rename one"#,
        ),
    ]
}

fn layouts() -> Vec<Refusal> {
    let only =
        |names: &[&str]| Zip::of(&names.iter().map(|name| Entry::stored(name, "{}")).collect::<Vec<_>>());
    vec![
        refusal(
            only(&["a/config.json", "b/config.json"]),
            r#"the zip has two top folders ("a/config.json" and "b/config.json" are in different ones): zip one connector's folder alone"#,
        ),
        refusal(
            only(&["config.json", "gh/connector.ts"]),
            r#"the package has files both at its root ("config.json") and in a folder ("gh/connector.ts"): keep the files of one connector, in one place"#,
        ),
        refusal(
            only(&["README.md", "gh/config.json"]),
            r#"the package has files both at its root ("README.md") and in a folder ("gh/config.json"): keep the files of one connector, in one place"#,
        ),
        refusal(
            only(&["a/b/config.json"]),
            r#"the package has no config.json where it belongs, but "a/b/config.json": put it, in lower case, into the connector's folder, and zip that folder alone"#,
        ),
        refusal(
            only(&["Config.json"]),
            r#"the package has no config.json where it belongs, but "Config.json": put it, in lower case, into the connector's folder, and zip that folder alone"#,
        ),
        refusal(
            only(&["connector.ts"]),
            "the package has no config.json: every connector needs one, beside its code",
        ),
        refusal(only(&[]), "the package has no config.json: every connector needs one, beside its code"),
    ]
}

/// Entries that are no plain files.
fn kinds() -> Vec<Refusal> {
    let with_mode = |mode: u32| with(&["x"]).central(2, central::ATTRIBUTES, (mode << 16).to_le_bytes());
    vec![
        refusal(
            with_mode(0o120_777),
            r#""x" is a symbolic link: a package holds files and folders only; put the file itself there"#,
        ),
        refusal(
            with_mode(0o010_644),
            r#""x" is a pipe: a package holds files and folders only; put the file itself there"#,
        ),
        refusal(
            with_mode(0o020_644),
            r#""x" is a device: a package holds files and folders only; put the file itself there"#,
        ),
        refusal(
            with_mode(0o060_644),
            r#""x" is a device: a package holds files and folders only; put the file itself there"#,
        ),
        refusal(
            with_mode(0o140_644),
            r#""x" is a socket: a package holds files and folders only; put the file itself there"#,
        ),
        refusal(
            with_mode(0o040_755),
            r#""x" is a folder with a file's name: a package holds files and folders only; put the file itself there"#,
        ),
        refusal(
            with_mode(0o150_000),
            r#""x" is a special file: a package holds files and folders only; put the file itself there"#,
        ),
        refusal(
            with(&["x"]).central(2, central::ATTRIBUTES, 0x400_u32.to_le_bytes()),
            r#""x" is a link: a package holds files and folders only; put the file itself there"#,
        ),
        refusal(
            with(&["x"]).central(2, central::FLAGS, [1]).local(2, local::FLAGS, [1]),
            r#"entry "x" is encrypted: make the zip without a password"#,
        ),
        refusal(
            with(&["x"]).central(2, central::METHOD, [99]).local(2, local::METHOD, [99]),
            r#"entry "x" uses compression method 99: use deflate (8) or none (0)"#,
        ),
        refusal(
            with(&["x/"]),
            r#"entry "x/" is damaged: it is a folder that holds data; zip the folder again"#,
        ),
    ]
}

/// Headers that contradict each other, or the data.
fn lies() -> Vec<Refusal> {
    let good = Zip::of(&good_entries());
    let both = |zip: Zip, at: (usize, usize), value: u32| {
        zip.central(1, at.0, value.to_le_bytes()).local(1, at.1, value.to_le_bytes())
    };
    let size = (central::SIZE, local::SIZE);
    let mut renamed = good_entries();
    renamed[1].extra = unicode_path("connector.ts", "notes.md");
    let mut merged = good_entries();
    merged[0].extra = unicode_path("config.json", "notes.md");
    merged[1].extra = unicode_path("connector.ts", "notes.md");
    let mut padded = good_entries();
    padded[1].extra = [[0xfe, 0xca, 0, 0]; 200].concat();
    vec![
        refusal(
            good.clone().local(1, local::NAME, "innocent.txt"),
            r#"entry "connector.ts" has another name in its own header than in the zip's directory: zip the folder again"#,
        ),
        refusal(
            good.clone().local(1, local::METHOD, [0]),
            r#"entry "connector.ts" has another compression in its own header than in the zip's directory: zip the folder again"#,
        ),
        refusal(
            good.clone().local(1, local::FLAGS, [1]),
            r#"entry "connector.ts" has another encryption in its own header than in the zip's directory: zip the folder again"#,
        ),
        refusal(
            good.clone().local(1, local::CHECKSUM, [1, 2, 3, 4]),
            r#"entry "connector.ts" has another checksum in its own header than in the zip's directory: zip the folder again"#,
        ),
        refusal(
            good.clone().local(1, local::PACKED_SIZE, [1, 2]),
            r#"entry "connector.ts" has another packed size in its own header than in the zip's directory: zip the folder again"#,
        ),
        refusal(
            good.clone().local(1, local::SIZE, [1, 2]),
            r#"entry "connector.ts" has another size in its own header than in the zip's directory: zip the folder again"#,
        ),
        refusal(
            both(good.clone(), size, 10),
            r#"can't read "connector.ts": File is larger than its declared uncompressed size"#,
        ),
        refusal(
            both(good.clone(), size, 100_000),
            r#"entry "connector.ts" is damaged: it unpacks to less than it claims; zip the folder again"#,
        ),
        refusal(
            both(good.clone(), (central::NAME - 30, local::CHECKSUM), 7),
            r#"can't read "connector.ts": Invalid checksum"#,
        ),
        refusal(
            both(good.clone(), (central::PACKED_SIZE, local::PACKED_SIZE), 1_000_000),
            r#"entry "connector.ts" is damaged: its data runs into the zip's directory; zip the folder again"#,
        ),
        refusal(
            Zip::of(&renamed),
            r#"entry "connector.ts" has a second name, "notes.md", which some tools would use: zip the folder again"#,
        ),
        refusal(
            Zip::of(&merged),
            "the zip is damaged: its directory can be read in two ways; zip the folder again",
        ),
        refusal(
            Zip::of(&padded),
            r#"entry "connector.ts" is damaged: it has more than 512 bytes of extra data; zip the folder again"#,
        ),
    ]
}

/// Info-ZIP's extra field with the name in Unicode.
fn unicode_path(stored: &str, name: &str) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(stored.as_bytes());
    let content = [&[1][..], &crc.sum().to_le_bytes(), name.as_bytes()].concat();
    [&0x7075_u16.to_le_bytes()[..], &len16(&content), &content].concat()
}

fn bombs() -> Vec<Refusal> {
    let manifest = Entry::stored("config.json", "{}");
    let icon = |n_bytes| Zip::of(&[manifest.clone(), Entry::bomb("icon.svg", n_bytes)]);
    let code = |n_bytes| Zip::of(&[manifest.clone(), Entry::bomb("connector.ts", n_bytes)]);
    let small: Vec<_> = (0..60).map(|n| Entry::bomb(&format!("{n}.bin"), 20_000)).collect();
    let cases: Vec<_> = (0..9).map(|n| Entry::bomb(&format!("cases/{n}.json"), 500_000)).collect();
    let lying = Entry { size: 10, ..Entry::bomb("config.json", 2 << 20) };
    // The first entry's data is the second one, header and all, so that both unpack the same bytes.
    let inner = Entry::bomb("b", 900_000);
    let quoted = Zip::of(std::slice::from_ref(&inner));
    let outer = Entry::stored("a", &quoted.bytes[..quoted.centrals[0]]);
    let nested = Zip::of(&[outer.clone(), inner]).central(1, central::HEADER_START, 31_u32.to_le_bytes());
    let clones: Vec<_> = (0..60).map(|_| Entry::bomb("same.bin", 10_000)).collect();
    let shared = (1..60).fold(Zip::of(&clones), |zip, n| zip.central(n, central::HEADER_START, [0; 4]));
    let names: Vec<_> = (0..60).map(|n| format!("s{n:03}.bin")).collect();
    let renamed = names.iter().enumerate().fold(shared, |zip, (n, name)| zip.central(n, central::NAME, name));
    vec![
        refusal(
            Zip::of(&[Entry::bomb("config.json", 2 << 20)]),
            r#""config.json" is larger than 1048576 bytes, the most that a manifest may have"#,
        ),
        refusal(
            Zip::of(&[manifest.clone(), Entry::bomb("notes.md", 2 << 20)]),
            r#"with "notes.md" the package's files take more than 1048576 bytes: leave out what the connector doesn't need"#,
        ),
        refusal(
            Zip::of(&[lying]),
            r#"can't read "config.json": File is larger than its declared uncompressed size"#,
        ),
        refusal(code(2 << 20), r#""connector.ts" is larger than 524288 bytes, the most that code may have"#),
        refusal(
            code(512 * 1024 + 1),
            r#""connector.ts" is larger than 524288 bytes, the most that code may have"#,
        ),
        refusal(
            icon(256 * 1024),
            r#""icon.svg" is larger than 262143 bytes, the most that an icon may have"#,
        ),
        refusal(
            Zip::of(&[vec![manifest.clone()], small].concat()),
            r#"with "52.bin" the package's files take more than 1048576 bytes: leave out what the connector doesn't need"#,
        ),
        refusal(
            Zip::of(&[vec![manifest.clone()], cases].concat()),
            r#"with "cases/8.json" the package's files take more than 4194304 bytes: leave out what the connector doesn't need"#,
        ),
        refusal(nested, r#"entries "a" and "b" overlap in the zip: zip the folder again"#),
        refusal(
            renamed.local(0, local::NAME, "s000.bin"),
            r#"entry "s001.bin" has another name in its own header than in the zip's directory: zip the folder again"#,
        ),
    ]
}

/// Zips whose structure is wrong.
fn structure() -> Vec<Refusal> {
    let good = || Zip::of(&good_entries());
    let many: Vec<_> = (0..65).map(|n| format!("{n}.md")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let max = [0xff; 4];
    let with_bytes = |bytes: Vec<u8>| Zip { bytes, ..good() };
    let large = [good_entries(), vec![Entry::stored("noise.bin", noise(1024 * 1024))]].concat();
    // The locator of a zip64 end record that claims four billion entries.
    let end64 =
        [b"PK\x06\x06".as_slice(), &44_u64.to_le_bytes(), &[45, 0, 45, 0], &[0; 8], &[0xff; 32]].concat();
    let end64_start = u64::try_from(good().end).unwrap().to_le_bytes();
    let locator = [b"PK\x06\x07".as_slice(), &[0; 4], &end64_start, &[1, 0, 0, 0]].concat();
    let zip64 = || good().before_end(&[end64.as_slice(), &locator].concat());
    let zip64_message = "the zip uses zip64, which is for archives past 4 GiB: zip the folder with plain zip";
    let too_many =
        "the package holds more than 64 files and folders: leave out what the connector doesn't need";
    vec![
        refusal(with_bytes(Vec::new()), "this is not a zip: name a connector's folder, or a zip of it"),
        refusal(with_bytes(b"{}".into()), "this is not a zip: name a connector's folder, or a zip of it"),
        refusal(with_bytes(noise(100_000)), "this is not a zip: name a connector's folder, or a zip of it"),
        refusal(
            with_bytes(good().bytes[..60].into()),
            "the zip is cut short: its directory, at the end, is missing; copy or upload it again",
        ),
        refusal(
            with_bytes([&good().bytes, b"x".as_slice()].concat()),
            "the zip is damaged: it doesn't end where its end record says (something is missing or appended); zip the folder again",
        ),
        refusal(
            good().end(end::COMMENT_LEN, [9]),
            "the zip is damaged: it doesn't end where its end record says (something is missing or appended); zip the folder again",
        ),
        refusal(
            with_bytes([b"#!/bin/sh\n".as_slice(), &good().bytes].concat()),
            "the zip is damaged: its directory is not where its end record says; zip the folder again",
        ),
        refusal(
            behind_a_script(),
            "the zip is damaged: something stands before its first entry; zip the folder again",
        ),
        refusal(
            Zip::of(&large),
            "the zip is larger than 1048576 bytes, the most that a package may have: leave out what the connector doesn't need",
        ),
        refusal(with(&many), too_many),
        refusal(good().end(end::N_ENTRIES, [0xff; 2]).end(end::N_ENTRIES_HERE, [0xff; 2]), too_many),
        refusal(
            good().end(end::N_ENTRIES, [3]).end(end::N_ENTRIES_HERE, [3]),
            "the zip is damaged: its directory holds less than its end record says; zip the folder again",
        ),
        refusal(
            good().end(end::N_ENTRIES, [1]).end(end::N_ENTRIES_HERE, [1]),
            "the zip is damaged: its directory holds more than its end record says; zip the folder again",
        ),
        refusal(
            good().end(end::DISK, [1]),
            "the zip is damaged: it is one part of several; zip the folder again",
        ),
        refusal(good().end(end::DIRECTORY_SIZE, max), zip64_message),
        refusal(good().end(end::DIRECTORY_START, max), zip64_message),
        refusal(zip64().end(end::N_ENTRIES, [0xff; 2]).end(end::N_ENTRIES_HERE, [0xff; 2]), zip64_message),
        refusal(zip64(), zip64_message),
        refusal(good().central(1, central::SIZE, max), zip64_message),
        refusal(good().central(1, central::HEADER_START, max), zip64_message),
        refusal(
            good().central(0, 0, b"PK\x01\x03"),
            "the zip is damaged: its directory holds something that is no entry; zip the folder again",
        ),
        refusal(
            good().central(0, central::HEADER_START, [1]),
            r#"entry "config.json" is damaged: its own header is not where the directory says; zip the folder again"#,
        ),
        refusal(
            good().central(0, central::HEADER_START, 900_000_u32.to_le_bytes()),
            r#"entry "config.json" is damaged: its own header is not where the directory says; zip the folder again"#,
        ),
    ]
}

/// A zip that is a shell script too, with offsets that allow for it.
fn behind_a_script() -> Zip {
    const SCRIPT: &[u8] = b"#!/bin/sh\n";
    let shifted = |at: usize| u32::try_from(at + SCRIPT.len()).unwrap().to_le_bytes();
    let good = Zip::of(&good_entries());
    let (locals, directory) = (good.locals.clone(), good.centrals[0]);
    let zip = locals
        .iter()
        .enumerate()
        .fold(good, |zip, (entry, start)| zip.central(entry, central::HEADER_START, shifted(*start)));
    let zip = zip.end(end::DIRECTORY_START, shifted(directory));
    Zip { bytes: [SCRIPT, &zip.bytes].concat(), ..zip }
}

/// Sound zips of what is no package.
fn contents() -> Vec<Refusal> {
    let manifest = Entry::stored("config.json", "{}");
    let and = |name: &str, bytes: &[u8]| Zip::of(&[manifest.clone(), Entry::stored(name, bytes)]);
    vec![
        refusal(
            Zip::of(&[Entry::stored("config.json", b"{\"a\": \"\xe4\"}")]),
            r#""config.json" is not UTF-8 text (byte 7 is wrong): save it as UTF-8"#,
        ),
        refusal(
            and("connector.js", b"\x02\x05\xfe\xed"),
            r#""connector.js" is not text (byte 2 is wrong): code is UTF-8 text; bytecode is never accepted"#,
        ),
        refusal(
            and("connector.ts", b"let a;\0"),
            r#""connector.ts" is not text (byte 6 is wrong): code is UTF-8 text; bytecode is never accepted"#,
        ),
        refusal(
            and("connector.qjs", b""),
            r#""connector.qjs" is compiled code: code is UTF-8 text, in connector.ts or connector.js; bytecode is never accepted"#,
        ),
        refusal(
            and("connector.js", b"\xef\xbb\xbf \n"),
            r#""connector.js" is empty: write the connector's code into it, or remove it from an SQL connector"#,
        ),
        refusal(
            Zip::of(&[manifest.clone(), Entry::stored("icon.svg", "<svg/>"), Entry::stored("icon.png", PNG)]),
            r#"the package has two icons, "icon.svg" and "icon.png": keep one"#,
        ),
        refusal(
            and("icon.jpg", PNG),
            r#""icon.jpg" is not image/jpeg: its first bytes are another format's; rename it or convert it"#,
        ),
        refusal(
            and("icon.png", b""),
            r#""icon.png" is not image/png: its first bytes are another format's; rename it or convert it"#,
        ),
        refusal(
            and("icon.webp", b"RIFF\0\0\0\0WAVE"),
            r#""icon.webp" is not image/webp: its first bytes are another format's; rename it or convert it"#,
        ),
    ]
}

/// The first bytes of a PNG.
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n....";

/// Bytes that don't compress, the same each time.
fn noise(n_bytes: usize) -> Vec<u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(1), next).map(|state: u32| state.to_be_bytes()[0]).take(n_bytes).collect()
}
