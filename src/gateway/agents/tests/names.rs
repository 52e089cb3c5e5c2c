//! Names of tools: valid everywhere, unique, leading back to their tools, and the same whatever is added.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::super::granted::OfferedTool;
use crate::gateway::call::ToolError;
use crate::gateway::resolve::View;
use crate::gateway::resolve::tests::{connection, integration, operations, view};
use crate::identity::{ProjectId, Role};
use crate::integrations::Integration;
use crate::store::agents::{Agent, AgentState};
use crate::store::connections::{Connection, ConnectionStatus};
use crate::store::grants::{Grant, GrantApproval};
use crate::time::Timestamp;

fn grant(connection: &Connection, tools: &[&str]) -> Grant {
    Grant {
        connection: connection.id,
        integration: connection.integration.clone(),
        slug: connection.slug.clone(),
        tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        approval: GrantApproval::Default,
        granted_role: Role::User,
        granted_by: None,
        updated_at: Timestamp(0),
    }
}

fn within(integrations: Vec<Arc<Integration>>, connections: Vec<Connection>, grants: Vec<Grant>) -> View {
    let agent = Agent {
        project: ProjectId(Uuid::nil()),
        name: "support".parse().expect("a slug"),
        title: "Support".to_owned(),
        connections: Vec::new(),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
    };
    view(integrations, connections).within(Arc::new(AgentState { agent, grants }))
}

/// Where a name leads: `connection.operation`, or the error's code.
fn led(view: &View, name: &str) -> String {
    match view.resolve(name) {
        Ok(target) => {
            let slug = target.connection.as_ref().map_or_else(
                |error| error.code.clone(),
                |found| found.as_ref().expect("one").slug.to_string(),
            );
            format!("{slug}.{}", target.operation().name)
        }
        Err(ToolError { code, .. }) => code,
    }
}

fn offered(view: &View) -> Vec<String> {
    view.offered().into_iter().map(|tool| tool.name).collect()
}

fn mail() -> Arc<Integration> {
    integration("mail", "api_key", operations(&["list", "send"]))
}

use ConnectionStatus::{Active, Disabled, Expired};

#[test]
fn a_connection_that_is_gone_gives_way_to_none_of_its_name() {
    let (gone, work) = (connection("mail", "work", Active), connection("mail", "work", Active));
    let home = connection("mail", "home", Active);
    let grants = vec![grant(&gone, &["list", "send"]), grant(&home, &["list"])];
    let view = within(vec![mail()], vec![work.clone(), home.clone()], grants.clone());
    assert_eq!(offered(&view), ["home__list"]);
    assert_eq!(led(&view, "work__list"), "CONNECTION_NOT_FOUND");
    assert_eq!(led(&view, "work__never_granted"), "TOOL_NOT_FOUND");
    assert_eq!(led(&view, "home__send"), "TOOL_NOT_FOUND");
    assert_eq!(led(&view, "mail__list"), "TOOL_NOT_FOUND", "an integration's name is no connection's");
    assert_eq!(led(&view, "tools.gateway.connector.mail.list"), "home.list");
    assert_eq!(led(&view, "tools.gateway.connector.mail.send"), "CONNECTION_NOT_FOUND");
    // Once it is granted itself, its own tools are reached, and what was the other's alone is still that one's.
    let view =
        within(vec![mail()], vec![work.clone(), home], [grants, vec![grant(&work, &["list"])]].concat());
    assert_eq!(led(&view, "work__list"), "work.list");
    assert_eq!(led(&view, "work__send"), "CONNECTION_NOT_FOUND");
    assert_eq!(led(&view, "tools.gateway.connector.mail.list"), "CONNECTION_AMBIGUOUS");
    assert_eq!(led(&view, "tools.gateway.connector.mail.list.home"), "home.list");
}

#[test]
fn a_connection_that_is_off_is_not_accessible_and_one_that_expired_says_so() {
    let (off, old) = (connection("mail", "off", Disabled), connection("mail", "old", Expired));
    let grants = vec![grant(&off, &["list"]), grant(&old, &["list"])];
    let view = within(vec![mail()], vec![off, old], grants);
    assert!(offered(&view).is_empty());
    assert_eq!(led(&view, "off__list"), "CONNECTION_NOT_FOUND");
    assert_eq!(led(&view, "old__list"), "CONNECTION_EXPIRED.list");
    let unbound = "tools.gateway.connector.mail.list";
    assert_eq!(led(&view, unbound), "CONNECTION_NOT_FOUND", "the first of those that don't work");
    let (old, work) = (connection("mail", "old", Expired), connection("mail", "work", Active));
    let grants = vec![grant(&old, &["list"]), grant(&work, &["list"])];
    assert_eq!(led(&within(vec![mail()], vec![old, work], grants), unbound), "work.list");
}

