//! Addresses and CIDRs: which are valid and which are frowned upon (`k8s.io/apimachinery/pkg/util/validation`).
//!
//! Fields that are older than the strict rules take what is valid but not in canonical form, and keep what they hold already.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::object::field::{Errors, Path};

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address, its octets perhaps with leading zeros. One of IPv4 in the clothes of IPv6 counts as IPv4.
pub(crate) fn parse(text: &str) -> Option<IpAddr> {
    Some(parse_as_written(text)?.to_canonical())
}

fn parse_as_written(text: &str) -> Option<IpAddr> {
    match text.rsplit_once(':') {
        None => octets(text).map(IpAddr::V4),
        Some((head, tail)) if tail.contains('.') => {
            let tail = octets(tail)?;
            let address: Ipv6Addr = format!("{head}:{tail}").parse().ok()?;
            Some(address.into())
        }
        Some(_) => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
    }
}

fn octets(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() {
            0
        } else {
            digits.parse().ok()?
        };
    }
    parts.next().is_none().then(|| octets.into())
}

/// Whether the text is an address of IPv6.
pub(crate) fn is_v6(text: &str) -> bool {
    parse(text).is_some_and(|address| address.is_ipv6())
}

/// A range of addresses, and the address it was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address = parse_as_written(address)?;
        if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let bits: u8 = bits.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Self { address, bits })
    }
    pub(crate) fn is_v6(self) -> bool {
        self.address.is_ipv6()
    }
    pub(crate) fn bits(self) -> u8 {
        self.bits
    }
    /// The first address of the range.
    pub(crate) fn network(self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let shift = 32 - u32::from(self.bits);
                let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
                Ipv4Addr::from(u32::from(address) & mask).into()
            }
            IpAddr::V6(address) => {
                let shift = 128 - u32::from(self.bits);
                let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
                Ipv6Addr::from(u128::from(address) & mask).into()
            }
        }
    }
    /// Whether `address` lies in the range.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let other = Self {
            address,
            bits: self.bits,
        };
        address.is_ipv4() == self.address.is_ipv4() && other.network() == self.network()
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network().to_canonical(), self.bits)
    }
}

/// What is wrong with an address whatever its form.
fn address_problem(text: &str) -> Option<&'static str> {
    match parse_as_written(text) {
        None => Some(NO_ADDRESS),
        Some(_) if text.parse::<IpAddr>().is_err() => Some("must not have leading 0s"),
        Some(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            Some("must not be an IPv4-mapped IPv6 address")
        }
        Some(_) => None,
    }
}

fn cidr_problem(text: &str) -> Option<&'static str> {
    let Some(cidr) = Cidr::parse(text) else {
        return Some(NO_CIDR);
    };
    let (address, bits) = text.split_once('/').unwrap_or_default();
    let zeros = bits.len() > 1 && bits.starts_with('0');
    if zeros || address.parse::<IpAddr>().is_err() {
        return Some("must not have leading 0s in IP or prefix length");
    }
    if cidr.address.to_canonical() != cidr.address {
        return Some("must not have an IPv4-mapped IPv6 address");
    }
    (cidr.network() != cidr.address).then_some("must not have bits set beyond the prefix length")
}

/// An address in a field that is older than the strict rules. What it held before, `kept`, stays allowed. Whether it is valid.
pub(crate) fn address(text: &str, kept: &[&str], path: &Path, errors: &mut Errors) -> bool {
    let problem = address_problem(text).filter(|_| !kept.contains(&text));
    if let Some(problem) = problem {
        errors.invalid(path.clone(), text, problem);
    }
    problem.is_none()
}

/// A CIDR in a field that is older than the strict rules; as [`address`].
pub(crate) fn cidr(text: &str, kept: &[&str], path: &Path, errors: &mut Errors) -> bool {
    let problem = cidr_problem(text).filter(|_| !kept.contains(&text));
    if let Some(problem) = problem {
        errors.invalid(path.clone(), text, problem);
    }
    problem.is_none()
}

/// The problems of an address that must be in canonical form.
pub(crate) fn canonical_address(text: &str) -> Vec<String> {
    if let Some(problem) = address_problem(text) {
        return vec![problem.to_owned()];
    }
    match parse(text).map(|address| address.to_string()) {
        Some(canonical) if canonical != text => {
            vec![format!("must be in canonical form ({canonical:?})")]
        }
        _ => Vec::new(),
    }
}

/// The problems of a CIDR that must be in canonical form.
pub(crate) fn canonical_cidr(text: &str) -> Vec<String> {
    if let Some(problem) = cidr_problem(text) {
        return vec![problem.to_owned()];
    }
    match Cidr::parse(text).map(|cidr| cidr.to_string()) {
        Some(canonical) if canonical != text => {
            vec![format!("must be in canonical form ({canonical:?})")]
        }
        _ => Vec::new(),
    }
}

/// The problems of the address of an interface, with the length of its network's prefix: `10.9.8.7/24`.
pub(crate) fn interface_address(text: &str) -> Vec<String> {
    let parsed =
        Cidr::parse(text).zip(text.split_once('/').and_then(|(address, _)| parse(address)));
    let Some((network, address)) = parsed else {
        return vec![
            "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned(),
        ];
    };
    let canonical = format!("{address}/{}", network.bits());
    if canonical == text {
        Vec::new()
    } else {
        vec![format!("must be in canonical form ({canonical:?})")]
    }
}

