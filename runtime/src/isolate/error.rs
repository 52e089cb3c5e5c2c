//! The two ways in which errors cross between Rust and the code: thrown into it, and described out of it.

use rquickjs::{Array, CaughtError, Ctx, Error, Exception, Function, Value};

use crate::sandbox::wire::{Failure, FailureKind};

/// Throws an Error of this message into the code.
pub(super) fn throw(ctx: &Ctx<'_>, message: &str) -> Error {
    Exception::throw_message(ctx, message)
}

/// What is said of an error that came out of the engine, by the prelude's `describe`.
pub(super) fn describe<'js>(ctx: &Ctx<'js>, describe: &Function<'js>, error: Error) -> Failure {
    let thrown: Value<'js> = match CaughtError::from_error(ctx, error) {
        CaughtError::Exception(exception) => exception.into_value(),
        CaughtError::Value(value) => value,
        CaughtError::Error(error) => return failure(FailureKind::Thrown, &error.to_string(), None),
    };
    let described = describe.call::<_, Array<'js>>((thrown,)).and_then(|said| {
        let kind: String = said.get(0)?;
        Ok((kind, said.get::<String>(1)?, said.get::<Option<String>>(2)?))
    });
    match described {
        Ok((kind, message, stack)) => failure(kind_of(&kind), &message, stack),
        Err(_) => {
            ctx.catch();
            failure(FailureKind::Memory, "out of memory while an error was described", None)
        }
    }
}

fn kind_of(kind: &str) -> FailureKind {
    match kind {
        "memory" => FailureKind::Memory,
        "stack" => FailureKind::Stack,
        _ => FailureKind::Thrown,
    }
}

/// A failure of this kind and message.
pub(super) fn failure(kind: FailureKind, message: &str, stack: Option<String>) -> Failure {
    Failure { kind, message: message.to_owned(), stack }
}
