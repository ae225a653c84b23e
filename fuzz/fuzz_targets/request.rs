//! Arbitrary requests to one server: no panic, and every failure is a `Status` or the router's plain text.
#![no_main]

#[path = "../body.rs"]
mod body;

use std::sync::Arc;

use homeostat::apiserver::ApiServer;
use homeostat::clock::Clock;
use homeostat::store::MemoryStore;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(MemoryStore::default());
        let mut server = ApiServer::builder(store).clock(Clock::seeded(1)).start().await.expect("starts");
        for input in body::inputs(data) {
            if let Err(wrong) = body::ask(&mut server, input).await {
                panic!("{wrong}");
            }
        }
    });
});
