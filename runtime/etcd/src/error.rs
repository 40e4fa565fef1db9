//! How calls fail, and what is known then.

use tonic::{Code, Status};

use crate::data::Revision;

/// What went wrong on the way to a member, at it, or on the way back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint}: {why}")]
pub struct Trouble {
    /// Which member was turned to.
    pub endpoint: String,
    /// What happened, in words.
    pub why: String,
}

/// A request that the cluster does not carry out, and has not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More bytes than a member takes at once, 1.5 MiB by default (`--max-request-bytes`). Send less.
    #[error("the request is too large: {0}")]
    TooLarge(String),
    /// The user or its password is wrong, none is given to a cluster that asks for one, or the login did not hold.
    #[error("not logged in: {0}")]
    Unauthenticated(String),
    /// This user may not do this to these keys.
    #[error("not permitted: {0}")]
    PermissionDenied(String),
    /// The request makes no sense to etcd: an empty key, a key put twice in one transaction, too many operations.
    #[error("the request is malformed: {0}")]
    Malformed(String),
}

/// Why a request that changes something has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Nothing was sent, since there was no connection to send it over. It will not be carried out.
    #[error("not sent: {0}")]
    NotSent(Trouble),
    /// The cluster has refused it. It will not be carried out. That says nothing about an *earlier* attempt at the same
    /// transaction.
    #[error(transparent)]
    Refused(Refusal),
    /// The space quota of a member is used up (`NOSPACE`). Until somebody makes room, etcd answers this to every request
    /// with a put in it, also to a transaction whose compare fails; it still reads and deletes.
    ///
    /// It may have been carried out: etcd checks before it proposes, where a request that does not fit is refused, and
    /// again when it applies, where it carries the request out and then says this. It is not carried out later, so a
    /// linearizable read tells; but of an *earlier* attempt that is unknown it does not.
    ///
    /// To end it: delete, then [compact](crate::Client::compact), [defragment](crate::Client::defragment) every member,
    /// and [disarm](crate::Client::disarm).
    #[error("the cluster is out of space: {0}")]
    Full(Trouble),
    /// Whether it was, or yet will be, carried out is not known. Send the same again, if it is one that settles this
    /// ([how](crate#how-an-unknown-transaction-is-settled)).
    #[error("not known to be carried out or not: {0}")]
    Unknown(Trouble),
}

impl WriteError {
    /// Whether the request is certain to have no effect, now or later.
    #[must_use]
    pub fn is_certainly_without_effect(&self) -> bool {
        match self {
            WriteError::NotSent(_) | WriteError::Refused(_) => true,
            WriteError::Full(_) | WriteError::Unknown(_) => false,
        }
    }
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The revision that was asked for has been compacted. Read anew, at a later one.
    #[error("the revision has been compacted")]
    Compacted,
    /// The revision that was asked for is yet to come at this member. Another one may have it; if none has, it was seen
    /// before the cluster was wiped or restored from a backup: then make sure whose cluster this is before anything else is
    /// read.
    #[error("the revision is above the latest that this member has")]
    Future,
    /// The answer is larger than a client takes (4 MiB). Ask for fewer keys.
    #[error("the answer is too large: {0}")]
    TooLarge(String),
    /// The cluster has refused it.
    #[error(transparent)]
    Refused(Refusal),
    /// There was no answer in time, or none that says anything. Read again.
    #[error(transparent)]
    Failed(Trouble),
}

/// Why a watch has ended. What happens to its keys from now on is not seen; read them, and watch from that revision on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Events between the revision to watch from and this one have been compacted.
    #[error("events before revision {} have been compacted", .0.0)]
    Compacted(Revision),
    /// The member's revision is below the one to watch from, and it stays so. The cluster was wiped or restored from a
    /// backup, or the member is far behind.
    #[error("the member is at revision {} only", .0.0)]
    Behind(Revision),
    /// The cluster refuses it.
    #[error(transparent)]
    Refused(Refusal),
    /// The member did not answer within [`Settings::watch_silence`](crate::Settings::watch_silence), has lost its leader,
    /// or has ended the watch.
    #[error(transparent)]
    Broken(Trouble),
}

