//! The code in `src/generated.rs` is what the `.proto` makes. With `BAZAAR_REGENERATE` set, it is made anew.
#![allow(clippy::unwrap_used)]

use std::{env, fs, path::Path};

#[test]
fn the_generated_code_is_what_the_proto_makes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let proto = root.join("proto/etcd.proto");
    let descriptors = protox::compile([&proto], [root.join("proto")]).unwrap();
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        // They are in the .proto; and some of them are no Markdown.
        .disable_comments(["."])
        .out_dir(out.path())
        .compile_fds(descriptors)
        .unwrap();
    let made = fs::read_to_string(out.path().join("etcdserverpb.rs")).unwrap();
    let kept = root.join("src/generated.rs");
    if env::var_os("BAZAAR_REGENERATE").is_some() {
        fs::write(&kept, &made).unwrap();
    }
    let is_same = fs::read_to_string(&kept).unwrap() == made;
    assert!(is_same, "made anew with: BAZAAR_REGENERATE=1 cargo test -p bazaar-etcd --test generated");
}
