//! `portcullis keys`: API keys made, listed and revoked, and the master key rotated, beside a gateway that may be running.

pub(super) mod direct;
#[cfg(test)]
mod tests;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use self::direct::{DirectFlags, counted, minute, project_named, store_failure, table};
use super::call::print_failure;
use super::output::Console;
use crate::api_key::ApiKey;
use crate::error::{Failure, FailureKind, Status, chain};
use crate::gateway::GatewayError;
use crate::gateway::keys::{is_last_admin_key, new_key};
use crate::identity::{Role, UserName};
use crate::store::Store;
use crate::store::keys::KeyRecord;
use crate::store::projects::Project;
use crate::vault::rotate::{self, RotationError};

const EXAMPLES: &str = "\
Examples:
  portcullis keys list
  KEY=$(portcullis keys create --role user --user alice --name \"Alice's laptop\")
  portcullis keys create --project shop --role service --name \"support agent\"
  portcullis keys revoke pc_…x7Qf
  portcullis keys rotate-master";

const ROTATION_HELP: &str = "\
All stored credentials and secrets are sealed anew under a new key. A gateway that is running goes
on meanwhile. Killed at any moment, the next run completes what is left.

Keep a copy of the master key file from before as long as you keep copies of the database from
before: nothing else opens them. Make a new copy of the file afterwards, apart from the database's.

Gateways on several hosts, each with a copy of the master key file:
  1. portcullis keys rotate-master --prepare    adds the new key to the file on this host
  2. copy the file to all other hosts           their gateways read it by themselves
  3. portcullis keys rotate-master              seals everything anew, drops the old key
  4. copy the file to all other hosts again     so that the old key is gone there too";

/// Make, list and revoke API keys, and rotate the master key
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(List),
    Create(Create),
    Revoke(Revoke),
    RotateMaster(RotateMaster),
}

impl Keys {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        let (direct, done) = match &self.command {
            Command::List(list) => (&list.direct, list.run(console)),
            Command::Create(create) => (&create.direct, create.run(console)),
            Command::Revoke(revoke) => (&revoke.direct, revoke.run(console)),
            Command::RotateMaster(rotate) => (&rotate.direct, rotate.run(console)),
        };
        match done {
            Ok(()) => Status::Done,
            Err(failure) => print_failure(console, &failure, direct.json),
        }
    }
}

/// A key with its project's name.
#[derive(Serialize)]
struct Listed {
    project: String,
    #[serde(flatten)]
    record: KeyRecord,
}

/// List API keys, without the keys themselves
#[derive(Args)]
struct List {
    /// The keys of this project alone
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Revoked keys too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    direct: DirectFlags,
}

impl List {
    fn run(&self, console: &mut Console) -> Result<(), Failure> {
        let mut keys =
            self.direct.with_store(async |store, _| all_keys(store, self.project.as_deref()).await)?;
        keys.retain(|key| self.all || key.record.revoked_at.is_none());
        if self.direct.json {
            console.print_json(&keys);
        } else if keys.is_empty() {
            console.say("There are no keys. Make one: portcullis keys create --role admin");
        } else {
            console.print(&key_table(&keys, self.all));
        }
        Ok(())
    }
}

fn key_table(keys: &[Listed], with_revoked: bool) -> String {
    let mut titles = vec!["ID", "KEY", "PROJECT", "ROLE", "USER", "NAME", "CREATED (UTC)", "LAST USED (UTC)"];
    titles.extend(with_revoked.then_some("REVOKED (UTC)"));
    let row = |Listed { project, record }: &Listed| {
        let mut row = vec![
            record.id.to_string(),
            record.hint.clone(),
            project.clone(),
            record.role.as_str().to_owned(),
            record.user.as_ref().map(ToString::to_string).unwrap_or_default(),
            record.name.clone(),
            minute(record.created_at),
            record.last_used_at.map_or("never".to_owned(), minute),
        ];
        row.extend(with_revoked.then(|| record.revoked_at.map(minute).unwrap_or_default()));
        row
    };
    let titles = titles.into_iter().map(str::to_owned).collect();
    table(&std::iter::once(titles).chain(keys.iter().map(row)).collect::<Vec<_>>())
}

