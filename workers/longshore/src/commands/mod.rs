//! One file per command.

pub(crate) mod check;
pub(crate) mod common;
pub(crate) mod completions;
pub(crate) mod connection;
pub(crate) mod deploy;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod init;
pub(crate) mod lag;
pub(crate) mod publish;
pub(crate) mod retry;
pub(crate) mod rewind;
pub(crate) mod scaler;
pub(crate) mod schema;
pub(crate) mod sink;
pub(crate) mod tap;
pub(crate) mod top;
pub(crate) mod topics;
pub(crate) mod why;
