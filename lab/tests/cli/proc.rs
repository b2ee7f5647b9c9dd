//! `zonal proc`: its files, and a program that reads them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{file, refused, zonal};

/// The program that reads /proc for a monitoring system.
const EXPORTER: &str = "prometheus-node-exporter";

/// Writes the files to a directory of this name.
fn written(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let run = zonal(&["proc", dir.to_str().unwrap(), "--json"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let object = run.object();
    for name in ["buddyinfo", "pagetypeinfo", "vmstat", "zoneinfo"] {
        assert_eq!(object[name].as_str().map(Path::new), Some(dir.join(name).as_path()));
        assert!(fs::metadata(dir.join(name)).unwrap().len() > 0);
    }
    dir
}

#[test]
fn files_show_the_bundled_recording() {
    let dir = written("proc-files");
    let text = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let vmstat: BTreeMap<String, u64> = figures(&text("vmstat"));
    let allocated: u64 =
        ["dma", "dma32", "normal", "movable"].map(|zone| vmstat[&format!("pgalloc_{zone}")]).iter().sum();
    let managed: u64 = text("zoneinfo")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("managed  ")?.parse::<u64>().ok())
        .sum();
    let cached: u64 = text("zoneinfo")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("count:    ")?.parse::<u64>().ok())
        .sum();
    assert!(vmstat["numa_hit"] > 50_000, "the recording has as many allocations");
    assert_eq!(allocated - vmstat["pgfree"], managed - vmstat["nr_free_pages"] - cached, "held by somebody");
    assert_eq!(text("buddyinfo").lines().count(), text("zoneinfo").matches("start_pfn").count());
}

fn figures(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, n)| (name.to_owned(), n.parse().unwrap()))
        .collect()
}

#[test]
fn a_place_or_a_machine_that_is_none_is_refused() {
    let no_dir = file("proc-is-a-file", "");
    let no_dir = no_dir.to_str().unwrap();
    refused(&zonal(&["proc", no_dir]), no_dir, "");
    let machine = file("proc-machine.toml", "memory = 7");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("proc-none");
    let (dir, machine) = (dir.to_str().unwrap(), machine.to_str().unwrap());
    refused(&zonal(&["proc", dir, "--machine", machine]), "proc-machine.toml", "memory");
    refused(&zonal(&["proc"]), "DIR", "required");
}

/// A running exporter, which ends with this.
struct Exporter(Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Exporter {
    /// Starts it over these files on a port that was free just before; `None` where it is not installed.
    fn start(dir: &Path) -> Option<(Self, SocketAddr)> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let collectors =
            ["disable-defaults", "buddyinfo", "vmstat", "zoneinfo"].map(|name| format!("--collector.{name}"));
        let child = Command::new(EXPORTER)
            .arg(format!("--path.procfs={}", dir.display()))
            .arg(format!("--web.listen-address={free}"))
            .arg("--collector.vmstat.fields=^(nr_free|numa_|pgalloc_|pgfree|oom_kill|compact_).*")
            .args(collectors)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some((Self(child), free)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("{EXPORTER} cannot be started: {error}"),
        }
    }

    /// What it says, asked until it answers, for 20 s at most.
    fn metrics(&mut self, address: SocketAddr) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(answer) = ask(address).filter(|answer| answer.starts_with("HTTP/1.0 200")) {
                return answer;
            }
            assert_eq!(self.0.try_wait().unwrap(), None, "{EXPORTER} has ended");
            assert!(Instant::now() < end, "{EXPORTER} does not answer");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn ask(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn an_exporter_reads_our_figures() {
    let dir = written("proc-exported");
    let Some((mut exporter, address)) = Exporter::start(&dir) else {
        println!("skipped: {EXPORTER} is not installed");
        return;
    };
    let answer = exporter.metrics(address);
    let said = |series: &str| -> f64 {
        let line = answer.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is not among\n{answer}")).parse().unwrap()
    };
    for collector in ["buddyinfo", "vmstat", "zoneinfo"] {
        assert_eq!(said(&format!("node_scrape_collector_success{{collector=\"{collector}\"}}")), 1.0);
    }
    let text = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    for (name, figure) in figures(&text("vmstat")) {
        if ["nr_free", "numa_", "pgalloc_", "pgfree", "oom_kill", "compact_"]
            .iter()
            .any(|own| name.starts_with(own))
        {
            assert_eq!(said(&format!("node_vmstat_{name}")), figure as f64, "{name}");
        }
    }
    for line in text("buddyinfo").lines() {
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let (node, zone) = (words[1], words[3]);
        for (order, count) in words[4..].iter().enumerate() {
            let series = format!("node_buddyinfo_blocks{{node=\"{node}\",size=\"{order}\",zone=\"{zone}\"}}");
            assert_eq!(said(&series), count.parse::<f64>().unwrap(), "{line}");
        }
    }
    let mut zone = ("", "");
    for line in text("zoneinfo").lines() {
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        match words[..] {
            ["Node", node, "zone", name] => zone = (node, name),
            [name @ ("min" | "low" | "high" | "spanned" | "present" | "managed"), figure] => {
                let series = format!("node_zoneinfo_{name}_pages{{node=\"{}\",zone=\"{}\"}}", zone.0, zone.1);
                assert_eq!(said(&series), figure.parse::<f64>().unwrap(), "{line}");
            }
            [name @ ("numa_hit" | "numa_local" | "numa_other" | "numa_miss" | "numa_foreign"), figure] => {
                let series = format!("node_zoneinfo_{name}_total{{node=\"{}\",zone=\"{}\"}}", zone.0, zone.1);
                assert_eq!(said(&series), figure.parse::<f64>().unwrap(), "{line}");
            }
            _ => {}
        }
    }
}
