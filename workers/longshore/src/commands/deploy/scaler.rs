//! The scaler as a process of its own: a Deployment of one pod, its Service, and what it may reach.

use serde_json::{Value, json};

use super::places::READ_ONLY;
use super::plan::{Plan, command};
use super::{WORK_FOLDER, keda, network, workload};

/// Its port, for KEDA's gRPC and for `/scale`.
pub(super) const PORT: u16 = 9090;
/// Where its certificate lies in a container; no pipeline names files there.
const CERTIFICATE_FOLDER: &str = "/etc/longshore-scaler-tls";

/// Its name, which is that of everything of it.
pub(super) fn name(plan: &Plan) -> String {
    name_of(&plan.name)
}

fn name_of(fleet: &str) -> String {
    format!("{fleet}-scaler")
}

/// Where KEDA finds it, and the name that its certificate has to have.
pub(super) fn host(plan: &Plan) -> String {
    host_of(&plan.name, &plan.namespace)
}

fn host_of(fleet: &str, namespace: &str) -> String {
    format!("{}.{namespace}.svc", name_of(fleet))
}

/// What a person has to make for TLS.
pub(super) fn certificate_note(secret: &str, fleet: &str, namespace: &str) -> String {
    format!(
        "the Secret {secret} is yours to make, before the rest is applied, with tls.crt and tls.key for the name {}, and the authority's ca.crt",
        host_of(fleet, namespace)
    )
}

/// Whether a manifest is one of the scaler's.
pub(super) fn is_of(manifest: &Value) -> bool {
    manifest["metadata"]["labels"]["app.kubernetes.io/component"] == "scaler"
}

pub(super) fn manifests(plan: &Plan, with_policy: bool) -> Vec<Value> {
    let mut manifests = vec![deployment(plan), service(plan)];
    if with_policy {
        manifests.push(network::scaler_policy(plan, metadata(plan), &selector(plan), PORT));
    }
    manifests
}

/// Whom KEDA takes the scaler's certificate from; the key stays the scaler's.
pub(super) fn authentication(plan: &Plan, secret: &str) -> Value {
    let authority = json!({ "key": "ca.crt", "name": secret, "parameter": "caCert" });
    keda::authentication(&metadata(plan), &json!({ "secretTargetRef": [authority] }))
}

/// No worker's: their budgets and policies must not count it.
fn selector(plan: &Plan) -> Value {
    json!({ "app.kubernetes.io/instance": name(plan), "app.kubernetes.io/name": "longshore" })
}

fn labels(plan: &Plan) -> Value {
    let mut labels = plan.labels();
    labels["app.kubernetes.io/component"] = json!("scaler");
    labels["app.kubernetes.io/instance"] = json!(name(plan));
    labels
}

fn metadata(plan: &Plan) -> Value {
    json!({ "labels": labels(plan), "name": name(plan), "namespace": plan.namespace })
}

/// One pod: it remembers the rates that it has seen, and two would each remember their own.
fn deployment(plan: &Plan) -> Value {
    let (mut mounts, mut volumes) = plan.places.read_only();
    let listen = format!("0.0.0.0:{PORT}");
    let mut arguments = command(&["scaler"], &plan.sets);
    arguments.extend(["--listen".to_owned(), listen]);
    let (mut alive, mut ready) = (workload::probe("/livez", 10, 3), workload::probe("/livez", 5, 2));
    if let Some(secret) = &plan.scaler_tls {
        for (argument, file) in [("--tls-certificate", "tls.crt"), ("--tls-key", "tls.key")] {
            arguments.extend([argument.to_owned(), format!("{CERTIFICATE_FOLDER}/{file}")]);
        }
        mounts.push(json!({ "mountPath": CERTIFICATE_FOLDER, "name": "certificate", "readOnly": true }));
        let secret = json!({ "defaultMode": READ_ONLY, "secretName": secret });
        volumes.push(json!({ "name": "certificate", "secret": secret }));
        // A kubelet asks whoever answers, whatever the certificate's name.
        for probe in [&mut alive, &mut ready] {
            probe["httpGet"]["scheme"] = json!("HTTPS");
        }
    }
    // Of a worker's variables all but where it listens, which is an argument here.
    let environment: Vec<&Value> =
        plan.environment.iter().filter(|variable| variable["name"] != "LONGSHORE_HTTP__LISTEN").collect();
    let container = json!({
        "args": arguments,
        "env": environment,
        "image": plan.image,
        "imagePullPolicy": "IfNotPresent",
        "livenessProbe": alive,
        "name": "longshore",
        "ports": [{ "containerPort": PORT, "name": "http", "protocol": "TCP" }],
        "readinessProbe": ready,
        "resources": { "limits": { "memory": "128Mi" }, "requests": { "cpu": "50m", "memory": "128Mi" } },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "privileged": false,
            "readOnlyRootFilesystem": true,
        },
        "volumeMounts": mounts,
        "workingDir": WORK_FOLDER,
    });
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "containers": [container],
        "enableServiceLinks": false,
        "securityContext": {
            "fsGroup": workload::USER,
            "runAsGroup": workload::USER,
            "runAsNonRoot": true,
            "runAsUser": workload::USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumes": volumes,
    });
    if let Some(account) = &plan.service_account {
        spec["serviceAccountName"] = json!(account);
    }
    let annotations = json!({ "checksum/config": plan.config.checksum() });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(plan),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 5,
            "selector": { "matchLabels": selector(plan) },
            "template": { "metadata": { "annotations": annotations, "labels": labels(plan) }, "spec": spec },
        },
    })
}

fn service(plan: &Plan) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(plan),
        "spec": {
            "ports": [{ "name": "http", "port": PORT, "protocol": "TCP", "targetPort": "http" }],
            "selector": selector(plan),
            "type": "ClusterIP",
        },
    })
}
