//! Golden manifests with their exact diagnostics, the published schema against the loader, and hostile input.
#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_runtime::manifest::host::HostPattern;
use portcullis_runtime::manifest::{
    AuthMethod, Diagnostic, Diagnostics, Engine, Kind, Manifest, OperationType, manifest_schema,
};
use portcullis_runtime::sql::placeholder::Query;
use proptest::prelude::*;
use serde_json::Value;

/// The reason for cases whose error is in the text of a query.
const WHAT_SQL_SAYS: &str = "no keyword reads SQL";

/// Cases that the loader refuses and the schema accepts, each with the reason why no schema can refuse it.
const BEYOND_A_SCHEMA: &[(&str, &str)] = &[
    ("bad-allowed-hosts", "the grammar of hosts is the URL standard's"),
    ("bad-cron", "the ranges of cron fields"),
    ("duplicate-key", "a parsed document no longer has the first of two equal keys"),
    ("duplicate-operation-names", "no keyword compares a member of items"),
    ("oauth2-url-parts", "the parts of a URL"),
    (
        "parameters-bad-keywords",
        "parametersSchema isn't bound to the meta-schema, which refuses \"required\": true",
    ),
    ("parameters-cycle", "where a $ref leads"),
    ("parameters-dynamic-ref", "where a $dynamicRef leads"),
    ("parameters-mutual-cycle", "where a $ref leads"),
    ("parameters-older-drafts", "parametersSchema isn't bound to the meta-schema"),
    ("parameters-patterns", "what the linear-time engine can match"),
    ("parameters-refs", "where a $ref leads"),
    ("parameters-required-misplaced", "parametersSchema isn't bound to the meta-schema"),
    ("parameters-root-type", "parametersSchema isn't bound to the meta-schema"),
    ("sql-bind-variables", WHAT_SQL_SAYS),
    ("sql-bind-variables-mysql", WHAT_SQL_SAYS),
    ("sql-bind-variables-postgres", WHAT_SQL_SAYS),
    ("sql-client-words-mssql", WHAT_SQL_SAYS),
    ("sql-client-words-mysql", WHAT_SQL_SAYS),
    ("sql-escapes-position", WHAT_SQL_SAYS),
    ("sql-names-in-both-lists", "no keyword compares items of two arrays"),
    ("sql-no-statement", WHAT_SQL_SAYS),
    ("sql-nul", WHAT_SQL_SAYS),
    ("sql-operator-ambiguous", WHAT_SQL_SAYS),
    ("sql-other-files", WHAT_SQL_SAYS),
    ("sql-parameter-declared-mssql", WHAT_SQL_SAYS),
    ("sql-parameter-declared-mysql", WHAT_SQL_SAYS),
    ("sql-placeholder-misspelt-postgres", WHAT_SQL_SAYS),
    ("sql-placeholder-misspelt-sqlite", WHAT_SQL_SAYS),
    ("sql-placeholder-unknown-postgres", WHAT_SQL_SAYS),
    ("sql-placeholder-unknown-sqlite", WHAT_SQL_SAYS),
    ("sql-transaction-mssql", WHAT_SQL_SAYS),
    ("sql-transaction-mysql", WHAT_SQL_SAYS),
    ("sql-transaction-postgres", WHAT_SQL_SAYS),
    ("sql-transaction-sqlite", WHAT_SQL_SAYS),
    ("sql-unterminated", WHAT_SQL_SAYS),
    ("sql-unterminated-others", WHAT_SQL_SAYS),
];

fn cases() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/manifest");
    let mut cases: Vec<_> = std::fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    cases.sort();
    cases
}

fn config(path: &Path) -> String {
    std::fs::read_to_string(path.join("config.json")).unwrap()
}

fn outcome(text: &str) -> String {
    let diagnostics = match Manifest::parse(text) {
        Ok((_, warnings)) if warnings.is_empty() => return "ok\n".to_owned(),
        Ok((_, warnings)) => format!("ok\n{}", Diagnostics(warnings)),
        Err(diagnostics) => diagnostics.to_string(),
    };
    format!("{diagnostics}\n")
}

