//! Ranges of addresses.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of one family that services get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    base: u128,
    /// The length of the prefix.
    bits: u32,
    is_v6: bool,
}

impl Cidr {
    /// Parses `10.96.0.0/12` or `fd00::/108`. There must be room for at least two addresses, and no more than 2^20 of IPv4 or
    /// 2^64 of IPv6.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok()?;
        let (base, width, allowed, is_v6) = match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32, 12..=30, false),
            IpAddr::V6(address) => (u128::from(address), 128, 64..=126, true),
        };
        if !allowed.contains(&bits) {
            return None;
        }
        let hosts = (1_u128 << (width - bits)) - 1;
        Some(Self {
            base: base & !hosts,
            bits,
            is_v6,
        })
    }

    /// One range, or two of different families: `10.0.0.0/16,fd00::/108`.
    pub(crate) fn parse_list(text: &str) -> Option<Vec<Self>> {
        let ranges: Vec<Self> = text
            .split(',')
            .map(|range| Self::parse(range.trim()))
            .collect::<Option<_>>()?;
        match &ranges[..] {
            [_] => Some(ranges),
            [one, other] if one.is_v6 != other.is_v6 => Some(ranges),
            _ => None,
        }
    }

    /// `IPv4` or `IPv6`.
    pub(crate) fn family(self) -> &'static str {
        if self.is_v6 { "IPv6" } else { "IPv4" }
    }

    fn hosts(self) -> u128 {
        let width = if self.is_v6 { 128 } else { 32 };
        1 << (width - self.bits)
    }

    /// How many addresses services can have: neither the first nor the last of the range.
    pub(super) fn size(self) -> u64 {
        u64::try_from(self.hosts() - 2).unwrap_or(u64::MAX)
    }

    /// The address at `offset`, from 1.
    pub(super) fn at(self, offset: u64) -> IpAddr {
        let address = self.base + u128::from(offset);
        if self.is_v6 {
            return Ipv6Addr::from(address).into();
        }
        Ipv4Addr::from(u32::try_from(address).unwrap_or(u32::MAX)).into()
    }

    /// Whether services can have the address.
    pub(super) fn holds(self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V4(address) if !self.is_v6 => u128::from(u32::from(address)),
            IpAddr::V6(address) if self.is_v6 => u128::from(address),
            _ => return false,
        };
        let offset = address.checked_sub(self.base);
        offset.is_some_and(|offset| (1..self.hosts() - 1).contains(&offset))
    }

    /// The first address, which the service `kubernetes` has.
    pub(crate) fn first(self) -> IpAddr {
        self.at(1)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = if self.is_v6 {
            Ipv6Addr::from(self.base).to_string()
        } else {
            Ipv4Addr::from(u32::try_from(self.base).unwrap_or(u32::MAX)).to_string()
        };
        write!(f, "{address}/{}", self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed() {
        for (text, shown, size) in [
            ("10.0.0.0/28", "10.0.0.0/28", 14),
            ("10.96.1.2/12", "10.96.0.0/12", (1 << 20) - 2),
            ("fd00::5/108", "fd00::/108", (1 << 20) - 2),
            ("fd00::/64", "fd00::/64", u64::MAX - 1),
        ] {
            let range = Cidr::parse(text).unwrap();
            assert_eq!((range.to_string().as_str(), range.size()), (shown, size));
            assert!(range.holds(range.first()) && range.holds(range.at(range.size())));
            assert!(!range.holds(range.at(0)));
        }
        for text in [
            "10.0.0.0",
            "10.0.0.0/11",
            "10.0.0.0/31",
            "fd00::/63",
            "x/24",
            "10.0.0.0/16,10.1.0.0/16",
            "10.0.0.0/16,fd00::/108,fd01::/108",
        ] {
            assert_eq!(Cidr::parse_list(text), None, "{text}");
        }
        let both = Cidr::parse_list("fd00::/108, 10.0.0.0/16").unwrap();
        assert_eq!([both[0].family(), both[1].family()], ["IPv6", "IPv4"]);
    }
}
