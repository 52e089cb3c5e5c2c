//! A schema as a graph: which schema leads to which, by nesting and by `$ref`. It shows that validating ends, bounds what
//! it costs, and says where defaults go.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::keywords::{Role, inner};
use crate::manifest::diagnostics::Finding;
use crate::manifest::words::{join, nearest, pointer_segments, push_segment, quote};

/// The most schemas that one parametersSchema may hold.
pub(super) const MAX_SCHEMAS: usize = 10_000;

/// The longest JSON pointer to a schema inside it, in bytes.
const MAX_POINTER: usize = 1_000;

/// The most pairs of a schema and a value that checking arguments may visit.
const MAX_VISITS: u64 = 500_000;

/// The longest way from a schema to those it leads to, value by value, that checking arguments may take. The validator
/// recurses along it; this fits a stack of 2 MB in a debug build, twice over.
pub(super) const MAX_STEPS: usize = 500;

/// The schemas of a parametersSchema; the first is the whole.
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    has_references: bool,
}

/// One schema, and those that it leads to.
#[derive(Default)]
pub(super) struct Node {
    /// Where it stands; empty once the graph is checked.
    pub(super) pointer: String,
    /// Applied to the same value, always.
    pub(super) always: Vec<usize>,
    /// Applied to the same value, or under a condition.
    pub(super) sometimes: Vec<usize>,
    pub(super) properties: Vec<(String, usize)>,
    pub(super) prefix: Vec<usize>,
    pub(super) items: Option<usize>,
    any_child: Vec<usize>,
    pub(super) default: Option<Value>,
    references: Vec<(&'static str, String)>,
}

impl Node {
    fn in_place(&self) -> impl Iterator<Item = usize> + '_ {
        self.always.iter().chain(&self.sometimes).copied()
    }
}

impl Graph {
    /// Reads the graph of a normalised schema. Reports references that lead outside, nowhere, or in a circle. None if the
    /// schema is past the limits, which is reported too.
    pub(super) fn build(schema: &Value, findings: &mut Vec<Finding>) -> Option<Self> {
        let mut builder = Builder::default();
        if let Err(finding) = builder.add(schema, &mut String::new()) {
            findings.push(finding);
            return None;
        }
        let mut graph = Self { nodes: builder.nodes, has_references: false };
        graph.resolve_references(&builder.by_pointer, &builder.anchors, findings);
        graph.report_cycles(findings);
        Some(graph)
    }

    /// The same graph without what only messages need.
    pub(super) fn without_pointers(mut self) -> Self {
        for node in &mut self.nodes {
            node.pointer = String::new();
            node.references = Vec::new();
        }
        self
    }

    fn resolve_references(
        &mut self,
        by_pointer: &HashMap<String, usize>,
        anchors: &HashMap<String, usize>,
        findings: &mut Vec<Finding>,
    ) {
        let mut candidates: Vec<_> = by_pointer.keys().filter(|pointer| is_definition(pointer)).collect();
        candidates.sort_unstable();
        for node in &mut self.nodes {
            for (keyword, reference) in &node.references {
                self.has_references = true;
                match target(reference, by_pointer, anchors) {
                    Ok(target) => node.always.push(target),
                    Err(message) => {
                        let meant = nearest_definition(reference, &candidates);
                        findings
                            .push(Finding::error(join(&node.pointer, keyword), message).maybe_help(meant));
                    }
                }
            }
        }
    }

