//! Which names Kubernetes allows: qualified names, label values, DNS names, port names and keys
//! (`k8s.io/apimachinery/pkg/util/validation` and `.../api/validate/content`).
//!
//! Each function gives the problems in upstream's words; none means valid. Upstream is moving from the first package to the
//! second: what has moved (labels and qualified names) counts bytes in its words, the rest characters.

/// Words of the Common Expression Language, which are no names in it.
pub(crate) const CEL_RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The problems of a qualified name, such as a label key: `[prefix/]name`.
#[must_use]
pub fn qualified(text: &str) -> Vec<String> {
    let name = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            let mut problems = Vec::new();
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(
                    subdomain(prefix, "bytes")
                        .into_iter()
                        .map(|problem| format!("prefix part {problem}")),
                );
            }
            problems.extend(name_part(name));
            return problems;
        }
        _ => {
            return vec![format!(
                "a valid label key {NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    name_part(name)
}

/// The problems of a label value.
#[must_use]
pub fn label_value(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 63 {
        problems.push("must be no more than 63 bytes".to_owned());
    }
    if !text.is_empty() && !is_name(text) {
        problems.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
             an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned(),
        );
    }
    problems
}

/// The problems of a DNS subdomain (RFC 1123).
#[must_use]
pub fn dns_subdomain(text: &str) -> Vec<String> {
    subdomain(text, "characters")
}

fn subdomain(text: &str, unit: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 253 {
        problems.push(format!("must be no more than 253 {unit}"));
    }
    if !is_dns_subdomain(text) {
        problems.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with \
             an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    problems
}

/// The problems of a DNS subdomain (RFC 1123) behind `*.`.
#[must_use]
pub fn wildcard_dns_subdomain(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 253 {
        problems.push("must be no more than 253 characters".to_owned());
    }
    if !text.strip_prefix("*.").is_some_and(is_dns_subdomain) {
        problems.push(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case \
             alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for \
             validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    problems
}

/// The problems of a DNS label (RFC 1123).
#[must_use]
pub fn dns_label(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 63 {
        problems.push("must be no more than 63 characters".to_owned());
    }
    if !is_dns_label(text) && is_dns_subdomain(text) {
        problems.push("must not contain dots".to_owned());
    } else if !is_dns_label(text) {
        problems.push(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with \
             an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    problems
}

/// The problems of a DNS label that begins with a letter (RFC 1035).
#[must_use]
pub fn dns_1035_label(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 63 {
        problems.push("must be no more than 63 characters".to_owned());
    }
    if !is_dns_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        problems.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end \
             with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
             '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    problems
}

/// The problems of a DNS subdomain whose labels may hold underscores: the search domains of a resolver.
#[must_use]
pub fn dns_subdomain_with_underscore(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 253 {
        problems.push("must be no more than 253 characters".to_owned());
    }
    let label = |label: &str| {
        let rest = label.strip_prefix('_').unwrap_or(label);
        !rest.starts_with('_') && !rest.ends_with('_') && is_dns_label(&rest.replace('_', "-"))
    };
    if !text.split('.').all(label) {
        problems.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end \
             with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    problems
}

/// The problems of a port's name (IANA service name, RFC 6335).
#[must_use]
pub fn port(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 15 {
        problems.push("must be no more than 15 characters".to_owned());
    }
    let letter = |byte: u8| byte.is_ascii_lowercase();
    if text.is_empty()
        || !text
            .bytes()
            .all(|byte| letter(byte) || byte.is_ascii_digit() || byte == b'-')
    {
        problems.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !text.bytes().any(letter) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// The problems of a key of a config map or secret.
#[must_use]
pub fn config_key(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 253 {
        problems.push("must be no more than 253 characters".to_owned());
    }
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || !text.bytes().all(valid) {
        problems.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or \
             'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    match text {
        "." | ".." => problems.push(format!("must not be '{text}'")),
        _ if text.starts_with("..") => problems.push("must not start with '..'".to_owned()),
        _ => {}
    }
    problems
}

/// The problems of the name of an environment variable.
#[must_use]
pub fn environment_variable(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if text
        .bytes()
        .any(|byte| !(0x20..0x7f).contains(&byte) || byte == b'=')
    {
        return vec![
            "a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned(),
        ];
    }
    Vec::new()
}

const NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character \
     (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn name_part(name: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        problems.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name(name) {
        problems.push(format!("name part {NAME_RULE}"));
    }
    problems
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    ends.is_some_and(|(first, last)| first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_dns_subdomain(text: &str) -> bool {
    text.split('.').all(is_dns_label)
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    ends.is_some_and(|(first, last)| alphanumeric(first) && alphanumeric(last))
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(problems: &[String], expected: &[&str]) {
        let starts = problems.iter().zip(expected);
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, start) in starts {
            assert!(problem.starts_with(start), "{problem:?}, not {start:?}");
        }
    }

    #[test]
    fn qualified_names() {
        check(&qualified("a/b"), &[]);
        check(
            &qualified(""),
            &["name part must be non-empty", "name part must consist"],
        );
        check(&qualified("/a"), &["prefix part must be non-empty"]);
        check(
            &qualified("A/a"),
            &["prefix part a lowercase RFC 1123 subdomain"],
        );
        check(
            &qualified("a/b/c"),
            &["a valid label key must consist of alphanumeric"],
        );
        check(
            &qualified(&"x".repeat(64)),
            &["name part must be no more than 63 bytes"],
        );
        check(
            &qualified(&format!("{}/a", "x".repeat(254))),
            &["prefix part must be no more than 253 bytes"],
        );
        check(
            &label_value(&"x".repeat(64)),
            &["must be no more than 63 bytes"],
        );
        check(
            &label_value("a b"),
            &["a valid label must be an empty string"],
        );
    }

    #[test]
    fn dns_names() {
        check(&dns_subdomain("a.b-c"), &[]);
        check(
            &dns_subdomain(&"x".repeat(254)),
            &["must be no more than 253 characters"],
        );
        check(&dns_label("a"), &[]);
        check(&dns_label("a.b"), &["must not contain dots"]);
        check(&dns_label("A"), &["a lowercase RFC 1123 label"]);
        check(
            &dns_label(&"x".repeat(64)),
            &["must be no more than 63 characters"],
        );
        check(&dns_1035_label("1a"), &["a DNS-1035 label must consist"]);
        check(&dns_subdomain_with_underscore("_a.b_c"), &[]);
        check(
            &dns_subdomain_with_underscore("a_.b"),
            &["a lowercase RFC 1123 subdomain"],
        );
        check(
            &dns_subdomain_with_underscore("__a"),
            &["a lowercase RFC 1123 subdomain"],
        );
    }

    #[test]
    fn ports_keys_and_variables() {
        check(&port("http-1"), &[]);
        check(
            &port("-1--2"),
            &[
                "must contain at least one letter",
                "must not contain consecutive",
                "must not begin",
            ],
        );
        check(
            &port("abcdefghijklmnop"),
            &["must be no more than 15 characters"],
        );
        check(&config_key("a.B_c"), &[]);
        check(&config_key(".."), &["must not be '..'"]);
        check(&config_key("..a"), &["must not start with '..'"]);
        check(&config_key("a/b"), &["a valid config key"]);
        check(&environment_variable("a b"), &[]);
        check(
            &environment_variable("a=b"),
            &["a valid environment variable name"],
        );
        check(
            &environment_variable(""),
            &["environment variable name must be non-empty"],
        );
    }
}
