//! What Kafka says of a fleet and what its members say, made one. Pure: no clock, no network.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use longshore_core::PairId;
use longshore_kafka::{FleetView, Member, PartitionView, http_port};

use super::ask::plain;
use super::view::{Detail, Outcomes, Partition, StatusPage, Totals, View, Worker, drain};

/// Whose fleet it is.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) pipeline: String,
    pub(super) pipeline_version: String,
    pub(super) group: String,
}

/// What the members said, by address.
pub(super) type Answers = HashMap<SocketAddr, StatusPage>;

/// The addresses that are asked: those of members whose `client.id` is a worker's.
pub(super) fn addresses(members: &[Member]) -> Vec<SocketAddr> {
    let mut addresses: Vec<_> = members.iter().filter_map(address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn address(member: &Member) -> Option<SocketAddr> {
    Some(SocketAddr::new(member.host?, http_port(&member.client_id)?))
}

/// One process, as far as it can be told: a worker that was killed and began anew at its old address stands in the listing twice for a
/// while, and one of them answers.
struct Found {
    worker: Worker,
    answer: Option<StatusPage>,
    partitions: Vec<PairId>,
}

/// The fleet, and by `rates` how fast partitions move for which nobody answers.
pub(super) fn merge(
    named: &Named,
    at: String,
    kafka: FleetView,
    mut answers: Answers,
    rates: &HashMap<PairId, f64>,
) -> View {
    let found = processes(&kafka.members, &named.group, &mut answers);
    let mut owners: HashMap<&PairId, &Found> = HashMap::new();
    for one in found.values() {
        for pair in &one.partitions {
            owners.insert(pair, one);
        }
    }
    let partition = |seen: &PartitionView| partition(seen, owners.get(&seen.pair).copied(), rates);
    let mut partitions: Vec<Partition> = kafka.partitions.iter().map(partition).collect();
    partitions.sort_by(|one, other| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)));
    let mut outcomes = Outcomes::default();
    found.values().filter_map(|one| one.answer.as_ref()).for_each(|page| outcomes.add(&page.outcomes));
    let workers: Vec<Worker> = found.into_values().map(|one| one.worker).collect();
    View {
        pipeline: named.pipeline.clone(),
        pipeline_version: named.pipeline_version.clone(),
        group: named.group.clone(),
        group_state: kafka.state.to_owned(),
        at,
        totals: totals(&workers, &partitions, &outcomes),
        outcomes,
        workers,
        partitions,
    }
}

/// The processes by name.
fn processes(members: &[Member], group: &str, answers: &mut Answers) -> BTreeMap<String, Found> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for member in members {
        let (address, client_id) = (address(member), plain(&member.client_id));
        let host = member.host.map(|host: IpAddr| host.to_string());
        let name = match (address, &host) {
            (Some(address), _) => address.to_string(),
            (None, Some(host)) => format!("{client_id}@{host}"),
            (None, None) => client_id.clone(),
        };
        let known = found.entry(name.clone()).or_insert_with(|| {
            // A page of somebody else than the listing says is nobody's.
            let own = |page: &StatusPage| page.group == group && page.worker.client_id == client_id;
            let answer = address.and_then(|address| answers.remove(&address)).filter(own);
            let port = address.map(|address| address.port());
            let told = answer.as_ref().map(|page| page.worker.clone()).unwrap_or_default();
            let worker =
                Worker { name, client_id, host, port, answers: answer.is_some(), partitions: 0, ..told };
            Found { worker, answer, partitions: Vec::new() }
        });
        known.worker.partitions += member.partitions.len() as u64;
        known.partitions.extend(member.partitions.iter().cloned());
    }
    found
}

/// A partition by its worker's words where there are any, and by what is in Kafka.
fn partition(seen: &PartitionView, owner: Option<&Found>, rates: &HashMap<PairId, f64>) -> Partition {
    let told = owner.and_then(|owner| owner.answer.as_ref()).and_then(|page| detail(page, &seen.pair));
    let by_kafka = Partition {
        topic: seen.pair.topic.to_string(),
        partition: seen.pair.partition.0,
        worker: owner.map(|owner| owner.worker.name.clone()),
        committed: seen.committed,
        end: seen.end,
        lag: seen.backlog.as_ref().ok().copied(),
        seconds_behind: matches!(seen.backlog, Ok(0)).then_some(0.0),
        rate: rates.get(&seen.pair).copied(),
        drain_seconds: None,
        waiting: Some(seen.copies),
        held: held_by_kafka(seen),
        ..Partition::default()
    };
    let mut merged = match told {
        None => by_kafka,
        Some(Detail { state, partition }) => {
            let mut merged = Partition {
                rate: partition.rate,
                waiting: partition.waiting,
                parked: partition.parked,
                retries: partition.retries,
                dead_letters: partition.dead_letters,
                held: partition.held.clone().or_else(|| seen.backlog.as_ref().err().map(ToString::to_string)),
                ..by_kafka
            };
            // One that has not begun, or may not, has not seen what there is to do.
            if state != "starting" && state != "halted" {
                let since = u64::try_from(seen.end.saturating_sub(partition.end)).unwrap_or(0);
                merged.lag = partition.lag.map(|lag| lag.saturating_add(since));
                merged.seconds_behind = partition.seconds_behind;
            }
            merged
        }
    };
    merged.drain_seconds = drain(merged.lag, merged.rate);
    merged
}

fn held_by_kafka(seen: &PartitionView) -> Option<String> {
    match &seen.backlog {
        Err(failure) => Some(failure.to_string()),
        Ok(_) => seen.held.then(|| "held back, as its worker committed".to_owned()),
    }
}

fn detail<'a>(page: &'a StatusPage, pair: &PairId) -> Option<&'a Detail> {
    let is = |detail: &&Detail| {
        detail.partition.partition == pair.partition.0 && detail.partition.topic == pair.topic.as_str()
    };
    page.partitions_detail.iter().find(is)
}

fn totals(workers: &[Worker], partitions: &[Partition], outcomes: &Outcomes) -> Totals {
    let sum = |value: fn(&Partition) -> Option<u64>| {
        partitions.iter().filter_map(value).fold(0_u64, u64::saturating_add)
    };
    let of_workers =
        |value: fn(&Worker) -> Option<u64>| workers.iter().filter_map(value).fold(0_u64, u64::saturating_add);
    // Unknown for one that lags is unknown for all: the largest of the others would look like good news.
    let largest = |value: fn(&Partition) -> Option<f64>| {
        let lagging = partitions.iter().filter(|partition| partition.lag != Some(0));
        lagging.map(value).try_fold(0.0_f64, |most, one| Some(most.max(one?)))
    };
    let rates: Vec<f64> = partitions.iter().filter_map(|partition| partition.rate).collect();
    Totals {
        lag: sum(|partition| partition.lag),
        seconds_behind: largest(|partition| partition.seconds_behind),
        rate: (!rates.is_empty()).then(|| rates.iter().sum()),
        drain_seconds: largest(|partition| partition.drain_seconds),
        waiting: sum(|partition| partition.waiting),
        parked: sum(|partition| partition.parked),
        // Those too of partitions that went from one to another.
        retries: outcomes.retried,
        dead_letters: outcomes.dead,
        memory: of_workers(|worker| worker.memory),
        budget: of_workers(|worker| worker.budget),
        workers: workers.len() as u64,
        answering: workers.iter().filter(|worker| worker.answers).count() as u64,
    }
}

#[cfg(test)]
mod tests;
