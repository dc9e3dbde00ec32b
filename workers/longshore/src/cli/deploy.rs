//! `longshore deploy`: what can be typed about running a fleet elsewhere.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Overrides;

pub(crate) const EXAMPLES: &str = "\
Examples:
  longshore deploy render my-logs/pipeline.yaml --image registry/longshore:1 |
    kubectl apply -f -
  longshore deploy render my-logs/pipeline.yaml --overlay keda --partitions 64
  longshore deploy render my-logs/pipeline.yaml --volume-claim shared-logs
  longshore deploy render my-logs/pipeline.yaml --out manifests -n logs

No secret is read or written: what the Secret has to hold is said at the end.
docs/kubernetes.md tells where each value comes from.";

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    #[command(subcommand)]
    pub(crate) action: DeployAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeployAction {
    /// Write the Kubernetes manifests of a pipeline's fleet; needs no cluster.
    #[command(after_help = EXAMPLES)]
    Render(DeployRender),
}

/// Who decides how many pods there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Overlay {
    /// You do, with --replicas.
    Plain,
    /// KEDA does, by the time to drain.
    Keda,
}

/// A manifest that not every cluster can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Without {
    /// Needs the Prometheus operator.
    PodMonitor,
    /// Lets pods reach brokers, sinks and DNS alone.
    NetworkPolicy,
}

#[derive(Debug, Args)]
pub(crate) struct DeployRender {
    /// The pipeline file.
    pub(crate) pipeline: PathBuf,
    /// Who decides how many pods there are: plain or keda.
    #[arg(long, value_enum, default_value_t = Overlay::Plain, hide_possible_values = true)]
    pub(crate) overlay: Overlay,
    /// The image; deploy/Dockerfile builds one.
    #[arg(long, default_value = concat!("longshore:", env!("CARGO_PKG_VERSION")))]
    pub(crate) image: String,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// The name of everything; longshore-PIPELINE when left out.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Pods, without an autoscaler.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) replicas: u32,
    /// Partitions of each input topic: more pods than these in all have nothing to do.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) partitions: u32,
    /// With keda: no pod at all while nothing is to do.
    #[arg(long)]
    pub(crate) scale_to_zero: bool,
    /// With keda: records behind for each pod from which on pods are added whatever
    /// the workers say; only a backstop.
    #[arg(long, value_name = "RECORDS", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub(crate) backstop_lag: u64,
    /// With keda: a process of its own answers for the fleet (KEDA's external scaler),
    /// also while no pod is there; without it any pod does.
    #[arg(long)]
    pub(crate) scaler: bool,
    /// With --scaler: the Secret with tls.crt, tls.key and ca.crt, as cert-manager makes
    /// it; KEDA then asks over TLS.
    #[arg(long, value_name = "SECRET", requires = "scaler")]
    pub(crate) scaler_tls: Option<String>,
    /// A variable for spans and metrics, such as
    /// OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318; as often as needed.
    #[arg(long, value_name = "OTEL_NAME=VALUE")]
    pub(crate) otel: Vec<String>,
    /// CPU that a pod is promised, as Kubernetes writes it.
    #[arg(long, default_value = "500m")]
    pub(crate) cpu: String,
    /// The claim of a volume that all pods share (ReadWriteMany), for sinks that write
    /// to a folder.
    #[arg(long, value_name = "CLAIM")]
    pub(crate) volume_claim: Option<String>,
    /// The Secret with what the file names by ${file:...} and, where a password is
    /// meant, by ${NAME}; NAME-secrets when left out.
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Option<String>,
    /// The service account, where a role of the cloud is bound to one.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) service_account: Option<String>,
    /// Leave out pod-monitor or network-policy.
    #[arg(long, value_enum, value_name = "KIND", hide_possible_values = true)]
    pub(crate) without: Vec<Without>,
    /// Write a file for each manifest and a kustomization.yaml into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}
