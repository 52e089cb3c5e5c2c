//! Tests of names, against integrations and connections made by hand.

use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::identity::{ProjectId, UserName};
use crate::integrations::testing::{engine, package};
use crate::integrations::{Problem, Source};
use crate::store::connections::Visibility;
use crate::time::Timestamp;

/// An integration with these operations.
pub(crate) fn integration(slug: &str, auth_method: &str, operations: Value) -> Arc<Integration> {
    let manifest = json!({
        "title": "T", "authMethod": auth_method, "type": "sql",
        "sqlConnectionConfig": {"engine": "sqlite"}, "sqlOperations": operations,
    });
    let package = package(slug, &manifest.to_string());
    let connector = engine().load(&package).expect("a connector");
    Arc::new(Integration {
        slug: slug.parse().expect("a slug"),
        source: Source::Upload,
        served: Some(Arc::new(Served { package, connector })),
        problem: None,
        warnings: Vec::new(),
        updated_at: Timestamp(0),
    })
}

/// Operations of these names that answer 1.
pub(crate) fn operations(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name, "query": "SELECT 1"})).collect()
}

/// A connection of this slug and status.
pub(crate) fn connection(integration: &str, slug: &str, status: ConnectionStatus) -> Connection {
    Connection {
        id: Uuid::now_v7(),
        project: ProjectId(Uuid::nil()),
        owner: UserName::new("ada").expect("a name"),
        integration: integration.parse().expect("a slug"),
        slug: slug.parse().expect("a slug"),
        mode: AuthMethod::ApiKey,
        status,
        name: slug.to_owned(),
        description: None,
        last_error: None,
        identity: None,
        scopes: None,
        expires_at: None,
        visibility: Visibility::User,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
    }
}

/// What there is, in whatever order it is given.
pub(crate) fn view(mut integrations: Vec<Arc<Integration>>, connections: Vec<Connection>) -> View {
    integrations.sort_by(|one, other| one.slug.cmp(&other.slug));
    let user = Some(UserName::new("ada").expect("a name"));
    View { integrations: Arc::new(integrations), connections: Arc::new(connections), user, agent: None }
}

/// Where a name leads: `integration.operation`, and `.connection` or the error's code.
fn led(view: &View, name: &str) -> String {
    match view.resolve(name) {
        Err(error) => error.code,
        Ok(target) => {
            let (integration, operation) = (target.integration(), target.operation().name.as_str());
            match &target.connection {
                Ok(None) => format!("{integration}.{operation}"),
                Ok(Some(connection)) => format!("{integration}.{operation}.{}", connection.slug),
                Err(error) => format!("{integration}.{operation} {}", error.code),
            }
        }
    }
}

use ConnectionStatus::{Active, Disabled, Expired, Failed, Pending};

fn mail(connections: Vec<Connection>) -> View {
    view(vec![integration("mail", "api_key", operations(&["send", "list__all"]))], connections)
}

#[test]
fn every_name_of_a_lone_connections_tool_leads_to_it() {
    let view = mail(vec![connection("mail", "work", Active)]);
    for name in [
        "tools.gateway.connector.mail.send",
        "tools.gateway.connector.mail.send.work",
        "mail__send",
        "work__send",
    ] {
        assert_eq!(led(&view, name), "mail.send.work", "{name}");
    }
    assert_eq!(led(&view, "work__list__all"), "mail.list__all.work");
}

#[test]
fn a_shared_connection_does_not_take_over_the_name_of_another() {
    let mut shared = connection("mail", "mail", Active);
    shared.owner = UserName::new("mallory").expect("a name");
    let view = mail(vec![shared.clone(), connection("mail", "work", Active)]);
    assert_eq!(led(&view, "mail__send"), "mail.send CONNECTION_AMBIGUOUS");
    assert_eq!(led(&view, "work__send"), "mail.send.work");
    assert_eq!(led(&view, "tools.gateway.connector.mail.send.mail"), "mail.send.mail");
    let entries = view.entries();
    for entry in entries.iter().filter(|entry| entry.name == "send") {
        let connection = entry.connection_slug.as_deref().expect("a bound entry");
        assert_eq!(led(&view, &entry.function_name), format!("mail.send.{connection}"));
    }
    let own = mail(vec![connection("mail", "mail", Active), connection("mail", "work", Active)]);
    assert_eq!(led(&own, "mail__send"), "mail.send.mail", "one's own keeps its name");
    assert_eq!(led(&mail(vec![shared]), "mail__send"), "mail.send.mail", "nothing else could be meant");
}

#[test]
fn what_is_not_there_is_not_found() {
    let view = mail(vec![connection("mail", "work", Active)]);
    for name in [
        "",
        "mail",
        "mail__",
        "mail__reply",
        "mail_send",
        "post__send",
        "tools.gateway.connector.mail.reply",
        "tools.gateway.connector.post.send",
        "tools.gateway.composio.mail.send",
        "tools.gateway.connector.mail",
        "tools.gateway.connector.mail.send.work.x",
        "MAIL__send",
    ] {
        assert_eq!(led(&view, name), "TOOL_NOT_FOUND", "{name}");
    }
    assert_eq!(led(&view, "tools.gateway.connector.mail.send.home"), "mail.send CONNECTION_NOT_FOUND");
    let error = view.resolve("mail__reply").err().expect("an error");
    assert!(error.message.contains("send, list__all, introspect_tables"), "{}", error.message);
}

