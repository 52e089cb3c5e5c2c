//! The work of a compile process: TypeScript in, bytecode and positions out.

use std::fs::File;
use std::io::Write;

use serde::Serialize;

use super::wire::{self, CompileRequest, FailureKind, FrameReader, Kind};
use crate::compile::{self, CompileError, SourceError};
use crate::isolate::{Image, Isolate, IsolateLimits, compile_to_bytecode};
use crate::limits::{KIB, MIB};
use crate::package::Language;

/// The longest source that a compile process takes, in bytes; packages are held to less.
const MAX_SOURCE: u64 = 4 * MIB;

/// What the top level of a connector's code may use when it is tried at the end of a compile.
const INSPECTION: IsolateLimits = IsolateLimits { memory: 64 * MIB, stack: 512 * KIB, cpu_ms: 2_000 };

/// Reads one request from the socket, compiles, and answers.
pub(super) fn serve(mut socket: File) {
    let Ok(frame) = FrameReader::new().read(&mut socket, |_| MAX_SOURCE) else { return };
    let (Kind::Compile, Ok(request)) = (frame.kind, frame.head::<CompileRequest>()) else { return };
    let language = if request.typescript { Language::TypeScript } else { Language::JavaScript };
    let answer = match compile_and_inspect(&frame.text(), language) {
        Ok(image) => compiled(&image),
        Err(error) => encode(Kind::CompileErrors, &error),
    };
    // Where the gateway has gone there is nobody to tell.
    let _ = socket.write_all(&answer);
}

fn compile_and_inspect(source: &str, language: Language) -> Result<Image, CompileError> {
    let compiled = compile::compile(source, language)?;
    let at_position = |failure: &wire::Failure| {
        let position = failure.stack.as_deref().and_then(|stack| position_in(stack, language));
        let (line, column) = position.unwrap_or((1, 1));
        single(language, line, column, worded(failure))
    };
    let mut image = compile_to_bytecode(&compiled, language).map_err(|failure| at_position(&failure))?;
    let isolate = Isolate::load(&image, INSPECTION).map_err(|message| single(language, 1, 1, message))?;
    image.early = isolate.inspect().map_err(|failure| at_position(&failure))?;
    Ok(image)
}

fn single(language: Language, line: u32, column: u32, message: String) -> CompileError {
    let error = SourceError { line, column, message, help: None };
    CompileError { file: language.file_name().to_owned(), errors: vec![error] }
}

/// What the code's author is told of a failure while the code was compiled or its top level tried.
fn worded(failure: &wire::Failure) -> String {
    let message = &failure.message;
    match failure.kind {
        FailureKind::NotAConnector => message.clone(),
        FailureKind::Cpu => "the code's top level doesn't finish: it used 2 s of CPU time".to_owned(),
        FailureKind::Memory => "the code's top level used more than 64 MiB of memory".to_owned(),
        FailureKind::Stack => "the code's top level used more than 512 KiB of stack".to_owned(),
        FailureKind::NeverSettles => "the code's top level awaits a promise that can never settle".to_owned(),
        FailureKind::Thrown | FailureKind::NotJson => match &failure.stack {
            Some(stack) if stack.contains("\n    at ") => format!("the code's top level throws: {message}"),
            _ => message.clone(),
        },
    }
}

/// The first `LINE:COLUMN` of a stack trace, in the connector's own file.
fn position_in(stack: &str, language: Language) -> Option<(u32, u32)> {
    let after = match stack.split_once(&format!("{}:", language.file_name())) {
        Some((_, after)) => after,
        None => stack,
    };
    let mut numbers = after.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn compiled(image: &Image) -> Vec<u8> {
    let bytecode_len = u32::try_from(image.bytecode.len()).unwrap_or(u32::MAX);
    let head = wire::Compiled { module: image.module, early: image.early, bytecode_len };
    wire::encode(Kind::Compiled, &head, &[image.bytecode.as_slice(), &image.positions].concat())
}

fn encode(kind: Kind, head: &impl Serialize) -> Vec<u8> {
    wire::encode(kind, head, b"")
}
