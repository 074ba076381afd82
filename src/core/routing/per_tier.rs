//! One value for each tier.

use std::ops::{Index, IndexMut};

use super::Tier;

/// A value for each tier, indexed by [`Tier`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerTier<T>([T; 3]);

impl<T> PerTier<T> {
    /// From the values of all tiers.
    pub const fn new(inline: T, pooled: T, isolated: T) -> Self {
        Self([inline, pooled, isolated])
    }

    /// Computes the value of each tier.
    pub fn of(value: impl Fn(Tier) -> T) -> Self {
        Self(Tier::ALL.map(value))
    }

    /// The values, in the order of the tiers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T> Index<Tier> for PerTier<T> {
    type Output = T;

    fn index(&self, tier: Tier) -> &T {
        let [inline, pooled, isolated] = &self.0;
        match tier {
            Tier::Inline => inline,
            Tier::Pooled => pooled,
            Tier::Isolated => isolated,
        }
    }
}

impl<T> IndexMut<Tier> for PerTier<T> {
    fn index_mut(&mut self, tier: Tier) -> &mut T {
        let [inline, pooled, isolated] = &mut self.0;
        match tier {
            Tier::Inline => inline,
            Tier::Pooled => pooled,
            Tier::Isolated => isolated,
        }
    }
}
