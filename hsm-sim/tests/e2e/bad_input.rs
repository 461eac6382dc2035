//! Invalid input to every interface of the program: a clear error, and no lost data.

use crate::common::{PATIENCE, Region, Rest, program, up};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use unit_api::{Command, Envelope, Reply, Request, UnitError, decode_reply, encode_request, split_frame};

/// Runs `up`, which must fail, and returns its error message. Only log lines may come before the message.
fn refusal(data: &Path, extra: &[&str]) -> String {
    let output = program().args(["up", "--port", "0", "--data"]).arg(data).args(extra).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    let (log, message) = said.split_at(said.find("hsm-sim: ").expect(&said));
    assert!(log.lines().all(|line| line.contains(" INFO ")), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    message.to_owned()
}

#[test]
fn e2e_a_data_directory_that_cannot_serve_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.tex"), "all of it").unwrap();
    assert!(refusal(&foreign, &[]).contains("not a data directory of hsm-sim"));
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1);

    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(refusal(&file, &[]).contains("--data"));

    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write everywhere, also in a container, but not in /proc.
    let said = refusal(if may_write(&closed) { Path::new("/proc/hsm-sim") } else { &closed }, &[]);
    assert!(said.contains("cannot be used") && said.contains("--data"), "{said}");
}

fn may_write(folder: &Path) -> bool {
    std::fs::write(folder.join("probe"), "")
        .is_ok_and(|()| std::fs::remove_file(folder.join("probe")).is_ok())
}

#[test]
fn e2e_a_second_start_on_the_same_data_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let region = Region::up(&folder.path().join("data"), &[]);
    let said = refusal(&region.data, &[]);
    assert!(said.contains(&region.process.id().to_string()), "{said}");
    assert!(
        hsm_sim::region::DataDir::ready_file(&region.data).exists(),
        "the first one's ready file is gone"
    );
}

#[test]
fn e2e_a_port_in_use_is_named_and_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let data = folder.path().join("data");
    let output = program().args(["up", "--port", &port, "--data"]).arg(&data).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(&port) && said.contains("--port"), "{said}");
    // The same data directory can be used on another port immediately.
    Region::up(&data, &[]);
}

#[test]
fn e2e_damaged_data_is_refused_not_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Region::up(&data, &[]).interrupt();
    for file in [
        "region.json",
        "keystore.redb",
        "ceremony/key-part-1.hex",
        "ceremony/signature-key-2.hex",
        "factory/root-key",
        "units/2/device",
    ] {
        let path = data.join(file);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, b"rubbish, and not much of it").unwrap();
        let said = refusal(&data, &[]);
        assert!(said.contains(file.rsplit('/').next().unwrap()), "{said}");
        assert_eq!(std::fs::read(&path).unwrap(), b"rubbish, and not much of it", "{file} was touched");
        std::fs::write(&path, good).unwrap();
    }
    Region::up(&data, &[]);
}

