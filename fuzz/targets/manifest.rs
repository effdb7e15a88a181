//! What a plugin says of itself, and its file: a manifest that is read is written and read again as the same; what is refused is sentences
//! without line breaks; bytes that are no component are refused before anything is compiled.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_api::manifest::Manifest;
use outrigger_sandbox::{Grants, Inspection};

fuzz_target!(|bytes: &[u8]| {
    match Manifest::read(bytes) {
        Ok(manifest) => {
            let again = serde_json::to_vec(&manifest).expect("it can be written");
            assert_eq!(Manifest::read(&again).expect("it can be read again"), manifest);
            Grants::asked(&manifest).expect("what is checked names capabilities");
        }
        Err(why) => assert!(!why.to_string().contains('\n'), "{why}"),
    }
    let inspected = |bytes: &[u8]| {
        if let Err(why) = Inspection::read(bytes) {
            assert!(!why.to_string().contains('\n'), "{why}");
        }
    };
    inspected(bytes);
    // The same behind a component's first bytes, so that chance gets further.
    inspected(&[b"\0asm\x0d\0\x01\0", bytes].concat());
});
