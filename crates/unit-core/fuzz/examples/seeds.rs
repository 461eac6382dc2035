//! Writes what the corpora start from into the folder of corpora that is named.

#![allow(dead_code, reason = "only the seeds are wanted here")]

#[path = "../bodies/administration.rs"]
mod administration;
#[path = "../bodies/fixture.rs"]
mod fixture;
#[path = "../bodies/blob.rs"]
mod blob;
#[path = "../bodies/unit_request.rs"]
mod unit_request;

use std::path::Path;

fn main() {
    let corpora = std::env::args_os().nth(1).expect("a folder");
    write(&Path::new(&corpora).join("blob"), blob::seeds());
    write(&Path::new(&corpora).join("unit_request"), unit_request::seeds());
}

fn write<N: AsRef<str>>(folder: &Path, seeds: Vec<(N, Vec<u8>)>) {
    std::fs::create_dir_all(folder).expect("a folder for the corpus");
    for (name, bytes) in seeds {
        std::fs::write(folder.join(name.as_ref()), bytes).expect("a file for a seed");
    }
}
