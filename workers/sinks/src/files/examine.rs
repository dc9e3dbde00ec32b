//! Whether a pair's folders can be written, before anything of the pair is.

use std::fs;
use std::path::Path;

use longshore_core::{Failure, Reason, WriterId};

use super::layout::Layout;
use super::spool::{Spool, sync_folder};
use crate::io::classify;

/// Does with a byte what a publish does with a segment: writes it to a file, makes it last, gives it a second name, and makes that name
/// last. Where the pair's folders are not made yet it is done in the one that they would be made in. Both names are gone at the end.
pub(super) fn examine(layout: &Layout, writer: WriterId) -> Result<(), Failure> {
    let staging = nearest(&layout.staging)?;
    let data = nearest(&layout.data)?;
    let file = Spool::create(staging, writer)?;
    file.write(b"x", 0)?;
    file.finish(1)?;
    let name = data.join(format!(".{writer}.probe"));
    let linked = file.link(&name).and_then(|_| sync_folder(data));
    // The answer is what counts; a name that cannot be removed would have told of a right that is missing at its making.
    let _ = fs::remove_file(&name);
    linked
}

/// The folder itself, or the nearest one above it that is there.
fn nearest(folder: &Path) -> Result<&Path, Failure> {
    for folder in folder.ancestors() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        match fs::metadata(folder) {
            Ok(found) if found.is_dir() => return Ok(folder),
            Ok(_) => {
                let detail = format_args!("{} is no folder", folder.display());
                return Err(Failure::halt(Reason::SinkMissing, detail));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(classify("look at", folder, &error)),
        }
    }
    Err(Failure::halt(Reason::SinkMissing, format_args!("{}: no folder above it", folder.display())))
}

#[cfg(test)]
mod tests {
    use longshore_core::{Generation, PairId};

    use super::*;
    use crate::files::Format;

    fn examined(root: &Path) -> Result<(), Failure> {
        let layout = Layout::new(root, Generation(1), &PairId::new("in", 0), Format::JsonlZst);
        examine(&layout, WriterId(7))
    }

    /// Guarantee: nothing is left of the look, whether the sink's folder is there or not; what stands in the way is named.
    #[test]
    fn a_look_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        examined(&folder.path().join("out")).unwrap();
        examined(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("file"), "").unwrap();
        let failure = examined(&folder.path().join("file/out")).unwrap_err();
        assert!(failure.reason == Reason::SinkMissing || failure.detail().contains("file"), "{failure}");
        // A file system on which nobody may write anything.
        let failure = examined(Path::new("/proc/longshore/out")).unwrap_err();
        assert!(failure.detail().contains("/proc"), "{failure}");
    }
}
