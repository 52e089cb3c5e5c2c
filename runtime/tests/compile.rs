//! Compiling connectors: what comes out runs as the author meant it, errors and stack traces point into the author's file.

use std::path::{Path, PathBuf};
use std::{env, fs};

use portcullis_runtime::compile::{
    CompileError, Compiled, ENTRY_EXPORT, Kind, compile, compile_within, warm_up,
};
use portcullis_runtime::package::Language;
use rquickjs::context::EvalOptions;
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Function, Module, Object, Runtime, Value};

const SHAPE_HELP: &str = "write `const connector = { testConnection, execute }`, or top-level functions `testConnection` and `execute`";
const ONE_FILE_HELP: &str = "a connector is one file; there is nothing to import";

/// Compiles `source` and returns the JSON of what its `execute` returns, or the stack of what it throws.
fn run(compiled: &Compiled) -> Result<String, String> {
    let runtime = Runtime::new().expect("a runtime");
    let context = Context::full(&runtime).expect("a context");
    context.with(|ctx| {
        let result = entry(&ctx, compiled).and_then(|entry| call_execute(&ctx, &entry));
        result.catch(&ctx).map_err(|error| match error {
            CaughtError::Exception(exception) => {
                format!(
                    "{}\n{}",
                    exception.message().unwrap_or_default(),
                    exception.stack().unwrap_or_default()
                )
            }
            other => other.to_string(),
        })
    })
}

fn entry<'js>(ctx: &Ctx<'js>, compiled: &Compiled) -> rquickjs::Result<Object<'js>> {
    if compiled.kind == Kind::Module {
        let module = Module::declare(ctx.clone(), "connector.ts", compiled.script.as_str())?;
        let (module, evaluated) = module.eval()?;
        evaluated.finish::<()>()?;
        return module.get(ENTRY_EXPORT);
    }
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some("connector.ts".to_owned());
    ctx.eval_with_options(compiled.script.as_str(), options)
}

/// Calls what the loader would call: a method of the object, or else the function.
fn call_execute<'js>(ctx: &Ctx<'js>, entry: &Object<'js>) -> rquickjs::Result<String> {
    let object: Option<Object<'js>> = entry.get("connector")?;
    let holder = object.as_ref().unwrap_or(entry);
    let _: Function<'_> = holder.get("testConnection")?;
    let execute: Function<'_> = holder.get("execute")?;
    let result: Value<'_> = execute.call((rquickjs::function::This(object.clone()),))?;
    let json = ctx.json_stringify(result)?;
    json.map_or(Ok("undefined".to_owned()), |json| json.to_string())
}

#[track_caller]
fn compiled(source: &str) -> Compiled {
    compile(source, Language::TypeScript).unwrap_or_else(|error| panic!("{error}"))
}

/// Checks what `execute` returns, as JSON.
#[track_caller]
fn check_result(source: &str, expected: &str) {
    let compiled = compiled(source);
    assert_eq!(run(&compiled).as_deref(), Ok(expected), "{}", compiled.script);
}

/// Checks the value of an expression after some TypeScript.
#[track_caller]
fn check_value(declarations: &str, expression: &str, expected: &str) {
    let tail = format!("function execute() {{ return {expression}; }} function testConnection() {{}}");
    check_result(&format!("{declarations}\n{tail}"), expected);
    check_result(&format!("{declarations}\nexport {tail}"), expected);
}

/// Checks all errors, each `LINE:COLUMN: MESSAGE`.
#[track_caller]
fn check_errors(source: &str, expected: &[&str]) -> CompileError {
    check_errors_in(Language::TypeScript, source, expected)
}

#[track_caller]
fn check_errors_in(language: Language, source: &str, expected: &[&str]) -> CompileError {
    let error = compile(source, language).expect_err("it compiled");
    let errors =
        error.errors.iter().map(|error| format!("{}:{}: {}", error.line, error.column, error.message));
    assert_eq!(errors.collect::<Vec<_>>(), expected);
    error
}

