//! Go durations, as `timeout` has them.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use outrigger_api::time::{go_duration, parse_go_duration};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        match parse_go_duration(text) {
            Ok(Some(duration)) => printed(duration),
            Ok(None) => {}
            Err(words) => assert!(words.contains("duration"), "{words}"),
        }
    }
    if let Some(eight) = bytes.first_chunk::<8>() {
        printed(Duration::from_nanos(u64::from_le_bytes(*eight) >> 1));
    }
});

fn printed(duration: Duration) {
    let text = go_duration(duration);
    let expected = (!duration.is_zero()).then_some(duration);
    assert_eq!(parse_go_duration(&text), Ok(expected), "{text}");
}
