//! MariaDB: how a data folder is made, and how a server is run and talked to.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result};

use crate::account::Account;
use crate::engine::{Dbms, Engine};
use crate::folder::Folder;
use crate::programs;
use crate::server::Server;

/// What the data folder is made with, and then used with. Nothing here has to survive a power cut.
const STORAGE: &[&str] = &[
    "--innodb-log-file-size=16M",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-method=nosync",
    "--innodb-flush-log-at-trx-commit=0",
    "--debug-no-sync",
    "--performance-schema=off",
    "--skip-log-bin",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_general_ci",
];

const SERVER: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--max-connections=100",
    "--default-time-zone=+00:00",
    "--skip-slave-start",
];

pub(crate) struct MariaDbServer;

impl Dbms for MariaDbServer {
    fn account(&self) -> &'static str {
        "mysql"
    }

    fn maintenance_database(&self) -> &'static str {
        "mysql"
    }

    fn end_signal(&self) -> &'static str {
        "KILL"
    }

    fn command_line(&self, folder: &Folder, port: u16) -> Result<Vec<OsString>> {
        let settings = folder.settings();
        let mut line: Vec<OsString> =
            vec![programs::need(Engine::MariaDb, "mariadbd")?.into(), "--no-defaults".into()];
        line.extend(STORAGE.iter().chain(SERVER).map(OsString::from));
        let own = [
            format!("--datadir={}", folder.data().display()),
            format!("--tmpdir={}", folder.run().display()),
            format!("--socket={}", folder.run().join("socket").display()),
            format!("--pid-file={}", folder.run().join("pid").display()),
            format!("--port={port}"),
            format!("--init-file={}", settings.join("users.sql").display()),
            format!("--ssl-cert={}", settings.join("server.pem").display()),
            format!("--ssl-key={}", settings.join("server.key").display()),
        ];
        line.extend(own.map(OsString::from));
        Ok(line)
    }

    fn set_up(&self, server: &Server, account: &Account) -> Result<()> {
        let folder = server.files();
        folder.write_setting(account, "users.sql", &users(server))?;
        let mut install = programs::command(Engine::MariaDb, "mariadb-install-db")?;
        install.args(["--no-defaults", "--skip-test-db", "--skip-name-resolve"]);
        install.arg("--auth-root-authentication-method=normal").args(STORAGE);
        install.arg(format!("--datadir={}", folder.data().display()));
        install.arg(format!("--tmpdir={}", folder.run().display()));
        programs::run(account.command_as(&install), "").map(drop).context("can't make a MariaDB data folder")
    }

    fn is_ready(&self, server: &Server) -> bool {
        let Ok(mut admin) = programs::command(Engine::MariaDb, "mariadb-admin") else { return false };
        add_address(&mut admin, server);
        admin.args(["--connect-timeout=2", "ping"]);
        programs::run(admin, "").is_ok()
    }

    /// The users are made before it answers, by the init file.
    fn complete(&self, _server: &Server) -> Result<()> {
        Ok(())
    }

    fn client(&self, server: &Server, database: &str) -> Result<Command> {
        let mut mariadb = programs::command(Engine::MariaDb, "mariadb")?;
        add_address(&mut mariadb, server);
        mariadb.args(["--batch", "--skip-column-names", "--binary-mode"]);
        mariadb.args(["--default-character-set=utf8mb4", "--database", database]);
        Ok(mariadb)
    }

    fn rows(&self, printed: &str) -> Vec<Vec<String>> {
        printed.lines().map(|line| line.split('\t').map(unescape).collect()).collect()
    }

    fn create_database(&self, server: &Server, name: &str) -> Result<()> {
        let reader = server.reader();
        let sql = format!("CREATE DATABASE {name}; GRANT SELECT ON {name}.* TO '{reader}'@'%'");
        server.query_in(server.database(), &sql).map(drop)
    }

    /// Connections go first: one with an open transaction would hold the tables. The grant wouldn't go by itself.
    fn drop_database(&self, server: &Server, name: &str) -> Result<()> {
        let connected = format!("SELECT id FROM information_schema.processlist WHERE db = '{name}'");
        for connection in server.query_in(server.database(), &connected)?.concat() {
            // It may have gone meanwhile.
            let _ = server.query_in(server.database(), &format!("KILL CONNECTION {connection}"));
        }
        let reader = server.reader();
        let sql = format!(
            "SET lock_wait_timeout = 20; DROP DATABASE IF EXISTS {name}; REVOKE SELECT ON {name}.* FROM '{reader}'@'%'"
        );
        server.query_in(server.database(), &sql).map(drop)
    }
}

/// Statements that the server runs at each start, one to a line: our users, and nobody else but MariaDB itself.
fn users(server: &Server) -> String {
    let (owner, reader) = (server.user(), server.reader());
    format!(
        "DELETE FROM mysql.global_priv WHERE user IN ('', 'root');\n\
         FLUSH PRIVILEGES;\n\
         CREATE USER '{owner}'@'%' IDENTIFIED BY '{}';\n\
         GRANT ALL PRIVILEGES ON *.* TO '{owner}'@'%' WITH GRANT OPTION;\n\
         CREATE USER '{reader}'@'%' IDENTIFIED BY '{}';\n",
        server.password(),
        server.reader_password()
    )
}

/// `--no-defaults` has to come first.
fn add_address(command: &mut Command, server: &Server) {
    command.arg("--no-defaults").arg(format!("--socket={}", server.files().run().join("socket").display()));
    command.args(["--user", server.user()]).env("MYSQL_PWD", server.password());
}

/// A value as `--batch` prints it, which writes line ends, tabs, NULs and backslashes with a backslash.
fn unescape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('0') => '\0',
                Some(other) => other,
                None => '\\',
            },
            _ => character,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_values_are_read_back() {
        let printed = "a\tb\\tc\\nd\n\tNULL\n\\\\n\\0\n";
        let rows = MariaDbServer.rows(printed);
        assert_eq!(rows, [vec!["a", "b\tc\nd"], vec!["", "NULL"], vec!["\\n\0"]]);
    }
}
