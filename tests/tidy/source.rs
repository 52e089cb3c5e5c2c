//! The repository's files as the tidy rules see them: the text, and the code in it without comments, strings and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the project's own code lives; what isn't there yet isn't checked.
const ROOTS: &[&str] = &["src", "runtime", "xtask", "tests", "benches", "fuzz", "examples", "integrations"];
/// Folders inside the roots that tools fill.
const NOT_OURS: &[&str] = &["target", "node_modules", "corpus", "artifacts"];

/// One file.
pub(crate) struct Source {
    /// Its path from the repository's root, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// The text with comments and the insides of literals blanked, line for line (Rust files; others are empty).
    pub(crate) code: String,
    /// The code with everything under `#[cfg(test)]` blanked too; empty for files that hold nothing but tests.
    pub(crate) product: String,
}

/// All files with one of the extensions, in the order of their paths.
pub(crate) fn sources(extensions: &[&str]) -> Vec<Source> {
    let root = repository_root();
    let mut paths = Vec::new();
    for folder in ROOTS.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir()) {
        collect(&folder, extensions, &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| Source::read(&root, path)).collect()
}

/// The root package's folder.
pub(crate) fn repository_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Whether `name` stands in the code as a word (or path) of its own.
pub(crate) fn mentions(code: &str, name: &str) -> bool {
    positions(code, name).next().is_some()
}

/// Whether the code uses the crate `name`: in a path that begins with it, or in an import.
pub(crate) fn names_crate(code: &str, name: &str) -> bool {
    positions(code, name).any(|at| {
        let before = code[..at].trim_end();
        let begins_path = !before.ends_with("::") && !before.ends_with('.');
        begins_path
            && (code[at + name.len()..].starts_with("::")
                || before.ends_with("use")
                || before.ends_with("crate"))
    })
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let relative = path.strip_prefix(root).expect("it was found under the root");
        let path = relative.to_string_lossy().replace('\\', "/");
        let code = if path.ends_with(".rs") { blank_comments_and_literals(&text) } else { String::new() };
        let only_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
        let product = if only_tests { String::new() } else { blank_test_items(&code) };
        Self { path, text, code, product }
    }

    /// A message about the line with this index.
    pub(crate) fn at(&self, line: usize, message: &str) -> String {
        format!("{}:{}: {message}", self.path, line + 1)
    }

    /// Whether the file is one of the modules, given as paths without `.rs`, or inside one.
    pub(crate) fn is_in(&self, modules: &[&str]) -> bool {
        modules.iter().any(|module| {
            self.path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    }

    /// The indices of the lines whose code, tests apart, uses the crate.
    pub(crate) fn lines_naming_crate(&self, name: &str) -> Vec<usize> {
        let lines = self.product.lines().enumerate();
        lines.filter(|(_, code)| names_crate(code, name)).map(|(line, _)| line).collect()
    }
}

fn collect(folder: &Path, extensions: &[&str], paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !NOT_OURS.contains(&name.as_str()) && !name.starts_with('.') {
                collect(&path, extensions, paths);
            }
        } else if path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension))
        {
            paths.push(path);
        }
    }
}

/// Where `name` stands with no letter, digit or `_` touching it.
fn positions<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(name)
        .map(|(at, _)| at)
        .filter(move |&at| !code[..at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word))
}

/// Replaces comments and the insides of literals by spaces; what is left stands on the line where it stood.
fn blank_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blank = comment_len(rest).or_else(|| raw_string_len(rest, &code)).or_else(|| quoted_len(rest));
        let length = blank.unwrap_or(first.len_utf8());
        let (piece, after) = rest.split_at(length);
        match blank {
            Some(_) => code.extend(piece.chars().map(|character| if character == '\n' { '\n' } else { ' ' })),
            None => code.push_str(piece),
        }
        rest = after;
    }
    code
}

/// The length of the comment that the text begins with. Block comments nest.
fn comment_len(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        match (rest.starts_with(b"/*"), rest.starts_with(b"*/")) {
            (true, _) => (depth, at) = (depth + 1, at + 2),
            (_, true) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    Some(at.min(text.len()))
}

/// The length of the raw string (`r"…"`, `r#"…"#`, also of bytes or C) that the text begins with, after `before`.
fn raw_string_len(text: &str, before: &str) -> Option<usize> {
    if before.ends_with(|character: char| character.is_alphanumeric() || character == '_') {
        return None;
    }
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| text.starts_with(prefix))?;
    let hashes = text[prefix.len()..].bytes().take_while(|&byte| byte == b'#').count();
    let opening = prefix.len() + hashes;
    let inside = text[opening..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let end = inside.find(&closing).map_or(inside.len(), |at| at + closing.len());
    Some(opening + 1 + end)
}

/// The length of the string or character literal that the text begins with; a lifetime is none.
fn quoted_len(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    if quote == '\'' {
        let mut characters = text[1..].chars();
        let (first, second) = (characters.next()?, characters.next()?);
        if first != '\\' && second != '\'' {
            return None;
        }
    }
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return Some(at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Blanks each item under `#[cfg(test)]`.
fn blank_test_items(code: &str) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(ATTRIBUTE) {
        let (before, item) = rest.split_at(at);
        let (item, after) = item.split_at(item_len(item));
        kept.push_str(before);
        kept.extend(item.chars().filter(|&character| character == '\n'));
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// The length of the item that the code begins with: to its `;`, or to the `}` of its first `{`.
fn item_len(code: &str) -> usize {
    let mut depth = 0;
    for (at, character) in code.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' => {}
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "a // unsafe\n/* unsafe /* nested */ unsafe\n */ b r#\"unsafe \" unsafe\"# 'x' '\\'' c<'long> \"\\\"unsafe\" d";
    let code = blank_comments_and_literals(text);
    assert!(!mentions(&code, "unsafe"), "{code}");
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c<'long>", "d"]);
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn test_items_are_no_product() {
    let code =
        "use a;\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod more { fn c() { d() } }\nfn e() {}";
    assert_eq!(
        blank_test_items(code).split_whitespace().collect::<Vec<_>>().join(" "),
        "use a; fn b() {} fn e() {}"
    );
}

#[test]
fn a_crate_is_named_by_paths_and_imports_alone() {
    assert!(names_crate("use zip::ZipArchive;", "zip"));
    assert!(names_crate("let a = zip::ZipArchive::new(r);", "zip"));
    assert!(names_crate("use libc;", "libc"));
    assert!(names_crate("pub(crate) use zip as archive;", "zip"));
    assert!(!names_crate("a.iter().zip(b)", "zip"));
    assert!(!names_crate("crate::package::zip::read(b)", "zip"));
    assert!(!names_crate("gzip::decode(b)", "zip"));
}
