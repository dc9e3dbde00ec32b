//! Settings of the topics that a pipeline owns (design section 4, "The retry lane").

/// A dead-letter topic's: the broker's time of arrival counts, since with the record's own time retention would delete
/// the letter of an old record minutes after it lands; thirty days to look at it.
pub(crate) fn letter_settings() -> Vec<(String, String)> {
    let settings = [
        ("message.timestamp.type", "LogAppendTime"),
        ("cleanup.policy", "delete"),
        ("retention.ms", "2592000000"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}
