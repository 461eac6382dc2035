//! Arbitrary bytes as a stream of frames, and as the body of a request and of a reply.

use unit_api::{
    CodecError, FRAME_HEADER_LEN, MAX_FRAME_LEN, decode_reply, decode_request, encode_reply, encode_request,
    split_frame,
};

/// Panics if a decoder panics, or if the decoded message does not correspond to the bytes.
pub(crate) fn check(data: &[u8]) {
    stream(data);
    body(data);
}

/// Reads consecutive frames up to the first incomplete one.
fn stream(data: &[u8]) {
    let mut rest = data;
    loop {
        let announced = rest.first_chunk().map(|header| u32::from_be_bytes(*header));
        let limit = u32::try_from(MAX_FRAME_LEN).unwrap();
        match split_frame(rest) {
            Ok(Some((inside, behind))) => {
                assert_eq!(announced, u32::try_from(inside.len()).ok());
                assert!(inside.len() <= MAX_FRAME_LEN, "a frame above the limit");
                assert_eq!([&rest[..FRAME_HEADER_LEN], inside, behind].concat(), rest, "bytes went astray");
                body(inside);
                rest = behind;
            }
            Ok(None) => {
                let missing = announced.is_none_or(|len| {
                    len <= limit && rest.len() - FRAME_HEADER_LEN < usize::try_from(len).unwrap()
                });
                return assert!(missing, "a frame that is there was not seen");
            }
            Err(error) => {
                assert_eq!(Some(error), announced.map(|announced| CodecError::TooLong { announced }));
                return assert!(announced > Some(limit), "a frame within the limit was refused");
            }
        }
    }
}

fn body(body: &[u8]) {
    if body.len() > MAX_FRAME_LEN {
        return;
    }
    settles(body, |bytes, frame| {
        Some(encode_request(&decode_request(bytes).ok()?, frame).expect("what was decoded fits where it was"))
    });
    settles(body, |bytes, frame| {
        Some(encode_reply(&decode_reply(bytes).ok()?, frame).expect("what was decoded fits where it was"))
    });
}

/// Postcard accepts numbers that are longer than necessary, so that a message has several encodings. Encoding a decoded
/// message gives the shortest one, which equals the input if it has the same length; encoding is then stable.
fn settles(body: &[u8], decode_and_encode: impl Fn(&[u8], &mut [u8]) -> Option<usize>) {
    let mut frame = vec![0; FRAME_HEADER_LEN + body.len()];
    let Some(len) = decode_and_encode(body, &mut frame) else { return };
    let shortest = frame[FRAME_HEADER_LEN..len].to_vec();
    assert!(shortest.len() < body.len() || shortest == body, "a message of one length has two forms");
    let again = decode_and_encode(&shortest, &mut frame).expect("what was written decodes");
    assert_eq!(frame[FRAME_HEADER_LEN..again], shortest, "a message changed when it was written again");
    let longer = [&shortest[..], &[0]].concat();
    for other in [&longer[..], &shortest[..shortest.len() - 1]] {
        assert_eq!(decode_and_encode(other, &mut frame), None, "a message ends where it does not");
    }
}
