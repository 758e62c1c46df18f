//! Scenarios of connections and host keys.

use serde_json::json;
use uuid::Uuid;

use super::{Scratch, add, at, complete, new_job, stored};
use crate::model::{
    Algorithms, AnswerCredential, AnswerValue, Connection, HostKeyPlace, NewJob, SealedRow,
    SealedSecrets, StoredAnswer, test_connection,
};
use crate::storage::{
    AddOutcome, ConnectionChange, DeleteConnectionOutcome, MASTER_KEY_CHECK, Page, StorageError,
};

fn secrets(byte: u8) -> SealedSecrets {
    SealedSecrets {
        password: Some(vec![byte, 0, 1]),
        private_key: Some(vec![byte, 0, 2]),
        passphrase: Some(vec![byte, 0, 3]),
        secret: Some(vec![byte, 0, 4]),
    }
}

fn answers(byte: u8) -> Vec<StoredAnswer> {
    vec![StoredAnswer {
        question: "code".to_owned(),
        key: false,
        value: AnswerValue::Sealed(vec![byte]),
    }]
}

/// Returns the sealed values of a connection, in one form that can be compared.
fn sealed(connection: &Connection) -> String {
    format!("{:?} {:?}", connection.secrets, connection.answers)
}

async fn add_connection(storage: &Scratch, name: &str, jump: &[&str]) -> Connection {
    let connection = test_connection(name, "192.0.2.1", jump);
    storage.add_connection(&connection).await.unwrap();
    connection
}

async fn connection(storage: &Scratch, id: Uuid) -> Connection {
    storage.connection(id).await.unwrap().unwrap()
}

/// Adds a job with an inline connection that has secrets.
async fn add_inline(storage: &Scratch) -> (Uuid, Connection) {
    let job = new_job();
    let inline = Connection {
        owner_job_id: Some(job.id),
        secrets: secrets(1),
        answers: answers(1),
        ..test_connection(&format!("inline:{}", job.id), "192.0.2.9", &[])
    };
    storage.add_job(&job, &[], Some(&inline)).await.unwrap();
    (job.id, inline)
}

fn renamed(connection: &Connection, name: &str) -> ConnectionChange {
    let updated = Connection {
        name: name.to_owned(),
        updated_at: at(9),
        ..connection.clone()
    };
    ConnectionChange {
        updated: Some(updated),
        ..ConnectionChange::default()
    }
}

pub(crate) async fn a_connection_is_stored_with_all_its_fields(storage: &mut Scratch) {
    let shown = StoredAnswer {
        question: "user".to_owned(),
        key: true,
        value: AnswerValue::Credential(AnswerCredential::Username),
    };
    let full = Connection {
        port: 2222,
        username: "üser".to_owned(),
        device_type: "cisco_ios".to_owned(),
        timeout_seconds: 7,
        tags: vec!["a".to_owned(), "é".to_owned()],
        host_key: Some("SHA256:abc".to_owned()),
        algorithms: Algorithms::Legacy,
        certificate: Some("certificate".to_owned()),
        agent: true,
        max_sessions: 3,
        secrets: secrets(1),
        answers: [answers(1), vec![shown]].concat(),
        created_at: at(1),
        updated_at: at(2),
        ..test_connection("core", "2001:db8::1", &["j1", "j2"])
    };
    storage.add_connection(&full).await.unwrap();
    // Debug shows all fields.
    let text = format!("{full:?}");
    assert_eq!(format!("{:?}", connection(storage, full.id).await), text);
    let named = storage.connection_named("core").await.unwrap().unwrap();
    assert_eq!(format!("{named:?}"), text);
    let all = storage.connections().await.unwrap();
    assert_eq!(format!("{all:?}"), format!("[{text}]"));

    let changed = Connection {
        id: full.id,
        updated_at: at(5),
        created_at: at(1),
        ..test_connection("edge", "192.0.2.7", &[])
    };
    let change = ConnectionChange {
        updated: Some(changed.clone()),
        ..ConnectionChange::default()
    };
    storage.change_connections(change).await.unwrap().unwrap();
    let after = connection(storage, full.id).await;
    assert_eq!(format!("{after:?}"), format!("{changed:?}"));
    assert!(storage.connection_named("core").await.unwrap().is_none());
    assert!(storage.connection(Uuid::now_v7()).await.unwrap().is_none());
}

