//! Kubernetes names for things that were named without Kubernetes in mind.
//!
//! A name that is already valid stays. Any other gets a hash of the original, so that two different things never
//! share a name by being cleaned, and one thing keeps its name whatever stands beside it.

/// A DNS label: names of containers and of pods made from programs.
#[must_use]
pub fn label(raw: &str) -> String {
    fit(raw, 63, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// A DNS subdomain: names of nodes, and of pods made from slices (`system.slice`).
#[must_use]
pub fn subdomain(raw: &str) -> String {
    if !raw.is_empty() && raw.len() <= 253 && raw.split('.').all(|part| label(part) == part) {
        return raw.to_owned();
    }
    label(raw)
}

/// A stable UUID for a thing: the same for the same parts on the same boot.
#[must_use]
pub fn uid(parts: &[&str]) -> String {
    let joined = parts.join("\0");
    let (high, low) = (
        fnv(joined.as_bytes(), 0xcbf2_9ce4_8422_2325),
        fnv(joined.as_bytes(), 0x9e37_79b9_7f4a_7c15),
    );
    // Version 8 (of one's own making), variant 1.
    format!(
        "{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}

fn fit(raw: &str, longest: usize, allowed: impl Fn(char) -> bool) -> String {
    let edges_fit = !raw.starts_with('-') && !raw.ends_with('-');
    if !raw.is_empty() && raw.len() <= longest && edges_fit && raw.chars().all(&allowed) {
        return raw.to_owned();
    }
    let clean: String = raw
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if allowed(c) { c } else { '-' })
        .collect();
    let short: String = clean.trim_matches('-').chars().take(longest - 9).collect();
    let short = if short.is_empty() { "x" } else { short.trim_end_matches('-') };
    format!("{short}-{:08x}", fnv(raw.as_bytes(), 0xcbf2_9ce4_8422_2325) >> 32)
}

/// FNV-1a: stable over releases, which std's hashers do not promise.
fn fnv(bytes: &[u8], seed: u64) -> u64 {
    // The last steps spread the last bytes over the high half, which FNV alone does not.
    let hash = bytes
        .iter()
        .fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_valid_stays() {
        for raw in ["rustc", "a", "kube-proxy", "0", &"a".repeat(63)] {
            assert_eq!(label(raw), raw);
        }
        for raw in ["system.slice", "node-1.example.com"] {
            assert_eq!(subdomain(raw), raw);
        }
    }

    #[test]
    fn what_is_not_becomes_valid_and_stays_apart() {
        let raw = [
            "ssh.service",
            "ssh-service",
            "ssh_service",
            "SSH.service",
            "(sd-pam)",
            "sd-pam",
            "",
            "-",
            "--",
            "ä",
            "ö",
            "-a",
            "a-",
            "tokio-runtime-w",
            "Web Content",
            "Web_Content",
            "a.b",
            "a..b",
            "user@1000.service",
            &"a".repeat(64),
            &"a".repeat(65),
            &format!("{}-b", "a".repeat(61)),
            &"é".repeat(200),
            "..",
        ];
        let (mut labels, mut subdomains) = (BTreeSet::new(), BTreeSet::new());
        for raw in raw {
            let valid = |s: &str| {
                !s.is_empty()
                    && s.len() <= 63
                    && !s.starts_with('-')
                    && !s.ends_with('-')
                    && s.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            };
            let (l, s) = (label(raw), subdomain(raw));
            assert!(valid(&l), "{raw:?} → {l:?}");
            assert!(s.len() <= 253 && s.split('.').all(valid), "{raw:?} → {s:?}");
            assert!(labels.insert(l), "{raw:?}");
            assert!(subdomains.insert(s), "{raw:?}");
            assert_eq!(label(raw), label(raw));
        }
    }

    #[test]
    fn uids_are_stable_distinct_and_of_the_form_of_a_uuid() {
        let one = uid(&["boot", "ns", "name"]);
        assert_eq!(one, uid(&["boot", "ns", "name"]));
        assert_ne!(one, uid(&["boot", "nsname", ""]));
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{one}");
        assert_eq!(&one[14..15], "8");
        assert!("89ab".contains(&one[19..20]), "{one}");
    }
}
