//! Frames: a length in four bytes, then as many bytes.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// For the other end to take a frame. Also the longest time that a dead connection holds up its sender.
const WRITE_TIME: Duration = Duration::from_secs(5);

/// Sends one frame.
pub(super) async fn write_frame(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    timeout(WRITE_TIME, async {
        to.write_all(&len.to_be_bytes()).await?;
        to.write_all(bytes).await?;
        to.flush().await
    })
    .await?
}

/// Receives one frame of at most `max` bytes; its end must come within `within`. The buffer is wiped when it is dropped.
pub(super) async fn read_frame(
    from: &mut (impl AsyncRead + Unpin),
    max: usize,
    within: Duration,
) -> io::Result<Zeroizing<Vec<u8>>> {
    timeout(within, async {
        let mut len = [0; 4];
        from.read_exact(&mut len).await?;
        let len = usize::try_from(u32::from_be_bytes(len)).map_err(io::Error::other)?;
        if len > max {
            let why = format!("a frame of {len} bytes is longer than {max}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let mut bytes = Zeroizing::new(vec![0; len]);
        from.read_exact(&mut bytes).await?;
        Ok(bytes)
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::{read_frame, write_frame};
    use std::time::Duration;

    #[tokio::test]
    async fn a_frame_arrives_as_it_was_sent() {
        let (mut a, mut b) = tokio::io::duplex(64);
        write_frame(&mut a, b"bytes").await.unwrap();
        assert_eq!(**read_frame(&mut b, 5, Duration::from_secs(5)).await.unwrap(), *b"bytes");
    }

    #[tokio::test]
    async fn a_long_frame_is_refused_before_its_bytes_are_read() {
        let (mut a, mut b) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut a, &u32::MAX.to_be_bytes()).await.unwrap();
        let refused = read_frame(&mut b, 4096, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidData);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_does_not_end_is_given_up() {
        let (mut a, mut b) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut a, &[0, 0, 0, 9, 1]).await.unwrap();
        let refused = read_frame(&mut b, 4096, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut);
    }
}
