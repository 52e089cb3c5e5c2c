//! Fills `default`s into arguments, and checks at load time that they fit their own schemas.

use serde_json::{Map, Value};

use super::graph::{Graph, MAX_STEPS, Node};
use super::keywords::visit;
use super::violations;
use crate::manifest::diagnostics::Finding;
use crate::manifest::words::join;

/// The most schemas visited, and the most bytes of defaults inserted, for one set of arguments.
const BUDGET: usize = 1 << 20;

/// The most defaults of one schema that are checked.
const MAX_CHECKED: usize = 200;

/// Inserts the default of each member that is missing. False if that takes too long or makes the arguments too large.
pub(super) fn fill(graph: &Graph, arguments: &mut Value) -> bool {
    Filler { graph, budget: BUDGET, inserting: Vec::new() }.visit(0, arguments, 0).is_some()
}

struct Filler<'a> {
    graph: &'a Graph,
    budget: usize,
    /// The schemas whose defaults are being completed. A recursive schema with a default would go on for ever.
    inserting: Vec<usize>,
}

impl Filler<'_> {
    /// None once past the budget.
    fn visit(&mut self, index: usize, value: &mut Value, depth: usize) -> Option<()> {
        self.spend(1)?;
        if depth > MAX_STEPS {
            return None;
        }
        let node = &self.graph.nodes[index];
        match value {
            Value::Object(members) => self.members(node, members, depth)?,
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let Some(inner) = node.prefix.get(index).or(node.items.as_ref()) {
                        self.visit(*inner, item, depth + 1)?;
                    }
                }
            }
            _ => {}
        }
        node.always.iter().try_for_each(|inner| self.visit(*inner, value, depth + 1))
    }

    fn members(&mut self, node: &Node, members: &mut Map<String, Value>, depth: usize) -> Option<()> {
        for (name, inner) in &node.properties {
            if let Some(member) = members.get_mut(name) {
                self.visit(*inner, member, depth + 1)?;
            } else if let Some((owner, default)) = default_of(self.graph, *inner)
                && !self.inserting.contains(&owner)
            {
                self.spend(size_of_value(default))?;
                let mut default = default.clone();
                self.inserting.push(owner);
                self.visit(*inner, &mut default, depth + 1)?;
                self.inserting.pop();
                members.insert(name.clone(), default);
            }
        }
        Some(())
    }

    fn spend(&mut self, amount: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(amount)?;
        Some(())
    }
}

/// A schema's own default, or that of the first schema that it refers to.
fn default_of(graph: &Graph, mut index: usize) -> Option<(usize, &Value)> {
    loop {
        let node = &graph.nodes[index];
        if let Some(default) = &node.default {
            return Some((index, default));
        }
        index = *node.always.first()?;
    }
}

/// About the bytes that a value takes.
fn size_of_value(value: &Value) -> usize {
    let each = size_of::<Value>();
    match value {
        Value::String(text) => each + text.len(),
        Value::Array(items) => each + items.iter().map(size_of_value).sum::<usize>(),
        Value::Object(members) => {
            each + members.iter().map(|(name, member)| name.len() + size_of_value(member)).sum::<usize>()
        }
        _ => each,
    }
}

/// Warns of each default that its own schema refuses: a call without that argument would always fail. Looks at schemas
/// that refer to no others, and at the first [`MAX_CHECKED`] of these.
pub(super) fn check_defaults(schema: &Value, graph: &Graph, findings: &mut Vec<Finding>) {
    let with_default =
        graph.nodes.iter().enumerate().filter_map(|(index, node)| Some((index, node, node.default.clone()?)));
    for (index, node, mut default) in with_default.take(MAX_CHECKED) {
        let Some(owner) = schema.pointer(&node.pointer).filter(|owner| !refers(owner)) else { continue };
        let Ok(validator) = super::options().build(owner) else { continue };
        let filled = Filler { graph, budget: BUDGET, inserting: vec![index] }.visit(index, &mut default, 0);
        if filled.is_none() {
            continue;
        }
        for violation in violations(validator.iter_errors(&default), owner).into_iter().take(3) {
            let message = format!("the default doesn't fit its own schema: {violation}");
            findings.push(Finding::warning(join(&node.pointer, "default"), message));
        }
    }
}

/// Whether a schema can't be understood without those around it.
fn refers(schema: &Value) -> bool {
    let mut found = false;
    visit(schema, &mut String::new(), &mut |schema, _| {
        found |= schema.contains_key("$ref") || schema.contains_key("$dynamicRef");
    });
    found
}
