//! Spans through the real Collector: one record's way as one trace, what hostile headers do, and a Collector that is not there.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use longshore_tests::harness::collector::Span;
use longshore_tests::harness::{
    Account, Collector, Longshore, Record, Rig, Seen, Worker, binary, free_port, shared_broker, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Spans are sent when a process ends, and not before.
const AT_THE_END: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "600000");
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A pipeline that tries a record twice; each fails as long as the file `mistake` is in the rig's folder.
fn failing(bootstrap: &str, name: &str) -> Rig {
    let rig = Rig::new(bootstrap, name).set("failure.retry.attempts=2").set("failure.retry.first=100ms");
    let rig = rig.set("failure.retry.cap=200ms").set("failure.retry.in_place=0ms");
    let mistake = rig.folder().join("mistake").display().to_string();
    std::fs::write(&mistake, "").unwrap_or_else(|error| panic!("{mistake}: {error}"));
    let steps = format!("\n  - fail: {{ while: {mistake} }}\n  - parse: {{ format: json }}");
    let sinks = format!(
        "\n  - files: {{ path: \"{}\", roll: {{ age: 300ms }} }}\n  - topic: {{ name: {name}.out }}",
        rig.files().display()
    );
    let rig = rig.steps(&steps).sinks(&sinks).with_topics(1);
    rig.witness.create_topic(&format!("{name}.out"), 1, &[]);
    rig
}

/// `longshore ARGUMENTS...` with these variables, to its end.
fn command(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(binary());
    command.args(arguments).envs(environment.iter().copied());
    let mut process = Longshore::start_command(command);
    let status = process.wait(PATIENCE);
    assert!(status.success(), "{}", process.transcript());
    process.stderr()
}

fn working(rig: &Rig, environment: &[(&str, &str)]) -> Worker {
    let mut worker = rig.worker_with(&[], environment);
    worker.wait_for_partitions();
    worker
}

/// The span of this name under this parent; the only one.
#[track_caller]
fn under<'a>(spans: &'a [Span], parent: &str, name: &str) -> &'a Span {
    let found: Vec<_> = spans
        .iter()
        .filter(|span| span.text("name") == name && span.text("parentSpanId") == parent)
        .collect();
    assert_eq!(found.len(), 1, "{name} under {parent:?} of {spans:#?}");
    found[0]
}

#[track_caller]
fn told(span: &Span, wanted: &[(&str, &str)]) {
    for (name, value) in wanted {
        assert_eq!(span.attribute(name).as_deref(), Some(*value), "{name} of {span:#?}");
    }
}

fn own(seen: &Seen) -> Vec<(String, Option<Vec<u8>>)> {
    seen.headers.iter().filter(|(name, _)| !name.starts_with("longshore.")).cloned().collect()
}

fn context(span: &Span) -> String {
    format!("00-{}-{}-01", span.text("traceId"), span.text("spanId"))
}

/// Fails a record twice, mends the mistake and replays it; the dead letter, and what the topic sink sent on.
fn through_the_dead_letters(
    rig: &Rig,
    environment: &[(&str, &str)],
    records: usize,
) -> (Vec<Seen>, Vec<Seen>) {
    let worker = working(rig, environment);
    wait_until("the letters are there", PATIENCE, || rig.witness.read(&rig.letter_topic()).len() == records);
    let letters = rig.witness.read(&rig.letter_topic());
    std::fs::remove_file(rig.folder().join("mistake")).unwrap_or_else(|error| panic!("the mistake: {error}"));
    let file = rig.file().display().to_string();
    command(&["dlq", "replay", "-c", &file, "--yes"], environment);
    let out = format!("{}.out", rig.name);
    wait_until("what was replayed is sent on", PATIENCE, || rig.witness.read(&out).len() == records);
    wait_until("it has a row", PATIENCE, || Account::take(rig).rows.len() == records);
    wait_until("no copy waits any more", PATIENCE, || rig.uncommitted_copies() == 0);
    worker.stop();
    (letters, rig.witness.read(&out))
}

