//! A request as the provider remembers it.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;

use crate::http1::Message;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When it had come.
    pub at: Instant,
    message: Message,
    params: Vec<(String, String)>,
}

impl Asked {
    pub(crate) fn new(message: Message) -> Asked {
        let query = message.line.split(' ').nth(1).and_then(|target| target.split_once('?'));
        let query = query.map_or("", |(_, query)| query).to_owned();
        let is_form = message
            .header("content-type")
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        let form: &[u8] = if is_form { &message.body } else { &[] };
        let pairs = form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(form));
        let params = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Asked { at: Instant::now(), message, params }
    }

    /// `GET` and so on.
    pub fn method(&self) -> &str {
        self.message.line.split(' ').next().unwrap_or_default()
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        let target = self.message.line.split(' ').nth(1).unwrap_or_default();
        target.split('?').next().unwrap_or_default()
    }

    /// The only parameter of this name, in the query or the form.
    ///
    /// # Panics
    ///
    /// If there are several.
    #[track_caller]
    pub fn param(&self, name: &str) -> Option<&str> {
        let mut values = self.params.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{name} came twice: {:?}", self.params);
        value
    }

    /// The value of a header, whose name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.message.header(name)
    }

    /// The token in the header.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// Id and secret of HTTP's Basic authentication, each encoded as RFC 6749, 2.3.1 wants it.
    pub(crate) fn basic(&self) -> Option<(String, String)> {
        let encoded = self.header("authorization")?.strip_prefix("Basic ")?;
        let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((decoded(id)?, decoded(secret)?))
    }
}

/// A text as a form writes one, without anything that a form would have escaped.
fn decoded(text: &str) -> Option<String> {
    let pairs: Vec<(String, String)> =
        form_urlencoded::parse(format!("x={text}").as_bytes()).into_owned().collect();
    match <[(String, String); 1]>::try_from(pairs) {
        Ok([(_, value)]) => Some(value),
        Err(_) => None,
    }
}
