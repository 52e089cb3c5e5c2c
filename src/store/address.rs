//! Where the store's database is, as the operator names it.

use std::fmt;
use std::path::PathBuf;

use url::Url;

/// Which database.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum DatabaseUrl {
    /// A file, made with mode 0600 where it is missing.
    Sqlite(PathBuf),
    /// `postgres://…`, as sqlx takes it. May hold a password: never shown whole.
    Postgres(String),
}

impl DatabaseUrl {
    /// `postgres://…` or `postgresql://…`; `sqlite:PATH`, `sqlite://PATH` or a path alone is a file. The error says what to
    /// write; it never repeats the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("sqlite:") {
            if path.contains('?') {
                return Err("a sqlite: URL takes no parameters: write sqlite:PATH".to_owned());
            }
            return file(path.strip_prefix("//").unwrap_or(path));
        }
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => postgres(text),
            Some(_) => Err("the database must be postgres://…, sqlite:PATH or the path of a file".to_owned()),
            None => file(text),
        }
    }
}

fn postgres(text: &str) -> Result<DatabaseUrl, String> {
    match Url::parse(text) {
        Ok(_) => Ok(DatabaseUrl::Postgres(text.to_owned())),
        Err(error) => Err(format!(
            "the database's URL can't be read: {error}. Write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for \
             characters of the password that mean something in URLs"
        )),
    }
}

fn file(path: &str) -> Result<DatabaseUrl, String> {
    if path.is_empty() {
        return Err("the database's path is empty".to_owned());
    }
    if path == ":memory:" {
        return Err("a database in memory would be lost with the process: name a file".to_owned());
    }
    Ok(DatabaseUrl::Sqlite(PathBuf::from(path)))
}

impl fmt::Display for DatabaseUrl {
    /// The path; or the URL without its password and without its parameters, one of which may be a password too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(text) => match Url::parse(text) {
                Ok(url) => write!(
                    f,
                    "postgres://{}{}{}",
                    url.host_str().unwrap_or_default(),
                    url.port().map(|port| format!(":{port}")).unwrap_or_default(),
                    url.path()
                ),
                Err(_) => f.write_str("postgres://…"),
            },
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_servers_are_told_apart() {
        let file = |path: &str| Ok(DatabaseUrl::Sqlite(PathBuf::from(path)));
        assert_eq!(DatabaseUrl::parse("data/portcullis.db"), file("data/portcullis.db"));
        assert_eq!(DatabaseUrl::parse("sqlite:data/a b.db"), file("data/a b.db"));
        assert_eq!(DatabaseUrl::parse("sqlite:///var/a.db"), file("/var/a.db"));
        let server = "postgresql://u:p@h:5433/d?sslmode=require";
        assert_eq!(DatabaseUrl::parse(server), Ok(DatabaseUrl::Postgres(server.to_owned())));
    }

    #[test]
    fn what_is_no_database_is_refused_without_showing_it() {
        for text in [
            "",
            " ",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:a.db?mode=rwc",
            ":memory:",
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2@h:x/d",
        ] {
            let error = DatabaseUrl::parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = DatabaseUrl::parse("postgres://me:hunter2@db:5433/app?password=hunter2").unwrap();
        assert_eq!(url.to_string(), "postgres://db:5433/app");
        assert_eq!(format!("{url:?}"), "DatabaseUrl(postgres://db:5433/app)");
    }
}
