//! A rotation loses nothing: interrupted after any step, with writers beside it, on both databases.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_runtime::manifest::AuthMethod;
use portcullis_test_servers::Database;
use uuid::Uuid;

use super::*;
use crate::identity::{ProjectId, UserName};
use crate::store::DatabaseUrl;
use crate::store::connections::{
    Connection, ConnectionStatus, FieldContent, FieldKind, StoredField, Visibility,
};
use crate::store::oauth_apps::{AppText, OAuthApp, TokenAuth};
use crate::time::Timestamp;

/// A database and a ring, that processes come and go on.
struct Home {
    folder: tempfile::TempDir,
    url: DatabaseUrl,
    _database: Option<Database>,
}

impl Home {
    fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("portcullis.db"));
        Self { folder, url, _database: None }
    }

    fn on_postgres() -> Self {
        let database = portcullis_test_servers::postgres().create_database();
        // The password has characters that a URL holds only as escapes.
        let password: String = database.password().bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (user, port, name) = (database.user(), database.port(), database.name());
        let url = format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}");
        Self {
            folder: tempfile::tempdir().unwrap(),
            url: DatabaseUrl::Postgres(url),
            _database: Some(database),
        }
    }

    fn ring(&self) -> PathBuf {
        self.folder.path().join("master.key")
    }

    fn ring_ids(&self) -> Vec<String> {
        ring::read(&self.ring()).unwrap().into_iter().map(|key| key.id).collect()
    }

    /// What a process has after its start.
    async fn process(&self) -> Process {
        self.process_at(Store::open(&self.url).await.unwrap()).await
    }

    /// The same, at a store that is open already.
    async fn process_at(&self, store: Store) -> Process {
        let vault = Vault::open_or_create(&self.ring()).unwrap();
        settle_active_key(&vault, &store).await.unwrap();
        Process { store, vault }
    }
}

struct Process {
    store: Store,
    vault: Vault,
}

impl Process {
    async fn rotate(&self) -> Result<Rotation, RotationError> {
        rotate(&self.vault, &self.store).await
    }

    /// Sets a secret, as the gateway does.
    async fn put(&self, project: ProjectId, name: &str, value: &str) -> Result<(), RotationError> {
        let binding = Binding::secret(project, name);
        self.vault
            .sealed_write(
                &self.store,
                || self.vault.seal(&binding, value.as_bytes()),
                async |sealed| self.store.put_secret(project, name, "mask", &sealed).await.map(drop),
            )
            .await
    }

    async fn get(&self, project: ProjectId, name: &str) -> String {
        let sealed = self.store.secret(project, name).await.unwrap().unwrap();
        let value = self.vault.open(&Binding::secret(project, name), &sealed).unwrap();
        String::from_utf8(value.to_vec()).unwrap()
    }

    /// Sets the OAuth2 app `default` of `github`, as the gateway does.
    async fn put_app(&self, project: ProjectId) {
        let binding = Binding::oauth_app(project, "github", "default");
        let sealed = self.vault.seal(&binding, b"canary").unwrap();
        let app = OAuthApp {
            project,
            integration: "github".parse().unwrap(),
            name: "default".to_owned(),
            client_id: AppText::Plain("id".to_owned()),
            client_secret: Some(FieldContent::Sealed(sealed)),
            mask: None,
            token_auth: TokenAuth::Basic,
            authorize_params: BTreeMap::new(),
            created_at: Timestamp::now(),
            updated_at: Timestamp::now(),
        };
        self.store.put_oauth_app(&app).await.unwrap();
    }

    async fn project(&self, name: &str) -> ProjectId {
        self.store.create_project(name).await.unwrap().id
    }