pub(crate) async fn the_name_of_a_connection_is_unique(storage: &mut Scratch) {
    add_connection(storage, "core", &[]).await;
    let edge = add_connection(storage, "edge", &[]).await;
    let again = test_connection("core", "192.0.2.2", &[]);
    let added = storage.add_connection(&again).await;
    assert!(matches!(added, Err(StorageError::Exists(_))), "{added:?}");
    let changed = storage.change_connections(renamed(&edge, "core")).await;
    assert!(
        matches!(changed, Err(StorageError::Exists(_))),
        "{changed:?}"
    );
    assert_eq!(connection(storage, edge.id).await.name, "edge");
    assert_eq!(storage.connections().await.unwrap().len(), 2);
}

pub(crate) async fn connections_are_paged_by_name(storage: &mut Scratch) {
    for name in ["c", "a", "e", "b", "d"] {
        add_connection(storage, name, &[]).await;
    }
    add_inline(storage).await;
    let large = Page {
        limit: 2,
        bytes: 1 << 20,
    };
    let (mut after, mut found) = (String::new(), Vec::new());
    loop {
        let (page, more) = storage.connections_page(&after, large).await.unwrap();
        assert!(page.len() <= 2);
        found.extend(page.into_iter().map(|it| it.name));
        if !more {
            break;
        }
        after = found.last().unwrap().clone();
    }
    assert_eq!(found, ["a", "b", "c", "d", "e"]);
    // At least one fits.
    let small = Page { limit: 9, bytes: 1 };
    let (page, more) = storage.connections_page("c", small).await.unwrap();
    let names: Vec<_> = page.iter().map(|it| &*it.name).collect();
    assert_eq!((names, more), (vec!["d"], true));
}

pub(crate) async fn a_renamed_connection_is_renamed_in_routes(storage: &mut Scratch) {
    let bastion = add_connection(storage, "bastion", &[]).await;
    let core = add_connection(storage, "core", &["bastion", "other"]).await;
    let edge = add_connection(storage, "edge", &["bastion2"]).await;
    let change = renamed(&bastion, "jump");
    storage.change_connections(change).await.unwrap().unwrap();
    assert_eq!(connection(storage, core.id).await.jump, ["jump", "other"]);
    assert_eq!(connection(storage, edge.id).await.jump, ["bastion2"]);
}

pub(crate) async fn a_change_of_an_unknown_connection_changes_nothing(storage: &mut Scratch) {
    let unknown = test_connection("unknown", "192.0.2.1", &[]);
    let change = ConnectionChange {
        master_key_check: Some(b"check".to_vec()),
        ..renamed(&unknown, "other")
    };
    let changed = storage.change_connections(change).await.unwrap();
    assert_eq!(changed, None);
    assert_eq!(storage.meta(MASTER_KEY_CHECK).await.unwrap(), None);
    assert!(storage.connections().await.unwrap().is_empty());
}

/// The rejected name comes after other parts of the change.
pub(crate) async fn a_failed_change_changes_nothing(storage: &mut Scratch) {
    add_connection(storage, "taken", &[]).await;
    let bastion = add_connection(storage, "bastion", &[]).await;
    let core = add_connection(storage, "core", &["bastion"]).await;
    let change = ConnectionChange {
        sealed: vec![SealedRow {
            id: core.id,
            secrets: secrets(9),
            answers: Vec::new(),
        }],
        ..renamed(&bastion, "taken")
    };
    let changed = storage.change_connections(change).await;
    assert!(
        matches!(changed, Err(StorageError::Exists(_))),
        "{changed:?}"
    );
    let after = connection(storage, core.id).await;
    assert_eq!(after.jump, ["bastion"]);
    assert_eq!(sealed(&after), sealed(&core));
}

