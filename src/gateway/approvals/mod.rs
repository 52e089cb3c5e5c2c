//! Approvals: calls that a person must confirm before anything of them is sent.

pub(crate) mod rule;

pub(crate) use rule::{ApprovalRule, waits_for_a_person};
