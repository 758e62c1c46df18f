//! Scenarios of users, browser sessions and API tokens.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Scratch, at};
use crate::model::{
    ApiToken, BrowserSession, PasswordHash, Permission, Role, SecretDigest, User, UserKind,
};
use crate::storage::{StorageError, UserChange};

fn user(name: &str, role: Role) -> User {
    User {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        kind: UserKind::Person,
        role,
        permissions: BTreeSet::new(),
        password: Some(PasswordHash(format!("hash of {name}"))),
        disabled: false,
        created_at: at(0),
        updated_at: at(0),
        password_changed_at: None,
        last_login_at: None,
    }
}

fn session(user: &User, number: u8) -> BrowserSession {
    BrowserSession {
        id: Uuid::now_v7(),
        digest: SecretDigest([number; 32]),
        user_id: user.id,
        created_at: at(number.into()),
        last_used_at: at(number.into()),
        expires_at: at(1_000),
        address: Some("192.0.2.1".to_owned()),
        client: Some("Firefox".to_owned()),
    }
}

fn token(user: &User, name: &str, number: u8) -> ApiToken {
    ApiToken {
        id: Uuid::now_v7(),
        digest: SecretDigest([number; 32]),
        user_id: user.id,
        name: name.to_owned(),
        permissions: Some(BTreeSet::from([Permission::JobsRead])),
        created_at: at(1),
        expires_at: at(2),
        last_used_at: None,
        last_address: None,
    }
}

async fn added(storage: &Scratch, name: &str, role: Role) -> User {
    let user = user(name, role);
    storage.add_user(&user).await.unwrap();
    user
}

async fn stored(storage: &Scratch, name: &str) -> Option<User> {
    storage.user(name).await.unwrap()
}

async fn session_ids(storage: &Scratch, user: &User) -> Vec<Uuid> {
    let sessions = storage.sessions_of(user.id).await.unwrap();
    sessions.iter().map(|session| session.id).collect()
}

pub(crate) async fn a_user_is_stored_with_all_fields(storage: &mut Scratch) {
    let full = User {
        permissions: BTreeSet::from([Permission::TerminalsOpen, Permission::ConnectionsTrust]),
        disabled: true,
        updated_at: at(1),
        password_changed_at: Some(at(2)),
        last_login_at: Some(at(3)),
        ..user("b", Role::Operator)
    };
    let service = User {
        kind: UserKind::Service,
        password: None,
        ..user("a", Role::Viewer)
    };
    storage.add_user(&full).await.unwrap();
    storage.add_user(&service).await.unwrap();
    storage.reopen().await;
    assert_eq!(storage.users().await.unwrap(), [service, full.clone()]);
    assert_eq!(stored(storage, "b").await, Some(full));
    assert_eq!(stored(storage, "c").await, None);
}

pub(crate) async fn the_name_of_a_user_is_unique_without_regard_to_case(storage: &mut Scratch) {
    let anna = added(storage, "Anna", Role::Admin).await;
    let again = storage.add_user(&user("anna", Role::Viewer)).await;
    assert!(matches!(again, Err(StorageError::Exists(_))), "{again:?}");
    let ben = added(storage, "ben", Role::Viewer).await;
    let renamed = User {
        name: "ANNA".to_owned(),
        ..ben
    };
    let renamed = storage.update_user(&renamed).await;
    assert!(
        matches!(renamed, Err(StorageError::Exists(_))),
        "{renamed:?}"
    );
    assert_eq!(stored(storage, "aNNa").await, Some(anna));
}

pub(crate) async fn of_simultaneous_first_users_one_is_added(storage: &mut Scratch) {
    let users = ["a", "b", "c"].map(|name| user(name, Role::Admin));
    let adding = users.iter().map(|user| storage.add_first_user(user));
    let added = futures::future::join_all(adding).await;
    let added = added.into_iter().filter(|added| *added.as_ref().unwrap());
    assert_eq!(added.count(), 1);
    assert_eq!(storage.users().await.unwrap().len(), 1);
}

pub(crate) async fn a_change_of_access_ends_the_sessions_of_a_user(storage: &mut Scratch) {
    let admin = added(storage, "admin", Role::Admin).await;
    let user = added(storage, "a", Role::Operator).await;
    let others = session(&admin, 9);
    storage.add_session(&others, 5).await.unwrap();
    let renamed = User {
        name: "b".to_owned(),
        updated_at: at(5),
        ..user.clone()
    };
    let changes = [
        (renamed.clone(), true),
        (
            User {
                role: Role::Viewer,
                ..renamed.clone()
            },
            false,
        ),
        (
            User {
                permissions: BTreeSet::from([Permission::TerminalsOpen]),
                role: Role::Viewer,
                ..renamed.clone()
            },
            false,
        ),
        (
            User {
                disabled: true,
                ..renamed
            },
            false,
        ),
    ];
    for (number, (changed, stays)) in (1..).zip(changes) {
        storage
            .add_session(&session(&user, number), 5)
            .await
            .unwrap();
        let done = storage.update_user(&changed).await.unwrap();
        assert_eq!(done, UserChange::Done);
        let stored = stored(storage, "b").await.unwrap();
        assert_eq!(stored.role, changed.role);
        assert_eq!(stored.permissions, changed.permissions);
        assert_eq!(stored.disabled, changed.disabled);
        assert_eq!(stored.updated_at, at(5));
        assert_eq!(stored.password, user.password, "is not part of an update");
        let left = session_ids(storage, &user).await;
        assert_eq!(!left.is_empty(), stays, "{changed:?}");
    }
    assert_eq!(session_ids(storage, &admin).await, [others.id]);
}

