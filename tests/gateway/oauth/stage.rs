//! A gateway whose only integration, `mail`, is connected by consent at a provider of the test's own.

use std::cell::RefCell;
use std::collections::BTreeMap;

use portcullis_test_servers::oauth::Provider;
use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded::Serializer;

use crate::support::client::Body;
use crate::support::connectors::with_test;
use crate::support::{Client, Place, Response, Server};

/// The scopes that `mail` asks for. The first brings an id token.
pub(crate) const SCOPES: [&str; 2] = ["openid", "mail.read"];

/// A place and a provider.
pub(crate) struct Stage<'p> {
    pub(crate) place: &'p Place,
    pub(crate) provider: Provider,
}

impl<'p> Stage<'p> {
    pub(crate) fn on(place: &'p Place) -> Self {
        Self::with(place, json!({}))
    }

    /// The same with these keys over those of the manifest's `oauth2Config`; a null takes one away.
    pub(crate) fn with(place: &'p Place, oauth2_config: Value) -> Self {
        let stage = Self { place, provider: Provider::start() };
        place.install("mail", &stage.mail(oauth2_config));
        stage
    }

    /// The connector: its operations say whose mail it is, as the provider has it. `write` may be sent at once, `careful`
    /// waits for approval, `wide` needs a scope that isn't asked for.
    pub(crate) fn mail(&self, oauth2_config: Value) -> (Value, String) {
        let mut config = json!({
            "authorizationUrl": self.provider.url("/authorize"), "tokenUrl": self.provider.url("/token"),
            "revocationUrl": self.provider.url("/revoke"), "scopes": SCOPES,
        });
        config.as_object_mut().unwrap().extend(oauth2_config.as_object().unwrap().clone());
        config.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let manifest = json!({
            "title": "Mail", "authMethod": "oauth2", "oauth2Config": config,
            "allowedHosts": [format!("localhost:{}", self.provider.port())],
            "operations": [
                {"name": "me"},
                {"name": "write", "operationType": "write", "requiresApproval": false},
                {"name": "careful", "operationType": "write"},
                {"name": "wide", "requiredScopes": ["mail.read", "mail.send"]},
            ],
        });
        let (manifest, code) = with_test(
            manifest,
            "const me = ask(ctx); return { success: true, message: 'welcome', identity: me.account };",
            "return ask(ctx);",
        );
        let ask = format!(
            "function ask(ctx) {{
    const headers = {{ Authorization: 'Bearer ' + ctx.secrets.get('accessToken') }};
    const url = '{}/' + (ctx.operation ?? 'test');
    const r = ctx.operation === 'write' || ctx.operation === 'careful'
        ? ctx.http.post(url, {{ headers, body: '{{}}' }}) : ctx.http.get(url, {{ headers }});
    if (r.status >= 400) throw new Error(`the mailbox said ${{r.status}}`);
    return r.json();
}}
",
            self.provider.url("/api")
        );
        (manifest, code + &ask)
    }

    /// Starts a server that trusts the provider, and sets the app if that wasn't done yet.
    #[track_caller]
    pub(crate) fn start(&self) -> Server<'p> {
        self.start_with(&[])
    }

    /// The same with more flags.
    #[track_caller]
    pub(crate) fn start_with(&self, flags: &[&str]) -> Server<'p> {
        let ca = self.provider.ca_pem().to_str().unwrap();
        let server = self.place.start_with(&[&["--ca-file", ca], flags].concat());
        if server.admin().get(&format!("{APPS}/default")).status == 404 {
            server.admin().put(&format!("{APPS}/default"), app()).is(201);
        }
        server
    }

    /// A new connection that waits for consent, and where that begins.
    #[track_caller]
    pub(crate) fn begin(&self, client: &Client, more: Value) -> (Value, String) {
        let answer = client.post("/api/tools/connections", new_connection(more)).is(201).json();
        let redirect_url = answer["redirect_url"].as_str().unwrap_or_else(|| panic!("{answer:#}"));
        assert_eq!(answer["connection"]["status"], "PENDING", "{answer:#}");
        (answer["connection"].clone(), redirect_url.to_owned())
    }

    /// A new connection that works.
    #[track_caller]
    pub(crate) fn connect(&self, server: &Server<'_>, client: &Client) -> Value {
        self.connect_with(server, client, json!({}))
    }

    /// The same with these keys in the body.
    #[track_caller]
    pub(crate) fn connect_with(&self, server: &Server<'_>, client: &Client, more: Value) -> Value {
        let (connection, redirect_url) = self.begin(client, more);
        Person::at(server).consents(&self.provider, &redirect_url).is(200);
        let connection = shown(client, &connection);
        assert_eq!(connection["status"], "ACTIVE", "{connection:#}");
        connection
    }
}

