//! Kafka's own command-line programs, run from the broker's class path: an independent witness for tests.

/// A command-line program of Apache Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// `kafka-console-producer`: records from standard input.
    ConsoleProducer,
    /// `kafka-console-consumer`
    ConsoleConsumer,
    /// `kafka-topics`
    Topics,
    /// `kafka-consumer-groups`
    ConsumerGroups,
    /// `kafka-configs`
    Configs,
    /// `kafka-acls`
    Acls,
    /// `kafka-get-offsets`
    GetOffsets,
    /// `kafka-delete-records`
    DeleteRecords,
}

impl Tool {
    /// The class with `main`.
    pub(crate) fn main_class(self) -> &'static str {
        match self {
            Self::ConsoleProducer => "org.apache.kafka.tools.ConsoleProducer",
            Self::ConsoleConsumer => "org.apache.kafka.tools.consumer.ConsoleConsumer",
            Self::Topics => "org.apache.kafka.tools.TopicCommand",
            Self::ConsumerGroups => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            Self::Configs => "kafka.admin.ConfigCommand",
            Self::Acls => "org.apache.kafka.tools.AclCommand",
            Self::GetOffsets => "org.apache.kafka.tools.GetOffsetShell",
            Self::DeleteRecords => "org.apache.kafka.tools.DeleteRecordsCommand",
        }
    }
}

/// What a command-line program wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutput {
    /// Standard output.
    pub stdout: String,
    /// Standard error: warnings, and what some programs report with exit code 0.
    pub stderr: String,
}
