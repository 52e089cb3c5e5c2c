//! The rules of this repository that no other tool checks: what a file opens with, which crate lives where, what may not stand.

#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/source.rs"]
mod source;

use std::fs;

use crate::source::{Source, mentions, repository_root, sources};

/// Each crate that shapes the code around it, and the modules that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("rquickjs", &["runtime/src/isolate"]),
    ("swc_core", &["runtime/src/compile"]),
    ("ureq", &["runtime/src/egress"]),
    ("zip", &["runtime/src/package"]),
    ("sqlx", &["runtime/src/sql", "src/store"]),
    ("tiberius", &["runtime/src/sql"]),
    ("axum", &["src/http", "src/mcp", "src/console"]),
    ("rmcp", &["src/mcp"]),
    ("oauth2", &["src/oauth"]),
    ("aes_gcm", &["src/vault"]),
    ("notify", &["src/reload"]),
    ("saphyr_parser", &["src/http/yaml"]),
    ("seccompiler", &["runtime/src/sandbox/jail", "runtime/src/sandbox/zygote"]),
    ("libc", &["runtime/src/sandbox/jail", "runtime/src/sandbox/zygote", "runtime/src/isolate/bytecode"]),
];

/// Where `unsafe` may stand.
const UNSAFE_HOMES: &[&str] =
    &["runtime/src/sandbox/jail", "runtime/src/sandbox/zygote", "runtime/src/isolate/bytecode"];

/// Modules, what their code may not name, and why.
const ONE_WAY: &[(&[&str], &[&str], &str)] = &[
    (
        &["runtime/src"],
        &["clap", "axum", "portcullis"],
        "the runtime can be embedded: it knows nothing of the product around it",
    ),
    (
        &["runtime/src"],
        &["env::var", "env::var_os", "env::vars", "env::vars_os"],
        "the runtime's caller decides: settings come as arguments, not from the environment",
    ),
    (
        &[
            "runtime/src/package",
            "runtime/src/manifest",
            "runtime/src/compile",
            "runtime/src/egress",
            "runtime/src/isolate",
            "runtime/src/files",
            "runtime/src/sandbox",
        ],
        &["crate::connector"],
        "the connector is built from these, not the other way round",
    ),
    (
        &[
            "runtime/src/package",
            "runtime/src/manifest",
            "runtime/src/compile",
            "runtime/src/egress",
            "runtime/src/files",
        ],
        &["crate::sandbox"],
        "the sandbox uses these, not the other way round",
    ),
    (
        &[
            "src/store",
            "src/gateway",
            "src/oauth",
            "src/agents",
            "src/vault",
            "src/integrations",
            "src/reload",
        ],
        &["crate::http", "crate::mcp", "crate::console", "crate::cli"],
        "the gateway doesn't know through which door a call came",
    ),
    (
        &["src/store", "src/vault", "src/integrations"],
        &["crate::gateway"],
        "the gateway is built from these, not the other way round",
    ),
    (
        &["src/http", "src/mcp", "src/console"],
        &["crate::cli"],
        "only main and the command line know of the command line",
    ),
];

#[test]
fn every_file_opens_with_a_sentence() {
    report(sources(&["rs"]).iter().filter_map(|source| {
        let opening: Vec<&str> = source.text.lines().map_while(|line| line.strip_prefix("//!")).collect();
        let paragraph = opening.split(|line| line.trim().is_empty()).next().unwrap_or_default().join("");
        if paragraph.is_empty() {
            Some(source.at(0, "open the file with one `//!` sentence that says what lives in it"))
        } else if !paragraph.starts_with(' ') || !paragraph.ends_with(['.', ':']) {
            Some(source.at(0, "the `//!` text that opens the file must be a sentence, with its full stop"))
        } else {
            None
        }
    }));
}

#[test]
fn heavy_crates_have_one_home() {
    let sources = product_sources();
    report(HOMES.iter().flat_map(|(name, homes)| {
        let strangers = sources.iter().filter(|source| !source.is_in(homes));
        strangers.flat_map(move |source| {
            source
                .lines_naming_crate(name)
                .into_iter()
                .map(move |line| source.at(line, &format!("only {} may use {name}", homes.join(" and "))))
        })
    }));
}

