//! Where the engine sees a thrown error made, and where the author does.

use std::collections::HashMap;

use swc_core::common::{BytePos, Spanned};
use swc_core::ecma::ast::{
    ArrowExpr, BinExpr, CallExpr, Callee, Class, Expr, Function, Ident, Program, ThrowStmt,
};
use swc_core::ecma::visit::{Visit, VisitWith};

/// QuickJS gives a call the position of the last name or operand among its arguments, which may be lines below. For an
/// error that is thrown where it is made this is the top of the stack trace, so its position is put right: from the place
/// that the engine sees to that of the error's class. Other calls keep the engine's, since a name's own failure
/// (`undefined.x`) has the same position and matters more.
pub(super) fn moved_positions(program: &Program) -> HashMap<BytePos, BytePos> {
    let mut throws = Throws::default();
    program.visit_with(&mut throws);
    throws.0
}

#[derive(Default)]
struct Throws(HashMap<BytePos, BytePos>);

impl Visit for Throws {
    fn visit_throw_stmt(&mut self, throw: &ThrowStmt) {
        let mut last = LastPlace(None);
        match &*throw.arg {
            Expr::New(new) => {
                new.args.visit_with(&mut last);
                self.0.extend(last.0.map(|place| (place, new.callee.span().lo)));
            }
            Expr::Call(call) if matches!(&call.callee, Callee::Expr(callee) if callee.is_ident()) => {
                call.args.visit_with(&mut last);
                self.0.extend(last.0.map(|place| (place, call.callee.span().lo)));
            }
            _ => {}
        }
        throw.visit_children_with(self);
    }
}

/// The place that the engine noted last.
struct LastPlace(Option<BytePos>);

impl Visit for LastPlace {
    fn visit_ident(&mut self, ident: &Ident) {
        self.0 = Some(ident.span.lo);
    }

    fn visit_bin_expr(&mut self, binary: &BinExpr) {
        binary.left.visit_with(self);
        self.0 = Some(binary.right.span().lo);
        binary.right.visit_with(self);
    }

    fn visit_call_expr(&mut self, call: &CallExpr) {
        call.callee.visit_with(self);
        // It notes a place inside the parentheses, whose column depends on the spaces around it.
        self.0 = None;
        call.args.visit_with(self);
    }

    // What is inside a function has a table of its own.
    fn visit_function(&mut self, _: &Function) {}

    fn visit_arrow_expr(&mut self, _: &ArrowExpr) {}

    fn visit_class(&mut self, _: &Class) {}
}