/// The keys of a project, or of all.
async fn all_keys(store: &Store, project: Option<&str>) -> Result<Vec<Listed>, Failure> {
    let projects = match project {
        Some(name) => vec![project_named(store, name).await?],
        None => store.projects().await.map_err(store_failure)?,
    };
    let mut keys = Vec::new();
    for project in projects {
        let records = store.keys(project.id).await.map_err(store_failure)?;
        keys.extend(records.into_iter().map(|record| Listed { project: project.name.clone(), record }));
    }
    Ok(keys)
}

/// Make an API key: it alone is printed on standard output, this once
#[derive(Args)]
struct Create {
    /// The project that the key belongs to
    #[arg(long, value_name = "NAME", default_value = "default")]
    project: String,
    /// What the key may do
    #[arg(long, value_name = "ROLE")]
    role: RoleName,
    /// The person whom the key acts for: needed for the role user, `admin` if absent for the role admin
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// What the key is for, in your words
    #[arg(long, value_name = "TEXT", default_value = "made on the command line")]
    name: String,
    #[command(flatten)]
    direct: DirectFlags,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    /// All of the project
    Admin,
    /// A person: own connections, and running tools
    User,
    /// An agent backend: acts as the user whom each request names
    Service,
}

impl Create {
    fn run(&self, console: &mut Console) -> Result<(), Failure> {
        let (role, user) = (self.role(), self.user()?);
        let (key, listed) = self.direct.with_store(async |store, _| {
            let Project { id, name, .. } = project_named(store, &self.project).await?;
            let (key, record) = new_key(id, role, user, &self.name).map_err(refused)?;
            store.insert_key(&record, key.hash()).await.map_err(store_failure)?;
            Ok((key, Listed { project: name, record }))
        })?;
        if self.direct.json {
            console.print_json(&with_key(&key, &listed));
            return Ok(());
        }
        let Listed { project, record } = &listed;
        let acts_for = record.user.as_ref().map_or(String::new(), |user| format!(" that acts for {user}"));
        console.say(&super::output::plain(&format!(
            "This is a key of the role {}{acts_for} in the project {project}. It isn't shown again. Its id is {}.",
            record.role.as_str(),
            record.id
        )));
        console.print(key.reveal());
        Ok(())
    }

    fn role(&self) -> Role {
        match self.role {
            RoleName::Admin => Role::Admin,
            RoleName::User => Role::User,
            RoleName::Service => Role::Service,
        }
    }

    fn user(&self) -> Result<Option<UserName>, Failure> {
        match (self.role, &self.user) {
            (RoleName::User, None) => {
                Err(Failure::usage("--role user needs --user NAME: the person whom the key acts for"))
            }
            (RoleName::Service, Some(_)) => Err(Failure::usage(
                "--role service takes no --user: such a key acts for whom each request names in the header Portcullis-User",
            )),
            (_, user) => user
                .as_ref()
                .map(|user| UserName::new(user).map_err(|error| Failure::usage(format!("--user: {error}"))))
                .transpose(),
        }
    }
}

/// What the gateway says of a key's role, user or name.
fn refused(error: GatewayError) -> Failure {
    Failure::usage(chain(&error))
}

/// The one time that a key is shown.
fn with_key(key: &ApiKey, listed: &Listed) -> serde_json::Value {
    let mut shown = json!({"key": key.reveal()});
    if let (Some(shown), Ok(serde_json::Value::Object(fields))) =
        (shown.as_object_mut(), serde_json::to_value(listed))
    {
        shown.extend(fields);
    }
    shown
}

/// Revoke an API key: from now on, nobody gets in with it
#[derive(Args)]
struct Revoke {
    /// The key's id, its hint as `keys list` shows it (pc_…x7Qf, or x7Qf alone), or the key itself
    key: String,
    /// Look for the hint in this project alone
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    #[command(flatten)]
    direct: DirectFlags,
}

impl Revoke {
    fn run(&self, console: &mut Console) -> Result<(), Failure> {
        let (listed, is_last_admin) = self.direct.with_store(async |store, _| {
            let keys = all_keys(store, self.project.as_deref()).await?;
            let Listed { project, record } = find(keys, &self.wanted(store).await?)?;
            let beside = store.keys(record.project).await.map_err(store_failure)?;
            store.revoke_key(record.project, record.id).await.map_err(store_failure)?;
            Ok((Listed { project, record: record.clone() }, is_last_admin_key(&record, &beside)))
        })?;
        let Listed { project, record } = &listed;
        if self.direct.json {
            console.print_json(&json!({"id": record.id, "project": project, "revoked": true}));
        } else {
            let text = format!("Key {} ({:?}, project {project}) is revoked.", record.hint, record.name);
            console.print(&super::output::plain(&text));
        }
        if is_last_admin {
            console.warning(&format!(
                "it was the last admin key of the project {project:?}. Make another one: portcullis keys create --role admin \
                 --project {project:?}"
            ));
        }
        Ok(())
    }

