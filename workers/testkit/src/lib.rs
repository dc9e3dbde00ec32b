//! Test doubles that drive the real pair machine: a simulated broker, sinks, clock and fault plan. Never a dependency of
//! production code.
//!
//! [`sim::run`] plays one seed: one to three pairs of a topic with small logs, one to three sinks, a few worker processes that crash, become
//! zombies, lose and regain pairs, and at every step one of all possible things happens. The oracle checks the promises at every
//! commit and whenever it is calm. [`coverage`] says what seeds came to, [`shrink`] makes a failure small. [`sabotage::Sabotage`] plants one mistake between the machine and the world, to show that the
//! oracle would find it.

pub mod case;
pub mod coverage;
mod fleet;
mod landing;
mod oracle;
mod perform;
mod plan;
mod process;
mod random;
mod retry;
pub mod sabotage;
mod schedule;
pub mod shrink;
pub mod sim;
mod spool;
mod story;
mod trace;
mod work;
mod world;

pub use random::Random;
