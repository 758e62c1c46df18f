//! Scenarios of the login records of devices.

use serde_json::json;

use super::{Scratch, at};

async fn addresses(storage: &Scratch, seconds: i64, limit: u32) -> Vec<String> {
    let records = storage.device_logins(at(seconds), limit).await.unwrap();
    records.into_iter().map(|(address, _)| address).collect()
}

async fn add(storage: &Scratch, address: &str, expires: i64) {
    let record = json!({ "address": address });
    let set = storage.set_device_logins(address, &record, at(expires));
    set.await.unwrap();
}

pub(crate) async fn login_records_expire(storage: &mut Scratch) {
    for (address, expires) in [("a", 10), ("b", 30), ("c", 20)] {
        add(storage, address, expires).await;
    }
    assert_eq!(addresses(storage, 9, 10).await, ["b", "c", "a"]);
    assert_eq!(addresses(storage, 10, 10).await, ["b", "c"]);
    assert_eq!(addresses(storage, 9, 1).await, ["b"]);
    assert_eq!(storage.sweep_device_logins(at(20), 10).await.unwrap(), 2);
    assert_eq!(addresses(storage, 0, 10).await, ["b"]);
    assert_eq!(storage.sweep_device_logins(at(20), 10).await.unwrap(), 0);
}

pub(crate) async fn a_login_record_is_replaced(storage: &mut Scratch) {
    add(storage, "a", 10).await;
    let record = json!({ "logins": [1, 2.50] });
    let set = storage.set_device_logins("a", &record, at(60));
    set.await.unwrap();
    let records = storage.device_logins(at(10), 10).await.unwrap();
    let [(address, found)] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!((&**address, found.to_string()), ("a", record.to_string()));
}

pub(crate) async fn login_records_are_bounded(storage: &mut Scratch) {
    for number in 0..5 {
        add(storage, &format!("r{number}"), 100 + number).await;
    }
    assert_eq!(storage.sweep_device_logins(at(0), 2).await.unwrap(), 3);
    assert_eq!(addresses(storage, 0, 10).await, ["r4", "r3"]);
}
