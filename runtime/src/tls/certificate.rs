//! What is in a certificate, and the serial numbers by which certificates are revoked.

use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use bazaar_protocol::text::visible;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use crate::{network::hello::RunId, tls::Identity};

/// The longest serial number that a certificate may have, in bytes (RFC 5280, 4.1.2.2).
const LONGEST_SERIAL: usize = 20;

/// How much of a name is quoted. Whoever made the certificate has chosen it.
const QUOTED: usize = 96;

/// The serial number of a certificate. Its text is hexadecimal, as `openssl x509 -serial` prints it; upper and lower
/// case and colons between bytes make no difference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

/// A text is not a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a serial number is hexadecimal, as `bazaar cert show` prints it")]
pub struct SerialError;

impl Serial {
    /// The serial number with these bytes, the most significant first. Zeros in front do not count.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Serial {
        Serial(bytes.iter().copied().skip_while(|byte| *byte == 0).collect())
    }

    /// A random one of 16 bytes, which is positive and has no zeros in front.
    #[must_use]
    pub fn random() -> Serial {
        let mut bytes: [u8; 16] = rand::random();
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        Serial(bytes.to_vec())
    }

    /// Its bytes, the most significant first.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Serial, SerialError> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(SerialError))
            .collect::<Result<_, _>>()?;
        let bytes: Vec<u8> =
            digits.rchunks(2).rev().map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit)).collect();
        let serial = Serial::of_bytes(&bytes);
        if serial.0.is_empty() || serial.0.len() > LONGEST_SERIAL { Err(SerialError) } else { Ok(serial) }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// A moment, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub i64);

impl Seconds {
    /// This moment, by the machine's clock.
    #[must_use]
    pub fn now() -> Seconds {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// The moment so many days later.
    #[must_use]
    pub fn plus_days(self, days: u32) -> Seconds {
        Seconds(self.0.saturating_add(i64::from(days) * 86_400))
    }
}

/// "2027-11-29T16:03:03Z".
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(moment) => moment.fmt(f),
            Err(_) => write!(f, "second {}", self.0),
        }
    }
}

/// What is in a certificate. None of it is to be believed before the certificate was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its serial number.
    pub serial: Serial,
    /// The DNS names that it is for.
    pub names: Vec<String>,
    /// From when on it is valid.
    pub not_before: Seconds,
    /// Until when it is valid.
    pub not_after: Seconds,
    /// Whether it may issue others.
    pub is_authority: bool,
}

/// Some bytes are not a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("this is not a certificate")]
pub struct NotACertificate;

impl Facts {
    /// Reads a certificate. Nothing is verified.
    ///
    /// # Errors
    /// When it is not one.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Facts, NotACertificate> {
        let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| NotACertificate)?;
        if !rest.is_empty() {
            return Err(NotACertificate);
        }
        let names = parsed.subject_alternative_name().map_err(|_| NotACertificate)?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let names = names.filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
        Ok(Facts {
            serial: Serial::of_bytes(parsed.raw_serial()),
            names: names.map(str::to_owned).collect(),
            not_before: Seconds(parsed.validity().not_before.timestamp()),
            not_after: Seconds(parsed.validity().not_after.timestamp()),
            is_authority: parsed.is_ca(),
        })
    }

    /// Who it is for in this run; `None` if it is not for exactly one of its members.
    #[must_use]
    pub fn identity(&self, run: RunId) -> Option<Identity> {
        match self.names.as_slice() {
            [name] => Identity::of_dns_name(name, run),
            _ => None,
        }
    }

    /// Its first name, harmless and shortened, for a message.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.names.first().map_or("nobody", String::as_str);
        visible(&name.chars().take(QUOTED).collect::<String>())
    }

    /// Whether it is valid at this moment.
    ///
    /// # Errors
    /// Says why not.
    pub fn is_valid_at(&self, now: Seconds) -> Result<(), Untimely> {
        if now < self.not_before {
            return Err(Untimely::NotYet { from: self.not_before });
        }
        if now > self.not_after {
            return Err(Untimely::Expired { at: self.not_after });
        }
        Ok(())
    }
}

/// "serial 4f…, for peer-3.00c0ffee00c0ffee.bazaar".
impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial {}, for {}", self.serial, self.name())
    }
}

/// Why a certificate is not valid at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Untimely {
    /// It was valid earlier. Renew it.
    #[error("expired at {at}")]
    Expired {
        /// Until when it was valid.
        at: Seconds,
    },
    /// It will be valid later. Most often a clock is wrong.
    #[error("is not valid before {from}")]
    NotYet {
        /// From when on it will be valid.
        from: Seconds,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_serial_number_is_the_same_however_it_is_written() {
        let serial: Serial = "4f0c".parse().unwrap();
        for text in ["4F0C", "004f0c", "4f:0c", "00:4F:0C"] {
            assert_eq!(text.parse::<Serial>().unwrap(), serial, "{text}");
        }
        assert_eq!(serial.to_string(), "4f0c");
        assert_eq!("f0c".parse::<Serial>().unwrap().to_string(), "0f0c");
        let long = "11".repeat(21);
        for text in ["", "0", "00", "xyz", "4f 0c", long.as_str()] {
            assert_eq!(text.parse::<Serial>(), Err(SerialError), "{text}");
        }
        let random = Serial::random();
        assert_eq!(random.to_string().parse::<Serial>().unwrap(), random);
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        for bytes in [&b""[..], b"\x30", b"\x30\x82\xff\xff", &[0xff; 300]] {
            assert_eq!(Facts::of(&CertificateDer::from(bytes)), Err(NotACertificate));
        }
    }
}
