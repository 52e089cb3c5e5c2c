//! What `keys` and `projects` share: the store, opened beside a gateway that may be running, and tables.

use clap::Args;

use crate::cli::output::plain;
use crate::config::StoreFlags;
use crate::error::{Failure, FailureKind, chain};
use crate::store::projects::Project;
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::vault::Vault;

/// What all of these commands take.
#[derive(Args)]
pub(in crate::cli) struct DirectFlags {
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl DirectFlags {
    /// Opens the store and the vault, does something with them, and closes them.
    pub(in crate::cli) fn with_store<T>(
        &self,
        work: impl AsyncFnOnce(&Store, &Vault) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                Failure::new(FailureKind::Store, format!("can't begin to wait for the database: {error}"))
            })?;
        runtime.block_on(async {
            let (store, vault) = Box::pin(self.store.open()).await?;
            let done = Box::pin(work(&store, &vault)).await;
            store.close().await;
            done
        })
    }
}

/// What the store said, as a failure.
pub(in crate::cli) fn store_failure(error: StoreError) -> Failure {
    Failure::new(FailureKind::Store, chain(&error))
}

/// The project of this name; otherwise which ones there are.
pub(in crate::cli) async fn project_named(store: &Store, name: &str) -> Result<Project, Failure> {
    if let Some(project) = store.project_named(name).await.map_err(store_failure)? {
        return Ok(project);
    }
    let names: Vec<String> = store
        .projects()
        .await
        .map_err(store_failure)?
        .into_iter()
        .map(|project| format!("{:?}", project.name))
        .collect();
    let known = match names.as_slice() {
        [] => "none so far. Make one: portcullis projects create NAME".to_owned(),
        names => names.join(", "),
    };
    Err(Failure::usage(format!("there is no project {name:?}; there are: {known}")))
}

/// Rows in columns, the first row in capitals above them.
pub(in crate::cli) fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| plain(cell).chars().count()).max()
    };
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or(0);
            format!("{:<width$}", plain(cell))
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A time for people, to the minute, in UTC: `2026-11-20 19:14`.
pub(in crate::cli) fn minute(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

/// `1 key`, `2 keys`.
pub(in crate::cli) fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_straight_columns() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let rows = [row(&["NAME", "KEYS"]), row(&["a longer näme", "1"]), row(&["b\u{1b}", ""])];
        assert_eq!(table(&rows), "NAME           KEYS\na longer näme  1\nb\\u{1b}\n");
    }

    #[test]
    fn a_minute_is_cut_from_the_time() {
        assert_eq!(minute(Timestamp(1_700_000_000_007)), "2023-11-14 22:13");
    }
}
