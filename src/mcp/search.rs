//! Many tools: instead of all of them a client gets one that finds tools and one that calls them.

use std::sync::Arc;

use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::result::READ_MORE;
use super::toolbox::{Offered, ToolList};

/// Tools that are listed as they are, unless a client asks for a search.
pub(super) const MAX_LISTED: usize = 100;

pub(super) const FIND_TOOLS: &str = "find_tools";
pub(super) const CALL_TOOL: &str = "call_tool";
/// Tools that a search finds, unless it asks for another number.
const DEFAULT_FOUND: u64 = 10;
const MAX_FOUND: u64 = 50;

/// The tools that stand for all others.
pub(super) fn tools() -> Vec<Tool> {
    let find = json!({
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What the tool should do, in a few words."},
            "limit": {"type": "integer", "minimum": 1, "maximum": MAX_FOUND, "default": DEFAULT_FOUND},
        },
        "required": ["query"],
    });
    let call = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "The tool's name, as find_tools gives it."},
            "arguments": {"type": "object", "description": "Its arguments, as its inputSchema says."},
        },
        "required": ["name"],
    });
    let find_says =
        "Finds tools by what they do: names, descriptions and input schemas, the best match first.";
    let call_says =
        "Calls a tool that find_tools found. Whether it changes something, its own annotations say.";
    vec![
        built_in(CALL_TOOL, "Call a tool", call_says, call, false),
        built_in(FIND_TOOLS, "Find tools", find_says, find, true),
    ]
}

/// The tool that reads the rest of a result that was cut.
pub(super) fn read_more() -> Tool {
    let schema = json!({
        "type": "object",
        "properties": {"cursor": {"type": "string", "description": "From the answer that was cut."}},
        "required": ["cursor"],
    });
    let says = "Reads on in a result that was too long for one answer and says so with a cursor.";
    built_in(READ_MORE, "Read more", says, schema, true)
}

fn built_in(
    name: &'static str,
    title: &str,
    description: &'static str,
    schema: Value,
    is_read: bool,
) -> Tool {
    let schema = Arc::new(schema.as_object().cloned().unwrap_or_default());
    let annotations = ToolAnnotations::with_title(title).read_only(is_read).destructive(!is_read);
    Tool::new(name, description, schema).with_title(title).with_annotations(annotations.open_world(!is_read))
}

/// The tools that match a query, the best first: `{count, tools: [{name, title, description, inputSchema, annotations}]}`.
pub(super) fn find(list: &ToolList, query: &str, limit: Option<u64>) -> Value {
    let limit = usize::try_from(limit.unwrap_or(DEFAULT_FOUND).clamp(1, MAX_FOUND)).unwrap_or(usize::MAX);
    let words: Vec<String> = words(query).collect();
    let mut found: Vec<(f64, &Offered)> =
        scores(list, &words).into_iter().filter(|(score, _)| *score > 0.0).collect();
    // The list is by name, and the sort is stable: equals stand in that order.
    found.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let n_found = found.len();
    let tools: Vec<Value> = found.into_iter().take(limit).map(|(_, offered)| json!(offered.tool)).collect();
    json!({"count": tools.len(), "matches": n_found, "of": list.tools.len(), "tools": tools})
}

/// How well each tool matches: for each word of the query, more the rarer it is among all tools (BM25's weight), and more in
/// the name and title than in the description. A word also matches what begins with it, for less.
fn scores<'l>(list: &'l ToolList, query: &[String]) -> Vec<(f64, &'l Offered)> {
    let documents: Vec<Document> = list.tools.iter().map(Document::of).collect();
    let mut scores = vec![0.0; documents.len()];
    for word in query {
        let matches: Vec<f64> = documents.iter().map(|document| document.matches(word)).collect();
        let n_matching = matches.iter().filter(|score| **score > 0.0).count();
        let (all, matching) = (count(documents.len()), count(n_matching));
        let rarity = (1.0 + (all - matching + 0.5) / (matching + 0.5)).ln();
        for (score, own) in scores.iter_mut().zip(matches) {
            *score += own * rarity;
        }
    }
    scores.into_iter().zip(&list.tools).collect()
}

#[allow(clippy::cast_precision_loss, reason = "nobody has 2^52 tools")]
fn count(n: usize) -> f64 {
    n as f64
}

/// A tool's words.
struct Document {
    name: Vec<String>,
    description: Vec<String>,
}

impl Document {
    fn of(offered: &Offered) -> Self {
        let tool = &offered.tool;
        let name = words(&tool.name).chain(tool.title.as_deref().into_iter().flat_map(words));
        let description = tool.description.as_deref().into_iter().flat_map(words);
        Self { name: name.collect(), description: description.collect() }
    }

    fn matches(&self, word: &str) -> f64 {
        let best = |words: &[String]| {
            let scores = words.iter().map(|own| match own.strip_prefix(word) {
                Some("") => 1.0,
                Some(_) if word.len() >= 3 => 0.5,
                _ => 0.0,
            });
            scores.fold(0.0, f64::max)
        };
        // A long description mentions much.
        let length = 1.0 + count(self.description.len()) / 100.0;
        3.0 * best(&self.name) + best(&self.description) / length
    }
}

/// Words in lower case: at `_`, `-` and the like, and where a capital letter follows a small one, a new one begins.
fn words(text: &str) -> impl Iterator<Item = String> + use<'_> {
    text.split(|c: char| !c.is_alphanumeric()).flat_map(|part| {
        let mut words: Vec<String> = Vec::new();
        let mut was_small = true;
        for c in part.chars() {
            if words.is_empty() || c.is_uppercase() && was_small {
                words.push(String::new());
            }
            was_small = !c.is_uppercase();
            if let Some(last) = words.last_mut() {
                last.extend(c.to_lowercase());
            }
        }
        words
    })
}

#[cfg(test)]
mod tests {
    use super::super::toolbox::Description;
    use super::*;

    fn list(tools: &[(&str, &str)]) -> ToolList {
        let offered = tools.iter().map(|(name, description)| {
            let description = Some((*description).to_owned());
            let name = (*name).to_owned();
            let tool = Description {
                name,
                title: "",
                description,
                is_write: false,
                input: &json!({}),
                output: None,
            }
            .tool();
            Offered { tool, integration: "desk".to_owned(), connection: None }
        });
        ToolList::new(offered.collect())
    }

    fn names(found: &Value) -> Vec<&str> {
        let tools = found["tools"].as_array().unwrap();
        tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn names_go_before_descriptions_and_rare_words_before_common_ones() {
        let list = list(&[
            ("crm__listPeople", "Lists people of the company."),
            ("crm__find_company", "Finds one by its domain."),
            ("mail__send", "Sends a mail to people."),
            ("mail__list_drafts", "Lists drafts."),
        ]);
        assert_eq!(names(&find(&list, "list people", None))[0], "crm__listPeople");
        assert_eq!(names(&find(&list, "Company", None)), ["crm__find_company", "crm__listPeople"]);
        assert_eq!(names(&find(&list, "draft", None)), ["mail__list_drafts"]);
        assert_eq!(names(&find(&list, "people", Some(1))).len(), 1);
        let nothing = find(&list, "weather", None);
        assert_eq!((nothing["count"].as_u64(), nothing["of"].as_u64()), (Some(0), Some(4)));
    }

    #[test]
    fn words_are_split_where_names_are_put_together() {
        assert_eq!(
            words("crm__listPeople-HTTP x2").collect::<Vec<_>>(),
            ["crm", "list", "people", "http", "x2"]
        );
    }
}
