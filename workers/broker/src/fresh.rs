//! A formatted data folder without the format step: the template is copied and given its own identities.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::BrokerError;
use crate::options::Data;
use crate::ports::random;

/// Where the nodes of one cluster keep their folders.
#[derive(Debug)]
pub(crate) enum Root {
    /// Removed on drop.
    Temporary(tempfile::TempDir),
    /// Left as it is.
    At(PathBuf),
}

impl Root {
    /// Makes or opens the folder.
    pub(crate) fn open(data: &Data) -> Result<Self, BrokerError> {
        match data {
            Data::Temporary => tempfile::Builder::new()
                .prefix("longshore-broker-")
                .tempdir()
                .map(Self::Temporary)
                .map_err(BrokerError::io("make a temporary data folder")),
            Data::At(path) => {
                fs::create_dir_all(path).map_err(BrokerError::io(format!("make {}", path.display())))?;
                let absolute =
                    path.canonicalize().map_err(BrokerError::io(format!("open {}", path.display())))?;
                Ok(Self::At(absolute))
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::At(path) => path,
        }
    }

    /// The folder, if nobody wants it afterwards.
    pub(crate) fn scratch(&self) -> Option<PathBuf> {
        match self {
            Self::Temporary(folder) => Some(folder.path().to_owned()),
            Self::At(_) => None,
        }
    }

    /// The folder of one node.
    pub(crate) fn node(&self, node: u32) -> PathBuf {
        self.path().join(format!("node-{node}"))
    }
}

/// Formats what is not formatted yet: all nodes of a new cluster, or none of one that ran here before.
///
/// # Errors
/// When a cluster of another size ran in this folder.
pub(crate) fn format(root: &Root, nodes: u32, template: &Path) -> Result<(), BrokerError> {
    let formatted = |node: u32| log_folder(&root.node(node)).join("meta.properties").is_file();
    let known = (1..=3).filter(|node| formatted(*node)).count();
    if known == nodes as usize {
        return Ok(());
    }
    if known > 0 {
        let path = root.path().display();
        return Err(BrokerError::Options(format!("{path} holds a cluster of {known} nodes, not {nodes}")));
    }
    // Each cluster has its own id, as in the world: ledgers tell clusters apart by it.
    let cluster = random_id();
    for node in 1..=nodes {
        let folder = log_folder(&root.node(node));
        let action = || format!("format {}", folder.display());
        fs::create_dir_all(&folder).map_err(BrokerError::io(action()))?;
        fs::copy(template.join("bootstrap.checkpoint"), folder.join("bootstrap.checkpoint"))
            .map_err(BrokerError::io(action()))?;
        let meta = format!("version=1\ncluster.id={cluster}\nnode.id={node}\ndirectory.id={}\n", random_id());
        fs::write(folder.join("meta.properties"), meta).map_err(BrokerError::io(action()))?;
    }
    Ok(())
}

/// Kafka's `log.dirs` of a node's folder.
pub(crate) fn log_folder(node: &Path) -> PathBuf {
    node.join("log")
}

/// A Kafka `Uuid`: 16 random bytes as 22 characters of base64url. Only letters, so that none starts with `-`.
fn random_id() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
    let mut bits = (u128::from(random()) << 64) | u128::from(random());
    let mut id: String = (0..21)
        .map(|_| {
            let letter = LETTERS[(bits & 31) as usize];
            bits >>= 5;
            char::from(letter)
        })
        .collect();
    // 22 characters carry 132 bits for 128: the last may only use its two upper bits.
    id.push(char::from(b"AQgw"[(bits & 3) as usize]));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("bootstrap.checkpoint"), b"records").unwrap();
        folder
    }

    fn meta(root: &Root, node: u32) -> String {
        fs::read_to_string(log_folder(&root.node(node)).join("meta.properties")).unwrap()
    }

    /// Scenario: a folder is formatted, used again, then asked for another size.
    /// Guarantee: identities stay on reuse, and another size is refused.
    #[test]
    fn format_once_and_only_for_one_size() {
        let template = template();
        let root = Root::open(&Data::Temporary).unwrap();
        format(&root, 3, template.path()).unwrap();
        let before = meta(&root, 2);
        format(&root, 3, template.path()).unwrap();
        assert_eq!(meta(&root, 2), before);
        assert!(matches!(format(&root, 1, template.path()), Err(BrokerError::Options(_))));
    }

    #[test]
    fn nodes_share_the_cluster_and_nothing_else() {
        let template = template();
        let root = Root::open(&Data::Temporary).unwrap();
        format(&root, 3, template.path()).unwrap();
        let line = |node, key: &str| {
            meta(&root, node).lines().find(|line| line.starts_with(key)).unwrap().to_owned()
        };
        assert_eq!(line(1, "cluster.id"), line(3, "cluster.id"));
        assert_ne!(line(1, "directory.id"), line(3, "directory.id"));
        assert_eq!(line(1, "cluster.id").len(), "cluster.id=".len() + 22);
    }
}
