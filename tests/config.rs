//! What is said about a configuration that is wrong (SPEC H4), and what one that is right means (SPEC A3, A5, A6, A7).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{path::Path, time::Duration};

use bazaar_etcd::Endpoints;
use bazaar_protocol::{
    config::{Limits, Ordering, Role},
    id::{Item, PeerId, Units},
    money::{Commission, Price},
};
use bazaar_runtime::config::{
    BazaarConfig, Key, NoTrade, RawConfig, Speed, Think,
    ledger::{EtcdSettings, LedgerId, LedgerProcess, LedgerStore},
};
use proptest::prelude::*;

fn check(text: &str) -> Result<BazaarConfig, String> {
    let raw = RawConfig::parse(text, Path::new("bazaar.toml")).map_err(|error| error.to_string())?;
    raw.check().map_err(|error| error.to_string())
}

#[track_caller]
fn refused(text: &str, message: &str) {
    assert_eq!(check(text).expect_err("this should be refused"), message);
}

#[test]
fn an_empty_configuration_is_the_default_one() {
    let config = check("").unwrap();
    assert_eq!((config.peers(), config.seed(), config.name()), (10, 1, "bazaar"));
    assert_eq!(config.speed(), Speed::Brisk);
    assert_eq!(config.terms().commission, Commission::TWENTY_PERCENT);
    assert_eq!(config.terms().resign_after, 40);
    assert_eq!(config.ledger_config().lease, config.timeouts().lease);
    assert_eq!((config.limits(), config.ledger_config().limits), (Limits::DEFAULT, Limits::DEFAULT));
    assert!(config.dir().is_absolute() && config.dir().ends_with("bazaar-data"));
    let peer = config.peer(PeerId(9)).unwrap();
    assert_eq!((peer.first_caller, peer.clock_range, peer.neighbours.len()), (PeerId(2), 1_024, 3));
    assert_eq!(config.peer(PeerId(10)), None);
    assert_eq!(check("peers = 2").unwrap().peer(PeerId(0)).unwrap().first_caller, PeerId(0));
    assert_eq!(config.trade_is_possible(), Ok(()));
}

#[test]
fn numbers_out_of_range_are_refused() {
    let peers = |value| format!("bazaar.toml:1: peers = {value}: must be a whole number from 1 to 10000");
    for value in ["0", "10001", "-1", "1.5", "\"ten\"", "true", "99999999999999999999999999999999999999999"] {
        refused(&format!("peers = {value}"), &peers(value));
    }
    refused(
        "\n[terms]\ncommission = 10001",
        "bazaar.toml:3: terms.commission = 10001: must be a whole number from 0 to 10000",
    );
    refused(
        "[terms]\nbatch_limit = 513",
        "bazaar.toml:2: terms.batch_limit = 513: must be a whole number from 2 to 512",
    );
    refused(
        "[terms]\nresign_after = 0",
        "bazaar.toml:2: terms.resign_after = 0: must be a whole number from 1 to 1000000000",
    );
    refused("peers = 2\nfirst_caller = 2", "bazaar.toml:2: first_caller = 2: must be a whole number from 0 to 1");
    refused("clock_range = 0", "bazaar.toml:1: clock_range = 0: must be a whole number from 1 to 1000000");
    refused(
        "[limits]\nchunk_weight = 513",
        "bazaar.toml:2: limits.chunk_weight = 513: must be a whole number from 1 to 512",
    );
    refused(
        "[limits]\nsales_kept = 511",
        "bazaar.toml:2: limits.sales_kept = 511: must be a whole number from 1 to 510",
    );
    refused(
        "[limits]\n\nwaiting_calls = -1",
        "bazaar.toml:3: limits.waiting_calls = -1: must be a whole number from 0 to 1000000",
    );
    refused("seed = -1", "bazaar.toml:1: seed = -1: must be a whole number from 0 to 18446744073709551615");
}

#[test]
fn limits_reach_every_peer_and_the_ledger() {
    let text = "[limits]\nchunk_weight = 1\nread_records = 2\nsales_kept = 3\nflood_window = 4\nheld_back = \
                6\nwaiting_calls = 0";
    let config = check(text).unwrap();
    let limits =
        Limits { chunk_weight: 1, read_records: 2, sales_kept: 3, flood_window: 4, held_back: 6, waiting_calls: 0 };
    assert_eq!((config.limits(), config.ledger_config().limits), (limits, limits));
    assert_eq!(config.peer(PeerId(4)).unwrap().limits, limits);
    assert_eq!(check(&config.to_toml()).unwrap().in_dir(config.dir()), config);
    let differences = check("limits.flood_window = 6").unwrap().differences(&check("").unwrap());
    assert_eq!(differences, ["limits.flood_window: was 6, now 256"]);
}

