//! Bare paths: `severity_text`, `attributes.app`, `attributes["http.status"].code`.

use cel::common::ast::{Expr, LiteralValue, operators};
use cel::parser::Expression as Tree;
use longshore_core::{Item, Value};

/// Variables that are a record's field under the same name.
const FIELDS: &[&str] = &[
    "added",
    "attributes",
    "body",
    "created",
    "event_name",
    "id",
    "metadata",
    "resource",
    "severity_number",
    "severity_text",
    "source",
    "span_id",
    "text",
    "trace_flags",
    "trace_id",
];

/// A field of a record and names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    field: String,
    names: Vec<String>,
}

impl Path {
    /// The path that an expression spells, if it spells one that leads through a record's fields. The raw `body` is none:
    /// it is no field yet.
    pub(crate) fn of(tree: &Tree) -> Option<Self> {
        let mut names = Vec::new();
        let mut tree = tree;
        let field = loop {
            tree = match &tree.expr {
                Expr::Ident(name) => break name.clone(),
                Expr::Select(select) if !select.test => {
                    names.push(select.field.clone());
                    &select.operand
                }
                Expr::Call(call) if call.func_name == operators::INDEX => {
                    let [operand, index] = call.args.as_slice() else { return None };
                    let Expr::Literal(LiteralValue::String(name)) = &index.expr else { return None };
                    names.push(name.inner().to_owned());
                    operand
                }
                _ => return None,
            };
        };
        names.reverse();
        (FIELDS.contains(&field.as_str()) && (field != "body" || !names.is_empty()))
            .then_some(Self { field, names })
    }

    /// The value at its end.
    pub(crate) fn get<'a>(&self, item: &'a Item) -> Option<&'a Value> {
        let field = item.fields()?.get(&self.field)?;
        self.names.iter().try_fold(field, |value, name| value.as_object()?.get(name))
    }
}
