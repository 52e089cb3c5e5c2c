//! Uploads as multipart forms: one zip, or a package's files one by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::package::MANIFEST_FILE;
use serde_json::{Value, json};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::App;
use super::body::{expect_type, read};
use super::error::ApiError;
use super::extract::SLUG_PATTERN;
use crate::integrations::upload::Upload;

/// The largest form: a package, and what the form itself needs, in bytes.
const MAX_FORM_BYTES: usize = 2 * 1024 * 1024;
/// The files that a package is made of.
const FILES: [&str; 7] =
    [MANIFEST_FILE, "connector.ts", "connector.js", "icon.svg", "icon.png", "icon.jpg", "icon.webp"];

/// What the form of an upload holds.
#[derive(Debug)]
pub(super) struct UploadForm {
    /// The package.
    pub(super) upload: Upload,
    /// Whether it is taken although its version wasn't counted up.
    pub(super) force: bool,
}

impl FromRequest<Arc<App>> for UploadForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, ApiError> {
        Self::read(request).await
    }
}

impl UploadForm {
    async fn read(request: Request) -> Result<Self, ApiError> {
        expect_type(request.headers(), "multipart/form-data")?;
        let head = request.headers().clone();
        let mut bytes = read(request, MAX_FORM_BYTES).await?;
        let mut request = Request::new(Body::from(std::mem::take(&mut *bytes)));
        *request.headers_mut() = head;
        let form = Multipart::from_request(request, &()).await;
        let mut form = form.map_err(|error| ApiError::invalid(format!("the form can't be read: {error}")))?;
        let mut fields = Fields::default();
        while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error))? {
            fields.add(field).await?;
        }
        fields.finish()
    }
}

fn unreadable(error: &MultipartError) -> ApiError {
    ApiError::invalid(format!("the form can't be read: {}", error.body_text()))
}

/// The form's fields so far.
#[derive(Default)]
struct Fields {
    seen: BTreeSet<String>,
    package: Option<Vec<u8>>,
    files: Vec<(String, Vec<u8>)>,
    slug: Option<Slug>,
    force: bool,
}

impl Fields {
    async fn add(&mut self, field: Field<'_>) -> Result<(), ApiError> {
        let name = name_of(&field)?;
        if !self.seen.insert(name.clone()) {
            return Err(ApiError::invalid(format!("the form has {name:?} twice")));
        }
        match name.as_str() {
            "package" => self.package = Some(bytes(field).await?),
            "slug" => {
                let slug = Slug::parse(&text(field).await?);
                self.slug = Some(slug.map_err(|error| ApiError::invalid(format!("slug: {error}")))?);
            }
            "force" => self.force = flag(&text(field).await?)?,
            _ => self.files.push((name, bytes(field).await?)),
        }
        Ok(())
    }

    fn finish(self) -> Result<UploadForm, ApiError> {
        let Self { package, files, slug, force, .. } = self;
        let upload = match package {
            Some(_) if !files.is_empty() => {
                return Err(ApiError::invalid(
                    "the form has both a package and single files; send one or the other",
                ));
            }
            Some(bytes) => Upload::Zip { bytes, slug },
            None if files.is_empty() => {
                return Err(ApiError::invalid(
                    "the form has no connector: send a zip in the field package, or its files (config.json, \
                     connector.ts, icon.svg) and a slug",
                ));
            }
            None if files.iter().all(|(name, _)| name != MANIFEST_FILE) => {
                return Err(ApiError::invalid("the form has no config.json; every connector needs one"));
            }
            None => {
                let slug =
                    slug.ok_or_else(|| ApiError::invalid("the form has no slug; single files need one"))?;
                Upload::Files { slug, files }
            }
        };
        Ok(UploadForm { upload, force })
    }
}

/// What a field is: one of our own, or a file of the package by the field's name or its file's.
fn name_of(field: &Field<'_>) -> Result<String, ApiError> {
    let name = field.name().ok_or_else(|| ApiError::invalid("the form has a field without a name"))?;
    let is_ours = ["package", "slug", "force"].contains(&name) || FILES.contains(&name);
    match field.file_name() {
        _ if is_ours => Ok(name.to_owned()),
        Some(file) if FILES.contains(&file) => Ok(file.to_owned()),
        Some(file) => Err(ApiError::invalid(format!(
            "{file:?} in the field {name:?} is no file of a package; those are {}",
            FILES.join(", ")
        ))),
        None => Err(ApiError::invalid(format!(
            "the form has an unknown field {name:?}; there are package, slug, force, and the files {}",
            FILES.join(", ")
        ))),
    }
}

async fn bytes(field: Field<'_>) -> Result<Vec<u8>, ApiError> {
    field.bytes().await.map(Vec::from).map_err(|error| unreadable(&error))
}

async fn text(field: Field<'_>) -> Result<String, ApiError> {
    field.text().await.map_err(|error| unreadable(&error))
}

fn flag(text: &str) -> Result<bool, ApiError> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(ApiError::invalid("force: must be true, false, 1 or 0")),
    }
}

impl ToSchema for UploadForm {
    fn name() -> std::borrow::Cow<'static, str> {
        "UploadForm".into()
    }
}

