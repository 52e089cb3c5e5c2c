//! Which of the allowed shapes a file has, and where its parts are.

use std::collections::{HashMap, HashSet};

use swc_core::common::{BytePos, Spanned, SyntaxContext};
use swc_core::ecma::ast::{
    ArrowExpr, AssignExpr, AssignTarget, BindingIdent, Class, Decl, DefaultDecl, ExportSpecifier, Expr,
    Function, Id, Ident, MemberExpr, ModuleDecl, ModuleExportName, ModuleItem, ObjectLit, Pat, Program, Prop,
    PropName, PropOrSpread, SimpleAssignTarget, Stmt, TsModuleDecl, TsModuleName, VarDecl, VarDeclKind,
};
use swc_core::ecma::atoms::Atom;
use swc_core::ecma::visit::{Visit, VisitWith};

use super::Marks;
use super::error::Problems;

/// What a connector's file has to contain.
pub(super) const HELP: &str = "write `const connector = { testConnection, execute }`, or top-level functions `testConnection` and `execute`";
const ONE_SHAPE: &str = "keep one of the two";

/// The top-level names that hold the connector's parts: either the object's, or both functions'.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) connector: Option<Ident>,
    pub(super) execute: Option<Ident>,
    pub(super) test_connection: Option<Ident>,
}

/// Finds the shape of `program`, whose names are resolved, or reports why it has none. `default_name` will hold what
/// `export default` gives.
pub(super) fn find(
    program: &Program,
    marks: Marks,
    default_name: &Atom,
    problems: &mut Problems,
) -> Option<Entry> {
    let mut names = TopLevel::default();
    match program {
        Program::Module(module) => {
            for item in &module.body {
                names.read_item(
                    item,
                    &Ident::new(default_name.clone(), item.span(), marks.top_level_context()),
                );
            }
        }
        Program::Script(script) => script.body.iter().for_each(|stmt| names.read_stmt(stmt)),
    }
    let undeclared = program.is_script().then(|| marks.unresolved_context());
    program.visit_with(&mut HoistedNames { undeclared, names: &mut names });
    names.resolve_exports();
    names.entry(problems).or_else(|| {
        if problems.is_empty() {
            report_none(program, marks, problems);
        }
        None
    })
}

fn report_none(program: &Program, marks: Marks, problems: &mut Problems) {
    let mut exports = CommonJs { unresolved: marks.unresolved_context(), found: None };
    program.visit_with(&mut exports);
    match exports.found {
        Some(position) => {
            problems.add(position, "`module.exports` and `exports` don't exist here", Some(HELP));
        }
        None => problems.add(BytePos(1), "the code has no connector", Some(HELP)),
    }
}

/// A value that a name stands for.
#[derive(Clone)]
struct Binding<'a> {
    ident: Ident,
    position: BytePos,
    /// The expression that gives the value, where one does.
    init: Option<&'a Expr>,
    is_anonymous_function: bool,
}

/// The names of a file that could be a part of its shape.
#[derive(Default)]
struct TopLevel<'a> {
    bindings: HashMap<Atom, Binding<'a>>,
    /// What is exported under another name or apart from its declaration.
    exports: Vec<(Atom, Ident)>,
    default: Option<Binding<'a>>,
}

impl<'a> TopLevel<'a> {
    fn read_item(&mut self, item: &'a ModuleItem, default: &Ident) {
        match item {
            ModuleItem::Stmt(stmt) => self.read_stmt(stmt),
            ModuleItem::ModuleDecl(ModuleDecl::ExportDecl(export)) => self.read_decl(&export.decl),
            ModuleItem::ModuleDecl(ModuleDecl::ExportNamed(export)) if !export.type_only => {
                export.specifiers.iter().for_each(|specifier| self.read_specifier(specifier));
            }
            ModuleItem::ModuleDecl(ModuleDecl::ExportDefaultExpr(export)) => {
                self.default = Some(Binding { init: Some(&export.expr), ..Binding::new(default) });
            }
            ModuleItem::ModuleDecl(ModuleDecl::ExportDefaultDecl(export)) => {
                self.read_default(&export.decl, default);
            }
            ModuleItem::ModuleDecl(_) => {}
        }
    }

    /// Reads a default export that declares. A function with a name counts as that top-level function.
    fn read_default(&mut self, decl: &DefaultDecl, default: &Ident) {
        match decl {
            DefaultDecl::Fn(function) if function.function.body.is_some() => match &function.ident {
                Some(ident) => self.bind(ident, None),
                None => self.default = Some(Binding { is_anonymous_function: true, ..Binding::new(default) }),
            },
            DefaultDecl::Class(class) => {
                self.default = Some(Binding::new(class.ident.as_ref().unwrap_or(default)));
            }
            DefaultDecl::Fn(_) | DefaultDecl::TsInterfaceDecl(_) => {}
        }
    }

    fn read_stmt(&mut self, stmt: &'a Stmt) {
        if let Stmt::Decl(decl) = stmt {
            self.read_decl(decl);
        }
    }

