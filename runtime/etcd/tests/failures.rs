//! Three nodes, of which one is killed or halted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    future::poll_fn,
    net::{Ipv4Addr, TcpListener},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use bazaar_etcd::{
    Client, Event, KeyValue, Keys, Lost, OpAnswer, Range, Revision, Txn, Watch, WatchItem, WriteError,
    cluster::{Cluster, ClusterError, Plan},
};
use common::{BOUND, Etcd, append, eventually, get, revision, value};
use tokio::time::timeout;

/// Puts a value as often as it takes, which is harmless, and says how many attempts it took.
async fn put(client: &Client, key: &str, value: &str) -> usize {
    let mut attempts = 0;
    eventually("a put", async || {
        attempts += 1;
        client.put(key, value).await.ok()
    })
    .await;
    attempts
}

#[tokio::test]
async fn after_the_leader_was_killed_the_client_goes_to_another_member() {
    let Some(mut etcd) = Etcd::start("after_the_leader_was_killed", 3).await else { return };
    let client = etcd.client();
    let leader = etcd.leader().await;
    eventually("the leader's turn", async || {
        // Any failure turns the client to the next member.
        let _ = client.with_deadline(Duration::ZERO).put("k", "v").await;
        (client.current() == leader).then_some(())
    })
    .await;
    put(&client, "k", "before").await;
    assert_eq!(client.current(), leader);
    etcd.cluster.kill(leader);
    assert!(put(&client, "k", "after").await > 1, "the first attempt went to the one that was killed");
    assert_ne!(client.current(), leader);
    assert_eq!(value(&client, "k").await.as_deref(), Some("after"));

    // It stays with that member, and the killed one catches up when it is back.
    let now = client.current();
    etcd.cluster.restart(leader).unwrap();
    etcd.cluster.wait_until_healthy(BOUND, None).await.unwrap();
    put(&client, "k", "later").await;
    assert_eq!(client.current(), now);
    let mut settings = etcd.settings();
    settings.endpoints = bazaar_etcd::Endpoints::parse([&etcd.cluster.endpoints()[leader]]).unwrap();
    assert_eq!(value(&Client::new(&settings).unwrap(), "k").await.as_deref(), Some("later"));
}

#[tokio::test]
async fn a_halted_member_costs_one_deadline_and_not_the_cluster() {
    let Some(etcd) = Etcd::start("a_halted_member", 3).await else { return };
    let client = etcd.client().with_deadline(Duration::from_millis(500));
    put(&client, "k", "before").await;
    let halted = client.current();
    etcd.cluster.pause(halted);
    let error = client.put("k", "halted").await.unwrap_err();
    assert!(matches!(error, WriteError::Unknown(_)), "{error:?}");
    assert!(error.to_string().contains(&etcd.cluster.endpoints()[halted]), "{error}");
    assert_ne!(client.current(), halted);
    // A connection that does not answer is not used again.
    eventually("the connection is closed", async || (connections_to(port_of(&etcd, halted)) == 0).then_some(())).await;
    put(&client, "k", "after").await;
}

#[tokio::test]
async fn an_append_that_a_halted_member_holds_back_does_no_harm_when_it_lands_late() {
    let Some(etcd) = Etcd::start("an_append_that_a_halted_member_holds_back", 3).await else { return };
    let client = etcd.client().with_deadline(Duration::from_millis(500));
    put(&client, "head", "1").await;
    let halted = client.current();
    etcd.cluster.pause(halted);
    let txn = append(Some("1"), "A", "2");
    let first = client.txn(txn.clone()).await;
    assert!(matches!(first, Err(WriteError::Unknown(_))), "{first:?}");
    // The others say what has become of it: nothing yet. (Of these attempts, too, some may remain without an answer.)
    let settle = async |txn: Txn, head: &str| {
        eventually("the same again", async || {
            let answer = client.txn(txn.clone()).await.ok()?;
            let head_is = |kv: &KeyValue| kv.value == head.as_bytes();
            let is_there = matches!(answer.results.as_slice(), [OpAnswer::Got(read)] if read.iter().all(head_is));
            assert!(answer.succeeded || is_there, "{answer:?}");
            Some(answer.revision)
        })
        .await
    };
    settle(txn, "2").await;
    let at = settle(append(Some("2"), "B", "3"), "3").await;
    let before = get(&client, "batch/2").await;

    // The member reads what was sent to it while it was halted, and leads that to the others.
    etcd.cluster.resume(halted);
    eventually("the halted member has caught up", async || {
        client.status(halted).await.ok().filter(|status| status.leader.is_some() && status.revision >= at)
    })
    .await;
    put(&client, "other", "v").await;
    assert_eq!(value(&client, "head").await.as_deref(), Some("3"));
    assert_eq!(get(&client, "batch/2").await, before, "it was not written twice");
}

