//! The sending end of replication.

use super::codec::position_from_wire;
use super::frames::{read_frame, write_frame};
use super::site::Region;
use kms::replica::{Source, SourceOptions, SourcePosition};
use std::io;
use std::sync::Weak;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::info;
use wire::region::{Applied, MAX_MESSAGE_LEN, decode};

/// Between two messages of the other end, which answers at least each report of the newest revision, one each second. The
/// page of a copy takes longer on a slow disk.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Sends the changes of this region's store until the connection ends.
pub(super) async fn replicate(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    region: &Weak<Region>,
    from: Option<SourcePosition>,
) -> io::Result<()> {
    let source = {
        let Some(region) = region.upgrade() else { return Ok(()) };
        let options = SourceOptions::default().with_clock(region.clock());
        info!(partner = %region.settings.partner.name, has_position = from.is_some(), "the other region follows");
        region.partner.follows(from);
        Source::new(region.store(), from, options)
    };
    let (reading, writing) = tokio::io::split(stream);
    let ended = tokio::select! {
        ended = note_applied(reading, region) => ended,
        ended = send(source, writing, region) => ended,
    };
    if let Some(region) = region.upgrade() {
        region.partner.has_left();
    }
    ended
}

async fn send(
    mut source: Source<crate::node::Store>,
    mut writing: impl AsyncWrite + Unpin,
    region: &Weak<Region>,
) -> io::Result<()> {
    loop {
        let event = source.next().await.map_err(io::Error::other)?;
        if region.strong_count() == 0 {
            return Ok(());
        }
        write_frame(&mut writing, &event.encode()).await?;
    }
}

/// Takes notice of what the other end has applied.
async fn note_applied(mut reading: impl AsyncRead + Unpin, region: &Weak<Region>) -> io::Result<()> {
    loop {
        let frame = read_frame(&mut reading, MAX_MESSAGE_LEN, IDLE_TIME).await?;
        let Applied { at } = decode(&frame).map_err(io::Error::other)?;
        let at =
            at.map(|at| position_from_wire(&at).ok_or_else(|| io::Error::other("a position that is none")));
        let at = at.transpose()?;
        let Some(region) = region.upgrade() else { return Ok(()) };
        region.partner.has(at);
    }
}
