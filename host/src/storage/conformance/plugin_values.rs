//! Scenarios of the values that plugins store.

use serde_json::{Value, json};

use super::{Scratch, at};
use crate::storage::StorageUse;

const PLENTY: StorageUse = StorageUse {
    keys: 100,
    bytes: 10_000,
};

async fn set(storage: &Scratch, plugin: &str, key: &str, value: &Value) {
    let set = storage.set_plugin_value(plugin, key, value, PLENTY, at(1));
    set.await.unwrap().unwrap();
}

async fn get(storage: &Scratch, plugin: &str, key: &str) -> Option<String> {
    let value = storage.plugin_value(plugin, key).await.unwrap();
    value.map(|value| value.to_string())
}

pub(crate) async fn values_are_kept_per_plugin(storage: &mut Scratch) {
    let value = json!({ "a": [1.50, null, "é"] });
    set(storage, "one", "key", &value).await;
    set(storage, "two", "key", &json!("other")).await;
    assert_eq!(get(storage, "one", "key").await, Some(value.to_string()));
    set(storage, "one", "key", &json!("changed")).await;
    assert_eq!(
        get(storage, "one", "key").await,
        Some("\"changed\"".to_owned())
    );
    storage.reopen().await;
    assert_eq!(
        get(storage, "two", "key").await,
        Some("\"other\"".to_owned())
    );
    assert!(storage.delete_plugin_value("one", "key").await.unwrap());
    assert!(!storage.delete_plugin_value("one", "key").await.unwrap());
    assert_eq!(get(storage, "one", "key").await, None);
    assert_eq!(
        get(storage, "two", "key").await,
        Some("\"other\"".to_owned())
    );
}

pub(crate) async fn keys_are_listed_by_prefix(storage: &mut Scratch) {
    for key in ["b", "a/2", "a/1", "a_1", "A/3", "a%", "a/3"] {
        set(storage, "one", key, &json!(1)).await;
    }
    set(storage, "two", "a/9", &json!(1)).await;
    let keys = async |prefix, limit| storage.plugin_keys("one", prefix, limit).await.unwrap();
    assert_eq!(keys("a/", 10).await, ["a/1", "a/2", "a/3"]);
    assert_eq!(keys("a/", 2).await, ["a/1", "a/2"]);
    assert_eq!(keys("a%", 10).await, ["a%"]);
    assert_eq!(keys("a_", 10).await, ["a_1"]);
    assert_eq!(
        keys("", 10).await,
        ["A/3", "a%", "a/1", "a/2", "a/3", "a_1", "b"]
    );
    assert!(keys("c", 10).await.is_empty());
}

pub(crate) async fn a_plugin_stays_within_its_limits(storage: &mut Scratch) {
    let limit = StorageUse { keys: 2, bytes: 20 };
    let set = async |key, value: &Value| {
        let set = storage.set_plugin_value("one", key, value, limit, at(1));
        set.await.unwrap()
    };
    // The size of a value is that of its JSON: `"12345"` has 7 bytes, and `é` has two.
    let (text, longer) = (json!("12345"), json!("1234567890123"));
    assert_eq!(set("é", &text).await, Ok(()));
    assert_eq!(set("bb", &text).await, Ok(()));
    let keys = StorageUse { keys: 3, bytes: 20 };
    assert_eq!(set("c", &json!(1)).await, Err(keys));
    let bytes = StorageUse { keys: 2, bytes: 26 };
    assert_eq!(set("bb", &longer).await, Err(bytes));
    assert_eq!(get(storage, "one", "bb").await, Some(text.to_string()));
    // A value that is replaced does not count twice.
    assert_eq!(set("bb", &json!("1234567")).await, Ok(()));
    let other = storage.set_plugin_value("two", "a", &text, limit, at(1));
    assert_eq!(other.await.unwrap(), Ok(()));
    storage.delete_plugin_value("one", "é").await.unwrap();
    assert_eq!(set("c", &json!(1)).await, Ok(()));
}
