//! Everything whisper.cpp and ggml print goes to `tracing` at debug level, never to standard error.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Once;
use whisper_rs::whisper_rs_sys as sys;

/// Installs the hook, once a process, before the first call into whisper.cpp.
pub(super) fn install() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        // SAFETY: `forward` is a plain function with no state; both setters only store the pointer. It must be set before
        // other threads log, which `Once` and the call at the top of every model load see to.
        unsafe {
            sys::whisper_log_set(Some(forward), std::ptr::null_mut());
            sys::ggml_log_set(Some(forward), std::ptr::null_mut());
        }
    });
}

unsafe extern "C" fn forward(_level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: ggml passes a NUL-terminated string that lives for the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let line = text.trim();
    // ggml prints progress dots one at a time.
    if line.len() > 1 {
        tracing::debug!(target: "whisper.cpp", "{line}");
    }
}
