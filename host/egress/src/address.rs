//! Which addresses a plugin's requests may go to: those of the public Internet, and what the operator named besides.
//!
//! The lists follow IANA's special-purpose registries (RFC 6890 and its updates). For IPv6 the question is turned around: only
//! 2000::/3 is global unicast, so whatever lies outside is refused without being listed. An IPv4 address inside an IPv6 one (mapped,
//! compatible, translated, NAT64, 6to4, Teredo) is judged as itself, since that is where the packet ends up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network that the operator allows though it is not public, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Not a network in CIDR notation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network such as 10.0.0.0/8, fd00::/8 or 10.1.2.3")]
pub struct BadNetwork(pub String);

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `0.0.0.0/8`, `::`.
    #[error("unspecified")]
    Unspecified,
    /// This machine.
    #[error("loopback")]
    Loopback,
    /// RFC 1918, unique local, site-local.
    #[error("private")]
    Private,
    /// `169.254.0.0/16`, `fe80::/10`.
    #[error("link-local")]
    LinkLocal,
    /// RFC 6598.
    #[error("shared (carrier-grade NAT)")]
    Shared,
    /// A cloud's metadata service.
    #[error("a metadata service's")]
    Metadata,
    /// Many receivers.
    #[error("multicast")]
    Multicast,
    /// Examples and benchmarks: never on the Internet.
    #[error("reserved for documentation or benchmarks")]
    Documentation,
    /// Anything else that is not on the Internet.
    #[error("reserved")]
    Reserved,
}

/// Where clouds keep what a machine may know of itself, credentials included. Only a network of exactly this address allows one.
const METADATA_4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    // Tasks' credentials on ECS.
    Ipv4Addr::new(169, 254, 170, 2),
    // Alibaba, in the shared range.
    Ipv4Addr::new(100, 100, 100, 200),
    // Azure's wire server: a public address that answers inside only.
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Whether requests may go to this address.
///
/// # Errors
/// Why not.
pub fn judge(address: IpAddr, allowed: &[Network]) -> Result<(), Refusal> {
    let inner = embedded(address);
    let named = |a: IpAddr, exactly: bool| allowed.iter().any(|n| n.contains(a) && (!exactly || n.is_one_address()));
    let why = match (address, inner) {
        (IpAddr::V4(a), _) => of_v4(a),
        (IpAddr::V6(_), Some(a)) => of_v4(a),
        (IpAddr::V6(a), None) => of_v6(a),
    };
    let Some(why) = why else { return Ok(()) };
    let exactly = why == Refusal::Metadata;
    if named(address, exactly) || inner.is_some_and(|a| named(IpAddr::V4(a), exactly)) {
        return Ok(());
    }
    Err(why)
}

/// The IPv4 address that an IPv6 one carries, as far as packets end up there.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match [a, b, c, d, e, f] {
        // ::/96 is IPv4-compatible, but :: and ::1 are themselves.
        [0, 0, 0, 0, 0, 0] if g != 0 || h > 1 => of(g, h),
        // Mapped, and translated (SIIT).
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] => of(g, h),
        // NAT64's well-known prefix.
        [0x64, 0xff9b, 0, 0, 0, 0] => of(g, h),
        // 6to4.
        [0x2002, high, low, ..] => of(high, low),
        // Teredo: the client's address, inverted.
        [0x2001, 0, ..] => of(!g, !h),
        _ => None,
    }
}

fn of_v4(address: Ipv4Addr) -> Option<Refusal> {
    if METADATA_4.contains(&address) {
        return Some(Refusal::Metadata);
    }
    Some(match address.octets() {
        [0, ..] => Refusal::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Refusal::Private,
        [100, 64..=127, ..] => Refusal::Shared,
        [127, ..] => Refusal::Loopback,
        [169, 254, ..] => Refusal::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..] => Refusal::Documentation,
        // Protocol assignments, and the relays of 6to4 that are gone.
        [192, 0, 0, _] | [192, 88, 99, _] => Refusal::Reserved,
        [224..=239, ..] => Refusal::Multicast,
        [240..=255, ..] => Refusal::Reserved,
        _ => return None,
    })
}

