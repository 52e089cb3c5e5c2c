//! Uploaded integrations.

use super::*;
use crate::store::integrations::UploadRecord;

on_both! {
    an_upload_is_stored_replaced_and_deleted,
    what_was_replaced_meanwhile_is_not_overwritten,
    of_two_that_store_at_once_one_does,
}

pub(super) fn upload(project: ProjectId, digest: &str) -> UploadRecord {
    UploadRecord {
        project,
        slug: slug("github"),
        version: 3,
        digest: digest.to_owned(),
        created_at: Timestamp(1_000),
        updated_at: Timestamp(1_000),
    }
}

async fn an_upload_is_stored_replaced_and_deleted(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let first = upload(project, "one");
    let zip: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    assert_eq!(store.upload_package(project, &first.slug).await.unwrap(), None);
    assert!(store.put_upload(&first, &zip, None).await.unwrap());
    assert_eq!(*store.uploads(project).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(store.upload_package(project, &first.slug).await.unwrap(), Some(("one".to_owned(), zip)));

    let second = UploadRecord {
        version: 4,
        created_at: Timestamp(9_000),
        updated_at: Timestamp(9_000),
        ..upload(project, "two")
    };
    assert!(store.put_upload(&second, b"zip", Some("one")).await.unwrap());
    let expected = UploadRecord { created_at: Timestamp(1_000), ..second };
    assert_eq!(*store.uploads(project).await.unwrap(), std::slice::from_ref(&expected));

    let other = UploadRecord { slug: slug("acme"), ..upload(project, "x") };
    assert!(store.put_upload(&other, b"", None).await.unwrap());
    assert_eq!(store.all_uploads().await.unwrap(), [other.clone(), expected.clone()]);
    assert!(store.delete_upload(project, &expected.slug).await.unwrap());
    assert!(!store.delete_upload(project, &expected.slug).await.unwrap());
    assert_eq!(*store.uploads(project).await.unwrap(), [other]);
}

async fn what_was_replaced_meanwhile_is_not_overwritten(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    assert!(!store.put_upload(&upload(project, "two"), b"zip", Some("one")).await.unwrap());
    assert!(store.put_upload(&upload(project, "one"), b"zip", None).await.unwrap());
    let epoch = store.epoch();
    assert!(!store.put_upload(&upload(project, "two"), b"zip", None).await.unwrap());
    assert!(!store.put_upload(&upload(project, "two"), b"zip", Some("zero")).await.unwrap());
    assert_eq!(store.epoch(), epoch);
    assert_eq!(store.uploads(project).await.unwrap()[0].digest, "one");
}

async fn of_two_that_store_at_once_one_does(database: TestDatabase) {
    let (left, right) = (database.open().await, database.open().await);
    let project = project(&left).await;
    let mut stored = None;
    for round in 0..20 {
        let digests = [format!("left {round}"), format!("right {round}")];
        let [a, b] = digests.each_ref().map(|digest| upload(project, digest));
        let (left, right) = tokio::join!(
            left.put_upload(&a, b"zip", stored.as_deref()),
            right.put_upload(&b, b"zip", stored.as_deref())
        );
        let (left, right) = (left.unwrap(), right.unwrap());
        assert!(left != right, "round {round}: {left} {right}");
        stored = Some(digests[usize::from(right)].clone());
    }
    assert_eq!(database.open().await.uploads(project).await.unwrap()[0].digest, stored.unwrap());
}
