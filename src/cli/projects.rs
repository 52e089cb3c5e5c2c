//! `portcullis projects`: made, listed, set and deleted, beside a gateway that may be running.

mod set;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::call::print_failure;
use super::keys::direct::{DirectFlags, counted, minute, project_named, store_failure, table};
use super::output::{Console, plain};
use crate::error::{Failure, Status};
use crate::store::connections::{ConnectionFilter, Viewer};
use crate::store::projects::Project;
use crate::store::{Store, StoreError};

const EXAMPLES: &str = "\
Keys, connections, secrets and records of a project are out of reach of every other one's.

Examples:
  portcullis projects list
  portcullis projects create shop
  portcullis projects set shop --approve-own-calls false
  portcullis projects delete shop --yes";

/// Make, list, set and delete projects
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Projects {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(List),
    Create(Create),
    Set(set::Set),
    Delete(Delete),
}

impl Projects {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        let (direct, done) = match &self.command {
            Command::List(list) => (&list.direct, list.run(console)),
            Command::Create(create) => (&create.direct, create.run(console)),
            Command::Set(set) => (&set.direct, set.run(console)),
            Command::Delete(delete) => (&delete.direct, delete.run(console)),
        };
        match done {
            Ok(()) => Status::Done,
            Err(failure) => print_failure(console, &failure, direct.json),
        }
    }
}

/// A project, and how much is in it.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    project: Project,
    /// Everyone who owns a connection or a key.
    users: usize,
    /// Those that aren't revoked.
    keys: usize,
    connections: usize,
    secrets: usize,
    /// Uploaded ones; those in the server's folder belong to no project.
    integrations: usize,
}

impl Listed {
    async fn of(store: &Store, project: Project) -> Result<Self, StoreError> {
        let id = project.id;
        Ok(Self {
            users: store.users(id).await?.len(),
            keys: store.keys(id).await?.iter().filter(|key| key.revoked_at.is_none()).count(),
            connections: store.connections(id, &Viewer::All, &ConnectionFilter::default()).await?.len(),
            secrets: store.secrets(id).await?.len(),
            integrations: store.uploads(id).await?.len(),
            project,
        })
    }

    /// `2 keys, 1 connection, …`: what is deleted with it.
    fn content(&self) -> String {
        [
            counted(self.keys, "valid key", "valid keys"),
            counted(self.connections, "connection", "connections"),
            counted(self.secrets, "secret", "secrets"),
            counted(self.integrations, "uploaded integration", "uploaded integrations"),
        ]
        .join(", ")
    }
}

/// List projects, and how much is in them
#[derive(Args)]
struct List {
    #[command(flatten)]
    direct: DirectFlags,
}

impl List {
    fn run(&self, console: &mut Console) -> Result<(), Failure> {
        let projects = self.direct.with_store(async |store, _| {
            let mut projects = Vec::new();
            for project in store.projects().await.map_err(store_failure)? {
                projects.push(Listed::of(store, project).await.map_err(store_failure)?);
            }
            Ok(projects)
        })?;
        if self.direct.json {
            console.print_json(&projects);
        } else if projects.is_empty() {
            console
                .say("There are no projects. The first start of portcullis serve makes the project default.");
        } else {
            console.print(&project_table(&projects));
        }
        Ok(())
    }
}

fn project_table(projects: &[Listed]) -> String {
    let titles = ["NAME", "USERS", "KEYS", "CONNECTIONS", "SECRETS", "UPLOADS", "CREATED (UTC)", "ID"];
    let row = |listed: &Listed| {
        vec![
            listed.project.name.clone(),
            listed.users.to_string(),
            listed.keys.to_string(),
            listed.connections.to_string(),
            listed.secrets.to_string(),
            listed.integrations.to_string(),
            minute(listed.project.created_at),
            listed.project.id.to_string(),
        ]
    };
    let titles = titles.into_iter().map(str::to_owned).collect();
    table(&std::iter::once(titles).chain(projects.iter().map(row)).collect::<Vec<_>>())
}

/// Make a project
#[derive(Args)]
struct Create {
    /// Its name: 1 to 100 characters
    name: String,
    #[command(flatten)]
    direct: DirectFlags,
}

impl Create {
    fn run(&self, console: &mut Console) -> Result<(), Failure> {
        let name = &self.name;
        let is_name = (1..=100).contains(&name.chars().count())
            && name.trim() == name
            && !name.chars().any(char::is_control);
        if !is_name {
            return Err(Failure::usage(
                "a project's name has 1 to 100 characters, no control characters and no white space around it",
            ));
        }
        let project = self.direct.with_store(async |store, _| match store.create_project(name).await {
            Err(StoreError::Taken { .. }) => {
                Err(Failure::usage(format!("there is a project {name:?} already")))
            }
            made => made.map_err(store_failure),
        })?;
        if self.direct.json {
            console.print_json(&project);
        } else {
            console.print(&plain(&format!(
                "Project {name:?} is made. Make a key for it: portcullis keys create --role admin --project {name:?}"
            )));
        }
        Ok(())
    }
}

/// Delete a project and all that is in it, for good
#[derive(Args)]
struct Delete {
    /// Its name
    name: String,
    /// Delete it indeed; without this, only what would be deleted is told
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    direct: DirectFlags,
}

impl Delete {
    fn run(&self, console: &mut Console) -> Result<(), Failure> {
        let listed = self.direct.with_store(async |store, _| {
            let project = project_named(store, &self.name).await?;
            let listed = Listed::of(store, project).await.map_err(store_failure)?;
            if !self.yes {
                return Err(Failure::usage(format!(
                    "this would delete the project {:?} for good, with {} and the records of its calls. If that is meant, add --yes",
                    self.name,
                    listed.content()
                )));
            }
            store.delete_project(listed.project.id).await.map_err(store_failure)?;
            Ok(listed)
        })?;
        if self.direct.json {
            console.print_json(&serde_json::json!({"deleted": listed}));
        } else {
            console.print(&plain(&format!(
                "Project {:?} is deleted, with {} and the records of its calls.",
                self.name,
                listed.content()
            )));
        }
        Ok(())
    }
}