/// How a request failed, whatever it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    NotSent(Trouble),
    Refused(Refusal),
    Compacted,
    Future,
    AnswerTooLarge(Trouble),
    Full(Trouble),
    Unknown(Trouble),
}

impl Failure {
    /// What the failure of a step says of the request that was to follow it.
    pub(crate) fn before_sending(self) -> Failure {
        match self {
            Failure::NotSent(trouble)
            | Failure::AnswerTooLarge(trouble)
            | Failure::Full(trouble)
            | Failure::Unknown(trouble) => Failure::NotSent(trouble),
            Failure::Refused(_) | Failure::Compacted | Failure::Future => self,
        }
    }
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> WriteError {
        match failure {
            Failure::NotSent(trouble) => WriteError::NotSent(trouble),
            Failure::Refused(refusal) => WriteError::Refused(refusal),
            Failure::Compacted => WriteError::Refused(Refusal::Malformed("the revision has been compacted".to_owned())),
            Failure::Future => WriteError::Refused(Refusal::Malformed("the revision is yet to come".to_owned())),
            Failure::Full(trouble) => WriteError::Full(trouble),
            // There is an answer, so it was carried out, or its compare failed: which of them is in what was not read.
            Failure::AnswerTooLarge(trouble) | Failure::Unknown(trouble) => WriteError::Unknown(trouble),
        }
    }
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> ReadError {
        match failure {
            // etcd reads when it is full; it should not say this.
            Failure::NotSent(trouble) | Failure::Full(trouble) | Failure::Unknown(trouble) => {
                ReadError::Failed(trouble)
            }
            Failure::Refused(refusal) => ReadError::Refused(refusal),
            Failure::Compacted => ReadError::Compacted,
            Failure::Future => ReadError::Future,
            Failure::AnswerTooLarge(trouble) => ReadError::TooLarge(trouble.why),
        }
    }
}

/// What a status says about its request. etcd's texts have been the same since 3.4 (`rpctypes/error.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Refused(Refusal),
    /// A token of an earlier login: refused before anything was proposed, or before it was applied.
    StaleToken(String),
    /// There are no users, or none is asked for.
    NoUsers,
    Compacted,
    Future,
    /// The client does not read an answer of this size.
    AnswerTooLarge(String),
    /// There is no room for it, or was none left after it.
    Full(String),
    /// Anything else. `answered`: a member of etcd has said so, so the connection to it works.
    Unclear {
        why: String,
        answered: bool,
    },
}

/// The texts that matter, where the code alone does not tell.
mod text {
    pub(super) const COMPACTED: &str = "required revision has been compacted";
    pub(super) const FUTURE: &str = "required revision is a future revision";
    pub(super) const NO_SPACE: &str = "database space exceeded";
    pub(super) const MESSAGE_TOO_LARGE: &str = "received message larger than max";
    pub(super) const REQUEST_TOO_LARGE: &str = "request is too large";
    pub(super) const ANSWER_TOO_LARGE: &str = "decoded message length too large";
    pub(super) const AUTH_FAILED: &str = "authentication failed";
    pub(super) const NO_USERS: &str = "authentication is not enabled";
    pub(super) const USER_EMPTY: &str = "user name is empty";
    pub(super) const OLD_LOGIN: &str = "revision of auth store is old";
    pub(super) const INVALID_TOKEN: &str = "invalid auth token";
    pub(super) const NOT_PERMITTED: &str = "permission denied";
    pub(super) const OF_ETCD: &str = "etcdserver: ";
}