/// Where the apps of `mail` are.
pub(crate) const APPS: &str = "/api/integrations/mail/oauth-apps";

/// The provider's client, as an app.
pub(crate) fn app() -> Value {
    json!({"client_id": Provider::CLIENT_ID, "client_secret": Provider::CLIENT_SECRET})
}

/// The body of a new connection to `mail`, with these keys over it.
pub(crate) fn new_connection(more: Value) -> Value {
    let mut body = json!({"integration": "mail", "mode": "oauth", "name": "Mail"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Where a connection is.
pub(crate) fn path(connection: &Value) -> String {
    format!("/api/tools/connections/{}", connection["id"].as_str().unwrap())
}

/// A connection as it is now.
#[track_caller]
pub(crate) fn shown(client: &Client, connection: &Value) -> Value {
    client.get(&path(connection)).is(200).json()
}

/// The name of a connection's tool.
pub(crate) fn tool(connection: &Value, operation: &str) -> String {
    format!("{}__{operation}", connection["connection_slug"].as_str().unwrap())
}

/// The parameters of a URL's query, of which none may come twice.
#[track_caller]
pub(crate) fn query(url: &str) -> BTreeMap<String, String> {
    let pairs: Vec<(String, String)> = Url::parse(url).unwrap().query_pairs().into_owned().collect();
    let map: BTreeMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(map.len(), pairs.len(), "{url}");
    map
}

/// A person's browser, without the browser: cookies, and following what it is told.
pub(crate) struct Person {
    client: Client,
    cookies: RefCell<BTreeMap<String, String>>,
}

impl Person {
    pub(crate) fn at(server: &Server<'_>) -> Self {
        Self { client: server.anyone(), cookies: RefCell::default() }
    }

    /// Another window of the same browser.
    pub(crate) fn again(&self) -> Self {
        Self { client: self.client.clone(), cookies: self.cookies.clone() }
    }

    /// Opens an address of the gateway's.
    #[track_caller]
    pub(crate) fn opens(&self, url: &str) -> Response {
        let url = Url::parse(url).unwrap();
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let answer = self.with_cookies().get(&target);
        self.keep_cookies(answer)
    }

    /// Sends a form to a path of the gateway's.
    #[track_caller]
    pub(crate) fn sends(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let form = Serializer::new(String::new()).extend_pairs(fields).finish();
        let body = Body::Bytes {
            content_type: "application/x-www-form-urlencoded".to_owned(),
            bytes: form.into_bytes(),
        };
        let answer = self.with_cookies().send("POST", path, body);
        self.keep_cookies(answer)
    }

    /// Goes where a consent begins: the authorization request that the browser is then sent to.
    #[track_caller]
    pub(crate) fn starts(&self, redirect_url: &str) -> String {
        let answer = self.opens(redirect_url).is(302);
        answer.header("location").unwrap().to_owned()
    }

    /// Goes through a consent, up to what the gateway says in the end.
    #[track_caller]
    pub(crate) fn consents(&self, provider: &Provider, redirect_url: &str) -> Response {
        self.opens(&provider.consent(&self.starts(redirect_url)))
    }

    fn with_cookies(&self) -> Client {
        let cookies = self.cookies.borrow();
        let pairs: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() {
            self.client.clone()
        } else {
            self.client.with_header("Cookie", &pairs.join("; "))
        }
    }

    fn keep_cookies(&self, answer: Response) -> Response {
        for (_, value) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let pair = value.split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.borrow_mut().insert(name.trim().to_owned(), value.trim().to_owned());
        }
        answer
    }
}
