//! Distinguishes failures of a device or the path to it from failures of this machine.

use std::fmt::Display;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::error::Error;

/// The cause of an I/O error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The device, or a host on the path to it, refused or closed the connection or did not
    /// respond.
    Device,
    /// This machine lacks a resource.
    Server,
    /// Neither: this machine has no route, or is not allowed to connect.
    Unknown,
}

impl Cause {
    /// Returns the cause of an error. Only the errors listed here are the device's, because an
    /// unlisted one must not count against it.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof => return Self::Device,
            _ => {}
        }
        match Errno::from_io_error(error) {
            Some(Errno::HOSTDOWN) => Self::Device,
            _ if shortage(error).is_some() => Self::Server,
            _ => Self::Unknown,
        }
    }
}

/// Names the resource that this machine lacks, if the error is a shortage.
fn shortage(error: &io::Error) -> Option<String> {
    Some(match Errno::from_io_error(error)? {
        Errno::MFILE => match getrlimit(Resource::Nofile).current {
            Some(limit) => format!("no file descriptors left (limit {})", grouped(limit)),
            None => "no file descriptors left".to_owned(),
        },
        Errno::NFILE => "no file descriptors left system-wide (fs.file-max)".to_owned(),
        Errno::NOMEM => "no memory left".to_owned(),
        Errno::NOBUFS => "no network buffers left".to_owned(),
        Errno::ADDRNOTAVAIL => "no local address or port left to connect from".to_owned(),
        Errno::AGAIN => "no resources left for another connection".to_owned(),
        Errno::NOSPC => "no space left on its disk".to_owned(),
        Errno::DQUOT => "no space left in its disk quota".to_owned(),
        Errno::ROFS => "a read-only file system".to_owned(),
        Errno::IO => "a failing disk".to_owned(),
        _ => return None,
    })
}

/// Returns the error of this machine that prevented `doing`, if the cause was a shortage. `reached`
/// is whether the device had been connected to.
pub(crate) fn server_error(error: &io::Error, doing: impl Display, reached: bool) -> Option<Error> {
    let lacking = shortage(error)?;
    Some(Error::Server {
        message: format!("the server has {lacking}: {doing}"),
        reached,
    })
}

/// Returns an error if this process cannot open another descriptor. The resolver does not report
/// it: without a descriptor, it reports names as unknown.
pub(crate) fn no_descriptor() -> Option<io::Error> {
    let error = std::fs::File::open("/dev/null").err()?;
    (Errno::from_io_error(&error) == Some(Errno::MFILE)
        || Errno::from_io_error(&error) == Some(Errno::NFILE))
    .then_some(error)
}

/// Finds an I/O error of the operating system among the sources of an error.
pub(crate) fn io_error_in<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e io::Error> {
    let mut error = Some(error);
    while let Some(one) = error {
        if let Some(io) = one.downcast_ref::<io::Error>()
            && io.raw_os_error().is_some()
        {
            return Some(io);
        }
        error = one.source();
    }
    None
}

/// Formats a number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(errno: Errno) -> Cause {
        Cause::of(&errno.into())
    }

    #[test]
    fn only_what_is_listed_is_the_devices() {
        for errno in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::CONNABORTED,
            Errno::HOSTUNREACH,
            Errno::HOSTDOWN,
            Errno::TIMEDOUT,
            Errno::PIPE,
        ] {
            assert_eq!(cause(errno), Cause::Device, "{errno:?}");
        }
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::NOBUFS,
            Errno::ADDRNOTAVAIL,
            Errno::NOSPC,
            Errno::DQUOT,
        ] {
            assert_eq!(cause(errno), Cause::Server, "{errno:?}");
            let error = server_error(&errno.into(), "failed to connect to r1:22", false).unwrap();
            assert_eq!(error.code(), "server");
            let message = error.to_string();
            assert!(message.starts_with("the server has no "), "{message}");
            assert!(
                message.ends_with(": failed to connect to r1:22"),
                "{message}"
            );
        }
        for errno in [
            Errno::ACCESS,
            Errno::PERM,
            Errno::NETUNREACH,
            Errno::NETDOWN,
        ] {
            assert_eq!(cause(errno), Cause::Unknown, "{errno:?}");
        }
        assert_eq!(Cause::of(&io::Error::other("unknown")), Cause::Unknown);
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (64, "64"),
            (1024, "1,024"),
            (1_048_576, "1,048,576"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
