//! What egress gives back: a response, its head alone, and the record of what was on the wire.

use super::text;

/// A whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code, 200 to 599 or what else the server sent; never 0.
    pub status: u16,
    /// The server's reason phrase, or the standard one where it sent none.
    pub status_text: String,
    /// Lower-case names; repeated ones joined by `, `. Bytes of values are read as Latin-1, as `fetch` does. Where the
    /// body was decompressed, `content-encoding` and `content-length` (which told of the compressed one) are left out.
    pub headers: Vec<(String, String)>,
    /// The body, decompressed.
    pub body: Vec<u8>,
    /// The URL that answered, after redirects.
    pub url: String,
}

impl Response {
    pub(super) fn new(head: Head, body: Vec<u8>) -> Response {
        let Head { status, status_text, headers, url } = head;
        Response { status, status_text, headers, body, url }
    }

    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as text: a byte order mark decides, then the content type's charset, then UTF-8; what can't be read is
    /// U+FFFD.
    pub fn text(&self) -> String {
        text::decode(&self.body, self.header("content-type"))
    }

    /// Whether the content type says JSON.
    pub fn is_json(&self) -> bool {
        text::is_json(self.header("content-type"))
    }
}

/// A response without its body. The fields are those of [`Response`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub status_text: String,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The URL that answered.
    pub url: String,
}

impl Head {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

/// One request and its response on the wire; a redirect makes several. A request that was blocked by `allowedHosts` or
/// was invalid never got that far and makes none.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Exchange {
    /// The method, as on the wire.
    pub method: &'static str,
    /// The URL, with its query.
    pub url: String,
    /// The status, where a response came.
    pub status: Option<u16>,
    /// How long it took, in milliseconds, the body included.
    pub ms: u64,
    /// How many bytes of the body were read, after decompression.
    pub bytes: u64,
    /// What went wrong, where something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether a byte of the request may have left for the server. False only where it certainly didn't: the name had no
    /// address, the address was refused, no connection came about, or it couldn't be secured. Not part of any report.
    #[serde(skip)]
    pub sent: bool,
}
