//! Several who believe that they own the pair, and readers beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_core::WriterId;
use longshore_core::sink::Published;

use super::fixture::{Fixture, Open, judge};
use super::owner::{Owner, is_held};

/// Scenario: a worker that fell asleep with a sealed segment wakes up when another one has taken over and published; then one that wakes
/// up when the other one has taken over and is about to publish.
/// Guarantee (I2, I8): of two segments of one number one is held, whoever loses hears to whom, and each record has one row.
pub(crate) async fn a_zombie_writes_nothing<F: Fixture>(fixture: F) {
    let mut zombie = Owner::take_over(&fixture.sink(), 1).await;
    let late = zombie.fill(0..10).await;
    let mut owner = Owner::take_over(&fixture.sink(), 2).await;
    owner.write(0..12).await;
    for _ in 0..2 {
        assert_eq!(zombie.publish(&late).await, Published::TakenByOther(WriterId(2)));
    }
    judge(&fixture, 12, &[], &[]).await;

    let mut zombie = Owner::take_over(&fixture.sink(), 3).await;
    let late = zombie.fill(12..20).await;
    let mut owner = Owner::take_over(&fixture.sink(), 4).await;
    let trailer = owner.fill(12..22).await;
    let (first, second) = (zombie.publish(&late).await, owner.publish(&trailer).await);
    match (is_held(&first), is_held(&second)) {
        (true, false) => assert_eq!(second, Published::TakenByOther(WriterId(3))),
        (false, true) => assert_eq!(first, Published::TakenByOther(WriterId(4))),
        both => panic!("held: {both:?}"),
    }
    Owner::take_over(&fixture.sink(), 5).await.write(0..22).await;
    judge(&fixture, 22, &[], &[]).await;
}

/// Scenario: eight workers take the pair over, write and publish, and again when they lost, six times each.
/// Guarantee (I2, I8): each number has one winner at the most, and the rows are the winners'.
pub(crate) async fn of_racing_owners_one_wins_each_number<F: Fixture>(fixture: F) {
    let sinks: Vec<_> = (0..8).map(|_| fixture.sink()).collect();
    let mut racers = tokio::task::JoinSet::new();
    for (racer, sink) in (1..).zip(sinks) {
        racers.spawn(async move {
            let mut won = Vec::new();
            for round in 0..6 {
                let mut owner = Owner::take_over(&sink, racer * 100 + round).await;
                let end = owner.view.end().map_or(0, |end| end.0);
                let trailer = owner.fill(end..end + 3).await;
                match owner.publish(&trailer).await {
                    Published::TakenByOther(other) => assert_ne!(other, WriterId(owner.id)),
                    held => {
                        assert!(is_held(&held), "{held:?}");
                        won.push(trailer.sequence.0);
                    }
                }
            }
            won
        });
    }
    let mut won = Vec::new();
    while let Some(racer) = racers.join_next().await {
        won.extend(racer.unwrap());
    }
    won.sort_unstable();
    assert!(!won.is_empty() && won.windows(2).all(|pair| pair[0] < pair[1]), "{won:?}");
    judge(&fixture, won.len() as i64 * 3, &[], &[]).await;
}

/// Scenario: two workers have read the same ledger and publish different segments under its next number at the same moment, twenty times.
/// Guarantee (I1, I2, I8): one of the two is held, with its own rows and all of them; of the other nothing is there.
pub(crate) async fn of_two_segments_of_one_number_one_is_held<F: Fixture>(fixture: F) {
    let sinks = [fixture.sink(), fixture.sink()];
    let mut end = 0;
    for round in 0..20 {
        let mut first = Owner::take_over(&sinks[0], 2 * round + 1).await;
        let mut second = Owner::take_over(&sinks[1], 2 * round + 2).await;
        let (few, many) = (first.fill(end..end + 3).await, second.fill(end..end + 5).await);
        let (first, second) = tokio::join!(first.publish(&few), second.publish(&many));
        match (is_held(&first), is_held(&second)) {
            (true, false) => end += 3,
            (false, true) => end += 5,
            both => panic!("held: {both:?}"),
        }
    }
    judge(&fixture, end, &[], &[]).await;
}

/// Scenario: somebody reads the place all the time while a worker publishes fifteen segments of forty rows.
/// Guarantee: every reader sees whole segments, and no row twice. (A listing that runs beside a writer may miss a segment.)
pub(crate) async fn readers_see_whole_segments<F: Fixture>(fixture: F) {
    let fixture = Arc::new(fixture);
    let over = Arc::<AtomicBool>::default();
    let (read, ended) = (Arc::clone(&fixture), Arc::clone(&over));
    let reader = tokio::task::spawn_blocking(move || {
        let mut reads = 0;
        loop {
            let last = ended.load(Ordering::Acquire);
            let mut found: Vec<_> = read.rows()?.into_iter().map(|row| row.offset).collect();
            found.sort_unstable();
            assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "a row is there twice");
            for segment in found.chunk_by(|a, b| a / 40 == b / 40) {
                assert_eq!(segment.len(), 40, "a segment is not whole");
            }
            reads += 1;
            if last {
                return Some(reads);
            }
        }
    });
    let mut owner = Owner::take_over(&fixture.sink(), 1).await;
    for segment in 0..15 {
        owner.write(segment * 40..segment * 40 + 40).await;
    }
    over.store(true, Ordering::Release);
    if let Some(reads) = reader.await.unwrap() {
        assert!(reads > 1, "nobody read meanwhile");
        judge(&*fixture, 600, &[], &[]).await;
    }
}
