//! A plugin that panics fails its pod, not the scheduler.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a hook of a plugin. `Err`: it panicked, and with what words.
pub(crate) fn guarded<T>(hook: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(hook))
        .map_err(|panic| format!("a plugin panicked: {}", panic_text(&*panic)))
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}
