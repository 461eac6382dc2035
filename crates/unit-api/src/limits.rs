//! Named limits: whatever could grow has one.

/// Longest frame body, in bytes; a longer one is refused before a byte of it is read.
pub const MAX_FRAME_LEN: usize = 64 * 1024;
/// Longest data or associated data of one command, in bytes; the two together fit a frame.
pub const MAX_DATA_LEN: usize = 48 * 1024;
/// Longest key blob, in bytes.
pub const MAX_BLOB_LEN: usize = 256;
/// Most random bytes of one command.
pub const MAX_RANDOM_LEN: usize = 4096;
/// Most parts a master key is combined from; the fewest is 2.
pub const MAX_KEY_PARTS: usize = 3;
/// Most requests that may be under way on one connection.
pub const MAX_PIPELINED: usize = 256;