impl PartialSchema for UploadForm {
    /// A stand-in: what a form can be takes more than utoipa's types can say, see [`UploadForm::described`].
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().build().into()
    }
}

impl UploadForm {
    /// The form's JSON Schema.
    pub(super) fn described() -> Value {
        let file = |what: &str| json!({"type": "string", "format": "binary", "description": what});
        let slug = json!({
            "type": "string", "pattern": SLUG_PATTERN, "minLength": 1, "maxLength": 40,
            "description": "The integration's slug. Of a zip it is otherwise the name of its top folder.",
        });
        let force = json!({
            "type": "string", "enum": ["true", "false", "1", "0"],
            "description": "Take it although operations or parameters changed and the version did not.",
        });
        json!({
            "description": "A connector: one zip in `package`, or its files one by one, each in a field (or with a file \
                name) that is the file's name.",
            "oneOf": [
                {
                    "title": "A zip", "type": "object", "additionalProperties": false, "required": ["package"],
                    "properties": {"package": file("The zip, up to 1 MB."), "slug": slug, "force": force},
                },
                {
                    "title": "Single files", "type": "object", "additionalProperties": false,
                    "required": ["slug", "config.json"],
                    "properties": {
                        "slug": slug, "force": force,
                        "config.json": file("The manifest."), "connector.ts": file("The code."),
                        "connector.js": file("The code, where there is no connector.ts."),
                        "icon.svg": file("The icon."), "icon.png": file("The icon."),
                        "icon.jpg": file("The icon."), "icon.webp": file("The icon."),
                    },
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    /// Reads a form of (field name, file name or "", content).
    async fn form(fields: &[(&str, &str, &str)]) -> Result<UploadForm, String> {
        let mut body = String::new();
        for (name, file, content) in fields {
            let file = if file.is_empty() { String::new() } else { format!("; filename=\"{file}\"") };
            body +=
                &format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n");
        }
        body += "--b--\r\n";
        let request = Request::builder()
            .header(CONTENT_TYPE, "multipart/form-data; boundary=b")
            .body(Body::from(body))
            .unwrap();
        UploadForm::read(request).await.map_err(|error| {
            assert_eq!(error.status.as_u16(), 400, "{}", error.message);
            error.message
        })
    }

    async fn refused(fields: &[(&str, &str, &str)], part: &str) {
        let message = form(fields).await.unwrap_err();
        assert!(message.contains(part), "{message}");
    }

    #[tokio::test]
    async fn a_zip_comes_as_package() {
        let read =
            form(&[("package", "gmail.zip", "PK"), ("slug", "", "gmail"), ("force", "", "1")]).await.unwrap();
        assert!(read.force);
        let Upload::Zip { bytes, slug } = read.upload else { panic!("{:?}", read.upload) };
        assert_eq!(
            (bytes.as_slice(), slug.map(|slug| slug.to_string())),
            (&b"PK"[..], Some("gmail".to_owned()))
        );
        assert!(!form(&[("package", "", "PK")]).await.unwrap().force);
    }

    #[tokio::test]
    async fn files_come_by_their_own_name_or_their_fields() {
        let fields = [("config.json", "c (1).json", "{}"), ("files", "connector.ts", "x"), ("slug", "", "a")];
        let Upload::Files { slug, files } = form(&fields).await.unwrap().upload else { panic!("not files") };
        assert_eq!(slug.as_str(), "a");
        assert_eq!(
            files,
            [("config.json".to_owned(), b"{}".to_vec()), ("connector.ts".to_owned(), b"x".to_vec())]
        );
    }

    #[tokio::test]
    async fn a_form_that_is_no_upload_says_which_field_is_wrong() {
        refused(&[], "no connector").await;
        refused(&[("config.json", "", "{}")], "no slug").await;
        refused(&[("connector.ts", "", "x"), ("slug", "", "a")], "no config.json").await;
        refused(&[("package", "", "PK"), ("config.json", "", "{}"), ("slug", "", "a")], "both").await;
        refused(&[("package", "", "a"), ("package", "", "b")], "\"package\" twice").await;
        refused(
            &[("f", "config.json", "{}"), ("config.json", "", "{}"), ("slug", "", "a")],
            "\"config.json\" twice",
        )
        .await;
        refused(&[("package", "", "PK"), ("slug", "", "A B")], "slug: ").await;
        refused(&[("package", "", "PK"), ("force", "", "yes")], "force: ").await;
        refused(&[("colour", "", "red")], "unknown field \"colour\"").await;
        refused(&[("files", "README.md", "x")], "\"README.md\"").await;
    }

    #[tokio::test]
    async fn a_body_that_is_no_form_is_refused() {
        let request = |content_type: &str, body: &'static str| {
            Request::builder().header(CONTENT_TYPE, content_type).body(Body::from(body)).unwrap()
        };
        let status = |outcome: Result<UploadForm, ApiError>| outcome.unwrap_err().status.as_u16();
        assert_eq!(status(UploadForm::read(request("application/json", "{}")).await), 415);
        assert_eq!(status(UploadForm::read(request("multipart/form-data", "x")).await), 400);
        assert_eq!(
            status(UploadForm::read(request("multipart/form-data; boundary=b", "--b\r\nx")).await),
            400
        );
    }
}
