//! `longshore schema check DIR`.

use longshore_codec::compat;
use serde::Serialize;

use crate::cli::{Schema, SchemaAction};
use crate::exit::{End, Exit};
use crate::output::{Output, counted};

#[derive(Serialize)]
struct Row {
    file: String,
    message: String,
}

pub(crate) fn run(arguments: &Schema, output: &Output) -> Result<(), End> {
    let SchemaAction::Check { dir } = &arguments.action;
    let report = compat::check(dir);
    let rows: Vec<Row> =
        report.findings.iter().map(|f| Row { file: f.file.clone(), message: f.message.clone() }).collect();
    if rows.is_empty() {
        output.note(format_args!("{} schemas in {}: all well", report.schemas, dir.display()));
        if output.format() != crate::cli::Format::Table {
            output.rows(&[], &rows, |_| Vec::new())?;
        }
        return Ok(());
    }
    output.rows(&["FILE", "FINDING"], &rows, |row| vec![row.file.clone(), row.message.clone()])?;
    Err(End::new(Exit::Failed, format!("{} in {}", counted(rows.len() as u64, "finding"), dir.display())))
}
