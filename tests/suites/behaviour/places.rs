//! What is particular to the sink `objects`: a place that moves, and the form that its objects have in common.

use std::fs;
use std::path::Path;

use longshore_core::Reason;
use serde_json::Value;

use super::fixture::{Fixture, Open, fresh, judge};
use super::objects::{Bucket, Folder};
use super::owner::{Owner, is_held};

/// So often the first owners race.
const ROUNDS: usize = 8;

/// Scenario: a worker publishes a segment and dies before its objects have their names; the folder is moved, and the next worker reaches it by a
/// symbolic link. Guarantee (I1): each record has its row there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_staged_follows_a_folder_that_is_moved() {
    let Some(fixture) = fresh::<Folder<false>>() else { return };
    Owner::take_over(&fixture.sink(), 1).await.write(0..20).await;
    let place = fixture.address();
    stage_again(Path::new(&place));
    let moved = format!("{place}-moved/lake");
    fs::create_dir_all(format!("{place}-moved")).unwrap();
    fs::rename(&place, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &place).unwrap();
    assert_eq!(fixture.rows().unwrap(), []);
    drop(Owner::take_over(&fixture.sink(), 2).await);
    judge(&fixture, 20, &[], &[]).await;
    assert_eq!(fixture.rows().unwrap().len(), 20);
}

/// Takes its objects' names from the first segment, as if its writer had died before they got them.
fn stage_again(place: &Path) {
    let entry = place.join(format!("g0001/__ledger/logs.raw/3/segments/{:020}", 0));
    let entry: Value = serde_json::from_slice(&fs::read(entry).unwrap()).unwrap();
    let objects = entry["objects"].as_array().unwrap();
    assert!(!objects.is_empty());
    for object in objects {
        let [name, staged] = ["name", "staged"].map(|field| place.join(object[field].as_str().unwrap()));
        fs::create_dir_all(staged.parent().unwrap()).unwrap();
        fs::rename(name, staged).unwrap();
    }
}

/// Scenario: two workers, whose pipeline files name two formats, take a fresh generation over in a bucket and publish their first rows at the same
/// moment. Guarantee: one form is noted, whoever wins; the other worker halts and has no object there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_first_owners_that_race_one_says_the_form() {
    for round in 0..ROUNDS {
        let name = format!("first-owners-{round}");
        let Some(parquet) = Bucket::<true>::fresh(&name) else { return };
        let lines = Bucket::<false>::sink_at(&parquet.address());
        let mut owners = [Owner::take_over(&parquet.sink(), 1).await, Owner::take_over(&lines, 2).await];
        let trailers = [owners[0].fill(0..5).await, owners[1].fill(0..5).await];
        let [first, second] = &mut owners;
        let (first, second) = tokio::join!(first.try_publish(&trailers[0]), second.try_publish(&trailers[1]));
        let (held, lost) = match (&first, &second) {
            (Ok(held), Err(lost)) | (Err(lost), Ok(held)) => (held, lost),
            both => panic!("round {round}: {both:?}"),
        };
        assert!(is_held(held), "round {round}: {held:?}");
        assert_eq!(lost.reason, Reason::LedgerForeign, "round {round}: {lost}");
        let names = parquet.names();
        let of = |ending: &str| names.iter().filter(|name| name.ends_with(ending)).count();
        let objects = (of(".parquet"), of(".jsonl.zst"));
        assert_eq!(objects, if first.is_ok() { (1, 0) } else { (0, 1) }, "round {round}: {names:?}");
        assert_eq!(
            names.iter().filter(|name| name.contains("/shape/")).count(),
            1,
            "round {round}: {names:?}"
        );
    }
}
