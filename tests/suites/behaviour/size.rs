//! Long ledgers and large segments.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use super::crash::start_child;
use super::fixture::{Fixture, Open, judge};
use super::owner::{Owner, is_held};

/// What is appended to one segment, in blocks of a MiB.
const HOLD_MIB: usize = 96;
/// What a writer may take beside the size that it tells, whatever its segment holds: room to encode in, and what is on its way out.
pub(crate) const BESIDE_MIB: f64 = 44.0;

/// Scenario: a pair has many segments without rows (10,000 in the long form), then its owner changes.
/// Guarantee: the ledger is read in seconds and says all of them.
pub(crate) async fn many_segments_are_recovered<F: Fixture>(fixture: F) {
    let full = std::env::var("LONGSHORE_FAULTS").is_ok_and(|value| value == "full");
    let count = if full { 10_000 } else { 200 };
    let mut owner = Owner::take_over(&fixture.sink(), 1).await;
    let started = Instant::now();
    for offset in 0..count {
        let trailer = owner.seal(offset..offset + 1);
        assert!(is_held(&owner.publish(&trailer).await));
    }
    let (wrote, started) = (started.elapsed(), Instant::now());
    let view = Owner::take_over(&fixture.sink(), 2).await.view;
    let took = started.elapsed();
    println!("{count} segments written in {wrote:?}, recovered in {took:?}");
    assert_eq!(view, owner.view);
    // Two seconds are wanted; a machine that is busy with a build gets more.
    assert!(took < Duration::from_secs(20), "{took:?}");
    let filtered: Vec<i64> = (0..count).collect();
    judge(&fixture, count, &[], &filtered).await;
}

/// Scenario: one segment takes 96 MiB of rows before it is published, in a process of its own.
/// Guarantee (I5): the process grows by what the sink says that it holds in memory, if it may refuse rows, as much again while it
/// publishes that, and by 44 MiB beside it.
pub(crate) async fn an_open_segment_keeps_to_its_memory<F: Fixture>(fixture: F) {
    let [size, grown, published] = held(start_child(&fixture, "hold", 1));
    let held = if fixture.sink().may_refuse() { size } else { 0.0 };
    println!("{size:.1} MiB: grown by {grown:.1} MiB open, {published:.1} MiB published");
    assert!(size > HOLD_MIB as f64 * 0.2, "{size}");
    assert!(grown <= held + BESIDE_MIB && published <= 2.0 * held + BESIDE_MIB, "{size} {grown} {published}");
    let Some(rows) = fixture.rows() else { return };
    assert_eq!(rows.len(), HOLD_MIB * 1_024 + 1);
}

/// What a child that ran [`hold`] says: the size of its segment, and what it had grown by before and after the publish, in MiB.
pub(crate) fn held(child: Child) -> [f64; 3] {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let line = said.lines().find_map(|line| line.strip_prefix("held ")).unwrap_or_else(|| panic!("{said}"));
    let numbers: Vec<f64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap_or_else(|_| panic!("{said}"))
}

/// The child of [`an_open_segment_keeps_to_its_memory`].
pub(crate) async fn hold(mut owner: Owner) {
    let block = owner.block(&[(0, 0)], 1_024);
    owner.take(&block).await.unwrap();
    drop(block);
    let mib = 1_024.0 * 1_024.0;
    let (before, mut size, mut offset) = (memory_mib("VmRSS"), 0, 1);
    for _ in 0..HOLD_MIB {
        let records: Vec<_> = (offset..offset + 1_024).map(|offset| (offset, 0)).collect();
        let block = owner.block(&records, 1_000);
        size = owner.take(&block).await.unwrap();
        offset += 1_024;
    }
    let grown = memory_mib("VmHWM") - before;
    let trailer = owner.seal(0..offset);
    assert!(is_held(&owner.publish(&trailer).await));
    println!("\nheld {} {grown} {}", size as f64 / mib, memory_mib("VmHWM") - before);
}

fn memory_mib(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_024.0
}
