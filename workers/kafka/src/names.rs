//! The names of a pipeline's own topics and of its group (design section 4, "The retry lane").

/// The dead-letter topic of an input topic.
pub fn dead_letter_topic(topic: &str, pipeline: &str) -> String {
    format!("{topic}.{pipeline}.dlq")
}

/// The retry topic of an input topic.
pub fn retry_topic(topic: &str, pipeline: &str) -> String {
    format!("{topic}.{pipeline}.retry")
}

/// The pipeline's journal.
pub fn journal_topic(pipeline: &str) -> String {
    format!("longshore.{pipeline}.journal")
}

/// The pipeline's consumer group, unless `input.group` says otherwise.
pub fn default_group(pipeline: &str) -> String {
    format!("longshore.{pipeline}")
}

/// The consumer's `client.id` when the pipeline file sets none.
pub(crate) const CLIENT_ID: &str = "longshore";

/// What stands in a worker's `client.id` before the port of its pages.
const HTTP: &str = "longshore.http.";

/// The `client.id` of a worker whose pages are at this port: what the pipeline file says (`kafka.client.client.id`), and
/// `longshore.http.PORT` behind it. So whoever sees the members of a group knows where to ask each one (`/status`), and a port that all pods share
/// leaves them one `client.id`, by which brokers count quotas.
pub(crate) fn worker_client_id(prefix: &str, http_port: u16) -> String {
    match prefix {
        CLIENT_ID | "" => format!("{HTTP}{http_port}"),
        prefix => format!("{prefix}.{HTTP}{http_port}"),
    }
}

/// The port of the pages that a member's `client.id` tells; none for a member that is no worker, or one without pages.
pub fn http_port(client_id: &str) -> Option<u16> {
    let (before, port) = client_id.rsplit_once(HTTP)?;
    let whole = before.is_empty() || before.ends_with('.');
    // As it is written by us: no sign, no zeros before it.
    let port = port.parse().ok().filter(|number: &u16| *number > 0 && number.to_string() == port);
    port.filter(|_| whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: what a worker writes is read again, and nothing else is.
    #[test]
    fn a_client_id_tells_the_port() {
        for (prefix, written) in [
            ("longshore", "longshore.http.8080"),
            ("", "longshore.http.8080"),
            ("billing", "billing.longshore.http.8080"),
        ] {
            assert_eq!(worker_client_id(prefix, 8080), written);
            assert_eq!(http_port(written), Some(8080));
        }
        for foreign in [
            "",
            "longshore",
            "longshore.http.",
            "longshore.http.0",
            "longshore.http.08",
            "longshore.http.+8",
            "longshore.http.65536",
            "longshore.http.22/x",
            "longshore.http.22 ",
            "evillongshore.http.22",
            "rdkafka",
        ] {
            assert_eq!(http_port(foreign), None, "{foreign}");
        }
    }
}
