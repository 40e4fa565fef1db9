//! The files of a run's authority and of its members' certificates.
//!
//! ```text
//! DIR/ca.pem           the authority's certificate, needed by every member
//!     ca.key           its key, needed only where certificates are made
//!     ledger.pem .key  the ledger's certificate and key, needed only where it runs
//!     peer-N.pem .key  a peer's
//!     tools.pem .key   that of `bazaar status` and its like, and of `bazaar run`
//! ```

use std::{
    collections::BTreeSet,
    fs::{DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rcgen::KeyPair;
use rustix::process::geteuid;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use thiserror::Error;

use crate::{
    network::hello::RunId,
    system::files::{create_whole, replace_together},
    tls::{
        Identity, Tls,
        authority::{Authority, Issued},
        certificate::{Facts, Seconds, Serial},
        handshake::{CertificateFault, Pair, UnusableError},
    },
};

/// The longest file that is read, in bytes. Certificates and keys are much shorter.
const LONGEST: u64 = 1 << 20;

/// Why the certificates of a run, or the secrets that it shows to a cluster of etcd, cannot be used.
#[derive(Debug, Error)]
pub enum CertificateFileError {
    /// A file is not there.
    #[error("{}: there is no such file; {remedy}", .file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {error}", .file.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// A key or a password can be read by others than its owner.
    #[error(
        "{} can be read by others than its owner (mode {mode:o}): run `chmod 600 {}`", .file.display(), .file.display()
    )]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Others than its owner can change a file or directory that says who is trusted.
    #[error(
        "{} can be changed by others than its owner (mode {mode:o}), who could let anybody in: run `chmod go-w {}`",
        .file.display(), .file.display()
    )]
    Writable {
        /// The file or directory.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A key belongs to another user, who can read it whatever its permissions are.
    #[error(
        "{} belongs to user {owner}, neither to the one who runs this, {me}, nor to root: run `chown {me} {}`",
        .file.display(), .file.display()
    )]
    Owned {
        /// The file.
        file: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// The number of this process's user.
        me: u32,
    },
    /// A file does not hold what it should.
    #[error("{}: {why}; {remedy}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// A certificate and a key do not belong together.
    #[error("{} is not the key of {}; {remedy}", .key.display(), .certificate.display())]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// A certificate would be accepted by nobody.
    #[error("{} {fault}", .file.display())]
    Refused {
        /// The file.
        file: PathBuf,
        /// What is wrong with the certificate in it.
        fault: CertificateFault,
    },
    /// A certificate is somebody else's.
    #[error("{} is not the certificate of {of} in this run but of {found}; {remedy}", .file.display())]
    OfAnother {
        /// The file.
        file: PathBuf,
        /// Whose it should be.
        of: Identity,
        /// The name in it.
        found: String,
        /// What to do.
        remedy: String,
    },
    /// There is an authority already.
    #[error(
        "{} exists already: move it away first or, if it is this run's, add `dir = \"tls\"` under [tls] to bazaar.toml",
        .0.display()
    )]
    Exists(PathBuf),
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Making(#[from] rcgen::Error),
}

impl CertificateFileError {
    /// Whether a file could not be written, or a certificate not be made; nothing is wrong with those that are there.
    #[must_use]
    pub fn is_about_writing(&self) -> bool {
        match self {
            CertificateFileError::Io { action, .. } => *action != READ,
            CertificateFileError::Making(_) => true,
            CertificateFileError::Missing { .. }
            | CertificateFileError::Exposed { .. }
            | CertificateFileError::Writable { .. }
            | CertificateFileError::Owned { .. }
            | CertificateFileError::Unreadable { .. }
            | CertificateFileError::Mismatch { .. }
            | CertificateFileError::Refused { .. }
            | CertificateFileError::OfAnother { .. }
            | CertificateFileError::Exists(_) => false,
        }
    }
}

/// What is attempted with a file that is not to be changed.
const READ: &str = "read";

/// A directory with the certificates of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateDir(PathBuf);

impl CertificateDir {
    /// The directory at `path`, which need not exist yet.
    #[must_use]
    pub fn at(path: &Path) -> CertificateDir {
        CertificateDir(path.to_owned())
    }

    /// The authority's certificate.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// The authority's key.
    #[must_use]
    pub fn authority_key_file(&self) -> PathBuf {
        self.0.join("ca.key")
    }

