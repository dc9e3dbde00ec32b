//! A self-made certificate for 127.0.0.1, kept in the cache.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache;
use crate::error::BrokerError;
use crate::java::Java;
use crate::process;

/// Opens the keystore. Not a secret: the key protects test data on 127.0.0.1.
pub(crate) const KEYSTORE_PASSWORD: &str = "longshore-test";

/// The files of the test certificate.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    /// Key and certificate, PKCS #12, for the broker.
    pub(crate) keystore: PathBuf,
    /// The certificate alone, PEM, for clients to trust.
    pub(crate) certificate: PathBuf,
}

impl Tls {
    /// The files in `folder`, which may not exist yet.
    pub(crate) fn at(folder: &Path) -> Self {
        Self { keystore: folder.join("broker.p12"), certificate: folder.join("broker.pem") }
    }

    /// Makes them in `folder` unless they are there. The caller holds the lock of `cache`.
    pub(crate) fn ensure(cache: &Path, folder: &Path, java: &Java) -> Result<Self, BrokerError> {
        let files = Self::at(folder);
        if files.keystore.is_file() && files.certificate.is_file() {
            return Ok(files);
        }
        let staging = cache::staging(cache)?;
        let made = Self::at(staging.path());
        let keystore = made.keystore.to_string_lossy();
        let common = [
            "-alias",
            "broker",
            "-storetype",
            "PKCS12",
            "-storepass",
            KEYSTORE_PASSWORD,
            "-keystore",
            &keystore,
        ];
        let generate = [
            "-genkeypair",
            "-keyalg",
            "EC",
            "-groupname",
            "secp256r1",
            "-validity",
            "3650",
            "-dname",
            "CN=localhost",
            "-ext",
            "SAN=dns:localhost,ip:127.0.0.1",
        ];
        let certificate = made.certificate.to_string_lossy();
        keytool(java, &[&generate[..], &common].concat())?;
        keytool(java, &[&["-exportcert", "-rfc", "-file", &certificate][..], &common].concat())?;
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(BrokerError::io("remove an incomplete certificate folder"))?;
        }
        fs::rename(staging.path(), folder)
            .map_err(BrokerError::io(format!("rename to {}", folder.display())))?;
        Ok(files)
    }
}

fn keytool(java: &Java, arguments: &[&str]) -> Result<(), BrokerError> {
    let finished = process::run(&java.keytool(), arguments.iter().map(Into::into).collect(), None)?;
    if finished.status.success() {
        return Ok(());
    }
    Err(BrokerError::Program {
        program: "keytool".to_owned(),
        status: finished.status.to_string(),
        output: finished.tail(),
    })
}
