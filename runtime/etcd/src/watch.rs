//! Changes of keys as they happen.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tonic::Streaming;

use crate::{
    client::{Ask, Client, Way},
    data::{KeyValue, Keys, Revision},
    error::{Failure, Judged, Lost, Refusal, judge, judge_cancel},
    generated::{
        self as wire, WatchRequest, WatchResponse, event::EventType, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
};

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has this value now.
    Put(KeyValue),
    /// It is gone.
    Deleted {
        /// The key.
        key: Vec<u8>,
        /// The revision at which it went.
        at: Revision,
    },
}

impl Event {
    /// The revision of the change.
    #[must_use]
    pub fn at(&self) -> Revision {
        match self {
            Event::Put(kv) => kv.modified,
            Event::Deleted { at, .. } => *at,
        }
    }

    fn read(event: wire::Event) -> Option<Event> {
        let kind = event.r#type();
        let kv = KeyValue::from(event.kv?);
        Some(match kind {
            EventType::Put => Event::Put(kv),
            EventType::Delete => Event::Deleted { key: kv.key, at: kv.modified },
        })
    }
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// Changes, in the order of their revisions. Those of one revision may be spread over several of these.
    Events(Vec<Event>),
    /// Nothing has changed as far as the member knows, and it is alive. This is no promise that all changes before it
    /// were told: etcd before 3.4.25 and 3.5.8 may answer this while earlier events are still on their way.
    Alive,
}

/// The changes of some keys from a revision on. Made by [`Client::watch`]; dropping it ends it.
///
/// It stays with the member on which it began, whichever the client turns to. Items wait in a queue of 64; while nobody
/// takes them, nothing more is read, and the member's silence is not counted.
#[derive(Debug)]
pub struct Watch {
    items: mpsc::Receiver<Result<WatchItem, Lost>>,
    task: JoinHandle<()>,
    /// How it has ended.
    lost: Option<Lost>,
    client: Client,
    at: usize,
}

/// How many items wait for whoever takes them.
const WAITING: usize = 64;

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Watches keys from a revision on, that one included: the one after that of a linearizable read, so that nothing
    /// is missed. Returns once the member has begun, and no later than the [deadline](crate::Settings::deadline).
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub async fn watch(&self, keys: Keys, from: Revision) -> Result<Watch, Lost> {
        let ends = self.ends();
        let at = self.current();
        let mut is_renewed = false;
        loop {
            let way = self.way(at, ends).await.map_err(lost)?;
            let opened = match timeout_at(ends, open(&way, &keys, from)).await {
                Ok(opened) => opened,
                Err(_) => return Err(Lost::Broken(self.give_up(at, &way, self.late()))),
            };
            let judged = match opened {
                Ok(stream) => return Ok(Watch::over(stream, self.clone(), at, way, from)),
                Err(Unopened::Compacted(revision)) => return Err(Lost::Compacted(revision)),
                Err(Unopened::Judged(judged)) => judged,
            };
            if matches!(judged, Judged::StaleToken(_)) && self.logs_in() && !is_renewed {
                self.forget(&way);
                is_renewed = true;
                continue;
            }
            return Err(lost(self.failure(at, &way, judged)));
        }
    }
}

fn lost(failure: Failure) -> Lost {
    match failure {
        Failure::NotSent(trouble)
        | Failure::AnswerTooLarge(trouble)
        | Failure::Full(trouble)
        | Failure::Unknown(trouble) => Lost::Broken(trouble),
        Failure::Refused(refusal) => Lost::Refused(refusal),
        // etcd says this of a watch in a response that names the revision, not as a status.
        Failure::Compacted | Failure::Future => Lost::Refused(Refusal::Malformed("no such revision".to_owned())),
    }
}

