//! What every sink with a ledger must do, whatever it writes to: one set of scenarios, run over each of them. A new sink is a
//! [`fixture::Fixture`] and a line at the end of this file. What can be asked of a sink without a ledger stands in [`topic`].
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests; clippy spares only test functions")]

#[path = "behaviour/clouds.rs"]
mod clouds;
#[path = "behaviour/crash.rs"]
mod crash;
#[path = "behaviour/files.rs"]
mod files;
#[path = "behaviour/fixture.rs"]
mod fixture;
#[path = "behaviour/later.rs"]
mod later;
#[path = "behaviour/objects.rs"]
mod objects;
#[path = "behaviour/outage.rs"]
mod outage;
#[path = "behaviour/owner.rs"]
mod owner;
#[path = "behaviour/places.rs"]
mod places;
#[path = "behaviour/postgres.rs"]
mod postgres;
#[path = "behaviour/requests.rs"]
mod requests;
#[path = "behaviour/rivals.rs"]
mod rivals;
#[path = "behaviour/size.rs"]
mod size;
#[path = "behaviour/topic.rs"]
mod topic;

/// The worker's own: what a process holds is judged here, and glibc keeps the parts of an upload once for each thread that made one.
#[global_allocator]
static ALLOCATOR: longshore_kafka::Allocator = longshore_kafka::ALLOCATOR;

/// All scenarios over one fixture, as tests of a module of their own. What each one is and guarantees stands at its function.
macro_rules! behaves {
    ($name:ident, $fixture:ty $(, #[$aside:meta])?) => {
        mod $name {
            behaves!(@each $fixture; [$($aside)?]
                later::a_re_read_is_known,
                later::identities_come_in_any_order,
                later::a_retry_and_a_replay_come_later,
                later::refused_records_take_nothing_along,
                later::another_cluster_or_topic_halts,
                outage::a_target_that_is_away_takes_nothing_by_half,
                outage::one_of_two_sinks_is_away,
                outage::a_lost_request_or_answer_is_found_out,
                crash::a_worker_dies_at_any_moment,
                crash::a_dropped_call_leaves_nothing,
                rivals::a_zombie_writes_nothing,
                rivals::of_racing_owners_one_wins_each_number,
                rivals::of_two_segments_of_one_number_one_is_held,
                rivals::readers_see_whole_segments,
                size::many_segments_are_recovered,
                size::an_open_segment_keeps_to_its_memory,
            );

            /// Not a test by itself: the worker that [`crate::crash`] and [`crate::size`] run in a process of its own.
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn child() {
                crate::crash::child::<$fixture>().await;
            }
        }
    };
    (@each $fixture:ty; $aside:tt $($part:ident::$scenario:ident,)*) => {
        $( behaves!(@one $fixture; $aside $part::$scenario); )*
    };
    (@one $fixture:ty; [$($aside:meta)?] $part:ident::$scenario:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$aside])?
        async fn $scenario() {
            let Some(fixture) = crate::fixture::fresh::<$fixture>() else { return };
            crate::$part::$scenario(fixture).await;
        }
    };
}

behaves!(files_jsonl_zst, crate::files::Files<false>);
behaves!(files_jsonl, crate::files::Files<true>);
behaves!(postgres_table, crate::postgres::Pg);
behaves!(folder_parquet, crate::objects::Folder<true>);
behaves!(folder_jsonl_zst, crate::objects::Folder<false>);
behaves!(bucket_parquet, crate::objects::Bucket<true>);
behaves!(bucket_jsonl_zst, crate::objects::Bucket<false>);

// Azurite is 190 MB to fetch, so `make test` leaves this out, and `make clouds` (scripts/clouds.sh) runs it.
behaves!(azure_jsonl_zst, crate::clouds::Container, #[ignore = "wants Azurite, 190 MB: make clouds runs it"]);
