//! A connector's source made into the script that the engine runs: types erased, shape checked, positions kept.
//!
//! [`compile`] is a pure function, but one for hostile input: nesting deep enough overflows the parser's stack, and some
//! inputs take quadratic time or panic inside swc. Call it in a process that may die, under a deadline and a memory limit.
//! It starts no thread, opens no file and reads no environment.

mod entry;
mod error;
mod positions;
mod print;
mod refuse;
mod shape;
mod throws;

pub use error::{CompileError, SourceError};
pub use positions::{PositionMap, PositionMapError};

use serde::{Deserialize, Serialize};
use swc_core::common::errors::{HANDLER, Handler};
use swc_core::common::sync::Lrc;
use swc_core::common::{BytePos, FileName, GLOBALS, Globals, Mark, SourceFile, SourceMap, SyntaxContext};
use swc_core::ecma::ast::{EsVersion, Program};
use swc_core::ecma::parser::error::{Error, SyntaxError};
use swc_core::ecma::parser::{EsSyntax, Syntax, TsSyntax, parse_file_as_program};
use swc_core::ecma::transforms::base::{fixer::fixer, hygiene::hygiene, resolver};
use swc_core::ecma::transforms::typescript::typescript;

use crate::package::Language;
use error::Problems;

/// The most bytes of script that [`compile`] prints.
pub const MAX_SCRIPT_BYTES: usize = 4 << 20;

/// The one name that a compiled module exports.
pub const ENTRY_EXPORT: &str = "__portcullis_entry";

/// What the engine is given in place of the author's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// JavaScript as UTF-8, lines ended by `\n`.
    ///
    /// Its entry is an object `{connector, execute, testConnection}` whose absent members are `undefined`: the completion
    /// value of a script, the export [`ENTRY_EXPORT`] of a module. Where the file gives an object, `connector` is set and
    /// the functions are not, so that no file has two entries.
    pub script: String,
    /// How the engine has to evaluate it.
    pub kind: Kind,
    /// The way back from positions in `script` to the author's.
    pub positions: PositionMap,
}

impl Compiled {
    /// A source map, version 3, of `script`. `file_name` and `source` are those of the author's file.
    pub fn source_map_json(&self, file_name: &str, source: &str) -> String {
        self.positions.to_source_map_json(file_name, source, &self.script)
    }
}

/// The two ways of evaluating JavaScript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sloppy unless it says `"use strict"`; for files without `import`, `export` or top-level `await`.
    Script,
    /// Strict, with top-level `await`.
    Module,
}

/// Compiles a connector's one source file.
///
/// # Errors
/// Every syntax error, every use of what a connector can't have (imports, decorators), a missing or ambiguous shape, and a
/// script past [`MAX_SCRIPT_BYTES`], each with its position in `source`.
pub fn compile(source: &str, language: Language) -> Result<Compiled, CompileError> {
    compile_within(source, language, MAX_SCRIPT_BYTES)
}

/// [`compile`] with another cap on the bytes of the script.
///
/// # Errors
/// As [`compile`].
pub fn compile_within(
    source: &str,
    language: Language,
    max_script_bytes: usize,
) -> Result<Compiled, CompileError> {
    let text = normalize(source);
    let source_map = Lrc::new(SourceMap::default());
    let file = source_map.new_source_file(FileName::Anon.into(), text.clone());
    let job =
        Job { language, source_map, file, problems: Problems::new(&text), text: &text, max_script_bytes };
    job.run().map_err(|problems| problems.into_error(file_name(language)))
}

/// Lets swc read what it reads once in a process: the number of processors, from files in /proc and /sys. After this,
/// [`compile`] makes no system calls but for memory, random numbers and signal stacks, as a jail wants it.
pub fn warm_up() {
    const ALL_PASSES: &str = "
        import type { T } from './types';
        enum E { A = 1 << 1, B = A }
        namespace N { export const k = 1; export function f(N: number) { return N + k; } }
        const x = 1;
        class C { [('y' as string) + 1] = x; z = this.x; constructor(public x: number) {} }
        export const connector = { testConnection: () => new C(E.B), execute: () => N.f(`é${x}`.length) };
    ";
    let compiled = compile(ALL_PASSES, Language::TypeScript);
    debug_assert!(compiled.is_ok(), "{compiled:?}");
}

/// The text as editors count it: no byte order mark, and `\n` for each line end. JavaScript gives the same meaning to all
/// line ends, in templates as well.
fn normalize(source: &str) -> String {
    source.strip_prefix('\u{feff}').unwrap_or(source).replace("\r\n", "\n").replace('\r', "\n")
}

fn file_name(language: Language) -> &'static str {
    match language {
        Language::TypeScript => "connector.ts",
        Language::JavaScript => "connector.js",
    }
}

fn syntax(language: Language) -> Syntax {
    // Decorators and the like are parsed so that `refuse` can name them, where the parser would stumble over a token.
    match language {
        Language::TypeScript => Syntax::Typescript(TsSyntax { decorators: true, ..TsSyntax::default() }),
        Language::JavaScript => Syntax::Es(EsSyntax {
            decorators: true,
            decorators_before_export: true,
            import_attributes: true,
            auto_accessors: true,
            explicit_resource_management: true,
            ..EsSyntax::default()
        }),
    }
}

