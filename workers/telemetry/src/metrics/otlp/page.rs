//! Reads our own page of metrics back (<https://prometheus.io/docs/specs/om/open_metrics_spec/>): only what the encoder that wrote it can
//! write.

/// Metrics of one name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Family<'a> {
    /// Its name, without what samples add to it.
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    pub(super) kind: &'a str,
    pub(super) samples: Vec<Sample<'a>>,
}

/// One line with a value.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// What stands behind the family's name: `_total`, `_bucket`, or nothing.
    pub(super) end: &'a str,
    pub(super) labels: Vec<(&'a str, String)>,
    pub(super) value: &'a str,
}

impl Sample<'_> {
    /// The value as a number.
    pub(super) fn number(&self) -> f64 {
        self.value.parse().unwrap_or(f64::NAN)
    }
}

/// All families of a page. A line that cannot be read is left out.
pub(super) fn read(page: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in page.lines() {
        let (word, rest) = match line.strip_prefix("# ") {
            Some(comment) => comment.split_once(' ').unwrap_or((comment, "")),
            None => ("", line),
        };
        match word {
            "HELP" | "TYPE" | "UNIT" => {
                let Some((name, said)) = rest.split_once(' ') else { continue };
                if families.last().is_none_or(|family| family.name != name) {
                    families.push(Family { name, ..Family::default() });
                }
                let Some(family) = families.last_mut() else { continue };
                match word {
                    "HELP" => family.help = said.trim_end_matches('.'),
                    "TYPE" => family.kind = said,
                    _ => {}
                }
            }
            "" => {
                if let Some(family) = families.last_mut() {
                    family.samples.extend(sample(family.name, line));
                }
            }
            _ => {}
        }
    }
    families
}

fn sample<'a>(family: &str, line: &'a str) -> Option<Sample<'a>> {
    let rest = line.strip_prefix(family)?;
    let open = rest.find(['{', ' '])?;
    let (end, rest) = rest.split_at(open);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    Some(Sample { end, labels, value: value.trim() })
}

/// Labels up to the closing brace, and what is behind it.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(value) = rest.strip_prefix('}') {
            return Some((labels, value));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (mut value, mut letters) = (String::new(), quoted.char_indices());
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match letters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, letter) => value.push(letter),
            }
        };
        labels.push((name.trim_start_matches(','), value));
        rest = &quoted[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let page = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\na_seconds_sum{s=\"q\\\"}\\n\\\\,x=\\\"\",t=\"\"} 0.5\n\
                    a_seconds_bucket{le=\"+Inf\"} 3\n# HELP b Count.\n# TYPE b counter\nb_total 7\nodd\n# EOF\n";
        let families = read(page);
        let [a, b] = &families[..] else { panic!("{families:?}") };
        assert_eq!((a.name, a.help, a.kind), ("a_seconds", "Time", "histogram"));
        assert_eq!((b.name, b.samples.len(), b.samples[0].end, b.samples[0].value), ("b", 1, "_total", "7"));
        assert_eq!(a.samples[0].labels, [("s", "q\"}\n\\,x=\"".to_owned()), ("t", String::new())]);
        assert_eq!((a.samples[0].end, a.samples[0].number()), ("_sum", 0.5));
        assert_eq!(a.samples[1].labels, [("le", "+Inf".to_owned())]);
    }
}
