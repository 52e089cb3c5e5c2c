//! `ctx.http`: what is sent, byte for byte, and what the code makes of the answers.

mod failures;
mod requests;
mod responses;

use serde_json::{Value, json};

use crate::support::{Case, Ran};
use crate::upstream::server::{Recorded, Reply};

/// Runs the body of an `execute` against a server that says `fine`.
#[track_caller]
fn sent(body: &str) -> Recorded {
    let ran = Case::execute(body).serve(|_| Reply::ok("fine")).run();
    ran.value();
    ran.request()
}

/// What the code makes of an answer to `GET http://api.test/`: `expression` may use the `response`.
#[track_caller]
fn received(reply: Reply, expression: &str, expected: Value) -> Ran {
    let body = format!("const response = ctx.http.get('http://api.test/');\nreturn {expression};");
    Case::execute(&body).serve(move |_| reply.clone()).gives(expected)
}

/// The bytes 0 to 255.
fn all_bytes() -> Vec<u8> {
    (0..=255).collect()
}

/// The message of the Error that `statement` throws in the code.
#[track_caller]
fn thrown(case: Case) -> Ran {
    let ran = case.run();
    let value = ran.value();
    assert_eq!(value["isError"], json!(true), "{value}");
    ran
}

/// The body of an `execute` that returns what `statement` throws.
fn catching(statement: &str) -> String {
    format!(
        "try {{ {statement} }} catch (error) {{\n\
         return {{ isError: error instanceof Error, name: error.name, message: error.message }};\n\
         }}\nreturn 'nothing was thrown';"
    )
}