/// Takes items until the events of one arrive.
async fn events(watch: &mut Watch) -> Vec<Event> {
    let wait = async {
        loop {
            match watch.next().await {
                Ok(WatchItem::Events(events)) => return events,
                Ok(WatchItem::Alive) => {}
                Err(lost) => panic!("{lost}"),
            }
        }
    };
    timeout(BOUND, wait).await.unwrap()
}

/// How a watch ends.
async fn end(watch: &mut Watch) -> Lost {
    let wait = async {
        loop {
            if let Err(lost) = watch.next().await {
                return lost;
            }
        }
    };
    let lost = timeout(BOUND, wait).await.unwrap();
    assert_eq!(watch.next().await, Err(lost.clone()), "and it stays so");
    lost
}

fn event(key: &str, value: &str, at: Revision) -> Event {
    Event::Put(KeyValue { key: key.into(), value: value.into(), modified: at })
}

#[tokio::test]
async fn a_watch_tells_changes_from_its_revision_on_and_that_it_is_alive() {
    let Some(etcd) = Etcd::start("a_watch_tells_changes", 1).await else { return };
    let client = etcd.client();
    let before = client.put("signs/1", "too early").await.unwrap();
    let mut watch = client.watch(Keys::prefix("signs/"), before.next()).await.unwrap();
    // Nothing changes, for longer than the member may be silent: each sign of life was asked for in half that time.
    for _ in 0..3 {
        assert_eq!(timeout(BOUND, watch.next()).await.unwrap(), Ok(WatchItem::Alive));
    }
    let first = client.put("signs/1", "a").await.unwrap();
    client.put("other", "b").await.unwrap();
    assert_eq!(events(&mut watch).await, [event("signs/1", "a", first)]);
    client.delete_range(Keys::one("signs/1")).await.unwrap();
    let gone = revision(&client).await;
    assert_eq!(events(&mut watch).await, [Event::Deleted { key: b"signs/1".to_vec(), at: gone }]);

    // What happened before a watch began is told as well, if it is from that revision on.
    let mut late = client.watch(Keys::prefix("signs/"), first).await.unwrap();
    let mut told = events(&mut late).await;
    while told.len() < 2 {
        told.extend(events(&mut late).await);
    }
    assert_eq!(told.iter().map(Event::at).collect::<Vec<_>>(), [first, gone]);
}

#[tokio::test]
async fn much_history_is_told_in_pieces() {
    let Some(etcd) = Etcd::start("much_history", 1).await else { return };
    let client = etcd.client();
    for size in 0..8 {
        client.put("k", vec![size; 1_000_000]).await.unwrap();
    }
    let mut watch = client.watch(Keys::one("k"), Revision(1)).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 8 {
        told.extend(events(&mut watch).await);
    }
    assert!(told.is_sorted_by_key(Event::at) && told.len() == 8);
}