#[test]
fn golden_manifests_have_their_exact_diagnostics() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, path) in cases() {
        let found = outcome(&config(&path));
        let golden = path.join("expected.txt");
        if bless {
            std::fs::write(golden, found).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(golden).unwrap_or_default();
        if found != expected {
            wrong.push(format!("== {name}: expected\n{expected}== found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nBLESS=1 rewrites expected.txt", wrong.join("\n"));
}

#[test]
fn there_are_enough_golden_manifests() {
    let (valid, invalid): (Vec<_>, Vec<_>) =
        cases().into_iter().partition(|(_, path)| Manifest::parse(&config(path)).is_ok());
    assert!(invalid.len() >= 45, "{} invalid", invalid.len());
    assert!(valid.len() >= 8, "{} valid", valid.len());
}

fn valid(name: &str) -> Manifest {
    let (_, path) = cases().into_iter().find(|(case, _)| case == name).unwrap();
    Manifest::parse(&config(&path)).unwrap_or_else(|diagnostics| panic!("{diagnostics}")).0
}

#[test]
fn every_field_is_read() {
    let manifest = valid("valid-every-field");
    assert_eq!(manifest.title, "GitHub");
    assert_eq!(manifest.description.as_deref(), Some("Issues, pull requests and code."));
    assert_eq!((manifest.version, manifest.kind.clone()), (3, Kind::Rest));
    assert_eq!((manifest.auth_method, manifest.supported_auth_methods.len()), (AuthMethod::OAuth2, 5));
    assert_eq!(manifest.secret_bindings, ["accessToken", "webhookSecret"]);
    let hosts: Vec<_> = manifest.allowed_hosts.iter().map(HostPattern::as_str).collect();
    assert_eq!(hosts[..2], ["api.github.com", "uploads.github.com:443"]);
    assert_eq!(manifest.connection_config["region"], "eu");
    assert_eq!((manifest.timeout, manifest.rate_limit), (Some(Duration::from_secs(20)), Some(60)));
    assert_eq!(manifest.capabilities.sync_frequency.as_deref(), Some("*/15 8-18 * * mon-fri"));
    let flags =
        (manifest.capabilities.can_sync, manifest.capabilities.can_push, manifest.capabilities.can_webhook);
    assert_eq!(flags, (true, false, true));
    let capability = manifest.expose_as_capability.as_ref().unwrap();
    assert_eq!((capability.label.as_str(), capability.order), ("Code search", Some(-2)));
    assert_eq!(manifest.oauth2.as_ref().unwrap().scopes, ["repo", "read:user"]);
    assert_eq!(manifest.setup_guide.as_deref(), Some("# Setup\n\n1. Create an app."));
    assert_eq!(manifest.metadata["owner"], "team-a");
}

#[test]
fn operations_are_found_by_name() {
    let manifest = valid("valid-every-field");
    let list = manifest.operation("list_issues").unwrap();
    assert_eq!((list.operation_type, list.requires_approval), (OperationType::Read, Some(false)));
    assert_eq!(list.required_scopes, ["repo"]);
    let arguments = list.parameters.arguments(serde_json::json!({"owner": "ada"})).unwrap();
    assert_eq!(arguments["state"], "open");
    let create = manifest.operation("createIssue-2").unwrap();
    assert_eq!((create.operation_type, create.requires_approval), (OperationType::Write, Some(true)));
    assert!(manifest.operation("ping").is_none(), "names differ by case");
}

#[test]
fn absent_fields_have_their_defaults() {
    let manifest = valid("valid-minimal");
    assert_eq!((manifest.version, manifest.kind.clone()), (1, Kind::Rest));
    assert_eq!(manifest.supported_auth_methods, [AuthMethod::None]);
    assert!(manifest.allowed_hosts.is_empty() && manifest.secret_bindings.is_empty());
    let now = manifest.operation("now").unwrap();
    assert_eq!((now.operation_type, now.requires_approval), (OperationType::Read, None));
    assert_eq!(now.parameters.as_value(), &serde_json::json!({"type": "object"}));
}

#[test]
fn sql_manifests_are_read_from_either_list() {
    let manifest = valid("valid-sql-operations");
    let Kind::Sql(sql) = &manifest.kind else { panic!("not sql") };
    assert_eq!((manifest.version, sql.engine, sql.read_only), (1, Engine::Mssql, true));
    assert_eq!((sql.encrypt, sql.trust_server_certificate), (Some(true), false));
    assert_eq!(sql.connection_timeout, Some(Duration::from_secs(5)));
    assert_eq!(sql.request_timeout, Some(Duration::from_secs(15)));
    assert_eq!((sql.max_result_rows, sql.query_timeout), (500, Duration::from_secs(10)));
    assert_eq!(sql.max_connection_pool_size, Some(4));
    let Kind::Sql(sql) = valid("valid-sql-under-operations").kind else { panic!("not sql") };
    assert_eq!((sql.max_result_rows, sql.query_timeout), (10_000, Duration::from_secs(30)));
    let both = valid("valid-sql-in-both-lists");
    assert_eq!(both.operation("a").unwrap().query.as_ref().map(Query::text), Some("SELECT 1"));
    assert_eq!(both.operation("b").unwrap().query.as_ref().map(Query::text), Some("SELECT 2"));
}

#[test]
fn the_published_schema_agrees_with_the_loader() {
    let validator = jsonschema::draft202012::new(&manifest_schema()).unwrap();
    let beyond: BTreeMap<_, _> = BEYOND_A_SCHEMA.iter().copied().collect();
    let mut n_compared = 0;
    for (name, path) in cases() {
        let text = config(&path);
        let Ok(value) = serde_json::from_str::<Value>(&text) else { continue };
        let agrees = validator.is_valid(&value) == Manifest::parse(&text).is_ok();
        match beyond.get(name.as_str()) {
            None => assert!(agrees, "{name}: the schema says {}", validator.is_valid(&value)),
            Some(reason) => {
                assert!(!agrees, "{name} is listed as beyond a schema ({reason}), but now agrees");
            }
        }
        n_compared += 1;
    }
    assert!(n_compared > beyond.len());
    let known: Vec<_> = cases().into_iter().map(|(name, _)| name).collect();
    assert!(beyond.keys().all(|name| known.iter().any(|known| known == name)), "a listed case is gone");
}

#[test]
fn the_published_schema_is_a_schema_that_describes_each_key() {
    let schema = manifest_schema();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["$id"].as_str().is_some_and(|id| id.starts_with("https://")));
    assert!(schema["title"].is_string() && schema["description"].is_string());
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, object) in definitions.iter().chain([(&"Manifest".to_owned(), &schema)]) {
        for (key, property) in object["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{name}.{key} has no description");
        }
    }
    let text = schema.to_string();
    for rust in ["uint", "double", "int64", "\"null\"", "Raw"] {
        assert!(!text.contains(rust), "{rust} is Rust's business");
    }
}

