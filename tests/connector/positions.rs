//! Stack traces: `connector.ts:LINE:COLUMN` as the author wrote it, whatever became of the code on its way.

use portcullis_runtime::ErrorCode::ProviderError;
use serde_json::json;

use crate::support::Case;

/// The stack trace of what `execute` throws.
#[track_caller]
fn stack(source: &str) -> String {
    Case::code(source).run().stack().to_owned()
}

const TYPED: &str = "\
import type { Absent } from 'nowhere';
enum Color { Red = 1, Green = Red << 1, Blue = 'b'.length }
namespace Tools {
  export interface Shape<T extends object = {}> { readonly a?: T }
  export function fail<T>(this: void, what: T, ...more: unknown[]): never {
    throw new RangeError(`no ${String(what)}`);
  }
}
declare const absent: number;
abstract class Base<T> { constructor(protected readonly value: T, private other?: string) {} abstract go(): T }
class Helper extends Base<Color> {
  go(): Color { return middle<Color>(this.value as Color)! }
}
const middle = <T,>(x: T): T => inner(x satisfies T) as T;
function inner<T>(x: T): T {
  /* größer 😀 */ if (x) { const y = x as unknown as string; return Tools.fail(y) }
  return x;
}
type Later = { [K in keyof Helper]?: Helper[K] };
export const connector = {
  testConnection(): void {},
  execute(ctx: { params: unknown }): Later { return new Helper(Color.Green).go() as unknown as Later },
} as const;
";

#[test]
fn three_helpers_deep_through_every_kind_of_type() {
    assert_eq!(
        stack(TYPED),
        "RangeError: no 2\n    at fail (connector.ts:6:15)\n    at inner (connector.ts:16:79)\n    at middle (connector.ts:14:39)\n    at go (connector.ts:12:38)\n    at execute (connector.ts:22:77)"
    );
}

#[test]
fn line_ends_of_every_kind_count_once() {
    let expected = stack(TYPED);
    assert_eq!(stack(&TYPED.replace('\n', "\r\n")), expected);
    assert_eq!(stack(&TYPED.replace('\n', "\r")), expected);
    assert_eq!(stack(&format!("\u{feff}{TYPED}")), expected);
}

#[test]
fn a_script_keeps_its_positions() {
    let source = "\
// a comment, and then types

interface A { a: string }


function helper(a: A): string { return a.missing.length }
function execute(ctx: any) {
  const a: A = { a: 'ü' }, b: string = helper(a);
  return b;
}
function testConnection() {}
";
    assert_eq!(
        stack(source),
        "TypeError: cannot read property 'length' of undefined\n    at helper (connector.ts:6:40)\n    at execute (connector.ts:8:47)"
    );
}

#[test]
fn javascript_is_named_as_such() {
    let source = "module_level = 1;\nfunction execute() {\n  throw new Error('js');\n}\nfunction testConnection() {}\n";
    let ran = Case::javascript(source).fails(ProviderError, "js");
    assert_eq!(ran.stack(), "Error: js\n    at execute (connector.js:3:13)");
}

#[test]
fn anonymous_functions_and_callbacks_have_positions() {
    let source = "\
const connector = {
  testConnection() {},
  execute: (ctx) => [1].map((n) => {
    return [n].forEach(function () {
      throw new Error('deep');
    });
  }),
};
";
    let stack = stack(source);
    let lines: Vec<&str> = stack.lines().collect();
    assert_eq!(lines[0], "Error: deep");
    assert!(lines[1].ends_with("connector.ts:5:17") || lines[1].ends_with("connector.ts:5:17)"), "{stack}");
    assert!(lines.iter().any(|line| line.contains("connector.ts:4:24")), "{stack}");
    assert!(lines.iter().any(|line| line.contains("execute (connector.ts:3:25)")), "{stack}");
    assert!(lines.iter().skip(1).all(|line| line.contains("connector.ts:")), "{stack}");
}

