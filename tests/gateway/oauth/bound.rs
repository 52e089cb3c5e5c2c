//! Whose consent it is: the state, the browser, the user and the issuer that it is bound to.

use std::thread;

use portcullis_test_servers::oauth::Provider;
use serde_json::json;

use super::stage::{Person, Stage, app, query, shown};
use crate::support::{Place, on_each_store};

on_each_store!(a_state_is_good_once, a_consent_belongs_to_the_browser_that_began_it);

fn a_state_is_good_once(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.user("ada");
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    let person = Person::at(&server);
    let back = stage.provider.consent(&person.starts(&redirect_url));
    person.opens(&back).is(200);
    let connection = shown(&ada, &pending);
    // The same answer again, and another code under the same state.
    person.opens(&back).is(404);
    let code = query(&stage.provider.consent(&redirect_at(&stage.provider, &redirect_url)))["code"].clone();
    person.opens(&replaced(&back, "code", &code)).is(404);
    person.opens(&redirect_url).is(404);
    assert_eq!(stage.provider.grants("authorization_code").len(), 1);
    assert_eq!(shown(&ada, &pending), connection, "nothing has changed");
}

#[test]
fn one_of_many_answers_at_once_is_taken() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    let person = Person::at(&server);
    let back = stage.provider.consent(&person.starts(&redirect_url));
    let people: Vec<Person> = (0..8).map(|_| person.again()).collect();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let answer = |person: Person| {
            let back = &back;
            scope.spawn(move || person.opens(back).status)
        };
        let answers: Vec<_> = people.into_iter().map(answer).collect();
        answers.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(stage.provider.grants("authorization_code").len(), 1, "a code is exchanged once");
    assert_eq!(shown(&ada, &pending)["status"], "ACTIVE");
}

#[test]
fn a_state_that_nobody_made_is_refused() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    let person = Person::at(&server);
    let back = stage.provider.consent(&person.starts(&redirect_url));
    let long = "A".repeat(100_000);
    for forged in ["", "x", &"A".repeat(43), "%00", "../../etc/passwd", "' OR 1=1 --", &long[..5000]] {
        let answer = person.opens(&replaced(&back, "state", forged));
        assert!([400, 404].contains(&answer.status), "{forged:?}: {}", answer.status);
    }
    let bare = format!("http://{}/oauth/callback", server.address);
    for url in [bare.clone(), format!("{bare}?code=x"), format!("{bare}?error=access_denied")] {
        let answer = person.opens(&url);
        assert!([400, 404].contains(&answer.status), "{url}: {}", answer.status);
    }
    assert_eq!(stage.provider.requests_for("/token").len(), 0);
    assert_eq!(shown(&ada, &pending)["status"], "PENDING");
    // None of that has spent the real one.
    person.opens(&back).is(200);
}

fn a_consent_belongs_to_the_browser_that_began_it(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.user("ada");
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    let person = Person::at(&server);
    let back = stage.provider.consent(&person.starts(&redirect_url));
    // Somebody who was sent the link, with no cookie and with one of a consent of their own.
    let stranger = Person::at(&server);
    assert_eq!(stranger.opens(&redirect_url).status, 403);
    assert_eq!(stranger.opens(&back).status, 403);
    let (_, own) = stage.begin(&server.user("eve"), json!({}));
    stranger.starts(&own);
    assert_eq!(stranger.opens(&back).status, 403);
    assert_eq!(stage.provider.requests_for("/token").len(), 0);
    assert_eq!(shown(&ada, &pending)["status"], "PENDING");
    // It is still there for whom it is meant.
    person.opens(&back).is(200);
    assert_eq!(shown(&ada, &pending)["status"], "ACTIVE");
}

#[test]
fn the_first_browser_has_it_where_none_began() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    // A backend of the caller's own has sent the browser to the provider.
    let back = stage.provider.consent(&redirect_at(&stage.provider, &redirect_url));
    Person::at(&server).opens(&back).is(200);
    assert_eq!(shown(&ada, &pending)["status"], "ACTIVE");
}

#[test]
fn a_code_of_another_consent_brings_nothing() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let (ada, eve) = (server.user("ada"), server.user("eve"));
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    let (eves, eves_url) = stage.begin(&eve, json!({"name": "Eve's"}));
    let person = Person::at(&server);
    let back = stage.provider.consent(&person.starts(&redirect_url));
    stage.provider.behave(|behaviour| behaviour.account = "eve".to_owned());
    let eves_back = stage.provider.consent(&Person::at(&server).starts(&eves_url));
    // Eve's code under ada's state: the verifier isn't this challenge's.
    person.opens(&replaced(&back, "code", &query(&eves_back)["code"]));
    let failed = shown(&ada, &pending);
    assert_eq!(failed["status"], "FAILED", "{failed:#}");
    assert_eq!(failed["identity"], json!(null));
    assert_eq!(shown(&eve, &eves)["status"], "PENDING");
}

#[test]
fn an_answer_of_another_issuer_is_refused_and_its_code_left_alone() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let own = stage.provider.url("");
    place.install("strict", &stage.mail(json!({"issuer": own})));
    let server = stage.start();
    server.admin().put("/api/integrations/strict/oauth-apps/default", app()).is(201);
    let ada = server.user("ada");
    for (integration, iss, expected) in [
        ("mail", own.as_str(), "ACTIVE"),
        ("mail", "https://evil.example", "FAILED"),
        ("mail", "https://localhost.evil.example", "FAILED"),
        ("mail", "", "FAILED"),
        ("strict", own.as_str(), "ACTIVE"),
        // The right host is enough only where nothing better is known.
        ("strict", &format!("{own}/other"), "FAILED"),
        ("strict", &format!("{own}/"), "FAILED"),
        ("strict", "https://evil.example", "FAILED"),
    ] {
        stage.provider.behave(|behaviour| behaviour.iss = Some(iss.to_owned()));
        let (pending, redirect_url) = stage.begin(&ada, json!({"integration": integration}));
        let before = stage.provider.requests_for("/token").len();
        Person::at(&server).consents(&stage.provider, &redirect_url);
        let after = shown(&ada, &pending);
        assert_eq!(after["status"], expected, "{iss:?} at {integration}: {after:#}");
        let n_exchanges = stage.provider.requests_for("/token").len() - before;
        assert_eq!(n_exchanges, usize::from(expected == "ACTIVE"), "{iss:?} at {integration}");
    }
}

/// Where a browser is sent that begins nowhere else: what `/oauth/start` would answer.
fn redirect_at(provider: &Provider, redirect_url: &str) -> String {
    format!("{}?{}", provider.url("/authorize"), redirect_url.split_once('?').unwrap().1)
}

/// A URL with another value for a parameter.
fn replaced(url: &str, name: &str, value: &str) -> String {
    let mut url = url::Url::parse(url).unwrap();
    let pairs: Vec<(String, String)> = url
        .query_pairs()
        .map(|(own, old)| {
            let new = if own == name { value.to_owned() } else { old.into_owned() };
            (own.into_owned(), new)
        })
        .collect();
    url.query_pairs_mut().clear().extend_pairs(pairs);
    url.into()
}
