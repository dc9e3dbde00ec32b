//! The Deployment and what protects it.

use serde_json::{Value, json};

use super::WORK_FOLDER;
use super::places::mebibytes;
use super::plan::Plan;

/// The user and group of the image (`deploy/Dockerfile`).
pub(super) const USER: u32 = 65_532;

/// A Deployment and not a StatefulSet: a worker's name means nothing to the group, and one that goes away for good must not hold partitions.
pub(super) fn deployment(plan: &Plan) -> Value {
    let mut spec = json!({
        // Between two pods of a rollout the group has settled.
        "minReadySeconds": 10,
        "revisionHistoryLimit": 5,
        "selector": { "matchLabels": plan.selector() },
        "strategy": {
            "type": "RollingUpdate",
            // Never fewer than there were: what a pod leaves is taken over by one that is there.
            "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": 0 },
        },
        "template": template(plan),
    });
    if let Some(replicas) = plan.replicas {
        spec["replicas"] = json!(replicas);
    }
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": plan.metadata(&plan.name), "spec": spec })
}

fn template(plan: &Plan) -> Value {
    let spread = |topology: &str| {
        json!({
            "labelSelector": { "matchLabels": plan.selector() },
            "maxSkew": 1,
            "topologyKey": topology,
            "whenUnsatisfiable": "ScheduleAnyway",
        })
    };
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "containers": [container(plan)],
        // Otherwise every Service of the namespace adds variables, and those of one named longshore begin like our settings.
        "enableServiceLinks": false,
        "securityContext": {
            "fsGroup": USER,
            // A large shared volume is not gone through at every start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "terminationGracePeriodSeconds": plan.grace_seconds(),
        "topologySpreadConstraints": [spread("topology.kubernetes.io/zone"), spread("kubernetes.io/hostname")],
        "volumes": plan.places.volumes,
    });
    if let Some(account) = &plan.service_account {
        spec["serviceAccountName"] = json!(account);
    }
    let mut labels = plan.labels();
    if plan.azure {
        // Without it Azure's webhook gives the pod no token of its account.
        labels["azure.workload.identity/use"] = json!("true");
    }
    json!({
        "metadata": { "annotations": { "checksum/config": plan.config.checksum() }, "labels": labels },
        "spec": spec,
    })
}

fn container(plan: &Plan) -> Value {
    let environment = [&plan.environment[..], &plan.spans].concat();
    json!({
        "args": plan.arguments,
        "env": environment,
        "image": plan.image,
        "imagePullPolicy": "IfNotPresent",
        // The loop turns many times a second; `/livez` itself waits a minute before it calls that a hang, and never asks the broker.
        "livenessProbe": probe("/livez", 10, 3),
        "name": "longshore",
        "ports": [{ "containerPort": plan.port, "name": "http", "protocol": "TCP" }],
        "readinessProbe": probe("/readyz", 5, 2),
        // No limit of CPU: a worker that is throttled polls late. A limit of memory equal to the request: what is promised is there.
        "resources": {
            "limits": { "memory": mebibytes(plan.memory) },
            "requests": { "cpu": plan.cpu, "memory": mebibytes(plan.memory) },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "privileged": false,
            "readOnlyRootFilesystem": true,
        },
        // The pages are there when settings and topics are right, which asks the brokers: two minutes for those.
        "startupProbe": probe("/livez", 2, 60),
        "volumeMounts": plan.places.mounts,
        "workingDir": WORK_FOLDER,
    })
}

pub(super) fn probe(path: &str, period_seconds: u32, failures: u32) -> Value {
    json!({
        "failureThreshold": failures,
        "httpGet": { "path": path, "port": "http" },
        "periodSeconds": period_seconds,
        "timeoutSeconds": 2,
    })
}

/// One pod at a time leaves for a drained node; one that is not ready holds nobody up.
pub(super) fn disruption_budget(plan: &Plan) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": plan.metadata(&plan.name),
        "spec": {
            "maxUnavailable": 1,
            "selector": { "matchLabels": plan.selector() },
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    })
}
