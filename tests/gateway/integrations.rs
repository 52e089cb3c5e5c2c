//! Uploads: what comes in is what is served and given back; a refused one changes nothing.

use std::thread;

use portcullis_runtime::Package;
use serde_json::{Value, json};

use crate::support::connectors::{connector, echo, numbered};
use crate::support::upload::{Form, package, zip, zip_with};
use crate::support::{Client, Place, column, eventually, on_each_store};

const ICON: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>";

/// A connector whose operation has this parameter, in this version.
fn with_parameter(version: u64, parameter: &str) -> (Value, String) {
    let schema = json!({"type": "object", "properties": {parameter: {"type": "string"}}});
    let operations = json!([{"name": "go", "parametersSchema": schema}]);
    connector(json!({"version": version, "operations": operations}), "return Object.keys(ctx.params);")
}

on_each_store!(
    a_zip_is_served_and_comes_back,
    files_are_served_and_come_back,
    an_upload_outlives_the_server,
    a_changed_interface_needs_a_new_version,
    a_refused_upload_changes_nothing,
    an_upload_can_be_removed,
    uploads_at_once_do_not_mix,
);

fn a_zip_is_served_and_comes_back(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let sent = zip_with("parrot", &echo(), &[("icon.svg", ICON)]);
    let made = admin.upload(Form::of_zip(&sent)).is(201).json();
    assert_eq!(
        (&made["slug"], &made["source"], &made["status"]),
        (&json!("parrot"), &json!("upload"), &json!("active"))
    );
    assert_eq!((&made["has_icon"], &made["error"]), (&json!(true), &Value::Null));
    assert_eq!(admin.result("parrot__go", json!({"a": [1]})), json!({"a": [1]}));
    assert_eq!(admin.get("/api/integrations/parrot").is(200).json(), made);
    let list = admin.get("/api/integrations").is(200).json();
    assert_eq!((&list["count"], column(&list["integrations"], "slug")), (&json!(1), vec!["parrot"]));
    let back = admin.get("/api/integrations/parrot/package").is(200);
    assert_eq!(back.header("content-type"), Some("application/zip"));
    let (sent, back) =
        (Package::from_zip(&sent, None).unwrap(), Package::from_zip(&back.body, None).unwrap());
    assert_eq!((back.slug().as_str(), back.digest()), ("parrot", sent.digest()));
    let icon = admin.get("/api/integrations/parrot/icon").is(200);
    assert_eq!((icon.header("content-type"), icon.body.as_slice()), (Some("image/svg+xml"), ICON));
    // The second time it takes the first one's place.
    let mut next = echo();
    next.0["title"] = json!("Next");
    let replaced = admin.upload(Form::of_zip(&zip("parrot", &next))).json();
    assert_eq!((&replaced["title"], &replaced["has_icon"]), (&json!("Next"), &json!(false)));
    admin.get("/api/integrations/parrot/icon").refuses(404, "NOT_FOUND");
}

fn files_are_served_and_come_back(place: &Place) {
    let server = place.start();
    let (manifest, code) = echo();
    let manifest = manifest.to_string();
    let files = [("config.json", manifest.as_bytes()), ("connector.ts", code.as_bytes()), ("icon.svg", ICON)];
    server.admin().upload(Form::of_files("parrot", &files)).is(201);
    assert_eq!(server.admin().result("parrot__go", json!({"a": 1})), json!({"a": 1}));
    let back = server.user("ada").get("/api/integrations/parrot/package").is(200);
    let back = Package::from_zip(&back.body, None).unwrap();
    assert_eq!(back.digest(), package("parrot", &files).digest());
}

fn an_upload_outlives_the_server(place: &Place) {
    let server = place.start();
    server.admin().upload(Form::of_zip(&zip("seven", &numbered(7)))).is(201);
    server.kill();
    let server = place.start();
    assert_eq!(server.admin().result("seven__go", json!({})), json!(7));
}

fn a_changed_interface_needs_a_new_version(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let upload = |version, parameter| Form::of_zip(&zip("drifter", &with_parameter(version, parameter)));
    admin.upload(upload(1, "a")).is(201);
    let error = admin.upload(upload(1, "b")).refuses(409, "VERSION_DRIFT");
    assert!(error["message"].as_str().unwrap().contains("go"), "it names the operation: {error}");
    let shown = |client: &Client| {
        client.get("/api/tools/catalog?slug=tools.gateway.connector.drifter.go").is(200).json()["tools"][0]
            ["input_schema"]["properties"].clone()
    };
    assert!(shown(&admin)["a"].is_object(), "{:#}", shown(&admin));
    assert!(admin.upload(upload(2, "b")).status < 300);
    assert!(shown(&admin)["b"].is_object(), "{:#}", shown(&admin));
    assert!(admin.upload(upload(2, "c").field("force", "true")).status < 300);
    assert!(shown(&admin)["c"].is_object(), "{:#}", shown(&admin));
}