/// Both ends of a watch that has begun.
struct Stream {
    ask: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

enum Unopened {
    Compacted(Revision),
    Judged(Judged),
}

async fn open(way: &Way, keys: &Keys, from: Revision) -> Result<Stream, Unopened> {
    let (ask, mut asked) = mpsc::channel(1);
    let create = wire::WatchCreateRequest {
        key: keys.from.clone(),
        range_end: keys.to.clone(),
        // From one revision earlier than is wanted: a newer etcd gives no sign of life before it has reached that of the
        // watch, and without a change it never reaches the next one. 0 would mean "from now on".
        start_revision: from.0.saturating_sub(1).max(1),
        // In pieces no larger than a request may be, rather than up to 1,000 revisions in one answer.
        fragment: true,
        ..wire::WatchCreateRequest::default()
    };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = futures::StreamExt::chain(
        futures::stream::once(std::future::ready(create)),
        futures::stream::poll_fn(move |context| asked.poll_recv(context)),
    );
    let request = way.request(Ask::WithLeader, requests);
    let mut client = WatchClient::new(way.connection.channel.clone());
    let status = |status| Unopened::Judged(judge(&status));
    let mut answers = client.watch(request).await.map_err(status)?.into_inner();
    let first = answers.message().await.map_err(status)?;
    let Some(first) = first else { return Err(Unopened::Judged(judge_cancel(""))) };
    if first.canceled {
        return Err(canceled(&first));
    }
    Ok(Stream { ask, answers })
}

/// Why the member has ended a watch.
fn canceled(response: &WatchResponse) -> Unopened {
    if response.compact_revision > 0 {
        return Unopened::Compacted(Revision(response.compact_revision));
    }
    Unopened::Judged(judge_cancel(&response.cancel_reason))
}

impl Watch {
    fn over(stream: Stream, client: Client, at: usize, way: Way, from: Revision) -> Watch {
        let (say, items) = mpsc::channel(WAITING);
        let silence = client.watch_silence;
        let reader = Reader { stream, client: client.clone(), at, way, from, silence };
        Watch { items, task: tokio::spawn(reader.run(say)), lost: None, client, at }
    }

    /// What happens next. Nothing is lost if the call is dropped before it has returned.
    ///
    /// # Errors
    /// Why nothing more will be told. From then on it always returns this.
    pub async fn next(&mut self) -> Result<WatchItem, Lost> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let item = self.items.recv().await.unwrap_or_else(|| {
            // The runtime is going down, and has ended the task.
            Err(Lost::Broken(self.client.trouble(self.at, "the watch was ended from here".to_owned())))
        });
        self.lost = item.as_ref().err().cloned();
        item
    }
}

/// The task that reads a watch's stream, and asks for a sign of life where it is quiet.
struct Reader {
    stream: Stream,
    client: Client,
    at: usize,
    way: Way,
    from: Revision,
    silence: Duration,
}

impl Reader {
    async fn run(mut self, say: mpsc::Sender<Result<WatchItem, Lost>>) {
        let began = Instant::now();
        let mut asked = false;
        loop {
            // Heard from until now, or about to be: time in which nobody took the items is not the member's.
            let Ok(place) = say.reserve().await else { return };
            let item = match timeout_at(Instant::now() + self.silence / 2, self.stream.answers.message()).await {
                Ok(Ok(Some(response))) => {
                    asked = false;
                    let is_settled = began.elapsed() >= self.silence;
                    match self.on_response(response, is_settled) {
                        Some(item) => item,
                        None => continue,
                    }
                }
                Ok(Ok(None)) => Err(self.broken("the member has ended the watch".to_owned())),
                Ok(Err(status)) => Err(lost(self.client.failure(self.at, &self.way, judge(&status)))),
                Err(_) if !asked => {
                    asked = true;
                    let progress = RequestUnion::ProgressRequest(wire::WatchProgressRequest {});
                    // A stream that takes nothing more gives no answer either, and that is noticed.
                    let _ = self.stream.ask.try_send(WatchRequest { request_union: Some(progress) });
                    continue;
                }
                Err(_) => Err(self.broken(format!("no sign of life within {:?}", self.silence))),
            };
            let has_ended = item.is_err();
            place.send(item);
            if has_ended {
                return;
            }
        }
    }

    fn broken(&self, why: String) -> Lost {
        Lost::Broken(self.client.give_up(self.at, &self.way, why))
    }

    /// `is_settled`: a member that lags has had the time to catch up.
    fn on_response(&self, response: WatchResponse, is_settled: bool) -> Option<Result<WatchItem, Lost>> {
        if response.canceled {
            return Some(Err(match canceled(&response) {
                Unopened::Compacted(revision) => Lost::Compacted(revision),
                Unopened::Judged(judged) => lost(self.client.failure(self.at, &self.way, judged)),
            }));
        }
        let at = Revision(response.header.as_ref().map_or(0, |header| header.revision));
        let events = response.events.into_iter().filter_map(Event::read);
        // It was begun one revision early.
        let events: Vec<Event> = events.filter(|event| event.at() >= self.from).collect();
        if !events.is_empty() {
            return Some(Ok(WatchItem::Events(events)));
        }
        if is_settled && at.next() < self.from {
            return Some(Err(Lost::Behind(at)));
        }
        Some(Ok(WatchItem::Alive))
    }
}