/// Scenario: a published record fails twice, becomes a dead letter, is replayed, and goes to a files sink and a topic sink; spans
/// leave each process only as it ends. Guarantee (I7): the Collector's file has one trace of it, from the producer to the sinks, with
/// the names and attributes of the conventions; nobody replaced or doubled its `traceparent`.
#[test]
fn a_record_is_one_story_from_its_producer_to_the_sinks() {
    let (Some(broker), Some(collector)) = (shared_broker(), Collector::start()) else { return };
    let rig = failing(&broker.bootstrap(), "trace-story");
    let (retry, dead, endpoint) = (rig.retry_topic(), rig.letter_topic(), collector.endpoint());
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), AT_THE_END];
    let line = rig.folder().join("line");
    std::fs::write(&line, "{\"message\":\"hello\",\"severity_number\":9}\n").unwrap();
    let (file, line) = (rig.file().display().to_string(), line.display().to_string());
    command(&["publish", "-c", &file, "--trace", "--constant-key", "user-7", &line], &environment);
    let published = rig.witness.read(&rig.topic).remove(0);
    let (letters, sent_on) = through_the_dead_letters(&rig, &environment, 1);

    let spans = collector.wait_for("the sinks' spans", |spans| {
        spans.iter().filter(|span| span.text("name").starts_with("write")).count() == 2
    });
    let root = under(&spans, "", &format!("send {}", rig.topic));
    told(root, &[("messaging.destination.name", &rig.topic)]);
    assert_eq!((root.service.as_str(), root.json["kind"].as_i64()), ("longshore", Some(4)));
    let trace = root.text("traceId").to_owned();
    let spans: Vec<Span> = spans.into_iter().filter(|span| span.text("traceId") == trace).collect();
    assert_eq!(spans.len(), 9, "{spans:#?}");
    let root = root_of(&spans).to_owned();

    let first = under(&spans, &root, &format!("process {}", rig.topic));
    assert_eq!((first.service.as_str(), first.json["kind"].as_i64()), ("trace-story", Some(5)));
    assert!(first.is_error());
    let origin = format!("{}/0/0", rig.topic);
    told(
        first,
        &[
            ("messaging.system", "kafka"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", &rig.topic),
            ("messaging.destination.partition.id", "0"),
            ("messaging.consumer.group.name", &rig.group()),
            ("messaging.kafka.offset", "0"),
            ("messaging.kafka.message.key", "user-7"),
            ("longshore.origin", &origin),
            ("longshore.attempt", "1"),
            ("longshore.outcome", "failed"),
            ("error.type", "step.failed"),
        ],
    );
    let copy = under(&spans, first.text("spanId"), &format!("send {retry}"));
    told(copy, &[("messaging.destination.name", &retry), ("longshore.reason", "step.failed")]);
    assert!(!copy.is_error());

    // Copies keep the producer's context, so each try stands under the producer.
    let tries: Vec<_> = spans.iter().filter(|span| span.text("name") == format!("process {retry}")).collect();
    let [second, third] = tries[..] else { panic!("{tries:#?}") };
    let (second, third) = if second.is_error() { (second, third) } else { (third, second) };
    told(
        second,
        &[("longshore.attempt", "2"), ("longshore.outcome", "failed"), ("longshore.origin", &origin)],
    );
    let letter = under(&spans, second.text("spanId"), &format!("send {dead}"));
    told(letter, &[("messaging.destination.name", &dead)]);
    let replay = under(&spans, &root, &format!("send {retry}"));
    told(replay, &[("longshore.letter", &format!("{dead}/0/0"))]);
    assert!(replay.service == "longshore" && replay.attribute("longshore.replay").is_some(), "{replay:?}");
    told(
        third,
        &[("longshore.attempt", "1"), ("longshore.outcome", "routed"), ("longshore.origin", &origin)],
    );
    for span in [second, third] {
        assert_eq!(span.text("parentSpanId"), root);
        told(span, &[("messaging.destination.name", &retry)]);
    }
    for sink in ["files", "trace-story.out"] {
        let written = under(&spans, third.text("spanId"), &format!("write {sink}"));
        assert!(!written.is_error(), "{written:?}");
    }

    let header = published.header("traceparent").unwrap();
    assert_eq!(header, format!("00-{trace}-{root}-01"));
    for seen in rig.witness.read(&retry).iter().chain(&letters).chain(&sent_on) {
        assert_eq!(own(seen), own(&published), "{seen:?}");
    }
}

fn root_of(spans: &[Span]) -> &str {
    spans.iter().find(|span| span.text("parentSpanId").is_empty()).map_or("", |span| span.text("spanId"))
}

