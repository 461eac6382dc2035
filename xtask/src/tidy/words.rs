//! Plain English: words that this workspace does not use, and comments that say nothing.

use super::files::{Files, is_in};
use std::path::Path;

/// Words of prose, in comments, messages, names and pages: not this, but that. Case does not matter.
const PROSE: &[(&str, &str)] = &[
    ("whoever", "the role: caller, administrator, operator"),
    ("whomever", "the role: caller, administrator, operator"),
    ("nobody", "no caller, no unit, no process"),
    ("somebody", "the role: another caller, another administrator"),
    ("anew", "again"),
    ("is said to be", "is reported as"),
    ("are said to be", "are reported as"),
    ("comes of", "results in"),
    ("came of", "resulted from"),
    ("grudge", "what happens: the backoff is reset"),
];

/// Names of this workspace's past, with the field's own. Case matters.
const NAMES: &[(&str, &str)] = &[
    ("Desk", "CallContext"),
    ("Seat", "Session"),
    ("Chair", "SessionSlot"),
    ("hoard", "leaked_objects"),
    ("Errand", "HealthCheck"),
    ("Toll", "RetryCost"),
    ("Takers", "EligibleUnits"),
    ("Met", "VerifiedUnit"),
    ("Look", "UnitStatus"),
    ("was_robbed", "token_lost"),
    ("farewell", "close_reason"),
];

/// Documentation that only repeats the question.
const QUESTIONS: [&str; 9] = ["which", "why", "what", "how", "whose", "where", "when", "who", "which one"];

/// Places that keep such a word: a part of the path, a part of the line, and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("xtask/src/tidy/words.rs", "", "the table itself"),
    ("CONTRIBUTING.md", "| ", "the page's table of words"),
    ("crates/wire", "NoBody", "the reason code of a request without a body"),
];

pub(super) fn check(files: &Files) -> Vec<String> {
    let mut complaints = Vec::new();
    for path in files.with_extension("md") {
        complaints.extend(banned(path, files.text(path), &[PROSE]));
    }
    for path in files.with_extension("rs") {
        complaints.extend(banned(path, files.text(path), &[PROSE, NAMES]));
        complaints.extend(empty_docs(path, files.text(path)));
    }
    complaints
}

fn banned(path: &Path, text: &str, tables: &[&[(&str, &str)]]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if EXCEPTIONS.iter().any(|(file, part, _)| is_in(path, file) && line.contains(part)) {
            continue;
        }
        let lower = line.to_lowercase();
        for (word, instead) in tables.iter().copied().flatten() {
            let is_name = NAMES.iter().any(|(name, _)| name == word);
            if has_word(if is_name { line } else { &lower }, word) {
                complaints.push(format!("{}:{number}: not `{word}`, but {instead}", path.display()));
            }
        }
    }
    complaints
}

/// Whether `word` stands in `line` with neither letter nor underscore around it; parts of names count as words.
fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = line.split_at(at);
        let after = after.get(word.len()..).unwrap_or_default();
        !is_letter(before.chars().next_back()) && !is_letter(after.chars().next())
    })
}

/// Doc comments of one line that ask a question or have one word.
fn empty_docs(path: &Path, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_doc = |line: Option<&&str>| line.is_some_and(|line| line.starts_with("///"));
    let mut complaints = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(said) = line.strip_prefix("///").map(|said| said.trim().trim_end_matches('.')) else {
            continue;
        };
        let alone =
            !is_doc(at.checked_sub(1).and_then(|before| lines.get(before))) && !is_doc(lines.get(at + 1));
        let empty = !said.contains(char::is_whitespace) || QUESTIONS.contains(&said.to_lowercase().as_str());
        if alone && empty {
            complaints.push(format!("{}:{}: `{line}` says nothing", path.display(), at + 1));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        check(&Files::of(&[(path, text)]))
    }

    #[test]
    fn a_banned_word_is_found_with_its_replacement() {
        assert_eq!(
            complaints("README.md", "Fine.\nWhoever asks is told.\n"),
            ["README.md:2: not `whoever`, but the role: caller, administrator, operator"]
        );
        assert_eq!(complaints("a.rs", "fn starts_anew() {}").len(), 1);
        assert_eq!(complaints("a.rs", "struct Desk;").len(), 1);
        for good in
            ["a manewver, renewed", "the desktop", "Look at it".to_lowercase().as_str(), "somebodyelse"]
        {
            assert_eq!(complaints("a.rs", good), Vec::<String>::new(), "{good}");
        }
        // Names matter in code alone.
        assert_eq!(complaints("a.md", "Look at it."), Vec::<String>::new());
        assert_eq!(complaints("CONTRIBUTING.md", "| anew | again |"), Vec::<String>::new());
    }

    #[test]
    fn documentation_that_says_nothing_is_found() {
        for bad in ["/// Which.", "    /// Why.", "/// Name.", "/// Which one."] {
            let complaints = complaints("a.rs", &format!("{bad}\nx: u8,\n"));
            assert_eq!(complaints.len(), 1, "{bad}: {complaints:?}");
        }
        for good in ["/// Bytes of the key.", "/// One\n/// of two lines", "// Which.", "//! Which."] {
            assert_eq!(complaints("a.rs", &format!("{good}\nx: u8,\n")), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn every_exception_has_a_reason() {
        assert!(EXCEPTIONS.iter().all(|(path, _, reason)| !path.is_empty() && !reason.is_empty()));
    }
}