#[test]
fn unknown_keys_are_refused_with_what_may_have_been_meant() {
    refused("pears = 3", "bazaar.toml:1: pears: there is no such key; did you mean peers?");
    refused("[leger]", "bazaar.toml:1: leger: there is no such key; did you mean ledger?");
    refused(
        "[ledger]\nwaiting = 4096",
        "bazaar.toml:2: ledger.waiting: there is no such key; it is waiting_calls under [limits] now",
    );
    refused(
        "[limits]\nhops = 64",
        "bazaar.toml:2: limits.hops: there is no such key; the number of peers decides after how many hops a message \
         takes another way",
    );
    refused(
        "[waits]\nclock_interval = \"1s\"",
        "bazaar.toml:2: waits.clock_interval: there is no such key; a buyer's clock goes out before every request now, \
         and clock_interval under [timeouts] says how long a link is quiet before it crosses that link by itself",
    );
    refused("flood_window = 3", "bazaar.toml:1: flood_window: there is no such key; it belongs under [limits]");
    refused("think = \"1s\"", "bazaar.toml:1: think: there is no such key; it belongs under [waits]");
    refused(
        "[terms]\n\nseed = 3",
        "bazaar.toml:3: terms.seed: there is no such key; it belongs at the top, before the first [table]",
    );
    refused(
        "[terms]\nwhatever = 3",
        "bazaar.toml:2: terms.whatever: there is no such key; the known keys here are commission, \
         resign_after, batch_limit, ordering",
    );
    refused("[[peer]]\nid = 3\nroll = \"buyer\"", "bazaar.toml:3: peer.roll: there is no such key; did you mean role?");
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    refused(
        "peers = 3\nseed =",
        "bazaar.toml:2: this is not TOML: string values must be quoted, expected literal string",
    );
    refused("peers = 3\npeers = 4", "bazaar.toml:2: this is not TOML: duplicate key");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = RawConfig::read(Path::new("/nowhere/bazaar.toml")).unwrap_err().to_string();
    assert_eq!(error, "/nowhere/bazaar.toml: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn wrong_texts_are_refused() {
    refused("name = 3", "bazaar.toml:1: name = 3: must be a text in quotes");
    refused(
        "name = \"a b\"",
        "bazaar.toml:1: name = \"a b\": must be 1 to 64 letters, digits, dashes, dots or underscores",
    );
    refused("key = \"abc\"", "bazaar.toml:1: key = ...: must be 64 hexadecimal digits; `bazaar init` makes a key");
    let too_wide = format!("key = \"{}\"", "ä".repeat(64));
    refused(&too_wide, "bazaar.toml:1: key = ...: must be 64 hexadecimal digits; `bazaar init` makes a key");
    refused(
        "pace = \"brusk\"",
        "bazaar.toml:1: pace = \"brusk\": must be \"reference\", \"brisk\" or \"flat-out\"; did you mean \"brisk\"?",
    );
    refused("dir = \"\"", "bazaar.toml:1: dir = \"\": must name a directory");
    refused("ledger = 3", "bazaar.toml:1: ledger = 3: must be a table: [ledger]");
}

#[test]
fn wrong_durations_are_refused() {
    refused(
        "[waits]\nthink = \"fast\"",
        "bazaar.toml:2: waits.think = \"fast\": not a duration; write numbers with units (h, m, s or ms), such \
         as \"500ms\", \"1.5s\" or \"1h30m\"",
    );
    refused(
        "[waits]\nthink = \"2s..50ms\"",
        "bazaar.toml:2: waits.think = \"2s..50ms\": a range goes from the shorter to the longer duration; write \
         \"50ms..2s\"",
    );
    refused(
        "[waits]\nthink = \"50..2s\"",
        "bazaar.toml:2: waits.think = \"50..2s\": at \"50\": a duration needs a unit; write \"50ms\", \"50s\", \"50m\" or \
         \"50h\"; a range is two durations, such as \"50ms..2s\"",
    );
    refused(
        "[waits]\nthink = 50",
        "bazaar.toml:2: waits.think = 50: a duration is a text with a unit; write \"50ms\" or \"50s\"",
    );
    refused(
        "[waits]\ntrade_after = \"50ms..2s\"",
        "bazaar.toml:2: waits.trade_after = \"50ms..2s\": not a duration; write numbers with units (h, m, s or ms), such \
         as \"500ms\", \"1.5s\" or \"1h30m\"",
    );
    refused(
        "[timeouts]\nlease = 3",
        "bazaar.toml:2: timeouts.lease = 3: a duration is a text with a unit; write \"3ms\" or \"3s\"",
    );
    refused(
        "[timeouts]\nlease = \"25h\"",
        "bazaar.toml:2: timeouts.lease = \"25h\": too long; the longest duration is \"24h\"",
    );
}

#[test]
fn timeouts_that_do_not_fit_together_are_refused_with_both() {
    refused(
        "[timeouts]\nlease = \"2s\"",
        "bazaar.toml:2: timeouts.lease = \"2s\" and timeouts.renewal = \"300ms\" (pace brisk) and timeouts.suspicion = \
         \"1800ms\" (pace brisk): lease (2s) + renewal (300ms) must be at most suspicion (1.8s): the lease must not be \
         the last to run out",
    );
    refused(
        "pace = \"reference\"\n[timeouts]\nanswer = \"3s\"\nvictory = \"3s\"",
        "bazaar.toml:4: timeouts.answer = \"3s\" and timeouts.victory = \"3s\": \
         answer (3s) must be below victory (3s): a winner must have time to learn that it won, and to claim",
    );
    refused(
        "[timeouts]\nretry = \"0ms\"",
        "bazaar.toml:2: timeouts.retry = \"0ms\": zero (0ns) must be below retry (0ns): \
         a call repeated without a pause is a flood",
    );
}

#[test]
fn wrong_addresses_are_refused() {
    let right = "must be \"host:port\", such as \"192.168.0.7:7000\", \"[::1]:7000\" or \"miraculix:7000\"";
    for address in ["nowhere", ":7000", "a b:7000", "::1:7000", "[::1:7000", "h:", "h:x", "h:123456", "h:+1"] {
        let message = format!("bazaar.toml:2: ledger.address = \"{address}\": {right}");
        refused(&format!("[ledger]\naddress = \"{address}\""), &message);
    }
    for port in ["0", "65536"] {
        let message = format!("bazaar.toml:2: ledger.address = \"h:{port}\": the port must be from 1 to 65535");
        refused(&format!("[ledger]\naddress = \"h:{port}\""), &message);
    }
}

/// SPEC J2.
#[test]
fn a_member_listens_at_one_address_and_is_reached_at_another() {
    for wildcard in ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]"] {
        let told = format!(
            "bazaar.toml:2: ledger.address = \"{wildcard}:7000\": {wildcard} stands for every address of whichever \
             machine uses it, so that nobody can be reached there; write the address or the name at which the others reach \
             this machine, and {wildcard} into `listen`"
        );
        refused(&format!("[ledger]\naddress = \"{wildcard}:7000\""), &told);
        refused(
            &format!("[ledger]\nlisten = \"{wildcard}:7000\""),
            &format!(
                "bazaar.toml:1: ledger.address is missing: {wildcard}:7000 is every address of this machine; say at \
                 which host:port the others reach it"
            ),
        );
        let both = format!("[ledger]\nlisten = \"{wildcard}:7000\"\naddress = \"miraculix:7001\"");
        let ledger = check(&both).unwrap().ledger().process(LedgerId::ONLY);
        assert_eq!(ledger.address.unwrap().as_str(), "miraculix:7001");
        assert_eq!(ledger.listen.unwrap().as_str(), format!("{wildcard}:7000"));
    }
    refused(
        "[ledger]\nlisten = \"0.0.0.0:0\"\naddress = \"h:7001\"",
        "bazaar.toml:2: ledger.listen = \"0.0.0.0:0\": must name a port, since the others come to h:7001",
    );
    refused(
        "[ledger]\nlisten = \"0:7001\"",
        "bazaar.toml:2: ledger.listen = \"0:7001\": must be \"host:port\", such as \"192.168.0.7:7000\", \"[::1]:7000\" \
         or \"miraculix:7000\"",
    );
    refused(
        "[ledger]\nlisten = \"h:65536\"",
        "bazaar.toml:2: ledger.listen = \"h:65536\": the port must be from 0 (any free one) to 65535",
    );
    refused(
        "[ledger]\naddress = \"[fe80::1%eth0]:7000\"",
        "bazaar.toml:2: ledger.address = \"[fe80::1%eth0]:7000\": an address with a zone, such as %eth0, means \
         something on one machine only, and is not supported; give one that others can use",
    );
    // However loopback is spelt, it is this machine: nobody needs the ledger's address.
    for host in ["LOCALHOST", "[::ffff:127.0.0.1]", "127.0.0.2"] {
        check(&format!("[[peer]]\nid = 1\nlisten = \"{host}:0\"")).unwrap();
    }
    // One place is enough where they are the same, and any free port is found through the directory.
    let config = check("[ledger]\nlisten = \"[::1]:7000\"\n[[peer]]\nid = 1\nlisten = \"[::1]:0\"").unwrap();
    assert_eq!(config.ledger().process(LedgerId::ONLY).address.unwrap().as_str(), "[::1]:7000");
    assert_eq!(config.address_of(PeerId(1)), None);
    // A member that listens beyond this machine is on another.
    refused(
        "[[peer]]\nid = 1\nlisten = \"192.168.0.7:0\"",
        "bazaar.toml:3: ledger.address is missing: 192.168.0.7:0 is not this machine; say at which host:port it finds \
         the ledger",
    );
}

