//! Where a value stands in the document: `sinks[0].files.path`.

use std::fmt;

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Segment {
    Key(String),
    Index(usize),
}

/// The way from the root to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Path(Vec<Segment>);

impl Path {
    pub(crate) fn root() -> Self {
        Self::default()
    }

    pub(crate) fn key(&self, key: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(Segment::Key(key.to_owned()));
        Self(segments)
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        let mut segments = self.0.clone();
        segments.push(Segment::Index(index));
        Self(segments)
    }

    /// One level up; none at the root.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, up) = self.0.split_last()?;
        Some(Self(up.to_vec()))
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a name on the way says that a secret stands here.
    pub(crate) fn is_secret(&self) -> bool {
        self.0.iter().any(|segment| match segment {
            Segment::Key(key) => crate::model::is_secret_name(key),
            Segment::Index(_) => false,
        })
    }

    /// Whether a secret could stand here, even under a mistyped name: among credentials.
    pub(crate) fn is_sensitive(&self) -> bool {
        self.is_secret() || self.is_in(&Self::root().key("kafka").key("security"))
    }

    /// Whether `self` is `other` or stands inside it.
    pub(crate) fn is_in(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The way that an error of the `config` crate names, relative to `self`: `steps[0].parse.format`.
    pub(crate) fn join(&self, relative: &str) -> Self {
        let mut path = self.clone();
        for part in relative.split('.').filter(|part| !part.is_empty()) {
            let (key, indices) = part.split_once('[').map_or((part, ""), |(key, rest)| (key, rest));
            if !key.is_empty() {
                path = path.key(key);
            }
            for index in indices.split('[') {
                if let Ok(index) = index.trim_end_matches(']').parse() {
                    path = path.index(index);
                }
            }
        }
        path
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if position == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_people_write_it() {
        let path = Path::root().key("sinks").index(0).key("files").key("path");
        assert_eq!(path.to_string(), "sinks[0].files.path");
        assert_eq!(Path::root().key("sinks").join("[0].files.path"), path);
        assert!(path.is_in(&Path::root().key("sinks").index(0)));
    }
}
