//! Where what outlives the process is kept: the data folder, the database and the master key, as settings.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_runtime::Redactor;
use url::Url;

use super::lock::DataLock;
use crate::error::{Failure, FailureKind, chain};
use crate::store::{DatabaseUrl, Store};
use crate::vault::{Vault, rotate};

/// Where the gateway keeps what outlives it. `serve`, `keys` and `projects` find the same data by the same settings.
#[derive(Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct StoreFlags {
    /// The folder of the database and the master key; made if missing
    #[arg(
        long,
        value_name = "DIR",
        env = "PORTCULLIS_DATA",
        hide_env_values = true,
        default_value = "portcullis-data"
    )]
    data: PathBuf,
    /// The database: postgres://user:password@host/database, or an SQLite file [default: portcullis.db in --data]
    #[arg(long, value_name = "URL", env = "PORTCULLIS_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// The file of the master keys that credentials are sealed under; made if missing [default: master.key in --data]
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_MASTER_KEY_FILE", hide_env_values = true)]
    master_key_file: Option<PathBuf>,
    /// A TOML file of settings: each flag of `serve`, without its dashes, is a key
    #[arg(id = super::file::FLAG, long = "config", value_name = "FILE", env = "PORTCULLIS_CONFIG", hide_env_values = true)]
    config_file: Option<PathBuf>,
}

impl StoreFlags {
    /// The folder that everything is kept in by default.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Which database.
    pub(crate) fn database(&self) -> Result<DatabaseUrl, Failure> {
        match &self.database {
            None => Ok(DatabaseUrl::Sqlite(self.data.join("portcullis.db"))),
            Some(text) => DatabaseUrl::parse(text)
                .map_err(|problem| self.without_password(Failure::usage(format!("--database: {problem}")))),
        }
    }

    /// Keeps other `serve`s off the database, where it is a file; PostgreSQL may have several.
    pub(crate) fn lock(&self) -> Result<Option<DataLock>, Failure> {
        let DatabaseUrl::Sqlite(file) = self.database()? else { return Ok(None) };
        self.make_folder()?;
        DataLock::take(&file).map(Some)
    }

    /// The store and the vault, made where they are missing: folder, database and master key are the owner's alone.
    pub(crate) async fn open(&self) -> Result<(Store, Vault), Failure> {
        self.make_folder()?;
        let refuse = |what: &str, error: &dyn std::error::Error| {
            self.without_password(Failure::new(FailureKind::Store, format!("{what}: {}", chain(error))))
        };
        let store = Store::open(&self.database()?).await.map_err(|error| refuse("the database", &error))?;
        self.need_master_key(&store).await.map_err(|error| self.without_password(error))?;
        let vault = Vault::open_or_create(&self.master_key_file())
            .map_err(|error| Failure::new(FailureKind::Store, chain(&error)))?;
        rotate::settle_active_key(&vault, &store).await.map_err(|error| refuse("the master key", &error))?;
        Ok((store, vault))
    }

    /// Refuses to make a new master key for a database whose values are sealed under another: it would open none of them.
    async fn need_master_key(&self, store: &Store) -> Result<(), Failure> {
        let file = self.master_key_file();
        if file.symlink_metadata().is_ok() {
            return Ok(());
        }
        let refuse = |problem: String| Failure::new(FailureKind::Store, problem);
        let active = store.active_master_key().await;
        match active.map_err(|error| refuse(format!("the database: {}", chain(&error))))? {
            None => Ok(()),
            Some(key_id) => Err(refuse(format!(
                "the master key file {} is missing, and the database's values are sealed under its key {key_id}: restore it \
                 from a backup, or name it with --master-key-file",
                file.display()
            ))),
        }
    }

    fn master_key_file(&self) -> PathBuf {
        self.master_key_file.clone().unwrap_or_else(|| self.data.join("master.key"))
    }

    /// Makes the data folder; whoever could write to it could put a master key of their own there.
    fn make_folder(&self) -> Result<(), Failure> {
        let folder = self.data.display();
        let refuse =
            |problem: String| Failure::new(FailureKind::Store, format!("--data {folder}: {problem}"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.data)
            .map_err(|error| refuse(format!("can't make the folder: {error}")))?;
        let found =
            fs::metadata(&self.data).map_err(|error| refuse(format!("can't look at the folder: {error}")))?;
        let own = rustix::process::geteuid().as_raw();
        if own != 0 && found.uid() != own {
            return Err(refuse(
                "the folder belongs to another user, who could replace what is in it".to_owned(),
            ));
        }
        if found.mode() & 0o022 != 0 {
            return Err(refuse(format!("others can write to this folder; chmod go-w {folder}")));
        }
        Ok(())
    }

    /// The failure without the database's password, however it got there.
    fn without_password(&self, failure: Failure) -> Failure {
        let Some(text) = &self.database else { return failure };
        let parsed = Url::parse(text).ok();
        let password = parsed.as_ref().and_then(Url::password);
        // A text that is no URL after all may hold one just the same.
        let unparsed = text.rsplit_once('@').and_then(|(user_info, _)| user_info.rsplit_once(':'));
        let secrets = password.into_iter().chain(unparsed.map(|(_, password)| password));
        failure.redacted(&Redactor::new(secrets.filter(|secret| !secret.is_empty())))
    }
}
