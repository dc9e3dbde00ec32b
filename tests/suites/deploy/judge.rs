//! What manifests have to mean, beyond what a schema sees.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::render::Rendered;

/// Holds everything of a fleet against each other.
pub(crate) fn judge(rendered: &Rendered) {
    names_and_labels(rendered);
    stopping_and_memory(rendered);
    ports_and_probes(rendered);
    rights(rendered);
    folders(rendered);
    scaling(rendered);
}

/// A name fits in a DNS label, everything is in one namespace, and every selector finds the pods.
fn names_and_labels(rendered: &Rendered) {
    let label = |name: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        name.len() <= 63 && name.chars().all(fits) && !name.starts_with('-') && !name.ends_with('-')
    };
    let namespace = &rendered.one("Deployment")["metadata"]["namespace"];
    for manifest in &rendered.manifests {
        let metadata = &manifest["metadata"];
        assert!(label(metadata["name"].as_str().unwrap()), "{metadata}");
        assert_eq!(metadata["namespace"], *namespace);
        for (name, value) in metadata["labels"].as_object().unwrap() {
            assert!(
                name.starts_with("app.kubernetes.io/") && value.as_str().unwrap().len() <= 63,
                "{metadata}"
            );
        }
    }
    let pods = &rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"];
    let mut selectors = vec![
        rendered.one("Deployment")["spec"]["selector"]["matchLabels"].clone(),
        rendered.one("Service")["spec"]["selector"].clone(),
        rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].clone(),
        rendered.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].clone(),
        rendered.one("PodMonitor")["spec"]["selector"]["matchLabels"].clone(),
    ];
    let spreads = rendered.pod()["topologySpreadConstraints"].as_array().unwrap();
    selectors.extend(spreads.iter().map(|spread| spread["labelSelector"]["matchLabels"].clone()));
    assert_eq!(selectors.len(), 7);
    for selector in selectors {
        let selector = selector.as_object().unwrap();
        assert!(
            !selector.is_empty() && selector.iter().all(|(name, value)| pods[name] == *value),
            "{selector:?}"
        );
    }
}

/// The number before a unit at the end of a line of the pipeline's `limits`.
fn limit(rendered: &Rendered, name: &str, unit: &str, default: u64) -> u64 {
    let Some((_, rest)) = rendered.pipeline.split_once(&format!("{name}: ")) else { return default };
    rest.split_once(unit).and_then(|(number, _)| number.parse().ok()).unwrap_or(default)
}

/// A pod has longer to end than a worker takes, and no less memory than the worker may use.
fn stopping_and_memory(rendered: &Rendered) {
    let drain = limit(rendered, "drain", "s", 15);
    let grace = rendered.pod()["terminationGracePeriodSeconds"].as_u64().unwrap();
    // Commit and leaving the group 6 s, flush 2 s; and something to spare.
    assert!(grace > drain + 8 + 5 && grace < drain + 60, "drain {drain}, grace {grace}");
    let memory = limit(rendered, "memory", "MiB", 256);
    let resources = &rendered.container()["resources"];
    let bytes = |value: &Value| value.as_str().unwrap().strip_suffix("Mi").unwrap().parse::<u64>().unwrap();
    let granted = bytes(&resources["limits"]["memory"]);
    assert!(granted * 100 >= memory * 115 && granted < memory * 2, "{memory} MiB, granted {granted}");
    assert_eq!(bytes(&resources["requests"]["memory"]), granted);
    assert!(resources["requests"]["cpu"].is_string() && resources["limits"]["cpu"].is_null());
}

