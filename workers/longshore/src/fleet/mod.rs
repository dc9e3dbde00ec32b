//! The whole fleet at one moment, for `/fleet`, `longshore top` and the console: the group's listing tells who its members are and which of
//! them have pages (by their `client.id`), and each of those is asked for its own figures (`/status`).
//!
//! What Kafka says counts over what a member says: a member's figures are taken for the partitions alone that the group gave it, and where nobody
//! answers for a partition, what is committed for it tells how far it is behind.
//!
//! **Architecture invariant:** whoever may join the group chooses its own `client.id` and answers. So a member is asked only at the address that the broker
//! lists and the port that a worker's `client.id` names, by one plain GET of one path, with bounds for time and size; no redirect is followed, no
//! name is looked up, nothing of an answer leads to another request, and its texts are cut and cleaned where they come in ([`ask`]).

pub(crate) mod ask;
mod looker;
mod merge;
mod own;
mod pace;
pub(crate) mod page;
pub(crate) mod view;

pub(crate) use looker::Looker;
pub(crate) use own::Own;