    /// A member's certificate.
    #[must_use]
    pub fn certificate_file(&self, of: Identity) -> PathBuf {
        self.0.join(of.file_stem()).with_extension("pem")
    }

    /// A member's key.
    #[must_use]
    pub fn key_file(&self, of: Identity) -> PathBuf {
        self.0.join(of.file_stem()).with_extension("key")
    }

    /// Makes a new authority for a run, and the directory if it is not there.
    ///
    /// # Errors
    /// When there is one, or its files cannot be written.
    pub fn create(&self, run: RunId) -> Result<Authority, CertificateFileError> {
        let (file, key_file) = (self.authority_file(), self.authority_key_file());
        if let Some(there) = [&file, &key_file].into_iter().find(|file| file.exists()) {
            return Err(CertificateFileError::Exists(there.clone()));
        }
        let mut only_ours = DirBuilder::new();
        only_ours.recursive(true).mode(0o700).create(&self.0).map_err(io_error("create", &self.0))?;
        let (authority, issued) = Authority::new(run)?;
        create_whole(&key_file, issued.key.as_bytes()).map_err(io_error("write", &key_file))?;
        create_whole(&file, issued.certificate.as_bytes()).map_err(io_error("write", &file))?;
        Ok(authority)
    }

    /// The authority, to issue certificates with.
    ///
    /// # Errors
    /// When it is not here, or its key is not, or either cannot be used.
    pub fn authority(&self) -> Result<Authority, CertificateFileError> {
        let certificates = self.authorities()?;
        let file = self.authority_key_file();
        let remedy = "certificates can only be made where the authority's key is";
        let (text, key) = read_key(&file, remedy)?;
        let provider = ring::default_provider();
        for (certificate, facts) in certificates {
            match CertifiedKey::from_der(vec![certificate.clone()], key.clone_key(), &provider) {
                // Of several authorities, this is another.
                Err(rustls::Error::InconsistentKeys(_)) => {}
                Err(error) => return Err(unreadable(&file, error.to_string(), remedy)),
                Ok(_) => {
                    let key = KeyPair::from_pem(&text).map_err(|error| unreadable(&file, error.to_string(), remedy))?;
                    return Ok(Authority::of(&certificate, facts.not_after, key)?);
                }
            }
        }
        let (certificate, remedy) = (self.authority_file(), "put back the one that belongs to it".to_owned());
        Err(CertificateFileError::Mismatch { certificate, key: file, remedy })
    }

    /// The certificates of the authorities that are trusted, of which at least one is valid now; the others are left
    /// out. There are several while one takes over from another.
    fn authorities(&self) -> Result<Vec<(CertificateDer<'static>, Facts)>, CertificateFileError> {
        let file = self.authority_file();
        let remedy = "`bazaar init --tls DIR` makes an authority; members need its ca.pem, the same on all machines";
        let mut certificates = read_certificates(&file, remedy)?;
        for trusted in [&self.0, &file] {
            let mode = std::fs::metadata(trusted).map_err(io_error(READ, trusted))?.mode() & 0o777;
            if mode & 0o022 != 0 {
                return Err(CertificateFileError::Writable { file: trusted.clone(), mode });
            }
        }
        if certificates.iter().any(|(_, facts)| !facts.is_authority) {
            return Err(unreadable(&file, "this is no authority's certificate".to_owned(), remedy));
        }
        let now = Seconds::now();
        let untimely = certificates.iter().find_map(|(_, facts)| facts.is_valid_at(now).err());
        certificates.retain(|(_, facts)| facts.is_valid_at(now).is_ok());
        if let (Some(untimely), true) = (untimely, certificates.is_empty()) {
            let remedy = "`bazaar init --tls DIR` makes a new authority once tls/ is moved away";
            return Err(unreadable(&file, format!("it {untimely}"), remedy));
        }
        Ok(certificates)
    }

