//! Who is calling: the project and role of an API key, and the person that it acts for.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A project: the boundary that nothing crosses. A UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ProjectId(pub(crate) Uuid);

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A person within a project, by the name that the operator's own system gives them: 1 to 200 characters, no control
/// characters, no white space at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub(crate) struct UserName(String);

/// A text that is no user's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a user's name has 1 to 200 characters, no control characters and no white space around it")]
pub(crate) struct InvalidUserName;

impl UserName {
    /// The text as a user's name.
    pub(crate) fn new(text: impl Into<String>) -> Result<Self, InvalidUserName> {
        let text = text.into();
        let is_name = (1..=200).contains(&text.chars().count())
            && text.trim() == text
            && !text.chars().any(char::is_control);
        if is_name { Ok(Self(text)) } else { Err(InvalidUserName) }
    }

    /// The name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// All of the project.
    Admin,
    /// A person: their own connections, and running tools.
    User,
    /// An agent backend: acts as the user whom each request names.
    Service,
}

impl Role {
    /// The role as it is stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
            Self::Service => "service",
        }
    }

    /// The role of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Admin, Self::User, Self::Service].into_iter().find(|role| role.as_str() == name)
    }
}

/// Who a request comes from. Only an authenticated key makes one, and an approval that gives back who asked; nothing of it is
/// ever taken from a body or from a model's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The key's project.
    pub(crate) project: ProjectId,
    /// The key.
    pub(crate) key: Uuid,
    /// The key's role.
    pub(crate) role: Role,
    /// The person acted for. Admin and user keys have one of their own; a service key has the one that the header
    /// `Portcullis-User` names, or none: it then sees only what the whole project shares.
    pub(crate) user: Option<UserName>,
    /// Whether the header named that user, where a key has one of its own.
    pub(crate) on_behalf: bool,
}

impl Identity {
    /// Whether the key may administer its project.
    pub(crate) fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}
