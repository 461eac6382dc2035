//! Measures a REST wrap, and a request that needs no unit and no keystore for comparison.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use hsm_sim::region::ReadyFile;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A region in processes of its own, as users run it.
struct Region(Child);

impl Drop for Region {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rest(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let (_region, ready) = up(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let http = Client::builder(TokioExecutor::new()).build_http();
    let send = async |method: &str, path: &str, body: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", ready.rest_url))
            .header("authorization", format!("Bearer {}", ready.tokens.first().unwrap()))
            .header("bluemix-instance", ready.instance_id.to_string())
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let answer = http.request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{status} {body:?}");
        body
    };
    let create = r#"{"metadata":{"collectionType":"application/vnd.ibm.kms.key+json","collectionTotal":1},
        "resources":[{"type":"application/vnd.ibm.kms.key+json","name":"bench","extractable":false}]}"#;
    let made = runtime.block_on(send("POST", "/api/v2/keys", create));
    let made: serde_json::Value = serde_json::from_slice(&made).unwrap();
    let path =
        format!("/api/v2/keys/{}/actions/wrap", made.pointer("/resources/0/id").unwrap().as_str().unwrap());

    let mut group = c.benchmark_group("REST");
    group.bench_function("limit: a request without key or store", |b| {
        b.iter(|| runtime.block_on(send("GET", "/livez", "")));
    });
    group.bench_function("wrap of 32 bytes", |b| {
        let body = r#"{"plaintext":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}"#;
        b.iter(|| runtime.block_on(send("POST", &path, body)));
    });
    group.finish();
}

fn up(folder: &Path) -> (Region, ReadyFile) {
    let ready_file = folder.join("ready.json");
    let child = Command::new(program())
        .args(["up", "--port", "0", "--data"])
        .arg(folder.join("data"))
        .arg("--ready-file")
        .arg(&ready_file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let region = Region(child);
    while !ready_file.exists() {
        std::thread::yield_now();
    }
    let ready = serde_json::from_slice(&std::fs::read(ready_file).unwrap()).unwrap();
    (region, ready)
}

/// Builds the program in the profile of the benchmark, since cargo does not build binaries of other packages for it.
fn program() -> PathBuf {
    let built =
        Command::new(env!("CARGO")).args(["build", "--quiet", "--release", "--package", "hsm-sim"]).status();
    assert!(built.unwrap().success());
    let bench = std::env::current_exe().unwrap();
    bench.ancestors().nth(2).unwrap().join("hsm-sim")
}

criterion_group!(benches, rest);
criterion_main!(benches);