    /// What is in the certificates of the authorities; nothing if there are none here.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn authority_facts(&self) -> Result<Vec<Facts>, CertificateFileError> {
        match read_certificates(&self.authority_file(), "put back the run's ca.pem") {
            Ok(certificates) => Ok(certificates.into_iter().map(|(_, facts)| facts).collect()),
            Err(CertificateFileError::Missing { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What is in a member's certificate; `None` if it has none here.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn facts(&self, of: Identity) -> Result<Option<Facts>, CertificateFileError> {
        match read_certificate(&self.certificate_file(of), &renew(of)) {
            Ok((_, facts)) => Ok(Some(facts)),
            Err(CertificateFileError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a member's certificate and key, in place of those that may be there.
    ///
    /// # Errors
    /// When they cannot be written. Where there is no room for them, those that were there are still there.
    pub fn keep(&self, of: Identity, issued: &Issued) -> Result<(), CertificateFileError> {
        let (file, key_file) = (self.certificate_file(of), self.key_file(of));
        replace_together(&[(&key_file, issued.key.as_bytes()), (&file, issued.certificate.as_bytes())])
            .map_err(io_error("write", &file))
    }

    /// Loads what a process needs that stands for these members, and checks that others will accept it.
    ///
    /// # Errors
    /// Names the file that is wrong, and what to do.
    pub fn load(
        &self,
        run: RunId,
        identities: impl IntoIterator<Item = Identity>,
        revoked: &BTreeSet<Serial>,
    ) -> Result<Tls, CertificateFileError> {
        let authorities: Vec<_> = self.authorities()?.into_iter().map(|(certificate, _)| certificate).collect();
        let identities: Vec<Identity> = identities.into_iter().collect();
        let pairs = identities.iter().map(|of| Ok((*of, self.pair(*of, run)?)));
        let pairs = pairs.collect::<Result<Vec<_>, CertificateFileError>>()?;
        let tls = Tls::new(run, &authorities, pairs, revoked.clone()).map_err(|error| self.explain(error))?;
        for of in identities {
            let refused = |fault| CertificateFileError::Refused { file: self.certificate_file(of), fault };
            tls.check(of).map_err(refused)?;
        }
        Ok(tls)
    }

    fn pair(&self, of: Identity, run: RunId) -> Result<Pair, CertificateFileError> {
        let file = self.certificate_file(of);
        let (certificate, facts) = read_certificate(&file, &add(of))?;
        // `bazaar cert add` makes none for whom there is a certificate.
        let (_, key) = read_key(&self.key_file(of), &renew(of))?;
        if facts.identity(run) != Some(of) {
            return Err(CertificateFileError::OfAnother { file, of, found: facts.name(), remedy: renew(of) });
        }
        Ok(Pair { certificate, key })
    }

    fn explain(&self, error: UnusableError) -> CertificateFileError {
        match error {
            UnusableError::Authority(why) => unreadable(&self.authority_file(), why, "put back the run's ca.pem"),
            UnusableError::Certificate { of, why } => unreadable(&self.certificate_file(of), why, &renew(of)),
            UnusableError::Key { of, why } => unreadable(&self.key_file(of), why, &renew(of)),
            UnusableError::Mismatch { of } => CertificateFileError::Mismatch {
                certificate: self.certificate_file(of),
                key: self.key_file(of),
                remedy: format!("copy both again, or {}", renew(of)),
            },
        }
    }
}

fn add(of: Identity) -> String {
    let stem = of.file_stem();
    format!(
        "run `bazaar cert add DIR {}` where the authority's key is, and copy {stem}.pem and {stem}.key here",
        of.flag()
    )
}

fn renew(of: Identity) -> String {
    let stem = of.file_stem();
    format!(
        "run `bazaar cert renew DIR {}` where the authority's key is, and copy {stem}.pem and {stem}.key here",
        of.flag()
    )
}

fn io_error<'a>(action: &'static str, file: &'a Path) -> impl FnOnce(io::Error) -> CertificateFileError + 'a {
    move |error| CertificateFileError::Io { action, file: file.to_owned(), error }
}

fn unreadable(file: &Path, why: String, remedy: &str) -> CertificateFileError {
    CertificateFileError::Unreadable { file: file.to_owned(), why, remedy: remedy.to_owned() }
}

fn open(file: &Path, remedy: &str) -> Result<File, CertificateFileError> {
    File::open(file).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return CertificateFileError::Missing { file: file.to_owned(), remedy: remedy.to_owned() };
        }
        io_error(READ, file)(error)
    })
}

fn read(opened: &File, file: &Path) -> Result<Vec<u8>, CertificateFileError> {
    let mut bytes = Vec::new();
    opened.take(LONGEST).read_to_end(&mut bytes).map_err(io_error(READ, file))?;
    Ok(bytes)
}

fn read_certificate(file: &Path, remedy: &str) -> Result<(CertificateDer<'static>, Facts), CertificateFileError> {
    let first = read_certificates(file, remedy)?.into_iter().next();
    first.ok_or_else(|| no_certificate(file, remedy))
}

/// All certificates in a file, of which there is at least one.
fn read_certificates(file: &Path, remedy: &str) -> Result<Vec<(CertificateDer<'static>, Facts)>, CertificateFileError> {
    let bytes = read(&open(file, remedy)?, file)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).map(|certificate| {
        let certificate = certificate.map_err(|_| no_certificate(file, remedy))?;
        let facts = Facts::of(&certificate).map_err(|_| no_certificate(file, remedy))?;
        Ok((certificate, facts))
    });
    let certificates = certificates.collect::<Result<Vec<_>, CertificateFileError>>()?;
    if certificates.is_empty() { Err(no_certificate(file, remedy)) } else { Ok(certificates) }
}

fn no_certificate(file: &Path, remedy: &str) -> CertificateFileError {
    unreadable(file, "it holds no certificate in PEM".to_owned(), remedy)
}

/// A private key, and its text.
fn read_key(file: &Path, remedy: &str) -> Result<(String, PrivateKeyDer<'static>), CertificateFileError> {
    let opened = open(file, remedy)?;
    let metadata = opened.metadata().map_err(io_error(READ, file))?;
    check_key(file, metadata.mode() & 0o777, metadata.uid(), geteuid().as_raw())?;
    let no_key = || unreadable(file, "it holds no private key in PEM".to_owned(), remedy);
    let text = String::from_utf8(read(&opened, file)?).map_err(|_| no_key())?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| no_key())?;
    Ok((text, key))
}

