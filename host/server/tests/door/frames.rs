//! HTTP/2 by hand, for clients that no library would be: frames as bytes (RFC 9113), headers without compression (RFC 7541).

/// The connection's first bytes, with empty settings.
pub(crate) fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(0x4, 0, 0, &[]));
    bytes
}

/// Any frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block: a method of the static table (2 is GET), a short path, and the rest of what a request needs.
pub(crate) fn block(method: u8, path: &str) -> Vec<u8> {
    let mut bytes = vec![0x80 | method, 0x87, 0x04, u8::try_from(path.len()).unwrap()];
    bytes.extend(path.as_bytes());
    bytes.extend([0x01, 9]);
    bytes.extend(b"localhost");
    bytes
}

/// A whole GET.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(0x1, 0x4 | 0x1, stream, &block(2, path))
}

/// Takes a stream back.
pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(0x3, 0, stream, &8_u32.to_be_bytes())
}
