//! `longshore scaler` from the outside: over HTTP, and over gRPC as KEDA asks.

use std::net::SocketAddr;
use std::time::Duration;

use longshore_tests::harness::{Longshore, Record, Rig, http, shared_broker, wait_for};
use rustix::process::Signal;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

const PATIENCE: Duration = Duration::from_secs(90);

/// The messages as KEDA has them (`externalscaler.proto`), written apart from the command's own.
#[derive(Clone, PartialEq, prost::Message)]
struct ScaledObjectRef {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(map = "string, string", tag = "3")]
    scaler_metadata: std::collections::HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct IsActive {
    #[prost(bool, tag = "1")]
    result: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Spec {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "2")]
    target: i64,
    #[prost(double, tag = "3")]
    target_float: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Specs {
    #[prost(message, repeated, tag = "1")]
    specs: Vec<Spec>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metrics {
    #[prost(message, optional, tag = "1")]
    object: Option<ScaledObjectRef>,
    #[prost(string, tag = "2")]
    name: String,
}

fn object() -> ScaledObjectRef {
    let scaler_metadata = [("scalerAddress".to_owned(), "here".to_owned())].into();
    ScaledObjectRef { name: "workers".into(), namespace: "default".into(), scaler_metadata }
}

/// A real gRPC client.
struct Client {
    runtime: tokio::runtime::Runtime,
    grpc: tonic::client::Grpc<Channel>,
}

impl Client {
    fn to(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Self { runtime, grpc: tonic::client::Grpc::new(channel) }
    }

    fn ask<Q, A>(&mut self, method: &str, question: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let path = format!("/externalscaler.ExternalScaler/{method}").parse().unwrap();
        self.runtime.block_on(async {
            self.grpc.ready().await.unwrap();
            let codec = ProstCodec::<Q, A>::default();
            Ok(self.grpc.unary(Request::new(question), path, codec).await?.into_inner())
        })
    }

    /// The first word of a stream, which begins here and goes on.
    fn first_word<A>(&mut self, method: &str) -> A
    where
        A: prost::Message + std::fmt::Debug + Default + Send + Sync + 'static,
    {
        let path = format!("/externalscaler.ExternalScaler/{method}").parse().unwrap();
        self.runtime.block_on(async {
            self.grpc.ready().await.unwrap();
            let codec = ProstCodec::<ScaledObjectRef, A>::default();
            let answer = self.grpc.server_streaming(Request::new(object()), path, codec).await.unwrap();
            let mut words: Streaming<A> = answer.into_inner();
            let word = tokio::time::timeout(PATIENCE, words.message()).await.unwrap().unwrap().unwrap();
            let next = tokio::time::timeout(Duration::from_millis(500), words.message()).await;
            assert!(next.is_err(), "the stream has ended, or says more than is new: {next:?}");
            word
        })
    }
}

/// A scaler of the rig's pipeline, and where it listens.
pub(crate) fn scaler(rig: &Rig, settings: &[&str]) -> (Longshore, SocketAddr) {
    let file = rig.file().display().to_string();
    let given = settings.iter().flat_map(|setting| ["--set", setting]);
    let words: Vec<&str> = ["scaler", &file, "--listen", "127.0.0.1:0"].into_iter().chain(given).collect();
    let scaler = Longshore::start(words);
    let at = address(&scaler);
    (scaler, at)
}

/// What it says at `/scale`, with the status code.
pub(crate) fn asked(at: SocketAddr) -> Option<(u16, serde_json::Value)> {
    let (code, body) = http::answer(at, "/scale")?;
    Some((code, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{code} {body:?}: {error}"))))
}

/// Where the scaler listens, by what it says.
pub(crate) fn address(scaler: &Longshore) -> SocketAddr {
    wait_for("the scaler listens", PATIENCE, || {
        let said = scaler.stderr();
        said.split("bound=").nth(1)?.split_whitespace().next()?.parse().ok()
    })
}

/// Scenario: a fleet at zero without anything to do; KEDA asks. Then a backlog comes, with nobody there to see it. Guarantee: unavailable until the group was looked
/// at for long enough; then inactive and zero; then active and one at least; HTTP says the same; the metric is told at once to whoever listens, and the stream stays; a method that is not there is unimplemented.
#[test]
fn keda_is_answered_while_the_fleet_is_at_zero() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-scaler").with_topics(3);
    let (mut scaler, at) = scaler(&rig, &["scale.min=0"]);
    let mut client = Client::to(at);
    let early = client.ask::<_, IsActive>("IsActive", object()).unwrap_err();
    assert_eq!(early.code(), Code::Unavailable, "{early}");
    assert_eq!(http::answer(at, "/scale").unwrap().0, 503);

    let idle = wait_for("it knows", PATIENCE, || client.ask::<_, IsActive>("IsActive", object()).ok());
    assert!(!idle.result);
    let specs: Specs = client.ask("GetMetricSpec", object()).unwrap();
    let [spec] = specs.specs.as_slice() else { panic!("{specs:?}") };
    assert_eq!((spec.target, spec.target_float), (1, 1.0));
    let question = || Metrics { object: Some(object()), name: spec.name.clone() };
    let none: Specs = client.ask("GetMetrics", question()).unwrap();
    assert_eq!((none.specs[0].name.as_str(), none.specs[0].target), (spec.name.as_str(), 0));
    assert!(!client.first_word::<IsActive>("StreamIsActive").result);
    assert_eq!(client.first_word::<Specs>("StreamMetricSpec"), specs);
    let unknown = client.ask::<_, Specs>("GetWhatIsNotThere", object()).unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented, "{unknown}");

    let records: Vec<Record> = (0..500).map(|n| Record::new(&format!("k{n}"), "{\"n\":1}")).collect();
    rig.witness.publish(&rig.topic, &records);
    wait_for("it is active", PATIENCE, || {
        client.ask::<_, IsActive>("IsActive", object()).ok().filter(|said| said.result)
    });
    let some: Specs = client.ask("GetMetrics", question()).unwrap();
    assert!(some.specs[0].target >= 1 && some.specs[0].target_float >= 1.0, "{some:?}");
    let (code, body) = http::answer(at, "/scale").unwrap();
    assert_eq!(code, 200, "{body}");
    let said: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (said["lag"].as_u64(), said["pods"].as_i64()),
        (Some(500), Some(some.specs[0].target)),
        "{said}"
    );
    scaler.signal(Signal::TERM);
    assert!(scaler.wait(PATIENCE).success());
}

