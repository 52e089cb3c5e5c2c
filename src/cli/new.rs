//! `portcullis new`: a connector to start from, with types and a recorded case.

use std::fs;
use std::path::Path;

use clap::{Args, ValueEnum};
use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::{connector_types, manifest_schema};

use super::call::print_failure;
use super::output::Console;
use crate::error::{Failure, FailureKind, Status};

/// Make a connector to start from, in a folder of its name
#[derive(Args)]
pub(super) struct New {
    /// The connector's name: lower-case letters and digits, with single `_` or `-` between them
    slug: String,
    /// What the connector talks to: an HTTP API, by code; or a database, by queries
    #[arg(long = "type", value_name = "TYPE", default_value = "rest_api")]
    kind: Kind,
}

/// The kinds of connector, as config.json names them.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    #[value(name = "rest_api")]
    RestApi,
    #[value(name = "sql")]
    Sql,
}

/// A file of the new connector: where it goes, and its text.
type NewFile = (&'static str, String);

impl New {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        match self.make() {
            Ok((slug, files)) => {
                let names: String = files.iter().map(|(name, _)| format!("  {slug}/{name}\n")).collect();
                console.print(&format!("Made {slug}:\n{names}\nNext:\n{}", self.next_steps(&slug)));
                Status::Done
            }
            Err(failure) => print_failure(console, &failure, false),
        }
    }

    fn make(&self) -> Result<(Slug, Vec<NewFile>), Failure> {
        let slug = Slug::parse(&self.slug).map_err(|error| Failure::usage(error.to_string()))?;
        let folder = Path::new(slug.as_str());
        fs::create_dir(folder).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::usage(format!("{slug} exists here already: choose another name, or move it away"))
            }
            _ => Failure::new(FailureKind::Output, format!("can't make the folder {slug}: {error}")),
        })?;
        let files = self.files(&slug);
        for (name, text) in &files {
            write(&folder.join(name), text).map_err(|error| {
                Failure::new(FailureKind::Output, format!("can't write {slug}/{name}: {error}"))
            })?;
        }
        Ok((slug, files))
    }

    fn files(&self, slug: &Slug) -> Vec<NewFile> {
        let fill =
            |template: &str| template.replace("__SLUG__", slug.as_str()).replace("__TITLE__", &title(slug));
        let mut files = match self.kind {
            Kind::RestApi => vec![
                ("config.json", fill(include_str!("templates/rest_api/config.json"))),
                ("connector.ts", fill(include_str!("templates/rest_api/connector.ts"))),
                ("connector.d.ts", connector_types()),
                ("tsconfig.json", fill(include_str!("templates/rest_api/tsconfig.json"))),
                ("README.md", fill(include_str!("templates/rest_api/README.md"))),
                (
                    "cases/get_repository.json",
                    fill(include_str!("templates/rest_api/cases/get_repository.json")),
                ),
            ],
            Kind::Sql => vec![
                ("config.json", fill(include_str!("templates/sql/config.json"))),
                ("README.md", fill(include_str!("templates/sql/README.md"))),
            ],
        };
        // What "$schema" in config.json points to.
        files.push(("config.schema.json", format!("{:#}\n", manifest_schema())));
        files
    }

    fn next_steps(&self, slug: &Slug) -> String {
        let steps = match self.kind {
            Kind::RestApi => include_str!("templates/rest_api/next_steps.txt"),
            Kind::Sql => include_str!("templates/sql/next_steps.txt"),
        };
        steps.replace("__SLUG__", slug.as_str())
    }
}

/// `Help desk` for `help_desk`.
fn title(slug: &Slug) -> String {
    let words = slug.as_str().replace(['_', '-'], " ");
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}
