//! What KEDA is told. Read in KEDA 2.21's sources, since its documentation leaves out what decides here.

use longshore_settings::model::kafka::{Mechanism, SecurityOptions};
use longshore_settings::{Loaded, Pipeline, Start};
use serde_json::{Map, Value, json};

use super::config::Config;
use super::plan::{Plan, refused};
use super::scaler;
use super::secrets::Secrets;
use crate::cli::deploy::{DeployRender, Overlay};
use crate::exit::End;
use crate::worker::topics::retry_topics;

/// Seconds for which fewer pods have to be enough before pods go. Longer than a rebalance: a fleet that has just changed measures too little.
const CALM_SECONDS: u32 = 120;
/// Seconds without work before the last pod goes.
const COOLDOWN_SECONDS: u32 = 300;
/// Seconds between two looks.
const LOOK_SECONDS: u32 = 15;
/// Failed looks before the fallback is in force.
const FAILURES: u32 = 3;
/// A lag for one pod that nobody has: such a trigger wakes a fleet and never says how large it is.
const NEVER: u64 = 1_000_000_000_000;

/// The ConfigMap's key of the brokers' user name.
const USERNAME: &str = "kafka-username";

/// What scaling needs to know.
pub(super) struct Scaling {
    most: u32,
    /// 0 for a fleet that goes when there is nothing to do.
    least: u32,
    backstop_lag: u64,
    group: String,
    brokers: String,
    from_earliest: bool,
    /// Topics whose lag adds pods, and retry topics, whose lag only wakes them.
    inputs: Vec<String>,
    retries: Vec<String>,
    /// How KEDA speaks to the brokers; none where it cannot.
    access: Option<Access>,
    /// Whether a process of its own answers for the fleet.
    scaler: bool,
}

/// Credentials for KEDA's `kafka` trigger.
struct Access {
    /// What is no secret, in the trigger itself.
    open: Map<String, Value>,
    /// Parameters and the Secret's keys.
    secret: Vec<(&'static str, String)>,
    /// The user name, where it stands in the pipeline file, which the ConfigMap holds anyway.
    username: Option<String>,
    secret_name: String,
}

impl Scaling {
    pub(super) fn of(
        arguments: &DeployRender,
        loaded: &Loaded,
        secrets: &Secrets,
        config: &mut Config,
        notes: &mut Vec<String>,
    ) -> Result<Self, End> {
        let pipeline = &loaded.pipeline;
        let to_zero = to_zero(arguments, pipeline);
        let access = match Access::of(&pipeline.kafka.security, secrets) {
            Ok(access) => Some(access),
            // The scaler sees records while no pod is there.
            Err(why) if to_zero && !arguments.scaler => {
                return Err(refused(
                    format!(
                        "--scale-to-zero: {why}, and without it nobody sees records while no pod is there"
                    ),
                    "add --scaler, or leave out --scale-to-zero",
                ));
            }
            Err(why) => {
                notes.push(format!("no kafka trigger as a backstop: {why}"));
                None
            }
        };
        if to_zero && pipeline.input.start == Start::Latest {
            notes.push(
                "warning: input.start is latest, and brokers forget the commits of a fleet that stood at zero for \
                 `offsets.retention.minutes` (7 days): what came meanwhile would be passed over\n  next: input.start: earliest, or scale.min: 1"
                    .to_owned(),
            );
        }
        let topics = u32::try_from(pipeline.input.topics.len()).unwrap_or(u32::MAX);
        let partitions = arguments.partitions.saturating_mul(topics);
        let most = pipeline.scale.max.unwrap_or(partitions).min(partitions);
        let scaling = Self {
            most,
            least: if to_zero { 0 } else { pipeline.scale.min.min(most) },
            backstop_lag: arguments.backstop_lag,
            group: pipeline.group(),
            brokers: pipeline.kafka.brokers.clone(),
            from_earliest: pipeline.input.start != Start::Latest,
            inputs: pipeline.input.topics.clone(),
            retries: retry_topics(pipeline).into_values().collect(),
            access,
            scaler: arguments.scaler,
        };
        if let Some(username) = scaling.backstop().and_then(|access| access.username.as_ref()) {
            config.put(USERNAME, username);
        }
        Ok(scaling)
    }

