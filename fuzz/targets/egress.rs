//! Addresses and networks: whatever is judged good is public, however it was wrapped, and what reads as a network reads as itself.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use outrigger_egress::{Network, judge};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(network) = text.parse::<Network>()
    {
        assert_eq!(network.to_string().parse::<Network>(), Ok(network));
    }
    let Some((bytes, _)) = data.split_first_chunk::<16>() else { return };
    let v6 = Ipv6Addr::from(*bytes);
    if judge(IpAddr::V6(v6), &[]).is_ok() {
        assert!(!v6.is_loopback() && !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unique_local());
        if let Some(v4) = v6.to_ipv4_mapped() {
            assert!(judge(IpAddr::V4(v4), &[]).is_ok(), "{v6}");
        }
    }
    let v4 = Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
    let plain = judge(IpAddr::V4(v4), &[]).is_ok();
    if plain {
        assert!(!v4.is_private() && !v4.is_loopback() && !v4.is_link_local() && !v4.is_multicast() && !v4.is_broadcast());
    }
    assert_eq!(judge(IpAddr::V6(v4.to_ipv6_mapped()), &[]).is_ok(), plain, "{v4}");
});
