//! The script API: one table from which `ctx` and `console` are registered, and `connector.d.ts` is written.

use std::fmt::Write as _;
use std::rc::Rc;

use rquickjs::function::Opt;
use rquickjs::object::Property;
use rquickjs::{Ctx, Function, Object, Result};

use super::error::throw;
use super::host::Host;
use crate::encoding::{decode_base64, encode_base64};
use crate::sandbox::wire::LogLevel;

/// A function of the script API.
struct Row {
    /// The object that holds it: `console` (a global), `ctx`, or a member of `ctx`.
    object: &'static str,
    /// Its name in that object.
    name: &'static str,
    /// Its TypeScript signature.
    signature: &'static str,
    /// What an editor shows for it.
    doc: &'static str,
}

const fn row(object: &'static str, name: &'static str, signature: &'static str, doc: &'static str) -> Row {
    Row { object, name, signature, doc }
}

const TABLE: &[Row] = &[
    row("console", "debug", "(...values: unknown[]): void", "Logs a message of level `debug` with the call."),
    row("console", "log", "(...values: unknown[]): void", "Logs a message with the call."),
    row("console", "info", "(...values: unknown[]): void", "Logs a message of level `info` with the call."),
    row("console", "warn", "(...values: unknown[]): void", "Logs a message of level `warn` with the call."),
    row("console", "error", "(...values: unknown[]): void", "Logs a message of level `error` with the call."),
    row(
        "http",
        "get",
        "(url: string, options?: HttpOptions): HttpResponse",
        "Sends a GET request. Any status is returned; an Error is thrown where there was no response.",
    ),
    row("http", "post", "(url: string, options?: HttpBodyOptions): HttpResponse", "Sends a POST request."),
    row("http", "put", "(url: string, options?: HttpBodyOptions): HttpResponse", "Sends a PUT request."),
    row("http", "patch", "(url: string, options?: HttpBodyOptions): HttpResponse", "Sends a PATCH request."),
    row(
        "http",
        "delete",
        "(url: string, options?: HttpBodyOptions): HttpResponse",
        "Sends a DELETE request, with a body where one is given.",
    ),
    row(
        "secrets",
        "get",
        "(key: string): string | undefined",
        "The connection's credential of this key, or a string of its configuration; undefined where there is none.",
    ),
    row(
        "ctx",
        "base64Encode",
        "(utf8: string): string",
        "Base64 (standard alphabet, padded) of the text's UTF-8 bytes.",
    ),
    row(
        "ctx",
        "base64Decode",
        "(base64: string): string",
        "The text whose UTF-8 bytes the base64 stands for. Takes both alphabets, missing padding and white space; bytes that \
         are no UTF-8 become U+FFFD.",
    ),
    row(
        "files",
        "download",
        "(url: string, options: { headers?: Record<string, string>; fileName?: string }): StoredFile",
        "Downloads a file straight into storage; its bytes don't pass through the connector. A status other than 2xx throws.",
    ),
    row(
        "files",
        "store",
        "(data: string, options: { encoding: 'base64' | 'utf-8'; contentType: string; fileName: string }): StoredFile",
        "Stores a file that the connector made.",
    ),
];

/// The objects that hold the table's functions.
pub(super) struct Api<'js> {
    /// `ctx`, without `operation`, `params` and `files`.
    pub(super) ctx: Object<'js>,
    /// `ctx.files`.
    pub(super) files: Object<'js>,
}

/// Registers `console` and makes the members of `ctx`, from the prelude's functions.
pub(super) fn register<'js>(ctx: &Ctx<'js>, functions: &Object<'js>) -> Result<Api<'js>> {
    let api = Api { ctx: Object::new(ctx.clone())?, files: Object::new(ctx.clone())? };
    let (http, secrets) = (Object::new(ctx.clone())?, Object::new(ctx.clone())?);
    let console = Object::new(ctx.clone())?;
    for Row { object, name, .. } in TABLE {
        let (holder, path) = match *object {
            "console" => (&console, format!("console.{name}")),
            "http" => (&http, format!("http.{name}")),
            "secrets" => (&secrets, format!("secrets.{name}")),
            "files" => (&api.files, format!("files.{name}")),
            _ => (&api.ctx, (*name).to_owned()),
        };
        let function: Function<'js> = functions.get(path)?;
        function.set_name(name)?;
        holder.set(*name, function)?;
    }
    api.ctx.set("http", http)?;
    api.ctx.set("secrets", secrets)?;
    ctx.globals().prop("console", Property::from(console).writable().configurable())?;
    Ok(api)
}