#[tokio::test]
async fn a_watch_at_a_member_that_halts_or_dies_is_lost() {
    let Some(mut etcd) = Etcd::start("a_watch_at_a_member_that_halts_or_dies", 3).await else { return };
    let mut settings = etcd.settings();
    settings.watch_silence = Duration::from_secs(1);
    let client = Client::new(&settings).unwrap();
    let from = revision(&client).await.next();
    for is_killed in [false, true] {
        let open = async || client.watch(Keys::prefix("signs/"), from).await.ok();
        let mut watch = eventually("a watch", open).await;
        let member = client.current();
        if is_killed {
            etcd.cluster.kill(member);
        } else {
            etcd.cluster.pause(member);
        }
        let lost = end(&mut watch).await;
        assert!(
            matches!(&lost, Lost::Broken(trouble) if trouble.endpoint == etcd.cluster.endpoints()[member]),
            "{lost:?}"
        );
        // The client has turned to another, where what happens from the same revision on is seen. (Without a leader for
        // long, that one is lost as well.)
        assert_ne!(client.current(), member);
        put(&client, "signs/1", "seen").await;
        let told = eventually("the change", async || {
            let mut watch = client.watch(Keys::prefix("signs/"), from).await.ok()?;
            loop {
                match watch.next().await {
                    Ok(WatchItem::Events(events)) => return Some(events),
                    Ok(WatchItem::Alive) => {}
                    Err(_) => return None,
                }
            }
        })
        .await;
        assert!(matches!(&told[0], Event::Put(kv) if kv.value == b"seen"), "{told:?}");
        etcd.cluster.resume(member);
    }
}

#[tokio::test]
async fn a_watch_at_a_member_without_a_leader_is_lost() {
    let Some(mut etcd) = Etcd::start("a_watch_at_a_member_without_a_leader", 3).await else { return };
    let client = etcd.client();
    let from = revision(&client).await.next();
    let mut watch = eventually("a watch", async || client.watch(Keys::prefix("signs/"), from).await.ok()).await;
    let member = client.current();
    for other in (0..3).filter(|other| *other != member) {
        etcd.cluster.kill(other);
    }
    let lost = end(&mut watch).await;
    assert!(matches!(&lost, Lost::Broken(trouble) if trouble.why.contains("no leader")), "{lost:?}");
}

#[tokio::test]
async fn a_watch_of_what_is_compacted_or_yet_to_come_is_lost() {
    let Some(etcd) = Etcd::start("a_watch_of_what_is_compacted", 1).await else { return };
    let client = etcd.client();
    for value in ["a", "b", "c"] {
        client.put("k", value).await.unwrap();
    }
    let latest = revision(&client).await;
    client.compact(latest).await.unwrap();
    let opened = client.watch(Keys::one("k"), Revision(latest.0 - 1)).await;
    let lost = match opened {
        Ok(mut watch) => end(&mut watch).await,
        Err(lost) => lost,
    };
    assert_eq!(lost, Lost::Compacted(latest));
    // From the one after it on, it is whole.
    let mut whole = client.watch(Keys::one("k"), latest.next()).await.unwrap();
    let at = client.put("k", "d").await.unwrap();
    assert_eq!(events(&mut whole).await, [event("k", "d", at)]);

    // As after a restore: the revision that was seen last is not reached for long.
    let mut future = client.watch(Keys::one("k"), Revision(1_000_000)).await.unwrap();
    assert_eq!(end(&mut future).await, Lost::Behind(at));
}

#[tokio::test]
async fn a_cluster_goes_on_with_the_data_in_its_directory() {
    if !common::is_here("a_cluster_goes_on_with_the_data") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new(dir.path().join("etcd"), 3);
    let start = async || Cluster::start(plan.clone(), None).await.unwrap_or_else(|error| panic!("{error}"));
    let client = |cluster: &Cluster| {
        let endpoints = bazaar_etcd::Endpoints::parse(cluster.endpoints()).unwrap();
        Client::new(&bazaar_etcd::Settings::new(endpoints)).unwrap()
    };
    let cluster = start().await;
    put(&client(&cluster), "k", "kept").await;
    let before = cluster.endpoints();
    let pids: Vec<u32> = (0..3).filter_map(|node| cluster.pid(node)).collect();
    drop(cluster);
    assert_eq!(pids.len(), 3);
    let is_gone = |pid: &u32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(pids.iter().all(is_gone), "{pids:?}");

    // A node of a process that was killed has its port a moment longer.
    let port = before[2].rsplit(':').next().unwrap().parse().unwrap();
    let dying = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut starting = Box::pin(start());
    assert!(poll_once(&mut starting).await.is_none(), "it is waited for");
    drop(dying);
    let cluster = starting.await;
    assert_eq!(cluster.endpoints(), before);
    assert_eq!(value(&client(&cluster), "k").await.as_deref(), Some("kept"));

    // Not with another number of nodes, and not beside itself.
    let one = Cluster::start(Plan { nodes: 1, ..plan.clone() }, None).await;
    assert!(matches!(one, Err(ClusterError::Files { .. })), "{one:?}");
    let twin = Cluster::start(plan.clone(), None).await;
    assert!(matches!(twin, Err(ClusterError::PortTaken(_))), "{twin:?}");
    assert_eq!(value(&client(&cluster), "k").await.as_deref(), Some("kept"));
}

