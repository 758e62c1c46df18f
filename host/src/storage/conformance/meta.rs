//! Scenarios of facts about the database.

use super::Scratch;

pub(crate) async fn facts_are_replaced_by_key(storage: &mut Scratch) {
    let get = async |storage: &Scratch, key: &str| storage.meta(key).await.unwrap();
    assert_eq!(get(storage, "a").await, None);
    storage.set_meta("a", &[0, 255, 1]).await.unwrap();
    storage.set_meta("b", b"").await.unwrap();
    assert_eq!(get(storage, "a").await, Some(vec![0, 255, 1]));
    storage.set_meta("a", b"changed").await.unwrap();
    storage.reopen().await;
    assert_eq!(get(storage, "a").await, Some(b"changed".to_vec()));
    assert_eq!(get(storage, "b").await, Some(Vec::new()));
}
