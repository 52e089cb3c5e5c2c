//! Each rule of a connection, in tables.

use zeroize::Zeroizing;

use super::*;
use crate::store::connections::Visibility;

fn manifest(fields: Value) -> Manifest {
    let mut manifest = json!({"title": "T", "authMethod": "api_key", "operations": [{"name": "a"}]});
    manifest.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    Manifest::parse(&manifest.to_string()).unwrap_or_else(|errors| panic!("{:?}", errors.0)).0
}

fn given(values: &[(&str, &str)]) -> BTreeMap<String, GivenCredential> {
    let value = |text: &&str| GivenCredential::Value(Zeroizing::new((*text).to_owned()));
    values.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect()
}

/// Everything that is found has a path that begins with the first, and holds the second, of each pair; nothing else.
#[track_caller]
fn check(find: impl FnOnce(&mut Problems), expected: &[(&str, &str)]) {
    let mut problems = Problems::default();
    find(&mut problems);
    let found: Vec<String> = problems.0.iter().map(|p| format!("{} | {}", p.path, p.message)).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (problem, (path, words)) in problems.0.iter().zip(expected) {
        assert_eq!(problem.path, *path, "{found:#?}");
        assert!(problem.message.contains(words), "{words:?} isn't in {found:#?}");
    }
}

#[test]
fn texts_have_bounds() {
    check(|p| p.name("Support"), &[]);
    check(|p| p.name(&"é".repeat(200)), &[]);
    check(|p| p.name(""), &[("/name", "is empty")]);
    check(|p| p.name(" \t"), &[("/name", "is empty"), ("/name", "control")]);
    check(|p| p.name(&"é".repeat(201)), &[("/name", "longer than 200")]);
    check(|p| p.description("a\n\tb"), &[]);
    check(|p| p.description("a\0"), &[("/description", "NUL")]);
    check(|p| p.description(&"é".repeat(2001)), &[("/description", "longer than 2000")]);
}

#[test]
fn a_browser_is_sent_to_origins_that_the_operator_allows() {
    let origins = ["https://example.com", "http://localhost:3000"].map(str::to_owned).to_vec();
    let config = GatewayConfig { callback_origins: origins, ..GatewayConfig::default() };
    for allowed in [
        "https://example.com/back?x=1",
        "https://EXAMPLE.com:443",
        "http://localhost:3000/a#b",
        "https:example.com",
    ] {
        check(|p| p.callback(&config, allowed), &[]);
    }
    for (refused, words) in [
        ("javascript:alert(1)", "http or https"),
        ("/back", "http or https"),
        ("http://example.com/", "at http://example.com,"),
        ("https://example.com:8443/", "--callback-origin https://example.com:8443"),
        ("https://example.com.evil.com/", "sends nobody"),
        ("https://sub.example.com/", "sends nobody"),
        ("https://example.com@evil.com/", "user name"),
        ("https://user:x@example.com/", "user name"),
        ("https://evil.com\\@example.com/", "at https://evil.com,"),
    ] {
        check(|p| p.callback(&config, refused), &[("/callback_url", words)]);
    }
}

#[test]
fn an_app_and_scopes_go_with_consents() {
    let new = |mode, app: Option<&str>, scopes: &[&str]| NewConnection {
        integration: "a".to_owned(),
        provider: None,
        mode,
        slug: None,
        name: "A".to_owned(),
        description: None,
        credentials: BTreeMap::new(),
        config: Map::new(),
        callback_url: None,
        visibility: Visibility::User,
        oauth_app: app.map(str::to_owned),
        scopes: (!scopes.is_empty()).then(|| scopes.iter().map(|scope| (*scope).to_owned()).collect()),
    };
    check(|p| p.oauth(&new(AuthMethod::OAuth2, Some("b"), &["https://x/y.read", "a:b"])), &[]);
    check(|p| p.oauth(&new(AuthMethod::ApiKey, None, &[])), &[]);
    let both = [("/oauth_app", "mode oauth"), ("/scopes", "mode oauth")];
    check(|p| p.oauth(&new(AuthMethod::ApiKey, Some("b"), &["a"])), &both);
    check(|p| p.oauth(&new(AuthMethod::OAuth2, None, &["a", "b c"])), &[("/scopes/1", "white space")]);
    check(|p| p.oauth(&new(AuthMethod::OAuth2, None, &[""])), &[("/scopes/0", "1 to 500")]);
    check(|p| p.oauth(&new(AuthMethod::OAuth2, None, &["a"; 101])), &[("/scopes", "more than 100")]);
}

#[test]
fn provider_and_mode_are_known() {
    check(|p| p.provider(None), &[]);
    check(|p| p.provider(Some("connector")), &[]);
    check(|p| p.provider(Some("composio")), &[("/provider", "\"connector\"")]);
    let several = manifest(json!({
        "supportedAuthMethods": ["api_key", "oauth2"],
        "oauth2Config": {"authorizationUrl": "https://a.example/a", "tokenUrl": "https://a.example/t"},
    }));
    check(|p| p.mode(&several, AuthMethod::OAuth2), &[]);
    check(|p| p.mode(&several, AuthMethod::BasicAuth), &[("/mode", "only: api_key, oauth")]);
}

