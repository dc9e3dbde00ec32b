//! The `objects` sink on Azurite, the emulator of Azure Blob Storage. Of Google's store none is to be had that knows the protocol of its client.

use std::path::Path;
use std::sync::Arc;

use longshore_core::Generation;
use longshore_core::sink::Sink;
use longshore_sinks::objects::{self, CloudKind, Columns, Format, ObjectsOptions, ObjectsSink, Place};
use longshore_tests::harness::azurite::{Azurite, environment, shared_azurite};
use longshore_tests::harness::faulty::{Fault, Faulty, Rule};
use tempfile::TempDir;

use super::fixture::{Fixture, Seen, Wire, rows_of_lines};
use super::owner::PIPELINE;

/// The root of what is written in a bucket.
const PREFIX: &str = "lake/raw";

/// A container of the suite's emulator, of JSON lines.
pub(crate) struct Container {
    azurite: &'static Azurite,
    name: String,
    staging: TempDir,
    way: Faulty,
}

impl Fixture for Container {
    fn fresh(name: &str) -> Option<Self> {
        // Azure takes no name with two hyphens beside one another.
        let (azurite, name) = (shared_azurite()?, name.replace("--", "-"));
        azurite.container(&name);
        let (staging, way) = (tempfile::tempdir().unwrap(), Faulty::before(azurite.port()));
        Some(Self { azurite, name, staging, way })
    }

    fn address(&self) -> String {
        format!("{} {} {}", self.way.endpoint(), self.name, self.staging.path().display())
    }

    fn sink_at(address: &str) -> Arc<dyn Sink> {
        let parts: Vec<&str> = address.splitn(3, ' ').collect();
        let [endpoint, name, staging] = parts[..] else { panic!("{address}") };
        let cloud = objects::Cloud {
            kind: CloudKind::Azure,
            name: name.to_owned(),
            prefix: PREFIX.to_owned(),
            environment: environment(endpoint),
        };
        let options = ObjectsOptions {
            place: Place::Cloud(cloud),
            format: Format::JsonlZst,
            columns: Arc::new(Columns::log()),
            partition: Vec::new(),
            level: 3,
            row_group: 4 << 20,
            full: 256 << 20,
            staging: Path::new(staging).to_owned(),
        };
        Arc::new(ObjectsSink::new("objects", PIPELINE, Generation::FIRST, options).unwrap())
    }

    fn rows(&self) -> Option<Vec<Seen>> {
        let (azurite, name, folder) = (self.azurite, self.name.clone(), tempfile::tempdir().unwrap());
        let path = folder.path().to_owned();
        // Its own runtime, since the caller is on one.
        let download = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(azurite.download(&name, &path));
        };
        std::thread::spawn(download).join().unwrap();
        Some(rows_of_lines(&folder.path().join(PREFIX)))
    }

    fn take_away(&self) {
        self.way.rule(Rule::all(Fault::SlowDown));
    }

    fn bring_back(&self) {
        self.way.heal();
    }

    fn wire(&self) -> Option<&dyn Wire> {
        Some(&self.way)
    }
}
