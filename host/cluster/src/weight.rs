//! What this thread's values weigh on the heap, for tests that promise a number of bytes.

#![allow(unsafe_code, reason = "an allocator that counts is an allocator; tests only")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Scales;

#[global_allocator]
static SCALES: Scales = Scales;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// Bytes that this thread has taken and not given back, as glibc rounds them.
pub(crate) fn held() -> i64 {
    HELD.get()
}

fn weigh(layout: Layout, sign: i64) {
    let bytes = (layout.size() + 8).next_multiple_of(16).max(32);
    let _ = HELD.try_with(|held| held.set(held.get() + sign * bytes as i64));
}

unsafe impl GlobalAlloc for Scales {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        weigh(layout, 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        weigh(layout, -1);
        unsafe { System.dealloc(pointer, layout) }
    }
}
