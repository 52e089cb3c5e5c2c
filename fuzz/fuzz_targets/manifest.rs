//! Whatever text a config.json holds, reading it ends in a manifest or in diagnostics that stand inside the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_runtime::manifest::{Diagnostic, Manifest};
use serde_json::{Value, json};

fuzz_target!(|text: &str| {
    match Manifest::parse(text) {
        Ok((manifest, warnings)) => {
            assert_inside(text, &warnings);
            for operation in &manifest.operations {
                // Whatever the schema, checking arguments ends.
                let _ = operation.parameters.arguments(json!({}));
                let schema = operation.parameters.as_value();
                assert_eq!(schema["type"], "object");
                if let Value::Object(arguments) = schema {
                    let _ = operation.parameters.arguments(Value::Object(arguments.clone()));
                }
            }
        }
        Err(diagnostics) => {
            assert!(diagnostics.has_errors());
            assert_inside(text, &diagnostics.0);
        }
    }
});

fn assert_inside(text: &str, diagnostics: &[Diagnostic]) {
    let n_lines = text.split('\n').count();
    for diagnostic in diagnostics {
        assert!(diagnostic.line >= 1 && diagnostic.column >= 1, "{diagnostic}");
        assert!(usize::try_from(diagnostic.line).is_ok_and(|line| line <= n_lines), "{diagnostic}");
    }
}
