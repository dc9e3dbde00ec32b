//! What the manifests are made of: everything that follows from the pipeline and the command line, decided once.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use longshore_core::human::Bytes;
use longshore_settings::{Listen, Loaded, ObjectsPlace, ObjectsStore, Outside, Pipeline, SinkKind};
use serde_json::{Value, json};

use super::config::Config;
use super::keda::{self, Scaling};
use super::network::Targets;
use super::places::Places;
use super::secrets::{ACCOUNT, Secrets, account, stores_by_role};
use super::spans::Spans;
use super::{CONFIG_FOLDER, names, scaler};
use crate::cli::deploy::{DeployRender, Overlay};
use crate::exit::{End, Exit};
use crate::worker::stop_within;

/// Seconds a pod has to end, beyond the longest that a worker takes.
pub(crate) const GRACE_MARGIN: Duration = Duration::from_secs(10);
/// What the kernel counts for a pod beside the process: sockets, page tables, files that are being written. An allowance, not a measurement.
const KERNEL: u64 = 48 << 20;

/// Everything decided.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) image: String,
    pub(super) pipeline: String,
    pub(super) replicas: Option<u32>,
    pub(super) port: u16,
    pub(super) memory: u64,
    pub(super) cpu: String,
    grace: Duration,
    pub(super) service_account: Option<String>,
    /// Whether that account's role is one of Azure's, whose webhook looks for a label.
    pub(super) azure: bool,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<Value>,
    /// The variables for spans.
    pub(super) spans: Vec<Value>,
    /// `--set`, as typed.
    pub(super) sets: Vec<String>,
    pub(super) config: Config,
    pub(super) places: Places,
    pub(super) targets: Targets,
    pub(super) scaling: Option<Scaling>,
    /// The Secret of the scaler's certificate.
    pub(super) scaler_tls: Option<String>,
    /// What a person should know, for standard error.
    pub(super) notes: Vec<String>,
}

impl Plan {
    pub(super) fn new(arguments: &DeployRender, loaded: &Loaded) -> Result<Self, End> {
        let pipeline = &loaded.pipeline;
        let name = match &arguments.name {
            Some(name) => names::ours(name)?.to_owned(),
            None => names::fit(&format!("longshore-{}", pipeline.pipeline)),
        };
        let namespace = names::theirs("namespace", &arguments.namespace)?.to_owned();
        let secret = match &arguments.secret {
            Some(secret) => names::theirs("secret", secret)?.to_owned(),
            None => format!("{name}-secrets"),
        };
        if arguments.scaler && arguments.overlay != Overlay::Keda {
            return Err(End::new(Exit::Usage, "--scaler answers KEDA: it goes with --overlay keda"));
        }
        let secrets = Secrets::of(loaded, &arguments.overrides.set, secret)?;
        let mut config = Config::read(&arguments.pipeline, pipeline)?;
        let spans = Spans::of(&arguments.otel)?;
        let targets = Targets::of(pipeline, &spans.ports)?;
        let mut notes = secrets.notes(&namespace);
        notes.extend(arguments.service_account.as_deref().map(|account| account_note(account, &namespace)));
        notes.extend(local_brokers(&pipeline.kafka.brokers));
        notes.extend(features(pipeline));
        let scaling = match arguments.overlay {
            Overlay::Plain => None,
            Overlay::Keda => Some(Scaling::of(arguments, loaded, &secrets, &mut config, &mut notes)?),
        };
        // Its name tells what is in it, and KEDA's part of it is there only now.
        let places = Places::of(arguments, pipeline, &config, &secrets, &config.name(&name))?;
        notes.extend(places.claim_note(&namespace));
        let scaler_tls =
            arguments.scaler_tls.as_deref().map(|secret| names::theirs("scaler-tls", secret)).transpose()?;
        notes.extend(scaler_tls.map(|secret| scaler::certificate_note(secret, &name, &namespace)));
        let service_account =
            arguments.service_account.as_deref().map(|account| names::theirs("service-account", account));
        let port = port(pipeline);
        Ok(Self {
            environment: environment(loaded, &secrets, port, keda::to_zero(arguments, pipeline)),
            spans: spans.variables(&secrets.name),
            sets: arguments.overrides.set.clone(),
            memory: memory(pipeline.limits.memory),
            cpu: cpu(&arguments.cpu)?,
            grace: stop_within(pipeline) + GRACE_MARGIN,
            azure: arguments.service_account.is_some()
                && stores_by_role(pipeline).any(|store| store == ObjectsStore::Azure),
            service_account: service_account.transpose()?.map(str::to_owned),
            arguments: command(&["run", "-c"], &arguments.overrides.set),
            scaler_tls: scaler_tls.map(str::to_owned),
            replicas: (arguments.overlay == Overlay::Plain).then_some(arguments.replicas),
            image: names::image(&arguments.image)?.to_owned(),
            pipeline: names::label_value(&pipeline.pipeline),
            name,
            namespace,
            port,
            config,
            places,
            targets,
            scaling,
            notes,
        })
    }

