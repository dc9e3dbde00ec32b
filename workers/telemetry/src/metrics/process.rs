//! The process's memory, read from `/proc/self/status` at each scrape.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

/// Resident memory now and at its peak; tells nothing where `/proc` does not exist.
#[derive(Debug)]
pub(super) struct ProcessMemory;

impl Collector for ProcessMemory {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return Ok(()) };
        let figures = [
            ("process_resident_memory_bytes", "Resident memory", field_bytes(&status, "VmRSS:")),
            (
                "process_resident_memory_peak_bytes",
                "Peak of the resident memory",
                field_bytes(&status, "VmHWM:"),
            ),
        ];
        for (name, help, bytes) in figures {
            let Some(bytes) = bytes else { continue };
            let gauge = ConstGauge::new(bytes);
            let metric =
                encoder.encode_descriptor(name, help, None, prometheus_client::metrics::MetricType::Gauge)?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// A field of `/proc/self/status`, which counts in KiB.
fn field_bytes(status: &str, field: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: i64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kibibytes_become_bytes() {
        assert_eq!(field_bytes("Name:\tx\nVmRSS:\t    12 kB\n", "VmRSS:"), Some(12_288));
        assert_eq!(field_bytes("Name:\tx\n", "VmRSS:"), None);
    }
}
