//! Which rows a command line asks for.

use anyhow::{Result, bail};
use clap::ValueEnum;
use zonal::Order;

use super::BenchArgs;
use super::case::{BenchName, Case, EngineName};

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
        && (case.bench == BenchName::Cas || args.cpus.is_none_or(|cpus| cpus == case.cpus))
        && args.order.is_none_or(|order| order == case.order.get())
}

fn asked(args: &BenchArgs, bench: BenchName) -> bool {
    args.names.is_empty() || args.names.contains(&bench)
}

/// Every combination of a bench that the options leave.
fn cases(args: &BenchArgs, bench: BenchName, engine: EngineName) -> Result<Vec<Case>> {
    let named = !args.names.is_empty();
    let orders = match args.order {
        Some(order) if order == 0 || bench.has_orders() => vec![order],
        Some(order) if named => bail!("{} has no order {order}: only order 0", bench.name()),
        Some(_) => Vec::new(),
        None => bench.orders().to_vec(),
    };
    let cpus = match args.cpus {
        Some(cpus) if bench != BenchName::Cas => vec![cpus],
        _ => bench.cpus().to_vec(),
    };
    let threads = args.threads.map_or_else(|| vec![1, 2], |threads| vec![threads]);
    let mut cases = Vec::new();
    for order in orders.into_iter().filter_map(Order::new) {
        for &cpus in &cpus {
            cases.extend(threads.iter().map(|&threads| Case { bench, engine, threads, cpus, order }));
        }
    }
    Ok(cases)
}
