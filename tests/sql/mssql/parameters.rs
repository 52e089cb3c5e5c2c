//! Arguments as parameters of `sp_executesql`.

use super::*;

/// What a query and its arguments are sent as.
#[track_caller]
fn sent(query: &str, schemas: Value, arguments: Value) -> (String, String, Vec<Cell>) {
    let server = server(|_| vec![integers(&[1])]);
    Case::read(&server, query).declare(schemas).with(arguments).value();
    let [call] = executed(&server).try_into().unwrap_or_else(|calls| panic!("not one call: {calls:?}"));
    call
}

#[test]
fn values_are_bound_with_their_types() {
    let text = |text: &str| Cell::Text(text.to_owned());
    for (argument, declaration, cell) in [
        (json!("O'Hara; DROP TABLE t --"), "nvarchar(4000)", text("O'Hara; DROP TABLE t --")),
        (json!("9007199254740993"), "nvarchar(4000)", text("9007199254740993")),
        (json!(""), "nvarchar(4000)", text("")),
        (json!("🏨".repeat(3000)), "nvarchar(max)", text(&"🏨".repeat(3000))),
        (json!(7), "int", Cell::Int(7)),
        (json!(-2_147_483_649_i64), "bigint", Cell::Int(-2_147_483_649)),
        (json!(u64::MAX), "numeric(20,0)", Cell::decimal("18446744073709551615")),
        (json!(0.1), "numeric(2,1)", Cell::decimal("0.1")),
        (json!(-1234.5678), "numeric(8,4)", Cell::decimal("-1234.5678")),
        (json!(1e300), "float(53)", Cell::Float(1e300)),
        (json!(true), "bit", Cell::Bit(true)),
        (json!([1, "a"]), "nvarchar(4000)", text("[1,\"a\"]")),
        (json!({"a": null}), "nvarchar(4000)", text("{\"a\":null}")),
    ] {
        let (sql, declarations, values) = sent("SELECT @x", json!({"x": {}}), json!({"x": argument}));
        assert_eq!(sql, "SELECT @P1");
        assert_eq!(declarations, format!("@P1 {declaration}"), "{argument}");
        assert_eq!(values, [cell], "{argument}");
    }
}

#[test]
fn nulls_have_the_type_that_the_schema_leaves() {
    for (schema, declaration) in [
        (json!({"type": "string"}), "nvarchar(4000)"),
        (json!({"type": ["integer", "null"]}), "int"),
        (json!({"type": "number"}), "numeric(1,0)"),
        (json!({"type": "boolean"}), "bit"),
        (json!({"type": "string", "contentEncoding": "base64"}), "varbinary(8000)"),
    ] {
        let (_, declarations, values) = sent("SELECT @x", json!({"x": schema}), json!({}));
        assert_eq!((declarations, values), (format!("@P1 {declaration}"), vec![Cell::Null]));
    }
}

#[test]
fn bytes_are_bytes() {
    let schema = json!({"x": {"type": "string", "contentEncoding": "base64"}});
    let (_, declarations, values) = sent("SELECT @x", schema, json!({"x": "AP8="}));
    assert_eq!((declarations.as_str(), values), ("@P1 varbinary(8000)", vec![Cell::Bytes(vec![0, 255])]));
}

#[test]
fn names_twice_are_one_and_variables_are_the_texts_own() {
    let query = "DECLARE @n int = @id; UPDATE t SET a = '@id' WHERE id = @id AND b = @@SPID; \
                 SELECT @@ROWCOUNT, @n, @name";
    let schemas = json!({"name": {"type": "string"}, "id": {"type": "integer"}});
    let (sql, declarations, values) = sent(query, schemas, json!({"id": 5, "name": "x"}));
    let expected = "DECLARE @n int = @P1; UPDATE t SET a = '@id' WHERE id = @P1 AND b = @@SPID; \
                    SELECT @@ROWCOUNT, @n, @P2";
    assert_eq!(sql, expected);
    assert_eq!(declarations, "@P1 int,@P2 nvarchar(4000)");
    assert_eq!(values, [Cell::Int(5), Cell::Text("x".to_owned())]);
}

#[test]
fn a_query_without_parameters_declares_none() {
    let (sql, declarations, values) = sent("SELECT 1 AS n -- @x", json!({"x": {}}), json!({"x": 1}));
    assert!(sql.starts_with("SELECT 1 AS n"), "{sql}");
    assert_eq!((declarations.as_str(), values.len()), ("", 0));
}
