//! Folders of a container: configuration, secrets, a disk for a while, and the volume that pods share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use longshore_settings::{ObjectsPlace, Pipeline, SinkKind};
use serde_json::{Value, json};

use super::config::Config;
use super::plan::{inside, refused};
use super::secrets::Secrets;
use super::{TEMPORARY_FOLDER, WORK_FOLDER, names};
use crate::cli::deploy::DeployRender;
use crate::exit::End;

/// Folders that a mount would take away from the image or the system.
const TAKEN: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/local/bin",
    "/var",
    "/var/lib",
    "/var/run",
    WORK_FOLDER,
];
/// What the names of volumes with configuration and secrets begin with.
const FILES: &str = "files-";
/// Owner and group may read.
pub(super) const READ_ONLY: u32 = 0o440;

/// Mounts and volumes of a pod.
#[derive(Default)]
pub(super) struct Places {
    pub(super) mounts: Vec<Value>,
    pub(super) volumes: Vec<Value>,
}

/// A file that is projected into a folder.
enum File {
    Config(String),
    Secret(String),
}

impl Places {
    pub(super) fn of(
        arguments: &DeployRender,
        pipeline: &Pipeline,
        config: &Config,
        secrets: &Secrets,
        config_name: &str,
    ) -> Result<Self, End> {
        let mut places = Self::default();
        let files = config.files.iter().map(|(path, key)| (path.clone(), File::Config(key.clone())));
        let hidden = secrets.files().map(|(path, key)| (path.to_path_buf(), File::Secret(key.to_owned())));
        places.projected(files.chain(hidden).collect(), config_name, &secrets.name)?;
        places.scratch(pipeline)?;
        places.shared(arguments, pipeline)?;
        Ok(places)
    }

    /// What is read alone: configuration and secrets.
    pub(super) fn read_only(&self) -> (Vec<Value>, Vec<Value>) {
        let wanted = |entry: &&Value| entry["name"].as_str().is_some_and(|name| name.starts_with(FILES));
        let of = |list: &[Value]| list.iter().filter(wanted).cloned().collect();
        (of(&self.mounts), of(&self.volumes))
    }

    /// What a person has to make for the shared volume.
    pub(super) fn claim_note(&self, namespace: &str) -> Option<String> {
        let claim =
            self.volumes.iter().find_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
        claim.map(|claim| {
            format!("the claim {claim} is yours to make, in the namespace {namespace}, with ReadWriteMany")
        })
    }

    fn mount(&mut self, volume: &str, path: &Path, more: Value) {
        let mut mount = json!({ "mountPath": path.to_string_lossy(), "name": volume });
        if let (Some(mount), Value::Object(more)) = (mount.as_object_mut(), more) {
            mount.extend(more);
        }
        self.mounts.push(mount);
    }

    /// One volume for each folder; what lies below another folder is in that one's, since no folder can be made inside of it.
    fn projected(&mut self, files: Vec<(PathBuf, File)>, config: &str, secret: &str) -> Result<(), End> {
        let parent = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let mut folders: Vec<PathBuf> = files.iter().map(|(path, _)| parent(path)).collect();
        folders.sort();
        // An ancestor comes before what is below it.
        folders.dedup_by(|next, kept| next.starts_with(kept));
        for (number, folder) in folders.iter().enumerate() {
            if TAKEN.iter().any(|taken| Path::new(taken) == folder) {
                return Err(refused(
                    format!(
                        "a Secret cannot be mounted at {}, which would hide what is there",
                        folder.display()
                    ),
                    "give such files a folder of their own in the pipeline, such as /run/secrets",
                ));
            }
            let inside = |path: &PathBuf| parent(path).starts_with(folder);
            let item = |(path, file): &(PathBuf, File)| {
                let (File::Config(key) | File::Secret(key)) = file;
                let below = path.strip_prefix(folder).unwrap_or(path);
                json!({ "key": key, "path": below.to_string_lossy() })
            };
            let here: Vec<&(PathBuf, File)> = files.iter().filter(|(path, _)| inside(path)).collect();
            let of = |secrets: bool| -> Vec<Value> {
                let wanted = here.iter().filter(|(_, file)| matches!(file, File::Secret(_)) == secrets);
                wanted.map(|file| item(file)).collect()
            };
            let (open, hidden) = (of(false), of(true));
            let mut sources = Vec::new();
            if !open.is_empty() {
                sources.push(json!({ "configMap": { "items": open, "name": config } }));
            }
            if !hidden.is_empty() {
                sources.push(json!({ "secret": { "items": hidden, "name": secret } }));
            }
            let volume = format!("{FILES}{number}");
            self.volumes.push(
                json!({ "name": volume, "projected": { "defaultMode": READ_ONLY, "sources": sources } }),
            );
            self.mount(&volume, folder, json!({ "readOnly": true }));
        }
        Ok(())
    }

