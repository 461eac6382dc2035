//! Whether a connection that is forwarded has a request under way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The client's end of a connection: notes in which direction bytes went last.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

/// What is known of a connection without reading what it carries.
pub(super) struct Activity {
    began: Instant,
    /// Whether bytes came from the client since the last ones that went to it.
    awaits_answer: AtomicBool,
    /// When bytes went either way last, in milliseconds since `began`.
    last_ms: AtomicU64,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S) -> (Self, Arc<Activity>) {
        let activity = Arc::new(Activity {
            began: Instant::now(),
            awaits_answer: AtomicBool::new(false),
            last_ms: AtomicU64::new(0),
        });
        (Self { stream, activity: Arc::clone(&activity) }, activity)
    }
}

impl Activity {
    fn note(&self, awaits_answer: bool) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
        self.awaits_answer.store(awaits_answer, Ordering::Release);
    }

    /// Whether the last bytes went to the client, and none went either way for this time: the client waits for nothing.
    pub(super) fn is_idle_for(&self, pause: Duration) -> bool {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        !self.awaits_answer.load(Ordering::Acquire) && self.began.elapsed().saturating_sub(last) >= pause
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        if into.filled().len() > before {
            self.activity.note(true);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        match polled {
            Poll::Ready(Ok(written)) if written > 0 => self.activity.note(false),
            // The client is slow to take its answer, the rest of which is here.
            Poll::Pending => self.activity.note(true),
            Poll::Ready(_) => {}
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::Watched;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::advance;

    const PAUSE: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_its_answer_is_through() {
        let (mut client, forwarded) = tokio::io::duplex(64);
        let (mut watched, activity) = Watched::new(forwarded);
        assert!(!activity.is_idle_for(PAUSE), "a new one has had no time for a request");
        advance(PAUSE).await;
        assert!(activity.is_idle_for(PAUSE));
        client.write_all(b"request").await.unwrap();
        watched.read_exact(&mut [0; 7]).await.unwrap();
        advance(PAUSE * 100).await;
        assert!(!activity.is_idle_for(PAUSE), "the answer may take as long as it likes");
        watched.write_all(b"half").await.unwrap();
        assert!(!activity.is_idle_for(PAUSE), "more of the answer may follow");
        advance(PAUSE).await;
        assert!(activity.is_idle_for(PAUSE));
        // More than the client takes at once.
        let rest = tokio::spawn(async move { watched.write_all(&[7; 100]).await.unwrap() });
        tokio::task::yield_now().await;
        advance(PAUSE * 100).await;
        assert!(!activity.is_idle_for(PAUSE), "the client has yet to take the rest");
        client.read_exact(&mut [0; 104]).await.unwrap();
        rest.await.unwrap();
        advance(PAUSE).await;
        assert!(activity.is_idle_for(PAUSE));
    }
}