/// One port, by one name, wherever it is named; probes ask the pages that there are.
fn ports_and_probes(rendered: &Rendered) {
    let container = rendered.container();
    let port = &container["ports"][0];
    assert_eq!(port["name"], "http");
    let number = port["containerPort"].as_u64().unwrap();
    assert_eq!(number, if rendered.pipeline.contains(":9090") { 9090 } else { 8080 });
    let listen = &container["env"][0];
    assert_eq!(listen["name"], "LONGSHORE_HTTP__LISTEN");
    assert_eq!(listen["value"], format!("0.0.0.0:{number}"));
    for (probe, path) in
        [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"], json!({ "path": path, "port": "http" }), "{probe}");
    }
    let service = &rendered.one("Service")["spec"];
    assert_eq!(
        service["sessionAffinity"], "ClientIP",
        "each new connection of KEDA would ask a worker that knows nothing yet"
    );
    let service = &service["ports"][0];
    assert_eq!((service["port"].as_u64(), service["targetPort"].as_str()), (Some(number), Some("http")));
    let policy = &rendered.one("NetworkPolicy")["spec"];
    assert_eq!(policy["ingress"], json!([{ "ports": [{ "port": number, "protocol": "TCP" }] }]));
    let out: BTreeSet<u64> = policy["egress"].as_array().unwrap()[..2]
        .iter()
        .flat_map(|rule| rule["ports"].as_array().unwrap())
        .map(|port| port["port"].as_u64().unwrap())
        .collect();
    let pipeline = &rendered.pipeline;
    for (word, port) in [
        ("kafka:9093", 9093),
        ("port: 6432", 6432),
        ("s3://", 443),
        ("alone:9095", 9095),
        ("kafka-0:9092", 9092),
    ] {
        assert!(out.contains(&53) && (!pipeline.contains(word) || out.contains(&port)), "{word}: {out:?}");
    }
    assert_eq!(rendered.one("PodMonitor")["spec"]["podMetricsEndpoints"][0]["port"], "http");
}

/// A worker that was taken over can do little.
fn rights(rendered: &Rendered) {
    let pod = rendered.pod();
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert!(pod["securityContext"]["runAsUser"].as_u64().is_some_and(|user| user > 0));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &rendered.container()["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"], json!({ "drop": ["ALL"] }));
}

