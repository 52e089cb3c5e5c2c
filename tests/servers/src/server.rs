//! A running server: started here or joined, its address and users, and the statements that tests give it.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::account::Account;
use crate::database::Database;
use crate::engine::Engine;
use crate::folder::{self, Folder, Handle};
use crate::keeper::Keeper;
use crate::programs;

/// How long a server may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Between our choosing a free port and the server's taking it, another may: then there are this many tries in all.
const N_TRIES: usize = 3;

/// A server on 127.0.0.1. If it was started here, dropping it stops it and removes all it wrote.
#[derive(Debug)]
pub struct Server {
    engine: Engine,
    folder: Folder,
    ca_pem: PathBuf,
    other_ca_pem: PathBuf,
    handle: Handle,
    /// Where this process started it.
    keeper: Option<Keeper>,
}

impl Server {
    /// The user that may do everything.
    const OWNER: &'static str = "owner";
    /// The user that may read what the owner makes in a test's database, and nothing else.
    const READER: &'static str = "reader";

    /// Starts one, and waits until it answers.
    ///
    /// # Errors
    ///
    /// A program that isn't installed, or a server that ends or doesn't answer within a minute; the latter with the end
    /// of its log.
    pub fn start(engine: Engine) -> Result<Server> {
        for _ in 1..N_TRIES {
            let mut server = Server::prepare(engine, free_port()?)?;
            match server.launch() {
                Ok(()) => return Ok(server),
                Err(_) if server.has_ended() => {}
                Err(error) => return Err(error),
            }
        }
        let mut server = Server::prepare(engine, free_port()?)?;
        server.launch()?;
        Ok(server)
    }

    /// Joins the server that lives in this folder.
    ///
    /// # Errors
    ///
    /// None lives there (any more), or it belongs to someone else.
    pub fn join(engine: Engine, folder: &Path) -> Result<Server> {
        let folder = Folder::at(folder);
        let handle = folder.read_handle().with_context(|| {
            format!("no {} test server runs in {}", engine.name(), folder.root().display())
        })?;
        Ok(Server::of(engine, folder, handle, None))
    }

    /// The one that the environment names, or a new one.
    pub(crate) fn shared_or_own(engine: Engine) -> Result<Server> {
        let variable = engine.variable();
        match std::env::var_os(variable).filter(|folder| !folder.is_empty()) {
            None => Server::start(engine),
            Some(folder) => Server::join(engine, Path::new(&folder)).with_context(|| {
                format!("{variable} is out of date: unset it, or run `cargo xtask servers` and set it as that says")
            }),
        }
    }

    /// What kind it is.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The port on 127.0.0.1 that it listens on, with and without TLS.
    pub fn port(&self) -> u16 {
        self.handle.port
    }

    /// The user that may do everything. It comes in over TCP with its password.
    pub fn user(&self) -> &str {
        Server::OWNER
    }

    /// The owner's password. It has characters that mean something in URLs, so that splicing it into one shows.
    pub fn password(&self) -> &str {
        &self.handle.owner_password
    }

    /// A user that may read what the owner makes in a [`Database`], and nothing else.
    pub fn reader(&self) -> &str {
        Server::READER
    }

    /// The reader's password.
    pub fn reader_password(&self) -> &str {
        &self.handle.reader_password
    }

    /// A database that is always there. Leave it as it is: other tests share it.
    pub fn database(&self) -> &str {
        self.engine.dbms().maintenance_database()
    }

    /// The file of the root certificate that the server's is signed with: for `localhost` and `127.0.0.1`.
    pub fn ca_pem(&self) -> &Path {
        &self.ca_pem
    }

    /// The file of a root certificate that nothing is signed with.
    pub fn other_ca_pem(&self) -> &Path {
        &self.other_ca_pem
    }

    /// The folder that it lives in: the value of [`Engine::variable`] for processes that join it.
    pub fn folder(&self) -> &Path {
        self.folder.root()
    }

    /// The file of what the server printed.
    pub fn log(&self) -> PathBuf {
        self.folder.log()
    }

    /// A new database with a name of its own. It is dropped with the value.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    #[track_caller]
    pub fn create_database(&self) -> Database {
        let joined = Server::of(self.engine, self.folder.clone(), self.handle.clone(), None);
        match Database::create(joined) {
            Ok(database) => database,
            Err(error) => {
                panic!("can't create a database on the {} test server: {error:#}", self.engine.name())
            }
        }
    }

