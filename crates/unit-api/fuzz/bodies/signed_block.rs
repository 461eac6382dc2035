//! Decodes arbitrary bytes as each structure of the administrative commands. Bytes that decode must encode to the same
//! bytes, so that bytes around a signature cannot be altered without invalidating it.

use unit_api::admin::{
    AUDIT_RECORD_LEN, AdminBlock, AdminRefusal, AdminRequest, AdminResponse, AdminResponseBlock,
    AdministratorEntries, Attributes, AuditChain, AuditRecord, ControlPoints, DomainInfo, ExportTarget,
    ImporterKey, KeyPartInput, Malformed, NoRoom, SignerInfo, SignerInfos,
};

/// Maximum nesting of structures: an export target contains a response, which contains a block, which contains an output.
const DEPTH: usize = 5;

/// Panics if a decoder panics, or if accepted bytes are encoded differently.
pub(crate) fn check(data: &[u8]) {
    everything(data, DEPTH);
}

fn everything(data: &[u8], depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for inside in [
        request(data),
        response(data),
        block(data),
        response_block(data),
        export_target(data),
        key_part_input(data),
    ] {
        inside.into_iter().for_each(|field| everything(field, depth));
    }
    stretch(data);
    signers(data);
    one_form(data, DomainInfo::decode(data), |info, out| info.encode(out));
    one_form(data, ImporterKey::decode(data), |key, out| key.encode(out));
    one_form(data, AuditChain::decode(data), |chain, out| {
        AuditChain::encode(&chain.before, chain.records(), out)
    });
    same(data, Attributes::from_bytes(data).map(|attributes| attributes.to_bytes()));
    same(data, ControlPoints::from_bytes(data).map(ControlPoints::to_bytes));
    same(
        data,
        AdministratorEntries::decode(data)
            .map(|entries| entries.iter().flat_map(|entry| entry.to_bytes()).collect::<Vec<_>>()),
    );
    if let Ok(record) = <&[u8; AUDIT_RECORD_LEN]>::try_from(data) {
        same(data, AuditRecord::from_bytes(record).map(|record| record.to_bytes()));
    }
}

/// Checks that a decoded structure encodes to the same bytes in a buffer of that length, and not in a shorter one.
fn one_form<T>(
    data: &[u8],
    decoded: Result<T, Malformed>,
    encode: impl for<'o> Fn(&T, &'o mut [u8]) -> Result<&'o [u8], NoRoom>,
) -> Option<T> {
    let decoded = decoded.ok()?;
    let mut out = vec![0; data.len()];
    assert_eq!(
        encode(&decoded, &mut out),
        Ok(data),
        "the decoder accepts bytes that the encoder does not write"
    );
    if let Some((_, short)) = out.split_first_mut() {
        assert_eq!(encode(&decoded, short), Err(NoRoom), "the encoder wrote beyond its buffer");
    }
    Some(decoded)
}

fn same(data: &[u8], written: Result<impl AsRef<[u8]>, Malformed>) {
    if let Ok(written) = written {
        assert_eq!(written.as_ref(), data, "the decoder accepts bytes that the encoder does not write");
    }
}

fn request(data: &[u8]) -> Vec<&[u8]> {
    let Some(request) = one_form(data, AdminRequest::decode(data), |it, out| it.encode(out)) else {
        return Vec::new();
    };
    assert_eq!(request.decode_block(), AdminBlock::decode(request.block));
    vec![request.block, request.signatures]
}

fn response(data: &[u8]) -> Vec<&[u8]> {
    let Some(response) = one_form(data, AdminResponse::decode(data), |it, out| it.encode(out)) else {
        return Vec::new();
    };
    assert_eq!(response.signer(), SignerInfo::decode(response.signature));
    vec![response.block, response.signature]
}

fn block(data: &[u8]) -> Vec<&[u8]> {
    let block = one_form(data, AdminBlock::decode(data), |it, out| it.encode(out));
    block.map(|block| block.input).into_iter().collect()
}

fn response_block(data: &[u8]) -> Vec<&[u8]> {
    let block = one_form(data, AdminResponseBlock::decode(data), |it, out| it.encode(out));
    let Some(block) = block else { return Vec::new() };
    match block.result() {
        Ok(output) => assert_eq!((output, block.return_code), (block.output, 0)),
        Err(refusal) => {
            assert_ne!(refusal.return_code, 0, "a command that was carried out was taken for refused");
            if let Some(error) = refusal.unit_error() {
                assert_eq!(AdminRefusal::of(error), refusal);
            }
        }
    }
    vec![block.output]
}

fn export_target(data: &[u8]) -> Vec<&[u8]> {
    let target = one_form(data, ExportTarget::decode(data), |it, out| it.encode(out));
    target.map_or_else(Vec::new, |target| vec![target.response, target.certificate])
}

fn key_part_input(data: &[u8]) -> Vec<&[u8]> {
    let input = KeyPartInput::decode(data).map_err(|_| Malformed);
    match one_form(data, input, |it, out| it.encode(out)) {
        Some(KeyPartInput::Part { sealed, .. }) => vec![sealed],
        Some(KeyPartInput::Export { response, certificate }) => vec![response, certificate],
        None => Vec::new(),
    }
}

/// Decodes consecutive requests, as in the parts of an import.
fn stretch(data: &[u8]) {
    let mut rest = data;
    while let Ok((first, behind)) = AdminRequest::decode_first(rest) {
        assert!(behind.len() < rest.len(), "a request of no length");
        let len = rest.len() - behind.len();
        assert_eq!(AdminRequest::decode(&rest[..len]), Ok(first), "a request is another one on its own");
        rest = behind;
    }
}

/// Decodes consecutive signatures, and a single one.
fn signers(data: &[u8]) {
    one_form(data, SignerInfo::decode(data), |it, out| it.encode(out));
    let all: Vec<_> = SignerInfos::new(data).collect();
    assert!(all.iter().rev().skip(1).all(Result::is_ok), "the list went on behind a broken signature");
    let Ok(all) = all.into_iter().collect::<Result<Vec<_>, _>>() else { return };
    let mut out = vec![0; data.len()];
    // Only an oversized signature does not fit into the encoder's buffer.
    if let Ok(written) = SignerInfos::encode(&all, &mut out) {
        assert_eq!(written, data, "the decoder accepts signatures that the encoder does not write");
    } else {
        assert!(all.iter().any(|signer| signer.signature.len() > 400), "signatures were not written");
    }
}
