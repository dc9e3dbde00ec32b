//! Rows in Parquet files: read back by a Parquet reader and counted, and the ledger beside them held against them. Nothing of the sink is
//! asked but its files.

use std::path::Path;

use super::account::Count;
use super::evidence::Pipeline;

#[cfg(not(feature = "objects"))]
impl Count {
    pub(super) fn parquet(&mut self, _: &Pipeline, _: &Path) -> anyhow::Result<()> {
        anyhow::bail!("this build was made without the feature `objects`, and the run's rows are Parquet")
    }
}

#[cfg(feature = "objects")]
impl Count {
    /// Counts the rows of a run's folder, which may have been moved since.
    pub(super) fn parquet(&mut self, pipeline: &Pipeline, folder: &Path) -> anyhow::Result<()> {
        use std::sync::Arc;

        use anyhow::Context as _;
        use longshore_core::Failure;
        use longshore_sinks::inspect::Severity;
        use longshore_sinks::objects::Place;
        use longshore_sinks::objects::inspect::{Asked, Layout, Source, rows_of_parquet, verify};

        use super::expect::Demo;

        let files = folder.join(&pipeline.files);
        let words = |failure: Failure| anyhow::anyhow!("{}: {failure}", files.display());
        let place = Place::Folder(files.clone());
        let source = Source::new(&place, Layout::Entries, &pipeline.name, None).map_err(words)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().context("a runtime")?;
        let judged = runtime
            .block_on(verify(&source, Asked { rows: true, small: 0 }, &(Arc::new(|_| {}) as _)))
            .map_err(words)?;
        for finding in judged.findings.iter().filter(|finding| finding.severity == Severity::Fault) {
            self.account.fault(format!("ledger: {finding}"));
        }
        let column = match pipeline.demo {
            Demo::Logs => "body",
            Demo::Documents => "text",
        };
        let root = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        let root = format!("{}/", root.display());
        let read = rows_of_parquet(&source, column, |file, number, origin, value| {
            let file = file.strip_prefix(root.trim_start_matches('/')).unwrap_or(file);
            let place = format!("{file} row {number} ({origin})");
            let json = serde_json::json!({ column: value }).to_string();
            if self.row(&place, origin, &json) {
                self.in_order(&place, origin);
            }
        });
        self.account.filtered = runtime.block_on(read).map_err(words)?;
        Ok(())
    }
}
