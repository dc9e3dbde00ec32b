//! A schema as reading needs it: references looked up once, names ready to be copied.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};
use compact_str::CompactString;

use super::{resolve, transparent};

/// The place of a node in its plan.
pub(super) type NodeId = usize;

/// The nodes of a schema, which may point at each other in circles; the root is the first.
pub(super) struct Plan {
    nodes: Vec<Node>,
}

/// How one value lies in a datum.
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    /// Unscaled bytes, with their length in front unless it is fixed.
    Decimal {
        scale: usize,
        fixed: Option<usize>,
    },
    Enum(Vec<CompactString>),
    Array(NodeId),
    Map(NodeId),
    Record(Vec<(CompactString, NodeId)>),
    /// A record that stands for its only field.
    Transparent(NodeId),
    Union(Vec<NodeId>),
    /// A reference to nothing; the library does not let such a schema through.
    Unknown,
}

impl Plan {
    pub(super) fn new(schema: &Schema, names: &HashMap<Name, &'static Schema>) -> Self {
        let mut building = Building { nodes: Vec::new(), known: HashMap::new(), names };
        building.node(schema);
        Self { nodes: building.nodes }
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id).unwrap_or(&Node::Unknown)
    }
}

struct Building<'a> {
    nodes: Vec<Node>,
    known: HashMap<Name, NodeId>,
    names: &'a HashMap<Name, &'static Schema>,
}

impl Building<'_> {
    fn node(&mut self, schema: &Schema) -> NodeId {
        let schema = resolve(self.names, schema);
        if let Some(known) = schema.name().and_then(|name| self.known.get(name)) {
            return *known;
        }
        // The place is taken before the content is worked out, so that the content can point back at it.
        let id = self.nodes.len();
        self.nodes.push(Node::Unknown);
        if let Some(name) = schema.name() {
            self.known.insert(name.clone(), id);
        }
        self.nodes[id] = self.content(schema);
        id
    }

    fn content(&mut self, schema: &Schema) -> Node {
        match schema {
            Schema::Null => Node::Null,
            Schema::Boolean => Node::Boolean,
            Schema::Int | Schema::Date | Schema::TimeMillis => Node::Int,
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Node::Long,
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Node::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Node::Text,
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                Node::Fixed(fixed.size)
            }
            Schema::Decimal(kind) => Node::Decimal {
                scale: kind.scale,
                fixed: match &kind.inner {
                    InnerDecimalSchema::Bytes => None,
                    InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
                },
            },
            Schema::Enum(kind) => Node::Enum(kind.symbols.iter().map(CompactString::from).collect()),
            Schema::Array(array) => Node::Array(self.node(&array.items)),
            Schema::Map(map) => Node::Map(self.node(&map.types)),
            Schema::Record(record) => match transparent(record) {
                Some(inner) => Node::Transparent(self.node(inner)),
                None => {
                    let fields = record
                        .fields
                        .iter()
                        .map(|field| (CompactString::from(&field.name), self.node(&field.schema)));
                    Node::Record(fields.collect())
                }
            },
            Schema::Union(union) => {
                Node::Union(union.variants().iter().map(|branch| self.node(branch)).collect())
            }
            Schema::Ref { .. } => Node::Unknown,
        }
    }
}
