//! A precondition that has to be met before a secret is sent.

use std::fmt;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

use crate::error::Error;

/// Delays the logins of one connection until some work is done, which may run while the connection
/// is established.
#[derive(Clone)]
pub(crate) struct Gate(Option<Shared<BoxFuture<'static, Result<(), Error>>>>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&self.0.is_some()).finish()
    }
}

impl Gate {
    /// Returns a gate without a precondition.
    pub(crate) const fn open() -> Self {
        Self(None)
    }

    pub(crate) fn after(work: impl Future<Output = Result<(), Error>> + Send + 'static) -> Self {
        Self(Some(work.boxed().shared()))
    }

    /// Waits until the work is done.
    ///
    /// # Errors
    /// The work's error; then no secret may be sent.
    pub(crate) async fn wait(&self) -> Result<(), Error> {
        match &self.0 {
            Some(work) => work.clone().await,
            None => Ok(()),
        }
    }
}