    /// The labels by which pods are found; a Deployment's never change, so nothing stands here that could.
    pub(super) fn selector(&self) -> Value {
        json!({ "app.kubernetes.io/instance": self.name, "app.kubernetes.io/name": "longshore" })
    }

    /// The labels of everything.
    pub(super) fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/component": "worker",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/name": "longshore",
            "app.kubernetes.io/part-of": self.pipeline,
        })
    }

    /// `metadata` of something with this name.
    pub(super) fn metadata(&self, name: &str) -> Value {
        json!({ "labels": self.labels(), "name": name, "namespace": self.namespace })
    }

    /// How long a pod may take to end, in whole seconds.
    pub(super) fn grace_seconds(&self) -> u64 {
        self.grace.as_secs() + u64::from(self.grace.subsec_nanos() > 0)
    }

    /// The name of the ConfigMap.
    pub(super) fn config_name(&self) -> String {
        self.config.name(&self.name)
    }
}

/// The port of the pages. The address of the file is mostly this machine's own, which nobody outside of a pod reaches.
fn port(pipeline: &Pipeline) -> u16 {
    match pipeline.http.listen {
        Listen::At(address) if address.port() != 0 => address.port(),
        Listen::At(_) | Listen::Off => 8080,
    }
}

/// The bytes that a pod may use: 1.15 of `limits.memory`, which the tests of I5 hold the process to, and the kernel's part.
fn memory(limit: Bytes) -> u64 {
    let process = limit.get().saturating_mul(115).div_ceil(100);
    process.saturating_add(KERNEL)
}

/// A quantity of CPU: whole and decimal numbers, or thousandths.
fn cpu(text: &str) -> Result<String, End> {
    let number = text.strip_suffix('m').unwrap_or(text);
    let fits = match text.ends_with('m') {
        true => number.parse::<u32>().is_ok_and(|number| number > 0),
        false => {
            number.parse::<f64>().is_ok_and(|number| number.is_finite() && number > 0.0)
                && !number.contains(['e', 'E', '+'])
        }
    };
    if fits {
        return Ok(text.to_owned());
    }
    Err(End::new(Exit::Usage, format!("--cpu {text}: expected for example 500m, 1 or 1.5")))
}

/// The arguments of the container. Kubernetes reads `$(NAME)` in them, and `$$(` as the characters themselves.
pub(super) fn command(words: &[&str], sets: &[String]) -> Vec<String> {
    let mut arguments: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    arguments.push(format!("{CONFIG_FOLDER}/pipeline.yaml"));
    for set in sets {
        arguments.extend(["--set".to_owned(), set.replace("$(", "$$(")]);
    }
    arguments
}

