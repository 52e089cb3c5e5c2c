//! PostgreSQL: how a cluster is made, run and talked to.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result};

use crate::account::Account;
use crate::engine::{Dbms, Engine};
use crate::folder::Folder;
use crate::programs;
use crate::server::Server;

/// Quick to start and to write, and small: nothing here has to survive a power cut.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "max_connections=100",
    "shared_buffers=32MB",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "min_wal_size=32MB",
    "max_wal_size=256MB",
    "autovacuum=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "password_encryption=scram-sha-256",
    "ssl=on",
];

/// The socket needs no password: no other user of the machine gets into its folder.
const WHO_MAY_CONNECT: &str = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

pub(crate) struct PostgresServer;

impl Dbms for PostgresServer {
    fn account(&self) -> &'static str {
        "postgres"
    }

    fn maintenance_database(&self) -> &'static str {
        "postgres"
    }

    /// PostgreSQL's "immediate shutdown". On SIGKILL it would leave shared memory behind.
    fn end_signal(&self) -> &'static str {
        "QUIT"
    }

    fn command_line(&self, folder: &Folder, port: u16) -> Result<Vec<OsString>> {
        let mut line =
            vec![programs::need(Engine::Postgres, "postgres")?.into(), "-D".into(), folder.data().into()];
        let settings = folder.settings();
        let own = [
            format!("port={port}"),
            format!("unix_socket_directories={}", folder.run().display()),
            format!("hba_file={}", settings.join("pg_hba.conf").display()),
            format!("ssl_cert_file={}", settings.join("server.pem").display()),
            format!("ssl_key_file={}", settings.join("server.key").display()),
        ];
        for setting in SETTINGS.iter().map(OsString::from).chain(own.into_iter().map(OsString::from)) {
            line.extend(["-c".into(), setting]);
        }
        Ok(line)
    }

    fn set_up(&self, server: &Server, account: &Account) -> Result<()> {
        let folder = server.files();
        folder.write_setting(account, "pg_hba.conf", WHO_MAY_CONNECT)?;
        let mut initdb = programs::command(Engine::Postgres, "initdb")?;
        initdb.arg("--pgdata").arg(folder.data()).args(["--username", server.user()]);
        initdb.args(["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]);
        initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256"]);
        programs::run(account.command_as(&initdb), "").map(drop).context("can't make a PostgreSQL cluster")
    }

    fn is_ready(&self, server: &Server) -> bool {
        let Ok(mut pg_isready) = programs::command(Engine::Postgres, "pg_isready") else { return false };
        pg_isready.args(["--quiet", "--timeout=2"]);
        add_address(&mut pg_isready, server, server.database());
        programs::run(pg_isready, "").is_ok()
    }

    /// Databases are copies of template1, so the reader may read what the owner makes in any of them.
    fn complete(&self, server: &Server) -> Result<()> {
        let (owner, reader) = (server.user(), server.reader());
        let users = format!(
            "ALTER ROLE {owner} PASSWORD '{}';\n\
             CREATE ROLE {reader} LOGIN PASSWORD '{}';\n\
             ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO {reader};\n",
            server.password(),
            server.reader_password()
        );
        server.query_in("template1", &users).map(drop).context("can't make the PostgreSQL server's users")
    }

    fn client(&self, server: &Server, database: &str) -> Result<Command> {
        let mut psql = programs::command(Engine::Postgres, "psql")?;
        psql.env("PGCLIENTENCODING", "UTF8");
        psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"]);
        psql.args(["--csv", "--tuples-only", "--pset=null=NULL"]);
        add_address(&mut psql, server, database);
        Ok(psql)
    }

    fn rows(&self, printed: &str) -> Vec<Vec<String>> {
        csv_rows(printed)
    }

    fn create_database(&self, server: &Server, name: &str) -> Result<()> {
        server.query_in(server.database(), &format!("CREATE DATABASE {name}")).map(drop)
    }

    fn drop_database(&self, server: &Server, name: &str) -> Result<()> {
        let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        server.query_in(server.database(), &sql).map(drop)
    }
}

fn add_address(command: &mut Command, server: &Server, database: &str) {
    command.arg("--host").arg(server.files().run()).arg(format!("--port={}", server.port()));
    command.args(["--username", server.user(), "--dbname", database]);
}

/// The rows of a CSV text in which each row ends with a line end: values in quotes may hold any character, a quote twice.
fn csv_rows(printed: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let (mut row, mut value, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = printed.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => value.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut value)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut value));
                rows.push(std::mem::take(&mut row));
            }
            _ => value.push(character),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_values_are_read_back() {
        let printed = "1,\"a,\"\"b\nc\"\n\n,NULL\n\"\"\"\"\n";
        let rows = csv_rows(printed);
        assert_eq!(rows, [vec!["1", "a,\"b\nc"], vec![""], vec!["", "NULL"], vec!["\""]]);
        assert!(csv_rows("").is_empty());
    }
}
