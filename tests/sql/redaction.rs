//! Passwords: in no result, no error and no output, wherever they come from.

use portcullis_runtime::ErrorCode;
use serde_json::json;

use crate::support::{Place, check, on_each_engine, on_each_server};
use crate::workspace::Workspace;

on_each_engine!(stored_secrets_are_hidden);
on_each_server!(passwords_are_nowhere, the_program_hides_them);

/// A secret that the database holds as a value doesn't come out with it.
fn stored_secrets_are_hidden(place: &Place) {
    place.execute("CREATE TABLE t (v varchar(100)); INSERT INTO t VALUES ('a hunter2-secret b')");
    let hidden = place.read("SELECT v FROM t").secret("token", "hunter2-secret").single();
    check(format!("{place:?}"), &hidden, &json!("a [redacted] b"));
    let named =
        place.read("SELECT 1 AS \"hunter2-secret\"".replace('"', place.pick("\"", "\"", "`")).as_str());
    let report = format!("{:?}", named.secret("token", "hunter2-secret").outcome());
    assert!(!report.contains("hunter2-secret"), "{report}");
    let error = place
        .read("SELECT * FROM hunter2_secret")
        .secret("token", "hunter2_secret")
        .fails(ErrorCode::ProviderError);
    assert!(!format!("{error:?}").contains("hunter2_secret"), "{error:#?}");
}

fn passwords_are_nowhere(place: &Place) {
    let password = place.server().password().to_owned();
    place.execute("CREATE TABLE t (v text)");
    place.write("INSERT INTO t VALUES (@v)").with(json!({"v": format!("<{password}>")})).value();
    check(format!("{place:?} a result"), &place.read("SELECT v FROM t").single(), &json!("<[redacted]>"));
    // The user's name is part of what a database says of itself; in errors it is hidden.
    let who = place.read(
        "SELECT CURRENT_USER AS u"
            .replace("CURRENT_USER", place.pick("", "current_user::text", "CURRENT_USER()"))
            .as_str(),
    );
    assert!(who.single().as_str().unwrap().starts_with(place.server().user()), "{place:?}");
    let wrong = place.read("SELECT 1 AS n").secret("password", "an0ther-p4ssword").outcome();
    let report = format!("{wrong:?}");
    assert!(!report.contains("an0ther-p4ssword"), "{report}");
    let name = place.server().user();
    let message = wrong.result.unwrap_err().message;
    assert!(!message.contains(name) && message.contains("[redacted]"), "{message}");
    // Where the password is quoted by the database itself.
    let quoting = place.read("SELECT CAST(@v AS date) + 'x'").with(json!({"v": password})).outcome();
    assert!(!format!("{quoting:?}").contains(&password), "{quoting:?}");
}

/// In words and as JSON, on both streams.
fn the_program_hides_them(place: &Place) {
    let here = Workspace::new();
    let operations = json!([
        {"name": "whole", "query": "SELECT @v AS v", "parametersSchema": {"properties": {"v": {"type": "string"}}}},
        {"name": "broken", "query": "SELECT * FROM nowhere"},
    ]);
    here.write("c/config.json", place.manifest(operations).to_string());
    let password = place.server().password();
    for operation in ["whole", "broken"] {
        for json in [true, false] {
            for database in [place.server().name(), "no_such_database"] {
                let mut arguments = vec!["run".to_owned(), "c".to_owned(), operation.to_owned()];
                arguments.extend(place.flags());
                arguments.push(format!("--config=database={database}"));
                if operation == "whole" {
                    arguments.push(format!("--params={}", json!({"v": password})));
                }
                if json {
                    arguments.push("--json".to_owned());
                }
                let ran = here.run(&arguments);
                if json {
                    ran.report();
                }
                assert!(!ran.stdout.contains(password) && !ran.stderr.contains(password), "{ran:#?}");
                assert_eq!(
                    ran.stdout.contains("[redacted]"),
                    operation == "whole" && ran.status == Some(0),
                    "{ran:#?}"
                );
            }
        }
    }
}
