//! Tells placeholders from what else begins with `@`: variables, the names of a procedure's arguments, and operators.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::Dialect::{self, Mssql, Mysql, Postgres, Sqlite};
use super::lexer::{Kind, Token};
use super::problems::{Problems, shown};
use super::usage::{Use, uses};
use crate::manifest::nearest;

/// PostgreSQL's operators that end in `@`, and those of its extensions.
const ENDING_IN_AT: &[&str] = &["<@", "^@", "@-@", "?@", "?<@", "^<@", "~@", "#@", "|@", "&@"];

/// PostgreSQL's operators before which a value can stand without white space. With an `@` behind it each would be an
/// operator that nobody has.
const BEFORE_A_VALUE: &[&str] = &[
    "=", "<", ">", "<=", ">=", "<>", "!=", "=>", "+", "-", "*", "/", "%", "||", "->", "->>", "#>", "#>>",
    "!~",
];

/// How many unknown names of a query are compared with all known ones.
const MOST_COMPARED: usize = 10;

/// The shortest name that can be taken for the misspelling of another.
const SHORTEST_MISSPELT: usize = 3;

/// The longest name that is compared character by character.
const LONGEST_MISSPELT: usize = 64;

/// A placeholder in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<'t> {
    /// Where it stands in the text, in bytes, the `@` included.
    pub(super) range: Range<usize>,
    pub(super) name: &'t str,
}

/// Finds the placeholders among the tokens that are code, in the order of the text.
pub(super) fn placeholders<'t>(
    dialect: Dialect,
    code: &[Token<'t>],
    names: &[&str],
    problems: &mut Problems,
) -> Vec<Found<'t>> {
    let uses = uses(dialect, code);
    let variables = || (0..code.len()).filter(|&index| code[index].kind == Kind::Variable);
    let assigned = variables()
        .filter(|&index| uses[index] == Use::Assigned)
        .map(|index| name_of(&code[index]).to_lowercase())
        .collect();
    let mut finder = Finder {
        dialect,
        names: Names::new(names),
        assigned,
        unknown: HashSet::new(),
        n_compared: 0,
        found: Vec::new(),
        problems,
    };
    for index in variables() {
        let before = index.checked_sub(1).map(|index| &code[index]);
        let before = before.filter(|before| before.end() == code[index].start);
        finder.look_at(&code[index], before, uses[index]);
    }
    finder.found
}

/// The parameters' names.
struct Names<'n> {
    all: &'n [&'n str],
    exact: HashSet<&'n str>,
    by_lower_case: HashMap<String, &'n str>,
}

impl<'n> Names<'n> {
    fn new(all: &'n [&'n str]) -> Self {
        let exact = all.iter().copied().collect();
        Self { all, exact, by_lower_case: all.iter().map(|name| (name.to_lowercase(), *name)).collect() }
    }
}

struct Finder<'t, 'n, 'p> {
    dialect: Dialect,
    names: Names<'n>,
    /// The variables that the text declares or assigns, in lower case.
    assigned: HashSet<String>,
    /// The names that are no parameter's, and were reported or found to be variables.
    unknown: HashSet<&'t str>,
    /// How many of them were compared with all known ones.
    n_compared: usize,
    found: Vec<Found<'t>>,
    problems: &'p mut Problems,
}

impl<'t> Finder<'t, '_, '_> {
    /// Decides about one `@name`; `before` is the token that it touches.
    fn look_at(&mut self, token: &Token<'t>, before: Option<&Token<'_>>, use_: Use) {
        let name = name_of(token);
        let is_known = self.names.exact.contains(name);
        if use_ == Use::Argument {
            return;
        }
        if before.is_some_and(|before| self.sticks_to(before)) {
            return self.stuck(token, is_known);
        }
        let operator = before.filter(|before| before.kind == Kind::Operator).map(|before| before.text);
        if operator.is_some_and(is_ending_in_at) {
            if is_known {
                self.ambiguous(token, operator.unwrap_or_default());
            }
            return;
        }
        match (is_known, use_) {
            (true, Use::Assigned) => self.assigned_parameter(token),
            (true, _) => self.found.push(Found { range: token.start..token.end(), name }),
            (false, _) => self.unknown(token, operator),
        }
    }

    /// Whether `@name` right after the token belongs to it, as in `user@host`.
    fn sticks_to(&self, before: &Token<'_>) -> bool {
        match before.kind {
            Kind::Word | Kind::Name => !(self.dialect == Mssql && before.kind == Kind::Name),
            Kind::Literal => self.dialect == Mysql,
            _ => self.dialect == Postgres && before.is("$"),
        }
    }