#[test]
fn several_active_connections_are_told_by_their_bound_slugs() {
    let view = mail(vec![
        connection("mail", "home", Active),
        connection("mail", "old", Failed),
        connection("mail", "work", Active),
    ]);
    assert_eq!(led(&view, "work__send"), "mail.send.work");
    for name in ["mail__send", "tools.gateway.connector.mail.send"] {
        let Err(error) = view.resolve(name).expect("a tool").connection else { panic!("{name}") };
        assert_eq!(error.code, "CONNECTION_AMBIGUOUS");
        let bound = ["tools.gateway.connector.mail.send.home", "tools.gateway.connector.mail.send.work"];
        assert_eq!(error.details, json!({"connections": bound}));
    }
}

#[test]
fn a_connection_that_cannot_be_used_says_why() {
    for (status, code) in [
        (Pending, "CONNECTION_INACTIVE"),
        (Failed, "CONNECTION_INACTIVE"),
        (Disabled, "CONNECTION_INACTIVE"),
        (Expired, "CONNECTION_EXPIRED"),
    ] {
        let view = mail(vec![connection("mail", "work", status)]);
        for name in ["mail__send", "work__send", "tools.gateway.connector.mail.send.work"] {
            assert_eq!(led(&view, name), format!("mail.send {code}"), "{name} {status:?}");
        }
        // Beside an active one, it is chosen by nobody.
        let both = mail(vec![connection("mail", "home", Active), connection("mail", "work", status)]);
        assert_eq!(led(&both, "mail__send"), "mail.send.home");
    }
    let expired = mail(vec![connection("mail", "a", Expired), connection("mail", "b", Expired)]);
    assert_eq!(led(&expired, "mail__send"), "mail.send CONNECTION_EXPIRED");
    let mixed = mail(vec![connection("mail", "a", Expired), connection("mail", "b", Failed)]);
    assert_eq!(led(&mixed, "mail__send"), "mail.send CONNECTION_INACTIVE");
    assert_eq!(led(&mail(Vec::new()), "mail__send"), "mail.send CONNECTION_NOT_FOUND");
}

#[test]
fn what_needs_no_connection_runs_without() {
    let open = || integration("clock", "none", operations(&["now"]));
    assert_eq!(led(&view(vec![open()], Vec::new()), "clock__now"), "clock.now");
    let disabled = view(vec![open()], vec![connection("clock", "mine", Disabled)]);
    assert_eq!(led(&disabled, "clock__now"), "clock.now");
    assert_eq!(led(&disabled, "mine__now"), "clock.now CONNECTION_INACTIVE");
    let active = view(vec![open()], vec![connection("clock", "mine", Active)]);
    assert_eq!(led(&active, "clock__now"), "clock.now.mine");
}

#[test]
fn a_broken_integration_has_no_tools_and_says_why() {
    let mut broken = (*integration("mail", "none", operations(&["send"]))).clone();
    broken.served = None;
    broken.problem = Some(Problem { message: "title is missing".to_owned(), diagnostics: Vec::new() });
    let error = view(vec![Arc::new(broken)], Vec::new()).resolve("mail__send").err().expect("an error");
    assert_eq!(error.code, "TOOL_NOT_FOUND");
    assert!(error.message.ends_with("title is missing"), "{}", error.message);
}

#[test]
fn shortened_names_lead_where_full_ones_do() {
    let long = "an_operation_whose_name_is_so_long_that_it_fills_a_name_alone";
    let slug = "an-account-with-a-slug-of-38-letters-x";
    let view = view(
        vec![integration("mail", "api_key", operations(&[long, &long[..60]]))],
        vec![connection("mail", slug, Active)],
    );
    for operation in [long, &long[..60]] {
        let expected = format!("mail.{operation}.{slug}");
        for prefix in [slug, "mail"] {
            let name = function_name(prefix, operation);
            assert!(name.len() <= 64);
            assert_eq!(led(&view, &name), expected, "{name}");
            assert_eq!(led(&view, &format!("{prefix}__{operation}")), expected);
        }
    }
}

#[test]
fn a_connection_with_an_integrations_slug_leaves_it_a_name() {
    let integrations = || {
        vec![
            integration("mail", "none", operations(&["send", "list"])),
            integration("chat", "api_key", operations(&["send"])),
        ]
    };
    let view = view(integrations(), vec![connection("chat", "mail", Active)]);
    assert_eq!(led(&view, "mail__send"), "chat.send.mail");
    // What the connection can't do is the integration's.
    assert_eq!(led(&view, "mail__list"), "mail.list");
    let names: Vec<(String, String)> =
        view.entries().into_iter().map(|entry| (entry.slug, entry.function_name)).collect();
    for (slug, name) in names {
        assert_eq!(led(&view, &slug), led(&view, &name), "{slug} {name}");
    }
    assert_eq!(led(&view, "tools.gateway.connector.mail.send"), "mail.send");
}
