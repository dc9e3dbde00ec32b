//! Test doubles that drive the real pair machine: a simulated broker, sinks, clock and fault plan. Never a dependency of
//! production code.
//!
//! [`sim::run`] plays one seed: a small log, one to three sinks, a few worker processes that crash, become zombies, lose
//! and regain the pair, and at every step one of all possible things happens. The oracle checks the promises at every
//! commit and at the end. [`sabotage::Sabotage`] plants one mistake between the machine and the world, to show that the
//! oracle would find it.

mod landing;
mod oracle;
mod perform;
mod plan;
mod process;
mod random;
mod retry;
pub mod sabotage;
pub mod sim;
mod spool;
mod trace;
mod work;
mod world;

pub use random::Random;
