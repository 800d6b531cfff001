//! Whether this machine's firmware would start an EFI program: what Secure Boot asks at the next start, asked while there is still something that runs.
//!
//! A boot loader that is refused a kernel image ends, and the firmware goes on to its next disk or to its menu: no restart, so no counting down of
//! tries, and nobody comes back to the old version. What decides is UEFI 2.10, section 32.5.3, as EDK2 has it: a digest or a certificate in `dbx`
//! forbids, a digest in `db` or a signature that leads to a certificate in `db` allows. Times are not looked at: firmware has no clock that it trusts.

mod signature;

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use authenticode::AttributeCertificateIterator;
use authenticode::authenticode_digest;
use formats::signature_list::SignatureListError;
use formats::signature_list::SignatureLists;
use object::read::pe::PeFile64;
use sha2::Digest as _;
use sha2::Sha256;
use thiserror::Error;

use signature::Signature;

/// Whether Secure Boot is on, of the vendor `EFI_GLOBAL_VARIABLE`.
const SWITCH: &str = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Who may and who may not, of the vendor `EFI_IMAGE_SECURITY_DATABASE`.
const ALLOWED: &str = "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f";
const FORBIDDEN: &str = "dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f";
/// What Linux puts before the content of a variable.
const ATTRIBUTES: usize = 4;

/// Why the firmware would not start a program, or why nobody knows.
#[derive(Debug, Error)]
pub enum SecureBootError {
    /// A variable cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The variable.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A variable holds something else than signature lists.
    #[error("`{path}`: {source}")]
    Lists {
        /// The variable.
        path: PathBuf,
        /// What is wrong with it.
        source: SignatureListError,
    },
    /// No program that firmware could start.
    #[error("it is no EFI program: {0}")]
    NoProgram(String),
    /// Nobody signed it.
    #[error("it is not signed")]
    Unsigned,
    /// It, or who signed it, is on the list of what must not be started any more.
    #[error("it is on this machine's list of what must not be started (`dbx`)")]
    Forbidden,
    /// None of its signatures counts; why the last one does not.
    #[error("{0}")]
    Untrusted(&'static str),
}

impl SecureBootError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::Lists { .. } => {
                "the running version is untouched: what the firmware trusts cannot be read; look at `db` and `dbx` in its menu"
            }
            _ => {
                "the running version is untouched: build it with the keys that this machine has enrolled, `casemate build --keys`"
            }
        }
    }
}

/// Refuses what the firmware behind `variables` (Linux' efivarfs) would refuse. With Secure Boot off, or without such firmware, everything is started.
pub fn check(variables: &Path, program: &[u8]) -> Result<(), SecureBootError> {
    if !is_on(variables)? {
        return Ok(());
    }
    let [allowed, forbidden] = [read_lists(variables, ALLOWED)?, read_lists(variables, FORBIDDEN)?];
    judge(program, &allowed, &forbidden)
}

/// Whether Secure Boot is on.
fn is_on(variables: &Path) -> Result<bool, SecureBootError> {
    Ok(read(&variables.join(SWITCH))? == [1])
}

fn read_lists(variables: &Path, name: &str) -> Result<SignatureLists, SecureBootError> {
    let path = variables.join(name);
    SignatureLists::parse(&read(&path)?).map_err(|source| SecureBootError::Lists { path, source })
}

/// A variable that is not there is empty.
fn read(path: &Path) -> Result<Vec<u8>, SecureBootError> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes.get(ATTRIBUTES..).unwrap_or_default().to_vec()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(SecureBootError::Read { path: path.to_owned(), source }),
    }
}

fn judge(program: &[u8], allowed: &SignatureLists, forbidden: &SignatureLists) -> Result<(), SecureBootError> {
    let no_program = |reason: &dyn ToString| SecureBootError::NoProgram(reason.to_string());
    let file = PeFile64::parse(program).map_err(|error| no_program(&error))?;
    let mut hasher = Sha256::new();
    authenticode_digest(&file, &mut hasher).map_err(|error| no_program(&error))?;
    let digest: [u8; 32] = hasher.finalize().into();
    if forbidden.programs.contains(&digest) {
        return Err(SecureBootError::Forbidden);
    }
    if allowed.programs.contains(&digest) {
        return Ok(());
    }
    let signatures = AttributeCertificateIterator::new(&file).map_err(|error| no_program(&error))?;
    let mut failure = SecureBootError::Unsigned;
    for signature in signatures.into_iter().flatten() {
        let entry = signature.map_err(|error| no_program(&error))?;
        let judged = Signature::read(entry.data, &digest).and_then(|signature| signature.judge(allowed, forbidden));
        match judged {
            Ok(()) => return Ok(()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests;
