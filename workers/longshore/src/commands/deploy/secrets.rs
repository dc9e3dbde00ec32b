//! What a pipeline needs that nobody may read in a manifest (I10). Values are never looked at; the Secret is made by a person.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use longshore_settings::{Loaded, ObjectsPlace, ObjectsStore, Outside, Pipeline, SinkKind, is_secret_name};
use serde_json::{Value, json};

use super::plan::{inside, refused};
use super::{CONFIG_FOLDER, WORK_FOLDER};
use crate::exit::End;

/// Folders of the image, whose files are not ours.
const IMAGE: &[&str] = &["/etc/ssl", "/etc/pki", "/usr"];

/// What the Secret has to hold, and where a container finds it.
pub(super) struct Secrets {
    /// The Secret's name.
    pub(super) name: String,
    /// Files: where a container has them, and the Secret's key.
    files: BTreeMap<PathBuf, String>,
    /// Variables, and whether a worker starts without.
    variables: BTreeMap<String, Need>,
    /// Which key holds the value of a field; only of fields that are one reference and nothing else.
    fields: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// No worker starts without.
    Must,
    /// The file has a default.
    Default,
    /// The cloud's role stands in for it.
    Role,
}

impl Secrets {
    pub(super) fn of(loaded: &Loaded, sets: &[String], name: String) -> Result<Self, End> {
        let mut paths = BTreeMap::new();
        for reference in loaded.references() {
            if let Outside::File(path) = &reference.from {
                paths.insert(inside(CONFIG_FOLDER, path)?, ());
            }
        }
        for path in files_of(&loaded.pipeline) {
            paths.insert(inside(WORK_FOLDER, &path)?, ());
        }
        let files =
            keys(paths.into_keys().filter(|path| !IMAGE.iter().any(|folder| path.starts_with(folder))));
        let mut secrets = Self { name, files, variables: BTreeMap::new(), fields: BTreeMap::new() };
        secrets.note_fields(loaded)?;
        secrets.note_roles(&loaded.pipeline);
        written_out(loaded, sets)?;
        Ok(secrets)
    }

    fn note_fields(&mut self, loaded: &Loaded) -> Result<(), End> {
        for reference in loaded.references() {
            let key = match &reference.from {
                Outside::Variable { secret: false, .. } => continue,
                Outside::Variable { name, default, .. } => {
                    let need = if *default { Need::Default } else { Need::Must };
                    self.variables.insert(name.clone(), need);
                    name.clone()
                }
                Outside::File(path) => {
                    let path = inside(CONFIG_FOLDER, path)?;
                    let Some(key) = self.files.get(&path) else { continue };
                    key.clone()
                }
            };
            if reference.whole {
                self.fields.insert(reference.field.clone(), key);
            }
        }
        Ok(())
    }

    /// A store without keys in the file takes those of the variables if there are any, else the role.
    fn note_roles(&mut self, pipeline: &Pipeline) {
        for store in stores_by_role(pipeline) {
            let keys: &[&str] = match store {
                ObjectsStore::S3 => &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
                ObjectsStore::Google => &["GOOGLE_SERVICE_ACCOUNT_KEY"],
                ObjectsStore::Azure => &["AZURE_STORAGE_ACCOUNT_KEY"],
            };
            for name in keys {
                self.variables.entry((*name).to_owned()).or_insert(Need::Role);
            }
            if store == ObjectsStore::Azure && account().is_none() {
                self.variables.entry(ACCOUNT.to_owned()).or_insert(Need::Must);
            }
        }
    }

    /// Files of the Secret as a container has them, with their keys.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.files.iter().map(|(path, key)| (path.as_path(), key.as_str()))
    }

    /// The key that holds the file of this path, as the pipeline writes it.
    pub(super) fn key_of_file(&self, path: &Path) -> Option<&str> {
        self.files.get(&inside(WORK_FOLDER, path).ok()?).map(String::as_str)
    }

    /// The key that holds the value of a field.
    pub(super) fn key_of_field(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }

    /// Variables of the container, by their names.
    pub(super) fn variables(&self) -> impl Iterator<Item = (String, Value)> {
        self.variables.iter().map(|(name, need)| {
            let mut reference = json!({ "key": name, "name": self.name });
            if *need != Need::Must {
                reference["optional"] = json!(true);
            }
            (name.clone(), json!({ "name": name, "valueFrom": { "secretKeyRef": reference } }))
        })
    }

    /// What a person has to do.
    pub(super) fn notes(&self, namespace: &str) -> Vec<String> {
        let mut parts = Vec::new();
        for (path, key) in &self.files {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            parts.push(format!("--from-file={key}={file}"));
        }
        for (name, _) in self.variables.iter().filter(|(_, need)| **need == Need::Must) {
            parts.push(format!("--from-literal={name}=..."));
        }
        if parts.is_empty() {
            return Vec::new();
        }
        let command = format!("kubectl create secret generic {} -n {namespace}", self.name);
        vec![format!(
            "the Secret {} is yours to make:\n  {command} \\\n    {}",
            self.name,
            parts.join(" \\\n    ")
        )]
    }
}