/// Checks the stack that `execute` throws: `FUNCTION LINE:COLUMN` for each frame, in the author's positions. In place of a
/// column, `source` has a `‸` before the place, which is taken out before it is compiled. The engine places a call at the last name among its arguments.
#[track_caller]
fn check_stack(marked: &str, functions: &[&str]) {
    let mut source = String::new();
    let mut places = Vec::new();
    for (i, line) in marked.split('\n').enumerate() {
        let pieces: Vec<&str> = line.split('‸').collect();
        for n_pieces in 1..pieces.len() {
            places.push((
                i + 1,
                pieces[..n_pieces].concat().trim_start_matches('\u{feff}').chars().count() + 1,
            ));
        }
        source.push_str(&pieces.concat());
        source.push('\n');
    }
    let compiled = compiled(&source);
    let stack = run(&compiled).expect_err("it returned");
    let mut frames = frames(&stack, &compiled);
    frames.sort_by_key(|&(_, line, column)| (line, column));
    let found: Vec<_> = frames.iter().map(|&(_, line, column)| (line, column)).collect();
    assert_eq!(found, places, "{stack}\n{}", compiled.script);
    let mut names: Vec<_> = frames.iter().map(|(name, ..)| name.as_str()).collect();
    let mut expected = functions.to_vec();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

/// The frames of an engine's stack with their positions mapped back.
#[track_caller]
fn frames(stack: &str, compiled: &Compiled) -> Vec<(String, usize, usize)> {
    let mut frames = Vec::new();
    for line in stack.lines() {
        let Some((name, place)) = line.split_once(" (connector.ts:") else { continue };
        let (line, column) = place.trim_end_matches(')').split_once(':').expect("line:column");
        let (line, column) = (line.parse().expect("a line"), column.parse().expect("a column"));
        let (line, column) = compiled.positions.lookup(line, column).expect("a mapping");
        let name = name.trim().trim_start_matches("at ").to_owned();
        frames.push((name, line as usize, column as usize));
    }
    frames
}

#[test]
fn golden_files() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/compile");
    let mut n_cases = 0;
    for case in fs::read_dir(&cases).expect("the cases") {
        let case = case.expect("a case").path();
        check_golden(&case);
        n_cases += 1;
    }
    assert!(n_cases >= 10, "{n_cases} cases in {}", cases.display());
}

#[track_caller]
fn check_golden(case: &Path) {
    let typescript = case.join("input.ts");
    let (input, language) = match typescript.exists() {
        true => (typescript, Language::TypeScript),
        false => (case.join("input.js"), Language::JavaScript),
    };
    let source = fs::read_to_string(&input).unwrap_or_else(|error| panic!("{}: {error}", input.display()));
    let (name, other, output) = match compile(&source, language) {
        Ok(compiled) => ("expected.js", "expected.txt", compiled.script),
        Err(error) => ("expected.txt", "expected.js", format!("{error}\n")),
    };
    assert!(!case.join(other).exists(), "{}: expected another outcome than\n{output}", case.display());
    compare(&case.join(name), &output);
}

#[track_caller]
fn compare(expected: &PathBuf, output: &str) {
    if env::var_os("BLESS").is_some() {
        fs::write(expected, output).expect("writing a golden file");
    }
    let text = fs::read_to_string(expected).unwrap_or_default();
    assert_eq!(output, text, "{}; BLESS=1 rewrites it", expected.display());
}

#[test]
fn warming_up_works() {
    warm_up();
}

// TypeScript.