/// SPEC J1.
#[test]
fn certificates_are_in_a_directory_and_revoked_ones_are_numbers() {
    let missing = "tls.dir is missing: say in which directory the certificates are (`bazaar init --tls` makes one), or \
                   leave [tls] out: then connections are not encrypted";
    refused("[tls]\n", &format!("bazaar.toml:1: {missing}"));
    let config = check("dir = \"/run\"\n[tls]\ndir = \"/run/tls\"\nrevoked = [\"4F:0c\", \"12\"]").unwrap();
    let tls = config.tls().unwrap();
    assert_eq!(tls.dir, Path::new("/run/tls"));
    assert_eq!(tls.revoked.iter().map(ToString::to_string).collect::<Vec<_>>(), ["12", "4f0c"]);
    let saved = config.to_toml();
    assert!(saved.contains("[tls]\ndir = \"tls\"\nrevoked = [\"12\", \"4f0c\"]\n"), "{saved}");
    let other = check("dir = \"/run\"\n[tls]\ndir = \"/elsewhere\"").unwrap();
    assert_eq!(config.differences(&other), Vec::<String>::new(), "certificates may be renewed and moved");
    let right = "must be a list of serial numbers, as `bazaar cert show` prints them";
    refused("[tls]\nrevoked = []", &format!("bazaar.toml:1: {missing}"));
    refused("[tls]\ndir = \"\"", "bazaar.toml:2: tls.dir = \"\": must name a directory");
    refused("[tls]\ndir = \"x\"\nrevoked = [\"g\"]", &format!("bazaar.toml:3: tls.revoked = \"g\": {right}"));
    refused("[tls]\ndir = \"x\"\nrevoked = [12]", &format!("bazaar.toml:3: tls.revoked = 12: {right}"));
    refused("[tls]\ndir = \"x\"\nrevoked = \"12\"", &format!("bazaar.toml:3: tls.revoked = \"12\": {right}"));
}

/// A configuration with its books in etcd: what is under `[ledger]` beside the store, and under `[ledger.etcd]`.
fn in_etcd(ledger: &str, etcd: &str) -> String {
    format!("[ledger]\nstore = \"etcd\"\n{ledger}\n[ledger.etcd]\nendpoints = [\"http://h:2379\"]\n{etcd}\n")
}

/// A run that was begun with a flag for where its books are is continued with the file that it was begun with (SPEC J3).
#[test]
fn the_books_stay_where_those_of_a_run_are_unless_a_file_names_a_cluster() {
    let raw = |text: &str| RawConfig::parse(text, Path::new("bazaar.toml")).unwrap();
    let run = raw(&in_etcd("[[ledger.process]]\naddress = \"127.0.0.1:4\"\n[[ledger.process]]", ""));
    let ledger = |text: &str| raw(text).with_books_of(&run).check().unwrap().ledger().clone();
    let books = |text: &str| {
        let ledger = ledger(text);
        let address = ledger.processes[0].address.as_ref().map(ToString::to_string);
        (ledger.etcd().unwrap().endpoints.clone(), ledger.processes.len(), address)
    };
    let at = |cluster: &str, processes, port| {
        (Endpoints::parse([cluster]).unwrap(), processes, Some(format!("127.0.0.1:{port}")))
    };
    for text in ["", "peers = 7", "[ledger]\nstore = \"sled\""] {
        assert_eq!(books(text), at("http://h:2379", 2, 4), "{text}");
    }
    assert_eq!(books("[ledger]\naddress = \"127.0.0.1:5\""), at("http://h:2379", 2, 5));
    assert_eq!(ledger("[ledger]\nsnapshot_every = 77").snapshot_every, 77);
    let other = in_etcd("address = \"127.0.0.1:6\"", "").replace("h:2379", "other:2379");
    assert_eq!(books(&other), at("http://other:2379", 1, 6));
    // What is refused by itself stays so.
    assert!(raw("[ledger.etcd]\nendpoints = [\"http://h:1\"]").with_books_of(&run).check().is_err());
    let on_disk = raw("[ledger]\naddress = \"127.0.0.1:7\"");
    assert_eq!(raw("").with_books_of(&on_disk).check().unwrap(), raw("").check().unwrap());
}

/// SPEC J3.
#[test]
fn the_books_are_in_sled_or_in_a_cluster_of_etcd() {
    let such_as = "such as [\"https://10.0.0.1:2379\", \"https://10.0.0.2:2379\"]";
    assert_eq!(check("").unwrap().ledger().store, LedgerStore::Sled);
    assert_eq!(check("[ledger]\nstore = \"sled\"").unwrap(), check("").unwrap());
    refused(
        "[ledger]\nstore = \"etc\"",
        "bazaar.toml:2: ledger.store = \"etc\": must be \"sled\" or \"etcd\"; did you mean \"etcd\"?",
    );
    refused("[ledger]\nstore = \"paper\"", "bazaar.toml:2: ledger.store = \"paper\": must be \"sled\" or \"etcd\"");
    refused(
        "[ledger]\nstore = \"etcd\"",
        &format!("bazaar.toml:1: ledger.etcd is missing: say under [ledger.etcd] where it is: endpoints, {such_as}"),
    );
    let unused = "says where the books are with store = \"etcd\"; write that under [ledger], or leave this out";
    for store in ["", "store = \"sled\"\n"] {
        let text = format!("[ledger.etcd]\nendpoints = [\"http://h:1\"]\n[ledger]\n{store}");
        refused(&text, &format!("bazaar.toml:1: ledger.etcd = {{ ... }}: {unused}"));
    }
    refused("[ledger]\netcd = 3", "bazaar.toml:2: ledger.etcd = 3: must be a table: [ledger.etcd]");
    refused("[ledger]\netdc = 3", "bazaar.toml:2: ledger.etdc: there is no such key; did you mean etcd?");
    refused(
        "[ledger]\nendpoints = []",
        "bazaar.toml:2: ledger.endpoints: there is no such key; it belongs under [ledger.etcd]",
    );
    refused(
        &in_etcd("", "pasword_file = \"x\""),
        "bazaar.toml:6: ledger.etcd.pasword_file: there is no such key; did you mean password_file?",
    );
    refused(
        "[ledger]\nstore = \"etcd\"\n[ledger.etcd]\nhistory = 1",
        &format!(
            "bazaar.toml:3: ledger.etcd.endpoints is missing: say where the members of the cluster are, {such_as}"
        ),
    );

    let config = check(&in_etcd("", "")).unwrap();
    let etcd = config.ledger().etcd().unwrap();
    assert_eq!((etcd.history, &etcd.prefix, &etcd.user), (EtcdSettings::HISTORY, &None, &None));
    let saved = config.to_toml();
    assert_eq!(check(&saved).unwrap().in_dir(config.dir()), config, "{saved}");
}