    /// Reads a declaration of values; types and what is only declared have none.
    fn read_decl(&mut self, decl: &'a Decl) {
        match decl {
            Decl::Var(variables) if !variables.declare => self.read_variables(variables),
            Decl::Fn(function) if !function.declare && function.function.body.is_some() => {
                self.bind(&function.ident, None);
            }
            Decl::Class(class) if !class.declare => self.bind(&class.ident, None),
            Decl::TsEnum(constants) if !constants.declare => self.bind(&constants.id, None),
            Decl::TsModule(namespace) if !namespace.declare => {
                if let TsModuleName::Ident(ident) = &namespace.id {
                    self.bind(ident, None);
                }
            }
            _ => {}
        }
    }

    fn read_variables(&mut self, variables: &'a VarDecl) {
        for variable in &variables.decls {
            if let Pat::Ident(name) = &variable.name {
                self.bind(&name.id, variable.init.as_deref());
            } else {
                variable.name.visit_with(&mut PatternNames(self));
            }
        }
    }

    fn read_specifier(&mut self, specifier: &ExportSpecifier) {
        if let ExportSpecifier::Named(named) = specifier
            && let ModuleExportName::Ident(local) = &named.orig
            && !named.is_type_only
        {
            let exported = named.exported.as_ref().unwrap_or(&named.orig).atom().into_owned();
            self.exports.push((exported, local.clone()));
        }
    }

    fn bind(&mut self, ident: &Ident, init: Option<&'a Expr>) {
        let binding = || Binding { init, ..Binding::new(ident) };
        self.bindings.entry(ident.sym.clone()).or_insert_with(binding);
    }

    fn named(&self, name: &str) -> Option<&Binding<'a>> {
        self.bindings.get(&Atom::from(name))
    }

    /// Gives exported names what they stand for, and the default export the name that it repeats.
    fn resolve_exports(&mut self) {
        let repeated = self.default.as_ref().and_then(|default| match peel(default.init?) {
            Expr::Ident(ident) => self.bindings.get(&ident.sym).cloned(),
            _ => None,
        });
        self.default = repeated.or(self.default.take());
        let exported: Vec<_> = self.exports.drain(..).collect();
        let local = |(name, local): (Atom, Ident)| Some((name, self.bindings.get(&local.sym)?.clone()));
        for (name, binding) in exported.into_iter().filter_map(local).collect::<Vec<_>>() {
            if name == "default" {
                self.default = Some(binding);
            } else {
                self.bindings.insert(name, binding);
            }
        }
    }

    fn entry(&self, problems: &mut Problems) -> Option<Entry> {
        let execute = self.named("execute");
        let test_connection = self.named("testConnection");
        match (self.object(problems).ok()?, execute, test_connection) {
            (Some((object, name)), Some(execute), Some(test_connection))
                if !object.refers_to(&[&execute.ident, &test_connection.ident]) =>
            {
                let message =
                    format!("the code has both {name} and the functions `testConnection` and `execute`");
                problems.add(object.position, &message, Some(ONE_SHAPE));
                None
            }
            (Some((object, name)), ..) => {
                check_object(object, name, problems);
                Some(Entry { connector: Some(object.ident.clone()), ..Entry::default() })
            }
            (None, Some(execute), Some(test_connection)) => Some(Entry {
                execute: Some(execute.ident.clone()),
                test_connection: Some(test_connection.ident.clone()),
                connector: None,
            }),
            (None, Some(only), None) => report_missing("execute", "testConnection", only, problems),
            (None, None, Some(only)) => report_missing("testConnection", "execute", only, problems),
            (None, None, None) => None,
        }
    }

    /// The one object, if there is one, and what messages call it. Two are reported.
    fn object(&self, problems: &mut Problems) -> Result<Option<(&Binding<'a>, &'static str)>, ()> {
        let connector = self.named("connector");
        match (connector, &self.default) {
            (Some(connector), Some(default)) if connector.ident.to_id() != default.ident.to_id() => {
                let message = "the code has `connector` and another default export";
                problems.add(default.position, message, Some(ONE_SHAPE));
                Err(())
            }
            (Some(connector), _) => Ok(Some((connector, "`connector`"))),
            (None, Some(default)) => Ok(Some((default, "the default export"))),
            (None, None) => Ok(None),
        }
    }
}

impl Binding<'_> {
    fn new(ident: &Ident) -> Self {
        Self { ident: ident.clone(), position: ident.span.lo, init: None, is_anonymous_function: false }
    }

    /// Whether the value is made from all of these names: `{ testConnection, execute }` is no second shape.
    fn refers_to(&self, idents: &[&Ident]) -> bool {
        let Some(init) = self.init else { return false };
        let mut references = References::default();
        init.visit_with(&mut references);
        idents.iter().all(|ident| references.0.contains(&ident.to_id()))
    }
}

fn report_missing(
    present: &str,
    missing: &str,
    only: &Binding<'_>,
    problems: &mut Problems,
) -> Option<Entry> {
    let message = format!("the code has a function `{present}` but no `{missing}`");
    problems.add(only.position, &message, Some(HELP));
    None
}

