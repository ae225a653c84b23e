//! Names of signers: a domain and a path.

use crate::object::field::{Errors, Path};
use crate::object::name;

/// Checks a signer's name.
pub(super) fn check(signer: &str, path: &Path, errors: &mut Errors) {
    const DOMAIN: usize = 253;
    const WHOLE: usize = DOMAIN + 1 + 253 + 63 + 1;
    if signer.is_empty() {
        errors.required(path.clone(), "");
        return;
    }
    let parts = signer
        .split_once('/')
        .filter(|(_, rest)| !rest.contains('/'));
    let Some((domain, rest)) = parts else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.invalid(path.clone(), signer, why);
        return;
    };
    if domain.len() > DOMAIN {
        errors.too_long(path.clone(), DOMAIN);
    }
    labels(domain, name::dns_label, path, errors);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.invalid(path.clone(), domain, why);
    }
    labels(rest, name::dns_subdomain, path, errors);
    if signer.len() > WHOLE {
        errors.too_long(path.clone(), WHOLE);
    }
}

/// The problems of the first label that has any.
fn labels(text: &str, problems: fn(&str) -> Vec<String>, path: &Path, errors: &mut Errors) {
    for label in text.split('.') {
        let problems = problems(label);
        for problem in &problems {
            let why = format!("validating label {label:?}: {problem}");
            errors.invalid(path.clone(), text, &why);
        }
        if !problems.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signers_are_named() {
        let label =
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'";
        for (signer, expected) in [
            ("example.com/signer", vec![]),
            ("kubernetes.io/kube-apiserver-client", vec![]),
            ("example.com/a.b", vec![]),
            ("", vec!["s: Required value".to_owned()]),
            (
                "bad",
                vec!["s: Invalid value: \"bad\": must be a fully qualified domain and path of the form 'example.com/signer-name'".to_owned()],
            ),
            (
                "example.com/a/b",
                vec!["s: Invalid value: \"example.com/a/b\": must be a fully qualified domain and path of the form 'example.com/signer-name'".to_owned()],
            ),
            (
                "example/x",
                vec!["s: Invalid value: \"example\": should be a domain with at least two segments separated by dots".to_owned()],
            ),
            ("UP.com/x", vec![format!("s: Invalid value: \"UP.com\": validating label \"UP\": {label}")]),
        ] {
            let mut errors = Errors::new();
            check(signer, &Path::new("s"), &mut errors);
            let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!(found.starts_with(expected), "{found}");
            }
        }
    }
}
