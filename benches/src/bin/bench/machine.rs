//! What the figures were measured on.

use std::fs;

use longshore_broker::Versions;

/// Processor, memory and kernel, and what else takes part, one a line.
pub(crate) fn describe(versions: Option<&Versions>) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let gibibytes = memory.trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) / (1 << 20);
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let mut text =
        format!("cores    {cores} ({model})\nmemory   {gibibytes} GiB\nkernel   Linux {}\n", kernel.trim());
    if let Some(Versions { kafka, java, .. }) = versions {
        text.push_str(&format!(
            "broker   Apache Kafka {kafka} on Java {java}, one node, on the same cores\nclient   librdkafka 2.12.1\n"
        ));
    }
    text
}

/// The value of the first `name : value` line of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}
