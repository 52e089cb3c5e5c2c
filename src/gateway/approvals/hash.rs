//! What an approval is bound to: a hash of everything that decides what would run.

use std::fmt::Write as _;

use portcullis_runtime::Connector;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::store::approvals::Asker;
use crate::store::connections::Connection;

/// SHA-256 of tool, arguments, connection and connector: an approval of one is none of anything else.
pub(in crate::gateway) fn call_hash(
    connector: &Connector,
    operation: &str,
    connection: Option<&Connection>,
    arguments: &Value,
) -> String {
    let (id, account) = connection.map_or_else(Default::default, |connection| {
        (connection.id.to_string(), connection.identity.clone().unwrap_or_default())
    });
    let version = connector.manifest().version.to_string();
    let arguments = canonical(arguments);
    digest(
        "portcullis approval, version 1",
        &[connector.slug(), operation, &arguments, &id, &account, &version, connector.digest()],
    )
}

/// SHA-256 of a call and of who asks for it.
pub(super) fn fingerprint(call_hash: &str, asker: &Asker) -> String {
    let user = asker.user.as_ref().map_or(("no user", ""), |user| ("user", user.as_str()));
    let agent = asker.agent.as_ref().map_or(("no agent", ""), |agent| ("agent", agent.as_str()));
    let key = asker.key.to_string();
    digest(
        "portcullis asker, version 1",
        &[call_hash, user.0, user.1, &key, asker.role.as_str(), agent.0, agent.1],
    )
}

/// SHA-256 in hexadecimal: each part stands behind its length, so that no two lists of parts are the same text.
fn digest(domain: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(&domain).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string doesn't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// JSON text with the members of each object in the order of their names. Recursion is bounded by what was parsed: 128 deep.
fn canonical(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            let members: Vec<String> = members
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::identity::{Role, UserName};

    #[test]
    fn the_order_of_members_makes_no_difference_and_all_else_does() {
        let one = json!({"b": [1, {"y": 1.5, "x": null}], "a": "\u{e9}\""});
        let same: Value = serde_json::from_str(r#"{"a": "é\"", "b": [1, {"x": null, "y": 1.5}]}"#).unwrap();
        assert_eq!(canonical(&one), r#"{"a":"é\"","b":[1,{"x":null,"y":1.5}]}"#);
        assert_eq!(canonical(&one), canonical(&same));
        for other in [json!({"a": "é\"", "b": [{"x": null, "y": 1.5}, 1]}), json!({"a": "é"}), json!([one])]
        {
            assert_ne!(canonical(&one), canonical(&other));
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(digest("d", &["ab", "c"]), digest("d", &["a", "bc"]));
        assert_ne!(digest("d", &["a", ""]), digest("d", &["a"]));
        assert_ne!(digest("da", &[]), digest("d", &["a"]));
        assert_eq!(digest("d", &[]).len(), 64);
    }

    #[test]
    fn each_part_of_an_asker_counts() {
        let asker = Asker { user: None, key: Uuid::nil(), role: Role::User, agent: None };
        let ada = UserName::new("ada").unwrap();
        let others = [
            Asker { user: Some(ada), ..asker.clone() },
            Asker { key: Uuid::max(), ..asker.clone() },
            Asker { role: Role::Service, ..asker.clone() },
            Asker { agent: Some(String::new()), ..asker.clone() },
        ];
        let mut seen = vec![fingerprint("h", &asker), fingerprint("i", &asker)];
        seen.extend(others.iter().map(|other| fingerprint("h", other)));
        let n = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), n);
    }

    proptest! {
        #[test]
        fn what_is_canonical_is_the_same_value(text in "[a-z\"\\\\\u{0}-\u{1f}é]{0,8}", number in any::<f64>()) {
            let value = json!({ "z": number, &text: [text, {"b": 1, "a": true}] });
            let read: Value = serde_json::from_str(&canonical(&value)).unwrap();
            prop_assert_eq!(read, value);
        }
    }
}
