//! The layer checker on small crates with one mistake each.

use std::path::{Path, PathBuf};

use super::*;

fn crate_of(files: &[(&str, &str)]) -> Vec<Module> {
    let module = |(path, code): &(&str, &str)| Module {
        path: ModulePath::parse(path).unwrap(),
        file: PathBuf::from(path),
        gate: Gate::Shipped,
        syntax: syn::parse_file(code).unwrap(),
    };
    files.iter().map(module).collect()
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn broken(layers: &str, files: &[(&str, &str)]) -> Vec<String> {
    let diagram = Diagram::parse(&format!("```layers\n{layers}\n```\n")).unwrap();
    violations(&diagram, &crate_of(files), name)
}

#[test]
fn pointing_down_is_clean() {
    let files = [
        ("lib", "mod zone; mod block; pub use zone::Zone; pub use crate::block::row::Row;"),
        (
            "zone",
            "use crate::block::{self, row}; fn f() { block::g(row::h()) } fn core() { core::mem::drop(()) }",
        ),
        ("block", "mod row; fn g(row: row::Row) { self::row::h(row) }"),
        ("block::row", "use core::fmt; fn row() {}"),
    ];
    assert_eq!(broken("lib\nzone\nblock\nblock::row", &files), Vec::<String>::new());
}

#[test]
fn pointing_up_or_sideways_is_named_with_its_line() {
    let files = [
        ("lib", ""),
        ("zone", "\nuse crate::cache::Word;"),
        ("cache", ""),
        ("block", "fn f() { crate::zone::g() }"),
        (
            "block::row",
            "mod inner { use super::super::f; }\nuse super::f;\nfn g() { assert!(crate::lib_item::x()); }",
        ),
    ];
    let found = broken("lib\nzone cache\nblock::row\nblock", &files);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("zone:2: `crate::cache::Word`: zone may not name cache"), "{}", found[0]);
    assert!(found[1].starts_with("block:1: `crate::zone::g`"), "{}", found[1]);
    assert!(found[2].contains("may not name lib"), "{}", found[2]);
}

#[test]
fn a_parent_below_its_child_may_not_name_it() {
    let files = [("block", "mod row; fn f() { row::g() }"), ("block::row", "")];
    assert_eq!(broken("block::row\nblock", &files).len(), 1);
    assert_eq!(broken("block + block::row", &files).len(), 0);
}

#[test]
fn an_imported_module_is_followed_to_where_it_leads() {
    let files = [("zone", ""), ("cache", "use crate::zone as z;\nfn f() { z::g() }")];
    assert_eq!(broken("zone\ncache", &files).len(), 2);
}

#[test]
fn tests_may_look_up() {
    let files =
        [("zone", ""), ("row", "#[cfg(all(test, zonal_loom))] mod loom_tests { use crate::zone::Zone; }")];
    assert_eq!(broken("zone\nrow", &files), Vec::<String>::new());
}

#[test]
fn the_diagram_and_the_sources_name_the_same_modules() {
    let diagram = Diagram::parse("```layers\nlib\nghost\n```\n").unwrap();
    let found = differences(&diagram, &crate_of(&[("lib", ""), ("zone", "")]), name);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("module zone is not in the layers"));
    assert!(found[1].contains("the layers name ghost"));
}

#[test]
fn std_and_alloc_are_for_hosted_code_only() {
    let hosted = [(
        "lib",
        "#![no_std]\n#[cfg(zonal_mutants)] extern crate std;\n#[cfg(test)] mod t { use std::vec; }",
    )];
    assert_eq!(hosted_names(&crate_of(&hosted), name), Vec::<String>::new());
    let found = hosted_names(
        &crate_of(&[
            ("lib", "#![cfg_attr(not(test), no_std)]\nextern crate alloc;"),
            ("zone", "use std::vec::Vec;"),
        ]),
        name,
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].contains("#![no_std]"));
    assert!(found[1].starts_with("lib:2: `alloc`"));
    assert!(found[2].starts_with("zone:1: `std::vec::Vec`"));
}

#[test]
fn a_module_called_alloc_is_not_the_heap() {
    let files = [("lib", "#![no_std]\nmod alloc; pub use alloc::Page;"), ("alloc", "")];
    assert_eq!(hosted_names(&crate_of(&files), name), Vec::<String>::new());
}
