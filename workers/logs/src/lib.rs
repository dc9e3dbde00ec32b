//! Log steps: parse, map to the OpenTelemetry log data model, set, rename, remove, filter.
