//! The authority of a run, which issues the certificates of its members.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::{
    network::hello::RunId,
    tls::{
        Identity,
        certificate::{Seconds, Serial},
    },
};

/// How long an authority is valid, in days: ten years.
const AUTHORITY_DAYS: u32 = 3_650;

/// How long a member's certificate is valid unless somebody says otherwise, in days.
pub const MEMBER_DAYS: u32 = 365;

/// How far the clocks of two machines may be apart, in seconds, for a fresh certificate to be valid on both.
const CLOCK_SKEW: i64 = 3_600;

/// A certificate and its key, as texts for files.
#[derive(Clone)]
pub struct Issued {
    /// The certificate, in PEM.
    pub certificate: String,
    /// The private key, in PEM.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The authority of a run, with its key.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    until: Seconds,
}

impl Authority {
    /// A new authority for a run, and what is to be kept of it.
    ///
    /// # Errors
    /// When no random numbers can be had.
    pub fn new(run: RunId) -> Result<(Authority, Issued), rcgen::Error> {
        let key = KeyPair::generate()?;
        // The serial number keeps two authorities of runs with one name apart.
        let serial = Serial::random();
        let until = Seconds::now().plus_days(AUTHORITY_DAYS);
        let mut params = params(Seconds::now(), until, &serial)?;
        params.distinguished_name = called(&format!("authority {serial} of bazaar {run}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issued = Issued { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() };
        Ok((Authority { issuer: Issuer::new(params, key), until }, issued))
    }

    /// The authority with this certificate, which is valid until then, and this key, which must belong to it.
    ///
    /// # Errors
    /// When it is not a certificate.
    pub fn of(certificate: &CertificateDer<'_>, until: Seconds, key: KeyPair) -> Result<Authority, rcgen::Error> {
        Ok(Authority { issuer: Issuer::from_ca_cert_der(certificate, key)?, until })
    }

    /// A certificate for a member of a run, with a key of its own, valid for so many days from now on, and no longer
    /// than the authority.
    ///
    /// # Errors
    /// When no random numbers can be had.
    pub fn issue(&self, run: RunId, to: Identity, days: u32) -> Result<Issued, rcgen::Error> {
        self.issue_for(&to.dns_name(run), Seconds::now(), Seconds::now().plus_days(days).min(self.until))
    }

    /// A certificate for one DNS name, with a key of its own, valid from a moment to a moment.
    ///
    /// # Errors
    /// When no random numbers can be had, or the name is none.
    pub fn issue_for(&self, name: &str, from: Seconds, until: Seconds) -> Result<Issued, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = params(from, until, &Serial::random())?;
        params.subject_alt_names = CertificateParams::new([name.to_owned()])?.subject_alt_names;
        params.distinguished_name = called(name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A peer connects and is connected to; what a certificate is good for follows from its name.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

fn params(from: Seconds, until: Seconds, serial: &Serial) -> Result<CertificateParams, rcgen::Error> {
    let moment = |Seconds(at): Seconds| OffsetDateTime::from_unix_timestamp(at).map_err(|_| rcgen::Error::Time);
    let mut params = CertificateParams::default();
    params.not_before = moment(Seconds(from.0.saturating_sub(CLOCK_SKEW)))?;
    params.not_after = moment(until)?;
    params.serial_number = Some(SerialNumber::from(serial.as_bytes().to_vec()));
    Ok(params)
}
