//! Scenarios of pauses.

use uuid::Uuid;

use super::{Scratch, at};
use crate::model::{Pause, PauseAction, Windows};
use crate::storage::StorageError;

fn pause(name: &str) -> Pause {
    Pause {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        reason: None,
        plugins: Vec::new(),
        targets: None,
        action: PauseAction::Wait,
        starts_at: None,
        ends_at: None,
        windows: None,
        ended_at: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn full(name: &str) -> Pause {
    Pause {
        reason: Some("maintenance".to_owned()),
        plugins: vec!["backup-*".to_owned(), "é".to_owned()],
        targets: Some("tag:core".to_owned()),
        action: PauseAction::Skip,
        starts_at: Some(at(1)),
        ends_at: Some(at(2)),
        windows: Some(Windows {
            cron_expression: "0 8 * * 1-5".to_owned(),
            timezone: "Europe/Berlin".to_owned(),
            minutes: 30,
        }),
        ended_at: Some(at(3)),
        created_at: at(4),
        updated_at: at(5),
        ..pause(name)
    }
}

/// Returns the stored pauses in a form that can be compared: Debug shows all fields.
async fn stored(storage: &Scratch) -> Vec<String> {
    let pauses = storage.pauses().await.unwrap();
    pauses.iter().map(|pause| format!("{pause:?}")).collect()
}

pub(crate) async fn a_pause_is_stored_with_all_its_fields(storage: &mut Scratch) {
    let (plain, full) = (pause("b"), full("a"));
    for pause in [&plain, &full] {
        storage.set_pause(pause).await.unwrap();
    }
    storage.reopen().await;
    let expected = [format!("{full:?}"), format!("{plain:?}")];
    assert_eq!(stored(storage).await, expected, "by name");
}

pub(crate) async fn a_pause_is_replaced_by_id(storage: &mut Scratch) {
    let first = full("a");
    storage.set_pause(&first).await.unwrap();
    let second = Pause {
        id: first.id,
        created_at: first.created_at,
        updated_at: at(9),
        ..pause("renamed")
    };
    storage.set_pause(&second).await.unwrap();
    assert_eq!(stored(storage).await, [format!("{second:?}")]);
}

pub(crate) async fn the_name_of_a_pause_is_unique(storage: &mut Scratch) {
    let (first, second) = (pause("a"), pause("b"));
    storage.set_pause(&first).await.unwrap();
    storage.set_pause(&second).await.unwrap();
    let renamed = Pause {
        name: "a".to_owned(),
        ..second.clone()
    };
    for taken in [pause("a"), renamed] {
        let set = storage.set_pause(&taken).await;
        assert!(matches!(set, Err(StorageError::Exists(_))), "{set:?}");
    }
    let expected = [format!("{first:?}"), format!("{second:?}")];
    assert_eq!(stored(storage).await, expected);
}

pub(crate) async fn a_pause_is_deleted_once(storage: &mut Scratch) {
    let pause = pause("a");
    storage.set_pause(&pause).await.unwrap();
    assert!(storage.delete_pause(pause.id).await.unwrap());
    assert!(!storage.delete_pause(pause.id).await.unwrap());
    assert!(stored(storage).await.is_empty());
}
