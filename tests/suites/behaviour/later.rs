//! Records that come again, late, in no order, or not at all.

use longshore_core::sink::Published;
use longshore_core::{Class, Offset, Reason, RunSet};

use super::fixture::{Fixture, Open, judge};
use super::owner::{Owner, context, is_held};

fn offsets(offsets: &[i64]) -> RunSet {
    RunSet::collect(offsets.iter().map(|offset| (*offset, offset + 1)).collect())
}

/// Scenario: two segments are published, the second without rows; the answer to the first is asked for twice; another worker takes over
/// and reads everything again, and more.
/// Guarantee (I2): the next owner knows what is held, asking again is harmless, and each record has one row.
pub(crate) async fn a_re_read_is_known<F: Fixture>(fixture: F) {
    let mut first = Owner::take_over(&fixture.sink(), 1).await;
    let trailer = first.fill(0..30).await;
    assert_eq!(first.publish(&trailer).await, Published::Done(Vec::new()));
    assert!(is_held(&first.publish(&trailer).await));
    let filtered = first.seal(30..35);
    assert!(is_held(&first.publish(&filtered).await));
    let mut second = Owner::take_over(&fixture.sink(), 2).await;
    assert_eq!(second.view.end(), Some(Offset(35)));
    assert_eq!((second.view.cluster.as_str(), second.view.topic_id.as_str()), ("cluster-a", "topic-a"));
    assert_eq!(second.view.partitions_at_birth, 8);
    second.write(0..50).await;
    judge(&fixture, 50, &[], &[30, 31, 32, 33, 34]).await;
}

/// Scenario: records finish in another order than they came, one became three rows, one of them is not finished at the seal.
/// Guarantee (I2): all rows are there; the ledger says that the one is not held, until it is.
pub(crate) async fn identities_come_in_any_order<F: Fixture>(fixture: F) {
    let mut owner = Owner::take_over(&fixture.sink(), 1).await;
    for records in [&[(7, 0), (2, 0), (9, 0)][..], &[(0, 0), (8, 0), (1, 0)], &[(6, 0), (4, 0), (3, 0)]] {
        let block = owner.block(records, 60);
        owner.take(&block).await.unwrap();
    }
    let mut trailer = owner.seal(0..10);
    trailer.except = offsets(&[5]);
    assert!(is_held(&owner.publish(&trailer).await));
    judge(&fixture, 10, &[5], &[]).await;
    // The judge took the pair over.
    let mut owner = Owner::take_over(&fixture.sink(), 2).await;
    let block = owner.block(&[(5, 0), (5, 1), (5, 2)], 60);
    owner.take(&block).await.unwrap();
    let mut late = owner.seal(10..10);
    late.also = offsets(&[5]);
    assert!(is_held(&owner.publish(&late).await));
    let Some(rows) = fixture.rows() else { return };
    let mut found: Vec<_> = rows.iter().map(|row| (row.offset, row.index)).collect();
    found.sort_unstable();
    let mut expected: Vec<_> = (0..10).map(|offset| (offset, 0)).chain([(5, 1), (5, 2)]).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!((0..10).all(|offset| owner.view.holdings.holds(Offset(offset))));
}

/// Scenario: of ten records one was handed over to the retry topic and one became a dead letter; the owner changes; the retried one comes,
/// the letter is replayed, both come a second time after another change of owner.
/// Guarantee (I1, I2): each has its one row in the end; the ledger knows the letter as one, also after its replay.
pub(crate) async fn a_retry_and_a_replay_come_later<F: Fixture>(fixture: F) {
    let mut first = Owner::take_over(&fixture.sink(), 1).await;
    let records: Vec<_> =
        (0..10).filter(|offset| *offset != 3 && *offset != 7).map(|offset| (offset, 0)).collect();
    let block = first.block(&records, 60);
    first.take(&block).await.unwrap();
    let mut trailer = first.seal(0..10);
    trailer.except = offsets(&[3, 7]);
    trailer.dead.insert(Offset(7), 0);
    assert!(is_held(&first.publish(&trailer).await));
    let mut second = Owner::take_over(&fixture.sink(), 2).await;
    let holdings = &second.view.holdings;
    assert_eq!([3, 7].map(|offset| holdings.letter(Offset(offset))), [None, Some(0)]);
    assert!(!holdings.holds(Offset(3)) && !holdings.holds(Offset(7)));
    for late in [3, 7] {
        let block = second.block(&[(late, 0)], 60);
        second.take(&block).await.unwrap();
        let mut trailer = second.seal(10..10);
        trailer.also = offsets(&[late]);
        assert!(is_held(&second.publish(&trailer).await));
    }
    let mut third = Owner::take_over(&fixture.sink(), 3).await;
    assert_eq!(third.view.holdings.letter(Offset(7)), Some(0));
    third.write(0..12).await;
    judge(&fixture, 12, &[], &[]).await;
}

/// Scenario: one of the records of a block cannot be expressed, so its row is taken back; the blocks around it are appended.
/// Guarantee (I1, I9): the others have their rows, and the ledger says that the one is a letter.
pub(crate) async fn refused_records_take_nothing_along<F: Fixture>(fixture: F) {
    let mut owner = Owner::take_over(&fixture.sink(), 1).await;
    let mut block = owner.block(&[(0, 0), (1, 0), (2, 0)], 60);
    let mark = block.mark();
    let half = owner.block(&[(3, 0)], 60);
    block.bytes.extend_from_slice(&half.bytes[..half.bytes.len() / 2]);
    block.rewind(mark);
    owner.take(&block).await.unwrap();
    let rest = owner.block(&[(4, 0), (5, 0)], 60);
    owner.take(&rest).await.unwrap();
    let mut trailer = owner.seal(0..6);
    trailer.except = offsets(&[3]);
    trailer.dead.insert(Offset(3), 0);
    assert!(is_held(&owner.publish(&trailer).await));
    judge(&fixture, 6, &[3], &[]).await;
}

/// Scenario: the place holds a ledger of this pipeline; a worker comes from another cluster, or the topic was made again.
/// Guarantee: it halts, or the ledger that it reads names the other cluster or topic, so that the pair halts: fresh records would be taken
/// for old ones.
pub(crate) async fn another_cluster_or_topic_halts<F: Fixture>(fixture: F) {
    let sink = fixture.sink();
    Owner::take_over(&sink, 1).await.write(0..5).await;
    let mut cluster = context(2);
    cluster.cluster = "cluster-b".into();
    let mut topic = context(3);
    topic.topic_id = "topic-b".into();
    for foreign in [cluster, topic] {
        match sink.open(foreign.clone()).recover().await {
            Ok(view) => assert_ne!((view.cluster, view.topic_id), (foreign.cluster, foreign.topic_id)),
            Err(failure) => {
                assert_eq!(
                    (failure.class, failure.reason),
                    (Class::Halt, Reason::LedgerForeign),
                    "{failure}"
                );
            }
        }
    }
    judge(&fixture, 5, &[], &[]).await;
}
