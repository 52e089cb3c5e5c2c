//! Where compiled connectors are kept, as settings.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::BoolishValueParser;
use portcullis_runtime::BytecodeCache;

use crate::error::chain;

/// Where compiled connectors are kept from one run to the next.
#[derive(Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheFlags {
    /// Keep compiled connectors under this folder [default: $XDG_CACHE_HOME/portcullis or ~/.cache/portcullis]
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_CACHE_DIR", hide_env_values = true)]
    cache_dir: Option<PathBuf>,
    /// Compile anew, and keep nothing
    #[arg(long, env = "PORTCULLIS_NO_CACHE", hide_env_values = true, value_parser = BoolishValueParser::new())]
    no_cache: bool,
}

impl CacheFlags {
    /// The cache, where there is one; where it can't be used, why not.
    pub(crate) fn cache(&self) -> Result<Option<BytecodeCache>, String> {
        self.cache_in(user_cache())
    }

    /// The cache of a process that has a folder for its data, which takes the place of a user's where there is none.
    pub(crate) fn cache_or_in(&self, data: &Path) -> Result<Option<BytecodeCache>, String> {
        self.cache_in(user_cache().or_else(|| Some(data.to_owned())))
    }

    fn cache_in(&self, default: Option<PathBuf>) -> Result<Option<BytecodeCache>, String> {
        if self.no_cache {
            return Ok(None);
        }
        let own = self.cache_dir.clone().filter(|folder| !folder.as_os_str().is_empty());
        let Some(folder) = own.or(default) else { return Ok(None) };
        BytecodeCache::in_folder(folder.join("bytecode")).map(Some).map_err(|error| chain(&error))
    }
}

/// The user's own cache folder for this program, by the XDG base directory specification: relative paths don't count.
fn user_cache() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("portcullis"))
}
