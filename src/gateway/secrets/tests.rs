//! What is shown of a secret, and which names and values one may have.

use portcullis_runtime::manifest::AuthMethod;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::gateway::keys::tests::Bench;
use crate::identity::{Role, UserName};
use crate::store::connections::{
    Connection, ConnectionStatus, FieldContent, FieldKind, StoredField, Visibility,
};
use crate::time::Timestamp;

#[tokio::test]
async fn a_secret_is_set_masked_and_deleted_in_its_project_alone() {
    let bench = Bench::new().await;
    let admin = bench.admin().await;
    let (record, is_new) = bench.gateway.put_secret(&admin, "clay", "canary-0123456789").await.unwrap();
    assert_eq!((record.mask.as_str(), is_new), ("••••6789", true));
    let (record, is_new) = bench.gateway.put_secret(&admin, "clay", "short").await.unwrap();
    assert_eq!((record.mask.as_str(), is_new), ("••••", false));
    assert_eq!(bench.gateway.secrets(&admin).await.unwrap(), [record]);

    let sealed = bench.store.secret(bench.project, "clay").await.unwrap().unwrap();
    let value = bench.vault.open(&Binding::secret(bench.project, "clay"), &sealed).unwrap();
    assert_eq!(value.as_slice(), b"short");
    for elsewhere in [Binding::secret(bench.other_project, "clay"), Binding::secret(bench.project, "other")] {
        assert!(bench.vault.open(&elsewhere, &sealed).is_err());
    }

    let foreign = bench.key(bench.other_project, Role::Admin, None).await.1;
    assert!(bench.gateway.secrets(&foreign).await.unwrap().is_empty());
    let refused = bench.gateway.delete_secret(&foreign, "clay").await;
    assert!(matches!(refused, Err(GatewayError::NotFound(_))), "{refused:?}");
    bench.gateway.delete_secret(&admin, "clay").await.unwrap();
    let refused = bench.gateway.delete_secret(&admin, "clay").await;
    assert!(matches!(refused, Err(GatewayError::NotFound(_))), "{refused:?}");
}

#[tokio::test]
async fn a_secret_that_a_connection_reads_is_not_deleted() {
    let bench = Bench::new().await;
    let admin = bench.admin().await;
    bench.gateway.put_secret(&admin, "clay", "canary-0123456789").await.unwrap();
    let field = StoredField {
        kind: FieldKind::Credential,
        field: "apiKey".to_owned(),
        content: FieldContent::Secret("clay".to_owned()),
    };
    let connection = connection(&admin);
    bench.store.insert_connection(&connection, &[field]).await.unwrap();
    match bench.gateway.delete_secret(&admin, "clay").await {
        Err(GatewayError::Conflict { code: "SECRET_IN_USE", message, details }) => {
            assert!(message.contains("support"), "{message}");
            assert_eq!(details, Some(json!({"connections": ["support"]})));
        }
        other => panic!("{other:?}"),
    }
    bench.store.delete_connection(bench.project, connection.id, None).await.unwrap();
    bench.gateway.delete_secret(&admin, "clay").await.unwrap();
}

fn connection(identity: &Identity) -> Connection {
    Connection {
        id: Uuid::now_v7(),
        project: identity.project,
        owner: UserName::new("alice").unwrap(),
        integration: "shop".parse().unwrap(),
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

#[tokio::test]
async fn only_admins_see_set_and_delete_secrets() {
    let bench = Bench::new().await;
    for identity in bench.others().await {
        let refusals = [
            bench.gateway.secrets(&identity).await.map(drop),
            bench.gateway.put_secret(&identity, "clay", "value").await.map(drop),
            bench.gateway.delete_secret(&identity, "clay").await,
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Err(GatewayError::Forbidden(_))), "{refusal:?}");
        }
    }
}

#[test]
fn a_mask_shows_the_last_four_characters_of_a_long_value() {
    let cases = [
        ("", "••••"),
        ("x", "••••"),
        ("elevenchars", "••••"),
        ("twelve-chars", "••••hars"),
        ("sk_live_abcdefgh1234", "••••1234"),
        // Characters, not bytes.
        ("ünïcödé-ünï", "••••"),
        ("ünïcödé-ünïx", "••••ünïx"),
    ];
    for (value, expected) in cases {
        assert_eq!(mask(value), expected, "{value:?}");
    }
}

#[test]
fn a_secrets_name_is_of_its_form() {
    for name in ["a", "Z", "clay", "CLAY_API.key-2", &"a".repeat(100)] {
        assert!(check_name(name).is_ok(), "{name:?}");
    }
    for name in ["", "1a", "_a", ".a", "-a", "a b", "a/b", "é", "aé", "a\n", &"a".repeat(101)] {
        let refused = check_name(name);
        assert!(matches!(refused, Err(GatewayError::Invalid { code: "INVALID_REQUEST", .. })), "{name:?}");
    }
}

#[test]
fn a_secrets_value_has_1_to_65536_bytes() {
    assert!(check_value("x").is_ok());
    assert!(check_value(&"x".repeat(65_536)).is_ok());
    for value in [String::new(), "x".repeat(65_537), "ü".repeat(32_769)] {
        let refused = check_value(&value);
        assert!(matches!(refused, Err(GatewayError::Unprocessable { .. })), "{} bytes", value.len());
    }
}

proptest! {
    #[test]
    fn a_mask_never_shows_more_than_a_third(value in any::<String>()) {
        let shown = mask(&value).chars().count() - 4;
        prop_assert!(3 * shown <= value.chars().count());
        prop_assert!(shown == 0 || shown == 4);
    }
}
