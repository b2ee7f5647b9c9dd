//! `zonal machine`: pictures as they were looked at once, and descriptions that are refused with the line.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use zonal_linux::Machine;

use crate::support::{Run, file, refused, zonal};

/// Descriptions of machines, as the tests' working directory sees them.
const MACHINES: &str = "../zonal-linux/machines";
/// What to do when a picture is meant to change.
const UPDATE: &str = "ZONAL_UPDATE_PICTURES";

fn show(machine: &Path) -> Run {
    let run = zonal(&["machine", "show", machine.to_str().unwrap()]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""), "{}", machine.display());
    run
}

/// The picture without the size of metadata, which follows the allocator's words.
fn picture(run: &Run) -> String {
    let lines = run.stdout.lines().filter(|line| !line.starts_with("metadata: "));
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

fn descriptions(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

#[test]
fn pictures_are_as_they_were_approved() {
    let ours = Path::new("tests/cli/data/machines");
    let own =
        descriptions(ours.to_str().unwrap()).into_iter().filter(|path| path.extension().unwrap() == "toml");
    for machine in own.chain(descriptions(MACHINES)) {
        let approved = ours.join(machine.file_stem().unwrap()).with_extension("txt");
        let found = picture(&show(&machine));
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&approved, &found).unwrap();
        }
        let expected = fs::read_to_string(&approved).unwrap_or_default();
        assert_eq!(found, expected, "{} differs; {UPDATE}=1 approves of it", approved.display());
    }
}

#[test]
fn sixteen_tebibytes_fit_a_terminal() {
    let start = Instant::now();
    let run = show(&Path::new(MACHINES).join("sixty-four-nodes.toml"));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 100), "{}", run.stdout);
    assert!(run.stdout.lines().count() <= 60, "{}", run.stdout);
    assert!(run.stdout.contains("Nodes 1 to 63, each like node 0: 15.8 TiB"), "{}", run.stdout);
    assert!(run.stdout.contains("Fallback order for Node 5: 5-63 0-4"), "{}", run.stdout);
    assert!(!run.stdout.contains('\u{1b}'), "colours where there is no terminal");
}

#[test]
fn every_node_is_drawn_where_all_are_asked_for() {
    let text = "[[node]]\ncount = 20\nmemory = '4 MiB'\ncpus = 1\n";
    let path = file("twenty.toml", text);
    let run = zonal(&["machine", "show", "--all", path.to_str().unwrap()]);
    for node in 0..20 {
        let order: Vec<String> = (node..20).chain(0..node).map(|node| node.to_string()).collect();
        for line in [
            format!("Node {node}: 4.0 MiB, CPUs {node}"),
            format!("Fallback order for Node {node}: {}", order.join(" ")),
        ] {
            assert!(run.stdout.lines().any(|shown| shown == line), "{line:?} is not in\n{}", run.stdout);
        }
    }
    assert!(run.stdout.lines().filter(|line| line.ends_with("20   20   10")).count() == 1, "{}", run.stdout);
}

