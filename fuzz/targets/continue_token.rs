//! Continue tokens: what is taken was made, or could have been, and never leads out of what is listed.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use outrigger_api::continue_token::ContinueToken;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text);
        // Behind a name, as the host makes them: a key is a path of names.
        let name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if text.split('/').count() <= 2 && text.split('/').all(name) {
            let token = ContinueToken::behind(text, 7);
            assert_eq!(ContinueToken::decode(&token.encode()), Ok(token));
        }
    }
    // The document itself, so that chance need not find base64 first.
    read(&URL_SAFE_NO_PAD.encode(bytes));
});

fn read(text: &str) {
    match ContinueToken::decode(text) {
        Ok(token) => {
            assert!(!token.start.starts_with('/') && !token.start.is_empty(), "{token:?}");
            assert!(!token.start.split('/').any(|part| [".", ".."].contains(&part)), "{token:?}");
            assert_eq!(ContinueToken::decode(&token.encode()), Ok(token));
        }
        Err(status) => assert_eq!(status.code, 400, "{status:?}"),
    }
}