/// Scenario: records that come without a trace, with one that is not recorded, with a broken one, with two, and with baggage of nearly
/// a megabyte; they fail twice, become dead letters and are replayed. Guarantee: each record that nobody traces is one trace of its
/// own through all tries, and its letter names it, once; what was there stays byte for byte; a caller that does not record is
/// followed.
#[test]
fn headers_are_kept_and_a_trace_is_added_where_none_is_named() {
    let (Some(broker), Some(collector)) = (shared_broker(), Collector::start()) else { return };
    let rig = failing(&broker.bootstrap(), "trace-headers");
    let parent = |flags: &str| format!("00-{TRACE}-b7ad6b7169203331-{flags}");
    let line = |n: usize| Record::new(&format!("key-{n}"), "{\"message\":\"hello\",\"severity_number\":9}");
    let baggage = "x".repeat(900_000);
    let records = [
        line(0).header("own", "kept"),
        line(1).header("traceparent", &parent("00")),
        line(2).header("traceparent", "00-1-2-01"),
        line(3).header("traceparent", &parent("01")).header("traceparent", &parent("01")),
        line(4).header("baggage", &baggage).header("traceparent", &parent("01")).header("tracestate", "a=b"),
    ];
    rig.witness.publish(&rig.topic, &records);
    let published = rig.witness.read(&rig.topic);
    let endpoint = collector.endpoint();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), AT_THE_END];
    let (letters, sent_on) = through_the_dead_letters(&rig, &environment, records.len());
    let spans = collector.wait_for("the sinks' spans", |spans| {
        spans.iter().filter(|span| span.text("name").starts_with("write")).count() == 8
    });
    let of = |n: usize| -> Vec<Span> {
        let origin = format!("{}/0/{n}", rig.topic);
        spans
            .iter()
            .filter(|span| span.attribute("longshore.origin").as_ref() == Some(&origin))
            .cloned()
            .collect()
    };
    let traces = |spans: &[Span]| -> BTreeSet<String> {
        spans.iter().map(|span| span.text("traceId").to_owned()).collect()
    };
    let keyed = |all: &[Seen], n: usize| -> Seen {
        let key = format!("key-{n}").into_bytes();
        all.iter().find(|seen| seen.key.as_deref() == Some(&key)).unwrap().clone()
    };

    // Nobody traced it: one trace of its own, which the first copy's span begins to tell.
    let alone = of(0);
    assert_eq!((alone.len(), traces(&alone).len()), (7, 1), "{alone:#?}");
    let first = under(&alone, "", &format!("process {}", rig.topic));
    let copy = under(&alone, first.text("spanId"), &format!("send {}", rig.retry_topic()));
    let mut wanted = own(&published[0]);
    wanted.push(("traceparent".to_owned(), Some(context(copy).into_bytes())));
    for seen in [keyed(&letters, 0), keyed(&sent_on, 0)] {
        assert_eq!(own(&seen), wanted, "{seen:?}");
    }
    let tries = alone.iter().filter(|span| span.text("name") == format!("process {}", rig.retry_topic()));
    assert!(tries.into_iter().all(|span| span.text("parentSpanId") == copy.text("spanId")), "{alone:#?}");

    // Its producer does not record, so nobody does.
    assert!(of(1).is_empty(), "{:#?}", of(1));
    // What cannot be read means nothing: traces of their own, in which each try begins anew.
    for n in [2, 3] {
        let spans = of(n);
        assert_eq!((spans.len(), traces(&spans).len()), (7, 1), "{spans:#?}");
        assert!(!traces(&spans).contains(TRACE));
    }
    let carried = of(4);
    assert_eq!(traces(&carried), BTreeSet::from([TRACE.to_owned()]));
    let first = under(&carried, "b7ad6b7169203331", &format!("process {}", rig.topic));
    assert_eq!(first.text("traceState"), "a=b");
    for (n, published) in published.iter().enumerate().skip(1) {
        for seen in [keyed(&letters, n), keyed(&sent_on, n)] {
            assert!(own(&seen) == own(published), "record {n} has other headers");
        }
    }
}

/// Scenario: a step waits a second for each record; the operator names attributes that we set too, and a queue without a bound.
/// Guarantee: the record's span is as long as its step took; what the operator says stands, and what is not done as he wants is told.
#[test]
fn a_span_is_as_long_as_its_record_takes() {
    let (Some(broker), Some(collector)) = (shared_broker(), Collector::start()) else { return };
    let rig = Rig::new(&broker.bootstrap(), "trace-long")
        .steps("\n  - delay: { for: 1s }\n  - parse: { format: json }")
        .with_topics(1);
    let endpoint = collector.endpoint();
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    rig.witness.publish(&rig.topic, &[Record::new("k", "{}").header("traceparent", &parent)]);
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.version=blue,deployment.environment.name=test"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999999999999"),
    ];
    let worker = working(&rig, &environment);
    rig.wait_drained(PATIENCE, &[&worker]);
    let said = worker.process.stderr();
    assert!(said.contains("OTEL_BSP_MAX_QUEUE_SIZE=99999999999999999999: too large, so 16384"), "{said}");
    worker.stop();
    let spans =
        collector.wait_for("its spans", |spans| spans.iter().any(|span| span.text("name") == "write files"));
    let process = under(&spans, "b7ad6b7169203331", &format!("process {}", rig.topic));
    assert!(process.took() >= Duration::from_millis(900), "{:?}", process.took());
    under(&spans, process.text("spanId"), "write files");
    for (name, value) in
        [("service.name", "trace-long"), ("service.version", "blue"), ("deployment.environment.name", "test")]
    {
        assert_eq!(process.of_resource(name).as_deref(), Some(value), "{name} of {:#?}", process.resource);
    }
    assert!(process.of_resource("service.instance.id").is_some_and(|id| id.len() == 16));
}

