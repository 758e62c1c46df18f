//! Checks of private keys and certificates when they are entered, so that unusable ones are rejected at
//! once instead of failing in a job.

use crate::model::FieldError;
use pkcs8::der::pem::PemLabel as _;
use pkcs8::pkcs5::pbes2::Kdf as Pbes2Kdf;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use russh::keys::ssh_key::private::PrivateKey;
use russh::keys::ssh_key::{Kdf, certificate::CertType};
use russh::keys::{Certificate, decode_secret_key};

/// Upper bounds for the cost of a passphrase, because every login pays it; for bcrypt see `ssh-keygen
/// -a`.
const MAX_BCRYPT_ROUNDS: u32 = 512;
const MAX_PBKDF2_ITERATIONS: u32 = 5_000_000;
const MAX_SCRYPT_BYTES: u64 = 128 * 1024 * 1024;
const MAX_ARGON2_KIB: u64 = 128 * 1024;
const MAX_ARGON2_PASSES: u64 = 128;

/// Parses a private key. Decrypting it is expensive, so this must not run on async threads.
///
/// # Errors
/// If the key is invalid, its passphrase is missing or wrong, or decrypting it would take too long.
pub fn check_private_key(text: &str, passphrase: Option<&str>) -> Result<PrivateKey, FieldError> {
    let protection = protection(text)?;
    if let Protection::Absurd(what) = protection {
        return Err(FieldError::field(
            "private_key",
            format!(
                "too expensive to decrypt ({what}); encrypt it again with less: ssh-keygen -p -a 64"
            ),
        ));
    }
    let encrypted = protection == Protection::Passphrase;
    if encrypted && passphrase.is_none() {
        return Err(FieldError::field(
            "passphrase",
            "expected a passphrase: the private key is encrypted",
        ));
    }
    // An unencrypted key needs none, and some formats reject one.
    let passphrase = passphrase.filter(|_| encrypted);
    decode_secret_key(text, passphrase).map_err(|error| match passphrase {
        Some(_) => FieldError::field(
            "passphrase",
            "wrong passphrase: it does not decrypt the private \
             key",
        ),
        None => FieldError::field(
            "private_key",
            format!("expected a private key in OpenSSH, PEM or PuTTY format: {error}"),
        ),
    })
}

/// Parses a user certificate and checks that it belongs to the private key.
///
/// # Errors
/// If it is invalid, is a host certificate, or belongs to another key.
pub fn check_certificate(text: &str, key: Option<&PrivateKey>) -> Result<(), FieldError> {
    let refused = |message: String| Err(FieldError::field("certificate", message));
    let certificate = match Certificate::from_openssh(text.trim()) {
        Ok(certificate) => certificate,
        Err(error) => {
            return refused(format!(
                "expected a certificate in OpenSSH format (ssh-…-cert-v01@openssh.com AAAA…): {error}"
            ));
        }
    };
    if certificate.cert_type() != CertType::User {
        return refused("expected a user certificate, got a host certificate".to_owned());
    }
    if let Err(error) = certificate.verify_signature() {
        return refused(format!("invalid signature of its authority: {error}"));
    }
    if key.is_some_and(|key| key.public_key().key_data() != certificate.public_key()) {
        return refused("the certificate belongs to another key than the private key".to_owned());
    }
    Ok(())
}

#[derive(Debug, PartialEq)]
enum Protection {
    Clear,
    Passphrase,
    Absurd(String),
}