pub(crate) async fn a_jump_host_in_use_is_not_deleted(storage: &mut Scratch) {
    let bastion = add_connection(storage, "bastion", &[]).await;
    let mut users = Vec::new();
    for name in ["r2", "r1"] {
        users.push(add_connection(storage, name, &["bastion"]).await);
    }
    let outcome = storage.delete_connection(bastion.id).await.unwrap();
    let names = vec!["r1".to_owned(), "r2".to_owned()];
    assert_eq!(outcome, DeleteConnectionOutcome::JumpedThrough(names));
    for user in users {
        let outcome = storage.delete_connection(user.id).await.unwrap();
        assert_eq!(outcome, DeleteConnectionOutcome::Deleted);
    }
    let outcome = storage.delete_connection(bastion.id).await.unwrap();
    assert_eq!(outcome, DeleteConnectionOutcome::Deleted);
    let outcome = storage.delete_connection(bastion.id).await.unwrap();
    assert_eq!(outcome, DeleteConnectionOutcome::NotFound);
}

pub(crate) async fn inline_connections_belong_to_their_jobs(storage: &mut Scratch) {
    let (_, inline) = add_inline(storage).await;
    let found = connection(storage, inline.id).await;
    assert_eq!(found.owner_job_id, inline.owner_job_id);
    assert_eq!(sealed(&found), sealed(&inline));
    let named = storage.connection_named(&inline.name).await.unwrap();
    assert!(named.is_none(), "{named:?}");
    assert!(storage.connections().await.unwrap().is_empty());
    // An inline connection without secrets is not among the sealed ones.
    let job = new_job();
    let plain = Connection {
        owner_job_id: Some(job.id),
        ..test_connection("plain", "192.0.2.9", &[])
    };
    storage.add_job(&job, &[], Some(&plain)).await.unwrap();
    let sealed = storage.sealed_inline_connections().await.unwrap();
    let ids: Vec<_> = sealed.iter().map(|it| it.id).collect();
    assert_eq!(ids, [inline.id]);
}

