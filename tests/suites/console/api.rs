//! The API without a browser.

use std::time::Duration;

use longshore_tests::harness::http::send;
use longshore_tests::harness::{packed_files, shared_broker, wait_until};
use serde_json::{Value, json};

use super::*;

/// Holds for the records that the step refused.
const CONDITION: &str = "fields.shaky == true";

fn with_token() -> String {
    format!("http.console.token={TOKEN}")
}

/// Scenario: a console without a token. Guarantee: letters are counted, listed, shown and their life told as `dlq` and `why` do, masked;
/// payloads as they are and sending are refused with 403, whoever asks (I10).
#[test]
fn without_a_token_it_is_read_only_and_masked() {
    let Some(broker) = shared_broker() else { return };
    let stage = Stage::new(broker, "console-read", &[]);
    let session = stage.get("/api/console").with(200).json();
    assert_eq!((&session["read_only"], &session["holder"]), (&json!(true), &json!(false)), "{session}");
    assert_eq!((stage.open("decode.json"), stage.open("sink.rejected")), (2, 2));
    let by_step = stage.get("/api/letters?by=step").with(200).json();
    assert_eq!(by_step["groups"].as_array().unwrap().len(), 2, "{by_step}");

    let id = stage.letter("sink.rejected");
    let letter = stage.get(&format!("/api/letters/{id}")).with(200);
    let shown = letter.json();
    assert_eq!(shown["masked"], true);
    assert!(shown["reason_words"].as_str().is_some_and(|words| !words.is_empty()), "{shown}");
    assert!(shown["payload"].as_str().unwrap().contains("\"message\": <text, 17 bytes>"), "{shown}");
    assert_eq!(shown["headers"], json!([{"name": "own", "value": "<17 bytes>"}]));
    let origin = shown["origin"].as_str().unwrap().rsplit_once('/').unwrap().0.to_owned();
    let told = stage.get(&format!("/api/why/{origin}")).with(200);
    assert!(told.json()["now"][0].as_str().unwrap().contains("(open): sink.rejected"), "{}", told.body);
    assert_eq!(told.json()["key"], "<7 bytes>");
    let same = stage.get(&format!("/api/why/{id}")).with(200).json();
    assert_eq!((&same["record"], &same["asked_for"]), (&json!(origin), &json!("letter")));
    for body in [&letter.body, &told.body] {
        assert!(!body.contains(SECRET), "{body}");
    }

    for path in [format!("/api/letters/{id}?raw"), format!("/api/why/{origin}?raw")] {
        let _ = stage.get(&path).with(403);
    }
    let plan = stage.post("/api/replay/plan", &[], "{}").with(200).json();
    assert_eq!(plan["counts"]["selected"], 4, "{plan}");
    let body = json!({ "until": plan["request"]["until"], "plan": plan["plan"] }).to_string();
    let _ = stage.post("/api/replay", &[], &body).with(403);
    let _ = stage.post("/api/replay", &[&bearer(TOKEN)], &body).with(403);
    assert!(stage.rig.witness.read(&stage.rig.retry_topic()).is_empty());
    stage.worker.stop();
}

