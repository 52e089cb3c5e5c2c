//! Tests of parameters: what schemas are taken, how they are normalised, and what arguments come out.
#![allow(clippy::needless_pass_by_value, reason = "a literal reads better without a reference")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;

fn schema(schema: Value) -> ParametersSchema {
    ParametersSchema::new(schema).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn normalised(written: Value, expected: Value) {
    assert_eq!(schema(written).as_value().to_string(), expected.to_string());
}

#[track_caller]
fn refused(written: Value, pointer: &str, message: &str) {
    let error = ParametersSchema::new(written).expect_err("it passed");
    let found =
        error.problems.iter().any(|problem| problem.pointer == pointer && problem.message.contains(message));
    assert!(found, "{error}");
}

#[track_caller]
fn filled(written: Value, arguments: Value, expected: Value) {
    let found = schema(written).arguments(arguments).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Value::Object(found).to_string(), expected.to_string());
}

#[track_caller]
fn violates(written: Value, arguments: Value, expected: &[(&str, &str)]) {
    let error = schema(written).arguments(arguments).expect_err("it passed");
    let found: Vec<_> = error.violations.iter().map(|v| (v.path.as_str(), v.message.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn both_spellings_of_required_become_the_array() {
    normalised(
        json!({"type": "object", "properties": {
            "a": {"type": "string", "required": true}, "b": {"required": false}, "c": {"required": true},
        }}),
        json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {}, "c": {}}, "required": ["a", "c"]}),
    );
    normalised(
        json!({"type": "object", "required": ["b"], "properties": {"a": {"required": true}, "b": {"required": true}}}),
        json!({"type": "object", "required": ["b", "a"], "properties": {"a": {}, "b": {}}}),
    );
}

#[test]
fn required_is_normalised_wherever_a_schema_stands() {
    let written = json!({"properties": {"p": {"required": true}}});
    let wanted = json!({"properties": {"p": {}}, "required": ["p"]});
    for keyword in
        ["items", "additionalProperties", "not", "if", "contains", "propertyNames", "unevaluatedItems"]
    {
        normalised(json!({"type": "object", keyword: written}), json!({"type": "object", keyword: wanted}));
    }
    for keyword in ["allOf", "anyOf", "oneOf", "prefixItems"] {
        normalised(
            json!({"type": "object", keyword: [written]}),
            json!({"type": "object", keyword: [wanted]}),
        );
    }
    for keyword in ["$defs", "definitions", "patternProperties", "dependentSchemas"] {
        normalised(
            json!({"type": "object", keyword: {"a": written}}),
            json!({"type": "object", keyword: {"a": wanted}}),
        );
    }
    normalised(
        json!({"type": "object", "properties": {"o": {"required": true, "properties": {"p": {"required": true}}}}}),
        json!({"type": "object", "properties": {"o": {"properties": {"p": {}}, "required": ["p"]}}, "required": ["o"]}),
    );
}

#[test]
fn data_is_never_normalised() {
    let data = json!({"properties": {"p": {"required": true}}, "$schema": "x", "$id": "y"});
    let same = json!({"type": "object", "const": data, "enum": [data], "default": data, "examples": [data], "x-own": data});
    normalised(same.clone(), same);
    // A property may be called `required`.
    let named = json!({"type": "object", "properties": {"required": {"type": "boolean"}, "properties": {}}});
    normalised(named.clone(), named);
}

#[test]
fn the_root_is_an_object() {
    normalised(json!({}), json!({"type": "object"}));
    normalised(json!(true), json!({"type": "object"}));
    normalised(
        json!({"$schema": "http://json-schema.org/draft-04/schema#", "$id": "x:y"}),
        json!({"type": "object"}),
    );
    normalised(json!({"type": ["null", "object"]}), json!({"type": "object"}));
    assert_eq!(ParametersSchema::any(), schema(json!({})));
    for other in [json!(false), json!(null), json!([]), json!("object")] {
        refused(other, "", "allows an object");
    }
    refused(json!({"type": "string"}), "/type", "must be \"object\"");
    refused(json!({"type": ["string", "null"]}), "/type", "must be \"object\"");
}

#[test]
fn the_draft_is_always_2020_12() {
    let tuple =
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": {"items": [{}]}}});
    refused(tuple, "/properties/a/items", "must be true or false or an object");
    violates(
        json!({"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": [{"type": "null"}]}}}),
        json!({"a": [1]}),
        &[("/a/0", "must be null, found the number 1")],
    );
}

