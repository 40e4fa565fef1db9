//! `src/generated.rs` was made from the `proto/etcd.proto` that is here, and was not changed since. Making it anew takes
//! tools that take longer to build than the crate: `runtime/etcd/generate`.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

/// FNV-1a, 64 bits, as what makes the code has it.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |digest: u64, byte: &u8| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[test]
fn the_generated_code_is_what_was_made_from_the_proto() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = fs::read_to_string(root.join("src/generated.rs")).unwrap();
    let (first, code) = kept.split_once('\n').unwrap();
    let proto = fs::read(root.join("proto/etcd.proto")).unwrap();
    let expected = format!("{:016x} {:016x}", fnv(&proto), fnv(code.as_bytes()));
    assert!(first.ends_with(&expected), "make it anew: cargo run --manifest-path runtime/etcd/generate/Cargo.toml");
}
