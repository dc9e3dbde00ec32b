//! What the suites under `tests/suites` share.
//!
//! A suite is one test binary. Which broker it used, and what it could not run, goes to standard output and to the file
//! that `LONGSHORE_TEST_REPORT` names; `make test` prints it.

pub mod harness;
