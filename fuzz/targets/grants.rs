//! The grants file: what is read is written and read again as the same, no grant is more than was asked for, and what is refused is one
//! sentence. And hosts' patterns: what two of them have in common is what both match.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_sandbox::{Capability, Grants, GrantsFile, HostPattern};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match GrantsFile::read(text) {
        Ok(file) => {
            let again = serde_json::to_string(&file).expect("it can be written");
            assert_eq!(GrantsFile::read(&again).expect("it can be read again"), file);
            for plugin in file.plugins.keys() {
                let granted = Grants::from(&file.of(plugin));
                let effective = Grants::none().and(&granted);
                assert!(Capability::ALL.iter().all(|c| !c.needs_grant() || !effective.allows(*c)));
            }
        }
        Err(why) => assert!(!why.to_string().contains('\n'), "{why}"),
    }
    let mut words = text.split_whitespace();
    let (Some(a), Some(b), Some(host)) = (words.next(), words.next(), words.next()) else { return };
    if let (Ok(a), Ok(b)) = (a.parse::<HostPattern>(), b.parse::<HostPattern>()) {
        assert_eq!(a.to_string().parse(), Ok(a.clone()));
        for port in [80, 443, 8443] {
            let both = a.matches(host, port) && b.matches(host, port);
            assert_eq!(a.and(&b).is_some_and(|p| p.matches(host, port)), both, "{a} {b} {host}:{port}");
        }
    }
});
