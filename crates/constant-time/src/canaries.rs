//! Planted leaks. If one of them is green, the gate detects nothing.

use crate::harness::{Case, secret};
use std::hint::black_box;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::silent("canary_early_return", || {
            black_box(equal_with_early_return(&secret([7; 32]), &[7; 32]));
        }),
        Case::silent("canary_table_lookup", || {
            let table: [u8; 256] = black_box(std::array::from_fn(|at| at as u8));
            black_box(table[usize::from(secret([3u8])[0])]);
        }),
    ]
}

#[inline(never)]
pub(crate) fn equal_with_early_return(a: &[u8], b: &[u8]) -> bool {
    for (a, b) in a.iter().zip(b) {
        if black_box(*a) != *b {
            return false;
        }
    }
    true
}