#[test]
fn references_stay_inside() {
    for outside in
        ["https://example.com/x", "http://127.0.0.1:1/x", "file:///etc/passwd", "x.json", "/x", "", "urn:x:y"]
    {
        refused(json!({"properties": {"a": {"$ref": outside}}}), "/properties/a/$ref", "leads outside");
    }
    for nowhere in ["#/$defs/b", "#b", "#/properties/a/default", "#/%zz", "#/properties/00"] {
        refused(
            json!({"properties": {"a": {"$ref": nowhere, "default": {}}}}),
            "/properties/a/$ref",
            "names no schema",
        );
    }
    // Even where nothing leads to it, and where a base would make it look local.
    refused(
        json!({"$id": "https://example.com/", "$defs": {"a": {"$ref": "x"}}}),
        "/$defs/a/$ref",
        "leads outside",
    );
}

#[test]
fn references_by_pointer_and_anchor_work() {
    let written = json!({
        "properties": {
            "a": {"$ref": "#/$defs/x~1y%20z"}, "b": {"$ref": "#anchor"}, "c": {"$dynamicRef": "#dynamic"},
            "d": {"$ref": "#/properties/a"},
        },
        "$defs": {"x/y z": {"type": "null"}, "n": {"$anchor": "anchor", "type": "null"}, "m": {"$dynamicAnchor": "dynamic", "type": "null"}},
    });
    let wrong = "must be null, found the number 1";
    violates(
        written,
        json!({"a": 1, "b": 1, "c": 1, "d": 1}),
        &[("/a", wrong), ("/b", wrong), ("/c", wrong), ("/d", wrong)],
    );
}

#[test]
fn a_circle_on_the_same_value_is_refused() {
    refused(json!({"$ref": "#"}), "/$ref", "never end");
    for keyword in ["allOf", "anyOf", "oneOf"] {
        refused(json!({keyword: [{"$ref": "#"}]}), &format!("/{keyword}/0/$ref"), "never end");
    }
    for keyword in ["not", "if", "then", "else"] {
        refused(json!({keyword: {"$ref": "#"}}), &format!("/{keyword}/$ref"), "never end");
    }
    refused(json!({"dependentSchemas": {"a": {"$ref": "#"}}}), "/dependentSchemas/a/$ref", "never end");
    refused(
        json!({"$dynamicAnchor": "a", "allOf": [{"$dynamicRef": "#a"}]}),
        "/allOf/0/$dynamicRef",
        "never end",
    );
    let mutual = json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
    refused(mutual, "/$defs/b/$ref", "never end");
}

#[test]
fn a_recursive_schema_is_fine() {
    let tree = json!({"properties": {
        "name": {"type": "string", "required": true}, "children": {"type": "array", "items": {"$ref": "#"}},
    }});
    filled(tree.clone(), json!({"name": "a", "children": []}), json!({"name": "a", "children": []}));
    violates(
        tree,
        json!({"name": "a", "children": [{"name": "b", "children": [{"children": []}]}]}),
        &[("/children/0/children/0/name", "the argument \"name\" is required, and missing")],
    );
}

