//! What a bare transaction and a linearizable read cost on one node and on three, on this machine, over loopback:
//!
//! ```sh
//! cargo run --release -p bazaar-etcd --example measure
//! ```
//!
//! One call at a time. The transaction compares the value of the head key (96 bytes) and puts a batch of 64 records of 64
//! bytes and the new head; its other branch would read the head. Both kinds, and both clusters, take turns, so that they
//! meet the same machine.

use std::time::{Duration, Instant};

use bazaar_etcd::{
    Client, Compare, Endpoints, Keys, Op, Range, Settings, Txn,
    cluster::{Cluster, Plan},
};

const ROUNDS: usize = 1_000;
const RECORDS: usize = 64;
const RECORD: usize = 64;
const HEAD: usize = 96;

fn head(number: usize) -> Vec<u8> {
    format!("{number:0HEAD$}").into_bytes()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let mut clusters = Vec::new();
    for nodes in [1, 3] {
        let cluster = Cluster::start(Plan::new(dir.path().join(format!("of-{nodes}")), nodes), None).await?;
        let client = Client::new(&Settings::new(Endpoints::parse(cluster.endpoints())?))?;
        client.put("head", head(0)).await?;
        clusters.push((nodes, cluster, client, Vec::new(), Vec::new()));
    }
    for round in 0..ROUNDS {
        for (_, _, client, writes, reads) in &mut clusters {
            let put = |key: String, value: Vec<u8>| Op::Put { key: key.into_bytes(), value };
            let txn = Txn {
                compare: vec![Compare::Value { key: b"head".to_vec(), value: head(round) }],
                then: vec![
                    put(format!("batch/{round:012}"), vec![0; RECORDS * RECORD]),
                    put("head".to_owned(), head(round + 1)),
                ],
                otherwise: vec![Op::Get(Keys::one("head"))],
            };
            let began = Instant::now();
            let answer = client.txn(txn).await?;
            writes.push(began.elapsed());
            assert!(answer.succeeded);
            let began = Instant::now();
            client.range(Range::now(Keys::one("head"))).await?;
            reads.push(began.elapsed());
        }
    }
    for (nodes, _, _, writes, reads) in &mut clusters {
        let plural = if *nodes == 1 { "node" } else { "nodes" };
        println!("{nodes} {plural}, transaction of {RECORDS} records, {} bytes: {}", RECORDS * RECORD, spread(writes));
        println!("{nodes} {plural}, linearizable read of the head, {HEAD} bytes: {}", spread(reads));
    }
    Ok(())
}

fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    format!("p50 {:?}, p90 {:?}, p99 {:?}", at(50), at(90), at(99))
}