    /// A circle of schemas that are all applied to the same value: validating it would never end. What is left after
    /// taking away, again and again, every schema that leads nowhere or that none leads to, is part of one.
    fn report_cycles(&self, findings: &mut Vec<Finding>) {
        let n_nodes = self.nodes.len();
        let mut incoming: Vec<Vec<usize>> = vec![Vec::new(); n_nodes];
        for (from, node) in self.nodes.iter().enumerate() {
            node.in_place().for_each(|to| incoming[to].push(from));
        }
        let outgoing: Vec<Vec<usize>> = self.nodes.iter().map(|node| node.in_place().collect()).collect();
        let without_sinks = peel(&outgoing, &incoming, vec![true; n_nodes]);
        let left = peel(&incoming, &outgoing, without_sinks);
        for (index, node) in self.nodes.iter().enumerate().filter(|(index, _)| left[*index]) {
            if let Some((keyword, reference)) = node.references.first() {
                let message = format!(
                    "{} leads back here without going through a property or an item, so checking would never end",
                    quote(reference)
                );
                let finding = Finding::error(join(&self.nodes[index].pointer, keyword), message);
                findings.push(
                    finding.help("a recursive schema refers to itself from \"properties\" or \"items\""),
                );
            }
        }
    }

    /// Whether checking `value` by this schema stays within bounds. A schema without references takes as long as it is
    /// long; with them, a small one can take exponential time in how deep the value nests.
    pub(super) fn can_afford(&self, value: &Value) -> bool {
        let mut estimate = Estimate { graph: self, seen: HashMap::new() };
        !self.has_references || estimate.visits(0, value, 0).is_some()
    }
}

/// Takes away, again and again, the nodes all of whose `forward` neighbours are gone.
fn peel(forward: &[Vec<usize>], backward: &[Vec<usize>], mut left: Vec<bool>) -> Vec<bool> {
    let mut n_forward: Vec<usize> =
        forward.iter().map(|targets| targets.iter().filter(|target| left[**target]).count()).collect();
    let mut ready: Vec<usize> =
        (0..forward.len()).filter(|node| left[*node] && n_forward[*node] == 0).collect();
    while let Some(node) = ready.pop() {
        left[node] = false;
        for &before in &backward[node] {
            n_forward[before] -= 1;
            if left[before] && n_forward[before] == 0 {
                ready.push(before);
            }
        }
    }
    left
}

/// Counts the visits that a validator without memory makes, with the help of one.
struct Estimate<'a> {
    graph: &'a Graph,
    /// By schema and the value's address; the value stands still meanwhile.
    seen: HashMap<(usize, usize), u64>,
}

impl Estimate<'_> {
    /// None past a bound.
    fn visits(&mut self, node: usize, value: &Value, steps: usize) -> Option<u64> {
        if steps > MAX_STEPS {
            return None;
        }
        let key = (node, std::ptr::from_ref(value).addr());
        if let Some(known) = self.seen.get(&key) {
            return Some(*known);
        }
        let mut total = 1_u64;
        for (inner, value) in leads_to(&self.graph.nodes[node], value) {
            total = total.checked_add(self.visits(inner, value, steps + 1)?)?;
        }
        self.seen.insert(key, total);
        (total <= MAX_VISITS).then_some(total)
    }
}

/// The pairs of a schema and a value that checking `value` by `node` goes on to. Conditions are taken to hold, and a
/// schema for some children to be for all.
fn leads_to<'v>(node: &Node, value: &'v Value) -> Vec<(usize, &'v Value)> {
    let mut pairs: Vec<_> = node.in_place().map(|inner| (inner, value)).collect();
    match value {
        Value::Object(members) => {
            pairs.extend(
                node.properties.iter().filter_map(|(name, inner)| Some((*inner, members.get(name)?))),
            );
            pairs.extend(
                members.values().flat_map(|member| node.any_child.iter().map(move |inner| (*inner, member))),
            );
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let own = node.prefix.get(index).or(node.items.as_ref());
                pairs.extend(own.into_iter().chain(&node.any_child).map(|inner| (*inner, item)));
            }
        }
        _ => {}
    }
    pairs
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    by_pointer: HashMap<String, usize>,
    anchors: HashMap<String, usize>,
}