    fn stuck(&mut self, token: &Token<'t>, is_known: bool) {
        let text = shown(token.text);
        if self.dialect == Sqlite {
            let message = format!("{text} is no placeholder here, since it touches the word before it");
            self.problems.error_with_help(token.start, message, "write a space before it");
        } else if is_known {
            let message = format!("{text} is left alone here, since it touches the word before it");
            self.problems.warning(token.start, message, "write a space before it to make it a placeholder");
        }
    }

    fn ambiguous(&mut self, token: &Token<'t>, operator: &str) {
        let text = shown(token.text);
        let at = token.start - operator.len();
        let message =
            format!("{operator}{text} is ambiguous: the operator {operator}@, or {operator} before {text}");
        let help = format!(
            "write {operator} {text} for the parameter, or {operator}@ {} for the operator",
            shown(name_of(token))
        );
        self.problems.error_with_help(at, message, help);
    }

    fn assigned_parameter(&mut self, token: &Token<'t>) {
        let text = shown(token.text);
        let message = format!("{text} is a parameter: the query can't declare or assign it");
        self.problems.error_with_help(token.start, message, "rename the variable");
    }

    /// An `@name` that is no parameter's: a mistake, or something that the database knows.
    fn unknown(&mut self, token: &Token<'t>, operator: Option<&str>) {
        let name = name_of(token);
        let could_be_meant = match self.dialect {
            Sqlite => true,
            // `@5` is the operator @, which gives an absolute value.
            Postgres if name.starts_with(|c: char| c.is_ascii_digit()) => false,
            Postgres => operator.is_none_or(|operator| BEFORE_A_VALUE.contains(&operator)),
            Mssql | Mysql => true,
        };
        if !could_be_meant || !self.unknown.insert(name) {
            return;
        }
        if self.dialect == Mssql && is_bound_name(name) {
            self.bound_name(token);
        } else if matches!(self.dialect, Mssql | Mysql) {
            self.maybe_misspelt(token);
        } else {
            let message = format!("{} is no parameter of the operation", shown(token.text));
            let help = self.help_for_unknown(name);
            self.problems.error_with_help(token.start, message, help);
        }
    }

    /// Whether one more name may be compared with all known ones.
    fn may_compare(&mut self) -> bool {
        self.n_compared += 1;
        self.n_compared <= MOST_COMPARED
    }

    fn help_for_unknown(&mut self, name: &str) -> String {
        if self.may_compare()
            && let Some(meant) = nearest(name, self.names.all.iter().copied())
        {
            return format!("did you mean @{meant}? If not, add \"{name}\" to parametersSchema.properties");
        }
        let name = shown(name);
        let add = format!("add \"{name}\" to parametersSchema.properties");
        match self.dialect {
            Postgres => format!("{add}, or write @ {name} for the operator @"),
            _ => add,
        }
    }

    /// T-SQL's @P1, @P2 and so on.
    fn bound_name(&mut self, token: &Token<'t>) {
        let message = format!(
            "{} is taken: the values of parameters are bound as @P1, @P2 and so on",
            shown(token.text)
        );
        self.problems.error_with_help(token.start, message, "rename the variable");
    }

    /// Warns of a variable that is nearly a parameter.
    fn maybe_misspelt(&mut self, token: &Token<'t>) {
        let name = name_of(token);
        let text = shown(token.text);
        let lower = name.to_lowercase();
        let same = self.names.by_lower_case.get(&lower).copied();
        let may_compare = same.is_none() && !self.assigned.contains(&lower) && self.may_compare();
        let mut near =
            self.names.all.iter().copied().filter(|known| may_compare && is_one_edit_away(name, known));
        let Some(meant) = same.or_else(|| near.next()) else { return };
        let message = format!("{text} is no parameter, and left alone as a variable");
        self.problems.warning(token.start, message, format!("did you mean @{meant}?"));
    }
}

fn name_of<'t>(token: &Token<'t>) -> &'t str {
    token.text.strip_prefix('@').unwrap_or(token.text)
}

fn is_ending_in_at(operator: &str) -> bool {
    ENDING_IN_AT.iter().any(|known| known.strip_suffix('@') == Some(operator))
}

/// Whether values are bound under that name in T-SQL.
fn is_bound_name(name: &str) -> bool {
    let digits = name.strip_prefix(['P', 'p']).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_one_edit_away(name: &str, known: &str) -> bool {
    let (n, n_known) = (name.chars().count(), known.chars().count());
    n.min(n_known) >= SHORTEST_MISSPELT
        && n.abs_diff(n_known) <= 1
        && n <= LONGEST_MISSPELT
        && strsim::damerau_levenshtein(name, known) == 1
}