/// Every mount has its volume and every volume its mount, no folder is mounted twice or hides another, and the file is where it is read.
fn folders(rendered: &Rendered) {
    let volumes = rendered.pod()["volumes"].as_array().unwrap();
    let mounts = rendered.container()["volumeMounts"].as_array().unwrap();
    let named = |list: &[Value]| -> BTreeSet<String> {
        list.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(named(volumes), named(mounts));
    let paths: BTreeSet<&str> = mounts.iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
    assert_eq!(paths.len(), mounts.len());
    for path in &paths {
        let below = paths.iter().find(|other| other.starts_with(&format!("{path}/")));
        assert!(below.is_none(), "{below:?} lies inside {path}, where no folder can be made");
    }
    assert!(paths.contains("/tmp") && paths.contains("/etc/longshore"), "{paths:?}");
    assert_eq!(rendered.container()["args"][2], "/etc/longshore/pipeline.yaml");
    let config = &rendered.one("ConfigMap")["metadata"]["name"];
    let named =
        volumes.iter().flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    let named: Vec<&Value> =
        named.map(|source| &source["configMap"]["name"]).filter(|name| !name.is_null()).collect();
    assert!(!named.is_empty() && named.iter().all(|name| *name == config), "{config}: {named:?}");
    assert_eq!(rendered.one("ConfigMap")["immutable"], true);
    let mut keys = BTreeSet::new();
    for volume in volumes {
        for source in volume["projected"]["sources"].as_array().into_iter().flatten() {
            for item in source["secret"]["items"].as_array().into_iter().flatten() {
                let (key, path) = (item["key"].as_str().unwrap(), item["path"].as_str().unwrap());
                assert!(keys.insert(key.to_owned()), "two files have the key {key}");
                assert!(rendered.said.contains(&format!("--from-file={key}=")), "{key}: {}", rendered.said);
                assert!(!path.starts_with('/'), "{path}");
            }
        }
    }
    assert_eq!(keys.len(), if rendered.pipeline.contains("db-password") { 4 } else { keys.len().min(3) });
    let spool = volumes.iter().find(|volume| volume["emptyDir"]["sizeLimit"] != Value::Null);
    if rendered.pipeline.contains("spool: 2GiB") {
        let found = volumes.iter().any(|volume| volume["emptyDir"]["sizeLimit"] == "2368Mi");
        assert!(found && paths.contains("/var/spool/longshore"), "{volumes:?}");
    } else if rendered.pipeline.contains("s3://") {
        assert!(spool.is_none(), "uploads are as large as they are: {spool:?}");
    }
}

/// Either a number of pods stands in the Deployment, or KEDA decides; never both.
fn scaling(rendered: &Rendered) {
    let deployment = &rendered.one("Deployment")["spec"];
    let scaled = rendered.manifests.iter().find(|manifest| manifest["kind"] == "ScaledObject");
    assert_eq!(deployment["replicas"].is_null(), scaled.is_some());
    let Some(scaled) = scaled else { return };
    let (name, spec) = (rendered.one("Deployment")["metadata"]["name"].as_str().unwrap(), &scaled["spec"]);
    assert_eq!(spec["scaleTargetRef"]["name"], name);
    let topics = if rendered.pipeline.contains("logs.more") { 2 } else { 1 };
    assert_eq!(spec["maxReplicaCount"], 8 * topics);
    let triggers = spec["triggers"].as_array().unwrap();
    let asked = &triggers[0];
    let service = rendered.one("Service");
    let namespace = service["metadata"]["namespace"].as_str().unwrap();
    let url = format!("http://{name}.{namespace}.svc:{}/scale", service["spec"]["ports"][0]["port"]);
    assert_eq!(
        (asked["type"].as_str(), asked["metadata"]["url"].as_str()),
        (Some("metrics-api"), Some(&*url))
    );
    assert_eq!(asked["metadata"]["valueLocation"], "pods");
    let kafka: Vec<&Value> = triggers[1..].iter().map(|trigger| &trigger["metadata"]).collect();
    let to_zero = spec["minReplicaCount"] == 0;
    let retries = if rendered.pipeline.contains("order: partition") || !to_zero { 0 } else { topics };
    assert_eq!(kafka.len(), topics + retries);
    for lag in &kafka {
        assert_eq!(lag["allowIdleConsumers"], "true");
        assert_eq!(lag["excludePersistentLag"], "false");
        // What wakes a fleet says nothing of its size.
        let waking = lag["topic"].as_str().unwrap().ends_with(".retry");
        let threshold: u64 = lag["lagThreshold"].as_str().unwrap().parse().unwrap();
        assert!(threshold >= if waking { 1_000_000_000_000 } else { 1_000_000 }, "{lag}");
    }
    // A fallback is activity to KEDA: with no pod there is nobody to ask, and it would start one for ever.
    assert_eq!(spec["fallback"].is_null(), to_zero);
    // KEDA's webhook warns of these where the autoscaler alone looks.
    for field in ["cooldownPeriod", "pollingInterval"] {
        assert_eq!(spec[field].is_null(), !to_zero, "{field}");
    }
    let environment = rendered.container()["env"].as_array().unwrap();
    let told = environment
        .iter()
        .any(|variable| variable["name"] == "LONGSHORE_SCALE__MIN" && variable["value"] == "0");
    assert_eq!(told, to_zero, "a worker that always asks for a pod keeps one");
    if !to_zero {
        assert_eq!(spec["fallback"]["behavior"], "currentReplicasIfHigher");
    }
    let calm = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"];
    assert!(calm["stabilizationWindowSeconds"].as_u64().unwrap() >= 60);
    authentication(rendered, triggers);
}

/// KEDA has the credentials where the brokers want some, from the Secret alone.
fn authentication(rendered: &Rendered, triggers: &[Value]) {
    let found = rendered.manifests.iter().find(|manifest| manifest["kind"] == "TriggerAuthentication");
    let wanted = rendered.pipeline.contains("sasl:");
    assert_eq!(found.is_some(), wanted);
    for trigger in &triggers[1..] {
        let name = trigger["authenticationRef"]["name"].as_str();
        assert_eq!(name, found.and_then(|found| found["metadata"]["name"].as_str()));
    }
    let Some(found) = found else { return };
    assert_eq!(triggers[1]["metadata"]["sasl"], "scram_sha512");
    assert_eq!(triggers[1]["metadata"]["tls"], "enable");
    let given = |list: &str| -> BTreeSet<(&str, &str)> {
        let entries = found["spec"][list].as_array().into_iter().flatten();
        entries.map(|entry| (entry["parameter"].as_str().unwrap(), entry["key"].as_str().unwrap())).collect()
    };
    assert_eq!(
        given("secretTargetRef"),
        BTreeSet::from([("ca", "run.secrets.kafka.ca.pem"), ("password", "kafka-password")])
    );
    assert_eq!(given("configMapTargetRef"), BTreeSet::from([("username", "kafka-username")]));
    assert_eq!(rendered.one("ConfigMap")["data"]["kafka-username"], "web");
}
