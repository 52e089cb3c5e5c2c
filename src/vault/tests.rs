//! What the vault seals opens at its own place only, and as it was.

use std::collections::BTreeSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn vault() -> (tempfile::TempDir, Vault) {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open_or_create(&folder.path().join("master.key")).unwrap();
    (folder, vault)
}

fn project(number: u128) -> ProjectId {
    ProjectId(Uuid::from_u128(number))
}

fn place() -> Binding<'static> {
    Binding { project: project(1), kind: "credential", owner: "0190-a", field: "apiKey" }
}

#[test]
fn a_value_opens_at_its_place() {
    let (_folder, vault) = vault();
    for value in [b"".as_slice(), b"x", "s\u{e9}cret \0 \u{1f511}".as_bytes(), &[7; 70_000]] {
        let sealed = vault.seal(&place(), value).unwrap();
        assert_eq!(sealed.ciphertext.len(), value.len() + 16);
        assert_eq!(sealed.key_id, vault.active_key());
        assert_eq!(vault.open(&place(), &sealed).unwrap().as_slice(), value);
    }
}

#[test]
fn a_value_opens_nowhere_else() {
    let (_folder, vault) = vault();
    let sealed = vault.seal(&place(), b"canary").unwrap();
    let elsewhere = [
        Binding { project: project(2), ..place() },
        Binding { kind: "config", ..place() },
        Binding { owner: "0190-b", ..place() },
        Binding { owner: "", ..place() },
        Binding { field: "apikey", ..place() },
        Binding { field: "", ..place() },
        // The same text, split elsewhere.
        Binding { owner: "0190-aa", field: "piKey", ..place() },
        Binding::secret(project(1), "apiKey"),
    ];
    for binding in elsewhere {
        let refused = vault.open(&binding, &sealed);
        assert!(matches!(refused, Err(VaultError::Refused { .. })), "{binding:?}");
    }
}

#[test]
fn no_changed_bit_goes_unnoticed() {
    let (_folder, vault) = vault();
    let sealed = vault.seal(&place(), b"canary").unwrap();
    let n_bits = 8 * (sealed.nonce.len() + sealed.ciphertext.len());
    for bit in 0..n_bits {
        let mut changed = sealed.clone();
        let (byte, mask) = (bit / 8, 1 << (bit % 8));
        match changed.nonce.get_mut(byte) {
            Some(byte) => *byte ^= mask,
            None => changed.ciphertext[byte - 12] ^= mask,
        }
        assert!(matches!(vault.open(&place(), &changed), Err(VaultError::Refused { .. })), "bit {bit}");
    }
    for length in 0..sealed.ciphertext.len() {
        let mut cut = sealed.clone();
        cut.ciphertext.truncate(length);
        assert!(matches!(vault.open(&place(), &cut), Err(VaultError::Refused { .. })), "{length} bytes");
    }
}

#[test]
fn each_sealing_has_a_nonce_of_its_own() {
    let (_folder, vault) = vault();
    let nonces: BTreeSet<[u8; 12]> =
        (0..20_000).map(|_| vault.seal(&place(), b"same").unwrap().nonce).collect();
    assert_eq!(nonces.len(), 20_000);
}

#[test]
fn another_rings_value_names_its_key() {
    let (_folder, vault) = vault();
    let (_other_folder, other) = self::vault();
    let sealed = other.seal(&place(), b"canary").unwrap();
    let error = vault.open(&place(), &sealed).unwrap_err();
    assert!(matches!(&error, VaultError::UnknownKey { key_id, .. } if *key_id == sealed.key_id), "{error}");
    assert!(error.to_string().contains("belongs to another master key file"), "{error}");
}

#[test]
fn nothing_that_is_printed_of_a_sealed_value_holds_it() {
    let (_folder, vault) = vault();
    let sealed = vault.seal(&place(), b"canary").unwrap();
    assert_eq!(format!("{sealed:?}"), format!("Sealed {{ key_id: {:?}, .. }}", sealed.key_id));
}

/// AES-256-GCM as the standard has it: NIST's test case 16 (McGrew and Viega), through the crate's same call.
#[test]
fn the_cipher_is_aes_256_gcm() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let key: [u8; 32] =
        hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308").try_into().unwrap();
    let nonce: [u8; 12] = hex("cafebabefacedbaddecaf888").try_into().unwrap();
    let data = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let mut text = hex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );
    let cipher = Aes256Gcm::new((&key).into());
    cipher.encrypt_in_place(&Nonce::from(nonce), &data, &mut text).unwrap();
    let expected = hex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
         76fc6ece0f4e1768cddf8853bb2d551b",
    );
    assert_eq!(text, expected);
}

/// Texts that are apt to be mistaken for one another.
fn part() -> impl Strategy<Value = String> {
    prop_oneof!["[ab\\x00\\x01]{0,4}", "(credential|config|secret)?", any::<String>()]
}

fn parts() -> impl Strategy<Value = (u128, String, String, String)> {
    (0..3_u128, part(), part(), part())
}

proptest! {
    #[test]
    fn two_places_never_have_the_same_associated_data(one in parts(), other in parts()) {
        let data = |(number, kind, owner, field): &(u128, String, String, String)| {
            Binding { project: project(*number), kind, owner, field }.associated_data()
        };
        prop_assert_eq!(data(&one) == data(&other), one == other);
    }

    #[test]
    fn moving_characters_between_parts_changes_the_associated_data(text in "[a-z\\x00]{1,8}", at in 0_usize..8, to in 0_usize..8) {
        let data = |at: usize| {
            let (owner, field) = text.split_at(at.min(text.len()));
            Binding { project: project(1), kind: "", owner, field }.associated_data()
        };
        prop_assert_eq!(data(at) == data(to), at.min(text.len()) == to.min(text.len()));
    }
}