    /// Disk that may be lost with the pod: the spool, what is on its way to an object store, and temporary files.
    fn scratch(&mut self, pipeline: &Pipeline) -> Result<(), End> {
        let temporary = Path::new(TEMPORARY_FOLDER);
        // How much a folder may hold; none where only what lies in it says so.
        let mut folders: BTreeMap<PathBuf, Option<u64>> =
            BTreeMap::from([(temporary.to_path_buf(), Some(0))]);
        let limits = &pipeline.limits;
        if pipeline.has_retry_topics() && limits.spool.get() > 0 {
            let folder = limits.spool_folder.as_deref().unwrap_or(temporary);
            folders.insert(inside(WORK_FOLDER, folder)?, Some(limits.spool.get()));
        }
        for sink in &pipeline.sinks {
            if let SinkKind::Objects(options) = &sink.kind {
                let folder = options.staging.as_deref().unwrap_or(temporary);
                folders.insert(inside(WORK_FOLDER, folder)?, None);
            }
        }
        for (number, (folder, bytes)) in folders.iter().enumerate() {
            let volume = format!("scratch-{number}");
            // A kubelet ends a pod whose folder is over its size, so there is room above the spool's own bound.
            let limit =
                bytes.map(|bytes| mebibytes(bytes.saturating_add(bytes / 8).saturating_add(64 << 20)));
            let kind = limit.map_or(json!({}), |limit| json!({ "sizeLimit": limit }));
            self.volumes.push(json!({ "emptyDir": kind, "name": volume }));
            self.mount(&volume, folder, json!({}));
        }
        Ok(())
    }

    /// The volume for sinks whose ledger lies in a folder: every worker has to see the same one.
    fn shared(&mut self, arguments: &DeployRender, pipeline: &Pipeline) -> Result<(), End> {
        let folders = folders_of(pipeline);
        let Some((sink, _)) = folders.first() else { return Ok(()) };
        let Some(claim) = &arguments.volume_claim else {
            return Err(refused(
                format!(
                    "sink {sink} writes to a folder, and a pod's own disk will not do: the ledger lies beside the data, so the worker that takes a \
                     partition over has to find it there, and would halt with ledger.missing"
                ),
                "name the claim of a volume that all pods share (ReadWriteMany) with --volume-claim, or write to an object store (url: s3://...)",
            ));
        };
        let claim = names::theirs("volume-claim", claim)?;
        self.volumes.push(json!({ "name": "shared", "persistentVolumeClaim": { "claimName": claim } }));
        let mut relative = false;
        for (_, path) in &folders {
            if path.is_absolute() {
                let folder = inside(WORK_FOLDER, path)?;
                let below = folder.strip_prefix("/").unwrap_or(&folder).to_string_lossy().into_owned();
                self.mount("shared", &folder, json!({ "subPath": below }));
            } else {
                // Only what climbs out is refused; all of it lies in the working folder.
                inside(WORK_FOLDER, path)?;
                relative = true;
            }
        }
        if relative {
            self.mount("shared", Path::new(WORK_FOLDER), json!({}));
        }
        Ok(())
    }
}

/// The folders in which sinks keep their ledgers, each once, with a sink's name.
fn folders_of(pipeline: &Pipeline) -> Vec<(&str, PathBuf)> {
    let mut folders: Vec<(&str, PathBuf)> = Vec::new();
    for sink in &pipeline.sinks {
        let folder = match &sink.kind {
            SinkKind::Files(options) => Some(options.path.clone()),
            SinkKind::Objects(options) => match options.place() {
                Ok(ObjectsPlace::Folder(folder)) => Some(folder),
                Ok(ObjectsPlace::Bucket { .. }) | Err(_) => None,
            },
            SinkKind::Postgres(_) | SinkKind::Topic(_) | SinkKind::Stdout(_) => None,
        };
        if let Some(folder) = folder.filter(|folder| folders.iter().all(|(_, known)| known != folder)) {
            folders.push((&sink.name, folder));
        }
    }
    folders
}

/// Bytes as Kubernetes writes them, in whole mebibytes.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{}Mi", bytes.div_ceil(1 << 20))
}
