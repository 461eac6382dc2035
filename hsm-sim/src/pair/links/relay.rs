//! A TCP relay that can stop carrying bytes, as a network does that drops packets.
//!
//! | while bytes are dropped | |
//! |---|---|
//! | a connection that exists | stays open and carries nothing in the directions that are cut |
//! | a new connection | is accepted and carries nothing |
//! | the end of a connection | is not passed on in the directions that are cut |
//!
//! Once both directions are open again, connections on which something was dropped are reset. Others go on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Connections of one relay at a time. More wait until one ends.
const MAX_CONNECTIONS: usize = 4096;
/// Bytes that are read at a time.
const CHUNK_LEN: usize = 16 * 1024;
/// Pause after a connection could not be accepted, for example because descriptors are exhausted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// In which directions bytes are carried, as seen by who opens connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// From who opened the connection to who accepted it.
    pub forth: bool,
    /// From who accepted the connection to who opened it.
    pub back: bool,
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Forth,
    Back,
}

/// A relay to one target. Dropped, it ends with its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    wiring: Wiring,
    task: JoinHandle<()>,
}

/// What the connections of a relay look at.
#[derive(Clone, Debug)]
struct Wiring {
    target: watch::Sender<Option<SocketAddr>>,
    passage: watch::Sender<Passage>,
    /// Number of connections on which something was dropped.
    stuck: watch::Sender<usize>,
}

impl Passage {
    /// Everything is carried.
    pub const OPEN: Self = Self { forth: true, back: true };

    const fn is_open(self, way: Way) -> bool {
        match way {
            Way::Forth => self.forth,
            Way::Back => self.back,
        }
    }
}

impl Way {
    const fn other(self) -> Self {
        match self {
            Self::Forth => Self::Back,
            Self::Back => Self::Forth,
        }
    }
}

impl Relay {
    /// A relay on a free port of the loopback interface, whose target is not known yet.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let wiring = Wiring {
            target: watch::Sender::new(None),
            passage: watch::Sender::new(Passage::OPEN),
            stuck: watch::Sender::new(0),
        };
        let task = tokio::spawn(accept(listener, wiring.clone()));
        Ok(Self { address, wiring, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets where new connections lead; without a target they are reset, as connections to a closed port are.
    pub fn set_target(&self, target: Option<SocketAddr>) {
        self.wiring.target.send_replace(target);
    }

    /// Sets what is carried, on new and on existing connections.
    pub fn set_passage(&self, passage: Passage) {
        self.wiring.passage.send_if_modified(|present| {
            let is_new = *present != passage;
            *present = passage;
            is_new
        });
    }

    /// The number of connections on which something was dropped and that will be reset.
    #[must_use]
    pub fn stuck(&self) -> watch::Receiver<usize> {
        self.wiring.stuck.subscribe()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, wiring: Wiring) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let client = tokio::select! {
            client = listener.accept() => client,
            Some(_) = connections.join_next() => continue,
        };
        match client {
            Ok((client, _)) => {
                let wiring = wiring.clone();
                connections.spawn(async move {
                    carry(client, wiring).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a relay could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Carries one connection until it has ended, or until it is reset.
async fn carry(mut client: TcpStream, wiring: Wiring) {
    let mut passage = wiring.passage.subscribe();
    // No connection comes about unless packets travel both ways.
    if *passage.borrow_and_update() != Passage::OPEN {
        wiring.stick(&mut passage).await;
        return reset(&client);
    }
    let target = *wiring.target.borrow();
    let connected = match target {
        Some(target) => TcpStream::connect(target).await,
        None => Err(io::ErrorKind::ConnectionRefused.into()),
    };
    let Ok(mut server) = connected else { return reset(&client) };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let broken = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let forth = pump(from_client, to_server, Way::Forth, wiring.clone());
        let back = pump(from_server, to_client, Way::Back, wiring);
        tokio::try_join!(forth, back).is_err()
    };
    if broken {
        reset(&client);
        reset(&server);
    }
}

/// The connection is to be reset.
struct Broken;

/// Carries bytes one way until their end, which is passed on.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way, wiring: Wiring) -> Result<(), Broken> {
    let mut passage = wiring.passage.subscribe();
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        // An error is returned by the read, too.
        let _ = from.readable().await;
        // What is not read fills the sender's buffers, as what is not acknowledged does.
        if !passage.borrow_and_update().is_open(way) {
            wiring.stick(&mut passage).await;
            return Err(Broken);
        }
        let len = from.read(&mut chunk).await.map_err(|_| Broken)?;
        let bytes = chunk.get(..len).unwrap_or_default();
        let written = if bytes.is_empty() { to.shutdown().await } else { to.write_all(bytes).await };
        if written.is_err() {
            // The receiver's reset comes the other way.
            if !passage.borrow_and_update().is_open(way.other()) {
                wiring.stick(&mut passage).await;
            }
            return Err(Broken);
        }
        if bytes.is_empty() {
            return Ok(());
        }
    }
}

impl Wiring {
    /// Waits until both ways are open.
    async fn stick(&self, passage: &mut watch::Receiver<Passage>) {
        self.stuck.send_modify(|stuck| *stuck += 1);
        let _ = passage.wait_for(|passage| *passage == Passage::OPEN).await;
        self.stuck.send_modify(|stuck| *stuck -= 1);
    }
}

/// Has the connection end with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests;