/// The text of a private key that is another program's.
pub(crate) fn read_key_text(file: &Path, remedy: &str) -> Result<String, CertificateFileError> {
    read_key(file, remedy).map(|(text, _)| text)
}

/// The text of certificates that are another program's, of which there is at least one.
pub(crate) fn read_certificate_text(file: &Path, remedy: &str) -> Result<String, CertificateFileError> {
    let bytes = read(&open(file, remedy)?, file)?;
    let mut certificates = CertificateDer::pem_slice_iter(&bytes).peekable();
    let is_pem = certificates.peek().is_some() && certificates.all(|certificate| certificate.is_ok());
    let text = String::from_utf8(bytes).ok().filter(|_| is_pem);
    text.ok_or_else(|| no_certificate(file, remedy))
}

/// A password, which is all that is in the file, up to the end of the line.
pub(crate) fn read_password(file: &Path, remedy: &str) -> Result<String, CertificateFileError> {
    let opened = open(file, remedy)?;
    let metadata = opened.metadata().map_err(io_error(READ, file))?;
    check_key(file, metadata.mode() & 0o777, metadata.uid(), geteuid().as_raw())?;
    let text = String::from_utf8(read(&opened, file)?).unwrap_or_default();
    let password = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() || password.contains(['\n', '\r']) {
        return Err(unreadable(file, "it does not hold one line of text".to_owned(), remedy));
    }
    Ok(password.to_owned())
}

