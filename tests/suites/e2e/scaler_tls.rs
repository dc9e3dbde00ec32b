//! `longshore scaler` over TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use longshore_tests::harness::{Longshore, wait_until};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslMethod, SslStream};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

use super::scaler::address;

const PATIENCE: Duration = Duration::from_secs(60);
const HOST: &str = "longshore-logs-scaler.logs.svc";
const PIPELINE: &str = "
pipeline: logs
kind: logs
kafka: { brokers: '127.0.0.1:1' }
input: { topics: [logs.raw] }
steps: [ { parse: { format: json } } ]
sinks: [ { stdout: {} } ]
";

/// A certificate for `HOST` that vouches for itself, and its key.
fn issue() -> (X509, Vec<u8>) {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "scaler").unwrap();
    let name = name.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(30).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.append_extension(BasicConstraints::new().ca().build().unwrap()).unwrap();
    let names = SubjectAlternativeName::new().dns(HOST).build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key.private_key_to_pem_pkcs8().unwrap())
}

/// Puts a file in the place of another at once, as a kubelet does.
fn replace(path: &Path, bytes: &[u8]) {
    let aside = path.with_extension("aside");
    fs::write(&aside, bytes).unwrap();
    fs::rename(aside, path).unwrap();
}

fn put(folder: &Path, certificate: &X509, key: &[u8]) {
    replace(&folder.join("tls.crt"), &certificate.to_pem().unwrap());
    replace(&folder.join("tls.key"), key);
}

/// A connection of somebody who trusts this certificate alone and offers these protocols.
fn connect(at: SocketAddr, trusted: &X509, offered: &[u8]) -> Result<SslStream<TcpStream>, String> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.cert_store_mut().add_cert(trusted.clone()).unwrap();
    builder.set_alpn_protos(offered).unwrap();
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    builder.build().connect(HOST, stream).map_err(|error| error.to_string())
}

/// What a page says.
fn page(stream: &mut (impl Read + Write), path: &str) -> std::io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

const HTTP: &[u8] = b"\x08http/1.1";
const BOTH: &[u8] = b"\x02h2\x08http/1.1";

/// A scaler over TLS with its certificate in a folder; gives the arguments too.
fn scaler(folder: &Path) -> (Longshore, Vec<String>) {
    fs::write(folder.join("pipeline.yaml"), PIPELINE).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let words = ["scaler", &path("pipeline.yaml"), "--listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
    let tls = ["--tls-certificate", &path("tls.crt"), "--tls-key", &path("tls.key")].map(str::to_owned);
    let words = [words, tls.to_vec()].concat();
    (Longshore::start(&words), words)
}

/// Scenario: somebody opens 200 connections and says nothing on them; then KEDA comes. Guarantee: KEDA is served at once, not after the
/// silent ones' time is over, and most of those are given up.
#[test]
fn silent_connections_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = issue();
    put(folder.path(), &certificate, &key);
    let (scaler, _) = scaler(folder.path());
    let at = address(&scaler);
    let mut silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(at).unwrap()).collect();
    let began = Instant::now();
    let mut pages = connect(at, &certificate, HTTP).unwrap();
    let said = page(&mut pages, "/livez").unwrap();
    let took = began.elapsed();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(took < Duration::from_millis(2_500), "{took:?}");
    silent.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let given_up = silent.iter_mut().map(|stream| stream.read(&mut [0])).filter(|read| matches!(read, Ok(0)));
    assert!(given_up.count() >= 150);
}

/// Scenario: a certificate is renewed in place, then ruined, while the scaler runs; and one is ruined from the start. Guarantee: gRPC's HTTP/2 and
/// the pages are served over TLS and nothing in plain text; the next connection sees the new certificate; a ruined one changes nothing and is told
/// once; at the start it is refused with the reason.
#[test]
fn a_certificate_is_renewed_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (first, key) = issue();
    put(folder, &first, &key);
    let (mut scaler, words) = scaler(folder);
    let at = address(&scaler);

    let mut pages = connect(at, &first, HTTP).unwrap();
    assert_eq!(pages.ssl().selected_alpn_protocol(), Some(&HTTP[1..]));
    let said = page(&mut pages, "/livez").unwrap();
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("ok\n"), "{said}");
    let mut grpc = connect(at, &first, BOTH).unwrap();
    assert_eq!(grpc.ssl().selected_alpn_protocol(), Some(&b"h2"[..]));
    // RFC 9113: the preface with empty settings, which the server answers with its own (frames of type 4).
    grpc.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    grpc.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "{frame:?}");
    let mut plain = TcpStream::connect(at).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    let said = page(&mut plain, "/livez").unwrap_or_default();
    assert!(!said.contains("ok"), "{said}");

    let (second, second_key) = issue();
    put(folder, &second, &second_key);
    connect(at, &second, HTTP).unwrap();
    let refused = connect(at, &first, HTTP).unwrap_err();
    assert!(refused.contains("certificate verify failed"), "{refused}");
    replace(&folder.join("tls.key"), b"-----BEGIN PRIVATE KEY-----\nruined\n-----END PRIVATE KEY-----\n");
    for _ in 0..3 {
        connect(at, &second, HTTP).unwrap();
    }
    let told = |words: &str| scaler.stderr().matches(words).count();
    wait_until("both changes are told", PATIENCE, || {
        told("a new certificate is in force") == 1 && told("stays as it was") == 1
    });
    scaler.signal(rustix::process::Signal::TERM);
    assert!(scaler.wait(PATIENCE).success());

    let mut ruined = Longshore::start(&words);
    assert_eq!(ruined.wait(PATIENCE).code(), Some(78), "{}", ruined.stderr());
    assert!(
        ruined.stderr().contains("no TLS:") && ruined.stderr().contains("tls.key"),
        "{}",
        ruined.stderr()
    );
}