/// One file on its way through the passes.
struct Job<'a> {
    language: Language,
    source_map: Lrc<SourceMap>,
    file: Lrc<SourceFile>,
    text: &'a str,
    problems: Problems,
    max_script_bytes: usize,
}

impl Job<'_> {
    fn run(mut self) -> Result<Compiled, Problems> {
        let Some(program) = self.parse() else { return Err(self.problems) };
        let handler = Handler::with_emitter(false, false, self.problems.emitter());
        let program = GLOBALS.set(&Globals::new(), || HANDLER.set(&handler, || self.transform(program)));
        match program {
            Some(program) if self.problems.is_empty() => self.print(&program),
            _ => Err(self.problems),
        }
    }

    fn parse(&mut self) -> Option<Program> {
        let mut recovered = Vec::new();
        let parsed = parse_file_as_program(
            &self.file,
            syntax(self.language),
            EsVersion::latest(),
            None,
            &mut recovered,
        );
        let is_script = matches!(parsed, Ok(Program::Script(_)));
        let fatal = parsed.as_ref().err();
        let is_error = |error: &&Error| !(is_script && allowed_in_scripts(error.kind()));
        for error in recovered.iter().chain(fatal).filter(is_error) {
            let help = if self.problems.is_empty() { self.typescript_help() } else { None };
            self.problems.syntax(error, help);
        }
        let program = parsed.ok()?;
        if body_is_empty(&program) && self.problems.is_empty() {
            self.problems.add(self.file.start_pos, "code file is empty", Some(shape::HELP));
        }
        Some(program)
    }

    /// A .js file that parses as TypeScript was probably meant to be one.
    fn typescript_help(&self) -> Option<&'static str> {
        if self.language == Language::TypeScript {
            return None;
        }
        let mut recovered = Vec::new();
        let syntax = syntax(Language::TypeScript);
        let parsed = parse_file_as_program(&self.file, syntax, EsVersion::latest(), None, &mut recovered);
        (parsed.is_ok() && recovered.is_empty())
            .then_some("this looks like TypeScript: name the file connector.ts")
    }

    fn transform(&mut self, program: Program) -> Option<Program> {
        let marks = Marks { unresolved: Mark::new(), top_level: Mark::new() };
        let is_typescript = self.language == Language::TypeScript;
        let mut program = program.apply(resolver(marks.unresolved, marks.top_level, is_typescript));
        refuse::check(&program, self.language, marks, &mut self.problems);
        if !self.problems.is_empty() {
            return None;
        }
        let names = entry::OwnNames::unused_in(&program);
        let found = shape::find(&program, marks, &names.default, &mut self.problems)?;
        entry::unwrap_exports(&mut program, &names.default, marks);
        if is_typescript {
            let config = typescript::Config { no_empty_export: true, ..typescript::Config::default() };
            program = program.apply(typescript::typescript(config, marks.unresolved, marks.top_level));
            refuse::check_imports_left(&program, &mut self.problems);
        }
        entry::append(&mut program, &found, &names.entry, marks);
        if is_typescript {
            // Erasing moves field initializers into constructors, whose parameters may then need other names.
            program = program.apply(hygiene());
        }
        Some(program.apply(fixer(None)))
    }

    fn print(mut self, program: &Program) -> Result<Compiled, Problems> {
        let kind = if program.is_module() { Kind::Module } else { Kind::Script };
        match print::print(program, &self.source_map, self.max_script_bytes) {
            Ok((script, mut marks)) => {
                let moved = throws::moved_positions(program);
                for (position, _) in &mut marks {
                    *position = moved.get(position).copied().unwrap_or(*position);
                }
                let positions = PositionMap::from_marks(&marks, self.file.start_pos, self.text, &script);
                Ok(Compiled { script, kind, positions })
            }
            Err(error) => {
                let message = format!("compiling stopped: {error}");
                self.problems.add(self.file.start_pos, &message, None);
                Err(self.problems)
            }
        }
    }
}

/// The marks by which the resolver tells names of the file from names of its surroundings.
#[derive(Clone, Copy)]
struct Marks {
    unresolved: Mark,
    top_level: Mark,
}

impl Marks {
    fn unresolved_context(self) -> SyntaxContext {
        SyntaxContext::empty().apply_mark(self.unresolved)
    }

    fn top_level_context(self) -> SyntaxContext {
        SyntaxContext::empty().apply_mark(self.top_level)
    }
}

/// What TypeScript complains of although sloppy scripts may do it: `with`, octal literals, `delete name`.
fn allowed_in_scripts(error: &SyntaxError) -> bool {
    matches!(error, SyntaxError::TS2410 | SyntaxError::TS1085)
}

fn body_is_empty(program: &Program) -> bool {
    match program {
        Program::Module(module) => module.body.is_empty(),
        Program::Script(script) => script.body.is_empty(),
    }
}

/// A byte's distance from the start of the file, or `None` for the positions that swc makes up.
fn offset(position: BytePos, start: BytePos, n_bytes: usize) -> Option<usize> {
    let offset = usize::try_from(position.0.checked_sub(start.0)?).ok()?;
    (!position.is_dummy() && offset <= n_bytes).then_some(offset)
}