pub(crate) async fn the_end_of_a_job_removes_the_secrets_of_its_connection(storage: &mut Scratch) {
    let (completed, first) = add_inline(storage).await;
    let (cancelled, second) = add_inline(storage).await;
    complete(storage, completed, at(1), at(2)).await;
    storage.cancel_job(cancelled, at(2)).await.unwrap();
    for inline in [first, second] {
        let after = connection(storage, inline.id).await;
        assert!(after.sealed().is_empty(), "{after:?}");
        assert!(after.answers.is_empty());
    }
    let left = storage.sealed_inline_connections().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

pub(crate) async fn sealed_values_are_replaced_together(storage: &mut Scratch) {
    let core = add_connection(storage, "core", &[]).await;
    let (_, inline) = add_inline(storage).await;
    let rows = [core.id, inline.id].map(|id| SealedRow {
        id,
        secrets: secrets(2),
        answers: answers(2),
    });
    let change = ConnectionChange {
        sealed: rows.to_vec(),
        master_key_check: Some(b"second".to_vec()),
        ..ConnectionChange::default()
    };
    let changed = storage.change_connections(change).await.unwrap();
    assert_eq!(changed, Some(0));
    let check = storage.meta(MASTER_KEY_CHECK).await.unwrap();
    assert_eq!(check.as_deref(), Some(&b"second"[..]));
    for id in [core.id, inline.id] {
        let after = connection(storage, id).await;
        assert_eq!(format!("{:?}", after.secrets), format!("{:?}", secrets(2)));
        assert_eq!(after.answers, answers(2));
    }
}

pub(crate) async fn an_ended_job_does_not_get_its_secrets_back(storage: &mut Scratch) {
    let (job, inline) = add_inline(storage).await;
    complete(storage, job, at(1), at(2)).await;
    let change = ConnectionChange {
        sealed: vec![SealedRow {
            id: inline.id,
            secrets: secrets(2),
            answers: answers(2),
        }],
        ..ConnectionChange::default()
    };
    storage.change_connections(change).await.unwrap();
    let after = connection(storage, inline.id).await;
    assert!(after.sealed().is_empty(), "{after:?}");
}

fn place(host: &str, port: u16, route: &str) -> HostKeyPlace {
    HostKeyPlace {
        host: host.to_owned(),
        port,
        route: route.to_owned(),
    }
}

async fn trust(storage: &Scratch, place: &HostKeyPlace, algorithm: &str, fingerprint: &str) {
    let key = (algorithm, "AAAA", fingerprint);
    storage.add_host_key(place, key, at(1)).await.unwrap();
}

async fn fingerprints(storage: &Scratch, place: &HostKeyPlace) -> Vec<String> {
    let keys = storage.host_keys(place).await.unwrap();
    keys.into_iter().map(|key| key.fingerprint).collect()
}

pub(crate) async fn the_first_host_key_is_kept(storage: &mut Scratch) {
    let core = place("core.example", 22, "[]");
    trust(storage, &core, "ssh-ed25519", "first").await;
    trust(storage, &core, "ssh-ed25519", "second").await;
    trust(storage, &core, "rsa-sha2-512", "another algorithm").await;
    let keys = storage.host_keys(&core).await.unwrap();
    let found: Vec<_> = keys
        .iter()
        .map(|key| (&*key.algorithm, &*key.key, &*key.fingerprint))
        .collect();
    let expected = [
        ("rsa-sha2-512", "AAAA", "another algorithm"),
        ("ssh-ed25519", "AAAA", "first"),
    ];
    assert_eq!(found, expected);
    assert_eq!(keys[0].first_seen, at(1));
}

pub(crate) async fn host_keys_are_bound_to_address_and_route(storage: &mut Scratch) {
    let core = place("Core.Example", 22, r#"["j:22"]"#);
    trust(storage, &core, "ssh-ed25519", "key").await;
    let same = place("core.EXAMPLE", 22, r#"["j:22"]"#);
    assert_eq!(fingerprints(storage, &same).await, ["key"]);
    let others = [
        place("core.example", 2222, r#"["j:22"]"#),
        place("core.example", 22, "[]"),
        place("edge.example", 22, r#"["j:22"]"#),
    ];
    for other in others {
        assert!(fingerprints(storage, &other).await.is_empty(), "{other:?}");
    }
}

pub(crate) async fn host_keys_move_with_a_change(storage: &mut Scratch) {
    let (old, new) = (place("old", 22, "[]"), place("new", 22, "[]"));
    trust(storage, &old, "ssh-ed25519", "of the old place").await;
    trust(storage, &new, "rsa-sha2-512", "of the new place").await;
    let same = (old.clone(), old.clone());
    let change = ConnectionChange {
        moved_host_keys: vec![(old.clone(), new.clone()), same],
        ..ConnectionChange::default()
    };
    storage.change_connections(change).await.unwrap();
    for place in [old, new] {
        let keys = fingerprints(storage, &place).await;
        assert_eq!(keys, ["of the old place"], "{place:?}");
    }
}

pub(crate) async fn host_keys_are_forgotten(storage: &mut Scratch) {
    let (core, edge) = (place("core", 22, "[]"), place("edge", 22, "[]"));
    for algorithm in ["ssh-ed25519", "rsa-sha2-512"] {
        trust(storage, &core, algorithm, "key").await;
        trust(storage, &edge, algorithm, "key").await;
    }
    let change = ConnectionChange {
        forgotten_host_keys: Some(place("CORE", 22, "[]")),
        ..ConnectionChange::default()
    };
    let forgotten = storage.change_connections(change).await.unwrap();
    assert_eq!(forgotten, Some(2));
    assert!(fingerprints(storage, &core).await.is_empty());
    assert_eq!(fingerprints(storage, &edge).await.len(), 2);
}

pub(crate) async fn forgotten_digests_match_no_request(storage: &mut Scratch) {
    let job = NewJob {
        idempotency: Some(("k".to_owned(), "d".to_owned())),
        ..new_job()
    };
    let first = add(storage, job.clone()).await;
    let change = ConnectionChange {
        forgets_digests: true,
        ..ConnectionChange::default()
    };
    storage.change_connections(change).await.unwrap();
    let again = NewJob {
        id: Uuid::now_v7(),
        ..job
    };
    let added = storage.add_job(&again, &[], None).await.unwrap();
    assert!(matches!(added, AddOutcome::KeyReused), "{added:?}");
    let (found, _) = storage.job_with_key("k").await.unwrap().unwrap();
    assert_eq!(found.id, first);
    assert_eq!(stored(storage, first).await.params, json!({}));
}