#[test]
fn async_functions_have_positions() {
    let source = "\
async function inner(): Promise<number> {
  await null;
  throw new Error('later');
}
async function execute(ctx: unknown) {
  return await inner();
}
async function testConnection() {}
";
    let stack = stack(source);
    assert!(stack.starts_with("Error: later\n    at inner (connector.ts:3:13)"), "{stack}");
}

#[test]
fn errors_of_the_host_have_the_callers_position() {
    let source = "\
function helper(ctx) {
  return ctx.http.get('https://evil.test/');
}
function execute(ctx) {
  return helper(ctx);
}
function testConnection() {}
";
    assert_eq!(
        stack(source),
        "Error: HTTP request to \"evil.test\" blocked: host not in allowedHosts [http://api.test, api.test]\n    \
         at helper (connector.ts:2:19)\n    at execute (connector.ts:5:17)"
    );
    for (url, heading) in [
        (
            "'not a url'",
            "Error: HTTP request not sent: \"not a url\" is no absolute URL: relative URL without a base",
        ),
        ("", "TypeError: ctx.http.get needs a URL"),
    ] {
        let ran = Case::code(&source.replace("'https://evil.test/'", url)).run();
        let mut lines = ran.stack().lines();
        assert_eq!(lines.next(), Some(heading));
        assert!(lines.next().unwrap().starts_with("    at helper (connector.ts:2:"), "{}", ran.stack());
    }
}

#[test]
fn a_call_over_several_lines_has_a_position_within_it() {
    let source = "\
function helper(first: number, second: { a: number }): number { throw new Error('x') }
function execute(ctx: any) {
  const one = 1;
  return helper(
    one,
    {
      a: one,
    },
  );
}
function testConnection() {}
";
    let stack = stack(source);
    let line = stack.lines().nth(2).unwrap().strip_prefix("    at execute (connector.ts:").unwrap();
    let line: u32 = line.split(':').next().unwrap().parse().unwrap();
    assert!((4..=9).contains(&line), "{stack}");
}

#[test]
fn a_stack_in_a_result_or_a_log_has_the_authors_positions() {
    let source = "\
enum E { A }
function fail(): never { throw new Error('x') }
function execute(ctx: any) {
  try { fail() } catch (error: any) { console.log(error.stack); return error.stack }
}
function testConnection() {}
";
    let expected = "Error: x\n    at fail (connector.ts:2:36)\n    at execute (connector.ts:4:9)";
    let ran = Case::code(source).gives(json!(expected));
    assert_eq!(ran.logged(), json!([["log", expected]]));
}

#[test]
fn the_top_levels_errors_have_positions() {
    let source = "const x: number = 1;\nfunction start(): void {\n  (undefined as any).x;\n}\nstart();\nconst connector = { testConnection() {}, execute() {} };\n";
    let error = Case::code(source).try_load().err().unwrap().to_string();
    assert!(error.contains("connector.ts:3:"), "{error}");
    assert!(error.contains("cannot read property 'x' of undefined"), "{error}");
}

#[test]
fn no_position_of_generated_code_is_seen() {
    for code in [
        "try { null.x } catch (error) { return error.stack }",
        "return new Error('x').stack",
        "return (() => { try { ctx.http.post('http://api.test/', { body: 1 }) } catch (error) { return error.stack } })()",
        "try { JSON.parse('{') } catch (error) { return error.stack }",
        "try { [3, 1].sort(() => { throw new Error('in sort') }) } catch (error) { return error.stack }",
        "try { new Proxy({}, { get() { throw new Error('in a trap') } }).x } catch (error) { return error.stack }",
    ] {
        let ran = Case::execute(code).run();
        let stack = ran.value().as_str().unwrap().to_owned();
        for line in stack.lines().filter(|line| line.starts_with("    at ")) {
            let position =
                line.rsplit_once("connector.ts:").unwrap_or_else(|| panic!("{line}")).1.trim_end_matches(')');
            let (at_line, _) = position.split_once(':').unwrap();
            assert_eq!(at_line, "4", "{stack}");
        }
        assert!(!stack.contains("prelude"), "{stack}");
    }
}