    /// Kinds of sealed values: two secrets, a credential, a config, a token, and an app's secret.
    async fn fill(&self) -> Filled {
        let (one, other) = (self.project("one").await, self.project("other").await);
        self.put(one, "a", "value of a").await.unwrap();
        self.put(other, "a", "another value of a").await.unwrap();
        let id = Uuid::now_v7();
        let owner = id.to_string();
        let field = |kind: FieldKind, field: &str, value: &str| {
            let binding = Binding { project: one, kind: kind.as_str(), owner: &owner, field };
            let sealed = self.vault.seal(&binding, value.as_bytes()).unwrap();
            StoredField { kind, field: field.to_owned(), content: FieldContent::Sealed(sealed) }
        };
        let fields = [
            field(FieldKind::Credential, "apiKey", "canary"),
            field(FieldKind::Config, "", r#"{"domain": "x"}"#),
            field(FieldKind::Token, "access_token", "canary"),
            StoredField {
                kind: FieldKind::Credential,
                field: "other".to_owned(),
                content: FieldContent::Secret("a".to_owned()),
            },
        ];
        self.store.insert_connection(&connection(one, id), &fields).await.unwrap();
        self.put_app(one).await;
        Filled { one, other, connection: id }
    }

    /// Checks that everything of [`Process::fill`] opens, and that new values can be set.
    async fn check(&self, filled: &Filled) {
        assert_eq!(self.get(filled.one, "a").await, "value of a");
        assert_eq!(self.get(filled.other, "a").await, "another value of a");
        let fields = self.store.connection_fields(filled.one, filled.connection).await.unwrap();
        assert_eq!(fields.len(), 4);
        let owner = filled.connection.to_string();
        for field in fields.iter() {
            if let FieldContent::Sealed(sealed) = &field.content {
                let (kind, field) = (field.kind.as_str(), field.field.as_str());
                let binding = Binding { project: filled.one, kind, owner: &owner, field };
                let value = self.vault.open(&binding, sealed).unwrap();
                let expected = if kind == "config" { r#"{"domain": "x"}"# } else { "canary" };
                assert_eq!(value.as_slice(), expected.as_bytes());
            }
        }
        let app = self.store.oauth_app(filled.one, "github", "default").await.unwrap().unwrap();
        let Some(FieldContent::Sealed(sealed)) = app.client_secret else { panic!("no secret") };
        let binding = Binding::oauth_app(filled.one, "github", "default");
        assert_eq!(self.vault.open(&binding, &sealed).unwrap().as_slice(), b"canary");
        self.put(filled.one, "probe", "new").await.unwrap();
        assert_eq!(self.get(filled.one, "probe").await, "new");
    }
}

struct Filled {
    one: ProjectId,
    other: ProjectId,
    connection: Uuid,
}

fn connection(project: ProjectId, id: Uuid) -> Connection {
    Connection {
        id,
        project,
        owner: UserName::new("alice").unwrap(),
        integration: "github".parse().unwrap(),
        slug: "support".parse().unwrap(),
        mode: AuthMethod::ApiKey,
        status: ConnectionStatus::Active,
        name: "Support".to_owned(),
        description: None,
        last_error: None,
        identity: None,
        scopes: None,
        expires_at: None,
        visibility: Visibility::User,
        created_at: Timestamp::now(),
        updated_at: Timestamp::now(),
    }
}

async fn everything_is_sealed_anew_and_one_key_stays(home: Home) {
    let process = home.process().await;
    let filled = process.fill().await;
    let old = process.vault.active_key();
    let rotation = process.rotate().await.unwrap();
    assert_eq!((rotation.n_resealed, rotation.n_dropped), (6, 1));
    assert_ne!(rotation.key_id, old);
    assert_eq!(home.ring_ids(), std::slice::from_ref(&rotation.key_id));
    assert_eq!(process.store.active_master_key().await.unwrap(), Some(rotation.key_id.clone()));
    process.check(&filled).await;

    // A process without the old key in its memory.
    let later = home.process().await;
    later.check(&filled).await;
    let sealed = later.store.secret(filled.one, "a").await.unwrap().unwrap();
    assert_eq!(sealed.key_id, rotation.key_id);
    let second = later.rotate().await.unwrap();
    assert_ne!(second.key_id, rotation.key_id);
    assert_eq!((second.n_resealed, second.n_dropped), (7, 1));
    home.process().await.check(&filled).await;
}

/// Goes so many steps of a rotation, and ends there as a crash does. The new key's id.
async fn rotate_in_part(process: &Process, n_steps: usize) -> String {
    let Process { store, vault } = process;
    let lock = lock(vault).unwrap();
    let old = vault.active_key();
    if n_steps == 0 {
        return old;
    }
    let key_id = begin(vault, store, &lock).await.unwrap();
    if n_steps == 1 {
        return key_id;
    }
    store.set_active_master_key(&key_id).await.unwrap();
    if n_steps == 2 {
        return key_id;
    }
    vault.use_key(&key_id).unwrap();
    if n_steps == 3 {
        let row = &store.sealed_under_other_keys(&key_id, 1).await.unwrap()[0];
        assert!(store.reseal(row, &sealed_anew(vault, row).unwrap()).await.unwrap());
        return key_id;
    }
    assert_eq!(reseal_batch(vault, store, &key_id).await.unwrap(), Some(6));
    assert_eq!(reseal_batch(vault, store, &key_id).await.unwrap(), None);
    if n_steps == 4 {
        return key_id;
    }
    assert_eq!(drop_other_keys(vault, &key_id, &lock).unwrap(), 1);
    key_id
}

async fn a_rotation_that_ended_after_any_step_is_completed(home: Home) {
    let process = home.process().await;
    let start = || home.process_at(process.store.clone());
    let filled = process.fill().await;
    for n_steps in 0..=5 {
        assert_eq!(home.ring_ids().len(), 1);
        let running = start().await;
        process.store.delete_secret(filled.one, "probe").await.unwrap();
        let crashed = start().await;
        let begun = rotate_in_part(&crashed, n_steps).await;
        drop(crashed);

        // In the meantime all goes on, in processes that were there before and in new ones.
        running.check(&filled).await;
        start().await.check(&filled).await;

        let completed = start().await.rotate().await.unwrap();
        let is_new = n_steps == 0 || n_steps == 5;
        assert_eq!(completed.key_id != begun, is_new, "after {n_steps} steps");
        assert_eq!(home.ring_ids(), [completed.key_id], "after {n_steps} steps");
        running.check(&filled).await;
        start().await.check(&filled).await;
    }
}

async fn a_process_that_still_seals_under_the_old_key_is_turned_away_and_follows(home: Home) {
    let (gateway, operator) = (home.process().await, home.process().await);
    let project = gateway.project("one").await;
    let binding = Binding::secret(project, "late");
    let late = gateway.vault.seal(&binding, b"late").unwrap();
    let rotation = operator.rotate().await.unwrap();
    let refused = gateway.store.put_secret(project, "late", "mask", &late).await;
    assert!(matches!(refused, Err(StoreError::KeyRotated)), "{refused:?}");
    assert!(gateway.store.secret(project, "late").await.unwrap().is_none());

    gateway.put(project, "late", "late").await.unwrap();
    assert_eq!(gateway.vault.active_key(), rotation.key_id);
    assert_eq!(operator.get(project, "late").await, "late");
    // Rows that it had read before still open.
    assert_eq!(gateway.vault.open(&binding, &late).unwrap().as_slice(), b"late");
}

async fn writers_beside_rotations_lose_nothing(home: Home) {
    let operator = home.process().await;
    let project = operator.project("one").await;
    let gateway = Arc::new(home.process().await);
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (gateway, done) = (Arc::clone(&gateway), Arc::clone(&done));
            tokio::spawn(async move {
                let mut n_written = 0;
                while !done.load(Ordering::Relaxed) {
                    let (name, value) =
                        (format!("w{writer}-{}", n_written % 40), format!("value {n_written}"));
                    gateway.put(project, &name, &value).await.unwrap();
                    assert_eq!(gateway.get(project, &name).await, value);
                    n_written += 1;
                }
                n_written
            })
        })
        .collect();
    for _ in 0..4 {
        let before = gateway.vault.active_key();
        let rotation = operator.rotate().await.unwrap();
        assert_ne!(rotation.key_id, before);
        // Until a writer has met the new key.
        while gateway.vault.active_key() != rotation.key_id {
            tokio::task::yield_now().await;
        }
    }
    done.store(true, Ordering::Relaxed);
    let later = home.process().await;
    for (writer, task) in writers.into_iter().enumerate() {
        let n_written: u32 = task.await.unwrap();
        for number in n_written.saturating_sub(40)..n_written {
            assert_eq!(
                later.get(project, &format!("w{writer}-{}", number % 40)).await,
                format!("value {number}")
            );
        }
    }
    assert_eq!(home.ring_ids().len(), 1);
    let left = operator.store.sealed_under_other_keys(&home.ring_ids()[0], 10).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

async fn of_two_rotations_at_once_one_is_refused(home: Home) {
    let (first, second) = (home.process().await, home.process().await);
    let held = lock(&first.vault).unwrap();
    let error = second.rotate().await.unwrap_err();
    assert!(matches!(error, RotationError::UnderWay { .. }), "{error}");
    assert!(error.to_string().contains("under way"), "{error}");
    assert!(matches!(prepare(&second.vault, &second.store).await, Err(RotationError::UnderWay { .. })));
    assert_eq!(home.ring_ids().len(), 1);
    drop(held);
    second.rotate().await.unwrap();
}

async fn another_databases_ring_is_refused(home: Home) {
    let process = home.process().await;
    let filled = process.fill().await;
    let other = Vault::open_or_create(&home.folder.path().join("other.key")).unwrap();
    let settled = settle_active_key(&other, &process.store).await;
    assert!(matches!(settled, Err(RotationError::Vault(VaultError::UnknownKey { .. }))), "{settled:?}");
    for refused in [
        rotate(&other, &process.store).await.map(|rotation| rotation.key_id),
        prepare(&other, &process.store).await,
    ] {
        assert!(matches!(refused, Err(RotationError::Vault(VaultError::UnknownKey { .. }))), "{refused:?}");
    }
    assert_eq!(other.key_ids().len(), 1);
    assert_eq!(process.store.active_master_key().await.unwrap(), Some(process.vault.active_key()));
    process.check(&filled).await;
}

async fn a_value_that_cannot_be_opened_keeps_the_old_key(home: Home) {
    let process = home.process().await;
    let filled = process.fill().await;
    let old = process.vault.active_key();
    // The value of another place, as someone would put it there who can write to the database.
    let rows = process.store.sealed_under_other_keys("none", 100).await.unwrap();
    let target = rows.iter().find(|row| row.project == filled.other).unwrap();
    let foreign = rows.iter().find(|row| row.kind == "credential").unwrap();
    assert!(process.store.reseal(target, &foreign.sealed).await.unwrap());

    let error = process.rotate().await.unwrap_err();
    let place = format!("the secret \"a\" of project {}", filled.other);
    assert!(matches!(&error, RotationError::Refused(places) if *places == [place.clone()]), "{error}");
    assert!(error.to_string().contains(&place), "{error}");
    let ids = home.ring_ids();
    assert_eq!((ids.len(), &ids[0]), (2, &old));

    process.put(filled.other, "a", "another value of a").await.unwrap();
    let rotation = process.rotate().await.unwrap();
    assert_eq!((rotation.key_id.as_str(), rotation.n_dropped), (ids[1].as_str(), 1));
    home.process().await.check(&filled).await;
}

async fn a_prepared_key_reaches_other_hosts_first(home: Home) {
    let first = home.process().await;
    let filled = first.fill().await;
    let old = first.vault.active_key();
    let copy = home.folder.path().join("on-another-host.key");
    let copy_ring = || std::fs::copy(home.ring(), &copy).unwrap();
    copy_ring();
    let second = Process { store: first.store.clone(), vault: Vault::open_or_create(&copy).unwrap() };

    let prepared = prepare(&first.vault, &first.store).await.unwrap();
    assert_eq!(prepare(&first.vault, &first.store).await.unwrap(), prepared);
    assert_eq!(first.store.active_master_key().await.unwrap(), Some(old.clone()));
    // Starts in this state seal under the key in force, not under the newest.
    let between = home.process().await;
    assert_eq!(between.vault.active_key(), old);
    between.check(&filled).await;

    copy_ring();
    assert_eq!(first.rotate().await.unwrap().key_id, prepared);
    second.check(&filled).await;
    copy_ring();
    second.check(&filled).await;
    assert_eq!(Vault::open_or_create(&copy).unwrap().key_ids(), [prepared]);
}

async fn the_first_starts_agree_on_a_key(home: Home) {
    let (one, other) = tokio::join!(home.process(), home.process());
    assert_eq!(one.vault.active_key(), other.vault.active_key());
    assert_eq!(one.store.active_master_key().await.unwrap(), Some(home.ring_ids()[0].clone()));
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(Home) -> F, home: Home) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test(home));
}

macro_rules! on_both_databases {
    ($($test:ident,)*) => {
        mod sqlite {
            $(#[test] fn $test() { super::run(super::$test, super::Home::on_sqlite()); })*
        }
        mod postgres {
            $(#[test] fn $test() { super::run(super::$test, super::Home::on_postgres()); })*
        }
    };
}

on_both_databases! {
    everything_is_sealed_anew_and_one_key_stays,
    a_rotation_that_ended_after_any_step_is_completed,
    a_process_that_still_seals_under_the_old_key_is_turned_away_and_follows,
    writers_beside_rotations_lose_nothing,
    of_two_rotations_at_once_one_is_refused,
    another_databases_ring_is_refused,
    a_value_that_cannot_be_opened_keeps_the_old_key,
    a_prepared_key_reaches_other_hosts_first,
    the_first_starts_agree_on_a_key,
}
