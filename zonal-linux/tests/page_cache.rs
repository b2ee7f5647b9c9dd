//! The example's page cache under pressure: nobody is refused, every page is right, and no frame is lost.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "../examples/page_cache/cache.rs"]
mod cache;
#[path = "../examples/page_cache/load.rs"]
mod load;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use zonal::Tuning;
use zonal_linux::{Daemons, GivenBack, Machine, Pool};

use crate::cache::PageCache;
use crate::load::{Load, free_low_high, rests_at_high};

fn under_pressure(daemons: Daemons) -> GivenBack {
    let frames = 4096;
    let load = Load { time: Duration::from_millis(1500), readers: 3, blocks: 4 * frames, often: frames / 2 };
    let machine = Machine::uniform(1, frames * 4096, 2).unwrap().with_tuning(Tuning::default()).unwrap();
    let pool = Arc::new(Pool::plan(&machine).daemons(daemons).build().unwrap());
    let cache = Arc::new(PageCache::new(Arc::clone(&pool), load::content));
    let registered = pool.shrinkers().register(Arc::downgrade(&cache));
    let mut seen = Vec::new();
    let tally = load::run(&cache, load, load.time / 50, |_, _| seen.push(free_low_high(&pool)));
    assert_eq!((tally.refused, tally.wrong), (0, 0), "{tally:?}, free, low and high: {seen:?}");
    if daemons == Daemons::Threads {
        assert!(rests_at_high(&pool, Duration::from_secs(20)), "{:?}", free_low_high(&pool));
    }
    let all_there = || cache.pages() + free_low_high(&pool)[0] == frames;
    // kswapd may be at its last batch.
    let settled = (0..4000).any(|_| {
        all_there() || {
            thread::sleep(Duration::from_millis(5));
            false
        }
    });
    assert!(settled, "{} pages, {:?} of {frames} free", cache.pages(), free_low_high(&pool));
    drop(registered);
    drop(cache);
    let mut findings = Vec::new();
    let books = pool.allocator().audit(&mut |finding| findings.push(finding.to_string()));
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!((books.free + books.cached, books.in_flight), (frames, 0));
    let given = pool.shrinkers().given_back();
    eprintln!("{daemons:?}: {tally:?}, {given:?}, free, low and high at last {:?}", seen.last());
    given
}

#[test]
fn with_kswapd_the_cache_lives_at_the_high_mark() {
    let given = under_pressure(Daemons::Threads);
    assert!(given.daemons > 0, "{given:?}");
}

#[test]
fn without_it_readers_reclaim_for_themselves() {
    let given = under_pressure(Daemons::None);
    assert!(given.daemons == 0 && given.direct > 0, "{given:?}");
}