    /// Runs statements as the owner in the maintenance database.
    ///
    /// # Panics
    ///
    /// At the first that fails.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        self.query(sql);
    }

    /// The same, and returns the rows that they gave, one result after the other, as the engine's own client prints
    /// values. A NULL is the text `NULL`.
    ///
    /// # Panics
    ///
    /// At the first that fails.
    #[track_caller]
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        match self.query_in(self.database(), sql) {
            Ok(rows) => rows,
            Err(error) => panic!("{error:#}\nin: {sql}"),
        }
    }

    /// The same in another database.
    pub(crate) fn query_in(&self, database: &str, sql: &str) -> Result<Vec<Vec<String>>> {
        let dbms = self.engine.dbms();
        Ok(dbms.rows(&programs::run(dbms.client(self, database)?, sql)?))
    }

    pub(crate) fn files(&self) -> &Folder {
        &self.folder
    }

    /// A server with its keeper and an empty folder, and all programs there that it needs.
    fn prepare(engine: Engine, port: u16) -> Result<Server> {
        for program in engine.programs() {
            programs::need(engine, program)?;
        }
        let dbms = engine.dbms();
        let account = Account::for_server(dbms.account())?;
        let handle = Handle { port, owner_password: new_password()?, reader_password: new_password()? };
        let temporary = folder::temporary(&engine.name().to_lowercase(), &account)?;
        let folder = Folder::at(temporary.path());
        let line = account.run_as(dbms.command_line(&folder, port)?);
        let keeper = Keeper::of(&folder, dbms.end_signal(), line)?;
        // From here on it's the keeper that removes it.
        let _ = temporary.keep();
        Ok(Server::of(engine, folder, handle, Some(keeper)))
    }

    fn of(engine: Engine, folder: Folder, handle: Handle, keeper: Option<Keeper>) -> Server {
        let (ca_pem, other_ca_pem) = (folder.ca_pem(), folder.other_ca_pem());
        Server { engine, folder, ca_pem, other_ca_pem, handle, keeper }
    }

    /// Fills the folder and starts the server in it.
    fn launch(&mut self) -> Result<()> {
        let dbms = self.engine.dbms();
        let account = Account::for_server(dbms.account())?;
        self.folder.fill(&account)?;
        dbms.set_up(self, &account)?;
        if let Some(keeper) = &mut self.keeper {
            keeper.start_server()?;
        }
        self.wait_until_ready()?;
        dbms.complete(self)?;
        self.folder.write_handle(&self.handle)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while !self.engine.dbms().is_ready(self) {
            if self.has_ended() {
                bail!("the {} test server ended. Its log:\n{}", self.engine.name(), self.folder.end_of_log());
            }
            if Instant::now() > deadline {
                bail!(
                    "the {} test server doesn't answer after {} s. Its log:\n{}",
                    self.engine.name(),
                    START_DEADLINE.as_secs(),
                    self.folder.end_of_log()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::server_has_ended)
    }
}

/// A port that nothing listens on now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr().context("no free port on 127.0.0.1")?.port())
}

/// Other users of the machine reach the port too, so it can't be guessed.
fn new_password() -> Result<String> {
    let mut bytes = [0; 12];
    let mut random = fs::File::open("/dev/urandom").context("can't make a password")?;
    random.read_exact(&mut bytes).context("can't make a password")?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("p@ss:w/rd?%20#{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_start_shows_the_end_of_its_log() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for engine in Engine::ALL {
            let mut server = Server::prepare(engine, taken.local_addr().unwrap().port()).unwrap();
            let error = server.launch().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("the {} test server ended. Its log:", engine.name())),
                "{error}"
            );
            assert!(error.contains("Address already in use"), "{error}");
            assert!(server.has_ended(), "{error}");
        }
    }

    #[test]
    fn a_folder_without_a_server_cannot_be_joined() {
        let folder = tempfile::tempdir().unwrap();
        let error = Server::join(Engine::Postgres, folder.path()).unwrap_err().to_string();
        assert_eq!(error, format!("no PostgreSQL test server runs in {}", folder.path().display()));
    }
}
