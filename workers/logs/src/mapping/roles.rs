//! From a field's name to its meaning, without hashing: names are looked up among those of the same length.

use compact_str::CompactString;
use longshore_conditions::BuildError;
use longshore_core::{Map, Value};

use super::MappingOptions;

/// The longest name that can have a meaning, bytes.
const NAME_MAX: usize = 64;

/// What a field means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Body,
    Time,
    TimeNanos,
    ObservedNanos,
    Severity,
    SeverityNumber,
    TraceId,
    SpanId,
    TraceParent,
    TraceFlags,
    EventName,
    Attributes,
    Resource,
}

const ROLES: usize = Role::Resource as usize + 1;

/// Names of the log model itself; they mean what they say in every pipeline, so that one pipeline can read what another
/// wrote.
const OWN: &[(&str, Role)] = &[
    ("time_unix_nano", Role::TimeNanos),
    ("observed_time_unix_nano", Role::ObservedNanos),
    ("severity_number", Role::SeverityNumber),
    ("trace_flags", Role::TraceFlags),
    ("event_name", Role::EventName),
    ("attributes", Role::Attributes),
    ("resource", Role::Resource),
];

struct Known {
    /// First and last byte of the name: among names of one length hardly two share them, so that a field without a role
    /// is told apart without comparing texts.
    ends: [u8; 2],
    name: CompactString,
    role: Role,
    /// The place among the names of its role; a smaller one wins.
    rank: u16,
}

/// The meaning of names.
pub(super) struct Roles {
    by_length: Vec<Vec<Known>>,
}

impl Roles {
    /// Gathers the names of all roles.
    pub(super) fn new(options: &MappingOptions) -> Result<Self, BuildError> {
        let mut roles = Self { by_length: Vec::new() };
        let lists = [
            ("body", &options.body, Role::Body),
            ("time", &options.time, Role::Time),
            ("severity", &options.severity, Role::Severity),
            ("trace_id", &options.trace_id, Role::TraceId),
            ("span_id", &options.span_id, Role::SpanId),
            ("traceparent", &options.traceparent, Role::TraceParent),
        ];
        for (name, role) in OWN {
            roles.add(name, *role, 0).map_err(|message| BuildError::new("mapping", message))?;
        }
        for (list, names, role) in lists {
            for (rank, name) in (0u16..).zip(names) {
                let field = || format!("mapping.{list}[{rank}]");
                roles.add(name, role, rank).map_err(|message| BuildError::new(field(), message))?;
            }
        }
        Ok(roles)
    }

    fn add(&mut self, name: &str, role: Role, rank: u16) -> Result<(), String> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(format!("a field's name has 1 to {NAME_MAX} bytes"));
        }
        if self.find(name).is_some() {
            return Err(format!("`{name}` has a meaning already"));
        }
        if self.by_length.len() <= name.len() {
            self.by_length.resize_with(name.len() + 1, Vec::new);
        }
        self.by_length[name.len()].push(Known { ends: ends(name), name: name.into(), role, rank });
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Known> {
        let ends = ends(name);
        self.by_length.get(name.len())?.iter().find(|known| known.ends == ends && known.name == name)
    }

    /// Puts a field to its role, or to the rest. Of several fields of one role the preferred one stays. A null has no
    /// meaning to give: writers of typed rows (Avro) spell an absent field so, and it is the same as leaving it out.
    pub(super) fn sort_in(&self, name: CompactString, value: Value, found: &mut Found, rest: &mut Map) {
        let Some(known) = self.find(&name) else {
            rest.push(name, value);
            return;
        };
        if matches!(value, Value::Null) {
            return;
        }
        let slot = &mut found.fields[known.role as usize];
        match slot {
            Some(held) if held.rank <= known.rank => rest.push(name, value),
            Some(_) | None => {
                if let Some(less) = slot.replace(Field { rank: known.rank, name, value }) {
                    rest.push(less.name, less.value);
                }
            }
        }
    }
}

fn ends(name: &str) -> [u8; 2] {
    match name.as_bytes() {
        [] => [0, 0],
        [only] => [*only, *only],
        [first, .., last] => [*first, *last],
    }
}

struct Field {
    rank: u16,
    name: CompactString,
    value: Value,
}

/// The fields that have a role, at most one each.
#[derive(Default)]
pub(super) struct Found {
    fields: [Option<Field>; ROLES],
}

impl Found {
    /// Takes the field of a role out, with the name it came under.
    pub(super) fn take(&mut self, role: Role) -> Option<(CompactString, Value)> {
        let field = self.fields[role as usize].take()?;
        Some((field.name, field.value))
    }
}
