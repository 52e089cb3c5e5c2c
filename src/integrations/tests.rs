//! Tests of integrations in folders and of uploads.

mod folders;
mod uploads;
