//! Tokens of connections through gateways with real stores and vaults, and a provider that misbehaves.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use portcullis_runtime::manifest::AuthMethod;
use portcullis_runtime::{Client, EgressConfig, Engine, EngineConfig};
use portcullis_test_servers::Database as PostgresDatabase;
use portcullis_test_servers::oauth::Provider;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::refresh::{Held, Need, RefreshError};
use crate::gateway::{Gateway, GatewayConfig};
use crate::identity::{Identity, ProjectId, Role, UserName};
use crate::integrations::Registry;
use crate::oauth::endpoint::{
    ClientAuth, Grant as TokenGrant, OAuthClient, Tokens, request_device_code, request_tokens,
};
use crate::store::connections::{
    ACCESS_TOKEN_FIELD, Connection, ConnectionChange, ConnectionStatus, FieldContent, REFRESH_TOKEN_FIELD,
    Visibility,
};
use crate::store::oauth_apps::{AppText, OAuthApp, TokenAuth};
use crate::store::oauth_grants::Grant;
use crate::store::{DatabaseUrl, Store};
use crate::time::Timestamp;
use crate::vault::rotate::settle_active_key;
use crate::vault::{Binding, Vault};

mod connecting;
mod consenting;
mod refreshing;
mod revoking;
mod storms;

/// Some gateways on one store, each as a process of its own would have it, and an app at the provider.
struct Bench {
    provider: Provider,
    gateways: Vec<Gateway>,
    project: ProjectId,
    _folder: TempDir,
    _postgres: Option<PostgresDatabase>,
}

impl Bench {
    /// One gateway on SQLite.
    async fn new() -> Self {
        Self::on(1, None).await
    }

    async fn on(n_gateways: usize, postgres: Option<PostgresDatabase>) -> Self {
        let (provider, folder) = (Provider::start(), tempfile::tempdir().expect("a folder"));
        let at = |name: &str| folder.path().join(name);
        let url = match &postgres {
            Some(database) => DatabaseUrl::Postgres(postgres_url(database)),
            None => DatabaseUrl::Sqlite(at("portcullis.db")),
        };
        for (slug, grant_type) in
            [("shop", "authorization_code"), ("tv", "device_code"), ("robot", "client_credentials")]
        {
            let at = at("integrations").join(slug);
            fs::create_dir_all(&at).expect("a folder");
            let manifest = manifest(&provider, grant_type).to_string();
            fs::write(at.join("config.json"), manifest).expect("a manifest");
        }
        fs::create_dir_all(at("integrations/own")).expect("a folder");
        fs::write(at("integrations/own/config.json"), own().to_string()).expect("a manifest");
        fs::create_dir(at("databases")).expect("a folder");
        let hotel = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hotel/hotel.db");
        fs::copy(hotel, at("databases/hotel.db")).expect("a database");
        let mut gateways = Vec::new();
        let mut project = None;
        for _ in 0..n_gateways {
            let store = Store::open(&url).await.expect("a store");
            let vault = Vault::open_or_create(&at("master.key")).expect("a vault");
            settle_active_key(&vault, &store).await.expect("a key");
            let engine = EngineConfig::new(egress(&provider));
            let engine = Engine::new(EngineConfig { sqlite_folder: Some(at("databases")), ..engine });
            if project.is_none() {
                project = Some(store.create_project("tests").await.expect("a project").id);
            }
            let registry = Registry::new(engine.clone(), store.clone(), Some(at("integrations")));
            registry.load_all().await.expect("integrations");
            gateways.push(Gateway::new(
                GatewayConfig::default(),
                engine,
                store,
                vault,
                Arc::clone(&registry),
            ));
        }
        let project = project.expect("a project");
        let bench = Self { provider, gateways, project, _folder: folder, _postgres: postgres };
        for integration in ["shop", "tv", "robot"] {
            bench.put_app(integration).await;
        }
        bench
    }

    fn gateway(&self) -> &Gateway {
        &self.gateways[0]
    }

    fn store(&self) -> &Store {
        self.gateway().store()
    }

    fn admin(&self) -> Identity {
        let user = Some(UserName::new("admin").expect("a name"));
        Identity { project: self.project, key: Uuid::now_v7(), role: Role::Admin, user, on_behalf: false }
    }

    async fn put_app(&self, integration: &str) {
        let binding = Binding::oauth_app(self.project, integration, "default");
        let vault = &self.gateway().inner.vault;
        let sealed = vault.seal(&binding, Provider::CLIENT_SECRET.as_bytes()).expect("sealed");
        let app = OAuthApp {
            project: self.project,
            integration: integration.parse().expect("a slug"),
            name: "default".to_owned(),
            client_id: AppText::Plain(Provider::CLIENT_ID.to_owned()),
            client_secret: Some(FieldContent::Sealed(sealed)),
            mask: None,
            token_auth: TokenAuth::Basic,
            authorize_params: Default::default(),
            created_at: Timestamp::now(),
            updated_at: Timestamp::now(),
        };
        self.store().put_oauth_app(&app).await.expect("stored");
    }