#[test]
fn wrong_ways_to_reach_etcd_are_refused() {
    let endpoints = |list: &str, value: &str, right: &str| {
        let text = format!("[ledger]\nstore = \"etcd\"\n[ledger.etcd]\nendpoints = {list}");
        refused(&text, &format!("bazaar.toml:4: ledger.etcd.endpoints = {value}: {right}"));
    };
    let such_as = "must be a list, such as [\"https://10.0.0.1:2379\", \"https://10.0.0.2:2379\"]";
    endpoints("[]", "[]", such_as);
    endpoints("\"http://a:1\"", "\"http://a:1\"", such_as);
    endpoints("[1]", "1", "an endpoint is a text in quotes");
    for wrong in ["a:1", "ftp://a:1", "http://a", "http://a:1/v3"] {
        let right = "must be \"http://host:port\" or \"https://host:port\"";
        endpoints(&format!("[\"http://b:1\", \"{wrong}\"]"), &format!("\"{wrong}\""), right);
    }
    let twice = "is listed twice; name each member once";
    endpoints("[\"http://a:1\", \"http://b:1\", \"http://a:1/\"]", "\"http://a:1/\"", twice);
    let mixed = "those before it have another scheme; use https for all, or http for all";
    endpoints("[\"http://a:1\", \"https://b:1\"]", "\"https://b:1\"", mixed);

    let etcd = |etcd: &str, message: &str| refused(&in_etcd("", etcd), &format!("bazaar.toml:{message}"));
    etcd("user = \"bazaar\"", "4: ledger.etcd.password_file is missing: name the file that holds the user's password");
    etcd("password_file = \"x\"", "4: ledger.etcd.user is missing: say whose password that is");
    etcd("user = \"\"\npassword_file = \"x\"", "6: ledger.etcd.user = \"\": must not be empty");
    etcd("password_file = \"\"", "6: ledger.etcd.password_file = \"\": must name a file");
    for key in ["ca = \"x\"", "certificate = \"y\"\nkey = \"x\""] {
        let (name, value) = if key.starts_with("ca") { ("ca", "\"x\"") } else { ("certificate", "\"y\"") };
        let right = "the endpoints are http, which uses no certificates; make them https";
        etcd(key, &format!("6: ledger.etcd.{name} = {value}: {right}"));
    }
    etcd("history = -1", "6: ledger.etcd.history = -1: must be a whole number from 0 to 1000000000");
    let https = |etcd: &str, message: &str| {
        let text = in_etcd("", etcd).replace("http://", "https://");
        refused(&text, &format!("bazaar.toml:{message}"));
    };
    https(
        "",
        "4: ledger.etcd.ca is missing: name the file with the certificate of the authority that has signed those of the \
         endpoints, which are https; what the system trusts is not used",
    );
    https(
        "ca = \"x\"\ncertificate = \"y\"",
        "4: ledger.etcd.key is missing: name the file that holds the certificate's key",
    );
    https(
        "ca = \"x\"\nkey = \"y\"",
        "4: ledger.etcd.certificate is missing: name the file that holds the key's certificate",
    );
    let right = "must be a path such as \"/bazaar/market/\": up to 200 letters, digits, dashes, dots and underscores, with a \
                 slash before and after each part";
    for wrong in ["", "/", "//", "/a", "a/", "/bazaar/market", "bazaar/market/", "/a//b/", "/a b/", "/ü/"] {
        etcd(&format!("prefix = \"{wrong}\""), &format!("6: ledger.etcd.prefix = \"{wrong}\": {right}"));
    }
}

