//! What trusted key entry computes, on the unit's side and on its customer's.

#![no_std]
