//! What people see of a consent: that it worked, why it didn't and what to do, or a question.

use axum::http::StatusCode;
use maud::{DOCTYPE, Markup, html};
use url::Url;

use super::status;
use crate::gateway::oauth::callback::Ended;
use crate::gateway::oauth::confirm::Question;

/// A page. It holds no script but the one that tells its opener.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) html: String,
    /// Where its form may lead besides this server: browsers hold what follows the form's answer to that too.
    form_target: Option<String>,
}

impl Page {
    fn new(status: StatusCode, title: &str, body: Markup) -> Self {
        Self { status, html: page(title, body), form_target: None }
    }

    /// The page's content security policy.
    pub(super) fn policy(&self) -> String {
        let form_target = self.form_target.as_ref().map(|origin| format!(" {origin}")).unwrap_or_default();
        format!(
            "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'{form_target}; base-uri 'none'; \
             frame-ancestors 'none'"
        )
    }
}

/// Paths are relative: the public URL may have one of its own.
fn page(title: &str, body: Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Portcullis" }
                link rel="stylesheet" href="style.css";
            }
            body { main { h1 { (title) } (body) } }
        }
    };
    markup.into_string()
}

/// A consent that has ended: its opener is told, and the window closes where there is nothing to read.
pub(super) fn ended(ended: &Ended) -> Page {
    let connection = &ended.connection;
    let is_read = ended.refusal.is_some() || !ended.missing_scopes.is_empty();
    let title = if ended.refusal.is_some() { "Not connected" } else { "Connected" };
    let body = html! {
        p { strong { (connection.name) } " (" (connection.integration.as_str()) ")" }
        @match &ended.refusal {
            Some(refusal) => {
                p #reason { (sentence(&refusal.reason)) }
                p #advice { (refusal.advice) }
            }
            None => @if let Some(account) = &connection.identity { p { "Account: " span #account { (account) } } },
        }
        @if !ended.missing_scopes.is_empty() {
            p { "These permissions were asked for and not granted. What needs them will be refused:" }
            ul #missing { @for scope in &ended.missing_scopes { li { code { (scope) } } } }
            p { "To grant them, connect again and leave them checked." }
        }
        p.soft { "You can close this window." }
        div #outcome data-connection-id=(connection.id) data-status=(status(ended)) data-close=[(!is_read).then_some("")] {}
        script src="done.js" {}
    };
    Page::new(StatusCode::OK, title, body)
}

/// Whether one account may replace another.
pub(super) fn question(question: &Question) -> Page {
    let unnamed = "an account that the service doesn't name";
    let old = question.connection.identity.as_deref().unwrap_or(unnamed);
    let new = question.identity.as_deref().unwrap_or(unnamed);
    let connection = &question.connection;
    let body = html! {
        p {
            "You signed in to " (connection.integration.as_str()) " with another account than the one that the connection "
            strong { (connection.name) } " has had."
        }
        dl {
            dt { "It has" } dd #old { (old) }
            dt { "You signed in as" } dd #new { (new) }
        }
        p { "If it is replaced, everyone and everything that uses this connection acts as the other account from now on." }
        form method="post" action="confirm" {
            input type="hidden" name="token" value=(question.token.as_str());
            button #keep type="submit" name="decision" value="keep" { "Keep " (old) }
            button #replace type="submit" name="decision" value="replace" { "Replace it by " (new) }
        }
    };
    let mut page = Page::new(StatusCode::OK, "Another account", body);
    let url = question.callback_url.as_deref().and_then(|url| Url::parse(url).ok());
    page.form_target = url.map(|url| url.origin().ascii_serialization());
    page
}

/// There is no such consent, or it has ended.
pub(super) fn gone() -> Page {
    let body = html! {
        p { "This consent has ended: it was given or refused before, it took longer than 10 minutes, or there never was one." }
        p { "Start again from where you came." }
    };
    Page::new(StatusCode::NOT_FOUND, "Nothing to consent to", body)
}

/// The consent is another browser's.
pub(super) fn other_browser() -> Page {
    let body = html! {
        p { "This consent was begun in another browser, and can only be given there." }
        p { "If it was you, go on in that browser, or start again in this one. If somebody sent you the link, don't." }
    };
    Page::new(StatusCode::FORBIDDEN, "Begun in another browser", body)
}

/// The server can't deal with it now.
pub(super) fn out_of_order() -> Page {
    let body = html! {
        p { "The server can't take this consent at the moment." }
        p { "Start again from where you came in a few minutes." }
    };
    Page::new(StatusCode::SERVICE_UNAVAILABLE, "Out of order", body)
}

/// A message as a sentence.
fn sentence(text: &str) -> String {
    let mut characters = text.trim().chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let rest = characters.as_str();
    let end = if rest.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!("{first}{rest}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_text_on_the_page() {
        let html = page("<b>", html! { p { (sentence("consent was denied (<script>)")) } });
        assert!(
            html.contains("Consent was denied (&lt;script&gt;).") && html.contains("&lt;b&gt;"),
            "{html}"
        );
        assert!(!html.contains("<script>"));
    }

    #[test]
    fn a_form_may_lead_to_the_callbacks_origin_alone() {
        let mut page = gone();
        assert!(page.policy().contains("form-action 'self'; "));
        page.form_target = Some("https://app.example".to_owned());
        assert!(page.policy().contains("form-action 'self' https://app.example; "));
    }
}