/// What a future is ready with at once.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|context| match Pin::new(&mut *future).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn a_node_that_ends_at_once_is_an_error_with_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { program: Some("/bin/false".into()), ..Plan::new(dir.path().join("a"), 1) };
    let error = Cluster::start(plan, None).await.unwrap_err();
    assert!(matches!(error, ClusterError::Ended { node: 0, .. }), "{error}");
    let plan = Plan { program: Some(dir.path().join("none")), ..Plan::new(dir.path().join("b"), 1) };
    let error = Cluster::start(plan, None).await.unwrap_err();
    assert!(matches!(error, ClusterError::Run { .. }), "{error}");
    if common::is_here("a_node_that_ends_at_once") {
        let plan = Plan { quota: Some(u64::MAX), ..Plan::new(dir.path().join("c"), 1) };
        let error = Cluster::start(plan, None).await.unwrap_err();
        assert!(matches!(&error, ClusterError::Ended { tail, .. } if tail.contains("quota-backend-bytes")), "{error}");
    }
}

/// Plays the process of the next test; does nothing by itself.
#[tokio::test]
async fn a_process_that_has_a_node() {
    let Some(dir) = std::env::var_os("BAZAAR_ETCD_TEST_DIR") else { return };
    let cluster = Cluster::start(Plan::new(dir, 1), None).await.unwrap();
    println!("\nNODE {}", cluster.pid(0).unwrap());
    std::future::pending::<()>().await;
}

#[test]
fn a_node_ends_with_the_process_that_has_started_it() {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
        time::Instant,
    };
    if !common::is_here("a_node_ends_with_the_process") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_has_a_node", "--nocapture"])
        .env("BAZAAR_ETCD_TEST_DIR", dir.path().join("etcd"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pid = lines.find_map(|line| line.strip_prefix("NODE ").map(str::to_owned)).unwrap();
    let command = format!("/proc/{pid}/cmdline");
    let data = dir.path().join("etcd").to_string_lossy().into_owned();
    // Another process may get its number.
    let runs = || std::fs::read_to_string(&command).is_ok_and(|command| command.contains(&data));
    assert!(runs());
    parent.kill().unwrap();
    parent.wait().unwrap();
    let ends = Instant::now() + BOUND;
    while runs() {
        assert!(Instant::now() < ends, "the node outlives the process that has started it");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn one_connection_serves_many_calls_at_a_time() {
    let Some(etcd) = Etcd::start("one_connection", 1).await else { return };
    let client = etcd.client();
    let puts = (0..200).map(|key| {
        let client = client.clone();
        tokio::spawn(async move { client.put(format!("k/{key}"), "v").await })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap().unwrap();
    }
    let all = client.range(Range::now(Keys::prefix("k/"))).await.unwrap();
    assert_eq!(all.items.len(), 200);
    assert_eq!(connections_to(port_of(&etcd, 0)), 1);
}

fn port_of(etcd: &Etcd, node: usize) -> u16 {
    etcd.cluster.endpoints()[node].rsplit_once(':').unwrap().1.parse().unwrap()
}

/// How many connections of this process there are to a port on this machine.
fn connections_to(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let own: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .collect();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_one = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let remote = format!(":{port:04X}");
        fields.len() > 9
            && fields[2].ends_with(&remote)
            && fields[3] == ESTABLISHED
            && own.contains(&format!("socket:[{}]", fields[9]))
    };
    table.lines().filter(is_one).count()
}
