//! Which file a connection's `database` names: one inside the operator's folder, that is there already, and nothing else.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::sql::error::SqlError;

/// The file that `database` names in `folder`, with every symbolic link followed.
///
/// # Errors
/// The operator gave no folder; the name isn't a plain path below it; there is no such file; a symbolic link leads out of
/// the folder; or it isn't a regular file.
pub(in crate::sql) fn file(folder: Option<&Path>, database: &str) -> Result<PathBuf, SqlError> {
    let Some(folder) = folder else {
        return Err(SqlError::Settings(format!(
            "the SQLite database {database:?} can't be opened: SQLite files are in one folder, which the operator \
             names with --sqlite-dir, and none is named (a connector that is run from its own folder uses that; one in \
             a zip has none)"
        )));
    };
    check_name(database)?;
    let failed = |what: &Path, error: &io::Error| {
        SqlError::Settings(format!(
            "the SQLite database {database:?} can't be opened: {}: {error}",
            what.display()
        ))
    };
    let folder = fs::canonicalize(folder).map_err(|error| failed(folder, &error))?;
    let named = folder.join(database);
    let file = match fs::canonicalize(&named) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = folder.display();
            return Err(SqlError::Settings(format!("no such database file {database:?} in {folder}")));
        }
        Err(error) => return Err(failed(&named, &error)),
    };
    if !file.starts_with(&folder) {
        let reason = format!("a symbolic link leads out of {}", folder.display());
        return Err(refused(database, &reason));
    }
    identity(&file).map_err(|error| failed(&file, &error))?;
    Ok(file)
}

/// What tells a file from another that takes its place: its device and inode.
pub(super) type Identity = (u64, u64);

/// The identity of a file.
///
/// # Errors
/// It is gone, isn't a regular file, or a link came in its place.
pub(super) fn identity(file: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(file)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if fs::canonicalize(file)? != file {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a symbolic link came into its path"));
    }
    Ok((metadata.dev(), metadata.ino()))
}

fn check_name(database: &str) -> Result<(), SqlError> {
    let is_uri = database.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"));
    let reason = if database.trim().is_empty() {
        "it has no name"
    } else if database.starts_with(':') || is_uri || database.contains('?') {
        "it must be a file's name, not one of SQLite's special names or a URI"
    } else if database.contains('\0') {
        "its name holds a NUL character"
    } else if !Path::new(database)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        "its name must be a path inside the folder of SQLite files, relative and without \"..\""
    } else {
        return Ok(());
    };
    Err(refused(database, reason))
}

fn refused(database: &str, reason: &str) -> SqlError {
    SqlError::Settings(format!("the SQLite database {database:?} can't be opened: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder `inside` with `hotel.db` and `sub/hotel.db`, and `outside.db` beside it.
    fn folders() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let inside = temp.path().join("inside");
        fs::create_dir_all(inside.join("sub")).unwrap();
        for file in ["inside/hotel.db", "inside/sub/hotel.db", "outside.db"] {
            fs::write(temp.path().join(file), "").unwrap();
        }
        (temp, inside)
    }

    #[track_caller]
    fn check_refused(folder: &Path, database: &str, expected: &str) {
        let refused = file(Some(folder), database).unwrap_err().to_string();
        assert!(refused.contains(expected), "{database:?}: {refused}");
    }

    #[test]
    fn a_file_in_the_folder_is_found() {
        let (_temp, inside) = folders();
        let canonical = fs::canonicalize(&inside).unwrap();
        for database in ["hotel.db", "./hotel.db", "sub/hotel.db"] {
            assert_eq!(
                file(Some(&inside), database).unwrap(),
                canonical.join(database.trim_start_matches("./"))
            );
        }
    }

    #[test]
    fn names_that_are_no_path_inside_are_refused() {
        let (temp, inside) = folders();
        for database in ["../outside.db", "sub/../../outside.db", "/etc/passwd", "sub/../hotel.db"] {
            check_refused(&inside, database, "inside the folder");
        }
        check_refused(
            &inside,
            &temp.path().join("inside/hotel.db").display().to_string(),
            "inside the folder",
        );
        for database in
            [":memory:", "file:hotel.db", "FILE:/etc/passwd", "hotel.db?mode=rwc", "file::memory:"]
        {
            check_refused(&inside, database, "special names or a URI");
        }
        check_refused(&inside, "", "no name");
        check_refused(&inside, "hotel.db\0", "NUL");
    }

    #[test]
    fn a_missing_file_is_named_and_not_created() {
        let (_temp, inside) = folders();
        check_refused(&inside, "new.db", "no such database file \"new.db\" in /");
        check_refused(&inside, "none/new.db", "no such database file");
        assert!(!inside.join("new.db").exists());
    }

    #[test]
    fn links_stay_inside() {
        let (temp, inside) = folders();
        symlink("hotel.db", inside.join("link.db")).unwrap();
        let found = file(Some(&inside), "link.db").unwrap();
        assert_eq!(found, fs::canonicalize(&inside).unwrap().join("hotel.db"));
        symlink(temp.path().join("outside.db"), inside.join("out.db")).unwrap();
        symlink(temp.path(), inside.join("out")).unwrap();
        symlink("link.db", inside.join("twice.db")).unwrap();
        symlink("out.db", inside.join("indirect.db")).unwrap();
        assert_eq!(file(Some(&inside), "twice.db").unwrap(), found);
        for database in ["out.db", "out/outside.db", "indirect.db"] {
            check_refused(&inside, database, "symbolic link leads out of");
        }
        // The folder itself may be a link: the operator named it.
        symlink(&inside, temp.path().join("alias")).unwrap();
        assert_eq!(file(Some(&temp.path().join("alias")), "hotel.db").unwrap(), found);
    }

    #[test]
    fn only_regular_files_are_databases() {
        let (_temp, inside) = folders();
        check_refused(&inside, "sub", "not a regular file");
        let pipe = inside.join("pipe.db");
        let socket = std::os::unix::net::UnixListener::bind(&pipe).unwrap();
        check_refused(&inside, "pipe.db", "not a regular file");
        drop(socket);
        check_refused(&inside, "hotel.db/x", "hotel.db/x");
    }

    #[test]
    fn without_a_folder_the_error_says_whose_setting_it_is() {
        let refused = file(None, "hotel.db").unwrap_err().to_string();
        assert!(refused.contains("--sqlite-dir"), "{refused}");
    }

    #[test]
    fn another_file_in_its_place_is_another() {
        let (_temp, inside) = folders();
        let database = fs::canonicalize(inside.join("hotel.db")).unwrap();
        let before = identity(&database).unwrap();
        fs::write(inside.join("new.db"), "").unwrap();
        fs::rename(inside.join("new.db"), &database).unwrap();
        assert_ne!(identity(&database).unwrap(), before);
        fs::remove_file(&database).unwrap();
        symlink(inside.join("sub/hotel.db"), &database).unwrap();
        assert!(identity(&database).is_err());
    }
}