#[test]
fn e2e_rubbish_on_a_unit_s_socket_is_answered_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let region = Region::up(&folder.path().join("data"), &[]);
    let socket = &region.ready.units.first().unwrap().socket;
    let closes_with = |bytes: &[u8], why: UnitError| {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let (body, rest) = split_frame(&answer).unwrap().unwrap();
        assert!(rest.is_empty());
        assert!(
            matches!(decode_reply(body), Ok(Reply { number: 0, result: Err(e) }) if e == why.into()),
            "{why}"
        );
    };
    // A header that announces four gigabytes.
    closes_with(&u32::MAX.to_be_bytes(), UnitError::FrameTooLong);
    closes_with(b"GET / HTTP/1.1\r\nHost: unit\r\n\r\n", UnitError::FrameTooLong);
    closes_with(&[&[0, 0, 0, 9], &[0xff; 9][..]].concat(), UnitError::FrameMalformed);
    closes_with(&[0, 0, 0, 0], UnitError::FrameMalformed);
    // Half a frame, then the connection is closed.
    UnixStream::connect(socket).unwrap().write_all(&[0, 0, 1, 0, 1, 2, 3]).unwrap();
    // Many connections that send nothing.
    let idle: Vec<_> = (0..20).map(|_| UnixStream::connect(socket).unwrap()).collect();

    let mut frame = [0; 64];
    let request = Request { number: 7, deadline_ms: 5000, envelope: Envelope::plain(Command::Status) };
    let len = encode_request(&request, &mut frame).unwrap();
    let mut stream = UnixStream::connect(socket).unwrap();
    // A frame that is sent byte by byte is accepted.
    for byte in &frame[..len] {
        stream.write_all(std::slice::from_ref(byte)).unwrap();
    }
    let mut answer = Vec::new();
    while split_frame(&answer).unwrap().is_none() {
        let mut part = [0; 512];
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0, "the unit closed the connection");
        answer.extend_from_slice(&part[..read]);
    }
    let (body, _) = split_frame(&answer).unwrap().unwrap();
    assert!(matches!(decode_reply(body), Ok(Reply { number: 7, result: Ok(_) })));
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_rubbish_on_the_apis_gets_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    let rest = region.rest();
    let key = rest.create("kept").await.unwrap();
    for (method, path, body, status) in [
        ("POST", "/keys".to_owned(), "{", 400),
        ("POST", "/keys".to_owned(), "[]", 400),
        ("POST", format!("/keys/{key}/actions/wrap"), r#"{"plaintext": "not base64!"}"#, 400),
        ("POST", format!("/keys/{key}/actions/wrap"), r#"{"plainText": "YQ==", "extra": 1}"#, 400),
        ("POST", format!("/keys/{key}/actions/unwrap"), r#"{"ciphertext": "YQ=="}"#, 422),
        ("POST", format!("/keys/{key}/actions/unwrap"), "", 400),
        ("POST", format!("/keys/{key}/actions/dance"), "{}", 404),
        ("GET", "/keys?limit=0".to_owned(), "", 400),
        ("GET", "/keys?limit=5001".to_owned(), "", 400),
        ("GET", "/keys/%ff%fe".to_owned(), "", 404),
        ("GET", "/nothing".to_owned(), "", 404),
        ("PUT", "/keys".to_owned(), "", 405),
    ] {
        let (found, answer) = rest.send(method, &path, body).await.unwrap();
        assert!(found == status || (found, status) == (400, 422), "{method} {path} {body}: {found} {answer}");
        assert!(answer.pointer("/resources/0/errorMsg").is_some(), "{method} {path}: {answer}");
    }
    let strangers = Rest { token: "unknown".to_owned(), ..rest.clone() };
    assert_eq!(strangers.send("GET", "/keys", "").await.unwrap().0, 401);
    rest.wrap(&key, "YQ==").await.unwrap();

    for (path, body) in
        [("/fault", "{}"), ("/heal", r#"{"unit": 9}"#), ("/clock/advance", r#"{"seconds": -1}"#)]
    {
        let refused = control(&region, path, body, &[]).await;
        assert!((400..500).contains(&refused.0) && refused.1.contains("error"), "{path}: {refused:?}");
    }
    let from_a_page =
        control(&region, "/clock/advance", r#"{"seconds": 1}"#, &[("origin", "https://example.org")]).await;
    assert_eq!(from_a_page.0, 403);
    assert_eq!(control(&region, "/clock/advance", r#"{"seconds": 1}"#, &[]).await.0, 200);
}

async fn control(region: &Region, path: &str, body: &str, headers: &[(&str, &str)]) -> (u16, String) {
    use http_body_util::{BodyExt, Full};
    let mut request = hyper::Request::post(format!("{}{path}", region.ready.control_url))
        .header("authorization", format!("Bearer {}", region.ready.control_token));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(bytes::Bytes::from(body.to_owned()))).unwrap();
    let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let answer = http.request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