#[test]
fn a_model_is_told_the_account_where_there_are_several_and_an_object_with_properties() {
    let described = json!([{"name": "list", "title": "List", "query": "SELECT 1"}]);
    let mail = integration("mail", "api_key", described);
    let (work, home) = (connection("mail", "work", Active), connection("mail", "home", Active));
    let told = |view: View| -> Vec<String> {
        view.offered().into_iter().map(|tool: OfferedTool| tool.description).collect()
    };
    let one = within(vec![Arc::clone(&mail)], vec![work.clone()], vec![grant(&work, &["list"])]);
    assert_eq!(one.offered()[0].parameters["type"], "object");
    assert!(one.offered()[0].parameters["properties"].is_object());
    assert_eq!(told(one), ["List"]);
    let grants = vec![grant(&work, &["list"]), grant(&home, &["list"])];
    let two = within(vec![mail], vec![work, home], grants);
    assert_eq!(told(two), ["List (account: home)", "List (account: work)"]);
}

#[test]
fn a_tool_that_is_called_like_anothers_short_name_keeps_it_and_the_other_has_none() {
    let long = "an_operation_whose_name_is_too_long_to_stand_behind_any_slug";
    let short = crate::gateway::names::function_name("work", long);
    let twin = short.strip_prefix("work__").expect("a prefix").to_owned();
    let mail = integration("mail", "api_key", operations(&[long, &twin]));
    let work = connection("mail", "work", Active);
    let view = within(vec![mail], vec![work.clone()], vec![grant(&work, &[long, &twin])]);
    assert_eq!(offered(&view), [short.as_str()]);
    assert_eq!(led(&view, &short), format!("work.{twin}"));
}

/// Connections by slug, each with its tools; some of them share an integration.
fn accounts() -> impl Strategy<Value = BTreeMap<String, BTreeSet<String>>> {
    let slug = "[a-z0-9]{1,4}([_-][a-z0-9]{1,9}){0,4}".prop_filter("at most 40", |slug| slug.len() <= 40);
    let tool = prop_oneof!["[A-Za-z][A-Za-z0-9_-]{0,9}", "[A-Za-z]{30}_[A-Za-z0-9_-]{0,33}"];
    let tools = proptest::collection::btree_set(tool, 1..6);
    proptest::collection::btree_map(slug, tools, 2..7)
}

/// The view in which these accounts are granted whole; connection ids follow from slugs.
fn granted(accounts: &BTreeMap<String, BTreeSet<String>>) -> View {
    let (mut integrations, mut connections, mut grants) = (Vec::new(), Vec::new(), Vec::new());
    for (n, (slug, tools)) in accounts.iter().enumerate() {
        let tools: Vec<&str> = tools.iter().map(String::as_str).collect();
        let own = format!("i{n}");
        integrations.push(integration(&own, "api_key", operations(&tools)));
        let connection = connection(&own, slug, Active);
        grants.push(grant(&connection, &tools));
        connections.push(connection);
    }
    within(integrations, connections, grants)
}

fn is_taken_by_every_api(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn names_are_valid_and_unique_and_lead_back_and_stay(accounts in accounts(), cut in 1_usize..6) {
        let view = granted(&accounts);
        let names = offered(&view);
        let n_tools: usize = accounts.values().map(BTreeSet::len).sum();
        prop_assert_eq!(names.len(), n_tools);
        prop_assert_eq!(names.iter().collect::<HashSet<_>>().len(), n_tools);
        let mut tools = BTreeSet::new();
        for name in &names {
            prop_assert!(is_taken_by_every_api(name), "{}", name);
            tools.insert(led(&view, name));
        }
        let all: BTreeSet<String> = accounts
            .iter()
            .flat_map(|(slug, tools)| tools.iter().map(move |tool| format!("{slug}.{tool}")))
            .collect();
        prop_assert_eq!(&tools, &all);
        // With fewer accounts and fewer tools of each, those that there are have the same names.
        let fewer: BTreeMap<_, _> = accounts
            .iter()
            .take(cut)
            .map(|(slug, tools)| (slug.clone(), tools.iter().take(cut).cloned().collect()))
            .collect();
        let before = granted(&fewer);
        for name in offered(&before) {
            prop_assert!(names.contains(&name), "{}", name);
            prop_assert_eq!(led(&before, &name), led(&view, &name));
        }
    }
}
