//! The shapes that a connector's code may have, and how its functions are called.

use portcullis_runtime::ErrorCode::ProviderError;
use serde_json::json;

use crate::support::Case;

/// Both functions of the code work: `execute` gives `[operation]` and `testConnection` gives `tested`.
#[track_caller]
fn works(source: &str) {
    for case in [Case::code(source), Case::javascript(source)] {
        case.gives(json!(["run"]));
    }
    let mut tested = Case::code(source).load();
    tested.call.operation = None;
    assert_eq!(tested.result_of(json!(null)), json!("tested"), "{source}");
}

#[test]
fn an_object() {
    works(
        "const connector = { testConnection() { return 'tested' }, execute(ctx) { return [ctx.operation] } };",
    );
    works(
        "let connector = { testConnection: () => 'tested', execute: (ctx) => [ctx.operation], operations: {} };",
    );
    works(
        "var connector = { testConnection: function () { return 'tested' }, execute: function (ctx) { return [ctx.operation] } };",
    );
    works(
        "const connector = { async testConnection() { return 'tested' }, execute: async (ctx) => [ctx.operation] };",
    );
    works(
        "const connector = { ['execute']: (ctx) => [ctx.operation], get testConnection() { return () => 'tested' } };",
    );
}

#[test]
fn an_object_made_by_code() {
    works(
        "class C { testConnection() { return 'tested' } execute(ctx) { return [ctx.operation] } }\nconst connector = new C();",
    );
    works(
        "const make = () => ({ testConnection: () => 'tested', execute: (ctx) => [ctx.operation] });\nconst connector = make();",
    );
    works(
        "const testConnection = () => 'tested';\nfunction execute(ctx) { return [ctx.operation] }\nconst connector = { testConnection, execute };",
    );
    works(
        "const connector = Object.assign(() => {}, { testConnection: () => 'tested', execute: (ctx) => [ctx.operation] });",
    );
}

#[test]
fn top_level_functions() {
    works("function testConnection() { return 'tested' }\nfunction execute(ctx) { return [ctx.operation] }");
    works(
        "async function testConnection() { return 'tested' }\nasync function execute(ctx) { return [ctx.operation] }",
    );
    works("const testConnection = () => 'tested', execute = async (ctx) => [ctx.operation];");
    works(
        "var execute = function (ctx) { return [ctx.operation] };\nlet testConnection = async () => 'tested';",
    );
}

#[test]
fn exports() {
    works("export const connector = { testConnection: () => 'tested', execute: (ctx) => [ctx.operation] };");
    works("export default { testConnection: () => 'tested', execute: (ctx) => [ctx.operation] };");
    works(
        "export function testConnection() { return 'tested' }\nexport function execute(ctx) { return [ctx.operation] }",
    );
    works(
        "export async function testConnection() { return 'tested' }\nexport const execute = async (ctx) => [ctx.operation];",
    );
    works(
        "function testConnection() { return 'tested' }\nfunction execute(ctx) { return [ctx.operation] }\nexport { testConnection, execute };",
    );
    works(
        "const mine = { testConnection: () => 'tested', execute: (ctx) => [ctx.operation] };\nexport { mine as connector };",
    );
    works(
        "const connector = { testConnection: () => 'tested', execute: (ctx) => [ctx.operation] };\nexport default connector;",
    );
    works(
        "const mine = { testConnection: () => 'tested', execute: (ctx) => [ctx.operation] };\nexport { mine as default };",
    );
}

#[test]
fn a_module_may_await_at_its_top_level() {
    works(
        "const value = await Promise.resolve('tested');\nexport const connector = { testConnection: () => value, execute: (ctx) => [ctx.operation] };",
    );
}

#[test]
fn typed_shapes() {
    for source in [
        "const connector: Connector = { testConnection() {}, execute(ctx): string[] { return [ctx.operation] } };",
        "const connector = { testConnection() {}, execute(ctx) { return [ctx.operation] } } satisfies Connector;",
        "export default { testConnection() {}, execute(ctx: any) { return [ctx.operation] } } as const;",
        "export const connector = <any>{ testConnection() {}, execute: (ctx: any) => [ctx.operation] };",
        "function execute(ctx: string): void;\nfunction execute(ctx: any) { return [ctx.operation] }\nfunction testConnection(this: void) {}",
        "import type { X } from './x';\nfunction execute(ctx: X) { return [ctx.operation] }\nfunction testConnection() {}",
    ] {
        Case::code(source).gives(json!(["run"]));
    }
}

#[test]
fn this_is_the_object_that_the_function_belongs_to() {
    let source = "const connector = { name: 'mine', testConnection() { return this.name }, execute() { return [this.name, this === connector] } };";
    Case::code(source).gives(json!(["mine", true]));
    Case::code(&source.replace("const connector =", "export default")).run();
    Case::code("class C { #private = 'private'; testConnection() {} execute() { return this.#private } }\nexport default new C();")
        .gives(json!("private"));
    Case::code("export const connector = { operations: { run: () => 'from a table' }, testConnection() {}, execute(ctx) { return this.operations[ctx.operation](ctx) } };")
        .gives(json!("from a table"));
}

