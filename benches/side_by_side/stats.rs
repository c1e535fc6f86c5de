//! Medians, spreads and percentiles.

/// Ratios of the rounds, each of two figures from the same round.
pub(crate) struct Ratios {
    pub(crate) rounds: Vec<f64>,
}

impl Ratios {
    /// `candidate` and `reference` hold one figure a round, in the order of the rounds.
    pub(crate) fn of(candidate: &[f64], reference: &[f64]) -> Self {
        assert_eq!(candidate.len(), reference.len(), "every round has both sides");
        Self { rounds: candidate.iter().zip(reference).map(|(candidate, reference)| candidate / reference).collect() }
    }

    pub(crate) fn median(&self) -> f64 {
        median(&self.rounds)
    }

    pub(crate) fn min(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// The middle figure; of an even number of figures the mean of the two in the middle.
pub(crate) fn median(figures: &[f64]) -> f64 {
    assert!(!figures.is_empty(), "a median needs a figure");
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The figure that `percent` of all do not exceed (nearest rank). `sorted` is in rising order and not empty.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}
