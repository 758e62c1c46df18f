//! Access: permissions, the roles that contain them, and the principal of a request.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::SecretDigest;

/// Declares the permissions with their names in the API, and what each allows.
macro_rules! permissions {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:tt,)+) => {
        /// A permission, which each operation of the API requires one of.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
        )]
        pub enum Permission {
            $($(#[doc = $meaning])+ #[serde(rename = $name)] $variant,)+
        }

        impl Permission {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Returns what the permission allows, as a phrase.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($meaning),+).trim_ascii(),)+
                }
            }
        }
    };
}

permissions! {
    /// See jobs, without what devices answered.
    JobsRead = "jobs.read",
    /// Read results, logs and outputs of jobs, which may contain secrets of devices.
    JobsOutputs = "jobs.outputs",
    /// Submit and rerun jobs.
    JobsSubmit = "jobs.submit",
    /// Cancel jobs.
    JobsCancel = "jobs.cancel",
    /// Delete jobs with their results and logs.
    JobsDelete = "jobs.delete",
    /// See connections, without their secrets.
    ConnectionsRead = "connections.read",
    /// Log in to the device of a stored connection to test it.
    ConnectionsTest = "connections.test",
    /// Create, change and delete connections.
    ConnectionsWrite = "connections.write",
    /// Change where a stored connection leads: its address, route and trusted host keys.
    ConnectionsTrust = "connections.trust",
    /// Use an inline connection: an address and credentials that are not stored.
    ConnectionsInline = "connections.inline",
    /// Open a terminal on a device.
    TerminalsOpen = "terminals.open",
    /// See the state of devices and their circuit breakers.
    DevicesRead = "devices.read",
    /// See schedules.
    SchedulesRead = "schedules.read",
    /// Create, change, delete, enable and disable schedules.
    SchedulesWrite = "schedules.write",
    /// Run the job of a schedule now.
    SchedulesTrigger = "schedules.trigger",
    /// See pauses.
    PausesRead = "pauses.read",
    /// Create, change, end and delete pauses.
    PausesWrite = "pauses.write",
    /// See plugins and their versions.
    PluginsRead = "plugins.read",
    /// Scan the plugin directories for changes.
    PluginsReload = "plugins.reload",
    /// See notifications and their delivery.
    NotificationsRead = "notifications.read",
    /// Send a test message to a channel.
    NotificationsTest = "notifications.test",
    /// See the details of the server's health.
    HealthRead = "health.read",
    /// See users, their sessions and tokens.
    UsersRead = "users.read",
    /// Create, change and delete users, and revoke their sessions and tokens.
    UsersWrite = "users.write",
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A named set of permissions. Each user has one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees everything but users and what devices answered.
    Viewer,
    /// A viewer that reads results, logs and outputs.
    Reader,
    /// A reader that submits and cancels jobs, pauses them, and tests connections.
    Operator,
    /// An operator that writes schedules and reloads plugins.
    Author,
    /// Everything.
    Admin,
    /// A viewer that sees users, their sessions and tokens.
    Auditor,
}

impl Role {
    pub const ALL: [Self; 6] = [
        Self::Viewer,
        Self::Reader,
        Self::Operator,
        Self::Author,
        Self::Admin,
        Self::Auditor,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Author => "author",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    #[must_use]
    pub fn permissions(self) -> BTreeSet<Permission> {
        use Permission as P;
        const VIEWER: &[Permission] = &[
            P::JobsRead,
            P::ConnectionsRead,
            P::DevicesRead,
            P::SchedulesRead,
            P::PausesRead,
            P::PluginsRead,
            P::NotificationsRead,
            P::HealthRead,
        ];
        const READER: &[Permission] = &[P::JobsOutputs];
        const OPERATOR: &[Permission] = &[
            P::JobsSubmit,
            P::JobsCancel,
            P::ConnectionsTest,
            P::SchedulesTrigger,
            P::PausesWrite,
        ];
        const AUTHOR: &[Permission] = &[P::SchedulesWrite, P::PluginsReload, P::NotificationsTest];
        const AUDITOR: &[Permission] = &[P::UsersRead];
        let parts: &[&[Permission]] = match self {
            Self::Viewer => &[VIEWER],
            Self::Reader => &[VIEWER, READER],
            Self::Operator => &[VIEWER, READER, OPERATOR],
            Self::Author => &[VIEWER, READER, OPERATOR, AUTHOR],
            Self::Auditor => &[VIEWER, AUDITOR],
            Self::Admin => &[Permission::ALL],
        };
        parts.iter().copied().flatten().copied().collect()
    }
}

/// The proof of a request's principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Not at all: authentication is off, or the operation is public.
    None,
    /// The cookie of a browser session with this id.
    Session(Uuid),
    /// An API token with this id.
    Token(Uuid),
}

/// The sender of a request, with its permissions.
#[derive(Clone, Debug)]
pub struct Principal {
    /// `None` while authentication is off.
    pub user: Option<PrincipalUser>,
    pub proof: Proof,
    /// The digest of the session or token.
    pub digest: Option<SecretDigest>,
    pub permissions: BTreeSet<Permission>,
}

/// The user of a [`Principal`].
#[derive(Clone, Debug)]
pub struct PrincipalUser {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
}

/// The principal lacks a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the permission `{0}` is required")]
pub struct Denied(pub Permission);

impl Principal {
    /// Returns the principal of all requests while authentication is off, with all permissions.
    #[must_use]
    pub fn anyone() -> Self {
        Self {
            user: None,
            proof: Proof::None,
            digest: None,
            permissions: Permission::ALL.iter().copied().collect(),
        }
    }

    /// Returns the principal of a public operation that proved nothing.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            user: None,
            proof: Proof::None,
            digest: None,
            permissions: BTreeSet::new(),
        }
    }

    /// Returns the name of the user; `None` while authentication is off.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.user.as_ref().map(|user| user.name.as_str())
    }

    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Checks a permission.
    ///
    /// # Errors
    /// The missing permission.
    pub fn require(&self, permission: Permission) -> Result<(), Denied> {
        if self.may(permission) {
            Ok(())
        } else {
            Err(Denied(permission))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_the_permissions_of_the_one_before() {
        for pair in Role::ALL[..5].windows(2) {
            let (less, more) = (pair[0].permissions(), pair[1].permissions());
            assert!(less.is_subset(&more) && less.len() < more.len(), "{pair:?}");
        }
    }

    #[test]
    fn only_an_admin_changes_users_and_connections() {
        for role in Role::ALL {
            for permission in [
                Permission::UsersWrite,
                Permission::ConnectionsWrite,
                Permission::ConnectionsTrust,
                Permission::ConnectionsInline,
                Permission::TerminalsOpen,
                Permission::JobsDelete,
            ] {
                let may = role.permissions().contains(&permission);
                assert_eq!(may, role == Role::Admin, "{role:?} {permission}");
            }
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
            assert_eq!(serde_json::json!(role), role.as_str());
        }
        for permission in Permission::ALL {
            assert_eq!(serde_json::json!(permission), permission.as_str());
            assert!(permission.meaning().ends_with('.'));
        }
    }
}
