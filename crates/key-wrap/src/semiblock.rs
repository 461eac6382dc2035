//! Semiblocks (SP 800-38F §3) as words, and operations on them under a mask.

use core::hint::black_box;

/// Half of an AES block, in the order of its bytes.
pub(crate) type Semiblock = [u8; 8];

/// Length of a semiblock in bytes.
pub(crate) const LEN: usize = 8;

/// All ones if `difference` is zero, else zero; without a branch.
pub(crate) fn mask_if_zero(difference: u64) -> u64 {
    // The mask itself is opaque to the optimiser, which otherwise sees that it has two values and branches on them.
    black_box(((difference | difference.wrapping_neg()) >> 63).wrapping_sub(1))
}

/// All ones if `left < right`, else zero. Both below 2⁶³.
pub(crate) const fn mask_if_less(left: u64, right: u64) -> u64 {
    0u64.wrapping_sub(left.wrapping_sub(right) >> 63)
}

/// Moves every semiblock but the first one place to the front, keeping only the bits of `mask`, and zeroes the last.
pub(crate) fn shift_masked(semiblocks: &mut [Semiblock], mask: u64) {
    let mut next = [0; LEN];
    for semiblock in semiblocks.iter_mut().rev() {
        let this = *semiblock;
        *semiblock = (u64::from_ne_bytes(next) & mask).to_ne_bytes();
        next = this;
    }
}

#[cfg(test)]
mod tests {
    use super::{mask_if_less, mask_if_zero, shift_masked};

    #[test]
    fn masks_are_all_or_nothing() {
        assert_eq!(mask_if_zero(0), u64::MAX);
        assert!((0..64).all(|bit| mask_if_zero(1 << bit) == 0));
        assert_eq!(mask_if_zero(u64::MAX), 0);
        assert_eq!((mask_if_less(3, 4), mask_if_less(4, 4), mask_if_less(5, 4)), (u64::MAX, 0, 0));
    }

    #[test]
    fn shifting_under_an_empty_mask_leaves_nothing() {
        let mut semiblocks = [[1; 8], [2; 8], [3; 8]];
        shift_masked(&mut semiblocks, u64::MAX);
        assert_eq!(semiblocks, [[2; 8], [3; 8], [0; 8]]);
        shift_masked(&mut semiblocks, 0);
        assert_eq!(semiblocks, [[0; 8]; 3]);
    }
}
