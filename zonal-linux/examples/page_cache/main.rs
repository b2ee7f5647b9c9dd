//! A page cache that lives under pressure at its high mark.
//!
//! Its data is four times its memory, so that every miss needs a frame that some other page must give. The cache does
//! not decide when: it is registered as a shrinker, kswapd's thread asks it when free frames fall to the low mark, and
//! readers ask it themselves only where kswapd does not keep up.
//!
//!     cargo run --release -p zonal-linux --example page_cache -- [--seconds N]

mod cache;
mod load;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use zonal::{FRAME_SIZE, Tuning};
use zonal_linux::{Daemons, GivenBack, Machine, Pool};

use crate::cache::PageCache;
use crate::load::{Load, Tally, free_low_high, rests_at_high};

const MEMORY: u64 = 64 << 20;
const FRAMES: u64 = MEMORY / FRAME_SIZE;

/// How long, in seconds: 3, or what `--seconds` says.
fn seconds() -> Result<f64, String> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next(), args.next()) {
        (None, _, _) => Ok(3.0),
        (Some("--seconds"), Some(text), None) => match text.parse() {
            Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
            _ => Err(format!("--seconds {text}: not a number of seconds, up to a day")),
        },
        _ => Err("usage: page_cache [--seconds N]".into()),
    }
}

fn line(pool: &Pool, at: Duration, tally: Tally) {
    let [free, low, high] = free_low_high(pool);
    let Tally { hits, misses, refused, .. } = tally;
    let percent = 100.0 * hits as f64 / (hits + misses).max(1) as f64;
    let GivenBack { daemons, direct } = pool.shrinkers().given_back();
    println!(
        "{:5.1} s  {free:5} free (low {low}, high {high})  {percent:4.1} % hits  given back: {daemons} to kswapd, {direct} \
         to readers  {refused} refused",
        at.as_secs_f64()
    );
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let load =
        Load { time: Duration::from_secs_f64(seconds()?), readers: 4, blocks: 4 * FRAMES, often: FRAMES / 2 };
    let machine = Machine::uniform(1, MEMORY, 4)?.with_tuning(Tuning::default())?;
    let pool = Arc::new(Pool::plan(&machine).daemons(Daemons::Threads).build()?);
    let cache = Arc::new(PageCache::new(Arc::clone(&pool), load::content));
    let registered = pool.shrinkers().register(Arc::downgrade(&cache));
    let tally = load::run(&cache, load, load.time / 12, |at, tally| line(&pool, at, tally));
    let rests = rests_at_high(&pool, Duration::from_secs(10));
    let [free, _, high] = free_low_high(&pool);
    println!("at rest: {free} free (high {high}), {} pages in the cache", cache.pages());
    drop(registered);
    drop(cache);
    let mut findings = Vec::new();
    let books = pool.allocator().audit(&mut |finding| findings.push(finding.to_string()));
    println!(
        "{tally:?}; without the cache {} of {} frames are free",
        books.free + books.cached,
        books.managed
    );
    findings.iter().for_each(|finding| eprintln!("audit: {finding}"));
    let good = tally.refused + tally.wrong + books.findings + books.allocated == 0 && rests;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
