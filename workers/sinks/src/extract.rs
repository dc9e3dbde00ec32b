//! Values made of records, for sinks that write columns or folders.

use longshore_core::{Failure, Item, Value};

/// Makes a value of an item; pure, shared by all CPU threads.
pub trait Extract: Send + Sync {
    /// The value.
    ///
    /// # Errors
    /// [`Failure::reject`] when the record has none.
    fn extract(&self, item: &Item) -> Result<Value, Failure>;
}