/// SPEC J3.
#[test]
fn a_ledger_in_etcd_has_processes_with_addresses_of_their_own() {
    let process = |text: &str| format!("[[ledger.process]]\n{text}\n");
    let three = [
        "address = \"10.0.0.1:7000\"",
        "address = \"10.0.0.2:7000\"\nlisten = \"0.0.0.0:7000\"",
        "listen = \"10.0.0.3:7000\"",
    ]
    .map(process)
    .concat();
    let key = format!("key = \"{}\"\n", "5a".repeat(32));
    let config = check(&format!("{key}{}{three}", in_etcd("", ""))).unwrap();
    let ledger = config.ledger();
    let addresses = ledger.ids().map(|id| ledger.process(id).address.unwrap().to_string());
    assert_eq!(addresses.collect::<Vec<_>>(), ["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"]);
    assert_eq!((ledger.id(3).map(|id| id.to_string()), ledger.id(4)), (Some("ledger 3".to_owned()), None));
    let saved = config.to_toml();
    assert_eq!(check(&saved).unwrap().in_dir(config.dir()), config, "{saved}");
    // On one machine they are found through the run's directory.
    let local = check(&format!("{}[[ledger.process]]\n[[ledger.process]]\n", in_etcd("", ""))).unwrap();
    assert_eq!(local.ledger().processes, [LedgerProcess::default(), LedgerProcess::default()]);
    let saved = local.to_toml();
    assert_eq!(check(&saved).unwrap().in_dir(local.dir()), local, "{saved}");
    // The only one may be written either way.
    let one = check(&in_etcd("address = \"h:7000\"", "")).unwrap();
    assert_eq!(one, check(&format!("{}{}", in_etcd("", ""), process("address = \"h:7000\""))).unwrap());

    let sled = "needs a store that several processes can use, store = \"etcd\"; with sled there is one process, and its \
                address belongs under [ledger]";
    refused(&process(""), &format!("bazaar.toml:1: ledger.process = [{{ ... }}]: {sled}"));
    for key in ["address", "listen"] {
        let right = "with [[ledger.process]], this belongs there, into that of the process it is of";
        refused(
            &format!("{}{three}", in_etcd(&format!("{key} = \"h:1\""), "")),
            &format!("bazaar.toml:3: ledger.{key} = \"h:1\": {right}"),
        );
    }
    let wrong = |processes: &str, message: &str| refused(&format!("{}{processes}", in_etcd("", "")), message);
    wrong(
        &process("adress = \"h:1\""),
        "bazaar.toml:8: adress of ledger process 1: there is no such key; did you mean address?",
    );
    wrong(
        &process("address = \"h:0\""),
        "bazaar.toml:8: address of ledger process 1 = \"h:0\": the port must be from 1 to 65535",
    );
    let twin = "is that of ledger process 1 as well; each listens at an address of its own";
    wrong(
        &process("address = \"h:1\"").repeat(2),
        &format!("bazaar.toml:10: address of ledger process 2 = \"h:1\": {twin}"),
    );
    wrong(
        &(process("address = \"h:1\"") + &process("listen = \"h:1\"")),
        &format!("bazaar.toml:10: listen of ledger process 2 = \"h:1\": {twin}"),
    );
    let nine =
        |count: usize| (1..=count).map(|port| process(&format!("listen = \"[::1]:{port}\""))).collect::<String>();
    assert_eq!(check(&format!("{}{}", in_etcd("", ""), nine(9))).unwrap().ledger().processes.len(), 9);
    let error = check(&format!("{}{}", in_etcd("", ""), nine(10))).unwrap_err();
    assert!(error.ends_with(": a ledger has at most 9 processes"), "{error}");
    refused(
        "[ledger]\nstore = \"etcd\"\nprocess = 3\n[ledger.etcd]\nendpoints = [\"http://h:1\"]",
        "bazaar.toml:3: ledger.process = 3: must be a list, one [[ledger.process]] for each process of the ledger",
    );
}

#[test]
fn ledger_processes_on_several_machines_can_all_be_found_and_share_a_key() {
    let two = format!("{}[[ledger.process]]\naddress = \"10.0.0.1:1\"\n[[ledger.process]]\n", in_etcd("", ""));
    let key = format!("key = \"{}\"\n", "5a".repeat(32));
    refused(
        &format!("{key}{two}"),
        "bazaar.toml:8: address of ledger process 2 is missing: 10.0.0.1:1 is not this machine; say at which host:port \
         peers there find that process",
    );
    refused(
        &format!("{two}address = \"10.0.0.2:1\"\n"),
        "bazaar.toml:7: key is missing: 10.0.0.1:1 is not this machine; all machines need the same one; `bazaar init` \
         makes one",
    );
    let peer = "[[peer]]\nid = 1\naddress = \"idefix:7001\"\n";
    refused(
        &format!("{key}{peer}{}[[ledger.process]]\n[[ledger.process]]\n", in_etcd("", "")),
        "bazaar.toml:4: address of ledger process 1 is missing: idefix:7001 is not this machine; say at which host:port \
         peers there find that process",
    );
}

#[test]
fn a_run_stays_in_its_store_and_may_reach_it_in_another_way() {
    let was = check(&in_etcd("", "prefix = \"/a/\"")).unwrap();
    let differences = |text: &str| was.differences(&check(text).unwrap());
    let moved = "user = \"u\"\npassword_file = \"p\"\nca = \"c\"\nprefix = \"/a/\"";
    let moved = in_etcd("", moved).replace("http://h", "https://elsewhere")
        + "[[ledger.process]]\nlisten = \"[::1]:1\"\n[[ledger.process]]\n";
    assert_eq!(differences(&moved), Vec::<String>::new());
    let now = was.clone().at_addresses_of(&check(&moved).unwrap());
    assert_eq!(now, check(&moved).unwrap());
    // Where nothing is said about processes, they stay.
    assert_eq!(now.clone().at_addresses_of(&was).ledger().processes, now.ledger().processes);
    assert_eq!(
        differences(&in_etcd("", "prefix = \"/b/\"\nhistory = 3")),
        ["ledger.etcd.history: was 1000000, now 3", "ledger.etcd.prefix: was \"/a/\", now \"/b/\""]
    );
    let sled = differences("");
    assert!(sled.contains(&"ledger.store: was \"etcd\", now \"sled\"".to_owned()), "{sled:?}");
}

#[test]
fn members_on_other_machines_need_a_ledger_that_can_be_found_and_a_key() {
    let peer = "[[peer]]\nid = 1\naddress = \"idefix:7001\"\n";
    refused(
        peer,
        "bazaar.toml:3: ledger.address is missing: idefix:7001 is not this machine; say at which host:port it finds \
         the ledger",
    );
    let peer = format!("{peer}[ledger]\naddress = \"miraculix:7000\"\n");
    refused(
        &peer,
        "bazaar.toml:3: key is missing: idefix:7001 is not this machine; all machines need the same one; \
         `bazaar init` makes one",
    );
    let config = check(&format!("key = \"{}\"\n{peer}", "aB".repeat(32))).unwrap();
    assert_eq!(config.key().unwrap().as_bytes(), &[0xab; 32]);
    assert_eq!(config.address_of(PeerId(1)).unwrap().as_str(), "idefix:7001");
    assert_eq!(config.address_of(PeerId(2)), None);
    assert!(check("[[peer]]\nid = 1\naddress = \"localhost:7001\"").is_ok());
}

#[test]
fn wrong_goods_are_refused() {
    let price = |text: &str, message: &str| {
        refused(
            &format!("[goods]\nlowest_price = {text}"),
            &format!("bazaar.toml:2: goods.lowest_price = {text}: {message}"),
        );
    };
    let right = "a price is a text in dollars and cents, such as \"9.50\"";
    price("\"-9.50\"", "a price cannot be negative; write \"9.50\"");
    price("\"0\"", "a price must be at least \"0.01\"");
    price("\"0.00\"", "a price must be at least \"0.01\"");
    price("\"42949672.96\"", "the highest price is \"42949672.95\"");
    price("\"99999999999999999999\"", "the highest price is \"42949672.95\"");
    for text in ["\"\"", "\"9.5\"", "\".50\"", "\"9.\"", "\"9,50\"", "\"--9\"", "\"+9\"", "\"9.500\""] {
        price(text, right);
    }
    price("9.5", "must be a text in quotes");
    price("\"11\"", "must be at most highest_price, \"10.00\"");
    refused(
        "[goods]\nhighest_price = \"3\"",
        "bazaar.toml:2: goods.highest_price = \"3\": must be at least lowest_price, \"4.00\"",
    );
    refused(
        "[goods]\nitems = [\"fish\",\n  \"fish\"]",
        "bazaar.toml:3: goods.items = \"fish\": is listed twice; name each item once",
    );
    refused(
        "[goods]\nitems = [3]",
        "bazaar.toml:2: goods.items = 3: an item is a text of 1 to 32 letters, digits, dashes or underscores",
    );
    refused(
        "[goods]\nitems = []",
        "bazaar.toml:2: goods.items = []: must be a list, such as [\"fish\", \"salt\", \"boar\"]",
    );
    refused(
        "[goods]\nquantity = 11",
        "bazaar.toml:2: goods.quantity = 11: must be at most goods.units, 10: an order is filled from one deposit",
    );
    refused("[goods]\nunits = 0", "bazaar.toml:2: goods.units = 0: must be a whole number from 1 to 1000000");
}

