//! Tests of what agents are offered and where their calls' names lead, and of what they lack.

mod names;
mod needs;
