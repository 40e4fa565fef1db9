//! The calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status, metadata::MetadataValue, transport::Channel};

use crate::{
    connection::{Connection, Login, Member, Token},
    data::{Keys, Range, RangeAnswer, Revision, Txn, TxnAnswer, delete, put, revision},
    error::{Failure, Judged, ReadError, Refusal, Trouble, WriteError, judge},
    generated::{self as wire, auth_client::AuthClient, kv_client::KvClient},
    settings::{Settings, SettingsError, User},
};

/// A client of one cluster. Its clones share their connections, the login, and which member is the current one: the
/// first of the [endpoints](Settings::endpoints) in the beginning, and the next one after each trouble with it.
///
/// [What it promises](crate#the-contract). It must be used within a tokio runtime with I/O and time. To wait for less long,
/// use [`Client::with_deadline`]: a call that is dropped while it is under way leaves its outcome unknown, and the client
/// does not learn that the member was slow.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    deadline: Duration,
    pub(crate) watch_silence: Duration,
}

#[derive(Debug)]
struct Shared {
    members: Vec<Member>,
    /// Which of them the next request goes to.
    current: AtomicUsize,
    user: Option<User>,
    login: Login,
}

/// What a request says to the member besides itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Refuse at once if you have no leader, rather than wait for one.
    WithLeader,
    /// Answer for yourself.
    Member,
}

/// A connection and the token that goes with each request over it.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) connection: Connection,
    token: Option<Token>,
}

impl Way {
    pub(crate) fn request<Q>(&self, ask: Ask, query: Q) -> Request<Q> {
        let mut request = Request::new(query);
        if ask == Ask::WithLeader {
            request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        }
        if let Some(Token(token)) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }
}

impl Client {
    /// A client with these settings. Nothing is connected to yet.
    ///
    /// # Errors
    /// If certificates and endpoints do not fit each other, or the certificates are none.
    pub fn new(settings: &Settings) -> Result<Client, SettingsError> {
        let shared = Shared {
            members: Member::all(settings)?,
            current: AtomicUsize::new(0),
            user: settings.user.clone(),
            login: Login::default(),
        };
        Ok(Client { shared: Arc::new(shared), deadline: settings.deadline, watch_silence: settings.watch_silence })
    }

