//! Accepting connections, so that strangers do not keep those out that can prove who they are.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

/// After the operating system has refused to accept a connection: too many files are open, most often.
const PAUSE: Duration = Duration::from_millis(20);

/// What happens to a connection that is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// It is closed.
    Refuse,
    /// The oldest connection of a stranger is closed in its place. If there is none, it is closed itself.
    ReplaceStranger,
}

/// Tells that the other end of a connection has proved who it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Arc<AtomicBool>);

impl Known {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Hands at most `limit` connections at once to `serve`, until `stopped`. Then they are all ended.
pub(super) async fn accept<F, E>(
    listener: TcpListener,
    (limit, when_full): (usize, WhenFull),
    stopped: impl Future<Output = ()> + Send,
    serve: impl Fn(TcpStream, Known) -> F,
) where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
{
    let mut connections = JoinSet::new();
    // Oldest first.
    let mut strangers: VecDeque<(Known, AbortHandle)> = VecDeque::new();
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stopped => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(%error, "no connection can be accepted; retrying");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        while connections.try_join_next().is_some() {}
        strangers.retain(|(known, task)| !known.is_set() && !task.is_finished());
        if connections.len() >= limit {
            let stranger = match when_full {
                WhenFull::Refuse => None,
                WhenFull::ReplaceStranger => strangers.pop_front(),
            };
            let Some((_, task)) = stranger else {
                debug!(%peer, limit, "a connection is refused: there are too many");
                continue;
            };
            task.abort();
        }
        let known = Known::default();
        let serving = serve(stream, known.clone());
        let task = connections.spawn(async move {
            if let Err(error) = serving.await {
                debug!(%peer, %error, "a connection has ended");
            }
        });
        strangers.push_back((known, task));
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, WhenFull, accept};
    use std::future::pending;
    use std::io;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    /// Greets, counts who says `k` as known, and answers what it is sent.
    async fn echo(mut stream: TcpStream, known: Known) -> io::Result<()> {
        stream.write_all(b"?").await?;
        loop {
            let byte = stream.read_u8().await?;
            if byte == b'k' {
                known.set();
            }
            stream.write_u8(byte).await?;
        }
    }

    async fn serve(when_full: WhenFull) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, (3, when_full), pending(), echo));
        address
    }

    /// A connection that is served; `None` if it is closed.
    async fn connect(address: std::net::SocketAddr) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.read_u8().await.ok()?;
        Some(stream)
    }

    async fn says(stream: &mut TcpStream, byte: u8) -> bool {
        stream.write_u8(byte).await.is_ok() && stream.read_u8().await.is_ok_and(|answer| answer == byte)
    }

    #[tokio::test]
    async fn attack_strangers_do_not_keep_a_known_peer_out() {
        let address = serve(WhenFull::ReplaceStranger).await;
        let mut known = connect(address).await.unwrap();
        assert!(says(&mut known, b'k').await);
        let mut strangers = Vec::new();
        for _ in 0..20 {
            strangers.push(connect(address).await.unwrap());
        }
        assert!(says(&mut known, b'a').await, "a known peer keeps its connection");
        let mut late = connect(address).await.unwrap();
        assert!(says(&mut late, b'k').await, "a late peer gets one");
        assert!(!says(&mut strangers[0], b'a').await, "the oldest stranger has none");
    }

    #[tokio::test]
    async fn known_peers_are_not_replaced() {
        let address = serve(WhenFull::ReplaceStranger).await;
        let mut peers = Vec::new();
        for _ in 0..3 {
            let mut peer = connect(address).await.unwrap();
            assert!(says(&mut peer, b'k').await);
            peers.push(peer);
        }
        assert!(connect(address).await.is_none());
        for peer in &mut peers {
            assert!(says(peer, b'a').await);
        }
        drop(peers.pop());
        while connect(address).await.is_none() {}
    }

    #[tokio::test]
    async fn clients_keep_their_connections() {
        let address = serve(WhenFull::Refuse).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(connect(address).await.unwrap());
        }
        assert!(connect(address).await.is_none());
        for client in &mut clients {
            assert!(says(client, b'a').await);
        }
    }
}
