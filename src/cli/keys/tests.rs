//! Which key a text on the command line means.

use super::*;
use crate::identity::ProjectId;
use crate::time::Timestamp;

fn listed(number: u128, hint: &str, is_revoked: bool) -> Listed {
    let (_, record) = new_key(ProjectId(Uuid::nil()), Role::Admin, None, "test").unwrap();
    let revoked_at = is_revoked.then(Timestamp::now);
    let record = KeyRecord { id: Uuid::from_u128(number), hint: hint.to_owned(), revoked_at, ..record };
    Listed { project: "default".to_owned(), record }
}

fn found(text: &str) -> Result<u128, String> {
    let keys = vec![
        listed(1, "pc_…aaaa", false),
        listed(2, "pc_…bbbb", false),
        listed(3, "pc_…bbbb", true),
        listed(4, "pc_…cccc", false),
        listed(5, "pc_…cccc", false),
        listed(6, "pc_…dddd", true),
    ];
    find(keys, text).map(|key| key.record.id.as_u128()).map_err(|failure| failure.message)
}

#[test]
fn a_key_is_found_by_its_id_or_its_hint() {
    for text in ["pc_…aaaa", "pc_...aaaa", "…aaaa", "aaaa", "pc_aaaa"] {
        assert_eq!(found(text), Ok(1), "{text}");
    }
    assert_eq!(found("bbbb"), Ok(2), "a revoked key with the same hint is not meant");
    assert_eq!(found(&Uuid::from_u128(6).to_string()), Ok(6));
}

#[test]
fn a_key_that_is_not_found_is_told_without_showing_what_may_be_one() {
    let ambiguous = found("cccc").unwrap_err();
    for id in [4, 5].map(Uuid::from_u128) {
        assert!(ambiguous.contains(&id.to_string()), "{ambiguous}");
    }
    assert!(found("dddd").unwrap_err().contains("no valid key pc_…dddd"));
    assert!(found(&Uuid::from_u128(9).to_string()).unwrap_err().contains("there is no key"));
    let mistyped = format!("pc_{}", "k".repeat(42));
    assert!(!found(&mistyped).unwrap_err().contains("kkkkk"));
}