/// Reports what an object that is written out lacks. One that is computed is checked when it exists.
fn check_object(object: &Binding<'_>, name: &str, problems: &mut Problems) {
    let not_an_object = format!("{name} is not an object with `testConnection` and `execute`");
    if object.is_anonymous_function {
        problems.add(object.position, &not_an_object, Some(HELP));
    }
    let Some(init) = object.init.map(peel) else { return };
    match init {
        Expr::Object(literal) => {
            let Some(keys) = plain_keys(literal) else { return };
            for key in ["testConnection", "execute"] {
                if !keys.contains(key) {
                    problems.add(literal.span.lo, &format!("{name} has no `{key}`"), Some(HELP));
                }
            }
        }
        Expr::Fn(_) | Expr::Arrow(_) | Expr::Lit(_) | Expr::Array(_) | Expr::Tpl(_) => {
            problems.add(init.span().lo, &not_an_object, Some(HELP));
        }
        _ => {}
    }
}

/// The keys of a literal, if all can be read from it.
fn plain_keys(literal: &ObjectLit) -> Option<HashSet<String>> {
    literal.props.iter().map(plain_key).collect()
}

fn plain_key(property: &PropOrSpread) -> Option<String> {
    let PropOrSpread::Prop(property) = property else { return None };
    let name = match &**property {
        Prop::Shorthand(ident) => return Some(ident.sym.to_string()),
        Prop::KeyValue(property) => &property.key,
        Prop::Getter(property) => &property.key,
        Prop::Setter(property) => &property.key,
        Prop::Method(property) => &property.key,
        Prop::Assign(_) => return None,
    };
    match name {
        PropName::Ident(ident) => Some(ident.sym.to_string()),
        PropName::Str(text) => Some(text.value.to_string_lossy().into_owned()),
        PropName::Num(number) => Some(number.value.to_string()),
        PropName::Computed(_) | PropName::BigInt(_) => None,
    }
}

/// The expression inside parentheses and type assertions.
fn peel(expr: &Expr) -> &Expr {
    let mut expr = expr;
    loop {
        expr = match expr {
            Expr::Paren(outer) => &outer.expr,
            Expr::TsAs(outer) => &outer.expr,
            Expr::TsSatisfies(outer) => &outer.expr,
            Expr::TsConstAssertion(outer) => &outer.expr,
            Expr::TsTypeAssertion(outer) => &outer.expr,
            Expr::TsNonNull(outer) => &outer.expr,
            inner => return inner,
        }
    }
}

#[derive(Default)]
struct References(HashSet<Id>);

impl Visit for References {
    fn visit_ident(&mut self, ident: &Ident) {
        self.0.insert(ident.to_id());
    }
}

/// Binds the names of a destructuring pattern.
struct PatternNames<'a, 'b>(&'b mut TopLevel<'a>);

impl Visit for PatternNames<'_, '_> {
    fn visit_binding_ident(&mut self, name: &BindingIdent) {
        self.0.bind(&name.id, None);
    }

    fn visit_expr(&mut self, _: &Expr) {}
}

/// Binds what becomes a top-level name although it stands deeper: each `var`, and in scripts names assigned undeclared.
struct HoistedNames<'a, 'b> {
    /// The context of undeclared names, where assigning to them makes a global.
    undeclared: Option<SyntaxContext>,
    names: &'b mut TopLevel<'a>,
}

impl Visit for HoistedNames<'_, '_> {
    fn visit_var_decl(&mut self, variables: &VarDecl) {
        if variables.kind == VarDeclKind::Var && !variables.declare {
            for variable in &variables.decls {
                variable.name.visit_with(&mut PatternNames(self.names));
            }
        }
        variables.visit_children_with(self);
    }

    fn visit_assign_expr(&mut self, assignment: &AssignExpr) {
        if let AssignTarget::Simple(SimpleAssignTarget::Ident(name)) = &assignment.left
            && self.undeclared == Some(name.id.ctxt)
        {
            self.names.bind(&name.id, None);
        }
        assignment.visit_children_with(self);
    }

    fn visit_function(&mut self, _: &Function) {}

    fn visit_arrow_expr(&mut self, _: &ArrowExpr) {}

    fn visit_class(&mut self, _: &Class) {}

    fn visit_ts_module_decl(&mut self, _: &TsModuleDecl) {}
}

/// Finds the first use of Node's export objects.
struct CommonJs {
    unresolved: SyntaxContext,
    found: Option<BytePos>,
}

impl Visit for CommonJs {
    fn visit_member_expr(&mut self, member: &MemberExpr) {
        member.visit_children_with(self);
        if let Expr::Ident(object) = &*member.obj
            && object.ctxt == self.unresolved
            && (object.sym == "exports" || object.sym == "module" && member.prop.is_ident_with("exports"))
        {
            self.found.get_or_insert(member.span.lo);
        }
    }
}