/// The variables of the container: where it listens, those of the Secret, and those that the file names and this machine has.
fn environment(loaded: &Loaded, secrets: &Secrets, port: u16, to_zero: bool) -> Vec<Value> {
    let mut variables = BTreeMap::new();
    for reference in loaded.references() {
        if let Outside::Variable { name, secret: false, .. } = &reference.from
            && let Ok(value) = std::env::var(name)
        {
            variables.insert(name.clone(), json!({ "name": name, "value": value }));
        }
    }
    if stores_by_role(&loaded.pipeline).any(|store| store == ObjectsStore::Azure)
        && let Some(account) = account()
    {
        variables.insert(ACCOUNT.to_owned(), json!({ "name": ACCOUNT, "value": account }));
    }
    variables.extend(secrets.variables());
    let listen = json!({ "name": "LONGSHORE_HTTP__LISTEN", "value": format!("0.0.0.0:{port}") });
    // `/scale` never answers less than `scale.min`, and KEDA would never see a fleet without work.
    let least = to_zero.then(|| json!({ "name": "LONGSHORE_SCALE__MIN", "value": "0" }));
    std::iter::once(listen).chain(least).chain(variables.into_values()).collect()
}

/// What the image has to be built with that it is not by itself.
fn features(pipeline: &Pipeline) -> Option<String> {
    let needs = |store: ObjectsStore| {
        pipeline.sinks.iter().any(|sink| match &sink.kind {
            SinkKind::Objects(options) => {
                matches!(options.place(), Ok(ObjectsPlace::Bucket { store: found, .. }) if found == store)
            }
            SinkKind::Files(_) | SinkKind::Postgres(_) | SinkKind::Topic(_) | SinkKind::Stdout(_) => false,
        })
    };
    let wanted = [(ObjectsStore::Google, "gcp"), (ObjectsStore::Azure, "azure")];
    let wanted: String =
        wanted.iter().filter(|(store, _)| needs(*store)).map(|(_, feature)| format!(",{feature}")).collect();
    (!wanted.is_empty()).then(|| {
        format!(
            "the image needs more than it has by itself; build it with\n  --build-arg FEATURES=objects,postgres,tls-vendored{wanted}"
        )
    })
}

/// Without its account Kubernetes makes no pod, and says so in the events of a ReplicaSet alone.
fn account_note(account: &str, namespace: &str) -> String {
    format!(
        "the ServiceAccount {account} is yours to make, with the annotation of its cloud:\n  kubectl create serviceaccount {account} -n {namespace}"
    )
}

/// A pod's own address is never a broker's.
fn local_brokers(brokers: &str) -> Option<String> {
    let local = |address: &&str| {
        let host = address.trim().rsplit_once(':').map_or(*address, |(host, _)| host);
        matches!(host.trim(), "localhost" | "127.0.0.1" | "[::1]" | "::1")
    };
    let found = brokers.split(',').find(local)?;
    let next = "set the variable that the file names before `deploy render`, or write the brokers' names";
    Some(format!("warning: kafka.brokers: {found} is the pod itself, seen from a pod\n  next: {next}"))
}

/// A refusal: the pipeline cannot run in pods as it is written.
pub(super) fn refused(message: impl std::fmt::Display, next: &str) -> End {
    End::new(Exit::Configuration, format!("{message}\n  next: {next}"))
}

/// A path as a container has it: relative ones begin at `base`, and nothing climbs.
pub(super) fn inside(base: &str, path: &Path) -> Result<std::path::PathBuf, End> {
    let climbs = path.components().any(|part| matches!(part, std::path::Component::ParentDir));
    if climbs {
        let message = format!("{}: a path with `..` leads nowhere in a container", path.display());
        return Err(refused(message, "write the path from its beginning"));
    }
    // Written anew from its parts, without `.` and doubled slashes.
    Ok(Path::new(base).join(path).components().filter(|part| *part != std::path::Component::CurDir).collect())
}