#[test]
fn wrong_peers_are_refused() {
    refused("[[peer]]\nid = 10", "bazaar.toml:2: peer.id = 10: must be a whole number from 0 to 9");
    refused("[[peer]]\nrole = \"buyer\"", "bazaar.toml:1: peer.id is missing: say which peer it is about, id = 0 to 9");
    refused(
        "[[peer]]\nid = 3\n\n[[peer]]\nid = 3",
        "bazaar.toml:5: peer.id = 3: peer 3 is already set up at bazaar.toml:1; put it all in one [[peer]]",
    );
    refused(
        "[[peer]]\nid = 3\nrole = \"seler\"",
        "bazaar.toml:3: role of peer 3 = \"seler\": must be \"buyer\", \"seller\" or \"both\"; did you mean \
         \"seller\"?",
    );
    refused(
        "[[peer]]\nid = 3\nrole = \"buyer\"\nwants = [\"salt\",\n\"tuna\"]",
        "bazaar.toml:5: wants of peer 3 = \"tuna\": unknown item \"tuna\"; the items are fish, salt, boar \
         (goods.items)",
    );
    refused(
        "[[peer]]\nid = 3\nrole = \"buyer\"\nquantity = 0",
        "bazaar.toml:4: quantity of peer 3 = 0: must be a whole number from 1 to 1000000",
    );
    refused(
        "[[peer]]\nid = 3\nrole = \"seller\"\nwants = [\"salt\"]",
        "bazaar.toml:4: wants of peer 3 = [\"salt\"]: a seller wants nothing; make its role \"both\", or leave this \
         out",
    );
    refused(
        "[[peer]]\nid = 3\nrole = \"buyer\"\noffers = [{ item = \"fish\" }]",
        "bazaar.toml:4: offers of peer 3 = [{ ... }]: a buyer offers nothing; make its role \"both\", or leave this \
         out",
    );
    refused(
        "[[peer]]\nid = 3\nquantity = 2",
        "bazaar.toml:3: quantity of peer 3 = 2: needs a role; add role = \"buyer\", \"seller\" or \"both\"",
    );
    let offer = |offer: &str, message: &str| {
        refused(&format!("[[peer]]\nid = 3\nrole = \"seller\"\noffers = [{offer}]"), message);
    };
    offer(
        "{ item = \"fish\", count = 3, price = 9 }",
        "bazaar.toml:4: price of an offer of peer 3 = 9: a price is a text in dollars and cents; write \"9.00\" or \
         \"0.09\"",
    );
    offer(
        "{ item = \"fish\", count = 0, price = \"9\" }",
        "bazaar.toml:4: count of an offer of peer 3 = 0: must be a whole number from 1 to 1000000",
    );
    offer(
        "{ item = \"fish\", count = 3 }",
        "bazaar.toml:4: price of an offer of peer 3 is missing: an offer names item and price, \
         such as [{ item = \"fish\", count = 10, price = \"9.50\" }]",
    );
    offer(
        "{}",
        "bazaar.toml:4: item of an offer of peer 3 is missing: an offer names item and price, \
         such as [{ item = \"fish\", count = 10, price = \"9.50\" }]",
    );
    refused("peer = 3", "bazaar.toml:1: peer = 3: must be a list, one [[peer]] for each peer that is set up by hand");
}

#[test]
fn wrong_graphs_are_refused_where_they_are_written() {
    refused(
        "[graph.adjacency]\n0 = [1]\n1 = []",
        "bazaar.toml:2: graph.adjacency.0 = [1]: peer 0 lists neighbour 1, but 1 does not list 0; list both or neither",
    );
    refused(
        "[graph]\nadjacency = { 0 = [1], 1 = [0], 2 = [3], 3 = [2] }",
        "bazaar.toml:2: graph.adjacency.2 = [3]: peer 2 cannot be reached from peer 0; \
         a graph must be connected, so add a link between them",
    );
    refused(
        "[graph.adjacency]\n0 = [1, 2, 3, 4]\n1 = [0]\n2 = [0]\n3 = [0]\n4 = [0]",
        "bazaar.toml:2: graph.adjacency.0 = [1, 2, 3, 4]: peer 0 has 4 neighbours; no peer has more than 3",
    );
    refused(
        "[graph.adjacency]\n0 = [\"1\"]",
        "bazaar.toml:2: graph.adjacency.0 = \"1\": a neighbour is a peer id, a whole number",
    );
    refused(
        "peers = 3\n[graph]\nadjacency = { 0 = [1], 1 = [0] }",
        "bazaar.toml:1: peers = 3: the graph has 2 peers; give that number or leave it out",
    );
    refused(
        "[graph]\nfile = \"nowhere.json\"",
        "bazaar.toml:2: graph.file = \"nowhere.json\": nowhere.json cannot be read: No such file or directory (os \
         error 2)",
    );
    refused(
        "[graph]\nfile = \"x\"\nadjacency = {}",
        "bazaar.toml:2: graph.file = \"x\": a graph comes from a file or from graph.adjacency; give one of them",
    );
    refused("[graph.adjacency]", "bazaar.toml:1: graph.adjacency = { ... }: the graph has no peers; give 1 to 10000");
    refused(
        "[graph.adjacency]\n0 = [1]\n1 = [0]\n00 = [1]",
        "bazaar.toml:4: graph.adjacency.00 = [1]: peer 0 is listed twice; list each peer once with all its neighbours",
    );
}

