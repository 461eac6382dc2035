//! Writes what the corpora start from into the folder of corpora that is named.

#[path = "../bodies/certificates.rs"]
#[allow(dead_code, reason = "only the seeds are wanted here")]
mod certificates;
#[path = "../bodies/sealed_part.rs"]
#[allow(dead_code, reason = "only the seeds are wanted here")]
mod sealed_part;

fn main() {
    let corpora = std::path::PathBuf::from(std::env::args_os().nth(1).expect("a folder"));
    for (target, seeds) in [("certificates", certificates::seeds()), ("sealed_part", sealed_part::seeds())] {
        std::fs::create_dir_all(corpora.join(target)).expect("a folder for the corpus");
        for (name, bytes) in seeds {
            std::fs::write(corpora.join(target).join(name), bytes).expect("a file for a seed");
        }
    }
}
