//! The scaler as a Deployment of its own beside the fleet.

use std::fs;

use serde_json::Value;

use super::conform;
use super::render::{POSTGRES, render, render_with};

/// Scenario: KEDA asks a process of its own. Guarantee: one pod that no selector of the workers finds, reached where KEDA is told to ask, with
/// what it needs of the brokers and nothing of the sinks; the API server knows every field.
#[test]
fn a_scaler_stands_beside_the_fleet() {
    let arguments =
        ["--overlay", "keda", "--scale-to-zero", "--scaler", "-n", "logs", "--set", "scale.max=6"];
    let rendered = render(POSTGRES, &arguments);
    conform(&rendered.yaml);
    let of = |kind: &str| -> Vec<&Value> {
        rendered.manifests.iter().filter(|manifest| manifest["kind"] == kind).collect()
    };
    let (deployments, services, policies) = (of("Deployment"), of("Service"), of("NetworkPolicy"));
    assert_eq!((deployments.len(), services.len(), policies.len()), (2, 2, 2));
    let scaler = deployments[1];
    let labels = scaler["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
    let finds = |selector: &Value| {
        selector.as_object().unwrap().iter().all(|(name, value)| labels.get(name) == Some(value))
    };
    let workers = [
        &deployments[0]["spec"]["selector"]["matchLabels"],
        &services[0]["spec"]["selector"],
        &policies[0]["spec"]["podSelector"]["matchLabels"],
        &of("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"],
        &of("PodMonitor")[0]["spec"]["selector"]["matchLabels"],
    ];
    assert!(workers.iter().all(|selector| !finds(selector)), "{labels:?}");
    let own = [
        &scaler["spec"]["selector"]["matchLabels"],
        &services[1]["spec"]["selector"],
        &policies[1]["spec"]["podSelector"]["matchLabels"],
    ];
    assert!(own.iter().all(|selector| finds(selector)), "{labels:?}");

    let container = &scaler["spec"]["template"]["spec"]["containers"][0];
    let given: Vec<&str> =
        container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(
        given,
        ["scaler", "/etc/longshore/pipeline.yaml", "--set", "scale.max=6", "--listen", "0.0.0.0:9090"]
    );
    assert_eq!(scaler["spec"]["replicas"], 1);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    let mounted: Vec<&str> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    assert!(
        mounted.contains(&"/etc/longshore") && mounted.iter().any(|path| path.starts_with("/run/secrets")),
        "{mounted:?}"
    );
    let out = policies[1]["spec"]["egress"].to_string();
    assert!(out.contains("9093") && !out.contains("6432"), "{out}");

    let triggers = &of("ScaledObject")[0]["spec"]["triggers"];
    // Somebody has to wake a fleet at zero while the scaler is away.
    assert_eq!(triggers[1]["type"], "kafka");
    // Its streams: with `external` an autoscaler that is made before the scaler answers never gets the metric.
    assert_eq!(triggers[0]["type"], "external-push");
    let name = services[1]["metadata"]["name"].as_str().unwrap();
    assert_eq!(triggers[0]["metadata"]["scalerAddress"], format!("{name}.logs.svc:9090"));
    assert_eq!(services[1]["spec"]["ports"][0]["port"], 9090);
    // The scaler itself sees what waits while no pod is there.
    assert!(!triggers.to_string().contains(".retry"), "{triggers}");
    let alone = render_with(POSTGRES, &["--scaler"], &[]).refused(64);
    assert!(alone.contains("--overlay keda"), "{alone}");

    // Each manifest has a file of its own.
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    render_with(POSTGRES, &[&arguments[..], &["--out", out.to_str().unwrap()]].concat(), &[])
        .rendered_files();
    assert_eq!(fs::read_dir(&out).unwrap().count(), rendered.manifests.len() + 1);
}

/// Guarantee: with a certificate KEDA asks over TLS and knows whom to trust, kubelets probe so as well, the key is mounted in the scaler alone, and
/// people hear which name the certificate has to have; each manifest has a file of its own.
#[test]
fn a_scaler_is_asked_over_tls() {
    let arguments = ["--overlay", "keda", "--scaler", "--scaler-tls", "scaler-certificate", "-n", "logs"];
    let rendered = render(POSTGRES, &arguments);
    conform(&rendered.yaml);
    let of = |kind: &str, name: &str| {
        let found =
            rendered.manifests.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}")).clone()
    };
    let scaler = of("Deployment", "longshore-table-scaler");
    let pod = &scaler["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["scheme"], "HTTPS", "{probe}");
    }
    let given: Vec<&str> =
        container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let folder =
        container["volumeMounts"].as_array().unwrap().iter().find(|mount| mount["name"] == "certificate");
    let folder = folder.unwrap()["mountPath"].as_str().unwrap().to_owned();
    let wanted =
        ["--tls-certificate", &format!("{folder}/tls.crt"), "--tls-key", &format!("{folder}/tls.key")];
    assert_eq!(given[given.len() - 4..], wanted);
    let volume =
        pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "certificate").unwrap();
    assert_eq!(volume["secret"]["secretName"], "scaler-certificate");
    assert!(
        !rendered.manifests[1].to_string().contains("scaler-certificate"),
        "a worker has the scaler's key"
    );

    let triggers = &of("ScaledObject", "longshore-table")["spec"]["triggers"];
    // With a second trigger KEDA takes the scaler's metric out of the autoscaler when the scaler does not answer for a while.
    assert_eq!(triggers.as_array().unwrap().len(), 1, "{triggers}");
    // And without one nobody reads the brokers' user name from the ConfigMap.
    let keys = rendered.one("ConfigMap")["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys, ["pipeline.yaml"]);
    let trigger = &triggers[0];
    assert_eq!(trigger["metadata"]["enableTLS"], "true");
    let authentication = of("TriggerAuthentication", trigger["authenticationRef"]["name"].as_str().unwrap());
    let authority =
        serde_json::json!([{ "key": "ca.crt", "name": "scaler-certificate", "parameter": "caCert" }]);
    assert_eq!(authentication["spec"]["secretTargetRef"], authority);
    // KEDA opens its streams with what it finds as it first sees the ScaledObject.
    let order: Vec<&str> = rendered.manifests.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    let first = order.iter().position(|kind| *kind == "ScaledObject").unwrap();
    assert!(!order[first..].contains(&"TriggerAuthentication"), "{order:?}");
    let host = trigger["metadata"]["scalerAddress"].as_str().unwrap().split(':').next().unwrap();
    assert!(
        rendered.said.contains(host) && rendered.said.contains("scaler-certificate"),
        "{}",
        rendered.said
    );

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    render_with(POSTGRES, &[&arguments[..], &["--out", out.to_str().unwrap()]].concat(), &[])
        .rendered_files();
    assert_eq!(fs::read_dir(&out).unwrap().count(), rendered.manifests.len() + 1);
    let list = fs::read_to_string(out.join("kustomization.yaml")).unwrap();
    assert!(list.contains("order: fifo"), "kustomize would sort them by its own order: {list}");
    assert!(render_with(POSTGRES, &["--scaler-tls", "x"], &[]).refused(64).contains("--scaler"));
}
