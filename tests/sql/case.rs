//! A connector with one operation, called once or more often with a few arguments: five lines a test.

use std::fmt;
use std::sync::Arc;

use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::{Call, CallError, Connector, Engine, ErrorCode, LoadError, Outcome, Package};
use serde_json::{Map, Value, json};

use crate::support::{object, shortened};

/// A connector with the one operation `run`, and what it is called with.
pub(crate) struct Case {
    pub(crate) engine: Engine,
    pub(crate) manifest: Value,
    pub(crate) call: Call,
}

impl Case {
    /// Runs it in another engine.
    pub(crate) fn engine(self, engine: &Engine) -> Case {
        Case { engine: engine.clone(), ..self }
    }

    /// The arguments. A parameter without a schema gets one that names the type of its argument.
    pub(crate) fn with(mut self, arguments: Value) -> Case {
        for (name, value) in arguments.as_object().unwrap() {
            let schema = type_of(value).map_or(json!({}), |name| json!({"type": name}));
            let properties = self.properties();
            properties.entry(name.clone()).or_insert(schema);
        }
        self.call.arguments = arguments;
        self
    }

    /// Declares parameters: a schema for each name.
    pub(crate) fn declare(mut self, schemas: Value) -> Case {
        self.properties().extend(object(schemas));
        self
    }

    fn properties(&mut self) -> &mut Map<String, Value> {
        self.manifest["sqlOperations"][0]["parametersSchema"]["properties"].as_object_mut().unwrap()
    }

    /// Sets keys of `sqlConnectionConfig`.
    pub(crate) fn sql(mut self, keys: Value) -> Case {
        self.manifest["sqlConnectionConfig"].as_object_mut().unwrap().extend(object(keys));
        self
    }

    /// Sets keys of the connection's config.
    pub(crate) fn config(mut self, keys: Value) -> Case {
        self.call.config.extend(object(keys));
        self
    }

    pub(crate) fn secret(mut self, key: &str, value: &str) -> Case {
        self.call.secrets.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Calls another operation; none tests the connection.
    pub(crate) fn operation(mut self, name: Option<&str>) -> Case {
        self.call.operation = name.map(str::to_owned);
        self
    }

    pub(crate) fn try_load(&self) -> Result<Connector, LoadError> {
        let files = vec![("config.json".to_owned(), self.manifest.to_string().into_bytes())];
        self.engine.load(&Package::from_files(Slug::parse("test").unwrap(), files).unwrap())
    }

    #[track_caller]
    pub(crate) fn load(self) -> Loaded {
        let connector = self.try_load().unwrap_or_else(|error| panic!("not loaded:\n{error}\n{self}"));
        let shown = self.to_string();
        Loaded { connector: Arc::new(connector), call: self.call, shown }
    }

    #[track_caller]
    pub(crate) fn outcome(self) -> Outcome {
        let Loaded { connector, call, .. } = self.load();
        connector.call(&call)
    }

    /// The result.
    #[track_caller]
    pub(crate) fn value(self) -> Value {
        self.load().value()
    }

    /// The result's rows.
    #[track_caller]
    pub(crate) fn rows(self) -> Value {
        self.value()["rows"].take()
    }

    /// The value in the first column of the only row.
    #[track_caller]
    pub(crate) fn single(self) -> Value {
        self.load().single()
    }

    /// The error, which is of this code.
    #[track_caller]
    pub(crate) fn fails(self, code: ErrorCode) -> CallError {
        self.load().fails(code)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = self.manifest["sqlOperations"][0]["query"].as_str().unwrap_or_default();
        let engine = &self.manifest["sqlConnectionConfig"]["engine"];
        let mut arguments = self.call.arguments.to_string();
        arguments.truncate(arguments.floor_char_boundary(300));
        write!(f, "on {engine}: {query}\nwith {arguments}")
    }
}

/// A connector that can be called more than once.
pub(crate) struct Loaded {
    pub(crate) connector: Arc<Connector>,
    pub(crate) call: Call,
    shown: String,
}

impl Loaded {
    /// The same with other arguments.
    pub(crate) fn with(&self, arguments: Value) -> Loaded {
        let shown = format!("{}\nnow {}", self.shown, shortened(&arguments));
        Loaded {
            connector: Arc::clone(&self.connector),
            call: Call { arguments, ..self.call.clone() },
            shown,
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.connector.call(&self.call)
    }

    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        self.outcome().result.unwrap_or_else(|error| panic!("{error:#?}\n{}", self.shown))
    }

    /// The value in the first column of the only row.
    #[track_caller]
    pub(crate) fn single(&self) -> Value {
        let (value, shown) = (self.value(), &self.shown);
        let name =
            value["columns"][0]["name"].as_str().unwrap_or_else(|| panic!("no columns: {value}\n{shown}"));
        assert_eq!(value["rowCount"], 1, "{value}\n{shown}");
        value["rows"][0][name].clone()
    }

    #[track_caller]
    pub(crate) fn fails(&self, code: ErrorCode) -> CallError {
        match self.outcome().result {
            Ok(result) => panic!("it gave {result}\n{}", self.shown),
            Err(error) => {
                assert_eq!(error.code, code, "{error:#?}\n{}", self.shown);
                error
            }
        }
    }
}

/// The JSON Schema type of a value; none for null.
fn type_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some("boolean"),
        Value::Number(number) if number.is_f64() => Some("number"),
        Value::Number(_) => Some("integer"),
        Value::String(_) => Some("string"),
        Value::Array(_) => Some("array"),
        Value::Object(_) => Some("object"),
    }
}
