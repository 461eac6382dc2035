//! Benchmarks: one file for each question, in `benches/`.
