//! Names that Kubernetes takes.

use crate::exit::{End, Exit};

/// The longest name of ours. A pod's name is the Deployment's and up to 17 characters, and it is the pod's host name, 63 at most; KEDA puts
/// `keda-hpa-` before it.
const LONGEST: usize = 46;
/// The longest DNS label (RFC 1123), and the longest value of a label.
const LABEL: usize = 63;

/// A name made fit for Kubernetes. One that has to be changed ends with a hash of what it was, so that two names never become one.
pub(super) fn fit(name: &str) -> String {
    let plain: String = name
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    let plain = plain.trim_matches('-');
    if plain == name && plain.len() <= LONGEST {
        return plain.to_owned();
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let kept: String = plain.chars().take(LONGEST - 7).collect();
    let kept = kept.trim_end_matches('-');
    format!("{}-{}", if kept.is_empty() { "longshore" } else { kept }, &hash[..6])
}

/// Refuses a name that was given and is none; what is given is never changed.
pub(super) fn given<'a>(option: &str, name: &'a str, longest: usize) -> Result<&'a str, End> {
    let label = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    if name.len() <= longest && label(name) {
        return Ok(name);
    }
    let words = format!(
        "--{option} {name}: expected at most {longest} lower-case letters, digits and `-`, no `-` at either end"
    );
    Err(End::new(Exit::Usage, words))
}

/// The name of everything.
pub(super) fn ours(name: &str) -> Result<&str, End> {
    given("name", name, LONGEST)
}

/// The name of something that is there already.
pub(super) fn theirs<'a>(option: &str, name: &'a str) -> Result<&'a str, End> {
    // Names of these may have dots, but nobody needs them.
    given(option, name, if option == "namespace" { LABEL } else { 253 })
}

/// Refuses what is no reference to an image (`[HOST[:PORT]/]PATH[:TAG][@DIGEST]`): pods would wait for it for ever.
pub(super) fn image(reference: &str) -> Result<&str, End> {
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    let (name, tag) = match rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((name, tag)) => (name, Some(tag)),
        None => (rest, None),
    };
    // A host is known by its dot or port, and may have upper case.
    let (host, path) = match name.split_once('/').filter(|(host, _)| host.contains(['.', ':'])) {
        Some((host, path)) => (host, path),
        None => ("", name),
    };
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let part = |part: &str| {
        let ends = [part.chars().next(), part.chars().next_back()];
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.chars().all(|c| word(c) && !c.is_ascii_uppercase())
            && ends.iter().all(|end| end.is_some_and(plain))
    };
    let fits = host.chars().all(|c| word(c) || matches!(c, ':' | '[' | ']'))
        && path.split('/').all(part)
        && tag.is_none_or(|tag| (1..=128).contains(&tag.len()) && tag.chars().all(word))
        && digest.is_none_or(|digest| {
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit())
        });
    if fits {
        return Ok(reference);
    }
    let words = format!("--image {reference}: expected for example registry.example/longshore:0.1.0");
    Err(End::new(Exit::Usage, words))
}

/// The value of a label, which may have upper case, dots and underscores, but is short.
pub(super) fn label_value(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let fit_already = text.len() <= LABEL
        && text.chars().all(fits)
        && ends(text.chars().next())
        && ends(text.chars().next_back());
    if fit_already { text.to_owned() } else { fit(text) }
}

/// `PodMonitor` as `pod-monitor`.
pub(super) fn kebab(kind: &str) -> String {
    let mut name = String::new();
    for letter in kind.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_name_stays_and_others_differ() {
        assert_eq!(fit("longshore-web-logs"), "longshore-web-logs");
        let (dotted, scored) = (fit("longshore-Web.Logs"), fit("longshore-web_logs"));
        assert!(dotted.starts_with("longshore-web-logs-") && scored.starts_with("longshore-web-logs-"));
        assert_ne!(dotted, scored);
        for name in
            ["x".repeat(100), "longshore-..".to_owned(), "_".to_owned(), format!("{}-y", "x".repeat(60))]
        {
            let fitted = fit(&name);
            assert!(given("name", &fitted, LONGEST).is_ok(), "{name} became {fitted}");
            assert_eq!(fitted, fit(&name));
        }
    }

    #[test]
    fn labels_keep_what_they_may_have() {
        assert_eq!(label_value("Web_logs.v2"), "Web_logs.v2");
        assert!(label_value("_x").starts_with("x-"));
        assert!(label_value(&"y".repeat(90)).len() <= LABEL);
    }

    #[test]
    fn file_names_are_words_with_dashes() {
        assert_eq!(kebab("PodDisruptionBudget"), "pod-disruption-budget");
    }
}