/// Refuses a key or a password that somebody else can read than root and the one who runs this.
fn check_key(file: &Path, mode: u32, owner: u32, me: u32) -> Result<(), CertificateFileError> {
    if mode & 0o077 != 0 {
        return Err(CertificateFileError::Exposed { file: file.to_owned(), mode });
    }
    if owner != me && owner != 0 {
        return Err(CertificateFileError::Owned { file: file.to_owned(), owner, me });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use bazaar_protocol::id::PeerId;
    use tempfile::TempDir;

    use super::*;
    use crate::system::files::replace_whole;

    const RUN: RunId = RunId(7);
    const ME: Identity = Identity::Peer(PeerId(3));

    /// An authority with certificates for the ledger, the tools and four peers.
    fn made() -> (TempDir, CertificateDir) {
        let home = tempfile::tempdir().unwrap();
        let dir = CertificateDir::at(&home.path().join("tls"));
        let authority = dir.create(RUN).unwrap();
        for of in Identity::all(4) {
            dir.keep(of, &authority.issue(RUN, of, 9).unwrap()).unwrap();
        }
        (home, dir)
    }

    #[track_caller]
    fn refused(dir: &CertificateDir, parts: &[&str]) {
        let error = dir.load(RUN, [ME], &BTreeSet::new()).map(drop).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }

    #[test]
    fn what_was_made_can_be_used_and_renewed_and_only_its_owner_can_read_it() {
        let (_home, dir) = made();
        dir.load(RUN, Identity::all(4), &BTreeSet::new()).unwrap();
        let before = dir.facts(ME).unwrap().unwrap();
        dir.keep(ME, &dir.authority().unwrap().issue(RUN, ME, 30).unwrap()).unwrap();
        let after = dir.facts(ME).unwrap().unwrap();
        assert!(after.serial != before.serial && after.not_after > before.not_after, "{before:?} {after:?}");
        dir.load(RUN, [ME], &[before.serial].into()).unwrap();
        refused_with(&dir, &[after.serial].into(), &["peer-3.pem", "is revoked here", "bazaar cert renew"]);
        for file in fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap()) {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
        let exists = dir.create(RUN).unwrap_err().to_string();
        assert!(exists.contains("ca.pem exists already"), "{exists}");
        assert_eq!(dir.facts(Identity::Peer(PeerId(9))).unwrap(), None);
    }

    #[track_caller]
    fn refused_with(dir: &CertificateDir, revoked: &BTreeSet<Serial>, parts: &[&str]) {
        let error = dir.load(RUN, [ME], revoked).map(drop).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_holds_something_else_is_named_with_a_remedy() {
        let (_home, dir) = made();
        let files = [dir.certificate_file(ME), dir.key_file(ME), dir.authority_file()];
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            let remedy = match name {
                "ca.pem" => "bazaar init --tls",
                // With a certificate there, `add` would make none.
                "peer-3.key" => "bazaar cert renew DIR --peer 3",
                _ => "bazaar cert add DIR --peer 3",
            };
            let whole = fs::read(&file).unwrap();
            fs::remove_file(&file).unwrap();
            refused(&dir, &[name, "no such file", remedy]);
            fs::create_dir(&file).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
            refused(&dir, &[name, "cannot read"]);
            fs::remove_dir(&file).unwrap();
            let (text, half) = (String::from_utf8(whole.clone()).unwrap(), whole.len() / 2);
            let garbage = text.replace("MI", "AA");
            for bytes in [&b""[..], b"\xff\xfe\x00", b"-----BEGIN", &whole[..half], garbage.as_bytes()] {
                replace_whole(&file, bytes).unwrap();
                refused(&dir, &[name]);
            }
            replace_whole(&file, &whole).unwrap();
        }
        dir.load(RUN, [ME], &BTreeSet::new()).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let (_home, dir) = made();
        for (file, is_authoritys) in [(dir.key_file(ME), false), (dir.authority_key_file(), true)] {
            for mode in [0o640, 0o604, 0o620, 0o777] {
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
                let error = if is_authoritys {
                    dir.authority().map(drop).unwrap_err()
                } else {
                    dir.load(RUN, [ME], &BTreeSet::new()).map(drop).unwrap_err()
                };
                let error = error.to_string();
                let name = file.display();
                assert!(
                    error.contains(&format!("mode {mode:o}")) && error.contains(&format!("chmod 600 {name}")),
                    "{error}"
                );
            }
            for mode in [0o600, 0o400] {
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
                assert!(dir.load(RUN, [ME], &BTreeSet::new()).is_ok() && dir.authority().is_ok());
            }
        }
    }

    #[test]
    fn a_certificate_that_others_would_refuse_is_refused_at_once() {
        let (_home, dir) = made();
        let authority = dir.authority().unwrap();
        let (now, name) = (Seconds::now(), ME.dns_name(RUN));
        let past = authority.issue_for(&name, Seconds(now.0 - 90_000), Seconds(now.0 - 60)).unwrap();
        dir.keep(ME, &past).unwrap();
        refused(&dir, &["peer-3.pem expired at", "bazaar cert renew"]);
        let future = authority.issue_for(&name, Seconds(now.0 + 90_000), Seconds(now.0 + 180_000)).unwrap();
        dir.keep(ME, &future).unwrap();
        refused(&dir, &["peer-3.pem is not valid before"]);
        let (stranger, _) = Authority::new(RUN).unwrap();
        dir.keep(ME, &stranger.issue(RUN, ME, 9).unwrap()).unwrap();
        refused(&dir, &["peer-3.pem was not issued by the authority of this run"]);
        for other in [Identity::Peer(PeerId(1)), Identity::Ledger] {
            dir.keep(ME, &authority.issue(RUN, other, 9).unwrap()).unwrap();
            refused(&dir, &["peer-3.pem is not the certificate of peer 3", &other.dns_name(RUN)]);
        }
        dir.keep(ME, &authority.issue(RunId(8), ME, 9).unwrap()).unwrap();
        refused(&dir, &["peer-3.pem is not the certificate of peer 3 in this run"]);
        dir.keep(ME, &authority.issue(RUN, ME, 9).unwrap()).unwrap();
        fs::copy(dir.key_file(Identity::Ledger), dir.key_file(ME)).unwrap();
        refused(&dir, &["peer-3.key is not the key of", "peer-3.pem", "copy both again"]);
        fs::copy(dir.certificate_file(ME), dir.authority_file()).unwrap();
        refused(&dir, &["ca.pem", "no authority's certificate"]);
    }

    #[test]
    fn who_could_change_whom_is_trusted_is_kept_from_it() {
        let (_home, dir) = made();
        for (path, was) in [(dir.0.clone(), 0o700), (dir.authority_file(), 0o600)] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, was);
            for mode in [was | 0o020, was | 0o002] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                refused(&dir, &[&format!("(mode {mode:o})"), &format!("`chmod go-w {}`", path.display())]);
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(was | 0o044)).unwrap();
            dir.load(RUN, [ME], &BTreeSet::new()).unwrap();
        }
        for (owner, is_right) in [(0, true), (7, true), (8, false)] {
            let checked = check_key(Path::new("peer-3.key"), 0o600, owner, 7).map_err(|error| error.to_string());
            let refused = Err("peer-3.key belongs to user 8, neither to the one who runs this, 7, nor to root: run \
                               `chown 7 peer-3.key`"
                .to_owned());
            assert_eq!(checked, if is_right { Ok(()) } else { refused });
        }
    }

    #[test]
    fn while_one_authority_takes_over_from_another_both_are_trusted() {
        let (_home, dir) = made();
        let (former, issuer) = (fs::read(dir.authority_file()).unwrap(), dir.authority().unwrap());
        for file in [dir.authority_file(), dir.authority_key_file()] {
            fs::remove_file(file).unwrap();
        }
        let next = dir.create(RUN).unwrap();
        refused(&dir, &["was not issued by the authority of this run"]);
        let both = [former, fs::read(dir.authority_file()).unwrap()].concat();
        replace_whole(&dir.authority_file(), &both).unwrap();
        assert_eq!(dir.authority_facts().unwrap().len(), 2);
        for authority in [issuer, next, dir.authority().unwrap()] {
            dir.keep(ME, &authority.issue(RUN, ME, 9).unwrap()).unwrap();
            dir.load(RUN, [ME], &BTreeSet::new()).unwrap();
        }
    }

    #[test]
    fn no_certificate_outlives_its_authority() {
        let (_home, dir) = made();
        let [ends] = &dir.authority_facts().unwrap()[..] else { panic!("one authority") };
        dir.keep(ME, &dir.authority().unwrap().issue(RUN, ME, 9_000).unwrap()).unwrap();
        assert_eq!(dir.facts(ME).unwrap().unwrap().not_after, ends.not_after);
    }

    #[test]
    fn an_authoritys_key_must_be_its_own() {
        let (_home, dir) = made();
        fs::copy(dir.key_file(ME), dir.authority_key_file()).unwrap();
        let error = dir.authority().map(drop).unwrap_err().to_string();
        assert!(error.contains("ca.key is not the key of") && error.contains("ca.pem"), "{error}");
        fs::remove_file(dir.authority_key_file()).unwrap();
        let error = dir.authority().map(drop).unwrap_err().to_string();
        assert!(error.contains("ca.key: there is no such file; certificates can only be made where"), "{error}");
    }
}