fn a_refused_upload_changes_nothing(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    admin.upload(Form::of_zip(&zip("parrot", &numbered(1)))).is(201);
    let before = admin.get("/api/integrations").is(200).json();
    let (manifest, code) = echo();
    let no_title = json!({"authMethod": "nonsense", "operations": [{"name": "go"}]}).to_string();
    let broken: [(&str, Form); 3] = [
        (
            "manifest",
            Form::of_files(
                "parrot",
                &[("config.json", no_title.as_bytes()), ("connector.ts", code.as_bytes())],
            ),
        ),
        (
            "code",
            Form::of_files(
                "parrot",
                &[("config.json", manifest.to_string().as_bytes()), ("connector.ts", b"function execute( {")],
            ),
        ),
        ("no code", Form::of_files("parrot", &[("config.json", manifest.to_string().as_bytes())])),
    ];
    for (what, form) in broken {
        let error = admin.upload(form).refuses(422, "INVALID_PACKAGE");
        assert!(
            error["details"]["diagnostics"].as_array().is_some_and(|found| !found.is_empty()),
            "{what}: {error:#}"
        );
    }
    admin.upload(Form::of_zip(b"this is no zip")).is(422);
    admin.upload(Form::new().field("slug", "parrot")).is(400);
    let large = vec![b' '; 1100 * 1024];
    admin
        .upload(Form::of_files(
            "parrot",
            &[("config.json", manifest.to_string().as_bytes()), ("connector.ts", &large)],
        ))
        .refuses(413, "PAYLOAD_TOO_LARGE");
    admin.upload(Form::of_zip(&vec![0; 40 * 1024 * 1024])).refuses(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(admin.get("/api/integrations").is(200).json(), before);
    assert_eq!(admin.result("parrot__go", json!({})), json!(1));
}

fn an_upload_can_be_removed(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    admin.upload(Form::of_zip(&zip("parrot", &echo()))).is(201);
    admin.delete("/api/integrations/parrot").is(204);
    admin.delete("/api/integrations/parrot").refuses(404, "NOT_FOUND");
    admin.get("/api/integrations/parrot").refuses(404, "NOT_FOUND");
    admin.error("TOOL_NOT_FOUND", "parrot__go", json!({}));
}

fn uploads_at_once_do_not_mix(place: &Place) {
    const ROUNDS: u64 = 12;
    let server = place.start();
    let admin = server.admin();
    let titled = |number: u64| {
        let mut numbered = numbered(number);
        numbered.0["title"] = json!(number.to_string());
        numbered
    };
    for round in 0..ROUNDS {
        thread::scope(|scope| {
            for half in 0..2 {
                let (admin, form) = (&admin, Form::of_zip(&zip("busy", &titled(2 * round + half))));
                scope.spawn(move || {
                    let status = admin.upload(form).status;
                    assert!([200, 201, 409].contains(&status), "{status}");
                });
            }
        });
        let title = admin.get("/api/integrations/busy").is(200).json()["title"].clone();
        let result = admin.result("busy__go", json!({}));
        assert_eq!(title, json!(result.to_string()), "the manifest of one, the code of another");
        assert!(result.as_u64().unwrap() / 2 == round, "{result} is of a round before {round}");
    }
}

#[test]
fn checking_stores_nothing() {
    let place = Place::sqlite();
    let server = place.start();
    let user = server.user("ada");
    let check = |form: Form| user.send("POST", "/api/integrations/check", form.body()).is(200).json();
    let good = check(Form::of_zip(&zip("parrot", &echo())));
    assert_eq!((&good["valid"], &good["slug"]), (&json!(true), &json!("parrot")));
    let bad = check(Form::of_zip(&zip("parrot", &connector(json!({"authMethod": "nonsense"}), ""))));
    assert_eq!(bad["valid"], json!(false), "{bad:#}");
    assert!(bad.to_string().contains("/authMethod"), "a place in the manifest: {bad:#}");
    assert_eq!(user.get("/api/integrations").is(200).json()["count"], 0);
}

#[test]
fn a_folder_and_an_upload_of_one_slug_clash() {
    let place = Place::sqlite();
    place.install("taken", &numbered(1));
    let server = place.start();
    let admin = server.admin();
    let error = admin.upload(Form::of_zip(&zip("taken", &numbered(2)))).refuses(409, "SLUG_CLASH");
    assert!(error["message"].as_str().unwrap().contains("taken"), "{error}");
    admin.delete("/api/integrations/taken").is(409);
    assert_eq!(admin.result("taken__go", json!({})), json!(1));
    // The other way round, the upload goes on serving, and says what is wrong.
    admin.upload(Form::of_zip(&zip("late", &numbered(3)))).is(201);
    place.install("late", &numbered(4));
    eventually("the clash is told", || {
        !admin.get("/api/integrations/late").is(200).json()["error"].is_null()
    });
    assert_eq!(admin.result("late__go", json!({})), json!(3));
}
