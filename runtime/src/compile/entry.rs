//! Exports made into plain declarations, and the one entry put in their place, the same whatever the file's shape.

use std::collections::HashSet;

use swc_core::common::{DUMMY_SP, Span};
use swc_core::ecma::ast::{
    BinExpr, BinaryOp, ClassDecl, ClassExpr, CondExpr, Decl, DefaultDecl, ExportNamedSpecifier, Expr,
    ExprStmt, FnDecl, FnExpr, Ident, IdentName, KeyValueProp, ModuleDecl, ModuleExportName, ModuleItem,
    NamedExport, ObjectLit, Program, Prop, PropName, Stmt, Str, UnaryExpr, UnaryOp, VarDecl, VarDeclKind,
    VarDeclarator,
};
use swc_core::ecma::atoms::Atom;
use swc_core::ecma::visit::{Visit, VisitWith};

use super::shape::Entry;
use super::{ENTRY_EXPORT, Marks};

/// Names for our own bindings that the file doesn't use.
pub(super) struct OwnNames {
    pub(super) default: Atom,
    pub(super) entry: Atom,
}

impl OwnNames {
    pub(super) fn unused_in(program: &Program) -> Self {
        let mut used = UsedNames::default();
        program.visit_with(&mut used);
        let unused = |name: &str| {
            let mut name = name.to_owned();
            while used.0.contains(&name) {
                name.push('_');
            }
            Atom::from(name)
        };
        Self { default: unused("__portcullis_default"), entry: unused(ENTRY_EXPORT) }
    }
}

#[derive(Default)]
struct UsedNames(HashSet<String>);

impl Visit for UsedNames {
    fn visit_ident(&mut self, ident: &Ident) {
        if ident.sym.starts_with("__portcullis") {
            self.0.insert(ident.sym.to_string());
        }
    }
}

/// Takes the exports of a module away and leaves what they declare. The default export becomes `default_name`.
pub(super) fn unwrap_exports(program: &mut Program, default_name: &Atom, marks: Marks) {
    let Program::Module(module) = program else { return };
    let default = |span: Span| Ident::new(default_name.clone(), span, marks.top_level_context());
    let items = std::mem::take(&mut module.body);
    module.body = items.into_iter().filter_map(|item| unwrap_export(item, default)).collect();
}

fn unwrap_export(item: ModuleItem, default: impl Fn(Span) -> Ident) -> Option<ModuleItem> {
    let ModuleItem::ModuleDecl(export) = item else { return Some(item) };
    let decl = match export {
        ModuleDecl::ExportDecl(export) => export.decl,
        ModuleDecl::ExportDefaultExpr(export) => {
            Decl::Var(Box::new(constant(default(export.span), export.expr, export.span)))
        }
        ModuleDecl::ExportDefaultDecl(export) => match export.decl {
            DefaultDecl::Fn(FnExpr { ident, function }) => {
                let ident = ident.unwrap_or_else(|| default(export.span));
                Decl::Fn(FnDecl { ident, declare: false, function })
            }
            DefaultDecl::Class(ClassExpr { ident, class }) => {
                let ident = ident.unwrap_or_else(|| default(export.span));
                Decl::Class(ClassDecl { ident, declare: false, class })
            }
            DefaultDecl::TsInterfaceDecl(interface) => Decl::TsInterface(interface),
        },
        ModuleDecl::TsImportEquals(mut import) => {
            import.is_export = false;
            return Some(ModuleItem::ModuleDecl(ModuleDecl::TsImportEquals(import)));
        }
        ModuleDecl::Import(_) => return Some(ModuleItem::ModuleDecl(export)),
        // What these name is declared elsewhere; those from other files are refused before.
        ModuleDecl::ExportNamed(_)
        | ModuleDecl::ExportAll(_)
        | ModuleDecl::TsExportAssignment(_)
        | ModuleDecl::TsNamespaceExport(_) => return None,
    };
    Some(ModuleItem::Stmt(Stmt::Decl(decl)))
}

fn constant(ident: Ident, value: Box<Expr>, span: Span) -> VarDecl {
    let declarator = VarDeclarator { span, name: ident.into(), init: Some(value), definite: false };
    VarDecl { span, kind: VarDeclKind::Const, decls: vec![declarator], ..VarDecl::default() }
}

/// Adds the entry as the last thing that the program does.
pub(super) fn append(program: &mut Program, entry: &Entry, name: &Atom, marks: Marks) {
    let members = [
        member("connector", entry.connector.as_ref()),
        member("execute", entry.execute.as_ref()),
        member("testConnection", entry.test_connection.as_ref()),
    ];
    let props = members.into_iter().map(|member| Box::new(member).into()).collect();
    let object = Box::new(Expr::Object(ObjectLit { span: DUMMY_SP, props }));
    match program {
        Program::Script(script) => script.body.push(ExprStmt { span: DUMMY_SP, expr: object }.into()),
        Program::Module(module) => {
            let ident = Ident::new(name.clone(), DUMMY_SP, marks.top_level_context());
            let constant = constant(ident.clone(), object, DUMMY_SP);
            module.body.push(Stmt::Decl(Decl::Var(Box::new(constant))).into());
            module.body.push(ModuleItem::ModuleDecl(ModuleDecl::ExportNamed(export(ident))));
        }
    }
}

fn member(key: &str, value: Option<&Ident>) -> Prop {
    let value = value.map_or_else(undefined, if_defined);
    Prop::KeyValue(KeyValueProp { key: PropName::Ident(IdentName::new(key.into(), DUMMY_SP)), value })
}

/// `typeof name === "undefined" ? void 0 : name`: a name that is only assigned somewhere may not exist.
fn if_defined(ident: &Ident) -> Box<Expr> {
    let name = || Box::new(Expr::Ident(Ident { span: DUMMY_SP, ..ident.clone() }));
    let type_name = UnaryExpr { span: DUMMY_SP, op: UnaryOp::TypeOf, arg: name() };
    let test = BinExpr {
        span: DUMMY_SP,
        op: BinaryOp::EqEqEq,
        left: Box::new(Expr::Unary(type_name)),
        right: Box::new(Expr::Lit(Str::from("undefined").into())),
    };
    Box::new(Expr::Cond(CondExpr {
        span: DUMMY_SP,
        test: Box::new(Expr::Bin(test)),
        cons: undefined(),
        alt: name(),
    }))
}

fn undefined() -> Box<Expr> {
    Expr::undefined(DUMMY_SP)
}

fn export(ident: Ident) -> NamedExport {
    let exported = (ident.sym != ENTRY_EXPORT)
        .then(|| ModuleExportName::Ident(Ident::new_no_ctxt(ENTRY_EXPORT.into(), DUMMY_SP)));
    let orig = ModuleExportName::Ident(ident);
    let specifier = ExportNamedSpecifier { span: DUMMY_SP, orig, exported, is_type_only: false };
    NamedExport {
        span: DUMMY_SP,
        specifiers: vec![specifier.into()],
        src: None,
        type_only: false,
        with: None,
    }
}