/// Traffic cannot be sent to every address.
pub(crate) fn reachable(text: &str, path: &Path, errors: &mut Errors) {
    let Some(address) = parse(text) else {
        errors.invalid(path.clone(), text, "must be a valid IP address");
        return;
    };
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(address) => (
            address.is_link_local(),
            address.octets().starts_with(&[224, 0, 0]),
        ),
        IpAddr::V6(address) => (
            address.is_unicast_link_local(),
            address.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    if address.is_unspecified() {
        let why = format!("may not be unspecified ({text})");
        errors.invalid(path.clone(), text, &why);
    }
    for (found, why) in [
        (
            address.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            link_local_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ] {
        if found {
            errors.invalid(path.clone(), text, why);
        }
    }
}

/// The warning about an address that is valid in its field and yet not in good form.
pub(crate) fn address_warning(path: &Path, text: &str) -> Option<String> {
    let address = parse(text)?;
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(strict)) if strict.to_ipv4_mapped().is_none() => {
            (strict.to_string() != text).then(|| {
                let canonical = strict.to_string();
                format!("{path}: IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})")
            })
        }
        Ok(IpAddr::V4(_)) => None,
        _ => {
            let canonical = address.to_string();
            Some(format!(
                "{path}: non-standard IP address {text:?} will be considered invalid in a future Kubernetes release: use {canonical:?}"
            ))
        }
    }
}

/// The warnings about a CIDR that is valid in its field and yet not in good form.
pub(crate) fn cidr_warnings(path: &Path, text: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(cidr) = Cidr::parse(text) else {
        return warnings;
    };
    let canonical = cidr.to_string();
    if cidr.network() != cidr.address {
        let most = if cidr.is_v6() { 128 } else { 32 };
        let single = format!("{}/{most}", cidr.address.to_canonical());
        warnings.push(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be {canonical:?} or {single:?}?)"
        ));
    }
    match cidr_problem(text) {
        None if canonical != text => warnings.push(format!(
            "{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({canonical:?})"
        )),
        Some(problem) if !problem.starts_with("must not have bits") => warnings.push(format!(
            "{path}: non-standard CIDR value {text:?} will be considered invalid in a future Kubernetes release: use {canonical:?}"
        )),
        _ => {}
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Path {
        Path::new("f")
    }

    #[test]
    fn addresses() {
        for (text, lenient, canonical) in [
            ("10.0.0.1", "", ""),
            ("a", NO_ADDRESS, NO_ADDRESS),
            ("1.2.3", NO_ADDRESS, NO_ADDRESS),
            ("1.2.3.256", NO_ADDRESS, NO_ADDRESS),
            (
                "010.0.0.1",
                "must not have leading 0s",
                "must not have leading 0s",
            ),
            (
                "::ffff:1.2.3.4",
                "must not be an IPv4-mapped IPv6 address",
                "must not be an IPv4-mapped IPv6 address",
            ),
            ("FE80::0", "", "must be in canonical form (\"fe80::\")"),
            ("fe80::", "", ""),
        ] {
            let mut errors = Errors::new();
            address(text, &[], &at(), &mut errors);
            let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert!(
                found.iter().all(|error| error.ends_with(lenient)),
                "{found:?}"
            );
            assert_eq!(found.is_empty(), lenient.is_empty(), "{text}");
            assert_eq!(canonical_address(text).join(","), canonical, "{text}");
        }
        assert!(address(
            "010.0.0.1",
            &["010.0.0.1"],
            &at(),
            &mut Errors::new()
        ));
    }

    #[test]
    fn cidrs() {
        for (text, lenient, warnings) in [
            ("10.0.0.0/8", "", 0),
            ("bad", NO_CIDR, 0),
            ("10.0.0.0/33", NO_CIDR, 0),
            (
                "10.0.0.1/8",
                "must not have bits set beyond the prefix length",
                1,
            ),
            (
                "10.0.0.0/08",
                "must not have leading 0s in IP or prefix length",
                1,
            ),
            (
                "::ffff:10.0.0.0/104",
                "must not have an IPv4-mapped IPv6 address",
                1,
            ),
            ("2001:DB8::/64", "", 1),
        ] {
            let mut errors = Errors::new();
            cidr(text, &[], &at(), &mut errors);
            let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(found.is_empty(), lenient.is_empty(), "{text}");
            assert!(
                found.iter().all(|error| error.ends_with(lenient)),
                "{found:?}"
            );
            assert_eq!(cidr_warnings(&at(), text).len(), warnings, "{text}");
        }
        let range = Cidr::parse("10.1.0.0/16").unwrap();
        assert!(range.contains(parse("10.1.2.3").unwrap()));
        assert!(!range.contains(parse("10.2.2.3").unwrap()));
        assert!(!range.contains(parse("::1").unwrap()));
    }

    #[test]
    fn some_addresses_are_not_reachable() {
        for (text, count) in [
            ("10.0.0.1", 0),
            ("0.0.0.0", 1),
            ("127.0.0.1", 1),
            ("::1", 1),
            ("169.254.1.1", 1),
            ("224.0.0.5", 1),
            ("ff02::1", 1),
            ("x", 1),
        ] {
            let mut errors = Errors::new();
            reachable(text, &at(), &mut errors);
            assert_eq!(errors.0.len(), count, "{text}");
        }
    }
}
