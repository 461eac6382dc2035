//! Frames: a length in four bytes, big-endian, and that many bytes of postcard.

use crate::{MAX_FRAME_LEN, Reply, Request};
use core::fmt;

/// Bytes of a frame before its body.
pub const FRAME_HEADER_LEN: usize = 4;

/// Why bytes are no frame, or a message makes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// The length announced is above the limit.
    TooLong {
        /// What was announced, in bytes.
        announced: u32,
    },
    /// The body does not decode, or something follows what it decodes to.
    Malformed,
    /// The message does not fit the buffer.
    NoRoom,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { announced } => {
                write!(f, "a frame of {announced} bytes was announced; the limit is {MAX_FRAME_LEN}")
            }
            Self::Malformed => f.write_str("the frame's body does not decode"),
            Self::NoRoom => f.write_str("the message does not fit a frame"),
        }
    }
}

impl core::error::Error for CodecError {}

/// A frame's body, and the bytes after the frame.
pub type Split<'a> = (&'a [u8], &'a [u8]);

/// The first whole frame; `None` while more bytes are needed.
///
/// # Errors
/// [`CodecError::TooLong`] as soon as the four length bytes are there: no caller waits, or makes room, for more.
pub fn split_frame(bytes: &[u8]) -> Result<Option<Split<'_>>, CodecError> {
    let Some((header, rest)) = bytes.split_first_chunk::<FRAME_HEADER_LEN>() else { return Ok(None) };
    let announced = u32::from_be_bytes(*header);
    match usize::try_from(announced) {
        Ok(len) if len <= MAX_FRAME_LEN => Ok(rest.split_at_checked(len)),
        _ => Err(CodecError::TooLong { announced }),
    }
}

/// Writes a request as one frame and returns the frame's length.
///
/// # Errors
/// [`CodecError::NoRoom`] when the frame does not fit `frame`, or its body is above the limit.
pub fn encode_request(request: &Request<'_>, frame: &mut [u8]) -> Result<usize, CodecError> {
    encode(request, frame)
}

/// Writes a reply as one frame and returns the frame's length.
///
/// # Errors
/// As [`encode_request`].
pub fn encode_reply(reply: &Reply<'_>, frame: &mut [u8]) -> Result<usize, CodecError> {
    encode(reply, frame)
}

/// The request in a frame's body.
///
/// # Errors
/// [`CodecError::Malformed`].
pub fn decode_request(body: &[u8]) -> Result<Request<'_>, CodecError> {
    decode(body)
}

/// The reply in a frame's body.
///
/// # Errors
/// [`CodecError::Malformed`].
pub fn decode_reply(body: &[u8]) -> Result<Reply<'_>, CodecError> {
    decode(body)
}

fn encode<T: serde::Serialize>(message: &T, frame: &mut [u8]) -> Result<usize, CodecError> {
    let (header, body) = frame.split_first_chunk_mut::<FRAME_HEADER_LEN>().ok_or(CodecError::NoRoom)?;
    let len = postcard::to_slice(message, body).map_err(|_| CodecError::NoRoom)?.len();
    match u32::try_from(len) {
        Ok(announced) if len <= MAX_FRAME_LEN => *header = announced.to_be_bytes(),
        _ => return Err(CodecError::NoRoom),
    }
    Ok(FRAME_HEADER_LEN + len)
}

fn decode<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(CodecError::Malformed),
    }
}
