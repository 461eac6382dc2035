//! The sending end of replication.

use super::frames::write_frame;
use super::site::Region;
use kms::replica::{Source, SourceOptions, SourcePosition};
use std::io;
use std::sync::Weak;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tracing::info;

/// Sends the changes of this region's store until the connection ends.
pub(super) async fn replicate(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    region: &Weak<Region>,
    from: Option<SourcePosition>,
) -> io::Result<()> {
    let mut source = {
        let Some(region) = region.upgrade() else { return Ok(()) };
        let options = SourceOptions::default().with_clock(region.clock());
        info!(partner = %region.settings.partner.name, has_position = from.is_some(), "the other region follows");
        Source::new(region.store(), from, options)
    };
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut nothing = [0; 1];
    loop {
        let event = tokio::select! {
            event = source.next() => event.map_err(io::Error::other)?,
            // The other end sends nothing: it has closed the connection, or is broken.
            _ = reading.read(&mut nothing) => return Ok(()),
        };
        if region.strong_count() == 0 {
            return Ok(());
        }
        write_frame(&mut writing, &event.encode()).await?;
    }
}