    /// A connection with tokens of the provider's that expire at that time, if at any.
    async fn connect(&self, expires_in_ms: Option<i64>) -> Connection {
        let tokens = self.tokens().await;
        let now = Timestamp::now();
        let expires_at = expires_in_ms.map(|ms| Timestamp(now.0 + ms));
        let id = Uuid::now_v7();
        let connection = Connection {
            id,
            project: self.project,
            owner: UserName::new("ada").expect("a name"),
            integration: "shop".parse().expect("a slug"),
            slug: format!("shop-{}", id.simple().to_string().split_off(20)).parse().expect("a slug"),
            mode: AuthMethod::OAuth2,
            status: ConnectionStatus::Active,
            name: "Shop".to_owned(),
            description: None,
            last_error: None,
            identity: None,
            scopes: tokens.scopes.clone(),
            expires_at,
            visibility: Visibility::User,
            created_at: now,
            updated_at: now,
        };
        let refresh_token = tokens.refresh_token.as_ref().map(|token| token.as_str());
        let fields = self.gateway().seal_tokens(self.project, id, &tokens.access_token, refresh_token);
        let grant = Grant {
            obtained_at: Some(now.minus(Duration::from_secs(3600))),
            ..Grant::new(self.project, id, Some("default".to_owned()), vec!["a".to_owned()])
        };
        let fields = fields.expect("sealed");
        self.store().insert_granted_connection(&connection, &fields, &grant).await.expect("stored");
        connection
    }

    /// Tokens with a refresh token, as somebody gets who consents on another device.
    async fn tokens(&self) -> Tokens {
        let (egress, client) = (egress(&self.provider), client());
        let url = |path: &str| Url::parse(&self.provider.url(path)).expect("a URL");
        let scopes = vec!["a".to_owned(), "b".to_owned()];
        let (device_url, token_url) = (url("/device_authorization"), url("/token"));
        let device = request_device_code(&egress, &device_url, &client, scopes).await.expect("a device code");
        self.provider.decide_devices(Some("ada"));
        let grant = TokenGrant::DeviceCode { device_code: device.device_code };
        request_tokens(&egress, &token_url, &client, grant).await.expect("tokens")
    }

    async fn renew(&self, connection: &Connection, need: Need) -> Result<Arc<Held>, RefreshError> {
        self.gateway().renew(self.project, connection.id, need).await
    }

    async fn held(&self, connection: &Connection) -> Held {
        self.gateway().held(self.project, connection.id).await.expect("a connection")
    }

    fn token(&self, held: &Held, name: &str) -> Option<Zeroizing<String>> {
        self.gateway().open_token(&held.connection, &held.fields, name).expect("opened")
    }

    fn access_token(&self, held: &Held) -> Zeroizing<String> {
        self.token(held, ACCESS_TOKEN_FIELD).expect("an access token")
    }

    fn refresh_token(&self, held: &Held) -> Option<Zeroizing<String>> {
        self.token(held, REFRESH_TOKEN_FIELD)
    }

    /// Makes a connection's access token one that expires at that time.
    async fn expire_in(&self, connection: &Connection, ms: i64) {
        let expires_at = Some(Some(Timestamp(Timestamp::now().0 + ms)));
        let change = ConnectionChange { expires_at, ..ConnectionChange::default() };
        self.store().change_connection(self.project, connection.id, &change).await.expect("changed");
    }
}

fn client() -> OAuthClient {
    OAuthClient {
        client_id: Provider::CLIENT_ID.to_owned(),
        client_secret: Some(Zeroizing::new(Provider::CLIENT_SECRET.to_owned())),
        auth: ClientAuth::Basic,
    }
}

fn egress(provider: &Provider) -> Client {
    let allow_networks =
        ["127.0.0.0/8", "::1/128"].map(|network| network.parse().expect("a network")).to_vec();
    let extra_roots_pem = vec![fs::read_to_string(provider.ca_pem()).expect("a certificate")];
    Client::new(&EgressConfig { allow_networks, extra_roots_pem, ..EgressConfig::default() })
        .expect("a client")
}

fn manifest(provider: &Provider, grant_type: &str) -> Value {
    json!({
        "title": "T", "type": "sql", "authMethod": "oauth2", "sqlConnectionConfig": {"engine": "sqlite"},
        "connectionConfig": {"database": "hotel.db"},
        "oauth2Config": {
            "authorizationUrl": provider.url("/authorize"), "tokenUrl": provider.url("/token"),
            "revocationUrl": provider.url("/revoke"), "scopes": ["a"], "grantType": grant_type,
            "deviceAuthorizationUrl": provider.url("/device_authorization"),
        },
        "sqlOperations": [{"name": "one", "query": "SELECT 1 AS one"}],
    })
}

/// An integration whose host is the connection's own, or one of the manifest's.
fn own() -> Value {
    json!({
        "title": "T", "type": "sql", "authMethod": "oauth2", "sqlConnectionConfig": {"engine": "sqlite"},
        "connectionConfig": {"database": "hotel.db", "host": "auth.example"},
        "oauth2Config": {"authorizationUrl": "https://{{host}}/authorize", "tokenUrl": "https://{{host}}/token"},
        "sqlOperations": [{"name": "one", "query": "SELECT 1 AS one"}],
    })
}

fn postgres_url(database: &PostgresDatabase) -> String {
    let mut url =
        Url::parse(&format!("postgres://127.0.0.1:{}/{}", database.port(), database.name())).expect("a URL");
    url.set_username(database.user()).expect("a name");
    url.set_password(Some(&database.password().replace('%', "%25"))).expect("a password");
    url.into()
}
