//! A tap between the host and its units: it records every byte in both directions.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use unit_api::{Command, FRAME_HEADER_LEN, Response, decode_reply, decode_request, split_frame};

/// Bytes of one connection, in both directions.
#[derive(Default)]
pub(crate) struct Connection {
    pub(crate) requests: Mutex<Vec<u8>>,
    pub(crate) replies: Mutex<Vec<u8>>,
}

/// Bytes of all connections.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<Mutex<Vec<Arc<Connection>>>>);

impl Tap {
    /// A program that starts units in place of the real one. Each unit listens on a socket beside the requested one, on
    /// which the tap listens first.
    pub(crate) fn program(folder: &Path) -> PathBuf {
        let path = folder.join("unit-behind-tap");
        let script = format!(
            "#!/bin/sh\n\
             for argument do\n\
                 shift\n\
                 case $argument in */unit-*.sock)\n\
                     while [ ! -S \"$argument\" ]; do sleep 0.01; done\n\
                     argument=$argument.tapped ;;\n\
                 esac\n\
                 set -- \"$@\" \"$argument\"\n\
             done\n\
             exec '{}' \"$@\"\n",
            env!("CARGO_BIN_EXE_hsm-sim")
        );
        // Written by another process: a program cannot be started while a process has it open for writing, and a process
        // that another test starts inherits the open files of this process for a moment.
        let mut writer = std::process::Command::new("/bin/sh")
            .args(["-c", "cat > \"$0\" && chmod 700 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        path
    }

    /// Listens on the socket of unit `unit` of the region with this data directory.
    pub(crate) fn listen(&self, data: &Path, unit: u16) {
        let (tap, socket) = (self.clone(), data.join("run").join(format!("unit-{unit}.sock")));
        std::thread::spawn(move || {
            super::wait_for("the region's folder", || socket.parent().is_some_and(Path::is_dir));
            for host in UnixListener::bind(&socket).unwrap().incoming() {
                // If the unit does not listen, the host's connection is closed.
                if let Ok(unit) = UnixStream::connect(socket.with_extension("sock.tapped")) {
                    tap.join(host.unwrap(), unit);
                }
            }
        });
    }

    fn join(&self, host: UnixStream, unit: UnixStream) {
        let connection = Arc::<Connection>::default();
        self.0.lock().unwrap().push(Arc::clone(&connection));
        let (from_host, from_unit) = (host.try_clone().unwrap(), unit.try_clone().unwrap());
        let there = Arc::clone(&connection);
        std::thread::spawn(move || pass(from_host, unit, &there.requests));
        std::thread::spawn(move || pass(from_unit, host, &connection.replies));
    }

    /// All connections, including open ones.
    pub(crate) fn connections(&self) -> Vec<Arc<Connection>> {
        self.0.lock().unwrap().clone()
    }
}

/// Records bytes before it forwards them.
fn pass(mut from: UnixStream, mut to: UnixStream, record: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        record.lock().unwrap().extend_from_slice(&buffer[..len]);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

/// A request and its response.
pub(crate) struct Exchange {
    pub(crate) command: &'static str,
    /// Plaintext that the caller sends, if any: a key to import or a text to encrypt.
    pub(crate) given: Option<Vec<u8>>,
    /// The blob in the response, if there is one.
    pub(crate) blob: Option<Vec<u8>>,
}

/// Decodes the exchanges of a connection, and returns them with its bytes, in which plaintexts of the caller are
/// overwritten: imported keys, texts to encrypt, decrypted texts. All other bytes are kept, also of incomplete frames.
pub(crate) fn read(connection: &Connection) -> (Vec<Exchange>, [Vec<u8>; 2]) {
    let mut exchanges = BTreeMap::new();
    let mut requests = connection.requests.lock().unwrap().clone();
    for_each_body(&mut requests, |body| {
        let request = decode_request(body).unwrap();
        let given = match request.envelope.command {
            Command::ImportKey { value, .. } => Some(value.to_vec()),
            Command::Encrypt { plaintext, .. } => Some(plaintext.to_vec()),
            _ => None,
        };
        let command = request.envelope.command.name();
        let number = request.number;
        exchanges.insert(number, Exchange { command, given: given.clone(), blob: None });
        given
    });
    let mut replies = connection.replies.lock().unwrap().clone();
    for_each_body(&mut replies, |body| {
        let reply = decode_reply(body).unwrap();
        match reply.result {
            Ok(Response::Blob(blob)) => {
                exchanges.get_mut(&reply.number).unwrap().blob = Some(blob.to_vec());
                None
            }
            Ok(Response::Plaintext(text)) => Some(text.to_vec()),
            _ => None,
        }
    });
    (exchanges.into_values().collect(), [requests, replies])
}

/// Calls `callers` with the body of every complete frame, and overwrites the first occurrence of the bytes that it
/// returns: they belong to the caller.
fn for_each_body(stream: &mut [u8], mut callers: impl FnMut(&[u8]) -> Option<Vec<u8>>) {
    let mut at = 0;
    while let Some((body, _)) = split_frame(&stream[at..]).unwrap() {
        let (begin, len) = (at + FRAME_HEADER_LEN, body.len());
        if let Some(given) = callers(body).filter(|given| !given.is_empty()) {
            let body = &mut stream[begin..begin + len];
            let place = body.windows(given.len()).position(|window| window == given).unwrap();
            body[place..place + given.len()].fill(0);
        }
        at = begin + len;
    }
}
