//! The OpenAPI document: what the routes say of themselves, and what holds for all of them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::{ContactBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

use super::keys::NewKeyBody;
use super::multipart::UploadForm;
use super::schema::without_null;

const DESCRIPTION: &str = "\
Agents call operations of other people's APIs with somebody's credentials, kept safe.

Every request under `/api` needs a key: `Authorization: Bearer pc_…` (or `ApiKey pc_…`). A key belongs to a project and \
has a role. `admin`: all of the project. `user`: a person, with their own connections. `service`: an agent backend, which \
acts as the user whom the header `Portcullis-User` names; an admin's key may name one too.

Lists are `{count, …}`. Errors are `{error: {code, message, details?}}`. What belongs to another project or another \
person is a 404, as if it didn't exist. Each answer has the header `x-request-id`; send one of your own to find a request \
in the server's log.";

/// The resources, in the order in which they are shown.
const TAGS: [(&str, &str); 11] = [
    ("Integrations", "Connectors that the project can use: folders on the server, and uploads."),
    ("Connections", "Accounts at integrations, with their credentials."),
    ("OAuth2 apps", "The clients that OAuth2 connections of an integration are made with."),
    ("Tools", "What agents call: the catalog, and running its tools."),
    ("Agents", "What each agent needs, what it may call of whose connections, and running it."),
    ("Approvals", "Calls that a person must confirm before anything of them is sent."),
    ("Executions", "The record of each call."),
    ("Secrets", "Named values of the project that connections' credentials may refer to."),
    ("Keys", "Who may use this API."),
    ("Project", "The settings of the key's project."),
    ("Operations", "For whoever runs the server; open to all who can reach it."),
];

/// The document without its paths.
pub(super) fn opening() -> OpenApi {
    let license = LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).build();
    let contact = ContactBuilder::new().url(Some(env!("CARGO_PKG_REPOSITORY"))).build();
    let info = InfoBuilder::new()
        .title("Portcullis")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .contact(Some(contact))
        .build();
    OpenApiBuilder::new().info(info).build()
}

/// The whole document: security, and the errors that are possible everywhere.
pub(super) fn complete(document: OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    for (path, item) in members(&mut document["paths"]) {
        let is_guarded = path.starts_with("/api/");
        for (_, operation) in members(item) {
            describe(operation, is_guarded);
        }
    }
    document["tags"] =
        TAGS.iter().map(|(name, description)| json!({"name": name, "description": description})).collect();
    let components = &mut document["components"];
    let schemas = &mut components["schemas"];
    schemas["UploadForm"] = UploadForm::described();
    schemas["NewKeyBody"] = NewKeyBody::described(schemas["NewKeyBody"].take());
    components["responses"] = ERRORS.iter().map(|error| (error.name.to_owned(), error.response())).collect();
    components["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer pc_…`"},
        "apiKey": {
            "type": "apiKey", "in": "header", "name": "Authorization", "description": "`Authorization: ApiKey pc_…`",
        },
    });
    document
}

/// The methods of each path, as the header `Allow` lists them.
pub(super) fn allowed_methods(document: &Value) -> HashMap<String, String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let described = paths.map(|(path, item)| {
        let methods = item.as_object().into_iter().flat_map(Map::keys).map(|method| method.to_uppercase());
        let methods = methods
            .flat_map(|method| if method == "GET" { vec![method, "HEAD".to_owned()] } else { vec![method] });
        (path.clone(), methods.chain(["OPTIONS".to_owned()]).collect::<Vec<_>>().join(", "))
    });
    described.collect()
}

/// Adds what follows from an operation's shape.
fn describe(operation: &mut Value, is_guarded: bool) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    let (mut has_path, mut has_query) = (false, false);
    for parameter in parameters.into_iter().flatten() {
        has_path |= parameter["in"] == "path";
        has_query |= parameter["in"] == "query";
        without_null(&mut parameter["schema"]);
    }
    let has_body = operation.get("requestBody").is_some();
    for (_, content) in
        operation.get_mut("requestBody").map(|body| &mut body["content"]).into_iter().flat_map(members)
    {
        without_null(&mut content["schema"]);
    }
    if is_guarded {
        operation["security"] = json!([{"bearer": []}, {"apiKey": []}]);
    }
    for error in &ERRORS {
        let applies = match error.when {
            When::Guarded => is_guarded,
            When::Body => has_body,
            When::Path => has_path,
            When::Input => is_guarded || has_body || has_query,
        };
        if applies && let Value::Object(responses) = &mut operation["responses"] {
            let reference = json!({"$ref": format!("#/components/responses/{}", error.name)});
            responses.entry(error.status).or_insert(reference);
            responses.sort_keys();
        }
    }
}

/// An object's members; none of anything else.
fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flat_map(Map::iter_mut)
}

/// An error that operations have in common.
struct CommonError {
    name: &'static str,
    status: &'static str,
    description: &'static str,
    /// A header that it always has, and what the header is.
    header: Option<(&'static str, &'static str)>,
    when: When,
}

/// Which operations it can come from.
enum When {
    /// Those that need a key.
    Guarded,
    /// Those with a body.
    Body,
    /// Those with a parameter in the path.
    Path,
    /// Those that take anything, a header included.
    Input,
}

impl CommonError {
    fn response(&self) -> Value {
        let mut response = json!({
            "description": self.description,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}},
        });
        if let Some((name, description)) = self.header {
            response["headers"] =
                json!({ name: {"required": true, "description": description, "schema": {"type": "string"}} });
        }
        response
    }
}

const RETRY_AFTER: Option<(&str, &str)> = Some(("Retry-After", "How many seconds to wait."));

const ERRORS: [CommonError; 10] = [
    CommonError {
        name: "InvalidRequest",
        status: "400",
        description: "The request makes no sense; the message says what is wrong with it.",
        header: None,
        when: When::Input,
    },
    CommonError {
        name: "Unauthorized",
        status: "401",
        description: "There is no valid API key.",
        header: Some(("WWW-Authenticate", "The scheme to use.")),
        when: When::Guarded,
    },
    CommonError {
        name: "Forbidden",
        status: "403",
        description: "The key may not do this.",
        header: None,
        when: When::Guarded,
    },
    CommonError {
        name: "NotFound",
        status: "404",
        description: "There is none, or none that you may know of.",
        header: None,
        when: When::Path,
    },
    CommonError {
        name: "TooSlow",
        status: "408",
        description: "The body did not arrive within 30 seconds.",
        header: None,
        when: When::Body,
    },
    CommonError {
        name: "TooLarge",
        status: "413",
        description: "The body is too large.",
        header: None,
        when: When::Body,
    },
    CommonError {
        name: "UnsupportedMediaType",
        status: "415",
        description: "The body is of another media type.",
        header: None,
        when: When::Body,
    },
    CommonError {
        name: "RateLimited",
        status: "429",
        description: "The project has too much under way, or too many wrong keys came from your address.",
        header: RETRY_AFTER,
        when: When::Guarded,
    },
    CommonError {
        name: "Internal",
        status: "500",
        description: "Something went wrong in the server; its log tells what, under the request's id.",
        header: None,
        when: When::Guarded,
    },
    CommonError {
        name: "Unavailable",
        status: "503",
        description: "The store doesn't answer (`STORE_UNAVAILABLE`), the server is going down, or its sandbox doesn't work.",
        header: RETRY_AFTER,
        when: When::Guarded,
    },
];
