//! A whole crypto unit in memory, behind a Unix socket.

use node::UnitEntry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use unit_api::admin::AdminCommand;
use unit_api::{
    FRAME_HEADER_LEN, MAX_FRAME_LEN, Reply, UnitId, VerificationPattern, decode_request, encode_reply,
};
use unit_testkit::TestUnit;

pub(crate) struct SocketUnit {
    number: u16,
    socket: PathBuf,
    unit: Arc<Mutex<TestUnit>>,
    task: AbortHandle,
}

impl Drop for SocketUnit {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Two key parts of master key number `key`.
fn parts(key: u8) -> [[u8; 32]; 2] {
    [[key; 32], [0x5a; 32]]
}

impl SocketUnit {
    /// A unit in imprint mode. It waits before a command named `Reencipher` until `reenciphers` allows one more.
    pub(crate) fn start(folder: &Path, number: u16, reenciphers: &watch::Sender<usize>) -> Self {
        let socket = folder.join(format!("unit-{number}.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        let unit = Arc::new(Mutex::new(TestUnit::imprint(u8::try_from(number).unwrap())));
        let (serving, allowed) = (Arc::clone(&unit), reenciphers.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, Arc::clone(&serving), allowed.clone()));
            }
        });
        Self { number, socket, unit, task: task.abort_handle() }
    }

    pub(crate) fn entry(&self) -> UnitEntry {
        UnitEntry::new(self.number, format!("az{}", self.number), &self.socket, self.id())
    }

    fn id(&self) -> UnitId {
        self.unit.lock().unwrap().status().unit
    }

    /// Installs the administrator and leaves imprint mode.
    pub(crate) fn secure(&self) {
        *self.unit.lock().unwrap() = TestUnit::secured(u8::try_from(self.number).unwrap());
    }

    /// Loads and commits a master key.
    pub(crate) fn prepare(&self, key: u8) -> VerificationPattern {
        let mut unit = self.unit.lock().unwrap();
        let pattern = unit.load(&parts(key));
        unit.administer(AdminCommand::CommitNew, pattern.as_bytes()).unwrap();
        pattern
    }

    /// Activates the master key that was prepared.
    pub(crate) fn activate(&self, _key: u8) {
        let mut unit = self.unit.lock().unwrap();
        let unit_api::NewRegister::FullCommitted(pattern) = unit.status().new else {
            panic!("not committed")
        };
        unit.administer(AdminCommand::ActivateNew, pattern.as_bytes()).unwrap();
    }
}

async fn serve(mut stream: UnixStream, unit: Arc<Mutex<TestUnit>>, reenciphers: watch::Sender<usize>) {
    let mut allowed = reenciphers.subscribe();
    let mut frame = vec![0; FRAME_HEADER_LEN + MAX_FRAME_LEN];
    let mut header = [0; FRAME_HEADER_LEN];
    while stream.read_exact(&mut header).await.is_ok() {
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(header)).unwrap()];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let request = decode_request(&body).unwrap();
        if request.envelope.command.name() == "Reencipher" {
            let mut taken = false;
            while !taken {
                if allowed.wait_for(|allowed| *allowed > 0).await.is_err() {
                    return;
                }
                reenciphers.send_modify(|allowed| {
                    taken = *allowed > 0;
                    *allowed = allowed.saturating_sub(1);
                });
            }
        }
        let len = {
            let mut unit = unit.lock().unwrap();
            let result = unit.execute(request.envelope.command);
            encode_reply(&Reply { number: request.number, result }, &mut frame).unwrap()
        };
        if stream.write_all(&frame[..len]).await.is_err() {
            return;
        }
    }
}