    /// The same client, whose calls may take this long.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Client {
        Client { deadline, ..self.clone() }
    }

    /// The members' addresses, in their order.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = &str> {
        self.shared.members.iter().map(|member| member.name.as_str())
    }

    /// Which of the endpoints the next request goes to.
    #[must_use]
    pub fn current(&self) -> usize {
        self.shared.current.load(Ordering::Relaxed)
    }

    /// Carries out a transaction, as the only one at its revision.
    ///
    /// # Errors
    /// Each says whether it may have been carried out nevertheless.
    pub async fn txn(&self, txn: Txn) -> Result<TxnAnswer, WriteError> {
        let (at, query) = (self.current(), txn.into_wire());
        let send = |channel, request| async move { KvClient::new(channel).txn(request).await };
        let answer = self.call(at, Ask::WithLeader, query, send).await?;
        TxnAnswer::read(answer).ok_or_else(|| WriteError::Unknown(self.senseless(at)))
    }

    /// Gives a key a value, and says at which revision.
    ///
    /// # Errors
    /// Each says whether it may have been carried out nevertheless.
    pub async fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Result<Revision, WriteError> {
        let (at, query) = (self.current(), put(key.into(), value.into()));
        let send = |channel, request| async move { KvClient::new(channel).put(request).await };
        let answer = self.call(at, Ask::WithLeader, query, send).await?;
        revision(answer.header.as_ref()).ok_or_else(|| WriteError::Unknown(self.senseless(at)))
    }

    /// Deletes keys, and says how many there were. This works, too, while the cluster is [full](WriteError::Full).
    ///
    /// # Errors
    /// Each says whether it may have been carried out nevertheless.
    pub async fn delete_range(&self, keys: Keys) -> Result<u64, WriteError> {
        let (at, query) = (self.current(), delete(keys));
        let send = |channel, request| async move { KvClient::new(channel).delete_range(request).await };
        let answer = self.call(at, Ask::WithLeader, query, send).await?;
        Ok(answer.deleted.unsigned_abs())
    }

    /// Reads keys. Without a revision it is linearizable: it sees all that was written before it was called.
    ///
    /// # Errors
    /// If the revision is gone or yet to come, the answer is too large, or there is none.
    pub async fn range(&self, range: Range) -> Result<RangeAnswer, ReadError> {
        let (at, query) = (self.current(), range.into_wire());
        let send = |channel, request| async move { KvClient::new(channel).range(request).await };
        let answer = self.call(at, Ask::WithLeader, query, send).await?;
        RangeAnswer::read(answer).ok_or_else(|| ReadError::Failed(self.senseless(at)))
    }

    /// Lets the cluster forget what its keys were before this revision. Reads at an earlier one, and watches from an
    /// earlier one, then end with an error. Done once the space is free for [`Client::defragment`] to give back.
    ///
    /// # Errors
    /// Also if it was compacted up to there already, or the revision is yet to come ([`Refusal::Malformed`]).
    pub async fn compact(&self, before: Revision) -> Result<(), WriteError> {
        let query = wire::CompactionRequest { revision: before.0, physical: true };
        let send = |channel, request| async move { KvClient::new(channel).compact(request).await };
        self.call(self.current(), Ask::WithLeader, query, send).await?;
        Ok(())
    }

    /// One request to the member with this number, within the deadline.
    pub(crate) async fn call<Q, A, F>(
        &self,
        at: usize,
        ask: Ask,
        query: Q,
        send: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<A, Failure>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let ends = Instant::now() + self.deadline;
        // Once with the token there is, and once with a new one if a member has refused that.
        let mut is_renewed = false;
        loop {
            let way = self.way(at, ends).await?;
            let request = way.request(ask, query.clone());
            let Ok(answer) = timeout_at(ends, send(way.connection.channel.clone(), request)).await else {
                return Err(Failure::Unknown(self.give_up(at, &way, self.late())));
            };
            let status = match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            let judged = judge(&status);
            if matches!(judged, Judged::StaleToken(_)) && self.shared.user.is_some() && !is_renewed {
                self.forget(&way);
                is_renewed = true;
                continue;
            }
            return Err(self.failure(at, &way, judged));
        }
    }

    /// A connection to this member, and a login. Whatever fails here, the request itself was not sent.
    pub(crate) async fn way(&self, at: usize, ends: Instant) -> Result<Way, Failure> {
        let member = &self.shared.members[at];
        let not_sent = |why: String| {
            self.rotate(at);
            Failure::NotSent(self.trouble(at, why))
        };
        let connection = match timeout_at(ends, member.connect()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(not_sent(crate::error::chain(&error))),
            Err(_) => return Err(not_sent(format!("no connection within {:?}", self.deadline))),
        };
        let Some(user) = &self.shared.user else { return Ok(Way { connection, token: None }) };
        if let Some(token) = self.shared.login.token() {
            return Ok(Way { connection, token });
        }
        let way = Way { connection, token: None };
        let token = self.log_in(at, &way, user, ends).await.map_err(Failure::before_sending)?;
        self.shared.login.note(token.clone());
        Ok(Way { token, ..way })
    }

    /// Logs in over a way without a token; `None` if nobody is asked to.
    async fn log_in(&self, at: usize, way: &Way, user: &User, ends: Instant) -> Result<Option<Token>, Failure> {
        let query = wire::AuthenticateRequest { name: user.name.clone(), password: user.password.clone() };
        let mut client = AuthClient::new(way.connection.channel.clone());
        let Ok(answer) = timeout_at(ends, client.authenticate(way.request(Ask::Member, query))).await else {
            return Err(Failure::Unknown(self.give_up(at, way, self.late())));
        };
        let status = match answer {
            Ok(answer) => {
                let unusable = |_| Failure::Unknown(self.trouble(at, "its token cannot be sent".to_owned()));
                return answer.into_inner().token.parse().map(|token| Some(Token(token))).map_err(unusable);
            }
            Err(status) => status,
        };
        let judged = judge(&status);
        // As etcd's own client does: whom nobody asks need not say.
        if judged == Judged::NoUsers { Ok(None) } else { Err(self.failure(at, way, judged)) }
    }

    /// Forgets the login of this way, since it was refused.
    pub(crate) fn forget(&self, way: &Way) {
        self.shared.login.forget(way.token.as_ref());
    }

    /// Whether this client logs in.
    pub(crate) fn logs_in(&self) -> bool {
        self.shared.user.is_some()
    }

    /// What a status means for the caller, and for which member is next.
    pub(crate) fn failure(&self, at: usize, way: &Way, judged: Judged) -> Failure {
        match judged {
            Judged::Refused(refusal) => Failure::Refused(refusal),
            Judged::StaleToken(why) => {
                self.forget(way);
                Failure::Refused(Refusal::Unauthenticated(why))
            }
            Judged::NoUsers => Failure::Refused(Refusal::Unauthenticated("the cluster has no users".to_owned())),
            Judged::Compacted => Failure::Compacted,
            Judged::Future => Failure::Future,
            Judged::Full(why) => Failure::Full(self.trouble(at, why)),
            Judged::AnswerTooLarge(why) => Failure::AnswerTooLarge(self.trouble(at, why)),
            Judged::Unclear { why, answered: true } => {
                self.rotate(at);
                Failure::Unknown(self.trouble(at, why))
            }
            Judged::Unclear { why, answered: false } => Failure::Unknown(self.give_up(at, way, why)),
        }
    }

    /// Turns to the next member, and lets go of the connection to this one.
    pub(crate) fn give_up(&self, at: usize, way: &Way, why: String) -> Trouble {
        self.rotate(at);
        self.shared.members[at].drop_connection(&way.connection);
        self.trouble(at, why)
    }

    /// Turns to the next member, unless another call has done so already.
    fn rotate(&self, from: usize) {
        let next = (from + 1) % self.shared.members.len();
        let _ = self.shared.current.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn trouble(&self, at: usize, why: String) -> Trouble {
        Trouble { endpoint: self.shared.members[at].name.clone(), why }
    }

    fn senseless(&self, at: usize) -> Trouble {
        self.trouble(at, "its answer makes no sense".to_owned())
    }

    pub(crate) fn late(&self) -> String {
        format!("no answer within {:?}", self.deadline)
    }

    pub(crate) fn ends(&self) -> Instant {
        Instant::now() + self.deadline
    }
}