#[test]
fn a_graph_file_is_relative_to_the_configuration_and_its_errors_name_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bazaar.toml");
    std::fs::write(&file, "dir = \"data\"\n[graph]\nfile = \"graph.json\"").unwrap();
    std::fs::write(folder.path().join("graph.json"), r#"{"0": [1], "1": [0]}"#).unwrap();
    let config = RawConfig::read(&file).unwrap().check().unwrap();
    assert_eq!(config.peers(), 2);
    assert_eq!(config.dir(), folder.path().join("data"));
    assert_eq!(config.trade_is_possible(), Err(NoTrade::TooFewPeers(2)));

    std::fs::write(folder.path().join("graph.json"), r#"{"0": [0]}"#).unwrap();
    let error = RawConfig::read(&file).unwrap().check().unwrap_err().to_string();
    let message = "graph.file = \"graph.json\": peer 0 lists itself; no peer is its own neighbour";
    assert_eq!(error, format!("{}:3: {message}", file.display()));
}

#[test]
fn a_flag_overrides_the_file_and_is_named_in_errors() {
    let mut raw = RawConfig::parse("peers = 5\nseed = 2\n[terms]\nresign_after = 7", Path::new("bazaar.toml")).unwrap();
    raw.set("--peers", "peers = 6").unwrap();
    raw.set("--set", "terms.commission = 1000").unwrap();
    raw.set_text("--dir", "dir", "some \"where\"").unwrap();
    let config = raw.check().unwrap();
    assert_eq!((config.peers(), config.seed(), config.terms().resign_after), (6, 2, 7));
    assert_eq!(config.terms().commission, Commission::new(1_000).unwrap());
    assert_eq!(config.dir(), std::env::current_dir().unwrap().join("some \"where\""));
    raw.set("--graph", "graph.file = \"nowhere.json\"").unwrap();
    raw.set("--graph", "graph.adjacency = { 0 = [1], 1 = [0] }").unwrap();
    raw.set("--peers", "peers = 2").unwrap();
    assert_eq!(raw.check().unwrap().graph().links().count(), 1, "a graph given by a flag replaces the previous one");
    raw.set("--peers", "peers = 0").unwrap();
    let error = raw.check().unwrap_err().to_string();
    assert_eq!(error, "--peers: peers = 0: must be a whole number from 1 to 10000");
    assert!(raw.set("--set", "terms.=").unwrap_err().to_string().starts_with("--set: this is not TOML: "));
}

#[test]
fn roles_given_by_hand_are_kept_and_the_others_see_to_it_that_trade_is_possible() {
    let text = "peers = 3\n[goods]\nitems = [\"fish\", \"menhir\"]\n\
        [[peer]]\nid = 0\nrole = \"buyer\"\nwants = [\"menhir\"]\nquantity = 2\n\
        [[peer]]\nid = 1\nrole = \"both\"\noffers = [{ item = \"menhir\", count = 5, price = \"9.50\" }]\n";
    let config = check(text).unwrap();
    let role = |id| config.member(PeerId(id)).unwrap().role.clone();
    let Role::Buyer(wishes) = role(0) else { panic!("{:?}", role(0)) };
    assert_eq!((wishes.items, wishes.quantity), (vec![Item(1)], Units(2)));
    let Role::Both(wishes, offers) = role(1) else { panic!("{:?}", role(1)) };
    assert_eq!((wishes.items, wishes.quantity), (vec![Item(0), Item(1)], Units(1)));
    assert_eq!((offers.0[0].item, offers.0[0].count, offers.0[0].price), (Item(1), Units(5), Price(950)));
    assert_eq!(config.item_name(Item(1)), "menhir");
    assert_eq!(config.role_name(&role(1)), "buyer and seller of menhir");
    // Without peer 1, peer 0 can only buy from peer 2.
    assert!(role(2).offers().is_some());
    assert_eq!(config.trade_is_possible(), Ok(()));
}

#[test]
fn roles_given_by_hand_that_leave_nobody_to_trade_with_are_reported() {
    let peer = |id: u32, role: &str| format!("[[peer]]\nid = {id}\nrole = \"{role}\"\n");
    let all = |roles: [&str; 3]| {
        let peers: String = (0..).zip(roles).map(|(id, role)| peer(id, role)).collect();
        check(&format!("peers = 3\n{peers}")).unwrap().trade_is_possible()
    };
    let under = |ids: &[u32]| NoTrade::Under { traders: ids.iter().copied().map(PeerId).collect(), first: PeerId(2) };
    assert_eq!(all(["buyer", "buyer", "buyer"]), Err(NoTrade::Nobody));
    assert_eq!(all(["seller", "buyer", "buyer"]), Err(under(&[0])));
    assert_eq!(all(["both", "both", "both"]), Ok(()));
    assert_eq!(all(["buyer", "buyer", "seller"]), Err(under(&[2])));
    // All that stand in the way are named, and who is elected first.
    let told = |config: &str| check(config).unwrap().trade_is_possible().unwrap_err().to_string();
    let fish = |role: &str, item: &str| format!("role = \"{role}\"\nwants = [\"{item}\"]\n");
    let two = format!(
        "peers = 3\n[[peer]]\nid = 0\n{}[[peer]]\nid = 1\nrole = \"seller\"\n[[peer]]\nid = 2\nrole = \"seller\"\n",
        fish("buyer", "fish")
    );
    assert!(told(&two).starts_with("no trade is possible while peer 0 is the trader (peer 2 is not one of them"));
    let two = two.replace("id = 2\nrole = \"seller\"", "id = 2\nrole = \"buyer\"");
    let said = told(&two);
    assert!(said.starts_with("no trade is possible while peer 1 is the trader (peer 2 is not one of"), "{said}");
    let apart = "peers = 4\ngoods.items = [\"fish\", \"salt\"]\n[[peer]]\nid = 0\nrole = \"seller\"\noffers = [{ item = \
                 \"fish\", price = \"1.00\" }]\n[[peer]]\nid = 1\nrole = \"buyer\"\nwants = [\"salt\"]\n[[peer]]\nid = \
                 2\nrole = \"buyer\"\nwants = [\"salt\"]\n[[peer]]\nid = 3\nrole = \"buyer\"\nwants = [\"fish\"]\n";
    let said = told(apart);
    assert!(said.contains("while peer 0 or peer 3 is the trader (peer 3 is elected first): "), "{said}");
}

#[test]
fn a_bazaar_in_which_nobody_wants_anything_can_be_configured() {
    let config = check("pace = \"flat-out\"\n[waits]\nthink = \"never\"").unwrap();
    assert_eq!(config.waits().think, Think::Never);
    assert_eq!(config.peer(PeerId(0)).unwrap().pace.think, None);
    assert_eq!(check("pace = \"flat-out\"").unwrap().waits().think, Think::always(Duration::ZERO));
}

#[test]
fn each_buyer_draws_its_own_time_to_think_from_a_range_by_the_seed() {
    let drawn = |seed: u64| -> Vec<Duration> {
        let config = check(&format!("peers = 50\nseed = {seed}\n[waits]\nthink = \"50ms..2s\"")).unwrap();
        config.graph().peers().map(|peer| config.peer(peer).unwrap().pace.think.unwrap()).collect()
    };
    let (first, again, other) = (drawn(7), drawn(7), drawn(8));
    assert_eq!(first, again, "it is fixed for the life of the run");
    assert_ne!(first, other);
    let millis = Duration::from_millis;
    assert!(first.iter().all(|think| (millis(50)..=millis(2_000)).contains(think)), "{first:?}");
    let quick = first.iter().filter(|think| **think < millis(1_025)).count();
    assert!((10..40).contains(&quick), "{quick} of 50 are in the lower half: {first:?}");
}

#[test]
fn the_pace_decides_the_order_unless_it_is_given() {
    let of = |text: &str| check(text).unwrap().terms().ordering;
    for speed in ["reference", "brisk"] {
        assert_eq!(of(&format!("pace = \"{speed}\"")), Ordering::Stable, "{speed}");
    }
    assert_eq!(of("pace = \"flat-out\""), Ordering::SmallestOpen);
    assert_eq!(of("pace = \"flat-out\"\nterms.ordering = \"stable\""), Ordering::Stable);
    assert_eq!(of("terms.ordering = \"smallest-open\""), Ordering::SmallestOpen);
    refused(
        "[terms]\nordering = \"stabel\"",
        "bazaar.toml:2: terms.ordering = \"stabel\": must be \"stable\" or \"smallest-open\"; did you mean \"stable\"?",
    );
}

#[test]
fn changes_are_reported_key_by_key() {
    let was = check("peers = 4").unwrap();
    let now = check("peers = 4\nledger.address = \"h:1\"\nterms.resign_after = 9\ndir = \"x\"").unwrap();
    // Where its members listen is no difference.
    assert_eq!(was.differences(&now), ["terms.resign_after: was 40, now 9"]);
    assert_eq!(was.differences(&check("peers = 5").unwrap()), ["peers: was 4, now 5"]);
    let now = check("peers = 4\n[[peer]]\nid = 2\nrole = \"buyer\"\nwants = [\"boar\"]\nquantity = 3").unwrap();
    let told = was.differences(&now);
    let line = told.iter().find(|line| line.starts_with("peer 2: was role = ")).unwrap();
    assert!(line.ends_with("now role = \"buyer\", wants = [\"boar\"], quantity = 3"), "{line}");
    let circle = "graph.adjacency = { 0 = [1, 3], 1 = [0, 2], 2 = [1, 3], 3 = [0, 2] }";
    assert_eq!(was.differences(&check(circle).unwrap()), ["graph: the links have changed"]);
    let (mut a, mut b) = (was.clone(), was.clone());
    assert_ne!(a.ensure_key(), b.ensure_key());
    assert_eq!(a.differences(&b), ["key: has changed"]);
    assert_eq!(a.differences(&was), Vec::<String>::new());
}

#[test]
fn a_key_is_never_printed() {
    let key = Key::from_hex(&"5a".repeat(32)).unwrap();
    assert_eq!(format!("{key:?}"), "Key(..)");
    assert_eq!(key.to_hex(), "5a".repeat(32));
}

#[test]
fn the_largest_bazaar_can_be_set_up_and_written_down() {
    let config = check("peers = 10000").unwrap();
    assert_eq!(check(&config.to_toml()).unwrap().in_dir(config.dir()), config);
}

/// Every key, and values of every type, right and wrong.
fn any_line() -> impl Strategy<Value = String> {
    let keys = [
        "name",
        "peers",
        "seed",
        "dir",
        "key",
        "pace",
        "first_caller",
        "clock_range",
        "ledger.address",
        "ledger.snapshot_every",
        "ledger.store",
        "ledger.process",
        "ledger.etcd.prefix",
        "ledger.etcd.endpoints",
        "ledger.waiting",
        "limits.flood_window",
        "limits.sales_kept",
        "limits",
        "graph.file",
        "graph.adjacency",
        "graph.adjacency.0",
        "goods.items",
        "goods.units",
        "goods.lowest_price",
        "goods.highest_price",
        "goods.quantity",
        "terms.commission",
        "terms.resign_after",
        "terms.batch_limit",
        "terms.ordering",
        "waits.think",
        "waits.trade_after",
        "timeouts.lease",
        "timeouts.answer",
        "timeouts.suspicion",
        "peer",
        "peer.id",
        "whatever",
        "timeouts",
        "goods",
    ];
    let values = [
        "0",
        "1",
        "3",
        "10",
        "9999",
        "18446744073709551615",
        "-170141183460469231731687303715884105728",
        "1.5",
        "nan",
        "true",
        "1979-05-27",
        "\"\"",
        "\"x\"",
        "\"24h\"",
        "\"1ms\"",
        "\"never\"",
        "\"9.50\"",
        "\"h:1\"",
        "\"brisk\"",
        "\"stable\"",
        "\"1ms..2ms\"",
        "[]",
        "[1]",
        "[\"fish\", \"tuna\"]",
        "{}",
        "{ 0 = [1], 1 = [0] }",
        "{ 0 = [0] }",
        "[{}]",
        "[{ id = 0 }]",
        "[{ id = 1, role = \"buyer\", wants = [\"fish\"], quantity = 1000000 }]",
        "[{ id = 2, role = \"both\", offers = [{ item = \"fish\", count = 1, price = \"42949672.95\" }] }]",
        "[{ id = 0, role = \"seller\", offers = [] }]",
        "[{ id = 0, address = \"h:1\" }]",
        "\"etcd\"",
        "\"/x/\"",
        "[\"http://h:1\", \"http://h:2\"]",
        "[{ address = \"[::1]:1\" }, {}]",
    ];
    (prop::sample::select(keys.to_vec()), prop::sample::select(values.to_vec()))
        .prop_map(|(key, value)| format!("{key} = {value}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn any_text_is_a_configuration_or_an_error_that_says_where(
        lines in prop::collection::vec(any_line(), 0..5)
    ) {
        match check(&lines.join("\n")) {
            Ok(config) => {
                let saved = config.to_toml();
                prop_assert_eq!(check(&saved).map(|read| read.in_dir(config.dir())), Ok(config), "{}", saved);
            }
            Err(error) => prop_assert!(error.starts_with("bazaar.toml:"), "{}", error),
        }
    }

    #[test]
    fn no_text_makes_the_check_panic(text in "(\\PC|[\n=\"\\[\\]{}a-z0-9.]){0,60}") {
        let _ = check(&text);
    }
}
