//! An OpenID provider for tests: npm's oidc-provider over TLS, with people, and login and consent pages of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::account::Account;
use crate::folder::{self, Folder};
use crate::http1::post_json;
use crate::keeper::Keeper;
use crate::programs;

/// Where server.mjs, and the packages that `npm ci` puts beside it, are.
const HOME: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oidc");
/// How long it may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A provider on `https://localhost:PORT`. Dropping it stops it and removes all it wrote.
///
/// Anybody whose name is in lower-case letters may log in, with the password `NAME-password`; their address is
/// `NAME@example.com`. Besides OpenID's scopes it has `files:read` and `files:write`. A refresh token is good once: when
/// one comes a second time, all that came from the same consent is void.
#[derive(Debug)]
pub struct Oidc {
    folder: Folder,
    ca_pem: PathBuf,
    port: u16,
    _keeper: Keeper,
}

/// What a client has registered as.
#[derive(Clone, Debug)]
pub struct OidcClient {
    /// `client_id`.
    pub id: String,
    /// `client_secret`; absent where the token endpoint is asked without one.
    pub secret: Option<String>,
}

impl Oidc {
    /// Starts one, and waits until it answers.
    ///
    /// # Panics
    ///
    /// Where it can't; the message says what to do, or shows the end of its log.
    #[track_caller]
    pub fn start() -> Oidc {
        match Oidc::try_start() {
            Ok(oidc) => oidc,
            Err(error) => panic!("{error:#}"),
        }
    }

    fn try_start() -> Result<Oidc> {
        if !Path::new(HOME).join("node_modules/oidc-provider").is_dir() {
            bail!(
                "oidc-provider isn't installed: run `cargo xtask test` (or `cargo xtask servers`), which installs it, \
                 or `npm ci` in {HOME}"
            );
        }
        let account = Account::ours()?;
        let temporary = folder::temporary("oidc", &account)?;
        let folder = Folder::at(temporary.path());
        let port_file = folder.data().join("port");
        let settings = folder.settings();
        let line = vec![
            programs::find("node").context("`node` isn't installed: `cargo xtask test` installs it")?.into(),
            Path::new(HOME).join("server.mjs").into(),
            settings.join("server.pem").into(),
            settings.join("server.key").into(),
            port_file.clone().into(),
        ];
        // It has nothing to tidy up.
        let mut keeper = Keeper::of(&folder, "KILL", line)?;
        // From here on it's the keeper that removes it.
        let _ = temporary.keep();
        folder.fill(&account)?;
        keeper.start_server()?;
        let port = await_port(&folder, &port_file, &keeper)?;
        Ok(Oidc { ca_pem: folder.ca_pem(), folder, port, _keeper: keeper })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `https://localhost:PORT`.
    pub fn issuer(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The issuer and a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer())
    }

    /// The file of the root certificate that the server's is signed with.
    pub fn ca_pem(&self) -> &Path {
        &self.ca_pem
    }

    /// What it printed until now: its events, one to a line.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.log()).unwrap_or_default()).into_owned()
    }

    /// Registers a client for all grants. `token_auth` is `client_secret_basic`, `client_secret_post` or `none`; its
    /// access tokens live for so many seconds.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    #[track_caller]
    pub fn register(&self, redirect_uri: &str, token_auth: &str, access_token_seconds: u64) -> OidcClient {
        let mut grants =
            vec!["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"];
        if token_auth != "none" {
            grants.push("client_credentials");
        }
        let asked = json!({
            "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": token_auth,
            "access_token_ttl": access_token_seconds,
            "grant_types": grants,
        });
        let client =
            post_json(self.port, "/reg", &asked).unwrap_or_else(|error| panic!("{error:#}\n{}", self.log()));
        let text = |name: &str| client[name].as_str().map(str::to_owned);
        let Some(id) = text("client_id") else { panic!("no client: {client:#}") };
        OidcClient { id, secret: client.get("client_secret").and_then(Value::as_str).map(str::to_owned) }
    }
}

fn await_port(folder: &Folder, port_file: &Path, keeper: &Keeper) -> Result<u16> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        if let Ok(port) = fs::read_to_string(port_file) {
            return port.trim().parse().context("oidc-provider's port");
        }
        if keeper.server_has_ended() || Instant::now() > deadline {
            bail!("oidc-provider doesn't start. Its log:\n{}", folder.end_of_log());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
