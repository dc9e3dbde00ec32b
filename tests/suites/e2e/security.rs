//! Guarded brokers: TLS, SASL and rights.

use std::sync::OnceLock;
use std::time::Duration;

use longshore_broker::{BrokerOptions, JvmBroker, Listener, SASL_PASSWORD, SASL_USER, Tool};
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Account, Rig, start_broker, wait_for};
use rustix::process::Signal;

use super::scaler::{asked, scaler};
use super::troubles::assert_ends_quietly;

const WRONG: &str = "wrong-secret-7261";
/// Topics and groups of this prefix are the SASL user's own.
const ALLOWED: &str = "e2e-guarded";

/// A broker with every guarded listener that refuses what no rule allows.
fn guarded() -> Option<&'static JvmBroker> {
    static BROKER: OnceLock<Option<JvmBroker>> = OnceLock::new();
    let start = || {
        let listeners = vec![
            Listener::Tls,
            Listener::SaslPlain,
            Listener::SaslScram,
            Listener::SaslTls,
            Listener::SaslToken,
        ];
        let broker = start_broker(BrokerOptions { listeners, acls: true, ..BrokerOptions::default() })?;
        let user = format!("User:{SASL_USER}");
        let group = format!("longshore.{ALLOWED}");
        let allow = ["--add", "--allow-principal", &user, "--operation", "All", "--topic", ALLOWED];
        let prefixed = ["--group", &group, "--resource-pattern-type", "prefixed"];
        broker.tool(Tool::Acls, &[&allow[..], &prefixed].concat()).unwrap();
        // The journal is named by the pipeline, as the group is.
        let journal = ["--add", "--allow-principal", &user, "--operation", "All", "--topic", &group];
        broker.tool(Tool::Acls, &[&journal[..], &["--resource-pattern-type", "prefixed"]].concat()).unwrap();
        Some(broker)
    };
    BROKER.get_or_init(start).as_ref()
}

/// The `kafka:` section for a listener.
fn section(broker: &JvmBroker, listener: Listener, mechanism: &str, password: &str) -> String {
    let certificate = broker.certificate_pem().map(|path| path.display().to_string()).unwrap_or_default();
    let tls = format!("tls: {{ ca: \"{certificate}\" }}");
    let sasl = format!("sasl: {{ mechanism: {mechanism}, username: {SASL_USER}, password: \"{password}\" }}");
    let security = match listener {
        Listener::Tls => tls,
        Listener::SaslPlain | Listener::SaslScram | Listener::SaslToken => sasl,
        Listener::SaslTls => format!("{sasl}, {tls}"),
        Listener::Detour(_) => String::new(),
    };
    format!("{{ brokers: \"{}\", security: {{ {security} }} }}", broker.bootstrap_of(listener))
}

fn runs_through(listener: Listener, mechanism: &str, name: &str) {
    let Some(broker) = guarded() else { return };
    let rig = Rig::new(&broker.bootstrap(), &format!("{ALLOWED}-{name}"));
    let rig = rig.kafka(&section(broker, listener, mechanism, SASL_PASSWORD)).with_topics(2);
    rig.witness.publish(&rig.topic, &(0..200).map(log_line).collect::<Vec<_>>());
    let mut worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    assert!(worker.terminate(Duration::from_secs(25)).success());
    assert!(!worker.process.transcript().contains(SASL_PASSWORD), "the password is in the log");
    Account::take(&rig).assert_right(200, log_fate);
}

/// Guarantee, here and below: a worker runs through a listener that asks for this.
#[test]
fn tls() {
    runs_through(Listener::Tls, "", "tls");
}

#[test]
fn sasl_plain() {
    runs_through(Listener::SaslPlain, "PLAIN", "plain");
}

#[test]
fn sasl_scram() {
    runs_through(Listener::SaslScram, "SCRAM-SHA-256", "scram");
}

#[test]
fn sasl_scram_over_tls() {
    runs_through(Listener::SaslTls, "SCRAM-SHA-512", "scram-tls");
}

