//! What the language has and a connector hasn't: other modules, decorators, what the engine can't run.

use std::collections::HashSet;

use swc_core::common::{BytePos, Spanned, SyntaxContext};
use swc_core::ecma::ast::{
    AutoAccessor, CallExpr, Callee, Decorator, ExportAll, ExportSpecifier, Expr, Ident, ImportDecl,
    ImportSpecifier, MetaPropExpr, MetaPropKind, ModuleDecl, ModuleItem, NamedExport, Program, TsEntityName,
    TsExportAssignment, TsExprWithTypeArgs, TsImportEqualsDecl, TsModuleRef, UsingDecl,
};
use swc_core::ecma::atoms::Atom;
use swc_core::ecma::visit::{Visit, VisitWith};

use super::error::Problems;
use super::{Language, Marks};

const ONE_FILE: &str = "a connector is one file; there is nothing to import";

/// Reports everything in `program` that a connector can't have.
pub(super) fn check(program: &Program, language: Language, marks: Marks, problems: &mut Problems) {
    let mut types = TypeNames::default();
    if language == Language::TypeScript {
        program.visit_with(&mut types);
    }
    let unresolved = marks.unresolved_context();
    program.visit_with(&mut Refuser { types: types.0, unresolved, problems });
}

/// Reports the imports that erasing types left behind, because a value of theirs is used.
pub(super) fn check_imports_left(program: &Program, problems: &mut Problems) {
    let Program::Module(module) = program else { return };
    for item in &module.body {
        if let ModuleItem::ModuleDecl(ModuleDecl::Import(import)) = item {
            refuse_import(import, problems);
        }
    }
}

fn refuse_import(import: &ImportDecl, problems: &mut Problems) {
    let message = format!("can't import \"{}\"", import.src.value.to_string_lossy());
    problems.add(import.span.lo, &message, Some(ONE_FILE));
}

/// The names that stand where a type is expected.
#[derive(Default)]
struct TypeNames(HashSet<Atom>);

impl Visit for TypeNames {
    fn visit_ts_entity_name(&mut self, name: &TsEntityName) {
        let mut name = name;
        while let TsEntityName::TsQualifiedName(qualified) = name {
            name = &qualified.left;
        }
        if let TsEntityName::Ident(ident) = name {
            self.0.insert(ident.sym.clone());
        }
    }

    fn visit_ts_expr_with_type_args(&mut self, base: &TsExprWithTypeArgs) {
        let mut expr = &*base.expr;
        while let Expr::Member(member) = expr {
            expr = &member.obj;
        }
        if let Expr::Ident(ident) = expr {
            self.0.insert(ident.sym.clone());
        }
        base.type_args.visit_with(self);
    }
}

struct Refuser<'a> {
    types: HashSet<Atom>,
    unresolved: SyntaxContext,
    problems: &'a mut Problems,
}

impl Refuser<'_> {
    fn refuse(&mut self, position: BytePos, message: &str, help: &str) {
        self.problems.add(position, message, Some(help));
    }

    /// An import of types alone is erased. TypeScript erases unused imports too, but those are refused: they are a mistake.
    fn is_erased(&self, import: &ImportDecl) -> bool {
        let of_types = |specifier: &ImportSpecifier| specifier.is_type_only();
        let specifiers = &import.specifiers;
        import.type_only
            || (!specifiers.is_empty() && specifiers.iter().all(of_types))
            || specifiers.iter().any(|specifier| self.types.contains(&specifier.local().sym))
    }

    fn is_require(&self, ident: &Ident) -> bool {
        ident.sym == "require" && ident.ctxt == self.unresolved
    }
}

impl Visit for Refuser<'_> {
    fn visit_import_decl(&mut self, import: &ImportDecl) {
        if !self.is_erased(import) {
            refuse_import(import, self.problems);
        }
    }

    fn visit_export_all(&mut self, export: &ExportAll) {
        if !export.type_only {
            self.refuse(export.span.lo, "can't export from another file", ONE_FILE);
        }
    }

    fn visit_named_export(&mut self, export: &NamedExport) {
        let of_type = |specifier: &ExportSpecifier| matches!(specifier, ExportSpecifier::Named(named) if named.is_type_only);
        let has_values = export.specifiers.is_empty() || !export.specifiers.iter().all(of_type);
        if export.src.is_some() && !export.type_only && has_values {
            self.refuse(export.span.lo, "can't export from another file", ONE_FILE);
        }
    }

    fn visit_ts_import_equals_decl(&mut self, import: &TsImportEqualsDecl) {
        if matches!(import.module_ref, TsModuleRef::TsExternalModuleRef(_)) && !import.is_type_only {
            self.refuse(import.span.lo, "can't import by `require`", ONE_FILE);
        }
    }

    fn visit_ts_export_assignment(&mut self, export: &TsExportAssignment) {
        self.refuse(export.span.lo, "`export =` is not supported", "write `export default` instead");
        export.visit_children_with(self);
    }

    fn visit_call_expr(&mut self, call: &CallExpr) {
        match &call.callee {
            Callee::Import(_) => self.refuse(call.span.lo, "`import()` doesn't exist here", ONE_FILE),
            Callee::Expr(callee) => match &**callee {
                Expr::Ident(ident) if self.is_require(ident) => {
                    self.refuse(call.span.lo, "`require` doesn't exist here", ONE_FILE);
                }
                _ => {}
            },
            Callee::Super(_) => {}
        }
        call.visit_children_with(self);
    }

    fn visit_meta_prop_expr(&mut self, property: &MetaPropExpr) {
        if property.kind == MetaPropKind::ImportMeta {
            self.refuse(property.span.lo, "`import.meta` doesn't exist here", ONE_FILE);
        }
    }

    fn visit_decorator(&mut self, decorator: &Decorator) {
        self.refuse(decorator.span().lo, "decorators are not supported", "call the function instead");
        decorator.visit_children_with(self);
    }

    fn visit_using_decl(&mut self, using: &UsingDecl) {
        self.refuse(using.span.lo, "`using` is not supported", "write `const`, and `finally` to clean up");
        using.visit_children_with(self);
    }

    fn visit_auto_accessor(&mut self, accessor: &AutoAccessor) {
        let help = "write a field, or a getter and a setter";
        self.refuse(accessor.span.lo, "`accessor` fields are not supported", help);
        accessor.visit_children_with(self);
    }
}