#[test]
fn dependencies_go_one_way() {
    let sources = product_sources();
    report(ONE_WAY.iter().flat_map(|(modules, names, reason)| {
        let bound = sources.iter().filter(|source| source.is_in(modules));
        bound.flat_map(move |source| {
            source.product.lines().enumerate().filter_map(move |(line, code)| {
                let name = names.iter().find(|name| names_path(code, name))?;
                Some(source.at(line, &format!("names `{name}`: {reason}")))
            })
        })
    }));
}

#[test]
fn unsafe_has_three_homes_and_a_reason() {
    report(sources(&["rs"]).iter().flat_map(|source| {
        let lines: Vec<&str> = source.text.lines().collect();
        let found = source.code.lines().enumerate().filter(|(_, code)| mentions(code, "unsafe"));
        found
            .filter_map(|(line, _)| {
                if !source.is_in(UNSAFE_HOMES) {
                    Some(source.at(line, &format!("`unsafe` stands only in {}", UNSAFE_HOMES.join(", "))))
                } else if !has_safety_comment(&lines, line) {
                    Some(source.at(line, "say in a `// SAFETY:` comment above why this is sound"))
                } else {
                    None
                }
            })
            .collect::<Vec<_>>()
    }));
}

#[test]
fn nothing_is_left_unfinished() {
    // In halves, so that this file doesn't find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let macros = [concat!("to", "do!"), concat!("unim", "plemented!")];
    report(sources(&["rs", "ts", "js", "toml", "sh"]).iter().flat_map(|source| {
        let marked =
            source.text.lines().enumerate().filter(|(_, text)| words.iter().any(|word| mentions(text, word)));
        let stubbed =
            source.code.lines().enumerate().filter(|(_, code)| macros.iter().any(|name| code.contains(name)));
        marked
            .chain(stubbed)
            .map(|(line, _)| source.at(line, "finish it, or open an issue"))
            .collect::<Vec<_>>()
    }));
}

#[test]
fn the_architecture_is_short() {
    let text =
        fs::read_to_string(repository_root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let n_lines = text.lines().count();
    assert!(n_lines <= 200, "ARCHITECTURE.md:201: {n_lines} lines; nobody reads more than 200");
}

/// Fails with all the violations, one to a line.
#[track_caller]
fn report(violations: impl Iterator<Item = String>) {
    let violations: Vec<String> = violations.collect();
    assert!(violations.is_empty(), "{} to put right:\n{}", violations.len(), violations.join("\n"));
}

/// What is shipped: the two crates' own code.
fn product_sources() -> Vec<Source> {
    sources(&["rs"]).into_iter().filter(|source| source.is_in(&["src", "runtime/src"])).collect()
}

/// Whether the code names the path `name`: a single word counts only where it begins a path or is imported.
fn names_path(code: &str, name: &str) -> bool {
    if name.contains("::") { mentions(code, name) } else { source::names_crate(code, name) }
}

/// Whether a comment with `SAFETY:` (or, on an `unsafe fn`, a doc section `# Safety`) stands on the line or right above
/// its statement: up to the nearest blank line or end of a statement.
fn has_safety_comment(lines: &[&str], line: usize) -> bool {
    let justified = |text: &str| text.contains("SAFETY:") || text.contains("# Safety");
    let above = lines[..line].iter().rev().take_while(|text| {
        let text = text.trim();
        text.starts_with("//") || !(text.is_empty() || text.ends_with([';', '}', '{']))
    });
    justified(lines[line]) || above.into_iter().any(|text| justified(text))
}

#[test]
fn a_safety_comment_belongs_to_the_statement_below_it() {
    let lines = ["// SAFETY: sound.", "let a =", "    unsafe { f() };", "let b = unsafe { g() };"];
    assert!(has_safety_comment(&lines, 2));
    assert!(!has_safety_comment(&lines, 3));
}
