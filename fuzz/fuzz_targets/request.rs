//! Arbitrary requests to one server: no panic, and every failure is a `Status` or the router's plain text.
#![no_main]

#[path = "../body.rs"]
mod body;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use homeostat::apiserver::ApiServer;
use homeostat::clock::Clock;
use homeostat::store::MemoryStore;
use libfuzzer_sys::fuzz_target;

/// Of this process; the fuzzer itself counts inputs, which hold up to 64 requests each.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(MemoryStore::default());
        let mut server = ApiServer::builder(store).clock(Clock::seeded(1)).start().await.expect("starts");
        for input in body::inputs(data) {
            match body::ask(&mut server, input).await {
                Ok(true) => {
                    let requests = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
                    if requests % 50_000 == 0 {
                        eprintln!("{requests} requests");
                    }
                }
                Ok(false) => {}
                Err(wrong) => panic!("{wrong}"),
            }
        }
    });
});