#[test]
fn enums_run() {
    let enums = "enum Color { Red = 1, Green = Red << 2, Blue, Name = 'né'.length, Text = 'x' }
        const enum Fast { A, B = 'b', C = A + 7 }
        declare const enum Ambient { X = 5 }
        enum Merged { A = 1 } enum Merged { B = 2 }";
    let values = "[Color.Red, Color.Green, Color.Blue, Color[4], Color.Name, Color.Text, Fast.A, Fast.B, Fast.C, Merged]";
    check_value(enums, values, r#"[1,4,5,"Green",2,"x",0,"b",7,{"1":"A","2":"B","A":1,"B":2}]"#);
}

#[test]
fn namespaces_run() {
    let namespaces = "namespace A.B { export const one = 1; export function two() { return one + 1; } }
        namespace A { export namespace Types { export interface T { a: B.U } } const hidden = 3; export let three = hidden; }
        namespace OnlyTypes { export type T = string; }
        function f() { return f.extra; } namespace f { export const extra = 'x'; }
        import two = A.B.two;";
    check_value(
        namespaces,
        "[A.B.one, A.B.two(), A.three, f(), two(), typeof OnlyTypes]",
        "[1,2,3,\"x\",2,\"undefined\"]",
    );
}

#[test]
fn classes_run() {
    let classes = "const x = 77;
        abstract class Base<T> {
            abstract go(): T; protected readonly later!: T; declare ambient: string; static #made = 0;
            static { Base.#made = 10; }
            [key: string]: any;
            constructor(public x: number, private readonly q = 5, protected z?: string) { Base.#made++; }
            sum = this.x + 1;
            get both(): number { return this.x + this.q; }
            static made() { return Base.#made; }
        }
        class Derived extends Base<string> implements Iterable<number> {
            outer = x;
            constructor(public override x: number) { super(x * 2); }
            override go(): string { return 'gone'; }
            *[Symbol.iterator](): Iterator<number> { yield this.x; }
        }
        class Keys { ['a' + 1] = x; ['b' + 2] = x; constructor(readonly x: number) {} }
        class Others { ['a' + 3] = x; constructor(readonly x: number) {} }
        const d = new Derived(1), k = new Keys(2) as any, o = new Others(3) as any;";
    let values =
        "[d.sum, d.both, d.outer, d.go(), [...d], Base.made(), k.a1, k.b2, k.x, o.a3, 'ambient' in d]";
    check_value(classes, values, r#"[3,6,77,"gone",[1],11,77,77,2,77,false]"#);
}

#[test]
fn types_are_erased() {
    let typed = "interface Context { operation: string } type Maybe<T> = T | undefined;
        declare global { interface Window {} } declare module 'm' { export const c: number; } declare function gone(): void;
        declare let nowhere: number;
        function over(a: string): string; function over(a: number): number; function over(this: any, a: any): any { return a; }
        const conf = { a: 1, b: [1, 2] } as const satisfies { a: number; b: readonly number[] };
        let later!: number; later = <number><unknown>4;
        const identity = <const T,>(v: T): T => v;
        function isText(v: unknown): v is string { return typeof v === 'string'; }
        function asserts(v: unknown): asserts v is string {}
        let tuple: [first: number, ...rest: Maybe<string>[]] = [1]; let key: keyof typeof conf = 'a';
        const made = new Map<string, Array<number>>([['a', [1]]]); let f: (typeof isText) | null = null;
        try { over(1); } catch (error: unknown) { throw error; }";
    let values =
        "[over(3), conf.b[1]!, later, identity<number>(3), isText(1), tuple[0], made.get('a')!.length]";
    check_value(typed, values, "[3,2,4,3,false,1,1]");
}

#[test]
fn imports_and_exports_of_types_are_erased() {
    let source = "import type { Context } from './types'; import { type A, type B as C } from './types';
        import type * as All from 'all'; import { Used } from './types'; import type Default from './types';
        export type { Context }; export type Id = string; export interface X {} export { type A };
        export type { Y } from './types'; export type * from './types'; export declare const z: Used;
        export function execute(ctx: Context) { return this === undefined; }
        export const testConnection = (a: A) => {};";
    check_result(source, "true");
}

#[test]
fn the_language_of_2023_stays_as_it_is() {
    let source =
        "class C { #p = 1; static s = 2; static #has(o: any) { return #p in o; } get p() { return this.#p; }
            static test() { return C.#has(new C()); } }
        const o: any = { a: null, b: { c: 3 } }; o.a ??= 4; o.d ||= 5; o.b &&= 6;";
    let values = "[new C().p, C.s, C.test(), o, o?.x?.y ?? 7, 2 ** 3, 1_000, /[\\p{L}--[a-z]]/v.test('b'),
        [3, 1, 2].toSorted(), [1, 2].at(-1), Object.hasOwn(o, 'a'), String(10n ** 20n), `${`${1}`}`]";
    let expected =
        r#"[1,2,true,{"a":4,"b":6,"d":5},7,8,1000,false,[1,2,3],2,true,"100000000000000000000","1"]"#;
    check_value(source, values, expected);
}

#[test]
fn characters_beyond_ascii_keep_their_meaning() {
    let source = "const étoile = 'é'; const raw = String.raw`é\\n😀`; const escaped = '\\u{1F600}\u{2028}';";
    let values = r"[étoile, raw.length, escaped.length, /^\é(?<nö>ö)/.exec('éö')!.groups!.nö, /^[😀]$/u.test('😀'), `\
é`, { ключ: 1 }]";
    check_value(source, values, r#"["é",5,3,"ö",true,"é",{"ключ":1}]"#);
}

#[test]
fn line_ends_in_templates_are_line_feeds() {
    check_value("const t = `a\r\nb\rc`; // é\r", "t", r#""a\nb\nc""#);
}

// Script semantics.

#[test]
fn a_file_without_import_or_export_is_a_sloppy_script() {
    let source = "undeclared = 1;
        with ({ inner: 2 }) { var seen = inner; }
        function callee() { return typeof arguments.callee; }
        function self() { return this === globalThis; }
        var await = 3, yield = 4, let = 5;
        <!-- a comment of the web
        function execute() { return [undeclared, seen, callee(), self(), 010, '\\101', delete undeclared, await, let]; }
        function testConnection() {}";
    let expected = r#"[1,2,"function",true,8,"A",true,3,5]"#;
    check_result(source, expected);
    let javascript = compile(source, Language::JavaScript).expect("as JavaScript");
    assert_eq!((javascript.kind, run(&javascript).as_deref()), (Kind::Script, Ok(expected)));
}

#[test]
fn use_strict_is_kept() {
    check_result(
        "'use strict'; function execute() { return this === undefined } function testConnection() {}",
        "true",
    );
}

#[test]
fn any_export_makes_a_module_even_one_of_types() {
    for export in ["export {};", "export type T = string;", "import type { T } from 't';"] {
        let source = format!(
            "{export} function execute() {{ return this === undefined }} function testConnection() {{}}"
        );
        assert_eq!(compiled(&source).kind, Kind::Module, "{export}");
        check_result(&source, "true");
    }
    let quoted = "// import x from 'y'\nconst s = 'export default 1'; function execute() { return 1 } function testConnection() {}";
    assert_eq!(compiled(quoted).kind, Kind::Script);
}

#[test]
fn await_at_the_top_level_makes_a_module() {
    check_result("const x = await 5; function execute() { return x } function testConnection() {}", "5");
    check_result(
        "export const connector = await Promise.resolve({ execute() { return 6 }, testConnection() {} });",
        "6",
    );
}

// Shapes.

#[test]
fn every_shape_is_found() {
    let shapes = [
        "const connector = { testConnection() {}, execute() { return 1 } };",
        "const connector = { testConnection, execute }; function testConnection() {} function execute() { return 1 }",
        "let connector: unknown = ({ 'testConnection': () => {}, execute: () => 1, operations: {} }) as const satisfies {};",
        "var connector = make(); function make() { return { testConnection() {}, execute() { return 1 } } }",
        "const connector = { ...{ testConnection() {} }, ['exe' + 'cute']: () => 1 };",
        "class Api { testConnection() {} execute() { return 1 } } const connector = new Api();",
        "class connector { static testConnection() {} static execute() { return 1 } }",
        "namespace connector { export function testConnection() {} export function execute() { return 1 } }",
        "if (true) { var connector = { testConnection() {}, execute() { return 1 } } }",
        "connector = { testConnection() {}, execute() { return 1 } };",
        "let connector; connector = { testConnection() {}, execute() { return 1 } };",
        "const connector = { testConnection() {}, execute() { return 1 } }; function execute() { return 2 }",
        "function testConnection() {} function execute() { return 1 }",
        "const testConnection = async () => {}, execute = function () { return 1 };",
        "const { testConnection, x: [execute = () => 1] } = { testConnection() {}, x: [] };",
        "export const connector = { testConnection() {}, execute() { return 1 } };",
        "const connector = { testConnection() {}, execute() { return 1 } }; export { connector };",
        "const c = { testConnection() {}, execute() { return 1 } }; export { c as connector };",
        "export default { testConnection() {}, execute() { return 1 } };",
        "export default ({ testConnection() {}, execute() { return 1 } } satisfies object);",
        "const connector = { testConnection() {}, execute() { return 1 } }; export default connector;",
        "const c = { testConnection() {}, execute() { return 1 } }; export { c as default };",
        "const c = { testConnection() {}, execute() { return 1 } }; export { c as connector, c as default };",
        "export default class { static testConnection() {} static execute() { return 1 } }",
        "function execute() { return 1 } function testConnection() {} export default { execute, testConnection };",
        "export function testConnection() {} export function execute() { return 1 }",
        "export function testConnection() {} export default function execute() { return 1 }",
        "export const testConnection = () => {}, execute = () => 1;",
        "function testConnection() {} export function execute() { return 1 }",
        "const run = () => 1, test = () => {}; export { run as execute, test as testConnection };",
        "const run = () => 1, execute = () => 2; export { run as 'execute', run as testConnection };",
        "export declare function execute(): string; export function execute() { return 1 } export let testConnection = () => {};",
        "const __portcullis_entry = 1; export default { testConnection() {}, execute: () => __portcullis_entry };",
    ];
    for shape in shapes {
        let compiled =
            compile(shape, Language::TypeScript).unwrap_or_else(|error| panic!("{shape}\n{error}"));
        assert_eq!(run(&compiled).as_deref(), Ok("1"), "{shape}\n{}", compiled.script);
    }
}

#[test]
fn a_missing_or_doubled_shape_is_reported_where_it_is() {
    check_errors("", &["1:1: code file is empty"]);
    check_errors(" \n// a comment\n/* another */\n", &["1:1: code file is empty"]);
    let none = check_errors("const other = 1;", &["1:1: the code has no connector"]);
    assert_eq!(none.errors[0].help.as_deref(), Some(SHAPE_HELP));
    check_errors("interface connector {} type execute = 1;", &["1:1: the code has no connector"]);
    check_errors("declare const connector: { execute(): void };", &["1:1: the code has no connector"]);
    check_errors(
        "{ const connector = {}; function f() { var execute, testConnection } }",
        &["1:1: the code has no connector"],
    );
    check_errors(
        "'use strict';\nmodule.exports = {}",
        &["2:1: `module.exports` and `exports` don't exist here"],
    );
    check_errors(
        "let x;\n  function execute() {}",
        &["2:12: the code has a function `execute` but no `testConnection`"],
    );
    check_errors(
        "export const testConnection = 1",
        &["1:14: the code has a function `testConnection` but no `execute`"],
    );
    check_errors(
        "const connector =\n  { testConnectio() {}, 'execute': 1 };",
        &["2:3: `connector` has no `testConnection`"],
    );
    check_errors(
        "export default { } as any",
        &["1:16: the default export has no `testConnection`", "1:16: the default export has no `execute`"],
    );
    let not_an_object = "is not an object with `testConnection` and `execute`";
    check_errors("const connector = () => 1", &[&format!("1:19: `connector` {not_an_object}")]);
    check_errors(
        "let x; export default function () {}",
        &[&format!("1:8: the default export {not_an_object}")],
    );
    check_errors(
        "function execute() {} function testConnection() {}\nconst connector = { testConnection() {}, execute() {} };",
        &["2:7: the code has both `connector` and the functions `testConnection` and `execute`"],
    );
    check_errors(
        "const connector = { testConnection() {}, execute() {} };\nexport default { testConnection() {}, execute() {} };",
        &["2:1: the code has `connector` and another default export"],
    );
}

// Refusals.

#[test]
fn other_modules_are_refused() {
    let source =
        "import x from 'y';\n  import 'side-effect';\nimport { unused } from \"z\"; import * as all from 'é';
export * from 'a'; export * as b from 'b';\nexport { c } from 'c'; import d = require('d');
function execute() { if (import('e')) return require('f'); return import.meta.url; }
export =\n5;";
    let errors = [
        "1:1: can't import \"y\"",
        "2:3: can't import \"side-effect\"",
        "3:1: can't import \"z\"",
        "3:29: can't import \"é\"",
        "4:1: can't export from another file",
        "4:20: can't export from another file",
        "5:1: can't export from another file",
        "5:24: can't import by `require`",
        "6:26: `import()` doesn't exist here",
        "6:46: `require` doesn't exist here",
        "6:67: `import.meta` doesn't exist here",
        "7:1: `export =` is not supported",
    ];
    let error = check_errors(source, &errors);
    assert!(error.errors[..11].iter().all(|error| error.help.as_deref() == Some(ONE_FILE_HELP)), "{error}");
}

#[test]
fn an_import_used_as_type_and_as_value_is_refused() {
    let source = "import { A } from 'a'; let a: A = new A();
        export function execute() {} export function testConnection() {}";
    check_errors(source, &["1:1: can't import \"a\""]);
    let in_javascript = "import { A } from 'a'; export default {}";
    check_errors_in(Language::JavaScript, in_javascript, &["1:1: can't import \"a\""]);
}

#[test]
fn require_may_be_the_authors_own() {
    check_value("const require = (name: string) => name;", "require('x')", r#""x""#);
    check_value("", "((require: any) => require('x'))((y: any) => y)", r#""x""#);
}

#[test]
fn what_the_engine_lacks_is_refused() {
    check_errors(
        "@sealed class A {\n  @log() m(@param p: string) {}\n  accessor x = 1;\n}\n{ using y = open(); }",
        &[
            "1:1: decorators are not supported",
            "2:3: decorators are not supported",
            "2:12: decorators are not supported",
            "3:3: `accessor` fields are not supported",
            "5:3: `using` is not supported",
        ],
    );
}

#[test]
fn all_syntax_errors_are_reported_at_once() {
    check_errors(
        "const a;\n\tconst é: 'é', b;\nfunction f() { break; }\n  import 'x'; return 1;",
        &[
            "1:7: 'const' declarations must be initialized",
            "2:8: 'const' declarations must be initialized",
            "2:16: 'const' declarations must be initialized",
            "3:16: a 'break' statement can only be used within an enclosing iteration or switch statement",
            "4:3: can't import \"x\"",
            "4:15: return statement is not allowed here",
        ],
    );
}

#[test]
fn syntax_errors_have_plain_words_and_exact_places() {
    check_errors("function execute( {", &["1:20: unexpected end of the file"]);
    check_errors("const é = 'é', x = ;", &["1:20: expression expected"]);
    check_errors("let s = 'abc\nlet t;", &["1:9: unterminated string constant"]);
    check_errors("\u{feff}  }", &["1:3: expression expected"]);
    check_errors("let a;\r\n\r\n  b c;\rd e", &["3:5: expected a semicolon or a line end"]);
}

#[test]
fn types_in_javascript_get_a_hint() {
    let error =
        check_errors_in(Language::JavaScript, "let x: number;", &["1:6: expected a semicolon or a line end"]);
    assert_eq!(
        error.to_string(),
        "connector.js:1:6: error: expected a semicolon or a line end\n  help: this looks like TypeScript: name the file connector.ts",
    );
}

#[test]
fn errors_are_capped_in_number_and_length() {
    let error = compile(&"const a;\n".repeat(200), Language::TypeScript).expect_err("it compiled");
    assert_eq!((error.errors.len(), error.errors[49].line), (50, 50));
    let source = format!("import '{}';", "é".repeat(1000));
    let error = compile(&source, Language::TypeScript).expect_err("it compiled");
    assert_eq!(error.errors[0].message.chars().count(), 301);
}

#[test]
fn errors_cross_a_process_boundary() {
    let error = check_errors("const a;", &["1:7: 'const' declarations must be initialized"]);
    let json = serde_json::to_string(&error).expect("JSON");
    let expected = r#"{"file":"connector.ts","errors":[{"line":1,"column":7,"message":"'const' declarations must be initialized"}]}"#;
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<CompileError>(&json).expect("an error"), error);
}

#[test]
fn output_is_capped_and_nesting_is_not_indented() {
    let nested = format!(
        "function testConnection() {{}} function execute() {{}} {}{}",
        "{".repeat(60),
        "}".repeat(60)
    );
    let script = compiled(&nested).script;
    assert!(script.len() < nested.len() * 3, "{} bytes", script.len());
    let n_bytes = script.len();
    assert!(compile_within(&nested, Language::TypeScript, n_bytes).is_ok());
    let error = compile_within(&nested, Language::TypeScript, n_bytes - 1).expect_err("it fits");
    let message = format!("compiling stopped: the compiled script is larger than {} bytes", n_bytes - 1);
    assert_eq!(error.errors[0].message, message);
}

// Positions.

#[test]
fn an_error_three_helpers_deep_points_to_the_authors_lines() {
    let source = r#"// connector.ts
interface Context { operation: string }

enum Level { Low = 1, High = Low << 3 }

namespace Errors {
    export class ApiError<T = unknown> extends Error {
        constructor(public readonly status: number, readonly detail?: T) { super(`status ${‸status}`); }
    }
}

function check<T extends { status: number }>(response: T): asserts response is T & { status: 200 } {
    if (response.status !== 200)
        throw new ‸Errors.ApiError<T>(
        response.status as number,
        response,
    );
}

const fetchPage = async function <T>(this: void, page: number): Promise<T[]> { return [] as T[]; };

function request<T>(ctx: Context, level: Level = Level.High, ...rest: Array<[T, string]>): T {
    const response = { status: 500, level } as const satisfies { status: number };
       check<typeof response>(‸response); /* é */ return null!;
}

const connector = {
    testConnection(ctx: Context): void {},
    execute(ctx: Context) {
        const é: string = "ééé"; const result = é ? request<string>(‸ctx) : undefined;
        return result;
    },
};"#;
    check_stack(source, &["ApiError", "check", "request", "execute"]);
}

#[test]
fn positions_hold_after_multiline_text_and_on_crowded_lines() {
    let source = "const t = `one
two ${(() => { try { null!.x } catch { return 1 } })()}
three`, s = 'a\\
b'; enum E { A, B } type T = { [K in keyof E]: string }; function f(this: void, a?: T): never { throw ‸Error(t as string) }
export const testConnection = () => {}; export const execute = <X,>(): X => { const v: any = ‸f(); return v as X; }";
    check_stack(source, &["f", "execute"]);
}

#[test]
fn a_byte_order_mark_and_dos_lines_move_nothing() {
    let source = "\u{feff}function fail(x: string) { throw new ‸Error(x) }\r\nconst text = `a\r\nb`;\r\n\r\n  export function execute() { fail(‸text) }\r\nexport function testConnection() {}";
    check_stack(source, &["fail", "execute"]);
    check_stack(
        "\u{feff}function testConnection() {} function execute() { const é: any = null, x = ‸é!.x; }",
        &["execute"],
    );
}

#[test]
fn positions_hold_in_moved_code() {
    let source = "function boom(): number { throw new ‸Error('moved'); }
class Moved {
    first: string = 'a';
    second = ‸boom();
    constructor(private readonly x: number) {}
}
namespace N {
    export function made() { return new ‸Moved(1); }
}
export default {
    testConnection() {},
    execute: () => N.‸made(),
};";
    check_stack(source, &["boom", "Moved", "made", "execute"]);
}

#[test]
fn a_source_map_of_version_3_agrees_with_lookups() {
    let source = "const x: string = '😀', y = x.length; enum E { A = y }\nexport function execute() { return y + E.A }\nexport function testConnection() {}";
    let compiled = compiled(source);
    let json: serde_json::Value =
        serde_json::from_str(&compiled.source_map_json("connector.ts", source)).expect("JSON");
    assert_eq!(json["version"], 3);
    assert_eq!(json["sources"], serde_json::json!(["connector.ts"]));
    assert_eq!(json["sourcesContent"], serde_json::json!([source]));
    // Columns of source maps are in UTF-16 units, of which the emoji takes two.
    let place = |text: &str, needle: &str| {
        let before = text.split_once(needle).expect("the needle").0;
        let line = before.rsplit('\n').next().expect("a line");
        let counts = (before.matches('\n').count(), line.encode_utf16().count());
        (i64::try_from(counts.0).expect("small"), i64::try_from(counts.1).expect("small"))
    };
    let mappings = decode(json["mappings"].as_str().expect("mappings"));
    for needle in ["y = x", "execute", "y + E"] {
        let ((script_line, script_column), (line, column)) =
            (place(&compiled.script, needle), place(source, needle));
        assert!(
            mappings.contains(&(script_line, script_column, line, column)),
            "{needle}\n{}\n{json}",
            compiled.script
        );
    }
}

/// The mappings of a source map as (script line, script column, line, column), from 0.
fn decode(mappings: &str) -> Vec<(i64, i64, i64, i64)> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut decoded = Vec::new();
    let (mut line, mut column) = (0, 0);
    for (script_line, segments) in (0..).zip(mappings.split(';')) {
        let mut script_column = 0;
        for segment in segments.split(',').filter(|segment| !segment.is_empty()) {
            let mut numbers = Vec::new();
            let (mut number, mut shift) = (0i64, 0);
            for digit in segment.chars() {
                let digit = i64::try_from(DIGITS.find(digit).expect("a digit")).expect("small");
                number |= (digit & 31) << shift;
                shift += 5;
                if digit < 32 {
                    numbers.push(if number & 1 == 1 { -(number >> 1) } else { number >> 1 });
                    (number, shift) = (0, 0);
                }
            }
            let [by_script_column, 0, by_line, by_column] = numbers[..] else { panic!("{segment}") };
            (script_column, line, column) =
                (script_column + by_script_column, line + by_line, column + by_column);
            decoded.push((script_line, script_column, line, column));
        }
    }
    decoded
}
