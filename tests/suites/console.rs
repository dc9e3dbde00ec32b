//! The console from the outside: a real worker on a real Kafka with real letters, asked over HTTP as a page and an attacker would, and
//! looked at in a real Chromium.
#![expect(clippy::unwrap_used, reason = "tests; clippy spares only test functions")]

#[path = "console/api.rs"]
mod api;
#[path = "console/bounds.rs"]
mod bounds;
#[path = "console/page.rs"]
mod page;
#[path = "console/stopping.rs"]
mod stopping;

use std::net::SocketAddr;
use std::time::Duration;

use longshore_broker::JvmBroker;
use longshore_tests::harness::http::{Reply, send};
use longshore_tests::harness::{Record, Rig, Worker, wait_until};

const DRAINED: Duration = Duration::from_secs(60);
const SECRET: &str = "planted-secret-47";
const TOKEN: &str = "a-token-of-a-test-0123456789";
/// What a forged letter says wherever it can say something.
const SCRIPT: &str = "<img src=x onerror=\"window.xss=1\"><script>window.xss=1</script>";

/// A pipeline with a worker whose step refuses records of `shaky` while a file is there, and which has refused some.
struct Stage {
    rig: Rig,
    worker: Worker,
    address: SocketAddr,
}

impl Stage {
    /// Three records become rows, two are no JSON, two are refused by the step.
    fn new(broker: &JvmBroker, name: &str, settings: &[&str]) -> Self {
        let rig = Rig::new(&broker.bootstrap(), name);
        let outage = rig.folder().join("outage");
        std::fs::write(&outage, "").unwrap();
        let steps = format!(
            "\n  - parse: {{ format: json }}\n  - fail: {{ ratio: 100%, class: reject, reason: sink.rejected, \
             when: 'attributes[\"shaky\"] == true', while: \"{}\" }}",
            outage.display()
        );
        let rig = settings.iter().fold(rig.steps(&steps), |rig, setting| rig.set(setting)).with_topics(2);
        let line = |shaky: bool| format!("{{\"level\":\"info\",\"message\":\"{SECRET}\",\"shaky\":{shaky}}}");
        let record = |key: &str, value: String| Record::new(key, value).header("own", SECRET);
        let records = [
            record("a", line(false)),
            record("b", line(false)),
            record("c", line(false)),
            record("broken-1", format!("{SECRET} {{")),
            record("broken-2", format!("{SECRET} }}")),
            record("shaky-1", line(true)),
            record("shaky-2", line(true)),
        ];
        rig.witness.publish(&rig.topic, &records);
        let mut worker = rig.working();
        rig.wait_drained(DRAINED, &[&worker]);
        wait_until("the letters are there", DRAINED, || rig.witness.read(&rig.letter_topic()).len() == 4);
        let address = worker.address().unwrap();
        Self { rig, worker, address }
    }

    /// What the step waits for: its records succeed from now on.
    fn mend(&self) {
        std::fs::remove_file(self.rig.folder().join("outage")).unwrap();
    }

    fn get(&self, path: &str) -> Reply {
        send(self.address, "GET", path, &[], "")
    }

    fn post(&self, path: &str, head: &[&str], body: &str) -> Reply {
        let head = [&["Content-Type: application/json"], head].concat();
        send(self.address, "POST", path, &head, body)
    }

    /// How many letters are open, by reason.
    fn open(&self, reason: &str) -> u64 {
        let groups = self.get("/api/letters").with(200).json();
        let groups = groups["groups"].as_array().unwrap().clone();
        let found = groups.iter().find(|group| group["value"] == reason);
        found.map_or(0, |group| group["open"].as_u64().unwrap())
    }

    /// The id of the newest letter with this reason.
    fn letter(&self, reason: &str) -> String {
        let path = format!("/api/reasons/{}", encoded(reason));
        let list = self.get(&path).with(200).json();
        list["letters"][0]["id"].as_str().unwrap_or_else(|| panic!("{list}")).to_owned()
    }

    /// Letters that somebody forged: hostile text wherever text can stand, a payload of a megabyte, and a record without any header.
    fn forge(&self) {
        let hostile = Record::new(SCRIPT, format!("{{\"{0}\":\"{0}\"}}", SCRIPT.replace('"', "\\\"")))
            .to(0)
            .header("longshore.origin", &format!("{SCRIPT}/0/1/0"))
            .header("longshore.reason", SCRIPT)
            .header("longshore.at", SCRIPT)
            .header("longshore.detail", &format!("{SCRIPT}\u{1b}[2J\u{7}"))
            .header("longshore.pipeline", SCRIPT)
            .header(SCRIPT, &format!("{SCRIPT}\u{1b}]0;x\u{7}"));
        let large = Record::new("large", format!("[{}1]", "1,".repeat(500_000)))
            .to(0)
            .header("longshore.origin", &format!("{}/0/0/7", self.rig.topic))
            .header("longshore.reason", "decode.too-large");
        let topic = self.rig.letter_topic();
        let before = self.rig.witness.read(&topic).len();
        self.rig.witness.publish(
            &topic,
            &[hostile, large.header("longshore.detail", "made by a test"), Record::new("plain", "{}").to(0)],
        );
        wait_until("they are there", DRAINED, || self.rig.witness.read(&topic).len() == before + 3);
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}