fn protection(text: &str) -> Result<Protection, FieldError> {
    let unreadable = |why: &str| {
        FieldError::field(
            "private_key",
            format!("expected a private key in OpenSSH, PEM or PuTTY format: {why}"),
        )
    };
    let text = text.trim();
    if text.starts_with("PuTTY-User-Key-File-") {
        return Ok(putty(text));
    }
    let mut begins = text.lines().filter(|line| line.starts_with("-----BEGIN "));
    let (Some(begin), None) = (begins.next(), begins.next()) else {
        return Err(unreadable("expected exactly one key"));
    };
    match begin.trim_end() {
        "-----BEGIN OPENSSH PRIVATE KEY-----" => {
            let key =
                PrivateKey::from_openssh(text).map_err(|error| unreadable(&error.to_string()))?;
            Ok(match key.kdf() {
                _ if !key.is_encrypted() => Protection::Clear,
                Kdf::Bcrypt { rounds, .. } if *rounds > MAX_BCRYPT_ROUNDS => Protection::Absurd(
                    format!("{rounds} rounds of bcrypt, at most {MAX_BCRYPT_ROUNDS} are allowed"),
                ),
                _ => Protection::Passphrase,
            })
        }
        "-----BEGIN ENCRYPTED PRIVATE KEY-----" => {
            pkcs8(text).ok_or_else(|| unreadable("malformed key"))
        }
        _ if text.contains("\nDEK-Info:") => Ok(Protection::Passphrase),
        _ => Ok(Protection::Clear),
    }
}

fn pkcs8(text: &str) -> Option<Protection> {
    let (label, document) = SecretDocument::from_pem(text).ok()?;
    EncryptedPrivateKeyInfoRef::validate_pem_label(label).ok()?;
    let info: EncryptedPrivateKeyInfoRef<'_> = document.decode_msg().ok()?;
    Some(
        match info
            .encryption_algorithm
            .pbes2()
            .map(|parameters| &parameters.kdf)
        {
            Some(Pbes2Kdf::Pbkdf2(kdf)) if kdf.iteration_count > MAX_PBKDF2_ITERATIONS => {
                Protection::Absurd(format!(
                    "{} iterations of PBKDF2, at most {MAX_PBKDF2_ITERATIONS} are allowed",
                    kdf.iteration_count
                ))
            }
            Some(Pbes2Kdf::Scrypt(kdf)) => {
                let bytes = kdf
                    .cost_parameter
                    .saturating_mul(128 * u64::from(kdf.block_size))
                    .saturating_mul(u64::from(kdf.parallelization));
                if bytes > MAX_SCRYPT_BYTES {
                    Protection::Absurd(format!(
                        "{bytes} bytes of scrypt, at most {MAX_SCRYPT_BYTES} are allowed"
                    ))
                } else {
                    Protection::Passphrase
                }
            }
            _ => Protection::Passphrase,
        },
    )
}

