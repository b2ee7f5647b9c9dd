//! Which rows a command line asks for.

use anyhow::{Result, bail};
use clap::ValueEnum;
use zonal::Order;

use super::BenchArgs;
use super::case::Case;
use super::name::{BenchName, EngineKind, EngineName};

/// The rows, in the order they are printed. The first is always the compare-exchange of one thread, which the others are
/// compared with.
pub(super) fn rows(args: &BenchArgs) -> Result<Vec<Case>> {
    let mut rows = vec![UNIT];
    for &bench in BenchName::value_variants() {
        if !asked(args, bench) {
            continue;
        }
        let engines = EngineName::value_variants().iter().filter(|engine| engine.does(bench));
        for &engine in engines.filter(|&&engine| args.engine.is_none_or(|asked| asked == engine)) {
            rows.extend(cases(args, bench, engine)?.into_iter().filter(|case| *case != UNIT));
        }
    }
    if rows.len() == 1 && !is_asked(args, &UNIT) {
        let engine = args.engine.map_or("no engine", EngineName::name);
        bail!("{engine} has none of the benches named, or none of that order");
    }
    Ok(rows)
}

/// One thread's compare-exchange.
pub(super) const UNIT: Case =
    Case { bench: BenchName::Cas, engine: EngineName::Limit, threads: 1, cpus: 2, order: Order::ZERO };

/// Whether the row is one the command line asks for, not only one the others are compared with.
pub(super) fn is_asked(args: &BenchArgs, case: &Case) -> bool {
    asked(args, case.bench)
        && args.engine.is_none_or(|engine| engine == case.engine)
        && args.threads.is_none_or(|threads| threads == case.threads)
        && (case.bench.is_limit() || args.cpus.is_none_or(|cpus| cpus == case.cpus))
        && args.order.is_none_or(|order| order == case.order.get())
}

fn asked(args: &BenchArgs, bench: BenchName) -> bool {
    args.names.is_empty() || args.names.contains(&bench)
}

/// Every combination of a bench that the options leave.
fn cases(args: &BenchArgs, bench: BenchName, engine: EngineName) -> Result<Vec<Case>> {
    let named = !args.names.is_empty();
    let orders = match args.order {
        Some(order) if order > engine.max_order() => Vec::new(),
        Some(order) if bench.has_order(order) => vec![order],
        Some(order) if named => bail!("{} has no order {order}: only order 0", bench.name()),
        Some(_) => Vec::new(),
        None => bench.orders().to_vec(),
    };
    let cpus = match args.cpus {
        Some(cpus) if !bench.is_limit() => vec![cpus],
        _ if engine.kind() == EngineKind::Malloc => vec![UNIT.cpus],
        _ => bench.cpus().to_vec(),
    };
    let threads = args.threads.map_or_else(|| bench.threads().to_vec(), |threads| vec![threads]);
    let mut cases = Vec::new();
    for order in orders.into_iter().filter_map(Order::new) {
        for &cpus in &cpus {
            cases.extend(threads.iter().map(|&threads| Case { bench, engine, threads, cpus, order }));
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(line: &str) -> Result<BenchArgs, clap::Error> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    /// The rows printed for a command line.
    fn printed(line: &str) -> Vec<String> {
        let args = parse(line).unwrap();
        let rows = rows(&args).unwrap();
        assert_eq!(rows.first(), Some(&UNIT));
        rows.iter().filter(|row| is_asked(&args, row)).map(ToString::to_string).collect()
    }

    #[test]
    fn the_bare_run_has_every_row_of_the_table_once() {
        let rows = printed("");
        let of = |engine: EngineName| {
            let name = engine.name();
            rows.iter().filter(|row| row.split(' ').nth(1) == Some(name)).count()
        };
        for &engine in EngineName::value_variants() {
            let expected = match engine.kind() {
                EngineKind::Limit => 11,
                _ if engine == EngineName::ZonalOwner => 12 + 6 + 8 + 4,
                EngineKind::Frame if engine == EngineName::Zonal => {
                    12 + 8 + 6 + 4 + 8 + 4 + 12 + 4 + 3 + 2 + 1 + 3
                }
                EngineKind::Frame => 12 + 6 + 4 + 8 + 4 + 12 + 1,
                EngineKind::Malloc => 6 + 6,
            };
            assert_eq!(of(engine), expected, "{}", engine.name());
        }
        for order in [0, 3, 9] {
            for (threads, cpus) in [(1, 2), (2, 2), (1, 128), (2, 128)] {
                let row = format!("pair zonal order {order} threads {threads} cpus {cpus}");
                assert_eq!(rows.iter().filter(|printed| **printed == row).count(), 1, "{row}");
            }
        }
        assert!(rows.contains(&"bulk-frag zonal order 0 threads 2 cpus 2".to_owned()));
        assert!(rows.contains(&"cas limit order 0 threads 1 cpus 2".to_owned()));
    }

    #[test]
    fn options_choose_rows() {
        let zonal = |line: &str| printed(&format!("{line} --engine zonal"));
        assert_eq!(zonal("pair --order 4 --threads 3 --cpus 7"), ["pair zonal order 4 threads 3 cpus 7"]);
        assert_eq!(zonal("hold-free --threads 1"), ["hold-free zonal order 0 threads 1 cpus 2"]);
        assert_eq!(zonal("--order 18 --threads 1 --cpus 2").len(), 8 + 2);
        assert!(printed("pair --order 18").iter().all(|row| !row.contains("frame-alloc")));
        assert_eq!(printed("cas --threads 1"), ["cas limit order 0 threads 1 cpus 2"]);
        assert!(printed("--engine zonal").iter().all(|row| row.contains("zonal")));
        assert!(printed("--engine limit").iter().all(|row| row.contains("limit")));
    }

    #[test]
    fn what_there_is_not_is_refused() {
        for line in
            ["nope", "pair nope", "--engine nope", "--order 19", "--threads 0", "--threads 65", "--cpus 0"]
        {
            assert_eq!(parse(line).err().map(|error| error.exit_code()), Some(2), "{line}");
        }
        for line in [
            "bulk --order 3",
            "pair --engine limit",
            "cas --engine zonal",
            "pair --order 10 --engine buddy-spin",
        ] {
            assert!(rows(&parse(line).unwrap()).is_err(), "{line}");
        }
    }
}
