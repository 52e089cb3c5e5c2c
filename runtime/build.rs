//! Stamps the compiler, so that cached bytecode of another build isn't run; and links benches as the binary is linked.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut hasher = DefaultHasher::new();
    for folder in ["src/compile", "src/isolate", "src/sandbox"] {
        println!("cargo::rerun-if-changed={folder}");
        for file in files_below(Path::new(folder)) {
            // A file that can't be read fails the compilation proper, with a better message.
            fs::read(&file).unwrap_or_default().hash(&mut hasher);
        }
    }
    println!("cargo::rustc-env=PORTCULLIS_COMPILER_STAMP={:016x}", hasher.finish());
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg-benches=-no-pie");
    }
}

/// All files below a folder, in order.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
