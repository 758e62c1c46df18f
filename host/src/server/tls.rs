//! TLS of the listener: certificate and key from files, which are read again when they change.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, RootCertStore, ServerConfig as RustlsConfig};
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;

use super::io::{BoxedStream, boxed};
use crate::config::ServerConfig;

/// Interval at which the files are compared with those that were read.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The certificate in use.
pub struct Tls {
    files: Files,
    current: ArcSwap<RustlsConfig>,
    /// The state of the files that was read last, also if they were rejected.
    seen: Mutex<Vec<Stamp>>,
}

#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// The state of a file; another one means that the file may have changed.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Tls {
    /// Reads certificate and key; `None` if the configuration has none.
    ///
    /// # Errors
    /// If a file cannot be read, the key does not match the certificate, or the certificate has expired.
    pub(super) fn load(config: &ServerConfig) -> anyhow::Result<Option<Self>> {
        let (Some(certificate), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) else {
            return Ok(None);
        };
        let files = Files {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: config.tls_client_ca_file.clone(),
        };
        // Stamped before they are read: a change in between is found by the next check.
        let seen = files.stamps();
        let current = ArcSwap::new(files.read()?);
        Ok(Some(Self {
            files,
            current,
            seen: Mutex::new(seen),
        }))
    }

    /// Performs the handshake of a connection.
    pub(super) async fn accept(&self, stream: BoxedStream) -> io::Result<BoxedStream> {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        Ok(boxed(acceptor.accept(stream).await?))
    }

    /// Reads the files again whenever they change. Files that are not valid leave the current
    /// certificate in use.
    pub(super) async fn watch(&self) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            self.check().await;
        }
    }

    async fn check(&self) {
        let mut seen = self.seen.lock().await;
        let files = self.files.clone();
        let found = tokio::task::spawn_blocking(move || (files.stamps(), files)).await;
        let Ok((stamps, files)) = found else { return };
        if stamps == *seen {
            return;
        }
        *seen = stamps;
        let certificate = self.files.certificate.display().to_string();
        match tokio::task::spawn_blocking(move || files.read()).await {
            Ok(Ok(read)) => {
                self.current.store(read);
                tracing::info!(certificate, "the certificate was replaced");
            }
            Ok(Err(error)) => tracing::error!(
                certificate,
                error = format!("{error:#}"),
                "the changed certificate is not valid; the previous one stays in use"
            ),
            Err(error) => tracing::error!(certificate, %error, "failed to read the certificate"),
        }
    }
}

impl Files {
    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |path: &Path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
        };
        let client_ca = self.client_ca.iter().map(PathBuf::as_path);
        let all = [self.certificate.as_path(), self.key.as_path()];
        all.into_iter().chain(client_ca).map(stamp).collect()
    }

    fn read(&self) -> anyhow::Result<Arc<RustlsConfig>> {
        let shown = self.certificate.display();
        let chain = certificates(&self.certificate, "server.tls_cert_file")?;
        let key = PrivateKeyDer::from_pem_reader(open(&self.key, "server.tls_key_file")?);
        // The cause is left out: it may quote the key.
        let key = key.map_err(|_| anyhow::anyhow!("expected a private key (PEM)"));
        let key = key.with_context(|| format!("{} (server.tls_key_file)", self.key.display()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        check_validity(&chain, &provider)
            .with_context(|| format!("{shown} (server.tls_cert_file)"))?;
        let builder = RustlsConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots(certificates(path, "server.tls_client_ca_file")?)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).with_context(|| {
            format!(
                "certificate {shown} and key {} do not fit (server.tls_cert_file, \
                 server.tls_key_file)",
                self.key.display()
            )
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn open(path: &Path, key: &str) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("failed to read {} ({key})", path.display()))
}

fn certificates(path: &Path, key: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let shown = path.display();
    let certificates = CertificateDer::pem_reader_iter(open(path, key)?);
    let certificates: Result<Vec<_>, _> = certificates.collect();
    let certificates = certificates.with_context(|| format!("{shown} ({key})"))?;
    if certificates.is_empty() {
        bail!("{shown} ({key}) has no certificate: expected PEM");
    }
    Ok(certificates)
}

fn roots(certificates: Vec<CertificateDer<'static>>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// Checks that the certificate is valid now. Its issuer is for clients to judge.
fn check_validity(
    chain: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> anyhow::Result<()> {
    let Some((certificate, others)) = chain.split_first() else {
        bail!("no certificate");
    };
    // A verifier checks the period of validity before the issuer.
    let itself = Arc::new(roots(vec![certificate.clone()])?);
    let verifier =
        WebPkiServerVerifier::builder_with_provider(itself, Arc::clone(provider)).build()?;
    let name = ServerName::try_from("localhost")?;
    let verified = verifier.verify_server_cert(certificate, others, &name, &[], UnixTime::now());
    match verified {
        Err(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => bail!("the certificate has expired"),
        Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => bail!("the certificate is not valid yet"),
        Err(rustls::Error::InvalidCertificate(CertificateError::BadEncoding)) => {
            bail!("the certificate is damaged")
        }
        _ => Ok(()),
    }
}
