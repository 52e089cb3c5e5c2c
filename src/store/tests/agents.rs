//! Agents and what they were granted.

use super::*;
use crate::identity::Role;
use crate::store::agents::{Agent, ConnectionSource, DeclaredConnection};
use crate::store::connections::ConnectionChange;
use crate::store::grants::{GoneOf, Grant, GrantApproval, Replaced};

on_both! {
    an_agent_is_set_and_set_again,
    agents_are_their_projects_alone,
    grants_are_replaced_where_they_are_seen,
    grants_on_what_is_gone_stay_until_their_granter_grants_anew,
    grants_keep_up_with_their_connections_slug,
}

fn agent(project: ProjectId, name: &str) -> Agent {
    let declared = |kind: &str, source, name: Option<&str>, tools: Option<Vec<String>>| DeclaredConnection {
        kind: kind.to_owned(),
        source,
        name: name.map(str::to_owned),
        tools,
    };
    let connections = vec![
        declared("github", ConnectionSource::Connector, Some("work \"ü\""), Some(vec!["list".to_owned()])),
        declared("x", ConnectionSource::NativeMcp, None, None),
    ];
    let (created_at, updated_at) = (Timestamp(1_000), Timestamp(2_000));
    Agent { project, name: slug(name), title: format!("{name} of ours"), connections, created_at, updated_at }
}

fn grant(connection: &Connection, tools: &[&str], granted_by: Option<&str>) -> Grant {
    Grant {
        connection: connection.id,
        integration: connection.integration.clone(),
        slug: connection.slug.clone(),
        tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        approval: GrantApproval::Always,
        granted_role: Role::Service,
        granted_by: granted_by.map(user),
        updated_at: Timestamp(7),
    }
}

/// Replaces grants on these connections, and those of nobody on what is gone.
async fn replace(store: &Store, project: ProjectId, seen: &[&Connection], grants: &[Grant], gone_of: GoneOf) {
    let connections = seen.iter().map(|connection| connection.id).collect();
    let replaced = Replaced { connections, gone_of };
    assert!(store.replace_grants(project, "support", &replaced, grants).await.unwrap());
}

async fn grants(store: &Store, project: ProjectId) -> Vec<Grant> {
    store.agent(project, "support").await.unwrap().expect("an agent").grants.clone()
}

async fn an_agent_is_set_and_set_again(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    assert_eq!(store.agent(project, "support").await.unwrap(), None);
    let first = agent(project, "support");
    assert_eq!(store.put_agent(&first).await.unwrap(), (first.clone(), true));
    let again = Agent {
        title: "Another".to_owned(),
        connections: Vec::new(),
        created_at: Timestamp(5_000),
        updated_at: Timestamp(6_000),
        ..first.clone()
    };
    let stored = Agent { created_at: first.created_at, ..again.clone() };
    assert_eq!(store.put_agent(&again).await.unwrap(), (stored.clone(), false));
    assert_eq!(store.agent(project, "support").await.unwrap().expect("an agent").agent, stored);
    let earlier = agent(project, "a-first");
    store.put_agent(&earlier).await.unwrap();
    assert_eq!(store.agents(project).await.unwrap(), [earlier, stored]);
    assert!(store.delete_agent(project, "support").await.unwrap());
    assert!(!store.delete_agent(project, "support").await.unwrap());
    assert_eq!(store.agent(project, "support").await.unwrap(), None);
}

async fn agents_are_their_projects_alone(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let other = store.create_project("other").await.unwrap().id;
    store.put_agent(&agent(project, "support")).await.unwrap();
    let connection = connection(project, "github");
    replace(&store, project, &[], &[grant(&connection, &["list"], None)], GoneOf::Everyone).await;
    assert_eq!(store.agent(other, "support").await.unwrap(), None);
    assert_eq!(store.agents(other).await.unwrap(), []);
    let replaced = Replaced { connections: vec![connection.id], gone_of: GoneOf::Everyone };
    assert!(!store.replace_grants(other, "support", &replaced, &[]).await.unwrap());
    assert!(!store.delete_agent(other, "support").await.unwrap());
    assert_eq!(grants(&store, project).await, [grant(&connection, &["list"], None)]);
    // An agent that comes under the name of one that was deleted has none of its grants.
    store.delete_agent(project, "support").await.unwrap();
    store.put_agent(&agent(project, "support")).await.unwrap();
    assert_eq!(grants(&store, project).await, []);
}

async fn grants_are_replaced_where_they_are_seen(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    store.put_agent(&agent(project, "support")).await.unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| connection(project, name));
    for connection in [&a, &b, &c] {
        store.insert_connection(connection, &[]).await.unwrap();
    }
    let none = GoneOf::User(None);
    let (on_a, on_b) = (grant(&a, &["x", "y"], Some("alice")), grant(&b, &["x"], None));
    replace(&store, project, &[&a, &b, &c], &[on_b.clone(), on_a.clone()], none.clone()).await;
    assert_eq!(grants(&store, project).await, [on_a.clone(), on_b.clone()], "by slug");
    let on_c = grant(&c, &["z"], None);
    replace(&store, project, &[&b, &c], std::slice::from_ref(&on_c), none.clone()).await;
    assert_eq!(grants(&store, project).await, [on_a.clone(), on_c.clone()], "a isn't seen");
    // What fails changes nothing: a is granted already, and isn't replaced.
    let replaced = Replaced { connections: vec![c.id], gone_of: none };
    let both = [grant(&c, &[], None), grant(&a, &[], None)];
    store.replace_grants(project, "support", &replaced, &both).await.unwrap_err();
    assert_eq!(grants(&store, project).await, [on_a, on_c]);
}

async fn grants_on_what_is_gone_stay_until_their_granter_grants_anew(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    store.put_agent(&agent(project, "support")).await.unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| connection(project, name));
    let all = [grant(&a, &["x"], Some("alice")), grant(&b, &["x"], Some("bob")), grant(&c, &["x"], None)];
    store.insert_connection(&a, &[]).await.unwrap();
    replace(&store, project, &[], &all, GoneOf::User(None)).await;
    store.delete_connection(project, a.id, None).await.unwrap();
    assert_eq!(grants(&store, project).await, all);
    replace(&store, project, &[], &[], GoneOf::User(Some(user("alice")))).await;
    assert_eq!(grants(&store, project).await, all[1..]);
    replace(&store, project, &[], &[], GoneOf::User(None)).await;
    assert_eq!(grants(&store, project).await, all[1..2]);
    store.insert_connection(&b, &[]).await.unwrap();
    replace(&store, project, &[], &[], GoneOf::Everyone).await;
    assert_eq!(grants(&store, project).await, all[1..2], "it isn't gone any more");
}

async fn grants_keep_up_with_their_connections_slug(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    store.put_agent(&agent(project, "support")).await.unwrap();
    let before = connection(project, "before");
    store.insert_connection(&before, &[]).await.unwrap();
    replace(&store, project, &[&before], &[grant(&before, &["x"], None)], GoneOf::Everyone).await;
    let change = ConnectionChange { slug: Some(slug("after")), ..ConnectionChange::default() };
    let after = store.change_connection(project, before.id, &change).await.unwrap().expect("a connection");
    assert_eq!(grants(&store, project).await, [grant(&after, &["x"], None)]);
    store.delete_connection(project, before.id, None).await.unwrap();
    assert_eq!(grants(&store, project).await, [grant(&after, &["x"], None)]);
}