#[test]
fn credentials_are_known_and_have_a_size() {
    let manifest = manifest(json!({"secretBindings": ["apiKey", "region"]}));
    check(|p| p.credentials(&manifest, &given(&[("apiKey", "k"), ("accessToken", "t")])), &[]);
    check(
        |p| p.credentials(&manifest, &given(&[("api_key", "k"), ("zzz", " "), ("~/", "k")])),
        &[
            ("/credentials/api_key", "did you mean \"apiKey\"?), only: apiKey, region, accessToken"),
            ("/credentials/zzz", "no credential \"zzz\", only"),
            ("/credentials/zzz", "is empty"),
            ("/credentials/~0~1", "no credential"),
        ],
    );
    let large = "x".repeat(64 * 1024 + 1);
    check(
        |p| p.credentials(&manifest, &given(&[("apiKey", &large), ("region", &large[1..])])),
        &[("/credentials/apiKey", "larger than 64 KiB")],
    );
}

#[test]
fn a_config_takes_any_json_but_nonsense_in_known_keys() {
    let config = |value: Value| value.as_object().expect("an object").clone();
    for fine in [json!({}), json!({"a": [null, {"b": 1}], "timeout": 1, "rateLimit": "60"})] {
        check(|p| p.config(&config(fine)), &[]);
    }
    for bad in [json!(0), json!(-1), json!(1.5), json!("x"), json!(null), json!([]), json!(1_u64 << 40)] {
        check(|p| p.config(&config(json!({"timeout": bad}))), &[("/config/timeout", "milliseconds")]);
        check(|p| p.config(&config(json!({"rateLimit": bad}))), &[("/config/rateLimit", "a minute")]);
    }
    let large = json!({"a": "x".repeat(64 * 1024)});
    check(|p| p.config(&config(large)), &[("/config", "larger than 64 KiB")]);
}

fn check_settings(manifest: &Manifest, config: Value, expected: &[(&str, &str)]) {
    let config = config.as_object().expect("an object").clone();
    let opened = Opened { secrets: BTreeMap::new(), config };
    check(|p| p.settings(manifest, &opened), expected);
}

#[test]
fn placeholders_of_hosts_are_filled() {
    let manifest = manifest(json!({
        "allowedHosts": ["api.example.com", "{{shop}}.{{zone}}", "cdn.{{shop}}.example"],
        "connectionConfig": {"zone": "example.net"},
    }));
    check_settings(&manifest, json!({"shop": "mine"}), &[]);
    check_settings(&manifest, json!({}), &[("/config/shop", "\"{{shop}}.{{zone}}\"")]);
    check_settings(&manifest, json!({"shop": 7}), &[("/config/shop", "a string")]);
    check_settings(
        &manifest,
        json!({"shop": "", "zone": ""}),
        &[("/config/shop", "missing"), ("/config/zone", "missing")],
    );
    check_settings(
        &manifest,
        json!({"shop": "evil.com/x"}),
        &[("/config/shop", "no path"), ("/config/shop", "no path")],
    );
}

#[test]
fn a_database_is_named() {
    let sql = |engine: &str| {
        manifest(json!({
            "type": "sql", "sqlConnectionConfig": {"engine": engine},
            "operations": [{"name": "a", "query": "SELECT 1"}],
        }))
    };
    let both = [("/config/server", "missing"), ("/config/database", "missing")];
    check_settings(&sql("postgres"), json!({}), &both);
    check_settings(&sql("postgres"), json!({"server": "db", "database": " "}), &both[1..]);
    check_settings(&sql("sqlite"), json!({}), &both[1..]);
    check_settings(&sql("sqlite"), json!({"database": "x.db"}), &[]);
}

#[test]
fn a_credential_that_was_given_is_not_missing_too() {
    let manifest = manifest(json!({"secretBindings": ["a", "b"]}));
    let given = given(&[("a", "")]);
    let find = |p: &mut Problems| {
        p.credentials(&manifest, &given);
        p.missing(&manifest, AuthMethod::ApiKey, &Opened::default(), Some(&given));
    };
    check(find, &[("/credentials/a", "empty"), ("/credentials/b", "missing")]);
}

#[test]
fn an_error_has_all_problems_and_no_value() {
    let mut problems = Problems::default();
    problems.name("");
    problems.credentials(&manifest(json!({})), &given(&[("apiKey", "c4nary-value")]));
    let error = problems.into_result().expect_err("two problems");
    assert!(!format!("{error} {error:?}").contains("c4nary"));
    let GatewayError::Unprocessable { code: "VALIDATION_FAILED", message, details: Some(details) } = error
    else {
        panic!("{error:?}")
    };
    assert!(
        message.starts_with("the connection isn't valid: the name is empty; the integration"),
        "{message}"
    );
    assert_eq!(details["problems"][0], json!({"path": "/name", "message": "the name is empty"}));
    assert_eq!(details["problems"][1]["path"], "/credentials/apiKey");
}