pub(crate) async fn the_last_admin_stays(storage: &mut Scratch) {
    let first = added(storage, "a", Role::Admin).await;
    let second = added(storage, "b", Role::Admin).await;
    added(storage, "c", Role::Operator).await;
    let service = User {
        kind: UserKind::Service,
        ..user("d", Role::Admin)
    };
    storage.add_user(&service).await.unwrap();
    // Both remove each other at once: one succeeds.
    let removed = tokio::join!(
        storage.delete_user(first.id),
        storage.delete_user(second.id)
    );
    let removed = [removed.0.unwrap(), removed.1.unwrap()];
    assert!(removed.contains(&UserChange::Done), "{removed:?}");
    assert!(removed.contains(&UserChange::LastAdmin), "{removed:?}");
    let users = storage.users().await.unwrap();
    let last = users.iter().find(|user| user.is_active_admin()).unwrap();
    for changed in [
        User {
            role: Role::Author,
            ..last.clone()
        },
        User {
            disabled: true,
            ..last.clone()
        },
    ] {
        let change = storage.update_user(&changed).await.unwrap();
        assert_eq!(change, UserChange::LastAdmin);
    }
    assert_eq!(storage.users().await.unwrap(), users);
    let change = storage.update_user(last).await.unwrap();
    assert_eq!(change, UserChange::Done, "nothing is taken away");
    for unknown in [
        storage.delete_user(Uuid::now_v7()).await.unwrap(),
        storage.update_user(&user("x", Role::Admin)).await.unwrap(),
    ] {
        assert_eq!(unknown, UserChange::NotFound);
    }
}

pub(crate) async fn a_new_password_ends_the_other_sessions(storage: &mut Scratch) {
    let user = added(storage, "a", Role::Admin).await;
    let (kept, ended) = (session(&user, 1), session(&user, 2));
    for session in [&kept, &ended] {
        storage.add_session(session, 5).await.unwrap();
    }
    let new = PasswordHash("new".to_owned());
    let set = storage.set_password(user.id, &new, Some(kept.id), at(7));
    assert!(set.await.unwrap());
    assert_eq!(session_ids(storage, &user).await, [kept.id]);
    let changed = stored(storage, "a").await.unwrap();
    assert_eq!(changed.password, Some(new.clone()));
    assert_eq!(changed.password_changed_at, Some(at(7)));
    assert!(
        storage
            .set_password(user.id, &new, None, at(8))
            .await
            .unwrap()
    );
    assert!(session_ids(storage, &user).await.is_empty());
    let unknown = storage.set_password(Uuid::now_v7(), &new, None, at(8));
    assert!(!unknown.await.unwrap());
    let service = User {
        kind: UserKind::Service,
        password: None,
        ..self::user("s", Role::Viewer)
    };
    storage.add_user(&service).await.unwrap();
    let set = storage.set_password(service.id, &new, None, at(8));
    assert!(!set.await.unwrap(), "a service account has no password");
}

pub(crate) async fn a_hash_is_replaced_unless_the_password_changed(storage: &mut Scratch) {
    let user = added(storage, "a", Role::Admin).await;
    let old = user.password.clone().unwrap();
    let better = PasswordHash("better".to_owned());
    for (expected, new, holds) in [
        (&old, &better, &better),
        (&old, &old, &better),
        (&better, &old, &old),
    ] {
        let replaced = storage.replace_password_hash(user.id, expected, new);
        replaced.await.unwrap();
        let stored = stored(storage, "a").await.unwrap();
        assert_eq!(stored.password.as_ref(), Some(holds));
    }
}

pub(crate) async fn a_session_is_stored_with_its_user(storage: &mut Scratch) {
    let user = added(storage, "a", Role::Viewer).await;
    let session = session(&user, 1);
    storage.add_session(&session, 5).await.unwrap();
    storage.reopen().await;
    let (found, of) = storage.session(session.digest).await.unwrap().unwrap();
    assert_eq!(found, session);
    assert_eq!(of.last_login_at, Some(at(1)), "the login is recorded");
    let other = storage.session(SecretDigest([2; 32])).await.unwrap();
    assert_eq!(other, None);
    storage.touch_session(session.id, at(5)).await.unwrap();
    let (found, _) = storage.session(session.digest).await.unwrap().unwrap();
    assert_eq!(found.last_used_at, at(5));
}

