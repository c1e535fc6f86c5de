//! Compiles `proto/` to Rust without protoc.
//!
//! Messages that carry plaintext get no `Debug`, so that no log line can print them by accident.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/kms_v2.proto", "proto/kms_v1beta1.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_client(std::env::var_os("CARGO_FEATURE_OPERATOR").is_some())
        .build_transport(false)
        .skip_debug([".v2", ".v1beta1"])
        .compile_fds(descriptors)?;
    Ok(())
}