/// Every position of a diagnostic is one that an editor can go to.
fn assert_inside(text: &str, diagnostics: &[Diagnostic]) {
    let lines: Vec<_> = text.split('\n').collect();
    for diagnostic in diagnostics {
        let line = usize::try_from(diagnostic.line).unwrap();
        let column = usize::try_from(diagnostic.column).unwrap();
        assert!((1..=lines.len()).contains(&line), "{diagnostic} in {text:?}");
        assert!((1..=lines[line - 1].chars().count() + 1).contains(&column), "{diagnostic} in {text:?}");
    }
}

fn parse_any(text: &str) {
    match Manifest::parse(text) {
        Ok((_, warnings)) => assert_inside(text, &warnings),
        Err(diagnostics) => {
            assert!(diagnostics.has_errors());
            assert_inside(text, &diagnostics.0);
        }
    }
}

/// One change to a text: bytes taken out, or replaced by a piece that means something in JSON or in a manifest.
fn mutation() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
    const PIECES: &[&str] = &[
        "",
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "null",
        "-1",
        "1e400",
        "true",
        "\u{1F600}",
        "\u{0}",
        "\n",
        "\\",
        "\"type\":\"sql\",",
        "\"$ref\":\"#\",",
        "\"required\":true,",
        "\"oauth2\"",
        "é",
        "\"title\":1,",
        "0.5",
        "{}",
    ];
    (any::<prop::sample::Index>(), 0_usize..12, prop::sample::select(PIECES).prop_map(str::to_owned))
}

fn mutated(text: &str, mutations: &[(prop::sample::Index, usize, String)]) -> String {
    let mut text = text.to_owned();
    for (place, n_removed, piece) in mutations {
        let start = text.floor_char_boundary(place.index(text.len() + 1));
        let end = text.floor_char_boundary((start + n_removed).min(text.len())).max(start);
        text.replace_range(start..end, piece);
    }
    text
}

