//! The walls between crates ("may never depend"), checked over `cargo metadata`; and that the threat model names what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// A crate, what it may never reach through normal dependencies (directly or through others), and why.
const MAY_NEVER_REACH: &[(&str, &[&str], &str)] = &[
    (
        "longshore-core",
        &["tokio", "rdkafka", "tracing", "rand"],
        "the core is pure: no clock, IO, chance or logging",
    ),
    ("longshore-conditions", &["longshore-runtime", "longshore-kafka"], "conditions are pure"),
    ("longshore-codec", &["longshore-runtime", "longshore-kafka"], "codecs are pure"),
    ("longshore-logs", &["longshore-runtime", "longshore-kafka", "tokio"], "log steps are pure"),
    ("longshore-datasets", &["longshore-runtime", "longshore-kafka", "tokio"], "dataset steps are pure"),
    ("longshore-sinks", &["longshore-runtime", "longshore-kafka"], "sinks are driven, they do not drive"),
    (
        "longshore-spool",
        &["longshore-runtime", "longshore-kafka", "tokio"],
        "the spool is a file and no more",
    ),
    (
        "longshore-runtime",
        &["longshore-kafka", "rdkafka", "longshore-spool"],
        "the runtime is generic over its source",
    ),
    (
        "longshore-broker",
        &["longshore-core", "longshore-kafka", "rdkafka"],
        "the broker is an independent witness",
    ),
];

/// An outside crate, the only one of ours that may name it (in any kind of dependency), and why.
const ONLY_IN: &[(&str, &str, &str)] = &[
    ("rdkafka", "longshore-kafka", "one place knows librdkafka's rules"),
    ("rdkafka-sys", "longshore-kafka", "one place knows librdkafka's rules"),
    ("cel", "longshore-conditions", "the condition language can be replaced"),
    ("apache-avro", "longshore-codec", "limits on hostile input are set in one place"),
    ("config", "longshore-settings", "one place reads settings"),
    ("prometheus-client", "longshore-telemetry", "metric names come from one module"),
    ("opentelemetry", "longshore-telemetry", "how spans are named and sent is decided in one place"),
    ("opentelemetry-proto", "longshore-telemetry", "how spans are named and sent is decided in one place"),
    ("opentelemetry_sdk", "longshore-telemetry", "how spans are named and sent is decided in one place"),
    ("tracing-subscriber", "longshore-telemetry", "one place decides how logs look"),
];

/// Who may name an outside crate besides its owner, and why.
const WITNESSES: &[(&str, &str, &str)] = &[(
    "longshore-tests",
    "rdkafka",
    "what workers did is judged without Longshore's own reader and producer",
)];

/// Packages that are not part of the product.
const NOT_PRODUCTION: &[&str] = &["longshore-testkit", "longshore-tests", "longshore-benches"];

/// Which packages depend on which, by package name.
#[derive(Debug, Clone, Default)]
struct Graph {
    ours: BTreeSet<String>,
    normal: BTreeMap<String, BTreeSet<String>>,
    any: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// The workspace as it is, resolved for this machine.
    fn of_workspace() -> Self {
        let metadata = MetadataCommand::new()
            .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
            .other_options(["--filter-platform".to_owned(), host()])
            .exec()
            .unwrap_or_else(|error| panic!("cargo metadata: {error}"));
        let name = |id| metadata[id].name.to_string();
        let mut graph =
            Self { ours: metadata.workspace_members.iter().map(name).collect(), ..Self::default() };
        for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
            for dependency in &node.deps {
                let (from, to) = (name(&node.id), name(&dependency.pkg));
                if dependency.dep_kinds.iter().any(|info| info.kind == DependencyKind::Normal) {
                    graph.add_normal(&from, &to);
                }
                graph.any.entry(from).or_default().insert(to);
            }
        }
        graph
    }

    fn add_normal(&mut self, from: &str, to: &str) {
        self.normal.entry(from.to_owned()).or_default().insert(to.to_owned());
        self.any.entry(from.to_owned()).or_default().insert(to.to_owned());
    }

    fn names_directly(&self, from: &str, to: &str) -> bool {
        self.any.get(from).is_some_and(|names| names.contains(to))
    }

    /// The way from one package to another through normal dependencies, if there is one.
    fn way(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut open = vec![from];
        while let Some(here) = open.pop() {
            if here == to {
                let mut way = vec![here.to_owned()];
                let mut last = here;
                while let Some(before) = came_from.get(last).filter(|_| last != from) {
                    way.insert(0, (*before).to_owned());
                    last = before;
                }
                return Some(way);
            }
            for next in self.normal.get(here).into_iter().flatten() {
                if next != from && !came_from.contains_key(next.as_str()) {
                    came_from.insert(next, here);
                    open.push(next);
                }
            }
        }
        None
    }

    /// Every wall that this graph breaks, in words.
    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (from, forbidden, why) in MAY_NEVER_REACH {
            found.extend(forbidden.iter().filter_map(|to| self.reaches(from, to, why)));
        }
        for other in self.ours.iter().filter(|name| *name != "longshore-core") {
            found.extend(self.reaches("longshore-core", other, "the core depends on none of ours"));
        }
        for production in self.ours.iter().filter(|name| !NOT_PRODUCTION.contains(&name.as_str())) {
            found.extend(self.reaches(
                production,
                "longshore-testkit",
                "production does not contain test doubles",
            ));
        }
        for (outside, owner, why) in ONLY_IN {
            let allowed = |user: &str| {
                user == *owner
                    || WITNESSES.iter().any(|(witness, named, _)| user == *witness && named == outside)
            };
            let users = self.ours.iter().filter(|user| !allowed(user) && self.names_directly(user, outside));
            found.extend(users.map(|user| format!("{user} names {outside}, which only {owner} may: {why}")));
        }
        let users = self.ours.iter().filter(|user| self.names_directly(user, "longshore"));
        found.extend(users.map(|user| format!("{user} depends on the binary: nothing may")));
        found
    }

    fn reaches(&self, from: &str, to: &str, why: &str) -> Option<String> {
        self.way(from, to).map(|way| format!("{}: {why}", way.join(" -> ")))
    }
}

fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap_or_else(|| panic!("rustc -vV names no host")).to_owned()
}

/// Scenario: the workspace as it is. Guarantee: no wall is broken.
#[test]
fn the_walls_stand() {
    let violations = Graph::of_workspace().violations();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Scenario: crates are renamed or merged. Guarantee: no wall silently guards a name that is no longer there.
#[test]
fn every_wall_guards_something_that_exists() {
    let graph = Graph::of_workspace();
    let guarded = MAY_NEVER_REACH.iter().map(|(from, ..)| from);
    let owners = ONLY_IN.iter().map(|(_, owner, _)| owner);
    for name in guarded.chain(owners).chain(NOT_PRODUCTION).chain(&["longshore"]) {
        assert!(graph.ours.contains(*name), "{name} is not in the workspace");
    }
}

/// Scenario: each forbidden edge is planted in the real graph, hidden behind a crate in between.
/// Guarantee: the checker names both ends of each.
#[test]
fn planted_ways_are_found() {
    let graph = Graph::of_workspace();
    let core =
        graph.ours.iter().filter(|name| *name != "longshore-core").map(|to| ("longshore-core", to.as_str()));
    let listed = MAY_NEVER_REACH.iter().flat_map(|(from, to, _)| to.iter().map(move |to| (*from, *to)));
    let testkit =
        ["longshore", "longshore-runtime", "longshore-broker"].map(|from| (from, "longshore-testkit"));
    for (from, to) in listed.chain(core).chain(testkit) {
        let mut doctored = graph.clone();
        doctored.add_normal(from, "innocent");
        doctored.add_normal("innocent", to);
        let expected = format!("{from} -> innocent -> {to}: ");
        let violations = doctored.violations();
        assert!(
            violations.iter().any(|line| line.starts_with(&expected)),
            "{expected} not in {violations:?}"
        );
    }
}

/// Scenario: a crate names a library that belongs to another crate, or depends on the binary.
/// Guarantee: the checker names it.
#[test]
fn planted_names_are_found() {
    let graph = Graph::of_workspace();
    let names = ONLY_IN.iter().map(|(outside, ..)| ("longshore-benches", *outside));
    for (user, named) in names.chain([("longshore-tests", "longshore")]) {
        let mut doctored = graph.clone();
        doctored.any.entry(user.to_owned()).or_default().insert(named.to_owned());
        let violations = doctored.violations();
        assert!(
            violations.iter().any(|line| line.starts_with(user) && line.contains(named)),
            "{violations:?}"
        );
    }
}

/// Scenario: tests and fuzz targets are renamed or moved. Guarantee: what SECURITY.md names as shown is shown by something that exists.
#[test]
fn what_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |file: &str| std::fs::read_to_string(root.join(file));
    let text = read("SECURITY.md").unwrap();
    // Words in backquotes are every second part.
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let tests: Vec<_> = named.iter().filter_map(|name| name.split_once("::")).collect();
    assert!(tests.len() > 50, "{} tests are named", tests.len());
    for (file, name) in tests {
        let source = read(file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let before = source.split(&format!("fn {name}(")).next().filter(|before| before.len() < source.len());
        let marks = before.map(|before| before.rsplit("\n\n").next().unwrap_or_default());
        assert!(marks.is_some_and(|marks| marks.contains("test]")), "{file} has no test {name}");
    }
    let targets = text.split("fuzz target").skip(1).filter_map(|rest| rest.split(['|', '\n', '.']).next());
    let targets: BTreeSet<&str> = targets.flat_map(|rest| rest.split('`').skip(1).step_by(2)).collect();
    assert!(targets.len() > 7, "{targets:?}");
    for target in targets {
        assert!(root.join(format!("tests/fuzz/targets/{target}.rs")).exists(), "no fuzz target {target}");
    }
}

/// Scenario: docs/reliability.md says which test holds what. Guarantee: each test that it names is there.
#[test]
fn the_page_of_reliability_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    let mut folders = vec![root.join("tests/suites"), root.join("workers")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{error}")) {
            let path = entry.unwrap_or_else(|error| panic!("{error}")).path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{error}")));
            }
        }
    }
    let page =
        std::fs::read_to_string(root.join("docs/reliability.md")).unwrap_or_else(|error| panic!("{error}"));
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let words = rows.flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_test = |word: &&str| {
        word.matches('_').count() >= 2
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let named: BTreeSet<&str> = words.filter(is_test).collect();
    assert!(named.len() >= 50, "{named:?}");
    for test in named {
        let there = [format!("fn {test}("), format!("fn {test}<"), format!("    {test} = ")];
        let there = sources.iter().any(|source| there.iter().any(|form| source.contains(form)));
        assert!(there, "docs/reliability.md names the test {test}, which there is not");
    }
}
