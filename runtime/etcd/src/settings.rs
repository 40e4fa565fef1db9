//! Where a cluster is and how to talk to it.

use std::{collections::BTreeSet, fmt, time::Duration};

use tonic::transport::Uri;

/// Where a cluster is, how to talk to it, and how long to wait for it. Not checked before [`Client::new`](crate::Client::new).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its members' addresses for clients.
    pub endpoints: Endpoints,
    /// What to trust and to show; needed for `https`, and an error with `http`.
    pub tls: Option<Tls>,
    /// Who to log in as, where the cluster has users and these are not told by certificates.
    pub user: Option<User>,
    /// How long a call may take in all: connecting, logging in, sending and the answer.
    pub deadline: Duration,
    /// How long a watch may hear nothing from its member before it is [`Lost`](crate::Lost). After half of it the member
    /// is asked for a sign of life.
    pub watch_silence: Duration,
}

impl Settings {
    /// Without TLS or a user, a deadline of 2 s (three members on one machine elect a leader within about 1.5 s), and
    /// the same for the silence of a watch.
    #[must_use]
    pub fn new(endpoints: Endpoints) -> Settings {
        let wait = Duration::from_secs(2);
        Settings { endpoints, tls: None, user: None, deadline: wait, watch_silence: wait }
    }
}

/// The addresses of one or several members, all `http` or all `https`. In the order in which they are turned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints(Vec<Uri>);

/// Why a list of addresses is none. Nothing was connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointsError {
    /// Name at least one.
    #[error("no endpoint is named")]
    Empty,
    /// Write it as `http://host:port` or `https://host:port`, and nothing behind the port.
    #[error("{0:?} is no endpoint: write http://host:port or https://host:port")]
    Malformed(String),
    /// Write it once: a member that is turned to twice in a row is no other.
    #[error("{0} is named twice")]
    Repeated(String),
    /// Use one scheme for all: what is sent to one in the clear is no secret.
    #[error("some endpoints are http and some https")]
    Mixed,
}

impl Endpoints {
    /// Reads addresses of the form `http://host:port` or `https://host:port`; the host may be a name, an IPv4 address, or
    /// an IPv6 address in brackets.
    ///
    /// # Errors
    /// If there is none, or one is malformed, repeated or of another scheme.
    pub fn parse<S: AsRef<str>>(addresses: impl IntoIterator<Item = S>) -> Result<Endpoints, EndpointsError> {
        let endpoints =
            addresses.into_iter().map(|address| parse_one(address.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = endpoints.first() else { return Err(EndpointsError::Empty) };
        if endpoints.iter().any(|endpoint| endpoint.scheme() != first.scheme()) {
            return Err(EndpointsError::Mixed);
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = endpoints.iter().find(|endpoint| !seen.insert(name(endpoint))) {
            return Err(EndpointsError::Repeated(name(twice)));
        }
        Ok(Endpoints(endpoints))
    }

    /// Has the one that is `first`, counted from 0, at the beginning, and those before it at the end.
    pub fn rotate(&mut self, first: usize) {
        let first = first % self.0.len().max(1);
        self.0.rotate_left(first);
    }

    /// Whether what is sent to them is encrypted.
    #[must_use]
    pub fn are_encrypted(&self) -> bool {
        self.0.iter().all(|endpoint| endpoint.scheme_str() == Some("https"))
    }

    /// The addresses as they are written.
    pub fn names(&self) -> impl ExactSizeIterator<Item = String> {
        self.0.iter().map(name)
    }

    pub(crate) fn uris(&self) -> impl Iterator<Item = &Uri> {
        self.0.iter()
    }
}

pub(crate) fn name(endpoint: &Uri) -> String {
    endpoint.to_string().trim_end_matches('/').to_owned()
}

fn parse_one(address: &str) -> Result<Uri, EndpointsError> {
    let malformed = || EndpointsError::Malformed(address.to_owned());
    let uri: Uri = address.parse().map_err(|_| malformed())?;
    let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_place = uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16().is_some_and(|port| port > 0);
    let has_more = uri.path() != "/" || uri.query().is_some() || address.contains(['@', '#']);
    if is_known && has_place && !has_more { Ok(uri) } else { Err(malformed()) }
}

/// What a client trusts and what it shows, in PEM. The system's authorities are never trusted: name the one that
/// signed the members' certificates.
#[derive(Clone)]
pub struct Tls {
    /// The certificates of the authorities that may have signed a member's certificate.
    pub authorities: String,
    /// This client's certificate and its private key, where members ask for one.
    pub identity: Option<(String, String)>,
}

impl fmt::Debug for Tls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("has_identity", &self.identity.is_some()).finish_non_exhaustive()
    }
}

/// Who a client logs in as.
#[derive(Clone)]
pub struct User {
    /// The name of a user of the cluster.
    pub name: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for User {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a client cannot be made of its settings. Nothing was connected to.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Name the authority that signed the members' certificates, or use `http`.
    #[error("the endpoints are https, and no authority is named that their certificates are signed by")]
    NoAuthority,
    /// Use `https`, or leave certificates out: they would not be used.
    #[error("certificates are given, but the endpoints are http")]
    NotEncrypted,
    /// Give certificates and a key in PEM that belong together.
    #[error("the certificates cannot be used: {0}")]
    Certificates(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_schemes_hosts_and_ports() {
        let three = ["http://10.0.0.1:2379", "http://[::1]:2379", "http://node-2.example:12379/"];
        let endpoints = Endpoints::parse(three).unwrap();
        let names: Vec<String> = endpoints.names().collect();
        assert_eq!(names, ["http://10.0.0.1:2379", "http://[::1]:2379", "http://node-2.example:12379"]);
        assert!(!endpoints.are_encrypted());
        assert!(Endpoints::parse(["https://a:1"]).unwrap().are_encrypted());
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason() {
        let malformed = [
            "",
            "127.0.0.1:2379",
            "http://a",
            "http://:1",
            "http://a:0",
            "http://a:99999",
            "ftp://a:1",
            "http://u@a:1",
            "http://a:1/v3",
            "http://a:1/?x",
        ];
        for address in malformed {
            assert_eq!(Endpoints::parse([address]), Err(EndpointsError::Malformed(address.to_owned())));
        }
        assert_eq!(Endpoints::parse([""; 0]), Err(EndpointsError::Empty));
        assert_eq!(Endpoints::parse(["http://a:1", "https://b:1"]), Err(EndpointsError::Mixed));
        let twice = Endpoints::parse(["http://a:1", "http://b:1", "http://a:1/"]);
        assert_eq!(twice, Err(EndpointsError::Repeated("http://a:1".to_owned())));
    }

    #[test]
    fn secrets_are_not_in_what_is_logged() {
        let mut settings = Settings::new(Endpoints::parse(["https://a:1"]).unwrap());
        settings.user = Some(User { name: "trader".to_owned(), password: "hush".to_owned() });
        settings.tls = Some(Tls { authorities: String::new(), identity: Some((String::new(), "hush".to_owned())) });
        let logged = format!("{settings:?}");
        assert!(logged.contains("trader") && !logged.contains("hush"), "{logged}");
    }
}
