//! The ConfigMap: the pipeline file as it is, and the schemas it speaks of.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use longshore_settings::Pipeline;
use serde_json::{Value, json};

use super::plan::{Plan, inside, refused};
use super::{CONFIG_FOLDER, WORK_FOLDER};
use crate::exit::{End, Exit};

/// The largest ConfigMap that an API server takes, with room for its names.
const LARGEST: usize = 1_000_000;

/// What a ConfigMap holds.
pub(super) struct Config {
    data: BTreeMap<String, String>,
    /// Where a container has what is a file there, with its key.
    pub(super) files: BTreeMap<PathBuf, String>,
}

impl Config {
    pub(super) fn read(path: &Path, pipeline: &Pipeline) -> Result<Self, End> {
        let text = read(path)?;
        let mut config = Self { data: BTreeMap::new(), files: BTreeMap::new() };
        let key = "pipeline.yaml".to_owned();
        config.files.insert(Path::new(CONFIG_FOLDER).join(&key), key.clone());
        config.data.insert(key, text);
        if let Some(folder) = &pipeline.schemas {
            config.schemas(folder, &inside(WORK_FOLDER, folder)?, Path::new(""))?;
        }
        let bytes: usize = config.data.iter().map(|(key, text)| key.len() + text.len()).sum();
        if bytes > LARGEST {
            return Err(refused(
                format!(
                    "the pipeline file and its schemas have {bytes} bytes, and a ConfigMap takes one million"
                ),
                "build an image with the schemas in it, and name their folder there",
            ));
        }
        Ok(config)
    }

    /// All files below a folder of schemas; keys take no slashes, so dots stand for them.
    fn schemas(&mut self, folder: &Path, mounted: &Path, below: &Path) -> Result<(), End> {
        let here = folder.join(below);
        let failed =
            |error| End::new(Exit::Configuration, format!("cannot read {}: {error}", here.display()));
        for entry in fs::read_dir(&here).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let (below, path) = (below.join(&name), here.join(&name));
            if path.is_dir() {
                self.schemas(folder, mounted, &below)?;
            } else if matches!(path.extension().and_then(|end| end.to_str()), Some("avsc" | "json")) {
                let key = format!("schemas.{}", below.to_string_lossy().replace('/', "."));
                self.files.insert(mounted.join(&below), key.clone());
                self.data.insert(key, read(&path)?);
            }
        }
        Ok(())
    }

    /// A value that is no file.
    pub(super) fn put(&mut self, key: &str, value: &str) {
        self.data.insert(key.to_owned(), value.to_owned());
    }

    /// Its name, another one for other contents: a pod that starts again in the middle of a rollout finds what it was made with, and so does one that
    /// `kubectl rollout undo` brings back.
    pub(super) fn name(&self, fleet: &str) -> String {
        format!("{fleet}-config-{}", &self.checksum()[..8])
    }

    /// Changes whenever anything in it does.
    pub(super) fn checksum(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for text in self.data.iter().flat_map(|(key, value)| [key, value]) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

fn read(path: &Path) -> Result<String, End> {
    fs::read_to_string(path)
        .map_err(|error| End::new(Exit::Configuration, format!("cannot read {}: {error}", path.display())))
}

pub(super) fn config_map(plan: &Plan) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": plan.metadata(&plan.config_name()),
        "data": plan.config.data,
        // Nobody changes what pods have read, and kubelets need not watch it.
        "immutable": true,
    })
}