#[test]
fn what_would_take_exponential_time_is_refused_in_little() {
    // Each level of the value doubles the visits.
    let doubling =
        json!({"properties": {"x": {"$ref": "#"}}, "allOf": [{"properties": {"x": {"$ref": "#"}}}]});
    // Each definition doubles the visits, with no value at all.
    let mut laughs = json!({"$ref": "#/$defs/a0", "$defs": {"a60": {"type": "object"}}});
    for n in 0..60 {
        let next = format!("#/$defs/a{}", n + 1);
        laughs["$defs"][format!("a{n}")] = json!({"allOf": [{"$ref": next}, {"$ref": next}]});
    }
    let deep = (0..100).fold(json!({}), |inner, _| json!({"x": inner}));
    for (written, arguments) in [(doubling, deep), (laughs, json!({}))] {
        let parameters = schema(written);
        let started = Instant::now();
        let error = parameters.arguments(arguments).expect_err("it passed").to_string();
        assert!(error.contains("too long to check"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[test]
fn nothing_overflows_a_stack_of_two_megabytes() {
    let work = || {
        let mut chain = json!({"$ref": "#/$defs/a0", "$defs": {"a2000": {"type": "object"}}});
        for n in 0..2000 {
            chain["$defs"][format!("a{n}")] = json!({"anyOf": [{"$ref": format!("#/$defs/a{}", n + 1)}]});
        }
        assert!(schema(chain).arguments(json!({})).is_err());

        // 120 values deep and four steps each: nearly as far as checking goes.
        let steep = json!({"$ref": "#/$defs/a", "$defs": {
            "a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"properties": {"x": {"$ref": "#/$defs/a"}}},
        }});
        let deep = (0..120).fold(json!({}), |inner, _| json!({"x": inner}));
        assert_eq!(schema(steep).arguments(deep.clone()), Ok(deep.as_object().unwrap().clone()));

        let mut defaults = json!({"properties": {"x": {"$ref": "#/$defs/a0"}}, "$defs": {"a2000": {}}});
        for n in 0..2000 {
            let next = format!("#/$defs/a{}", n + 1);
            defaults["$defs"][format!("a{n}")] = json!({"default": {}, "properties": {"x": {"$ref": next}}});
        }
        assert!(schema(defaults).arguments(json!({})).is_err());

        let too_deep = (0..300).fold(json!(1), |inner, _| json!([inner]));
        assert!(ParametersSchema::any().arguments(json!({"a": too_deep})).is_err());
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn large_schemas_are_refused() {
    let many: serde_json::Map<_, _> = (0..20_000).map(|n| (n.to_string(), json!({}))).collect();
    refused(json!({ "properties": many }), "", "more than 10000 schemas");
    refused(json!({"properties": {"k".repeat(2_000): {}}}), "", "too long");
}

#[test]
fn formats_are_asserted() {
    for (format, bad, good) in [
        ("date-time", "yesterday", "2025-01-31T12:00:00Z"),
        ("date", "2025-02-30", "2025-02-28"),
        ("email", "ada", "ada@example.com"),
        ("uri", "not a uri", "https://example.com/"),
        ("uuid", "123", "123e4567-e89b-12d3-a456-426614174000"),
        ("ipv4", "256.0.0.1", "192.0.2.1"),
    ] {
        let parameters = schema(json!({"properties": {"a": {"type": "string", "format": format}}}));
        assert!(parameters.arguments(json!({"a": good})).is_ok(), "{format}");
        let error = parameters.arguments(json!({"a": bad})).unwrap_err().to_string();
        assert!(error.contains(&format!("/a: must be a valid {format} (such as ")), "{error}");
    }
}

#[test]
fn a_pattern_takes_linear_time() {
    let parameters = schema(json!({"properties": {"a": {"pattern": "^(a+)+$"}}}));
    let started = Instant::now();
    assert!(parameters.arguments(json!({"a": format!("{}!", "a".repeat(20_000))})).is_err());
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn a_regex_format_survives_a_hostile_value() {
    let parameters = schema(json!({"properties": {"a": {"format": "regex"}}}));
    for hostile in ["(", "[", "(?:a", "a|", "(a)"] {
        let _ = parameters.arguments(json!({"a": hostile.repeat(200_000)}));
    }
}

#[test]
fn defaults_fill_missing_arguments() {
    filled(
        json!({"properties": {"limit": {"default": 10}, "query": {}, "sort": {"default": null}}}),
        json!({"query": "x"}),
        json!({"query": "x", "limit": 10, "sort": null}),
    );
    filled(
        json!({"properties": {"limit": {"type": "integer", "default": 10}}}),
        json!({"limit": 5}),
        json!({"limit": 5}),
    );
    filled(json!({"properties": {"a": {"default": 1, "required": true}}}), json!({}), json!({"a": 1}));
}

#[test]
fn defaults_fill_what_nests_where_it_is_given() {
    let options = json!({"properties": {"options": {"properties": {"depth": {"default": 1}}}}});
    filled(options.clone(), json!({"options": {}}), json!({"options": {"depth": 1}}));
    filled(options, json!({}), json!({}));
    filled(
        json!({"properties": {"options": {"default": {}, "properties": {"depth": {"default": 1}}}}}),
        json!({}),
        json!({"options": {"depth": 1}}),
    );
    filled(
        json!({"properties": {"rows": {"items": {"properties": {"n": {"default": 0}}}}}}),
        json!({"rows": [{}, {"n": 2}, 5]}),
        json!({"rows": [{"n": 0}, {"n": 2}, 5]}),
    );
    filled(
        json!({"allOf": [{"$ref": "#/$defs/paged"}], "$defs": {"paged": {"properties": {"page": {"$ref": "#/$defs/one"}}}, "one": {"default": 1}}}),
        json!({}),
        json!({"page": 1}),
    );
    filled(json!({"anyOf": [{"properties": {"a": {"default": 1}}}, {}]}), json!({}), json!({}));
}

#[test]
fn a_recursive_default_ends() {
    filled(json!({"properties": {"next": {"$ref": "#", "default": {}}}}), json!({}), json!({"next": {}}));
    let large = json!({"properties": {"rows": {"items": {"properties": {"blob": {"default": "x".repeat(100_000)}}}}}});
    assert!(schema(large).arguments(json!({"rows": vec![json!({}); 100]})).is_err());
}

#[test]
fn every_violation_is_reported_with_its_path() {
    violates(
        json!({
            "properties": {
                "query": {"type": "string", "required": true},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50},
                "state": {"enum": ["open", "closed"]},
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "uniqueItems": true},
                "a/b": {"const": 1},
            },
            "additionalProperties": false,
        }),
        json!({"limit": 0, "state": "opne", "tags": ["abcd", 5], "a/b": 2, "quer": "x", "zzz": 1}),
        &[
            ("/limit", "must be at least 1, found 0"),
            (
                "/state",
                "must be one of \"open\" or \"closed\", found the string \"opne\"; did you mean \"open\"?",
            ),
            ("/tags/0", "must have at most 3 characters, found 4"),
            ("/tags/1", "must be a string, found the number 5"),
            ("/a~1b", "must be 1, found the number 2"),
            ("/quer", "unknown argument \"quer\"; did you mean \"query\"?"),
            (
                "/zzz",
                "unknown argument \"zzz\"; known here: \"query\", \"limit\", \"state\", \"tags\", \"a/b\"",
            ),
            ("/query", "the argument \"query\" is required, and missing"),
        ],
    );
}

#[test]
fn unevaluated_properties_name_what_is_known() {
    violates(
        json!({"properties": {"query": {}}, "unevaluatedProperties": false}),
        json!({"qurey": 1}),
        &[("/qurey", "unknown argument \"qurey\"; did you mean \"query\"?")],
    );
}

#[test]
fn an_alternative_that_was_meant_is_explained() {
    let id = json!({"anyOf": [{"type": "null"}, {"type": "object", "properties": {"id": {"type": "integer", "required": true}}}]});
    violates(
        json!({"properties": {"a": id}}),
        json!({"a": {"id": "x"}}),
        &[("/a/id", "must be an integer, found the string \"x\"")],
    );
    violates(
        json!({"properties": {"a": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}}),
        json!({"a": true}),
        &[("/a", "must be a string or an integer, found true")],
    );
    violates(
        json!({"properties": {"a": {"anyOf": [{"minLength": 5}, {"pattern": "^x"}]}}}),
        json!({"a": "abc"}),
        &[(
            "/a",
            "fits none of 2 alternatives: (1) must have at least 5 characters, found 3; (2) must match the pattern \"^x\", found the string \"abc\"",
        )],
    );
    violates(
        json!({"properties": {"a": {"oneOf": [{"minimum": 1}, {"minimum": 2}]}}}),
        json!({"a": 3}),
        &[("/a", "fits more than one of 2 alternatives, of which it must fit exactly one")],
    );
}

#[test]
fn arguments_are_an_object() {
    for other in [json!(null), json!([]), json!("x"), json!(1)] {
        let error = ParametersSchema::any().arguments(other).unwrap_err();
        assert!(error.violations[0].message.starts_with("the arguments must be an object"), "{error}");
    }
    filled(json!({}), json!({"anything": [1]}), json!({"anything": [1]}));
}

#[test]
fn messages_never_echo_huge_values() {
    let huge = "secret ".repeat(100_000);
    let parameters = schema(json!({
        "properties": {
            "a": {"type": "integer"}, "b": {"enum": [1]}, "c": {"const": 1}, "d": {"pattern": "^x"}, "e": {"format": "date"},
            "f": {"not": {}}, "g": false, "h": {"anyOf": [{"maxLength": 1}, {"format": "uri"}]}, "i": {"contains": {"const": 1}},
        },
        "propertyNames": {"maxLength": 1},
    }));
    let arguments = json!({
        "a": huge, "b": huge, "c": huge, "d": huge, "e": huge, "f": huge, "g": huge, "h": huge, "i": [huge], "z": huge,
        "k".repeat(100): 1,
    });
    let error = parameters.arguments(arguments).unwrap_err();
    assert!(error.violations.len() >= 9, "{error}");
    for violation in error.violations {
        assert!(violation.message.len() < 600, "{violation}");
    }
}

#[test]
fn many_violations_are_counted() {
    let parameters = schema(json!({"properties": {"a": {"items": {"type": "null"}}}}));
    let error = parameters.arguments(json!({"a": vec![1; 1_000]})).unwrap_err();
    assert_eq!(error.violations.len(), MAX_VIOLATIONS + 1);
    assert_eq!(error.violations[MAX_VIOLATIONS].message, "and 900 more violations");
}

#[test]
fn integers_keep_their_digits() {
    filled(
        json!({"properties": {"id": {"type": "integer"}}}),
        json!({"id": 9_007_199_254_740_993_u64}),
        json!({"id": 9_007_199_254_740_993_u64}),
    );
    filled(json!({"properties": {"id": {"type": "integer"}}}), json!({"id": 1.0}), json!({"id": 1.0}));
}

#[test]
fn schemas_are_shared_between_threads() {
    fn assert_shared<T: Send + Sync + Clone>(_: &T) {}
    assert_shared(&ParametersSchema::any());
}