/// A value in place of another, somewhere in a document.
fn replaced(value: &mut Value, target: &mut usize, with: &Value) {
    if *target == 0 {
        *value = with.clone();
        *target = usize::MAX;
        return;
    }
    *target -= 1;
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replaced(item, target, with)),
        Value::Object(members) => members.values_mut().for_each(|member| replaced(member, target, with)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_text_never_panics(
        case in any::<prop::sample::Index>(),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let cases = cases();
        let (_, path) = &cases[case.index(cases.len())];
        parse_any(&mutated(&config(path), &mutations));
    }

    #[test]
    fn mutated_values_never_panic(
        case in any::<prop::sample::Index>(),
        target in 0_usize..80,
        with in prop::sample::select(vec![
            Value::Null, false.into(), (-1).into(), 1.5.into(), u64::MAX.into(), "".into(), "#".into(), "\u{e9}".into(),
            serde_json::json!([]), serde_json::json!({}), serde_json::json!([null]), serde_json::json!({"$ref": "#"}),
            serde_json::json!({"required": true, "type": 1, "allOf": [{"$ref": "#"}]}),
        ]),
    ) {
        let cases = cases();
        let (_, path) = &cases[case.index(cases.len())];
        if let Ok(mut value) = serde_json::from_str::<Value>(&config(path)) {
            let mut target = target;
            replaced(&mut value, &mut target, &with);
            parse_any(&serde_json::to_string_pretty(&value).unwrap());
        }
    }

    #[test]
    fn any_text_never_panics(text in ".{0,200}") {
        parse_any(&text);
    }
}

#[test]
fn hostile_files_are_refused_quickly() {
    let many_keys: String = (0..60_000).map(|n| format!("\"k{n}\":0,")).collect();
    let many_operations = vec!["{\"name\":\"a\"}"; 10_000].join(",");
    let long_names: String = (0..20_000).map(|n| format!("\"p{n}\":{{\"type\":1}},")).collect();
    let long_key = "k".repeat(400_000);
    let many_names: String = (0..20_000).map(|n| format!("\"q{n}\":{{}},")).collect();
    for text in [
        "[".repeat(1 << 20),
        "{\"a\":".repeat(200_000),
        format!("{{{}\"title\":\"t\"}}", "\"title\":\"t\",".repeat(70_000)),
        format!("{{{many_keys}\"title\":\"t\"}}"),
        format!("{{\"title\":\"t\",\"authMethod\":\"none\",\"operations\":[{many_operations}]}}"),
        format!("{{\"secretBindings\":[{}1]}}", "1,".repeat(100_000)),
        with_parameters(&format!(
            "{{\"properties\":{{\"{long_key}\":{{\"properties\":{{{long_names}\"z\":0}}}}}}}}"
        )),
        with_parameters(&format!("{{\"type\":1,\"enum\":[{}1]}}", "1,".repeat(400_000))),
        with_parameters(&format!("{{\"required\":[{}1]}}", "1,".repeat(200_000))),
        with_parameters(&format!("{{\"pattern\":\"{}\"}}", "(".repeat(900_000))),
        with_query(&many_names, "@q "),
        with_query("", "(SELECT\\n'\\u0027' @q, "),
        with_query("", "$a$b$c$ @q /* "),
    ] {
        let started = std::time::Instant::now();
        let Err(diagnostics) = Manifest::parse(&text) else { panic!("it passed: {}…", &text[..60]) };
        assert!(diagnostics.0.len() <= 501, "{}", diagnostics.0.len());
        assert!(diagnostics.to_string().len() < 1 << 20);
        assert!(started.elapsed().as_secs() < 20, "{:?} for {}…", started.elapsed(), &text[..60]);
    }
}

fn with_parameters(schema: &str) -> String {
    format!(
        "{{\"title\":\"t\",\"authMethod\":\"none\",\"operations\":[{{\"name\":\"a\",\"parametersSchema\":{schema}}}]}}"
    )
}

fn with_query(properties: &str, piece: &str) -> String {
    let properties = format!("{{\"properties\":{{{properties}\"z\":{{}}}}}}");
    let query = piece.repeat(400_000 / piece.len());
    format!(
        "{{\"title\":\"t\",\"authMethod\":\"none\",\"type\":\"sql\",\"sqlConnectionConfig\":{{\"engine\":\"postgres\"}},\"sqlOperations\":[{{\"name\":\"a\",\"query\":\"{query}\",\"parametersSchema\":{properties}}}]}}"
    )
}