#[test]
fn this_machine_is_shown_without_a_description() {
    let run = zonal(&["machine", "show", "--json"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let (object, this) = (run.object(), Machine::this().unwrap());
    assert_eq!(object["nodes"].as_array().unwrap().len(), this.nodes());
    assert_eq!((&object["bytes"], &object["cpus"]), (&this.bytes().into(), &this.cpus().len().into()));
}

#[test]
fn as_an_object() {
    let path = format!("{MACHINES}/holes.toml");
    let run = zonal(&["machine", "show", &path, "--json"]);
    let object = run.object();
    let machine = Machine::from_toml(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(object["metadata_bytes"], zonal::metadata_size(&machine.config()).unwrap());
    assert_eq!(object["distances"], serde_json::json!([[10, 31], [31, 10]]));
    let dma = &object["nodes"][0]["zones"][0];
    let figures =
        ["spanned", "present", "managed", "reserved", "holes"].map(|key| dma[key].as_u64().unwrap());
    assert_eq!((dma["zone"].as_str(), figures), (Some("DMA"), [4096, 4000, 3840, 160, 96]));
    assert_eq!(object["nodes"][1]["cpus"], serde_json::json!([1, 3]));
    assert_eq!(object["nodes"][1]["fallback"], serde_json::json!([1, 0]));
}

#[test]
fn sound_descriptions_are_said_to_be() {
    let run = zonal(&[
        "machine",
        "check",
        &format!("{MACHINES}/two-nodes.toml"),
        &format!("{MACHINES}/holes.toml"),
    ]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", run.stdout);
    assert_eq!(
        lines[0],
        format!("{MACHINES}/two-nodes.toml: sound; nodes 2, CPUs 4, zones 6, memory 5.5 GiB")
    );
    assert!(lines[4].starts_with(&format!("odd: {MACHINES}/holes.toml:15: node[0].ranges[2] ends inside")));
}

#[test]
fn every_mistake_of_every_file_is_told() {
    let (one, other) =
        (file("one.toml", "base = 1\nnode = [\n{ memory = 5 }]\n"), file("other.toml", "[[node]]\n"));
    let names = [one.to_str().unwrap(), "/nonexistent.toml", other.to_str().unwrap()];
    let arguments = |more: &'static str| [vec!["machine", "check"], names.to_vec(), vec![more]].concat();
    let run = zonal(&arguments("../zonal-linux/machines/tuned.toml"));
    assert_eq!(run.status, Some(2));
    for words in [
        "one.toml:1: base = 1 B",
        "one.toml:3: node[0].memory = 5 B",
        "error: /nonexistent.toml: cannot be read",
        "other.toml:1: 0 CPUs",
    ] {
        assert!(run.stderr.contains(words), "{words:?} is not in {}", run.stderr);
    }
    assert_eq!((run.stderr.lines().count(), run.stdout.lines().count()), (4, 1));
    let run = zonal(&arguments("--json"));
    let objects: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((run.status, objects.len()), (Some(2), 3));
    assert_eq!((&objects[0]["sound"], &objects[0]["mistakes"][1]["line"]), (&Value::Bool(false), &3.into()));
}

#[test]
fn a_bad_machine_is_not_shown() {
    let path = file(
        "overlap.toml",
        "[[node]]\nmemory = '8 MiB'\ncpus = 1\n[[node]]\nranges = [\n{ start = 0, size = 4096 }]\n",
    );
    let path = path.to_str().unwrap();
    refused(&zonal(&["machine", "show", path]), "overlap.toml:6: ", "two memory ranges hold pfn 0x0");
    refused(
        &zonal(&["machine", "show", path, "--json"]),
        "overlap.toml:6: ",
        "two memory ranges hold pfn 0x0",
    );
    refused(&zonal(&["machine", "show", "/nonexistent.toml"]), "/nonexistent.toml", "No such file");
    refused(&zonal(&["machine", "check"]), "", "FILE.toml");
    refused(&zonal(&["machine", "draw"]), "", "draw");
}

/// What fuzzing found worth keeping, and what it began with.
#[test]
fn no_description_makes_it_panic() {
    let corpus = descriptions("../fuzz/corpus/machines");
    let names: Vec<&str> = corpus.iter().map(|path| path.to_str().unwrap()).collect();
    let run = zonal(&[vec!["machine", "check", "--json"], names].concat());
    assert_eq!((run.status, run.stdout.lines().count()), (Some(2), corpus.len()), "{}", run.stderr);
    let objects = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let sound: Vec<Value> = objects.filter(|object| object["sound"] == true).collect();
    for object in &sound {
        let run = show(Path::new(object["file"].as_str().unwrap()));
        assert!(run.stdout.contains("Fallback order for Node 0: "), "{}", run.stdout);
    }
    assert!(sound.len() >= 4 && sound.len() < corpus.len(), "{} of {}", sound.len(), corpus.len());
}
