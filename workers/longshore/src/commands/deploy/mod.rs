//! `longshore deploy render PIPELINE`: the manifests of a pipeline's fleet. Nothing is asked of a cluster or a broker, and no secret is read.

mod config;
mod keda;
mod names;
mod network;
mod places;
mod plan;
mod scaler;
mod secrets;
mod spans;
mod workload;

use std::fs;
use std::path::Path;

use longshore_settings::{Loaded, Sources};
use serde_json::{Value, json};

use crate::cli::Format;
use crate::cli::deploy::{Deploy, DeployAction, DeployRender, Overlay, Without};
use crate::commands::check;
use crate::exit::{End, Exit};
use crate::output::Output;
use plan::Plan;

pub(crate) use plan::GRACE_MARGIN;

/// The file that a container reads.
const CONFIG_FOLDER: &str = "/etc/longshore";
/// Where relative paths of a pipeline begin in a container.
const WORK_FOLDER: &str = "/var/lib/longshore";
/// The folder for temporary files in a container.
const TEMPORARY_FOLDER: &str = "/tmp";

pub(crate) fn run(arguments: &Deploy, output: &Output) -> Result<(), End> {
    match &arguments.action {
        DeployAction::Render(arguments) => render(arguments, output),
    }
}

fn render(arguments: &DeployRender, output: &Output) -> Result<(), End> {
    let loaded = load(arguments, output)?;
    let plan = Plan::new(arguments, &loaded)?;
    let manifests = manifests(arguments, &plan);
    match (&arguments.out, output.format()) {
        (Some(folder), _) => write(folder, &manifests, output)?,
        (None, Format::Table) => output.bytes(yaml(&manifests)?.as_bytes()),
        (None, Format::Json) => {
            output.json(&json!({ "apiVersion": "v1", "kind": "List", "items": manifests }))?;
        }
        (None, Format::Ndjson) => manifests.iter().for_each(|manifest| output.line(manifest)),
    }
    plan.notes.iter().for_each(|note| output.note(note));
    Ok(())
}

/// The pipeline as a pod will read it: variables that override settings are those of this machine and no pod has them.
fn load(arguments: &DeployRender, output: &Output) -> Result<Loaded, End> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !name.starts_with("LONGSHORE_"));
    let sources = Sources::file(&arguments.pipeline)
        .environment(environment)
        .without_secrets()
        .set(arguments.overrides.set.iter().cloned());
    check::load_from(sources, &arguments.pipeline, output)
}

/// All of them, in an order in which they can be applied.
fn manifests(arguments: &DeployRender, plan: &Plan) -> Vec<Value> {
    let without = |kind| arguments.without.contains(&kind);
    let mut manifests = vec![config::config_map(plan), workload::deployment(plan)];
    manifests.extend([network::service(plan), workload::disruption_budget(plan)]);
    if !without(Without::NetworkPolicy) {
        manifests.push(network::policy(plan));
    }
    if !without(Without::PodMonitor) {
        manifests.push(network::pod_monitor(plan));
    }
    if arguments.overlay == Overlay::Keda {
        manifests.extend(keda::manifests(plan));
    }
    if arguments.scaler {
        manifests.extend(scaler::manifests(plan, !without(Without::NetworkPolicy)));
    }
    manifests
}

/// One stream of documents.
fn yaml(manifests: &[Value]) -> Result<String, End> {
    // Long texts stay on their line: folded, they are hard to read and to compare.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: 100_000 };
    serde_saphyr::to_string_multiple_with_options(manifests, options)
        .map_err(|error| End::new(Exit::Internal, format!("manifests as YAML: {error}")))
}

/// One file for each, and the list that kustomize and `kubectl apply -k` read.
fn write(folder: &Path, manifests: &[Value], output: &Output) -> Result<(), End> {
    let refused = |path: &Path, error: std::io::Error| {
        End::new(Exit::Temporary, format!("cannot write {}: {error}", path.display()))
    };
    fs::create_dir_all(folder).map_err(|error| refused(folder, error))?;
    let names: Vec<String> = manifests.iter().map(file_name).collect();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": names,
        // In this order, which has a reason where KEDA is concerned.
        "sortOptions": { "order": "fifo" },
    });
    let last = ("kustomization.yaml".to_owned(), &kustomization);
    for (name, manifest) in names.iter().cloned().zip(manifests).chain([last]) {
        let path = folder.join(name);
        let text = yaml(std::slice::from_ref(manifest))?;
        fs::write(&path, text).map_err(|error| refused(&path, error))?;
        output.line(path.display());
    }
    Ok(())
}

fn file_name(manifest: &Value) -> String {
    let kind = manifest["kind"].as_str().unwrap_or_default();
    let whose = if scaler::is_of(manifest) { "scaler-" } else { "" };
    format!("{whose}{}.yaml", names::kebab(kind))
}
