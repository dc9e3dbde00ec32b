//! Which release of Kafka a broker is like. The protocol has no word for it: a broker only lists the requests that it takes, each with
//! its versions, and librdkafka writes them to its debug log. So this is the newest release all of whose marks are there; the
//! broker may be a later one, or other software that speaks the same.

use std::collections::BTreeMap;

/// Requests by number, each with the highest version that all brokers take that were spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    requests: BTreeMap<i16, i16>,
}

/// A request that a release was the first to take, in this version (`clients/src/main/resources/common/message` of Kafka's source).
const MARKS: [(&str, i16, i16); 9] = [
    // OffsetDelete, KIP-496.
    ("2.4", 47, 0),
    // DescribeCluster, KIP-700.
    ("2.8", 60, 0),
    // DescribeTransactions, KIP-664.
    ("3.0", 65, 0),
    // Fetch by topic id, KIP-516.
    ("3.1", FETCH, FETCH_BY_ID),
    // ListClientMetricsResources, KIP-1000.
    ("3.7", 74, 0),
    // DescribeTopicPartitions, KIP-966.
    ("3.8", 75, 0),
    // AddRaftVoter, KIP-853.
    ("3.9", 80, 0),
    // ConsumerGroupHeartbeat with a member's own id, KIP-1082.
    ("4.0", GROUP_HEARTBEAT, 1),
    // StreamsGroupHeartbeat, KIP-1071.
    ("4.1", 88, 0),
];

const FETCH: i16 = 1;
const FETCH_BY_ID: i16 = 13;
const GROUP_HEARTBEAT: i16 = 68;

impl Release {
    /// The newest release that the brokers are known to be at least like; none when they are older than the oldest that is told apart, or
    /// nothing is known.
    pub fn at_least(&self) -> Option<&'static str> {
        MARKS
            .iter()
            .take_while(|(_, request, version)| self.takes(*request, *version))
            .last()
            .map(|mark| mark.0)
    }

    /// Whether anything is known.
    pub fn is_known(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether they take the group protocol of KIP-848 as clients speak it.
    pub fn deals_out_itself(&self) -> bool {
        self.takes(GROUP_HEARTBEAT, 1)
    }

    /// Whether records are asked for by the topic's id, so that a topic which was made again is never taken for the old one.
    pub fn fetches_by_id(&self) -> bool {
        self.takes(FETCH, FETCH_BY_ID)
    }

    fn takes(&self, request: i16, version: i16) -> bool {
        self.requests.get(&request).is_some_and(|highest| *highest >= version)
    }

    /// Takes a line of librdkafka's log in, if it tells of a request.
    pub(crate) fn note(&mut self, facility: &str, line: &str) {
        if facility != "APIVERSION" {
            return;
        }
        // "[thrd:...]: host:port/1:   ApiKey Fetch (1) Versions 4..18"
        let Some((_, told)) = line.rsplit_once("  ApiKey ") else { return };
        let told = told.split_once('(').and_then(|(_, rest)| rest.split_once(") Versions "));
        let Some((request, versions)) = told else { return };
        let highest = versions.split_once("..").map(|(_, highest)| highest.trim().parse());
        if let (Ok(request), Some(Ok(highest))) = (request.parse(), highest) {
            let known = self.requests.entry(request).or_insert(highest);
            *known = highest.min(*known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(requests: &[(i16, i16)]) -> Release {
        let mut release = Release::default();
        for (request, highest) in requests {
            let line = format!("[thrd:a:1/1]: a:1/1:   ApiKey Some ({request}) Versions 0..{highest}");
            release.note("APIVERSION", &line);
        }
        release
    }

    /// Guarantee: a release is told only when every mark up to it is there, and of several brokers the oldest counts.
    #[test]
    fn a_release_is_known_by_its_requests() {
        assert_eq!(Release::default().at_least(), None);
        let whole: Vec<_> = MARKS.iter().map(|(_, request, version)| (*request, *version)).collect();
        assert_eq!(told(&whole).at_least(), Some("4.1"));
        assert!(told(&whole).deals_out_itself() && told(&whole).fetches_by_id());
        let older = told(&[&whole[..], &[(GROUP_HEARTBEAT, 0)]].concat());
        assert_eq!(older.at_least(), Some("3.9"));
        assert!(!older.deals_out_itself());
        assert_eq!(told(&[(47, 0), (1, 17)]).at_least(), Some("2.4"));
        assert_eq!(told(&[(1, 11)]).at_least(), None);
    }

    #[test]
    fn other_lines_tell_nothing() {
        let mut release = Release::default();
        for line in [
            "  ApiKey Fetch (1) Versions x..y",
            "  ApiKey (",
            "Broker API support:",
            "  ApiKey X (99999) Versions 0..1",
        ] {
            release.note("APIVERSION", line);
        }
        release.note("FEATURE", "  ApiKey Fetch (1) Versions 0..17");
        assert!(!release.is_known());
    }
}