    /// How KEDA looks at the brokers itself, where it is to. While the scaler does not answer and another trigger does, KEDA 2.21 makes the autoscaler anew
    /// without the scaler's metric, and with a fleet that never goes to zero it need not find back; with one trigger alone it leaves the autoscaler as it is.
    fn backstop(&self) -> Option<&Access> {
        self.access.as_ref().filter(|_| !self.scaler || self.least == 0)
    }
}

/// Whether the last pod goes as well.
pub(super) fn to_zero(arguments: &DeployRender, pipeline: &Pipeline) -> bool {
    arguments.overlay == Overlay::Keda && (arguments.scale_to_zero || pipeline.scale.min == 0)
}

impl Access {
    fn of(security: &SecurityOptions, secrets: &Secrets) -> Result<Self, String> {
        let mut access =
            Self { open: Map::new(), secret: Vec::new(), username: None, secret_name: secrets.name.clone() };
        let encrypted = security.protocol.map_or(security.tls.is_some(), |protocol| protocol.tls());
        if encrypted {
            access.tls(security, secrets)?;
        }
        let Some(sasl) = &security.sasl else { return Ok(access) };
        let word = match sasl.mechanism {
            Mechanism::Plain => "plaintext",
            Mechanism::ScramSha256 => "scram_sha256",
            Mechanism::ScramSha512 => "scram_sha512",
            Mechanism::OauthBearer => return Err("KEDA reads no token from a file (OAUTHBEARER)".to_owned()),
        };
        access.open.insert("sasl".to_owned(), json!(word));
        let field = "kafka.security.sasl.username";
        match (secrets.key_of_field(field), &sasl.username) {
            (Some(key), _) => access.secret.push(("username", key.to_owned())),
            (None, Some(username)) => access.username = Some(username.clone()),
            (None, None) => return Err("there is no user name".to_owned()),
        }
        access.secret_field("password", "kafka.security.sasl.password", secrets)?;
        Ok(access)
    }

    fn tls(&mut self, security: &SecurityOptions, secrets: &Secrets) -> Result<(), String> {
        self.open.insert("tls".to_owned(), json!("enable"));
        let Some(tls) = &security.tls else { return Ok(()) };
        if !tls.verify_hostname {
            self.open.insert("unsafeSsl".to_owned(), json!("true"));
        }
        let files = [("ca", &tls.ca), ("cert", &tls.certificate), ("key", &tls.key)];
        for (parameter, path) in files {
            // Those of the image are authorities that KEDA's image has as well.
            if let Some(key) = path.as_ref().and_then(|path| secrets.key_of_file(path)) {
                self.secret.push((parameter, key.to_owned()));
            }
        }
        if tls.key_password.is_some() {
            self.secret_field("keyPassword", "kafka.security.tls.key_password", secrets)?;
        }
        Ok(())
    }

    fn secret_field(
        &mut self,
        parameter: &'static str,
        field: &str,
        secrets: &Secrets,
    ) -> Result<(), String> {
        let key = secrets.key_of_field(field);
        let key =
            key.ok_or_else(|| format!("{field} is put together from several parts, and KEDA takes one key"))?;
        self.secret.push((parameter, key.to_owned()));
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.secret.is_empty() && self.username.is_none()
    }
}

pub(super) fn manifests(plan: &Plan) -> Vec<Value> {
    let Some(scaling) = &plan.scaling else { return Vec::new() };
    let access = scaling.backstop().filter(|access| !access.is_open());
    let authentication = access.map(|access| trigger_authentication(plan, access));
    // A stream to the scaler is opened with what KEDA finds as it first sees the ScaledObject, and with nothing else from then on.
    let certificate = plan.scaler_tls.as_ref().map(|secret| scaler::authentication(plan, secret));
    authentication.into_iter().chain(certificate).chain([scaled_object(plan, scaling)]).collect()
}

fn scaled_object(plan: &Plan, scaling: &Scaling) -> Value {
    let mut spec = json!({
        "advanced": { "horizontalPodAutoscalerConfig": { "behavior": behavior(scaling) } },
        "maxReplicaCount": scaling.most,
        "minReplicaCount": scaling.least,
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": plan.name },
        "triggers": triggers(plan, scaling),
    });
    // A fallback counts as activity. With no pod there is nobody to ask, so it would start one each time the last has gone; the HPA by
    // itself never removes pods while it cannot read a trigger.
    if scaling.least > 0 {
        spec["fallback"] = json!({
            "behavior": "currentReplicasIfHigher",
            "failureThreshold": FAILURES,
            "replicas": scaling.least,
        });
    } else {
        // Without a way to zero it is the autoscaler that looks, and KEDA warns of either.
        spec["cooldownPeriod"] = json!(COOLDOWN_SECONDS);
        spec["pollingInterval"] = json!(LOOK_SECONDS);
    }
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": plan.metadata(&plan.name),
        "spec": spec,
    })
}

