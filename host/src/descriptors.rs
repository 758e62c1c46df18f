//! Divides the process's file descriptors among its clients, the devices, and everything else.
//!
//! A process that has no descriptor left can neither accept a client nor open its database, and may
//! blame a device for it. So everything that comes in any number has a share: connections of
//! clients, and connections to devices. The rest is for files that come in a bounded number: the
//! database, the queue, the log, plugins and files that jobs transfer.

use rustix::process::{Resource, getrlimit};

use crate::config::Config;

/// For everything but connections: at most a quarter of the descriptors, at least this many.
const MIN_RESERVE: u64 = 40;
const MAX_RESERVE: u64 = 512;

/// Returns how many descriptors the process may have.
#[must_use]
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Returns how many connections of clients the process has descriptors for.
#[must_use]
pub(crate) fn for_clients(configured: usize) -> usize {
    share(limit(), configured).0
}

/// Returns how many connections to devices the process has descriptors for.
#[must_use]
pub(crate) fn for_devices(config: &Config) -> usize {
    share(limit(), config.server.max_connections).1
}

/// Returns the shares of clients and devices. Half of what is not reserved is the clients', or as much
/// as they are configured to have.
fn share(limit: Option<u64>, clients: usize) -> (usize, usize) {
    let Some(limit) = limit else {
        return (clients, usize::MAX);
    };
    let reserve = (limit / 4).clamp(MIN_RESERVE, MAX_RESERVE);
    let left = usize::try_from(limit.saturating_sub(reserve)).unwrap_or(usize::MAX);
    let clients = clients.min(left / 2).max(1);
    (clients, left.saturating_sub(clients).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_share_of_few_descriptors() {
        for limit in [48, 64, 100, 256, 1_024, 4_096, 65_536] {
            let (clients, devices) = share(Some(limit), 512);
            assert!(clients >= 4 && devices >= 4, "{limit}: {clients} {devices}");
            let all = clients + devices + usize::try_from(MIN_RESERVE).unwrap();
            assert!(all <= usize::try_from(limit).unwrap(), "{limit}");
        }
        assert_eq!(share(Some(65_536), 512), (512, 65_536 - 512 - 512));
        assert_eq!(share(Some(1_024), 512), (384, 384));
        assert_eq!(share(None, 512), (512, usize::MAX));
        // Too few for anything: one each, and errors that say so.
        assert_eq!(share(Some(16), 512), (1, 1));
    }
}