/// Scenario: the password is wrong. Guarantee: one clear line, exit 77, no busy loop, no secret in the output.
#[test]
fn a_wrong_password_ends_with_77() {
    let Some(broker) = guarded() else { return };
    for (listener, mechanism) in [(Listener::SaslPlain, "PLAIN"), (Listener::SaslScram, "SCRAM-SHA-512")] {
        let rig = Rig::new(&broker.bootstrap(), &format!("{ALLOWED}-wrong-{}", mechanism.to_lowercase()));
        let rig = rig.kafka(&section(broker, listener, mechanism, WRONG)).with_topics(1);
        let said = assert_ends_quietly(&rig, 77, "broker.authentication");
        assert!(!said.contains(WRONG), "{said}");
    }
}

/// A token without a signature, as Kafka takes it where nothing else is configured: base64url of header and claims.
fn token(expires_in_s: i64, signature: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let packed = |text: &str| -> String {
        let group = |bytes: &[u8]| {
            let joined = bytes
                .iter()
                .enumerate()
                .fold(0_u32, |sum, (at, byte)| sum | u32::from(*byte) << (16 - 8 * at));
            (0..=bytes.len())
                .map(move |at| LETTERS[(joined >> (18 - 6 * at)) as usize & 63] as char)
                .collect::<String>()
        };
        text.as_bytes().chunks(3).map(group).collect()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let claims = format!("{{\"sub\":\"{SASL_USER}\",\"iat\":{},\"exp\":{}}}", now - 60, now + expires_in_s);
    format!("{}.{}.{signature}", packed("{\"alg\":\"none\"}"), packed(&claims))
}

/// The `kafka:` section for a token in a file.
fn token_section(broker: &JvmBroker, file: &std::path::Path) -> String {
    let sasl = format!("{{ mechanism: OAUTHBEARER, token_file: \"{}\" }}", file.display());
    format!("{{ brokers: \"{}\", security: {{ sasl: {sasl} }} }}", broker.bootstrap_of(Listener::SaslToken))
}

/// Guarantee: a worker runs with a token from a file, and the token is in no log.
#[test]
fn sasl_token() {
    let Some(broker) = guarded() else { return };
    let rig = Rig::new(&broker.bootstrap(), &format!("{ALLOWED}-token"));
    let (file, token) = (rig.folder().join("token"), token(3_600, ""));
    std::fs::write(&file, &token).unwrap();
    let rig = rig.kafka(&token_section(broker, &file)).with_topics(2);
    rig.witness.publish(&rig.topic, &(0..200).map(log_line).collect::<Vec<_>>());
    let mut worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    assert!(worker.terminate(Duration::from_secs(25)).success());
    assert!(!worker.process.transcript().contains(&token), "the token is in the log");
    Account::take(&rig).assert_right(200, log_fate);
}

/// Scenario: the broker refuses the token; it has expired; there is no file; or what is in it is no token. Guarantee: one clear line,
/// exit 77, no busy loop, no token in the output.
#[test]
fn a_wrong_token_ends_with_77() {
    let Some(broker) = guarded() else { return };
    let wrong = [
        ("refused", Some(token(3_600, "c2lnbmVk"))),
        ("expired", Some(token(-30, ""))),
        ("missing", None),
        ("garbled", Some("no-token-at-all-7261".to_owned())),
    ];
    for (name, token) in wrong {
        let rig = Rig::new(&broker.bootstrap(), &format!("{ALLOWED}-token-{name}"));
        let file = rig.folder().join("token");
        if let Some(token) = &token {
            std::fs::write(&file, token).unwrap();
        }
        let rig = rig.kafka(&token_section(broker, &file)).with_topics(1);
        let said = assert_ends_quietly(&rig, 77, "broker.authentication");
        assert!(token.is_none_or(|token| !said.contains(&token)), "{name}: {said}");
    }
}

/// The `kafka:` section of a client that shows a certificate, or none.
fn mutual_section(broker: &JvmBroker, own: Option<(&str, &str)>) -> String {
    let authority = broker.certificate_pem().map(|path| path.display().to_string()).unwrap_or_default();
    let shown = own.map(|(name, key)| {
        let file = |name: &str| client_file(name).display().to_string();
        format!(", certificate: \"{}\", key: \"{}\", key_password: {KEY_PASSWORD}", file(name), file(key))
    });
    let tls = format!("tls: {{ ca: \"{authority}\"{} }}", shown.unwrap_or_default());
    format!("{{ brokers: \"{}\", security: {{ {tls} }} }}", broker.bootstrap_of(Listener::Tls))
}

/// Certificates and keys made for these tests, valid for a hundred years; they open nothing.
fn client_file(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("certificates").join(name)
}

/// Opens the keys of these tests.
const KEY_PASSWORD: &str = "key-password-7261";

/// Scenario: the listener asks for the client's certificate. Guarantee: a worker with the one that the broker trusts runs
/// through, its key's password is in no log; with none, or with a stranger's, a worker ends with 77 and one clear line.
#[test]
fn mutual_tls() {
    let trusted = client_file("client.pem").display().to_string();
    let properties = [
        ("listener.name.tls.ssl.client.auth", "required"),
        ("listener.name.tls.ssl.truststore.type", "PEM"),
        ("listener.name.tls.ssl.truststore.location", &trusted),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let options = BrokerOptions { listeners: vec![Listener::Tls], properties, ..BrokerOptions::default() };
    let Some(broker) = start_broker(options) else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-mutual");
    let rig = rig.kafka(&mutual_section(&broker, Some(("client.pem", "client.key")))).with_topics(2);
    rig.witness.publish(&rig.topic, &(0..200).map(log_line).collect::<Vec<_>>());
    let mut worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    assert!(worker.terminate(Duration::from_secs(25)).success());
    assert!(!worker.process.transcript().contains(KEY_PASSWORD), "the key's password is in the log");
    Account::take(&rig).assert_right(200, log_fate);
    for (name, own) in [("none", None), ("stranger", Some(("stranger.pem", "stranger.key")))] {
        let rig = Rig::new(&broker.bootstrap(), &format!("e2e-mutual-{name}"));
        let rig = rig.kafka(&mutual_section(&broker, own)).with_topics(1);
        assert_ends_quietly(&rig, 77, "broker.authentication");
    }
}

/// Scenario: the user has no right on the topic. Guarantee: one clear line, exit 77.
#[test]
fn missing_rights_on_the_topic_end_with_77() {
    let Some(broker) = guarded() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-denied");
    let rig = rig.kafka(&section(broker, Listener::SaslPlain, "PLAIN", SASL_PASSWORD)).with_topics(1);
    assert_ends_quietly(&rig, 77, "broker.authorization");
}

/// Scenario: the user may read the topic and not join the group. Guarantee: one clear line, exit 77.
#[test]
fn missing_rights_on_the_group_end_with_77() {
    let Some(broker) = guarded() else { return };
    let rig = Rig::new(&broker.bootstrap(), &format!("{ALLOWED}-group"));
    let rig = rig.kafka(&section(broker, Listener::SaslPlain, "PLAIN", SASL_PASSWORD));
    let rig = rig.set("input.group=somebody-elses").with_topics(1);
    assert_ends_quietly(&rig, 77, "broker.authorization");
}

/// Scenario: a scaler may read the topic and not look at the group, which the client itself takes for a broker that does not answer. Guarantee: no
/// number, the right that is missing is named, and the password nowhere.
#[test]
fn a_scaler_without_rights_has_no_number() {
    let Some(broker) = guarded() else { return };
    let rig = Rig::new(&broker.bootstrap(), &format!("{ALLOWED}-scaler"));
    let rig = rig.kafka(&section(broker, Listener::SaslPlain, "PLAIN", SASL_PASSWORD)).with_topics(1);
    let (mut scaler, at) = scaler(&rig, &["input.group=somebody-elses", "scale.min=0"]);
    let denied = || asked(at).filter(|(_, said)| said["cause"] == "broker");
    let (code, said) = wait_for("it says why", Duration::from_secs(60), denied);
    let reason = said["reason"].as_str().unwrap();
    assert!(code == 503 && said["pods"].is_null() && reason.contains("broker.authorization"), "{said}");
    scaler.signal(Signal::TERM);
    assert!(scaler.wait(Duration::from_secs(20)).success());
    assert!(!scaler.transcript().contains(SASL_PASSWORD) && !reason.contains(SASL_PASSWORD));
}

/// Scenario: the authority that signed the broker's certificate is not trusted. Guarantee: it never connects, and says so.
#[test]
fn an_untrusted_certificate_is_refused() {
    let Some(broker) = guarded() else { return };
    let kafka =
        format!("{{ brokers: \"{}\", security: {{ protocol: ssl }} }}", broker.bootstrap_of(Listener::Tls));
    let rig = Rig::new(&broker.bootstrap(), &format!("{ALLOWED}-untrusted")).kafka(&kafka).with_topics(1);
    assert_ends_quietly(&rig, 77, "broker.authentication");
}