/// Up at once and in one step: `/scale` says how many there should be, and each step is a rebalance. Down by halves, after a while.
fn behavior(scaling: &Scaling) -> Value {
    json!({
        "scaleDown": {
            "policies": [{ "periodSeconds": 60, "type": "Percent", "value": 50 }, { "periodSeconds": 60, "type": "Pods", "value": 1 }],
            "selectPolicy": "Max",
            "stabilizationWindowSeconds": CALM_SECONDS,
        },
        "scaleUp": {
            "policies": [{ "periodSeconds": LOOK_SECONDS, "type": "Pods", "value": scaling.most }],
            "selectPolicy": "Max",
            "stabilizationWindowSeconds": 0,
        },
    })
}

fn triggers(plan: &Plan, scaling: &Scaling) -> Vec<Value> {
    let mut triggers = vec![if scaling.scaler { external(plan) } else { pages(plan) }];
    let Some(access) = scaling.backstop() else { return triggers };
    let inputs = scaling.inputs.iter().map(|topic| (topic, scaling.backstop_lag));
    let waking =
        scaling.retries.iter().filter(|_| scaling.least == 0 && !scaling.scaler).map(|topic| (topic, NEVER));
    for (number, (topic, threshold)) in inputs.chain(waking).enumerate() {
        triggers.push(kafka(plan, scaling, access, &format!("kafka-{number}"), topic, threshold));
    }
    triggers
}

/// Any pod answers for the fleet.
fn pages(plan: &Plan) -> Value {
    let url = format!("http://{}.{}.svc:{}/scale", plan.name, plan.namespace, plan.port);
    json!({
        // The pods themselves are the value, and one of them is worth one.
        "metadata": { "activationTargetValue": "0", "format": "json", "targetValue": "1", "url": url, "valueLocation": "pods" },
        "metricType": "AverageValue",
        "name": "time-to-drain",
        "type": "metrics-api",
    })
}

/// A process of its own does; it says as well whether there is anything to do at all. By `external` alone KEDA learns the metric when it makes the
/// autoscaler and never again: applied together with the scaler, which is not there yet, the fleet would be left with the backstop.
fn external(plan: &Plan) -> Value {
    let address = format!("{}:{}", scaler::host(plan), scaler::PORT);
    let mut trigger = json!({
        "metadata": { "scalerAddress": address },
        "metricType": "AverageValue",
        "name": "time-to-drain",
        "type": "external-push",
    });
    if plan.scaler_tls.is_some() {
        trigger["metadata"]["enableTLS"] = json!("true");
        trigger["authenticationRef"] = json!({ "name": scaler::name(plan) });
    }
    trigger
}

fn kafka(plan: &Plan, scaling: &Scaling, access: &Access, name: &str, topic: &str, threshold: u64) -> Value {
    let start = if scaling.from_earliest { "earliest" } else { "latest" };
    let mut metadata = access.open.clone();
    let fields = [
        ("activationLagThreshold", "0".to_owned()),
        // With it KEDA caps the lag at the partitions, and the HPA's tolerance of a tenth keeps 63 of 64 pods; `maxReplicaCount` is the cap.
        ("allowIdleConsumers", "true".to_owned()),
        ("bootstrapServers", scaling.brokers.clone()),
        ("consumerGroup", scaling.group.clone()),
        // A partition that has not moved between two looks is no partition without work.
        ("excludePersistentLag", "false".to_owned()),
        ("lagThreshold", threshold.to_string()),
        ("offsetResetPolicy", start.to_owned()),
        ("topic", topic.to_owned()),
    ];
    metadata.extend(fields.map(|(name, value)| (name.to_owned(), json!(value))));
    let mut trigger =
        json!({ "metadata": metadata, "metricType": "AverageValue", "name": name, "type": "kafka" });
    if !access.is_open() {
        trigger["authenticationRef"] = json!({ "name": authentication_name(plan) });
    }
    trigger
}

fn authentication_name(plan: &Plan) -> String {
    format!("{}-kafka", plan.name)
}

fn trigger_authentication(plan: &Plan, access: &Access) -> Value {
    let target =
        |parameter: &str, key: &str, name: &str| json!({ "key": key, "name": name, "parameter": parameter });
    let secret = access.secret.iter().map(|(parameter, key)| target(parameter, key, &access.secret_name));
    let mut spec = json!({ "secretTargetRef": secret.collect::<Vec<_>>() });
    if access.username.is_some() {
        spec["configMapTargetRef"] = json!([target("username", USERNAME, &plan.config_name())]);
    }
    authentication(&plan.metadata(&authentication_name(plan)), &spec)
}

pub(super) fn authentication(metadata: &Value, spec: &Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": metadata,
        "spec": spec,
    })
}