fn of_v6(address: Ipv6Addr) -> Option<Refusal> {
    if METADATA_6.contains(&address) {
        return Some(Refusal::Metadata);
    }
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Refusal::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Refusal::Loopback,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Refusal::Private,
        [0xfe80..=0xfebf, ..] => Refusal::LinkLocal,
        [0xff00..=0xffff, ..] => Refusal::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] | [0x2001, 2, 0, ..] => Refusal::Documentation,
        // IETF's own assignments (2001::/23): ORCHID, benchmarks, AMT.
        [0x2001, 0..=0x1ff, ..] => Refusal::Reserved,
        [0x2000..=0x3fff, ..] => return None,
        _ => Refusal::Reserved,
    })
}

// === impl Network ===

impl Network {
    /// Whether the address lies in it. Families are kept apart.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differs = match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(a)) => u128::from(u32::from(net) ^ u32::from(a)) << 96,
            (IpAddr::V6(net), IpAddr::V6(a)) => u128::from(net) ^ u128::from(a),
            _ => return false,
        };
        differs.leading_zeros() >= u32::from(self.bits)
    }

    fn is_one_address(&self) -> bool {
        self.bits == width(self.address)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadNetwork(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let bits = match bits {
            None => width(address),
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().map_err(|_| bad())?,
            Some(_) => return Err(bad()),
        };
        if bits > width(address) {
            return Err(bad());
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_judged() {
        use Refusal::*;
        for (address, want) in [
            ("93.184.215.14", None),
            ("1.1.1.1", None),
            ("172.15.255.255", None),
            ("172.32.0.0", None),
            ("100.63.255.255", None),
            ("100.128.0.0", None),
            ("0.0.0.0", Some(Unspecified)),
            ("0.1.2.3", Some(Unspecified)),
            ("10.0.0.1", Some(Private)),
            ("172.16.0.1", Some(Private)),
            ("172.31.255.255", Some(Private)),
            ("192.168.1.1", Some(Private)),
            ("100.64.0.1", Some(Shared)),
            ("127.0.0.1", Some(Loopback)),
            ("127.255.255.254", Some(Loopback)),
            ("169.254.1.1", Some(LinkLocal)),
            ("169.254.169.254", Some(Metadata)),
            ("100.100.100.200", Some(Metadata)),
            ("168.63.129.16", Some(Metadata)),
            ("192.0.0.192", Some(Reserved)),
            ("192.0.2.7", Some(Documentation)),
            ("198.18.0.1", Some(Documentation)),
            ("198.51.100.7", Some(Documentation)),
            ("203.0.113.7", Some(Documentation)),
            ("224.0.0.1", Some(Multicast)),
            ("240.0.0.1", Some(Reserved)),
            ("255.255.255.255", Some(Reserved)),
            ("2606:4700::1111", None),
            ("2a00:1450:4001::200e", None),
            ("::", Some(Unspecified)),
            ("::1", Some(Loopback)),
            ("fc00::1", Some(Private)),
            ("fd00:ec2::254", Some(Metadata)),
            ("fd20:ce::254", Some(Metadata)),
            ("fe80::1", Some(LinkLocal)),
            ("fec0::1", Some(Private)),
            ("ff02::1", Some(Multicast)),
            ("2001:db8::1", Some(Documentation)),
            ("3fff:1000::1", None),
            ("3fff:0fff::1", Some(Documentation)),
            ("2001:20::1", Some(Reserved)),
            ("100::1", Some(Reserved)),
            ("5f00::1", Some(Reserved)),
            ("64:ff9b:1::1", Some(Reserved)),
            ("4000::1", Some(Reserved)),
            // IPv4 inside IPv6, each way of putting it there.
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("::ffff:8.8.8.8", None),
            ("::127.0.0.1", Some(Loopback)),
            ("::ffff:0:10.0.0.1", Some(Private)),
            ("64:ff9b::169.254.169.254", Some(Metadata)),
            ("64:ff9b::8.8.8.8", None),
            ("2002:7f00:1::", Some(Loopback)),
            ("2002:a9fe:a9fe::1", Some(Metadata)),
            ("2002:808:808::1", None),
            ("2001:0:1:2:3:4:80ff:fffe", Some(Loopback)),
            ("2001:0:1:2:3:4:f7f7:f7f7", None),
        ] {
            assert_eq!(judge(ip(address), &[]).err(), want, "{address}");
        }
    }

    #[test]
    fn the_operator_names_networks() {
        let net = |text: &str| text.parse::<Network>().unwrap();
        for (address, allowed, want) in [
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.4", "10.1.2.3/32", false),
            ("127.0.0.1", "127.0.0.0/8", true),
            ("::1", "127.0.0.0/8", false),
            ("::ffff:127.0.0.1", "127.0.0.0/8", true),
            ("64:ff9b::a00:1", "10.0.0.0/8", true),
            ("192.168.0.1", "0.0.0.0/0", true),
            ("fd12::1", "fd00::/8", true),
            ("fd12::1", "::/0", true),
            // A wide network is no permission for what hands out credentials.
            ("169.254.169.254", "169.254.0.0/16", false),
            ("169.254.169.254", "0.0.0.0/0", false),
            ("169.254.169.254", "169.254.169.254/32", true),
            ("fd00:ec2::254", "fd00::/8", false),
        ] {
            assert_eq!(judge(ip(address), &[net(allowed)]).is_ok(), want, "{address} in {allowed}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::/129",
            "a/8",
            "10.0.0.0/8/8",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    proptest! {
        /// However an IPv4 address is wrapped, the verdict is that of the address.
        #[test]
        fn wrapping_changes_nothing(bits: u32, server: u32, port: u16) {
            let v4 = Ipv4Addr::from(bits);
            let plain = judge(IpAddr::V4(v4), &[]).err();
            let [high, low] = [(bits >> 16) as u16, bits as u16];
            let mut forms = vec![
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, port),
                Ipv6Addr::new(0x2001, 0, (server >> 16) as u16, server as u16, 0, port, !high, !low),
            ];
            if bits > 1 {
                forms.push(Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low));
            }
            for form in forms {
                prop_assert_eq!(judge(IpAddr::V6(form), &[]).err(), plain, "{}", form);
            }
        }

        /// What the standard library knows to be special is never reached.
        #[test]
        fn nothing_special_is_reached(bits: u128) {
            let v6 = Ipv6Addr::from(bits);
            if judge(IpAddr::V6(v6), &[]).is_ok() {
                prop_assert!(!v6.is_loopback() && !v6.is_multicast() && !v6.is_unspecified());
                prop_assert!(!v6.is_unique_local() && !v6.is_unicast_link_local());
            }
            let v4 = Ipv4Addr::from(bits as u32);
            if judge(IpAddr::V4(v4), &[]).is_ok() {
                prop_assert!(!v4.is_private() && !v4.is_loopback() && !v4.is_link_local() && !v4.is_broadcast());
                prop_assert!(!v4.is_multicast() && !v4.is_documentation() && !v4.is_unspecified());
            }
        }

        /// A network contains what shares its first bits, and nothing else; its text form reads as itself.
        #[test]
        fn networks_contain_by_prefix(net: u32, bits in 0u8..=32, other: u32) {
            let network: Network = format!("{}/{bits}", Ipv4Addr::from(net)).parse().unwrap();
            let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
            prop_assert_eq!(network.contains(IpAddr::V4(other.into())), net & mask == other & mask);
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
        }
    }
}