/// Object stores whose keys do not stand in the file.
pub(super) fn stores_by_role(pipeline: &Pipeline) -> impl Iterator<Item = ObjectsStore> {
    pipeline.sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Objects(options) if options.access_key_id.is_none() => match options.place() {
            Ok(ObjectsPlace::Bucket { store, .. }) => Some(store),
            Ok(ObjectsPlace::Folder(_)) | Err(_) => None,
        },
        SinkKind::Objects(_)
        | SinkKind::Files(_)
        | SinkKind::Postgres(_)
        | SinkKind::Topic(_)
        | SinkKind::Stdout(_) => None,
    })
}

/// Whose containers `az://` means: no secret, but no worker starts without.
pub(super) const ACCOUNT: &str = "AZURE_STORAGE_ACCOUNT_NAME";

/// What this machine says of it.
pub(super) fn account() -> Option<String> {
    std::env::var(ACCOUNT).ok().filter(|name| !name.is_empty())
}

/// Files that the pipeline names by their paths: keys, certificates and tokens.
fn files_of(pipeline: &Pipeline) -> BTreeSet<PathBuf> {
    let security = &pipeline.kafka.security;
    let mut files: Vec<Option<PathBuf>> = Vec::new();
    if let Some(tls) = &security.tls {
        files.extend([tls.ca.clone(), tls.certificate.clone(), tls.key.clone()]);
    }
    files.push(security.sasl.as_ref().and_then(|sasl| sasl.token_file.clone()));
    let located = pipeline.kafka.client.iter().filter(|(name, _)| name.ends_with(".location"));
    files.extend(located.map(|(_, value)| Some(PathBuf::from(value.expose()))));
    for sink in &pipeline.sinks {
        if let SinkKind::Postgres(options) = &sink.kind
            && let Some(tls) = &options.tls
        {
            files.extend([tls.ca.clone(), tls.certificate.clone(), tls.key.clone()]);
        }
    }
    files.into_iter().flatten().collect()
}

/// A key for each file: its name, or where two have the same its path with dots.
fn keys(paths: impl Iterator<Item = PathBuf>) -> BTreeMap<PathBuf, String> {
    let fit = |text: &str| -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        text.chars().map(|c| if fits(c) { c } else { '.' }).collect()
    };
    let paths: Vec<PathBuf> = paths.collect();
    let name = |path: &Path| fit(&path.file_name().unwrap_or_default().to_string_lossy());
    let key = |path: &PathBuf| {
        let alone = paths.iter().filter(|other| name(other) == name(path)).count() == 1;
        if alone { name(path) } else { fit(path.to_string_lossy().trim_start_matches('/')) }
    };
    paths.iter().map(|path| (path.clone(), key(path))).collect()
}

/// Refuses a secret that stands in the file or on the command line: it would stand in a ConfigMap or in the pod's arguments.
fn written_out(loaded: &Loaded, sets: &[String]) -> Result<(), End> {
    let pipeline = &loaded.pipeline;
    let sasl = pipeline.kafka.security.sasl.as_ref().is_some_and(|sasl| sasl.password.is_some());
    let key = pipeline.kafka.security.tls.as_ref().is_some_and(|tls| tls.key_password.is_some());
    let mut fields = Vec::new();
    fields.extend(sasl.then(|| "kafka.security.sasl.password".to_owned()));
    fields.extend(key.then(|| "kafka.security.tls.key_password".to_owned()));
    let token = pipeline.http.console.token.is_some();
    fields.extend(token.then(|| "http.console.token".to_owned()));
    let client = pipeline.kafka.client.keys().filter(|name| is_secret_name(name));
    fields.extend(client.map(|name| format!("kafka.client.{name}")));
    for (index, sink) in pipeline.sinks.iter().enumerate() {
        match &sink.kind {
            SinkKind::Postgres(options) if options.password.is_some() => {
                fields.push(format!("sinks[{index}].postgres.password"));
            }
            SinkKind::Objects(options) if options.secret_access_key.is_some() => {
                fields.push(format!("sinks[{index}].objects.secret_access_key"));
            }
            _ => {}
        }
    }
    let known: BTreeSet<&str> =
        loaded.references().iter().map(|reference| reference.field.as_str()).collect();
    let set = sets
        .iter()
        .filter_map(|set| set.split_once('='))
        .find(|(name, value)| name.split('.').any(is_secret_name) && !value.starts_with("${"));
    let found = set.map(|(name, _)| format!("--set {name}"));
    let found = found.or_else(|| fields.into_iter().find(|field| !known.contains(field.as_str())));
    match found {
        None => Ok(()),
        Some(field) => Err(refused(
            format!("{field} is written out, and a manifest would show it to everybody"),
            "write ${file:/run/secrets/NAME} or ${NAME}, and put the value into the Secret",
        )),
    }
}