pub(crate) async fn sessions_are_bounded_per_user(storage: &mut Scratch) {
    let (user, other) = (
        added(storage, "a", Role::Viewer).await,
        added(storage, "b", Role::Viewer).await,
    );
    let others = session(&other, 200);
    storage.add_session(&others, 2).await.unwrap();
    let sessions: Vec<_> = (1..=4).map(|number| session(&user, number)).collect();
    for session in &sessions {
        storage.add_session(session, 2).await.unwrap();
    }
    let last = [sessions[3].id, sessions[2].id];
    assert_eq!(session_ids(storage, &user).await, last, "last used first");
    assert_eq!(session_ids(storage, &other).await, [others.id]);
    // An expired session is removed by the next login, of any user.
    let late = BrowserSession {
        created_at: at(1_000),
        expires_at: at(2_000),
        ..session(&other, 201)
    };
    storage.add_session(&late, 2).await.unwrap();
    assert!(session_ids(storage, &user).await.is_empty());
    assert_eq!(session_ids(storage, &other).await, [late.id]);
}

pub(crate) async fn a_session_or_token_is_removed_by_its_user_alone(storage: &mut Scratch) {
    let (user, other) = (
        added(storage, "a", Role::Viewer).await,
        added(storage, "b", Role::Viewer).await,
    );
    let (session, token) = (session(&user, 1), token(&user, "t", 2));
    storage.add_session(&session, 5).await.unwrap();
    assert!(storage.add_token(&token, 5).await.unwrap());
    assert!(!storage.remove_session(other.id, session.id).await.unwrap());
    assert!(!storage.remove_token(other.id, token.id).await.unwrap());
    assert!(storage.remove_session(user.id, session.id).await.unwrap());
    assert!(storage.remove_token(user.id, token.id).await.unwrap());
    assert!(!storage.remove_session(user.id, session.id).await.unwrap());
    assert!(!storage.remove_token(user.id, token.id).await.unwrap());
    assert_eq!(storage.session(session.digest).await.unwrap(), None);
    assert_eq!(storage.token(token.digest).await.unwrap(), None);
}

pub(crate) async fn a_token_is_stored_with_its_user(storage: &mut Scratch) {
    let user = added(storage, "a", Role::Viewer).await;
    let limited = token(&user, "b", 1);
    let all = ApiToken {
        permissions: None,
        last_used_at: Some(at(3)),
        last_address: Some("::1".to_owned()),
        ..token(&user, "a", 2)
    };
    for token in [&limited, &all] {
        assert!(storage.add_token(token, 2).await.unwrap());
    }
    storage.reopen().await;
    let tokens = storage.tokens_of(user.id).await.unwrap();
    assert_eq!(tokens, [all, limited.clone()], "by name");
    let found = storage.token(limited.digest).await.unwrap();
    assert_eq!(found, Some((limited.clone(), user.clone())));
    let touched = storage.touch_token(limited.id, Some("192.0.2.9"), at(9));
    touched.await.unwrap();
    let (found, _) = storage.token(limited.digest).await.unwrap().unwrap();
    assert_eq!(found.last_used_at, Some(at(9)));
    assert_eq!(found.last_address.as_deref(), Some("192.0.2.9"));
}

pub(crate) async fn tokens_are_bounded_and_unique_per_user(storage: &mut Scratch) {
    let (user, other) = (
        added(storage, "a", Role::Viewer).await,
        added(storage, "b", Role::Viewer).await,
    );
    assert!(storage.add_token(&token(&user, "t", 1), 2).await.unwrap());
    let again = storage.add_token(&token(&user, "t", 2), 2).await;
    assert!(matches!(again, Err(StorageError::Exists(_))), "{again:?}");
    assert!(storage.add_token(&token(&other, "t", 3), 2).await.unwrap());
    assert!(storage.add_token(&token(&user, "u", 4), 2).await.unwrap());
    assert!(!storage.add_token(&token(&user, "v", 5), 2).await.unwrap());
    assert_eq!(storage.tokens_of(user.id).await.unwrap().len(), 2);
}

pub(crate) async fn a_deleted_user_takes_sessions_and_tokens_along(storage: &mut Scratch) {
    let (user, other) = (
        added(storage, "a", Role::Viewer).await,
        added(storage, "b", Role::Viewer).await,
    );
    for (number, owner) in [(1, &user), (2, &other)] {
        let session = session(owner, number);
        storage.add_session(&session, 5).await.unwrap();
        let token = token(owner, "t", number);
        assert!(storage.add_token(&token, 5).await.unwrap());
    }
    let deleted = storage.delete_user(user.id).await.unwrap();
    assert_eq!(deleted, UserChange::Done);
    assert!(
        storage
            .session(SecretDigest([1; 32]))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        storage
            .token(SecretDigest([1; 32]))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        storage
            .session(SecretDigest([2; 32]))
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        storage
            .token(SecretDigest([2; 32]))
            .await
            .unwrap()
            .is_some()
    );
}