/// The functions that the prelude calls: all that a call process can ask of its host.
pub(super) fn natives<'js>(ctx: &Ctx<'js>, host: &Rc<Host>) -> Result<Object<'js>> {
    let native = Object::new(ctx.clone())?;
    let h = Rc::clone(host);
    native.set(
        "http",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, head: String| {
            let (head, body) = h.http(head).map_err(|refusal| throw(&ctx, &refusal))?;
            // Defined, not set: a setter on a prototype of the connector's must not see them.
            let answer = Object::new(ctx)?;
            answer.prop("head", Property::from(head))?;
            answer.prop("body", Property::from(body))?;
            Ok::<_, rquickjs::Error>(answer)
        })?,
    )?;
    let h = Rc::clone(host);
    native.set(
        "download",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, head: String| {
            h.download(head).map_err(|refusal| throw(&ctx, &refusal))
        })?,
    )?;
    let h = Rc::clone(host);
    native.set(
        "store",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, head: String, data: String| {
            h.store(head, &data).map_err(|refusal| throw(&ctx, &refusal))
        })?,
    )?;
    let h = Rc::clone(host);
    native.set(
        "log",
        Function::new(ctx.clone(), move |level: String, message: String| h.log(level_of(&level), &message))?,
    )?;
    let h = Rc::clone(host);
    native.set("secret", Function::new(ctx.clone(), move |key: String| h.secret(&key))?)?;
    let h = Rc::clone(host);
    native.set(
        "position",
        Function::new(ctx.clone(), move |line: Opt<u32>, column: Opt<u32>| {
            h.position(line.unwrap_or(0), column.unwrap_or(0))
        })?,
    )?;
    native.set("base64Encode", Function::new(ctx.clone(), |text: String| encode_base64(text.as_bytes()))?)?;
    native.set(
        "base64Decode",
        Function::new(ctx.clone(), |ctx: Ctx<'js>, base64: String| {
            let bytes = decode_base64(&base64)
                .map_err(|error| throw(&ctx, &format!("base64Decode: the text is {error}")))?;
            Ok::<_, rquickjs::Error>(String::from_utf8_lossy(&bytes).into_owned())
        })?,
    )?;
    Ok(native)
}

fn level_of(level: &str) -> LogLevel {
    match level {
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warn" => LogLevel::Warn,
        "error" => LogLevel::Error,
        _ => LogLevel::Log,
    }
}

/// `connector.d.ts`: the types of what a connector's code sees, for editors.
pub fn connector_types() -> String {
    let mut types = String::from(HEADER);
    for (object, name, doc) in [
        ("console", "ConnectorConsole", "What is logged is kept with the call."),
        (
            "http",
            "ConnectorHttp",
            "HTTP to the hosts that the manifest's `allowedHosts` names. Requests are synchronous.",
        ),
        ("secrets", "ConnectorSecrets", "The connection's credentials and configuration."),
        ("files", "ConnectorFiles", "Storage for files that are too large for a result."),
    ] {
        let _ = write!(types, "/** {doc} */\ninterface {name} {{\n{}}}\n\n", methods(object));
    }
    types + &CONTEXT.replace("  //methods\n", &methods("ctx"))
}

fn methods(object: &str) -> String {
    TABLE.iter().filter(|row| row.object == object).fold(String::new(), |mut methods, row| {
        let _ = writeln!(methods, "  /** {} */\n  {}{};", row.doc, row.name, row.signature);
        methods
    })
}

const HEADER: &str = "\
// Types of a Portcullis connector. Written by `portcullis types`; a connector's code needs no import of it.

/** A response to an HTTP request. */
interface HttpResponse {
  /** The status, 100 to 599. */
  status: number;
  /** The status's standard reason phrase. */
  statusText: string;
  /** Headers: lower-case names; repeated ones are joined by `, `. */
  headers: Record<string, string>;
  /** The parsed value where the content type is JSON and the body parses; otherwise text. */
  body: any;
  /** The body as text. */
  text(): string;
  /** The body parsed as JSON; the text where it doesn't parse. */
  json(): any;
}

/** Options of any HTTP request. */
interface HttpOptions {
  /** Headers to send. */
  headers?: Record<string, string>;
  /** `base64`: `body` is base64 of the response's bytes. */
  responseType?: 'base64';
}

/** Options of a request that may have a body: at most one of `body`, `binaryBody` and `formFields`. */
interface HttpBodyOptions extends HttpOptions {
  /** Text to send; as `application/json` unless the headers name another type. */
  body?: string;
  /** Base64 of the bytes to send. */
  binaryBody?: string;
  /** Fields to send as `multipart/form-data`. */
  formFields?: FormField[];
}

/** A field of a multipart form. */
interface FormField {
  /** The field's name. */
  name: string;
  /** Text, or base64 where `isBase64` is set. */
  value: string;
  /** The file's name, for a file. */
  fileName?: string;
  /** The part's content type. */
  contentType?: string;
  /** Whether `value` is base64 of the bytes to send. */
  isBase64?: boolean;
}

/** A file in storage. */
interface StoredFile {
  fileId: string;
  url: string;
  fileName: string;
  contentType: string;
  /** In bytes. */
  size: number;
}

";

const CONTEXT: &str = "\
/** What `testConnection` is called with. */
interface TestContext {
  /** HTTP to the manifest's `allowedHosts`. */
  http: ConnectorHttp;
  /** The connection's credentials and configuration. */
  secrets: ConnectorSecrets;
  /** Storage; absent where none is configured. */
  files?: ConnectorFiles;
  //methods
}

/** What `execute` is called with. */
interface ConnectorContext<Params = any> extends TestContext {
  /** The operation's name. */
  operation: string;
  /** The arguments: validated against `parametersSchema`, defaults filled. */
  params: Params;
}

/** A connector, as its code declares it. */
interface Connector {
  /** Tries the connection's credentials; throws an Error that says what is wrong. */
  testConnection(ctx: TestContext): unknown;
  /** Runs an operation; what it returns must be JSON. */
  execute(ctx: ConnectorContext): unknown;
  /** Free for the connector's own use, such as a table of handlers. */
  operations?: Record<string, unknown>;
}

declare const console: ConnectorConsole;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_name_every_function_of_the_table() {
        let types = connector_types();
        for row in TABLE {
            assert!(types.contains(&format!("  {}{};\n", row.name, row.signature)), "{}", row.name);
            assert!(types.contains(row.doc), "{}", row.name);
        }
        assert!(!types.contains("//methods"));
    }
}
