//! Trying until there is an answer.

use bazaar_protocol::{
    ledger::{Tail, replica::Outcome},
    record::Batch,
};
use tokio::time::{Duration, sleep};

use crate::network::{settings::Backoff, task::lock};

use super::{Appended, EtcdStore, Looked};

/// The pauses between attempts: they double from the first to the longest, and each is shortened at random by up to
/// half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// Before the second attempt.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for Pauses {
    /// From 10 ms to 1 s. The client turns to another member in between.
    fn default() -> Pauses {
        Pauses { first: Duration::from_millis(10), longest: Duration::from_secs(1) }
    }
}

impl EtcdStore {
    /// Carries out a [`ReplicaEffect::Append`](bazaar_protocol::ledger::replica::ReplicaEffect::Append): tries while it
    /// is certain that nothing has reached the store, and looks for what was there where the store declines. Ends when
    /// the outcome is known, or known to be unknown; pause before the same is asked for again.
    ///
    /// Dropped, it leaves at most an append whose outcome is unknown.
    pub async fn append_until_settled(&self, onto: &Tail, batch: &Batch, pauses: Pauses) -> Outcome {
        let mut backoff = Backoff::between(pauses.first, pauses.longest);
        loop {
            let why = match self.append(onto, batch).await {
                Appended::Written => return self.settled(Outcome::Written),
                Appended::Refused(found) => return self.settled(Outcome::Refused(found)),
                Appended::Unknown(why) => {
                    self.note_trouble(&why);
                    return Outcome::Unknown;
                }
                Appended::NotSent(why) => why,
                Appended::Full(why) => {
                    return self.declined(&bazaar_etcd::WriteError::Full(why), pauses).await;
                }
                Appended::Denied(why) => return self.declined(&why, pauses).await,
            };
            self.note_trouble(&why);
            sleep(backoff.wait()).await;
        }
    }

    async fn declined(&self, why: &(impl ToString + Sync), pauses: Pauses) -> Outcome {
        let Looked { found, .. } = self.look_until_answered(pauses).await;
        self.note_trouble(why);
        Outcome::Declined(found)
    }

    /// Carries out a [`ReplicaEffect::Look`](bazaar_protocol::ledger::replica::ReplicaEffect::Look): looks until the
    /// store answers.
    pub async fn look_until_answered(&self, pauses: Pauses) -> Looked {
        let mut backoff = Backoff::between(pauses.first, pauses.longest);
        loop {
            match self.look().await {
                Ok(looked) => return self.settled(looked),
                Err(why) => self.note_trouble(&why),
            }
            sleep(backoff.wait()).await;
        }
    }

    /// Why the last attempt of [`append_until_settled`](Self::append_until_settled) or
    /// [`look_until_answered`](Self::look_until_answered) has failed, or the store has declined; `None` if it has not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        lock(&self.shared.trouble).clone()
    }

    fn note_trouble(&self, why: &impl ToString) {
        *lock(&self.shared.trouble) = Some(why.to_string());
    }

    fn settled<T>(&self, answer: T) -> T {
        *lock(&self.shared.trouble) = None;
        answer
    }
}