fn putty(text: &str) -> Protection {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.strip_prefix(':')).map(str::trim)
    };
    if field("Encryption").is_none_or(|cipher| cipher == "none") {
        return Protection::Clear;
    }
    let number = |name| field(name).map_or(0, |text| text.parse::<u64>().unwrap_or(u64::MAX));
    let (memory, passes) = (number("Argon2-Memory"), number("Argon2-Passes"));
    if memory > MAX_ARGON2_KIB || passes > MAX_ARGON2_PASSES {
        return Protection::Absurd(format!(
            "{memory} KiB and {passes} passes of Argon2, at most {MAX_ARGON2_KIB} and \
             {MAX_ARGON2_PASSES} are allowed"
        ));
    }
    Protection::Passphrase
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// Runs an OpenSSH or OpenSSL program in a directory.
    fn make(directory: &Path, program: &str, arguments: &[&str]) {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
    }

    fn keygen(directory: &Path, arguments: &[&str]) {
        make(directory, "ssh-keygen", &[&["-q"], arguments].concat());
    }

    fn text(directory: &Path, name: &str) -> String {
        std::fs::read_to_string(directory.join(name)).unwrap()
    }

    fn refused(text: &str, passphrase: Option<&str>) -> FieldError {
        check_private_key(text, passphrase).unwrap_err()
    }

    #[test]
    fn keys_of_every_format_open_with_their_passphrase_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for (name, format) in [("openssh", "RFC4716"), ("pkcs8", "PKCS8")] {
            for (passphrase, name) in [("", name.to_owned()), ("secret", format!("{name}-locked"))]
            {
                let arguments = ["-t", "ecdsa", "-m", format, "-N", passphrase, "-f", &name];
                keygen(path, &arguments);
                let key = text(path, &name);
                let given = (!passphrase.is_empty()).then_some(passphrase);
                assert!(check_private_key(&key, given).is_ok(), "{name}");
                let other = check_private_key(&key, Some("other"));
                assert_eq!(other.is_err(), given.is_some(), "{name}");
                if given.is_some() {
                    assert_eq!(refused(&key, Some("other")).pointer, "/passphrase");
                    assert_eq!(refused(&key, None).pointer, "/passphrase");
                }
            }
        }
    }

    #[test]
    fn what_is_no_private_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        keygen(directory.path(), &["-t", "ed25519", "-N", "", "-f", "key"]);
        let key = text(directory.path(), "key");
        let public = text(directory.path(), "key.pub");
        let cut = &key[..key.len() / 2];
        for wrong in ["", "hunter2", &public, cut, &format!("{key}{key}")] {
            assert_eq!(refused(wrong, None).pointer, "/private_key", "{wrong}");
        }
    }

    #[test]
    fn a_passphrase_that_would_take_minutes_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        keygen(
            path,
            &["-t", "ed25519", "-N", "secret", "-a", "4", "-f", "key"],
        );
        // The number of rounds is unencrypted, after the salt.
        let key = text(path, "key");
        let begin = "-----BEGIN OPENSSH PRIVATE KEY-----";
        let encoded: String = key
            .lines()
            .filter(|line| !line.starts_with("---"))
            .collect();
        let mut bytes = russh::keys::ssh_key::private::PrivateKey::from_openssh(&key)
            .unwrap()
            .to_bytes()
            .unwrap()
            .to_vec();
        let rounds = bytes
            .windows(4)
            .position(|window| window == [0, 0, 0, 4])
            .unwrap();
        bytes[rounds..rounds + 4].copy_from_slice(&[0xff; 4]);
        let absurd = PrivateKey::from_bytes(&bytes).unwrap();
        let absurd = absurd.to_openssh(Default::default()).unwrap();
        assert!(!encoded.is_empty() && absurd.starts_with(begin));
        let error = refused(&absurd, Some("secret"));
        assert_eq!(error.pointer, "/private_key");
        assert!(
            error.message.contains("4294967295 rounds"),
            "{}",
            error.message
        );

        let putty = "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: aes256-cbc\n\
                     Argon2-Memory: 99999999\nArgon2-Passes: 1\n";
        let error = refused(putty, Some("secret"));
        assert!(error.message.contains("99999999 KiB"), "{}", error.message);
    }

    #[test]
    fn a_certificate_is_a_users_and_of_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for name in ["authority", "key", "other"] {
            keygen(path, &["-t", "ed25519", "-N", "", "-f", name]);
        }
        let sign: [&str; 6] = ["-s", "authority", "-I", "test", "-n", "admin"];
        keygen(path, &[&sign[..], &["key.pub"]].concat());
        let users = text(path, "key-cert.pub");
        keygen(path, &[&sign[..], &["-h", "key.pub"]].concat());
        let hosts = text(path, "key-cert.pub");
        let key = check_private_key(&text(path, "key"), None).unwrap();
        let other = check_private_key(&text(path, "other"), None).unwrap();

        assert!(check_certificate(&users, Some(&key)).is_ok());
        assert!(check_certificate(&users, None).is_ok());
        for (certificate, key, said) in [
            (&users, &other, "another key"),
            (&hosts, &key, "host certificate"),
            (&text(path, "key.pub"), &key, "expected a certificate"),
        ] {
            let error = check_certificate(certificate, Some(key)).unwrap_err();
            assert!(error.message.contains(said), "{}", error.message);
        }
    }
}
