//! The committed corpus, replayed with any toolchain: every file does what the fuzzer once saw it do, and no more.

use std::fs;
use std::path::Path;

/// Hands every file of the target's corpus to the target.
fn replay(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&corpus)
        .expect("the corpus is there")
        .map(|entry| entry.expect("it can be read").path());
    let mut files: Vec<_> = entries.collect();
    files.sort();
    assert!(files.len() > 9, "hardly a corpus: {} files in {}", files.len(), corpus.display());
    for file in files {
        // What is replayed when a test fails.
        println!("{}", file.display());
        run(&fs::read(&file).expect("it can be read"));
    }
}

#[test]
fn operations() {
    replay("operations", zonal_fuzz::operations);
}

#[test]
fn memory_maps() {
    replay("memory_maps", zonal_fuzz::memory_maps);
}

#[test]
fn machines() {
    replay("machines", zonal_fuzz::machines);
}

#[test]
fn traces() {
    replay("traces", zonal_fuzz::traces);
}