    /// Which key is meant: of a whole key, its id. Its hint may be another's too, and no message is to repeat it.
    async fn wanted(&self, store: &Store) -> Result<String, Failure> {
        let Some(key) = ApiKey::parse(&self.key) else { return Ok(self.key.clone()) };
        let record = store.key_of_hash(key.hash()).await.map_err(store_failure)?;
        let record =
            record.ok_or_else(|| Failure::usage("that key isn't valid: it is unknown or was revoked"))?;
        Ok(record.id.to_string())
    }
}

/// The key that a text means: by its id, or by its hint if one valid key alone has it.
fn find(keys: Vec<Listed>, text: &str) -> Result<Listed, Failure> {
    let missing = |what: String| {
        Failure::usage(format!("there is no {what}; portcullis keys list --all shows those that there are"))
    };
    if let Ok(id) = Uuid::parse_str(text) {
        let found = keys.into_iter().find(|key| key.record.id == id);
        return found.ok_or_else(|| missing(format!("key {id}")));
    }
    let end = text.trim_start_matches("pc_").trim_start_matches(['…', '.']);
    if end.len() != 4 {
        return Err(Failure::usage(
            "what is to be revoked is neither a key, nor its id, nor its hint (pc_…x7Qf); it isn't shown, as it may be most of a \
             key. portcullis keys list shows ids and hints",
        ));
    }
    let hint = format!("pc_…{end}");
    let mut found: Vec<Listed> =
        keys.into_iter().filter(|key| key.record.hint == hint && key.record.revoked_at.is_none()).collect();
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(missing(format!("valid key {hint}"))),
        (Some(key), true) => Ok(key),
        (Some(key), false) => {
            let ids: Vec<String> = found.iter().chain([&key]).map(|key| key.record.id.to_string()).collect();
            Err(Failure::usage(format!("several keys are {hint}; name one by its id: {}", ids.join(", "))))
        }
    }
}

/// Seal all stored credentials anew under a new master key
#[derive(Args)]
#[command(after_help = ROTATION_HELP)]
struct RotateMaster {
    /// Only add the new key to the master key file, to copy it to other hosts first
    #[arg(long)]
    prepare: bool,
    #[command(flatten)]
    direct: DirectFlags,
}

impl RotateMaster {
    fn run(&self, console: &mut Console) -> Result<(), Failure> {
        if self.prepare { self.prepare(console) } else { self.rotate(console) }
    }

    fn prepare(&self, console: &mut Console) -> Result<(), Failure> {
        let key_id = self
            .direct
            .with_store(async |store, vault| rotate::prepare(vault, store).await.map_err(rotation_failure))?;
        if self.direct.json {
            console.print_json(&json!({"key_id": key_id, "prepared": true}));
        } else {
            console.print(&format!(
                "The master key file holds the new key {key_id}, which nothing is sealed under yet. Copy the file to the other \
                 hosts, then run: portcullis keys rotate-master"
            ));
        }
        Ok(())
    }

    fn rotate(&self, console: &mut Console) -> Result<(), Failure> {
        let done = self
            .direct
            .with_store(async |store, vault| rotate::rotate(vault, store).await.map_err(rotation_failure))?;
        if self.direct.json {
            let (resealed, dropped) = (done.n_resealed, done.n_dropped);
            console.print_json(&json!({"key_id": done.key_id, "resealed": resealed, "dropped": dropped}));
        } else {
            let values = if done.n_resealed == 1 { "value is" } else { "values are" };
            let dropped = counted(done.n_dropped, "older key is", "older keys are");
            console.print(&format!(
                "Master key {} is in force: {} {values} sealed anew, {dropped} dropped from the file.",
                done.key_id, done.n_resealed
            ));
        }
        Ok(())
    }
}

fn rotation_failure(error: RotationError) -> Failure {
    Failure::new(FailureKind::Store, chain(&error))
}