impl Builder {
    /// Adds a schema and those inside it. A parsed config.json bounds the recursion.
    fn add(&mut self, schema: &Value, pointer: &mut String) -> Result<usize, Finding> {
        let index = self.nodes.len();
        if index == MAX_SCHEMAS {
            return Err(Finding::error("", format!("holds more than {MAX_SCHEMAS} schemas")));
        }
        if pointer.len() > MAX_POINTER {
            let shown = &pointer[..pointer.floor_char_boundary(80)];
            let message =
                format!("the schema at {}… lies too deep, or under names that are too long", quote(shown));
            return Err(Finding::error("", message));
        }
        self.nodes.push(Node { pointer: pointer.clone(), ..Node::default() });
        self.by_pointer.insert(pointer.clone(), index);
        if let Value::Object(members) = schema {
            self.add_anchors(members, index);
            self.nodes[index].default = members.get("default").cloned();
            self.nodes[index].references = references(members);
            self.add_inner(members, index, pointer)?;
        }
        Ok(index)
    }

    fn add_inner(
        &mut self,
        members: &Map<String, Value>,
        index: usize,
        pointer: &mut String,
    ) -> Result<(), Finding> {
        for found in inner(members) {
            let length = pointer.len();
            push_segment(pointer, found.keyword);
            found.segment.iter().for_each(|segment| push_segment(pointer, segment));
            let added = self.add(found.schema, pointer)?;
            pointer.truncate(length);
            let node = &mut self.nodes[index];
            match found.role {
                Role::Always => node.always.push(added),
                Role::InPlace => node.sometimes.push(added),
                Role::Property => node.properties.push((found.segment.unwrap_or_default(), added)),
                Role::Prefix => node.prefix.push(added),
                Role::Items => node.items = Some(added),
                Role::AnyChild => node.any_child.push(added),
                Role::Definition => {}
            }
        }
        Ok(())
    }

    fn add_anchors(&mut self, members: &Map<String, Value>, index: usize) {
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = members.get(keyword).and_then(Value::as_str) {
                self.anchors.insert(anchor.to_owned(), index);
            }
        }
    }
}

fn references(members: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let reference = |keyword| Some((keyword, members.get(keyword)?.as_str()?.to_owned()));
    ["$ref", "$dynamicRef"].into_iter().filter_map(reference).collect()
}

/// The schema that a reference names. There is one base and each anchor stands once, so a dynamic one is like any.
fn target(
    reference: &str,
    by_pointer: &HashMap<String, usize>,
    anchors: &HashMap<String, usize>,
) -> Result<usize, String> {
    let Some(fragment) = reference.strip_prefix('#') else {
        return Err(format!(
            "{} leads outside this schema, and nothing is ever fetched: put it under \"$defs\" and refer to \"#/$defs/…\"",
            quote(reference)
        ));
    };
    let nowhere = || format!("{} names no schema inside parametersSchema", quote(reference));
    let fragment = percent_decoded(fragment).ok_or_else(nowhere)?;
    let found = if fragment.is_empty() || fragment.starts_with('/') {
        let mut pointer = String::new();
        pointer_segments(&fragment).for_each(|segment| push_segment(&mut pointer, &segment));
        by_pointer.get(&pointer)
    } else {
        anchors.get(&fragment)
    };
    found.copied().ok_or_else(nowhere)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn is_definition(pointer: &str) -> bool {
    pointer.starts_with("/$defs/") || pointer.starts_with("/definitions/")
}

fn nearest_definition(reference: &str, candidates: &[&String]) -> Option<String> {
    let name = reference.rsplit('/').next()?;
    let names = candidates.iter().filter_map(|pointer| pointer.rsplit('/').next());
    let same = candidates.iter().find(|pointer| pointer.rsplit('/').next() == Some(name));
    let meant = match same {
        Some(pointer) => pointer,
        None => {
            let meant = nearest(name, names)?;
            candidates.iter().find(|pointer| pointer.rsplit('/').next() == Some(meant))?
        }
    };
    Some(format!("did you mean {}?", quote(&format!("#{meant}"))))
}
