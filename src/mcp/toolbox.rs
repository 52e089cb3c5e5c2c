//! What an MCP server needs of whoever has the tools: their list, calls, a person's word, and when the list may have changed.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use rmcp::ErrorData;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::gateway::call::ToolError;

/// The dialect of schemas.
const JSON_SCHEMA: &str = "https://json-schema.org/draft/2020-12/schema";

/// Tools, and how they are called.
pub(crate) trait Toolbox: Clone + Send + Sync + 'static {
    /// Whom the tools are listed and called for.
    type Caller: Clone + Send + Sync + 'static;
    /// A call that waits for a person.
    type Pending: Send;

    /// All that the caller can call now.
    fn tools(&self, caller: &Self::Caller) -> impl Future<Output = Result<Arc<ToolList>, ErrorData>> + Send;

    /// Calls a tool. Dropping the future cancels the call. An error is the protocol's: such a call can't be made at all.
    fn call(
        &self,
        caller: &Self::Caller,
        name: &str,
        arguments: JsonObject,
    ) -> impl Future<Output = Result<Called<Self::Pending>, ErrorData>> + Send;

    /// Whether the caller's own client may ask a person to confirm this call.
    fn may_ask(&self, caller: &Self::Caller, pending: &Self::Pending) -> impl Future<Output = bool> + Send;

    /// Carries out what a person decided: the call, or its rejection.
    fn decide(
        &self,
        caller: &Self::Caller,
        pending: Self::Pending,
        is_approved: bool,
    ) -> impl Future<Output = Result<Value, ToolError>> + Send;

    /// What a result says of a call that failed.
    fn message_of(&self, _: &Self::Caller, error: &ToolError) -> Value {
        json!({ "error": error })
    }

    /// Wakes whenever lists may have changed.
    fn changes(&self) -> Changes;

    /// Who an owner of kept pages is: what one caller left, no other gets.
    fn owner(&self, caller: &Self::Caller) -> String;
}

/// What came of a call.
pub(crate) enum Called<P> {
    /// It ran, or failed.
    Done(Result<Value, ToolError>),
    /// A person must confirm it first.
    Pending {
        /// What the model is told meanwhile.
        shown: Value,
        /// What the person is asked: connector, account, operation, arguments.
        question: String,
        /// The same for the same call, and no other's.
        state: String,
        pending: P,
    },
}

/// Counters of which each change may change lists.
pub(crate) struct Changes(pub(crate) Vec<watch::Receiver<u64>>);

impl Changes {
    /// Waits for the next change; for ever where none can come.
    pub(crate) async fn next(&mut self) {
        self.0.retain(|counter| counter.has_changed().is_ok());
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let mut waiting: Vec<_> = self.0.iter_mut().map(|counter| Box::pin(counter.changed())).collect();
        // One whose sender is gone ends the waiting as well; it is dropped at the next call.
        std::future::poll_fn(|cx| {
            match waiting.iter_mut().any(|change| change.as_mut().poll(cx).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// A tool, and where what it answers comes from.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    pub(crate) tool: Tool,
    pub(crate) integration: String,
    /// The connection's slug, where the name is bound to one.
    pub(crate) connection: Option<String>,
}

/// What a tool is made of.
pub(crate) struct Description<'d> {
    pub(crate) name: String,
    pub(crate) title: &'d str,
    pub(crate) description: Option<String>,
    pub(crate) is_write: bool,
    /// JSON Schema.
    pub(crate) input: &'d Value,
    /// JSON Schema of an object, where it is known.
    pub(crate) output: Option<Value>,
}

impl Description<'_> {
    pub(crate) fn tool(self) -> Tool {
        let mut annotations = ToolAnnotations::with_title(self.title)
            .read_only(!self.is_write)
            .destructive(self.is_write)
            .open_world(true);
        annotations.idempotent_hint = (!self.is_write).then_some(true);
        let mut input = object_schema(self.input);
        // What every manifest's schemas are, and what a client may not know.
        input.insert("$schema".to_owned(), JSON_SCHEMA.into());
        let input = Arc::new(input);
        let mut tool = Tool::new_with_raw(self.name, self.description.map(Into::into), input)
            .with_title(self.title)
            .with_annotations(annotations);
        tool.output_schema = self.output.map(|schema| {
            let mut schema = object_schema(&schema);
            // A pending call's answer and a result that was cut have none of what the whole result has, and clients check.
            schema.shift_remove("required");
            Arc::new(schema)
        });
        tool
    }
}

/// The schema as the protocol takes it: of an object, and saying so.
fn object_schema(schema: &Value) -> JsonObject {
    let mut members = schema.as_object().cloned().unwrap_or_default();
    members.entry("type").or_insert_with(|| json!("object"));
    members.entry("properties").or_insert_with(|| json!({}));
    members
}

/// Tools by name.
#[derive(Debug)]
pub(crate) struct ToolList {
    pub(crate) tools: Vec<Offered>,
    /// Differs where anything that clients are told of the tools does.
    pub(crate) digest: [u8; 32],
}

impl ToolList {
    pub(crate) fn new(mut tools: Vec<Offered>) -> Self {
        tools.sort_unstable_by(|one, other| one.tool.name.cmp(&other.tool.name));
        let mut hash = Sha256::new();
        for offered in &tools {
            let text = serde_json::to_vec(&offered.tool).unwrap_or_default();
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        Self { tools, digest: hash.finalize().into() }
    }

    /// The tool of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Offered> {
        let index = self.tools.binary_search_by(|offered| offered.tool.name.as_ref().cmp(name)).ok()?;
        self.tools.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(is_write: bool, output: Option<Value>) -> Tool {
        let description = Some("Does it.".to_owned());
        let (input, name) = (json!({"properties": {"a": {}}, "required": ["a"]}), "x__y".to_owned());
        Description { name, title: "Y", description, is_write, input: &input, output }.tool()
    }

    #[test]
    fn schemas_are_of_objects_and_hold_for_every_answer() {
        let output = json!({"type": "object", "properties": {"rows": {}}, "required": ["rows"]});
        let tool = serde_json::to_value(tool(true, Some(output))).unwrap();
        assert_eq!(tool["inputSchema"]["type"], "object");
        assert_eq!(tool["inputSchema"]["required"], json!(["a"]));
        assert_eq!(tool["outputSchema"], json!({"type": "object", "properties": {"rows": {}}}));
        assert_eq!(tool["annotations"]["destructiveHint"], true);
        assert_eq!(tool["annotations"].get("idempotentHint"), None);
    }

    #[test]
    fn lists_that_differ_in_anything_told_have_other_digests() {
        let offered = |tool: Tool| Offered { tool, integration: "x".to_owned(), connection: None };
        let digest = |tools: Vec<Tool>| ToolList::new(tools.into_iter().map(offered).collect()).digest;
        let one = digest(vec![tool(false, None)]);
        assert_eq!(one, digest(vec![tool(false, None)]));
        assert_ne!(one, digest(vec![tool(true, None)]));
        assert_ne!(one, digest(Vec::new()));
    }

    #[tokio::test]
    async fn each_counter_wakes_and_one_that_is_gone_does_no_harm() {
        let (one, other) = (watch::Sender::new(0), watch::Sender::new(0));
        let mut changes = Changes(vec![one.subscribe(), other.subscribe()]);
        other.send_modify(|n| *n += 1);
        changes.next().await;
        drop(other);
        one.send_modify(|n| *n += 1);
        changes.next().await;
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(20), changes.next()).await;
        assert!(nothing.is_err(), "nothing changed");
    }
}
