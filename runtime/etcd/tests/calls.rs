//! What calls do, and how they fail, against one etcd.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{num::NonZeroU32, time::Duration};

use bazaar_etcd::{
    AlarmKind, Client, Compare, Endpoints, KeyValue, Keys, MAX_OPERATIONS, MAX_REQUEST, Op, OpAnswer, Range, ReadError,
    Refusal, Revision, Settings, SettingsError, Tls, Txn, WriteError,
};
use common::{Etcd, append, eventually, get, revision, value};

fn got(results: &[OpAnswer]) -> Vec<&KeyValue> {
    match results {
        [OpAnswer::Got(items)] => items.iter().collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn of_two_appends_at_one_head_one_is_carried_out_and_the_other_reads_the_head() {
    let Some(etcd) = Etcd::start("of_two_appends_at_one_head", 1).await else { return };
    let client = etcd.client();
    let (first, second) = tokio::join!(client.txn(append(None, "A", "1")), client.txn(append(None, "B", "1")));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.succeeded != second.succeeded, "{first:?} {second:?}");
    let refused = if first.succeeded { &second } else { &first };
    assert_eq!(got(&refused.results)[0].value, b"1");
    assert_eq!(value(&client, "batch/1").await.as_deref(), Some(if first.succeeded { "A" } else { "B" }));

    let next = client.txn(append(Some("1"), "C", "2")).await.unwrap();
    assert!(next.succeeded);
    assert_eq!(next.results, [OpAnswer::Put, OpAnswer::Put]);
    let head = get(&client, "head").await.unwrap();
    assert_eq!((head.value.as_slice(), head.modified), (&b"2"[..], next.revision));
    let late = client.txn(append(Some("1"), "D", "2")).await.unwrap();
    assert!(!late.succeeded);
    assert_eq!(value(&client, "batch/2").await.as_deref(), Some("C"));
}

#[tokio::test]
async fn a_key_that_is_absent_has_no_value_not_even_an_empty_one() {
    let Some(etcd) = Etcd::start("a_key_that_is_absent", 1).await else { return };
    let client = etcd.client();
    let only_if = |compare: Compare| Txn { compare: vec![compare], ..Txn::default() };
    let is_empty = only_if(Compare::Value { key: b"k".to_vec(), value: Vec::new() });
    let is_absent = only_if(Compare::Absent { key: b"k".to_vec() });
    assert!(!client.txn(is_empty.clone()).await.unwrap().succeeded);
    assert!(client.txn(is_absent.clone()).await.unwrap().succeeded);

    let at = client.put("k", "").await.unwrap();
    assert!(client.txn(is_empty).await.unwrap().succeeded);
    assert!(!client.txn(is_absent.clone()).await.unwrap().succeeded);
    let modified = |at| only_if(Compare::Modified { key: b"k".to_vec(), at });
    assert!(client.txn(modified(at)).await.unwrap().succeeded);
    assert!(!client.txn(modified(at.next())).await.unwrap().succeeded);

    assert_eq!(client.delete_range(Keys::prefix("k")).await, Ok(1));
    assert!(client.txn(is_absent).await.unwrap().succeeded);
}

#[tokio::test]
async fn a_transaction_can_ask_whether_a_key_is_there_and_whether_none_of_a_range_is() {
    let Some(etcd) = Etcd::start("a_transaction_can_ask_whether_a_key_is_there", 1).await else { return };
    let client = etcd.client();
    let holds =
        async |compare: Compare| client.txn(Txn { compare: vec![compare], ..Txn::default() }).await.unwrap().succeeded;
    let present = |key: &str| Compare::Present { key: key.into() };
    let none = |prefix: &str| Compare::NoneOf(Keys::prefix(prefix));
    assert!(!holds(present("a/1")).await && holds(none("a/")).await);
    client.put("a/1", "").await.unwrap();
    assert!(holds(present("a/1")).await && !holds(present("a/")).await, "one key, whatever its value");
    assert!(!holds(none("a/")).await && holds(none("b/")).await && !holds(none("")).await);
    client.delete_range(Keys::one("a/1")).await.unwrap();
    assert!(!holds(present("a/1")).await && holds(none("a/")).await);
}

#[tokio::test]
async fn a_read_of_keys_only_leaves_the_values_out() {
    let Some(etcd) = Etcd::start("a_read_of_keys_only", 1).await else { return };
    let client = etcd.client();
    let at = client.put("a/1", vec![1; 100_000]).await.unwrap();
    let read = client.range(Range { keys_only: true, ..Range::now(Keys::prefix("a/")) }).await.unwrap();
    assert_eq!(read.items, [KeyValue { key: b"a/1".to_vec(), value: Vec::new(), modified: at }]);
}

#[tokio::test]
async fn a_transaction_does_all_its_operations_and_says_what_each_did() {
    let Some(etcd) = Etcd::start("a_transaction_does_all", 1).await else { return };
    let client = etcd.client();
    for key in ["a/1", "a/2", "b/1"] {
        client.put(key, key).await.unwrap();
    }
    let before = revision(&client).await;
    let put = |key: &str| Op::Put { key: key.into(), value: b"new".to_vec() };
    let then = vec![Op::Get(Keys::prefix("a/")), Op::Delete(Keys::between("a/1", "a/2")), put("c/1"), put("c/2")];
    let answer = client.txn(Txn { then, ..Txn::default() }).await.unwrap();
    assert_eq!(answer.revision, before.next(), "one revision for all of it");
    let [OpAnswer::Got(read), OpAnswer::Deleted(1), OpAnswer::Put, OpAnswer::Put] = answer.results.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(read.len(), 2);
    let all = client.range(Range::now(Keys::prefix(""))).await.unwrap();
    let keys: Vec<&[u8]> = all.items.iter().map(|kv| kv.key.as_slice()).collect();
    assert_eq!(keys, [&b"a/2"[..], b"b/1", b"c/1", b"c/2"]);
    // As they were before.
    let old = client.range(Range { at: Some(before), ..Range::now(Keys::prefix("")) }).await.unwrap();
    let keys: Vec<&[u8]> = old.items.iter().map(|kv| kv.key.as_slice()).collect();
    assert_eq!(keys, [&b"a/1"[..], b"a/2", b"b/1"]);
    assert_eq!(old.revision, answer.revision);
}

#[tokio::test]
async fn a_transaction_whose_answer_was_not_waited_for_is_settled_by_the_same_again() {
    let Some(etcd) = Etcd::start("a_transaction_whose_answer_was_not_waited_for", 1).await else { return };
    let client = etcd.client();
    let (mut unknown, mut landed) = (0, 0);
    let mut head: Option<String> = None;
    // Deadlines from one that is over before anything is sent to one that usually suffices.
    for round in 0..200_u32 {
        let hasty = client.with_deadline(Duration::from_micros(u64::from(round % 40) * 50));
        let (batch, next) = (format!("batch {round}"), round.to_string());
        let txn = append(head.as_deref(), &batch, &next);
        let first = hasty.txn(txn.clone()).await;
        let mut repetitions = 0;
        let again = eventually("the same again", async || {
            repetitions += 1;
            client.txn(txn.clone()).await.ok()
        })
        .await;
        let has_landed = !again.succeeded;
        if has_landed {
            // Then the head is what this very transaction has made of it.
            assert_eq!(got(&again.results)[0].value, next.as_bytes());
        }
        match first {
            Ok(answer) => assert!(answer.succeeded && has_landed, "{answer:?}"),
            // On a machine with much else to do, it may be a repetition that has landed without an answer.
            Err(_) if repetitions > 1 => {}
            Err(error) if error.is_certainly_without_effect() => assert!(!has_landed, "{error}, and it has landed"),
            Err(_) => {
                unknown += 1;
                landed += u32::from(has_landed);
            }
        }
        assert_eq!(value(&client, &format!("batch/{next}")).await, Some(batch));
        head = Some(next);
    }
    println!("{unknown} unknown, {landed} of them had landed");
    assert!(unknown > 0, "no outcome was unknown, so that nothing was shown");
}

#[tokio::test]
async fn what_could_not_be_sent_is_known_not_to_be_carried_out() {
    let Some(mut etcd) = Etcd::start("what_could_not_be_sent", 1).await else { return };
    etcd.cluster.kill(0);
    let error = etcd.client().put("k", "v").await.unwrap_err();
    assert!(matches!(error, WriteError::NotSent(_)), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    // The same of a client that had a connection: it cannot tell.
    etcd.cluster.restart(0).unwrap();
    etcd.cluster.wait_until_healthy(common::BOUND, None).await.unwrap();
    let client = etcd.client();
    client.put("k", "v").await.unwrap();
    etcd.cluster.pause(0);
    let error = client.with_deadline(Duration::from_millis(200)).put("k", "w").await.unwrap_err();
    assert!(matches!(error, WriteError::Unknown(_)), "{error:?}");
    etcd.cluster.resume(0);
}

#[tokio::test]
async fn pages_are_read_at_one_revision_whatever_is_written_meanwhile() {
    let Some(etcd) = Etcd::start("pages_are_read_at_one_revision", 1).await else { return };
    let client = etcd.client();
    for key in 0..25 {
        client.put(format!("log/{key:04}"), "old").await.unwrap();
    }
    client.put("log0", "behind the prefix").await.unwrap();
    let mut pages = client.pages(Keys::prefix("log/"), None, NonZeroU32::new(10).unwrap());
    assert_eq!(pages.revision(), None);
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        assert!(page.iter().all(|kv| kv.value == b"old"), "{page:?}");
        sizes.push(page.len());
        assert!(sizes.len() <= 3, "{sizes:?}");
        client.put("log/0020", "new").await.unwrap();
        client.put("log/0030", "new").await.unwrap();
    }
    assert_eq!(sizes, [10, 10, 5]);
    // The same again, at that revision, and once more without any keys.
    let mut again = client.pages(Keys::prefix("log/"), pages.revision(), NonZeroU32::new(100).unwrap());
    assert_eq!(again.next().await.unwrap().map(|page| page.len()), Some(25));
    assert_eq!(again.next().await, Ok(None));
    let mut none = client.pages(Keys::prefix("x/"), None, NonZeroU32::MIN);
    assert_eq!((none.next().await, none.next().await), (Ok(Some(Vec::new())), Ok(None)));
}

#[tokio::test]
async fn a_page_that_would_be_too_large_is_asked_for_in_parts() {
    let Some(etcd) = Etcd::start("a_page_that_would_be_too_large", 1).await else { return };
    let client = etcd.client();
    for key in 0..9 {
        client.put(format!("k{key}"), vec![key; 1_000_000]).await.unwrap();
    }
    let whole = client.range(Range::now(Keys::prefix("k"))).await;
    assert!(matches!(whole, Err(ReadError::TooLarge(_))), "an answer of 9 MB was taken");
    let mut pages = client.pages(Keys::prefix("k"), None, NonZeroU32::new(1_000).unwrap());
    let mut keys = 0;
    while let Some(page) = pages.next().await.unwrap() {
        assert!(page.len() <= 4, "{}", page.len());
        keys += page.len();
        assert!(keys <= 9, "{keys}");
    }
    assert_eq!(keys, 9);
}

#[tokio::test]
async fn a_compaction_between_two_pages_is_said() {
    let Some(etcd) = Etcd::start("a_compaction_between_two_pages", 1).await else { return };
    let client = etcd.client();
    for key in 0..4 {
        client.put(format!("log/{key}"), "v").await.unwrap();
    }
    let mut pages = client.pages(Keys::prefix("log/"), None, NonZeroU32::new(2).unwrap());
    assert_eq!(pages.next().await.unwrap().map(|page| page.len()), Some(2));
    let latest = client.put("log/0", "w").await.unwrap();
    client.compact(latest).await.unwrap();
    assert_eq!(pages.next().await, Err(ReadError::Compacted));
    assert_eq!(pages.next().await, Err(ReadError::Compacted), "and it stays so");
    // Compacted once, it is not compacted again; and no revision is read before its time.
    let twice = client.compact(latest).await;
    assert!(matches!(twice, Err(WriteError::Refused(Refusal::Malformed(_)))), "{twice:?}");
    let future = Range { at: Some(Revision(latest.0 + 1_000)), ..Range::now(Keys::one("log/0")) };
    assert_eq!(client.range(future).await, Err(ReadError::Future));
}

#[tokio::test]
async fn requests_that_etcd_refuses_are_told_apart() {
    let Some(etcd) = Etcd::start("requests_that_etcd_refuses", 1).await else { return };
    let client = etcd.client();
    // Beyond what etcd takes, and beyond what its transport takes.
    for size in [MAX_REQUEST + 1, MAX_REQUEST * 4] {
        let error = client.put("k", vec![0; size]).await.unwrap_err();
        assert!(matches!(error, WriteError::Refused(Refusal::TooLarge(_))), "{size}: {error:?}");
    }
    client.put("k", vec![0; MAX_REQUEST - 1_000]).await.unwrap();
    let put = |key: usize| Op::Put { key: key.to_string().into_bytes(), value: Vec::new() };
    let most = Txn { then: (0..MAX_OPERATIONS).map(put).collect(), ..Txn::default() };
    assert!(client.txn(most).await.unwrap().succeeded);
    let malformed = [
        Txn { then: (0..=MAX_OPERATIONS).map(put).collect(), ..Txn::default() },
        Txn { then: vec![put(1), put(1)], ..Txn::default() },
        Txn { then: vec![Op::Get(Keys::one(""))], ..Txn::default() },
    ];
    for txn in malformed {
        let error = client.txn(txn).await.unwrap_err();
        assert!(matches!(error, WriteError::Refused(Refusal::Malformed(_))), "{error:?}");
    }
}

#[tokio::test]
async fn a_full_cluster_says_so_and_works_again_after_four_steps() {
    const QUOTA: u64 = 8 << 20;
    let start = Etcd::start_with("a_full_cluster", 1, |plan| plan.quota = Some(QUOTA));
    let Some(etcd) = start.await else { return };
    let client = etcd.client();
    client.put("head", "1").await.unwrap();
    let mut written = 0;
    let full = loop {
        match client.put(format!("fill/{written}"), vec![0; 500_000]).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the quota does not count");
    };
    assert!(matches!(full, WriteError::Full(_)), "{full:?}");
    assert!(!full.is_certainly_without_effect());

    // Refused as well: an append at another head, which would only have read. Reading works.
    let late = client.txn(append(Some("0"), "A", "1")).await;
    assert!(matches!(late, Err(WriteError::Full(_))), "{late:?}");
    assert_eq!(value(&client, "head").await.as_deref(), Some("1"));
    let look = Txn { then: vec![Op::Get(Keys::one("head"))], ..Txn::default() };
    assert_eq!(got(&client.txn(look).await.unwrap().results)[0].value, b"1", "one that only reads");
    let alarms = client.alarms().await.unwrap();
    assert_eq!(alarms.iter().map(|alarm| alarm.kind).collect::<Vec<_>>(), [AlarmKind::NoSpace]);
    let status = client.status(0).await.unwrap();
    assert!(!status.complaints.is_empty() && status.size > QUOTA / 2, "{status:?}");

    make_room(&client).await;
    assert!(client.status(0).await.unwrap().size < QUOTA / 2);
    assert_eq!(client.alarms().await, Ok(Vec::new()));
    assert!(client.txn(append(Some("1"), "A", "2")).await.unwrap().succeeded);
}

#[tokio::test]
async fn a_write_that_was_answered_with_full_may_have_been_carried_out() {
    let Some(etcd) =
        Etcd::start_with("a_write_that_was_answered_with_full", 1, |plan| plan.quota = Some(8 << 20)).await
    else {
        return;
    };
    let client = etcd.client();
    for _ in 0..10 {
        let carried_out = fill(&client).await;
        println!("8 full, {carried_out} of them carried out");
        if carried_out > 0 {
            return;
        }
        make_room(&client).await;
    }
    panic!("none was carried out: if etcd has changed, Full can be counted as certain");
}

/// Eight writers until each is told that the cluster is full. How many of these last writes are there nevertheless.
async fn fill(client: &Client) -> u32 {
    // Several at a time, so that the size changes between the check of one and its turn.
    let writers = (0..8).map(|writer| {
        let client = client.clone();
        tokio::spawn(async move {
            for number in 0..200 {
                let key = format!("fill/{writer}/{number}");
                if let Err(error) = client.put(key.as_str(), vec![0; 100_000]).await {
                    return (key, error);
                }
            }
            panic!("the quota does not count");
        })
    });
    let mut carried_out = 0;
    for writer in writers.collect::<Vec<_>>() {
        let (key, error) = writer.await.unwrap();
        assert!(matches!(error, WriteError::Full(_)), "{error:?}");
        carried_out += u32::from(get(client, &key).await.is_some());
    }
    carried_out
}

/// The four steps after which a full cluster of one node takes writes again.
async fn make_room(client: &Client) {
    client.delete_range(Keys::prefix("fill/")).await.unwrap();
    client.compact(revision(client).await).await.unwrap();
    client.defragment(0).await.unwrap();
    for alarm in client.alarms().await.unwrap() {
        client.disarm(alarm).await.unwrap();
    }
}

#[test]
fn certificates_and_endpoints_must_fit_each_other() {
    let with = |endpoint: &str, tls: Option<&str>| {
        let mut settings = Settings::new(Endpoints::parse([endpoint]).unwrap());
        settings.tls = tls.map(|pem| Tls { authorities: pem.to_owned(), identity: None });
        Client::new(&settings).map(drop)
    };
    assert!(matches!(with("https://a:1", None), Err(SettingsError::NoAuthority)));
    assert!(matches!(with("https://a:1", Some("")), Err(SettingsError::NoAuthority)));
    assert!(matches!(with("http://a:1", Some("")), Err(SettingsError::NotEncrypted)));
    assert!(with("http://a:1", None).is_ok());
}
