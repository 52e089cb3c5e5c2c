//! Agents: what they are granted, what they declare, and what nobody gets through them.

mod calls;
mod declarations;
mod grants;
mod support;
