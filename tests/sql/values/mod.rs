//! Values on their way into a database and out again: the same JSON from every engine.

mod arguments;
mod columns;
mod expressions;
mod golden;
mod injection;
mod places;
