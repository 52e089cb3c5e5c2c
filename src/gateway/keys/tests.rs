//! Whom a key acts for, who may make which keys, and how often a use is written.

use portcullis_runtime::{Client, EgressConfig, Engine, EngineConfig};

use super::*;
use crate::gateway::GatewayConfig;
use crate::integrations::Registry;
use crate::store::DatabaseUrl;
use crate::vault::Vault;
use crate::vault::rotate::settle_active_key;

/// A gateway without integrations, and two projects.
pub(in crate::gateway) struct Bench {
    pub(in crate::gateway) gateway: Gateway,
    pub(in crate::gateway) store: Store,
    pub(in crate::gateway) vault: Vault,
    pub(in crate::gateway) project: ProjectId,
    pub(in crate::gateway) other_project: ProjectId,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(in crate::gateway) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&DatabaseUrl::Sqlite(folder.path().join("portcullis.db"))).await.unwrap();
        let vault = Vault::open_or_create(&folder.path().join("master.key")).unwrap();
        settle_active_key(&vault, &store).await.unwrap();
        let engine = Engine::new(EngineConfig::new(Client::new(&EgressConfig::default()).unwrap()));
        let registry = Registry::new(engine.clone(), store.clone(), None);
        let gateway = Gateway::new(GatewayConfig::default(), engine, store.clone(), vault.clone(), registry);
        let project = store.create_project("one").await.unwrap().id;
        let other_project = store.create_project("other").await.unwrap().id;
        Self { gateway, store, vault, project, other_project, _folder: folder }
    }

    /// A stored key, and the identity that it gives.
    pub(in crate::gateway) async fn key(
        &self,
        project: ProjectId,
        role: Role,
        user: Option<UserName>,
    ) -> (ApiKey, Identity) {
        let (key, record) = new_key(project, role, user, "test").unwrap();
        self.store.insert_key(&record, key.hash()).await.unwrap();
        let identity = self.gateway.authenticate(&key, None).await.unwrap();
        (key, identity)
    }

    pub(in crate::gateway) async fn admin(&self) -> Identity {
        self.key(self.project, Role::Admin, None).await.1
    }

    /// Identities that aren't an admin's.
    pub(in crate::gateway) async fn others(&self) -> [Identity; 2] {
        let user = self.key(self.project, Role::User, name("alice")).await.1;
        [user, self.key(self.project, Role::Service, None).await.1]
    }
}

#[tokio::test]
async fn a_key_authenticates_until_it_is_revoked() {
    let bench = Bench::new().await;
    let admin = bench.admin().await;
    let (key, record) =
        bench.gateway.create_key(&admin, Role::User, name("alice"), "Alice's laptop").await.unwrap();
    let (project, user) = (bench.project, name("alice"));
    let expected = Identity { project, key: record.id, role: Role::User, user, on_behalf: false };
    assert_eq!(bench.gateway.authenticate(&key, None).await.unwrap(), expected);
    let refused = bench.gateway.authenticate(&key, name("bob")).await;
    assert!(matches!(refused, Err(AuthenticationError::OtherUser)), "{refused:?}");
    let unknown = bench.gateway.authenticate(&ApiKey::generate(), None).await;
    assert!(matches!(unknown, Err(AuthenticationError::UnknownKey)), "{unknown:?}");

    bench.gateway.revoke_key(&admin, record.id).await.unwrap();
    let revoked = bench.gateway.authenticate(&key, None).await;
    assert!(matches!(revoked, Err(AuthenticationError::UnknownKey)), "{revoked:?}");
    // It stays revoked, and stays in the list.
    bench.gateway.revoke_key(&admin, record.id).await.unwrap();
    let keys = bench.gateway.keys(&admin).await.unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().find(|key| key.id == record.id).unwrap().revoked_at.is_some());
}

