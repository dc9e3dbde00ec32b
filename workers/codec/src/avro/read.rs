//! Reading a datum along its plan.
//!
//! Read here and not through the library's deserializer, which knows no limit on depth or on elements without bytes,
//! allocates what a length claims before it looks for the bytes, gives decimals without their scale, and takes four times
//! as long (`docs/benchmarks.md`). The tests hold both against each other.

use compact_str::CompactString;
use longshore_core::{Failure, Map, Reason, Value};

use super::plan::{Node, NodeId, Plan};
use super::{HEADER_BYTES, decimal};
use crate::fields::distinct;
use crate::json::{DEPTH_MAX, Limits};

/// Reads one datum that fills the payload.
pub(super) fn read_datum(plan: &Plan, bytes: &[u8], limits: &Limits) -> Result<Value, Failure> {
    // A transparent record takes a level of its own around each level of content.
    let levels_left = limits.depth.min(DEPTH_MAX) * 2 + 1;
    let mut datum = Datum { plan, rest: bytes, levels_left, values_left: limits.values };
    let read = datum.value(0);
    let at = HEADER_BYTES + bytes.len() - datum.rest.len();
    match read {
        Ok(value) if datum.rest.is_empty() => Ok(value),
        Ok(_) => Err(Failure::reject(Reason::DecodeTrailing, format!("bytes after the datum at byte {at}"))),
        Err(fault) => Err(fault.failure(at, limits)),
    }
}

/// What is wrong with a datum.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Malformed,
    Depth,
    Values,
}

impl Fault {
    #[cold]
    fn failure(self, at: usize, limits: &Limits) -> Failure {
        match self {
            Self::Malformed => {
                Failure::reject(Reason::DecodeAvro, format!("not valid for its schema at byte {at}"))
            }
            Self::Depth => Failure::reject(Reason::DecodeDepth, format!("nested too deep at byte {at}")),
            Self::Values => Failure::reject(
                Reason::DecodeTooLarge,
                format!("more than {} values at byte {at}", limits.values),
            ),
        }
    }
}

struct Datum<'a> {
    plan: &'a Plan,
    rest: &'a [u8],
    levels_left: u32,
    values_left: u32,
}

impl<'a> Datum<'a> {
    fn value(&mut self, id: NodeId) -> Result<Value, Fault> {
        // Nulls and empty records take no bytes, so a count of elements is bounded by this alone.
        self.values_left = self.values_left.checked_sub(1).ok_or(Fault::Values)?;
        let plan = self.plan;
        match plan.node(id) {
            Node::Null => Ok(Value::Null),
            Node::Boolean => self.boolean(),
            Node::Int => {
                i32::try_from(self.long()?).map(|number| Value::Int(number.into())).or(Err(Fault::Malformed))
            }
            Node::Long => Ok(Value::Int(self.long()?)),
            Node::Float => finite(f32::from_le_bytes(self.array()?).into()),
            Node::Double => finite(f64::from_le_bytes(self.array()?)),
            Node::Bytes => Ok(Value::Bytes(self.sized()?.into())),
            Node::Text => Ok(Value::Text(self.text()?.into())),
            Node::Fixed(size) => Ok(Value::Bytes(self.take(*size)?.into())),
            Node::Decimal { scale, fixed: Some(size) } => Ok(decimal::to_value(self.take(*size)?, *scale)),
            Node::Decimal { scale, fixed: None } => Ok(decimal::to_value(self.sized()?, *scale)),
            Node::Enum(symbols) => Ok(Value::Text(self.choice(symbols)?.clone())),
            Node::Union(branches) => {
                let branch = *self.choice(branches)?;
                self.value(branch)
            }
            Node::Array(items) => self.nested(|datum| datum.items(*items)),
            Node::Map(values) => self.nested(|datum| datum.entries(*values)),
            Node::Record(fields) => self.nested(|datum| datum.record(fields)),
            Node::Transparent(inner) => self.nested(|datum| datum.value(*inner)),
            Node::Unknown => Err(Fault::Malformed),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<Value, Fault>) -> Result<Value, Fault> {
        self.levels_left = self.levels_left.checked_sub(1).ok_or(Fault::Depth)?;
        let value = read(self)?;
        self.levels_left += 1;
        Ok(value)
    }

    fn record(&mut self, fields: &'a [(CompactString, NodeId)]) -> Result<Value, Fault> {
        let mut read = Vec::with_capacity(fields.len());
        for (name, id) in fields {
            let value = self.value(*id)?;
            read.push((name.clone(), value));
        }
        Ok(Value::Object(Map::from_fields(read)))
    }

    fn items(&mut self, id: NodeId) -> Result<Value, Fault> {
        // The announced count is the payload's word, so it reserves nothing.
        let mut list = Vec::new();
        while let Some(count) = self.block()? {
            for _ in 0..count {
                list.push(self.value(id)?);
            }
        }
        Ok(Value::Array(list))
    }

    fn entries(&mut self, id: NodeId) -> Result<Value, Fault> {
        let mut fields = Vec::new();
        while let Some(count) = self.block()? {
            for _ in 0..count {
                let name = CompactString::new(self.text()?);
                fields.push((name, self.value(id)?));
            }
        }
        Ok(Value::Object(distinct(fields)))
    }

    /// The count of the next block, none at the end. A negative count is followed by the block's size in bytes.
    fn block(&mut self) -> Result<Option<u64>, Fault> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        Ok(Some(count.unsigned_abs()).filter(|count| *count > 0))
    }

    fn choice<T>(&mut self, choices: &'a [T]) -> Result<&'a T, Fault> {
        let place = usize::try_from(self.long()?).or(Err(Fault::Malformed))?;
        choices.get(place).ok_or(Fault::Malformed)
    }

    fn boolean(&mut self) -> Result<Value, Fault> {
        match self.array()? {
            [0] => Ok(Value::Bool(false)),
            [1] => Ok(Value::Bool(true)),
            _ => Err(Fault::Malformed),
        }
    }

    fn text(&mut self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.sized()?).or(Err(Fault::Malformed))
    }

    fn sized(&mut self) -> Result<&'a [u8], Fault> {
        let size = usize::try_from(self.long()?).or(Err(Fault::Malformed))?;
        self.take(size)
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or(Fault::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], Fault> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Fault::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Seven bits a byte, lowest first, then zigzag.
    fn long(&mut self) -> Result<i64, Fault> {
        let mut bits = 0u64;
        for (place, byte) in self.rest.iter().take(10).enumerate() {
            let low = u64::from(byte & 0x7f);
            if place == 9 && *byte > 1 {
                break;
            }
            bits |= low << (7 * place);
            if *byte < 0x80 {
                self.rest = &self.rest[place + 1..];
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err(Fault::Malformed)
    }
}

fn finite(number: f64) -> Result<Value, Fault> {
    if number.is_finite() { Ok(Value::Float(number)) } else { Err(Fault::Malformed) }
}
