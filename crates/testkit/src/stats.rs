//! For benchmarks: order statistics, and a small generator for the order of turns.

/// The value below which this share of the sample lies (nearest rank); not a number if there is none.
#[must_use]
pub fn quantile(sample: &[f64], share: f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length is between 0 and the length"
    )]
    let place = (share * last as f64).round() as usize;
    sorted[place.min(last)]
}

/// The mean; not a number if there is no sample.
#[must_use]
pub fn mean(sample: &[f64]) -> f64 {
    sample.iter().sum::<f64>() / sample.len() as f64
}

/// `SplitMix64` (Steele, Lea, Flood 2014): enough to shuffle turns reproducibly.
#[derive(Clone, Debug)]
pub struct Turns(pub u64);

impl Turns {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The numbers from 0 to `count`, in a new order each time.
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut drawn: Vec<(u64, usize)> = (0..count).map(|place| (self.next(), place)).collect();
        drawn.sort_unstable();
        drawn.into_iter().map(|(_, place)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_sample() {
        let sample = [5.0, 1.0, 4.0, 2.0, 3.0];
        let of = |share| quantile(&sample, share);
        assert_eq!([of(0.0), of(0.5), of(0.9), of(1.0)], [1.0, 3.0, 5.0, 5.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn every_turn_comes_once_and_the_order_repeats_with_the_seed() {
        let orders = || {
            let turns = |turns: &mut Turns, _| Some(turns.order(3));
            (0..50).scan(Turns(7), turns).collect::<Vec<_>>()
        };
        assert_eq!(orders(), orders());
        for order in orders() {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
        }
    }
}
