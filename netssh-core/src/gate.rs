//! What has to be done before a secret may be sent.

use std::fmt;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

use crate::error::Error;

/// Holds up the logins of one connection until something is done, which may happen while the
/// connection is made.
#[derive(Clone)]
pub(crate) struct Gate(Option<Shared<BoxFuture<'static, Result<(), Error>>>>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&self.0.is_some()).finish()
    }
}

impl Gate {
    /// Nothing has to be done.
    pub(crate) const fn open() -> Self {
        Self(None)
    }

    pub(crate) fn after(work: impl Future<Output = Result<(), Error>> + Send + 'static) -> Self {
        Self(Some(work.boxed().shared()))
    }

    /// Waits until it is done.
    ///
    /// # Errors
    /// When it failed: no secret may be sent.
    pub(crate) async fn wait(&self) -> Result<(), Error> {
        match &self.0 {
            Some(work) => work.clone().await,
            None => Ok(()),
        }
    }
}
