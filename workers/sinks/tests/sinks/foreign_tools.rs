//! What tools that know nothing of us make of the files.

use std::process::Command;

use crate::helper::*;

/// Scenario: `zstdcat` and `zstd --test` on a published file, its trailer in a skippable frame. Guarantee: they read the
/// rows and nothing else. (Without the tool on this machine the crate's own streaming reader stands in, as in every
/// other test.)
#[tokio::test]
async fn zstdcat_reads_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = writer(folder.path(), FORMATS[0], 1).await;
    let mut expected = Vec::new();
    for start in (0..3000).step_by(1000) {
        let block = block_of(start..start + 1000, 1500);
        expected.extend_from_slice(&block.bytes);
        writer.append(&block).await.unwrap();
    }
    writer.seal().unwrap();
    writer.publish(&trailer(0, 1, 0..3000)).await.unwrap();
    let path = data_file(folder.path(), 0, FORMATS[0]);
    match Command::new("zstdcat").arg(&path).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(output.stdout == expected);
            let tested = Command::new("zstd").arg("--test").arg(&path).output().unwrap();
            assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
    assert!(zstd::stream::decode_all(std::fs::File::open(&path).unwrap()).unwrap() == expected);
}