#[test]
fn without_import_and_export_the_code_is_sloppy() {
    let source = "undeclared = 1;\nfunction execute() { return [this === globalThis, undeclared, (function () { return typeof this })(), delete Object.prototype, 010] }\nfunction testConnection() {}";
    Case::javascript(source).gives(json!([true, 1, "object", false, 8]));
    Case::javascript("function execute() { with ({ a: 1 }) { return a } }\nfunction testConnection() {}")
        .gives(json!(1));
    Case::javascript("function execute() { arguments[0] = 7; var a = arguments; return (function (x) { arguments[0] = 2; return x })(1) }\nfunction testConnection() {}")
        .gives(json!(2));
}

#[test]
fn its_own_directive_makes_a_script_strict() {
    let source = "'use strict';\nfunction execute() { return [this === undefined, (function () { return typeof this })()] }\nfunction testConnection() {}";
    Case::javascript(source).gives(json!([true, "undefined"]));
}

#[test]
fn with_an_export_the_code_is_strict() {
    Case::code("export function execute() { return [this === undefined, (function () { return typeof this })()] }\nexport function testConnection() {}")
        .gives(json!([true, "undefined"]));
    Case::code("export function execute() { undeclared = 1 }\nexport function testConnection() {}")
        .fails(ProviderError, "undeclared is not defined");
}

#[test]
fn functions_are_called_with_ctx_alone() {
    Case::code("function execute() { return [arguments.length, arguments[0].operation] }\nfunction testConnection() {}").gives(json!([1, "run"]));
}

#[test]
fn top_level_code_runs_once_per_call() {
    let loaded =
        Case::code("let n = 0;\nn += 1;\nconst connector = { testConnection() {}, execute() { return n } };")
            .load();
    for _ in 0..3 {
        assert_eq!(loaded.result_of(json!({})), json!(1));
    }
}

#[test]
fn typescript_of_every_kind_runs() {
    let source = r"
        enum Level { Low = 1, High = Low * 10, Text = 'text' }
        const enum Inlined { A = 1 << 3 }
        namespace Outer { export const a = 1; export namespace Inner { export const b = a + 1; } }
        abstract class Shape { constructor(public readonly name: string, protected size = 2) {} abstract area(): number; declare later: string; }
        class Square extends Shape { override area(): number { return this.size ** 2 } }
        function isText(value: unknown): value is string { return typeof value === 'string' }
        function assertText(value: unknown): asserts value is string { if (!isText(value)) throw new Error('no text') }
        const generic = <T extends { id: number }>(item: T): T['id'] => item!.id as number;
        interface Merged { a: number } interface Merged { b?: string }
        type Mapped<T> = { readonly [K in keyof T as `get${string & K}`]-?: () => T[K] };
        let tuple: [first: string, second?: number] = ['x'];
        let definite!: number;
        function overloaded(a: string): string; function overloaded(a: number): number; function overloaded(a: any) { return a }
        const connector = {
            testConnection() {},
            execute(ctx: { params: Record<string, unknown> }) {
                const square = new Square('square');
                assertText('x');
                return [Level.High, Level[1], Level.Text, Inlined.A, Outer.Inner.b, square.name, square.area(), generic({ id: 5 }),
                    tuple satisfies unknown[], definite, overloaded(<number>3), { a: 1 } as const, 'later' in square];
            },
        };";
    Case::code(source)
        .gives(json!([10, "Low", "text", 8, 2, "square", 4, 5, ["x"], null, 3, {"a": 1}, false]));
}

#[test]
fn a_connector_that_isnt_one_is_refused() {
    for source in [
        "const connector = {};",
        "const connector = 7;",
        "const connector = { testConnection() {} };",
        "const connector = { testConnection() {}, execute: 7 };",
        "const connector = (() => ({ execute() {} }))();",
        "const connector = null;",
        "export default 7;",
        "export default function () {}",
        "function execute() {}",
        "const x = 1;",
        "export const other = { testConnection() {}, execute() {} };",
        "throw new Error('top level'); function execute() {} function testConnection() {}",
        "export const connector = await new Promise(() => {});",
        "import x from './x'; export const connector = { testConnection() {}, execute() {} };",
        "const x = require('fs'); const connector = { testConnection() {}, execute() {} };",
        "const connector = { testConnection() {}, execute() { return import('./x') } };",
        "module.exports = { testConnection() {}, execute() {} };",
        "const connector = { testConnection() {}, execute() {} ;",
    ] {
        let error = Case::code(source).try_load().err().unwrap_or_else(|| panic!("{source} was loaded"));
        let said = error.to_string();
        assert!(said.contains("connector.ts:1:"), "{source}: {said}");
    }
}

#[test]
fn require_does_not_exist_when_it_is_called() {
    // What the compile can't see is missing at run time all the same.
    let ran = Case::execute("return (0, globalThis['req' + 'uire'])('fs')").run();
    assert_eq!(ran.error().code, ProviderError);
}
