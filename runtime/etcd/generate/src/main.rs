//! Makes `src/generated.rs` of bazaar-etcd from its `proto/etcd.proto`:
//!
//! ```sh
//! cargo run --manifest-path runtime/etcd/generate/Cargo.toml
//! ```
//!
//! The first line of what it writes holds the digests of both, by which a test notices that one was changed without the
//! other.

use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let proto = root.join("proto/etcd.proto");
    let out = tempfile::tempdir()?;
    let descriptors = protox::compile([&proto], [root.join("proto")])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        // They are in the .proto; and some of them are no Markdown.
        .disable_comments(["."])
        .out_dir(out.path())
        .compile_fds(descriptors)?;
    let code = fs::read_to_string(out.path().join("etcdserverpb.rs"))?;
    let digests = format!("{:016x} {:016x}", fnv(&fs::read(&proto)?), fnv(code.as_bytes()));
    fs::write(root.join("src/generated.rs"), format!("// Made from proto/etcd.proto. Digests: {digests}\n{code}"))?;
    Ok(())
}

/// FNV-1a, 64 bits. `tests/generated.rs` has the same.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |digest: u64, byte: &u8| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
