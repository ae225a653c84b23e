//! How many bits of a hash shuffle sharding needs to deal a hand from a deck of queues.

/// The bits that there are.
pub(super) const MOST_BITS: u32 = 60;

/// The bits needed: of the number of ways to draw `hand` cards from a deck of `deck` in order.
pub(super) fn bits(deck: i64, hand: i64) -> u32 {
    let mut ways = 1_u128;
    for card in 0..hand {
        let left = u128::try_from(deck - card).unwrap_or(1).max(1);
        ways = ways.saturating_mul(left);
        if ways == u128::MAX {
            return u128::BITS;
        }
    }
    u128::BITS - (ways - 1).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands() {
        for (deck, hand, expected) in [(4, 2, 4), (64, 8, 48), (1, 1, 0), (1024, 7, 70)] {
            assert_eq!(bits(deck, hand), expected, "{hand} of {deck}");
        }
    }
}