/// Scenario: a scaler is asked before the topics are there; they are made meanwhile. Guarantee: no number, and what is missing is named, over
/// gRPC and HTTP; then zero, as no group and no record is there.
#[test]
fn topics_that_come_later_are_seen() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-scaler-later");
    let (mut scaler, at) = scaler(&rig, &["scale.min=0"]);
    let mut client = Client::to(at);
    let missing = |words: &str| words.contains("broker.topic-missing") && words.contains(&rig.topic);
    let named = || asked(at).filter(|(code, said)| *code == 503 && missing(said["reason"].as_str().unwrap()));
    wait_for("it says what is missing", PATIENCE, named);
    let refused = client.ask::<_, IsActive>("IsActive", object()).unwrap_err();
    assert!(refused.code() == Code::Unavailable && missing(refused.message()), "{refused}");
    let rig = rig.with_topics(2);
    let said = wait_for("it has a number", PATIENCE, || asked(at).filter(|(code, _)| *code == 200)).1;
    assert_eq!((said["pods"].as_u64(), said["lag"].as_u64()), (Some(0), Some(0)), "{said}");
    assert!(!client.ask::<_, IsActive>("IsActive", object()).unwrap().result);
    scaler.signal(Signal::TERM);
    assert!(scaler.wait(PATIENCE).success());
    drop(rig);
}

/// A worker with a backlog sleeps (SIGSTOP), so that the group waits for it when a second one joins.
fn a_rebalance_is_seen(name: &str, new_protocol: bool) {
    let Some(broker) = shared_broker() else { return };
    let mut rig = Rig::new(&broker.bootstrap(), name)
        .steps("\n  - parse: { format: json }\n  - delay: { for: 300ms }")
        .with_topics(4);
    rig.settings.retain(|setting| !setting.contains("session") && !setting.contains("heartbeat"));
    rig = match new_protocol {
        // Sessions are the broker's matter there: 45 s.
        true => rig.set("kafka.group_protocol=consumer"),
        false => rig.set("kafka.client.session.timeout.ms=30000"),
    };
    let records: Vec<Record> =
        (0..100_000).map(|n| Record::new(&format!("k{}", n % 97), format!("{{\"n\":{n}}}"))).collect();
    rig.witness.publish(&rig.topic, &records);
    let mut sleeper = rig.working();
    let (mut scaler, at) = scaler(&rig, &[]);
    let number = || asked(at).filter(|(code, _)| *code == 200).map(|(_, said)| said);
    let calm = || number().filter(|said| said["cause"] != "rebalance");
    let before = wait_for("it has a number", PATIENCE, calm);
    sleeper.process.signal(Signal::STOP);
    let mut joining = rig.worker();
    let during =
        wait_for("the rebalance is seen", PATIENCE, || number().filter(|said| said["cause"] == "rebalance"));
    assert!(during["pods"].as_u64() >= before["pods"].as_u64().min(Some(1)), "{before} {during}");
    assert!(during["reason"].as_str().unwrap().starts_with("the group is dealing out"), "{during}");
    sleeper.process.signal(Signal::CONT);
    wait_for("and its end", PATIENCE, calm);
    scaler.signal(Signal::TERM);
    assert!(scaler.wait(PATIENCE).success());
    joining.process.kill9();
    sleeper.process.kill9();
}

/// Scenario, here and below: a member of the group does not answer while another one joins, and comes back. Guarantee: the answer's cause is the
/// rebalance, with a number that stays, until the partitions are dealt out.
#[test]
fn a_rebalance_is_seen_by_the_classic_protocol() {
    a_rebalance_is_seen("e2e-scaler-classic", false);
}

#[test]
fn a_rebalance_is_seen_by_the_newer_protocol() {
    a_rebalance_is_seen("e2e-scaler-consumer", true);
}