/// Scenario: with the token letters are read as they are, planned and sent again, after what they failed by is mended; the same plan is
/// sent a second time. Guarantee: each record is in the sink once, its letter is handled, the run stands in the journal, whose
/// condition is shown to the token alone (I10); a wrong or missing token gets 401, and a plan that is not the letters' any more 409.
#[test]
fn the_token_opens_payloads_and_replays() {
    let Some(broker) = shared_broker() else { return };
    let stage = Stage::new(broker, "console-replay", &[&with_token()]);
    let (right, wrong) = (bearer(TOKEN), bearer("another-token-0123456789"));
    let raw = format!("/api/letters/{}?raw", stage.letter("sink.rejected"));
    for head in [&[][..], &[wrong.as_str()], &["Authorization: Basic YTpi"]] {
        let refused = send(stage.address, "GET", &raw, head, "").with(401);
        assert!(refused.head.contains("www-authenticate: bearer") && !refused.body.contains(SECRET));
    }
    let _ = send(stage.address, "GET", "/api/letters", &[&wrong], "").with(401);
    assert!(send(stage.address, "GET", &raw, &[&right], "").with(200).body.contains(SECRET));

    let asked = json!({ "reasons": ["sink.rejected"], "rate": 1000, "where": CONDITION });
    let _ = stage.post("/api/replay/plan", &[], &asked.to_string()).with(401);
    let plan = stage.post("/api/replay/plan", &[&right], &asked.to_string()).with(200).json();
    assert_eq!((&plan["counts"]["selected"], &plan["idempotent"]), (&json!(2), &json!(true)), "{plan}");
    let without = json!({ "reasons": ["decode.json"] }).to_string();
    let chosen = stage.post("/api/replay/plan", &[], &without).with(200).json();
    assert_eq!(chosen["counts"]["selected"], 2, "{chosen}");

    let mut start = plan["request"].clone();
    start["plan"] = plan["plan"].clone();
    let body = start.to_string();
    let _ = stage.post("/api/replay", &[], &body).with(401);
    let _ = stage.post("/api/replay", &[&wrong], &body).with(401);
    let _ = stage.post("/api/replay", &[&right], &asked.to_string()).with(400);
    assert!(stage.rig.witness.read(&stage.rig.retry_topic()).is_empty());

    stage.mend();
    let run = stage.post("/api/replay", &[&right], &body).with(202).json();
    let id = run["run"]["id"].as_str().unwrap().to_owned();
    let state = |stage: &Stage| stage.get(&format!("/api/runs/{id}")).with(200).json();
    wait_until("the run is done", DRAINED, || state(&stage)["state"] == "done");
    let done = state(&stage);
    assert_eq!((&done["counts"]["handled"], &done["counts"]["refused"]), (&json!(2), &json!(0)), "{done}");
    assert!(done["who"].as_str().unwrap().starts_with("console@"), "{done}");
    let all = send(stage.address, "GET", &format!("/api/runs/{id}"), &[&right], "").with(200).json();
    assert_eq!(all["filter"]["condition"], CONDITION, "{all}");
    for body in [stage.get("/api/runs").with(200).body, done.to_string()] {
        assert!(body.contains(&id) && !body.contains("shaky") && !body.contains("\"host\""), "{body}");
    }
    assert_eq!((stage.open("sink.rejected"), stage.open("decode.json")), (0, 2));
    let again = stage.post("/api/replay", &[&right], &body).with(409).json();
    assert_eq!(again["now"]["counts"]["selected"], 0, "{again}");

    let rows = || -> Vec<Value> {
        let files = packed_files(&stage.rig.files());
        let lines = files.iter().flat_map(|file| zstd::decode_all(std::fs::File::open(file).unwrap()));
        let text: Vec<u8> = lines.flatten().collect();
        String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let shaky = |rows: &[Value]| rows.iter().filter(|row| row["attributes"]["shaky"] == true).count();
    wait_until("both records are in the sink", DRAINED, || shaky(&rows()) >= 2);
    let all = rows();
    assert_eq!((all.len(), shaky(&all)), (5, 2), "{all:?}");
    stage.worker.stop();
}

/// Bad input: paths that climb, unknown ones, other methods, sites, types and names, bodies that are no requests or too large.
/// Guarantee: each is refused with its own code, every answer of the console forbids a browser what it does not need, and the worker goes
/// on.
#[test]
fn what_others_send_is_refused() {
    let Some(broker) = shared_broker() else { return };
    let mut stage = Stage::new(broker, "console-bad", &[&with_token()]);
    let letters = stage.rig.letter_topic();
    for path in [
        "/console/../../../etc/passwd",
        "/console/..%2f..%2fetc/passwd",
        "/console/main.rs",
        "/api/letters/..%2F..%2Fetc/0/passwd",
        "/api/letters/..%2F..%2Fetc%2Fpasswd/0/1",
        "/api/why/another.topic/0/1",
        "/api/nothing",
        "/api/runs/nothing",
        "/nothing",
        &format!("/api/letters/{letters}/0/999999"),
        &format!("/api/letters/{letters}/99/0"),
    ] {
        let refused = stage.get(path);
        assert!(matches!(refused.code, 400 | 404), "{path}: {refused:?}");
        assert!(!refused.body.contains("root:"), "{path}: {refused:?}");
    }
    let _ = stage.get("/api/replay/plan").with(405);
    let _ = stage.get("/api/letters?by=payload").with(400);
    let right = bearer(TOKEN);
    let evil = "Origin: https://evil.example";
    for (head, code) in [
        (&["Content-Type: application/json", evil][..], 403),
        (&["Content-Type: application/json", "Origin: null"], 403),
        (&["Content-Type: application/json", "Sec-Fetch-Site: cross-site"], 403),
        (&["Content-Type: text/plain"], 415),
        (&["Content-Type: application/x-www-form-urlencoded"], 415),
        (&["Content-Type: application/json", "Host: evil.example"], 421),
    ] {
        for path in ["/api/replay", "/api/replay/plan"] {
            let head = [head, &[right.as_str()]].concat();
            let _ = send(stage.address, "POST", path, &head, "{}").with(code);
        }
    }
    let _ = send(stage.address, "GET", "/api/letters", &["Sec-Fetch-Site: cross-site"], "").with(403);
    for (body, code) in [
        ("{", 400),
        ("\"retry\"", 422),
        ("{\"transform\":\"x\"}", 422),
        ("{\"to\":\"another.topic\"}", 422),
        ("{\"rate\":0}", 400),
        ("{\"since\":\"yesterday\"}", 400),
        (&format!("{{\"reasons\":[\"{}\"]}}", "x".repeat(20_000)), 413),
    ] {
        let refused = stage.post("/api/replay/plan", &[&right], body);
        assert_eq!(refused.code, code, "{body:.40}: {refused:?}");
    }
    let page = stage.get("/").with(200);
    for word in [
        "content-security-policy: default-src 'none'; script-src 'self'",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(page.head.contains(word), "{word}: {}", page.head);
    }
    let answer = stage.get("/api/console").with(200);
    assert!(answer.head.contains("cache-control: no-store") && !answer.head.contains("set-cookie"));
    assert!(!answer.head.contains("access-control-allow-origin") && !answer.body.contains(TOKEN));
    assert!(!stage.worker.page("/config").unwrap().contains(TOKEN));
    assert!(stage.rig.witness.read(&stage.rig.retry_topic()).is_empty());
    assert!(!stage.worker.process.stderr().contains(TOKEN));
    stage.worker.stop();
}

/// Bad input: forged letters with scripts and control characters wherever text can stand, and one of a megabyte; many visitors at once.
/// Guarantee: what is hostile comes as text without control characters, answers are bounded, and each visitor is answered or told to ask
/// again.
#[test]
fn hostile_letters_are_text_and_answers_are_bounded() {
    let Some(broker) = shared_broker() else { return };
    let stage = Stage::new(broker, "console-hostile", &[&with_token()]);
    stage.forge();
    let right = bearer(TOKEN);
    let forged = stage.letter(SCRIPT);
    let shown = send(stage.address, "GET", &format!("/api/letters/{forged}?raw"), &[&right], "").with(200);
    assert!(shown.head.contains("content-type: application/json") && shown.head.contains("nosniff"));
    let letter = shown.json();
    for name in ["reason", "at", "detail", "key", "payload"] {
        let text = letter[name].as_str().unwrap();
        assert!(text.contains("<script>") && !text.contains(['\u{1b}', '\u{7}']), "{name}: {text}");
    }
    let nameless = json!({ "reasons": [""], "to": "input" }).to_string();
    let plan = stage.post("/api/replay/plan", &[], &nameless).with(200).json();
    assert_eq!(plan["counts"]["by_reason"], json!({ "(none)": 1 }), "{plan}");
    let large = stage.letter("decode.too-large");
    for head in [&[][..], &[right.as_str()]] {
        let path = format!("/api/letters/{large}{}", if head.is_empty() { "" } else { "?raw" });
        let shown = send(stage.address, "GET", &path, head, "").with(200);
        assert!(shown.body.len() < 600_000, "{}", shown.body.len());
        assert_eq!(shown.json()["payload_bytes"], 1_000_003);
    }
    let codes: Vec<u16> = std::thread::scope(|scope| {
        let ask = || scope.spawn(|| stage.get("/api/letters").code);
        let asked: Vec<_> = (0..16).map(|_| ask()).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(codes.iter().all(|code| matches!(code, 200 | 429)) && codes.contains(&200), "{codes:?}");
    stage.worker.stop();
}

/// Guarantee: a pipeline that wants no console has none, and its status pages all the same.
#[test]
fn the_console_can_be_switched_off() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "console-off").set("http.console.enabled=false").with_topics(1);
    let mut worker = rig.working();
    for path in ["/", "/console/main.js", "/api/console", "/api/letters"] {
        assert_eq!(worker.answer(path).map(|(code, _)| code), Some(404), "{path}");
    }
    assert!(worker.answer("/livez").is_some_and(|(code, _)| code == 200));
    let status = worker.terminate(Duration::from_secs(25));
    assert!(status.success());
}
