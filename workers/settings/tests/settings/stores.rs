//! The address of an object store: the file's, or the environment's.

use longshore_settings::{DumpFormat, Sources, load};

use crate::{GOOD, variables};

fn with_sinks(sinks: &[&str]) -> String {
    let (head, _) = GOOD.split_once("sinks:\n").unwrap();
    let sinks: Vec<String> = sinks.iter().map(|sink| format!("  - objects: {{ {sink} }}\n")).collect();
    format!("{head}sinks:\n{}", sinks.concat())
}

/// What is said of it, and everything that is shown.
fn findings(text: &str, environment: &[(&str, &str)]) -> (Vec<String>, String) {
    match load(Sources::text("f", text).environment(variables(environment))) {
        Ok(loaded) => (Vec::new(), loaded.dump(DumpFormat::Yaml)),
        Err(report) => {
            let lines = report.lines();
            let shown = format!("{}{}", report.render(false), serde_json::to_string(&lines).unwrap());
            (lines.into_iter().map(|line| format!("{}: {}", line.path, line.message)).collect(), shown)
        }
    }
}

/// Scenario: of two sinks on one place one has the store's address from the file and the other from the environment, or the same address is
/// written in two ways. Guarantee: they are told from two sinks on two stores.
#[test]
fn two_sinks_on_one_place_are_met_whoever_names_the_store() {
    let ours = "name: a, url: s3://lake/raw, endpoint: \"https://minio:9000\"";
    let theirs = "name: b, url: s3://lake/raw/below";
    let one = with_sinks(&[ours, theirs]);
    let (said, _) = findings(&one, &[("AWS_ENDPOINT_URL", "https://MINIO:9000/")]);
    assert_eq!(said, ["sinks[1].objects.url: two sinks would write into one folder"]);
    for environment in [
        &[][..],
        &[("AWS_ENDPOINT_URL", "https://other:9000")],
        &[("AWS_ENDPOINT_URL_S3", "https://s3.eu-west-1.amazonaws.com")],
    ] {
        assert_eq!(findings(&one, environment).0, Vec::<String>::new(), "{environment:?}");
    }
    let amazons = "name: a, url: s3://lake/raw, endpoint: \"https://s3.eu-west-1.amazonaws.com\"";
    assert_eq!(
        findings(&with_sinks(&[amazons, theirs]), &[]).0.len(),
        1,
        "a bucket of Amazon's has several addresses"
    );
}

/// Scenario: an address without a scheme, or with a user and a password, in the file, in an override, in the environment. Guarantee (I10): it is
/// refused wherever it comes from, and nothing that is shown has the password.
#[test]
fn an_address_of_the_environment_is_held_against_the_same_rules() {
    let sink = with_sinks(&["url: s3://lake/raw"]);
    for (url, words) in [
        ("minio:9000", "expected `http://` or `https://` and a host"),
        ("https://ann:hunter2@minio:9000", "expected no user and no password in it"),
    ] {
        let of_file = with_sinks(&[&format!("url: s3://lake/raw, endpoint: \"{url}\"")]);
        for (text, environment, place) in [
            (&of_file, vec![], "sinks[0].objects.endpoint"),
            (&sink, vec![("LONGSHORE_SINKS__0__OBJECTS__ENDPOINT", url)], "sinks[0].objects.endpoint"),
            (&sink, vec![("AWS_ENDPOINT_URL_S3", url)], "sinks[0].objects.url"),
        ] {
            let (said, shown) = findings(text, &environment);
            assert!(said.len() == 1 && said[0].starts_with(place) && said[0].contains(words), "{said:?}");
            assert_eq!(
                said[0].contains("AWS_ENDPOINT_URL_S3 in the environment"),
                place.ends_with("url"),
                "{said:?}"
            );
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
    let folder = with_sinks(&["url: /data/lake"]);
    assert_eq!(
        findings(&folder, &[("AWS_ENDPOINT_URL", "minio")]).0,
        Vec::<String>::new(),
        "a folder has no address"
    );
}

/// Guarantee (I10): a user and a password in any address are in no dump.
#[test]
fn addresses_with_a_password_are_not_shown() {
    let client = "client: { sasl.oauthbearer.token.endpoint.url: \"https://ann:hunter2@idp/token\" }";
    let text = GOOD.replace("brokers: \"localhost:9092\"", &format!("brokers: \"localhost:9092\", {client}"));
    let (said, shown) = findings(&text, &[]);
    assert!(said.is_empty() && shown.contains("endpoint.url: \"***\""), "{said:?} {shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