pub(crate) fn judge(status: &Status) -> Judged {
    let why = status.message();
    let says = |text: &str| why.contains(text);
    let said = || why.to_owned();
    let is = |code: Code, text: &str| status.code() == code && says(text);
    if is(Code::OutOfRange, text::COMPACTED) {
        Judged::Compacted
    } else if is(Code::OutOfRange, text::FUTURE) {
        Judged::Future
    } else if is(Code::OutOfRange, text::ANSWER_TOO_LARGE) {
        Judged::AnswerTooLarge(said())
    } else if is(Code::ResourceExhausted, text::NO_SPACE) {
        Judged::Full(said())
    } else if is(Code::ResourceExhausted, text::MESSAGE_TOO_LARGE) || is(Code::InvalidArgument, text::REQUEST_TOO_LARGE)
    {
        Judged::Refused(Refusal::TooLarge(said()))
    } else if is(Code::InvalidArgument, text::AUTH_FAILED) {
        Judged::Refused(Refusal::Unauthenticated(said()))
    } else if is(Code::Unauthenticated, text::INVALID_TOKEN)
        || is(Code::InvalidArgument, text::OLD_LOGIN)
        || is(Code::InvalidArgument, text::USER_EMPTY)
    {
        Judged::StaleToken(said())
    } else if is(Code::InvalidArgument, text::OF_ETCD) {
        Judged::Refused(Refusal::Malformed(said()))
    } else if is(Code::FailedPrecondition, text::NO_USERS) {
        Judged::NoUsers
    } else if is(Code::PermissionDenied, text::NOT_PERMITTED) {
        Judged::Refused(Refusal::PermissionDenied(said()))
    } else {
        Judged::Unclear { why: in_full(status), answered: says(text::OF_ETCD) }
    }
}

/// What the reason says with which etcd ends a watch that it will not serve.
pub(crate) fn judge_cancel(reason: &str) -> Judged {
    let says = |text: &str| reason.contains(text);
    let said = || reason.to_owned();
    if says(text::COMPACTED) {
        Judged::Compacted
    } else if says(text::INVALID_TOKEN) || says(text::OLD_LOGIN) || says(text::USER_EMPTY) {
        Judged::StaleToken(said())
    } else if says(text::NOT_PERMITTED) {
        Judged::Refused(Refusal::PermissionDenied(said()))
    } else {
        let why = if reason.is_empty() { "the member has ended the watch".to_owned() } else { said() };
        Judged::Unclear { why, answered: true }
    }
}

/// A status with everything that is behind it: tonic's own message is often only "transport error".
fn in_full(status: &Status) -> String {
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    match std::error::Error::source(status) {
        Some(cause) => format!("{message}: {}", chain(cause)),
        None => message.to_owned(),
    }
}

/// An error and its causes, in one line, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.dedup();
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_code_is_told_apart_by_its_text() {
        let full = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        assert!(matches!(judge(&full), Judged::Full(_)));
        let large = Status::resource_exhausted("grpc: received message larger than max (3 vs. 2)");
        assert!(matches!(judge(&large), Judged::Refused(Refusal::TooLarge(_))));
        // Nobody has said that this one was refused, so it is not known.
        let busy = Status::resource_exhausted("etcdserver: too many requests");
        assert!(matches!(judge(&busy), Judged::Unclear { answered: true, .. }));

        let compacted = Status::out_of_range("etcdserver: mvcc: required revision has been compacted");
        assert_eq!(judge(&compacted), Judged::Compacted);
        let future = Status::out_of_range("etcdserver: mvcc: required revision is a future revision");
        assert_eq!(judge(&future), Judged::Future);
        let answer =
            Status::out_of_range("Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes");
        assert!(matches!(judge(&answer), Judged::AnswerTooLarge(_)));
    }

    #[test]
    fn what_is_not_known_to_be_refused_is_unknown() {
        let unclear = [
            Status::unavailable("etcdserver: request timed out, possibly due to previous leader failure"),
            Status::unavailable("etcdserver: no leader"),
            Status::unavailable("tcp connect error"),
            Status::cancelled("operation was canceled"),
            Status::deadline_exceeded("context deadline exceeded"),
            Status::internal("h2 protocol error"),
            Status::unknown("transport error"),
            Status::invalid_argument("something that is not etcd's"),
        ];
        for status in unclear {
            let is_unclear = matches!(judge(&status), Judged::Unclear { .. });
            assert!(is_unclear, "{status:?}");
        }
    }
}
