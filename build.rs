//! Compiles `proto/` to Rust without protoc.
//!
//! Messages that carry plaintext, or what opens it, get no `Debug`, so that no log line can print them by accident.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let operator = std::env::var_os("CARGO_FEATURE_OPERATOR").is_some();
    let descriptors = protox::compile(["proto/kms_v2.proto", "proto/kms_v1beta1.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_client(operator)
        .build_transport(false)
        .skip_debug([".v2", ".v1beta1"])
        .compile_fds(descriptors)?;
    if operator {
        let descriptors = protox::compile(["proto/etcd.proto"], ["proto"])?;
        tonic_prost_build::configure()
            .build_server(false)
            .build_transport(false)
            // Keys and values are slices of the message as it came: no copy of each.
            .bytes(".etcdserverpb.KeyValue")
            .skip_debug([
                ".etcdserverpb.KeyValue",
                ".etcdserverpb.RangeResponse",
                ".etcdserverpb.AuthenticateRequest",
                ".etcdserverpb.AuthenticateResponse",
            ])
            .compile_fds(descriptors)?;
    }
    Ok(())
}