/// Scenario: a publish and a replay make spans, and the Collector is not there. Guarantee: both do their work and succeed in time, and their
/// closing line says how many spans are lost.
#[test]
fn a_command_says_which_spans_it_lost() {
    let Some(broker) = shared_broker() else { return };
    let rig = failing(&broker.bootstrap(), "trace-lost");
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let lines = rig.folder().join("lines");
    std::fs::write(&lines, "{\"message\":\"x\",\"severity_number\":9}\n".repeat(7)).unwrap();
    let (file, lines) = (rig.file().display().to_string(), lines.display().to_string());
    let closing = |said: &str| {
        let lost: Vec<_> = said.lines().filter(|line| line.contains("lost")).collect();
        let [closing] = lost[..] else { panic!("{said}") };
        closing.to_owned()
    };
    let began = std::time::Instant::now();
    let said = command(&["publish", "-c", &file, "--trace", &lines], &environment);
    assert!(closing(&said).starts_with("7 records confirmed"), "{said}");
    assert!(closing(&said).ends_with("7 spans lost: the Collector did not take them in time"), "{said}");
    let worker = working(&rig, &[]);
    wait_until("the letters are there", PATIENCE, || rig.witness.read(&rig.letter_topic()).len() == 7);
    worker.stop();
    let said = command(&["dlq", "replay", "-c", &file, "--yes"], &environment);
    assert!(closing(&said).contains("7 of 7 letters sent and confirmed; 7 spans lost"), "{said}");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

/// Scenario: records of producers that record their traces, far more than a span takes links. Guarantee: what was done with a batch is
/// told by spans that together link to each record once, none to more than 128; the commit is told.
#[test]
fn batches_link_to_their_records() {
    const RECORDS: usize = 300;
    let (Some(broker), Some(collector)) = (shared_broker(), Collector::start()) else { return };
    let rig = Rig::new(&broker.bootstrap(), "trace-batches").with_topics(1);
    let parent = |n: usize| format!("00-{n:032x}-{n:016x}-01");
    let line = |n: usize| {
        let record = Record::new(&format!("key-{n}"), "{\"message\":\"x\",\"severity_number\":9}");
        record.header("traceparent", &parent(n))
    };
    rig.witness.publish(&rig.topic, &(1..=RECORDS).map(line).collect::<Vec<_>>());
    let endpoint = collector.endpoint();
    let worker = working(&rig, &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]);
    rig.wait_drained(PATIENCE, &[&worker]);
    worker.stop();
    let named = |spans: &[Span], name: &str| -> Vec<Span> {
        spans.iter().filter(|span| span.text("name") == name).cloned().collect()
    };
    let commit = format!("commit {}", rig.topic);
    // An ownership begins with a commit that settles nothing.
    let settles = |span: &Span| span.json["links"].as_array().is_some_and(|links| !links.is_empty());
    let spans = collector.wait_for("the span of a commit that settles records", |spans| {
        named(spans, "write files").len() == RECORDS && named(spans, &commit).iter().any(settles)
    });
    let linked = |spans: &[Span]| -> Vec<String> {
        let lists = spans.iter().map(|span| span.json["links"].as_array().cloned().unwrap_or_default());
        let lists: Vec<_> =
            lists.inspect(|links| assert!(links.len() <= 128, "{} links", links.len())).collect();
        lists.iter().flatten().map(|link| link["spanId"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let polls = named(&spans, &format!("poll {}", rig.topic));
    let (all, each): (Vec<String>, BTreeSet<String>) = (linked(&polls), linked(&polls).into_iter().collect());
    assert_eq!((all.len(), each.len()), (RECORDS, RECORDS));
    assert!(each.contains(&format!("{RECORDS:016x}")));
    told(&polls[0], &[("messaging.operation.name", "poll"), ("messaging.operation.type", "receive")]);
    // A poll is as long as it took, and is the client's that tells the brokers where the pages are.
    assert!(polls.iter().all(|span| span.took() > Duration::ZERO), "{polls:#?}");
    let client = polls[0].attribute("messaging.client.id").unwrap_or_default();
    assert!(client.starts_with("longshore.http."), "{client}");
    let tries: BTreeSet<String> = named(&spans, &format!("process {}", rig.topic))
        .iter()
        .map(|span| span.text("spanId").to_owned())
        .collect();
    assert_eq!(linked(&named(&spans, "publish files")).into_iter().collect::<BTreeSet<_>>(), tries);
    for span in named(&spans, &commit) {
        told(
            &span,
            &[("messaging.operation.type", "settle"), ("messaging.consumer.group.name", &rig.group())],
        );
    }
    // Each commit links to what it settled, as far as a span takes links, and nothing is settled twice.
    let settled = linked(&named(&spans, &commit));
    let each: BTreeSet<String> = settled.iter().cloned().collect();
    assert!(settled.len() >= 128 && settled.len() == each.len() && each.is_subset(&tries), "{settled:?}");
}

/// Scenario: the Collector is not there, or takes connections and never answers, while far more spans come than may wait.
/// Guarantee: every record arrives, what is lost is counted and told in one line, and SIGTERM ends the worker in time.
#[test]
fn a_collector_that_is_away_is_not_noticed() {
    const RECORDS: usize = 3_000;
    let Some(broker) = shared_broker() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = format!("http://secret:word@127.0.0.1:{}", free_port());
    let endpoints = [("down", away), ("silent", format!("http://{}", silent.local_addr().unwrap()))];
    for (kind, endpoint) in &endpoints {
        let rig = Rig::new(&broker.bootstrap(), &format!("trace-{kind}")).with_topics(2);
        let line = |n: usize| Record::new(&format!("key-{n}"), "{\"message\":\"x\",\"severity_number\":9}");
        rig.witness.publish(&rig.topic, &(0..RECORDS).map(line).collect::<Vec<_>>());
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "256"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ];
        let mut worker = working(&rig, &environment);
        rig.wait_drained(PATIENCE, &[&worker]);
        worker.wait_until("lost spans are counted", |worker| {
            worker.metric("longshore_spans_dropped_total") >= (RECORDS / 2) as f64
        });
        assert_eq!(worker.metric("longshore_spans_exported_total"), 0.0);
        let began = std::time::Instant::now();
        let status = worker.terminate(PATIENCE);
        assert!(
            status.success() && began.elapsed() < Duration::from_secs(25),
            "{status} {:?}",
            began.elapsed()
        );
        let said = worker.process.stderr();
        assert_eq!(said.matches("spans are lost").count(), 1, "{kind}: {said}");
        assert!(!said.contains("word"), "{said}");
        let rows = Account::take(&rig).rows.len();
        assert_eq!(rows, RECORDS, "{kind}");
    }
}

/// Scenario: an endpoint is set, and tracing is switched off by a standard variable or by the pipeline file. Guarantee: no span, and
/// no header is added.
#[test]
fn what_is_off_is_off() {
    let (Some(broker), Some(collector)) = (shared_broker(), Collector::start()) else { return };
    let endpoint = collector.endpoint();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str());
    let ways: [(&[&str], (&str, &str)); 4] = [
        (&[], ("OTEL_SDK_DISABLED", "true")),
        (&[], ("OTEL_TRACES_EXPORTER", "none")),
        (&["telemetry.traces=off"], AT_THE_END),
        (&[], ("OTEL_TRACES_SAMPLER", "always_off")),
    ];
    for (number, (settings, variable)) in ways.into_iter().enumerate() {
        let name = format!("trace-off-{number}");
        let sinks = format!("\n  - topic: {{ name: {name}.out }}");
        let rig = Rig::new(&broker.bootstrap(), &name).sinks(&sinks).with_topics(1);
        let out = format!("{name}.out");
        rig.witness.create_topic(&out, 1, &[]);
        rig.witness.publish(&rig.topic, &[Record::new("k", "{\"message\":\"x\",\"severity_number\":9}")]);
        let mut worker = rig.worker_with(settings, &[endpoint, variable]);
        worker.wait_for_partitions();
        wait_until("it is sent on", PATIENCE, || rig.witness.read(&out).len() == 1);
        worker.stop();
        assert_eq!(own(&rig.witness.read(&out)[0]), [], "{variable:?}");
    }
    assert!(collector.spans().is_empty(), "{:#?}", collector.spans());
}
