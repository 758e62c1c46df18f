//! Divides the process's file descriptors between clients, devices and everything else.
//!
//! A process without free descriptors can neither accept clients nor open its database, and may blame a
//! device for the failure. Resources without a natural bound therefore have a share: connections of
//! clients and connections to devices. The rest is for a bounded number of files: the database, the
//! queue, the log, plugins and file transfers of jobs.

use rustix::process::{Resource, getrlimit};

use crate::config::Config;

/// Reserve for everything but connections: a quarter of the descriptors within these bounds.
const MIN_RESERVE: u64 = 40;
const MAX_RESERVE: u64 = 512;

/// Returns the limit of file descriptors of the process.
#[must_use]
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Returns the share of client connections.
#[must_use]
pub(crate) fn for_clients(configured: usize) -> usize {
    share(limit(), configured).0
}

/// Returns the share of connections to devices.
#[must_use]
pub(crate) fn for_devices(config: &Config) -> usize {
    share(limit(), config.server.max_connections).1
}

/// Returns the shares of clients and devices. Clients get up to half of the unreserved descriptors, but
/// no more than configured.
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
        // Not enough for anything: one each, and later errors will say so.
        assert_eq!(share(Some(16), 512), (1, 1));
    }
}
