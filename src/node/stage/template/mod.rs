//! Templates of stages: the part of Go's `text/template` that KWOK's own stages use, with KWOK's functions.

mod functions;
mod parse;
mod run;

use std::collections::BTreeMap;

pub(super) use self::functions::Surroundings;
use self::parse::Block;

/// A template that was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    body: Vec<Block>,
    /// Those that it defines within, by name.
    defined: BTreeMap<String, Vec<Block>>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Fixed;

    impl Surroundings for Fixed {
        fn now(&self) -> String {
            "2026-01-01T00:00:00Z".to_owned()
        }

        fn node_ip(&self, node: &str) -> String {
            format!("ip of {node}")
        }

        fn node_name(&self) -> String {
            "n".to_owned()
        }

        fn node_port(&self) -> u16 {
            10_250
        }

        fn pod_ip(&self, node: &str) -> String {
            format!("pod on {node}")
        }
    }

    fn rendered(text: &str) -> Result<String, String> {
        let data = json!({
            "name": "p", "zero": 0, "none": [], "items": [{"n": "a"}, {"n": "b"}, {"n": "c"}], "map": {"x": 1, "z": [true]},
        });
        Template::parse(text)?.render(&data, &Fixed)
    }

    #[test]
    fn what_templates_give() {
        for (template, expected) in [
            ("a {{ .name }} b", "a p b"),
            ("a  {{- .name -}}  b", "apb"),
            ("{{/* nothing */}}{{ \"}}\" }}{{ `raw` }}", "}}raw"),
            ("{{ .absent.deeper }}", "<no value>"),
            (
                "{{ $x := .name }}{{ $x | Quote }}{{ $x = 1 }}{{ $x }}",
                "\"p\"1",
            ),
            ("{{ Quote .zero }}{{ Quote .map.z }}", "\"0\"\"[true]\""),
            ("{{ range .items }}{{ .n }},{{ end }}", "a,b,c,"),
            (
                "{{ range $i, $e := .items }}{{ $i }}{{ $e.n }}{{ end }}",
                "0a1b2c",
            ),
            ("{{ range .none }}x{{ else }}none{{ end }}", "none"),
            ("{{ range $k, $v := .map }}{{ $k }} {{ end }}", "x z "),
            (
                "{{ range .items }}{{ if eq .n \"b\" }}{{ break }}{{ end }}{{ .n }}{{ end }}",
                "a",
            ),
            (
                "{{ range .items }}{{ if eq .n \"b\" }}{{ continue }}{{ end }}{{ .n }}{{ end }}",
                "ac",
            ),
            (
                "{{ if .zero }}a{{ else if .name }}b{{ else }}c{{ end }}",
                "b",
            ),
            ("{{ with .absent }}x{{ else }}{{ .name }}{{ end }}", "p"),
            ("{{ with $m := .map }}{{ $m.x }}{{ .x }}{{ end }}", "11"),
            ("{{ (index .items 1).n }}{{ len .items }}", "b3"),
            (
                "{{ or .zero .name }}{{ and .name .zero }}{{ not .zero }}",
                "p0true",
            ),
            ("{{ add1 (or .absent 0) }}{{ $.name }}", "1p"),
            (
                "{{ if and (eq .name \"p\") (ne .zero 1) (lt .zero 1) }}y{{ end }}",
                "y",
            ),
            (
                "{{ define \"t\" }}<{{ .a }}{{ .b.name }}>{{ end }}{{ template \"t\" dict \"a\" 1 \"b\" $ }}",
                "<1p>",
            ),
            ("{{ Now }}", "2026-01-01T00:00:00Z"),
            (
                "{{ NodeIPWith .name }} {{ PodIPWith .name ( or .absent false ) \"\" \"\" \"\" }} {{ PodIPWith .name true \"\" \"\" \"\" }}",
                "ip of p pod on p ip of p",
            ),
            ("a:{{ YAML .map 1 }}", "a:\n  x: 1\n  z:\n  - true\n  "),
            ("{{ printf \"%s-%d\" .name 3 }}", "p-3"),
        ] {
            assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_not_understood() {
        for (template, why) in [
            ("{{ shuffle .name }}", "function \"shuffle\" not defined"),
            ("{{ if .name }}", "unexpected EOF"),
            ("{{ end }}", "unexpected {{end}}"),
            ("{{ .name", "unclosed action"),
            ("{{ $x }}", "undefined variable \"$x\""),
            ("{{ break }}", "{{break}} outside {{range}}"),
            ("{{ template \"t\" }}", "template \"t\" not defined"),
            ("{{ }}", "missing value for command"),
            (
                "{{ range .a }}{{ else }}{{ else }}{{ end }}",
                "unexpected {{else}}",
            ),
            ("{{ .name ~ }}", "unexpected"),
        ] {
            let found = rendered(template).unwrap_err();
            assert!(found.contains(why), "{template}: {found}");
        }
        assert!(rendered("{{ index .items 7 }}").is_err());
        assert!(
            rendered("{{ define \"t\" }}{{ template \"t\" . }}{{ end }}{{ template \"t\" . }}")
                .is_err()
        );
    }
}