#[tokio::test]
async fn a_keys_last_use_is_written_in_the_background() {
    let bench = Bench::new().await;
    let admin = bench.admin().await;
    loop {
        let keys = bench.gateway.keys(&admin).await.unwrap();
        if keys.iter().any(|key| key.id == admin.key && key.last_used_at.is_some()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn only_admins_see_make_and_revoke_keys() {
    let bench = Bench::new().await;
    let admin = bench.admin().await;
    for identity in bench.others().await {
        let refusals = [
            bench.gateway.keys(&identity).await.map(drop),
            bench.gateway.create_key(&identity, Role::Admin, None, "x").await.map(drop),
            bench.gateway.revoke_key(&identity, admin.key).await,
            bench.gateway.revoke_key(&identity, identity.key).await,
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Err(GatewayError::Forbidden(_))), "{refusal:?}");
        }
    }
    assert!(bench.gateway.keys(&admin).await.unwrap().iter().all(|key| key.revoked_at.is_none()));
}

#[tokio::test]
async fn nobody_locks_the_project_and_another_projects_keys_are_unknown() {
    let bench = Bench::new().await;
    let admin = bench.admin().await;
    let foreign = bench.key(bench.other_project, Role::Admin, None).await.1;
    let refused = bench.gateway.revoke_key(&admin, foreign.key).await;
    assert!(matches!(refused, Err(GatewayError::NotFound(_))), "{refused:?}");
    let conflict = |refused| match refused {
        Err(GatewayError::Conflict { message, .. }) => message,
        other => panic!("{other:?}"),
    };
    assert!(conflict(bench.gateway.revoke_key(&admin, admin.key).await).contains("you are using"));
    // Whose own key was revoked a moment ago.
    let late = Identity { key: Uuid::now_v7(), ..admin.clone() };
    assert!(conflict(bench.gateway.revoke_key(&late, admin.key).await).contains("last admin key"));
    let second = bench.admin().await;
    bench.gateway.revoke_key(&second, admin.key).await.unwrap();
    assert_eq!(bench.gateway.keys(&foreign).await.unwrap().len(), 1);
}

fn name(text: &str) -> Option<UserName> {
    Some(UserName::new(text).unwrap())
}

fn project() -> ProjectId {
    ProjectId(Uuid::from_u128(7))
}

fn record(role: Role, user: Option<UserName>) -> KeyRecord {
    new_key(project(), role, user, "test").unwrap().1
}

/// The user that a key acts for; none if it may not.
fn acting(role: Role, own: Option<UserName>, header: Option<UserName>) -> Result<Option<UserName>, ()> {
    let key = record(role, own);
    let (id, key_role) = (key.id, key.role);
    match identify(key, header) {
        Ok(identity) => {
            assert_eq!((identity.project, identity.key, identity.role), (project(), id, key_role));
            Ok(identity.user)
        }
        Err(AuthenticationError::OtherUser) => Err(()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_key_acts_for_whom_its_role_lets_it() {
    let (alice, bob) = (name("alice"), name("bob"));
    let cases = [
        (Role::User, alice.clone(), None, Ok(alice.clone())),
        (Role::User, alice.clone(), alice.clone(), Ok(alice.clone())),
        (Role::User, alice.clone(), bob.clone(), Err(())),
        // Names differ by case.
        (Role::User, alice.clone(), name("Alice"), Err(())),
        (Role::Service, None, None, Ok(None)),
        (Role::Service, None, bob.clone(), Ok(bob.clone())),
        (Role::Admin, None, None, Ok(name("admin"))),
        (Role::Admin, alice.clone(), None, Ok(alice.clone())),
        (Role::Admin, alice, bob.clone(), Ok(bob)),
    ];
    for (role, own, header, expected) in cases {
        assert_eq!(acting(role, own.clone(), header.clone()), expected, "{role:?} {own:?} {header:?}");
    }
}

#[test]
fn a_keys_user_fits_its_role() {
    let invalid = |role, user| match new_key(project(), role, user, "test") {
        Err(GatewayError::Invalid { code: "INVALID_REQUEST", message, .. }) => message,
        other => panic!("{other:?}"),
    };
    assert!(invalid(Role::User, None).contains("needs the user"));
    assert!(invalid(Role::Service, name("alice")).contains("Portcullis-User"));
    assert_eq!(record(Role::User, name("alice")).user, name("alice"));
    assert_eq!(record(Role::Service, None).user, None);
    assert_eq!(record(Role::Admin, None).user, name("admin"));
}

#[test]
fn a_new_keys_record_holds_its_hint_and_not_the_key() {
    let (key, record) = new_key(project(), Role::Admin, None, "Alice's laptop").unwrap();
    assert_eq!(record.hint, key.hint());
    assert_eq!((record.last_used_at, record.revoked_at), (None, None));
    assert!(!format!("{record:?}").contains(key.reveal()));
}

#[test]
fn a_keys_name_is_text_of_1_to_200_characters() {
    for name in ["x", " Alice ", &"ü".repeat(200)] {
        assert!(new_key(project(), Role::Admin, None, name).is_ok(), "{name:?}");
    }
    for name in ["", "  ", "a\nb", "a\u{1b}", &"ü".repeat(201)] {
        let refused = new_key(project(), Role::Admin, None, name);
        assert!(matches!(refused, Err(GatewayError::Unprocessable { .. })), "{name:?}");
    }
}

#[test]
fn the_last_admin_key_is_told_from_others() {
    let (admin, other, user) =
        (record(Role::Admin, None), record(Role::Admin, None), record(Role::User, name("alice")));
    let revoked = KeyRecord { revoked_at: Some(Timestamp::now()), ..other.clone() };
    let is_last = |beside: &[&KeyRecord]| {
        let keys: Vec<KeyRecord> = beside.iter().map(|key| (*key).clone()).collect();
        is_last_admin_key(&admin, &keys)
    };
    assert!(is_last(&[&admin]));
    assert!(is_last(&[&admin, &user, &revoked]));
    assert!(!is_last(&[&admin, &other]));
    assert!(!is_last_admin_key(&user, &[admin, user.clone()]));
}

#[test]
fn a_keys_use_is_written_once_a_minute() {
    let uses = KeyUses::default();
    let (key, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    assert!(uses.is_due(key, start));
    assert!(!uses.is_due(key, start));
    assert!(uses.is_due(other, after(1)));
    assert!(!uses.is_due(key, after(59)));
    assert!(uses.is_due(key, after(60)));
    assert!(!uses.is_due(key, after(119)));
    assert!(uses.is_due(key, after(120)));
}
