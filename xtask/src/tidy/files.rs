//! The workspace's own source and pages, read once.

use crate::shell::Outcome;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Text files by their path below the workspace's folder.
pub(super) struct Files(BTreeMap<PathBuf, String>);

/// Folders that hold nothing that was written here.
const LEFT_OUT: [&str; 3] = ["target", ".git", "node_modules"];

impl Files {
    /// Rust files, manifests and pages below `root`.
    pub(super) fn read(root: &Path) -> Outcome<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if path.is_dir() {
                    if !LEFT_OUT.contains(&name.as_ref()) {
                        folders.push(path);
                    }
                } else if [".rs", ".md", ".toml"].iter().any(|ending| name.ends_with(ending)) {
                    let text = fs::read_to_string(&path)?;
                    files.insert(path.strip_prefix(root)?.to_owned(), text);
                }
            }
        }
        Ok(Self(files))
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect())
    }

    /// Files with this ending, in the order of their paths.
    pub(super) fn with_extension(&self, extension: &'static str) -> impl Iterator<Item = &Path> {
        self.0
            .keys()
            .map(PathBuf::as_path)
            .filter(move |path| path.extension().is_some_and(|e| e == extension))
    }

    pub(super) fn text(&self, path: &Path) -> &str {
        self.0.get(path).map_or("", String::as_str)
    }

    pub(super) fn find(&self, path: &str) -> Option<&Path> {
        self.0.get_key_value(Path::new(path)).map(|(path, _)| path.as_path())
    }
}

/// Whether `path` is below `folder`, or has a folder of that name in it where `folder` begins with `/`.
pub(super) fn is_in(path: &Path, folder: &str) -> bool {
    match folder.strip_prefix('/') {
        Some(name) => path.components().any(|component| component.as_os_str() == name),
        None => path.starts_with(folder),
    }
}

/// A heading as web pages name it in links.
pub(super) fn slug(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
