//! Pages are the same as they were, and nothing from outside becomes markup in them.

use super::{pages, summary};
use crate::rehearse::model::sample;
use std::path::Path;

/// Variable with which this test writes the pages instead of comparing them.
const WRITE: &str = "HSM_SIM_BLESS";

#[test]
fn golden_pages_are_as_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/rehearsal");
    for page in pages(&sample()) {
        let path = folder.join(page.name);
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, &page.content).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert!(expected == page.content, "{} differs: run this test with {WRITE}=1, and review", page.name);
    }
}

#[test]
fn attack_text_from_outside_is_no_markup() {
    let [markdown, html, svg] = pages(&sample());
    for page in [&markdown, &html, &svg] {
        assert!(!page.content.contains("<script"), "{}", page.name);
        assert!(!page.content.contains("<b>"), "{}", page.name);
        assert!(!page.content.contains('\u{1b}'), "{}", page.name);
    }
    assert!(html.content.contains("&lt;script&gt;alert(1)"));
    // Nothing is loaded from elsewhere.
    for part in ["src=", "href=", "url(", "@import"] {
        assert!(!html.content.contains(part), "{part}");
    }
}

#[test]
fn a_summary_fits_a_terminal() {
    let text = summary(&sample());
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("RTO-use"), "{text}");
}
