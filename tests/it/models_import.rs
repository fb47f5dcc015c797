//! Imports, held against whisper.cpp itself: its loader and its quantiser.

use crate::models_support::{cache, ct2_folder, tensors};
use bestbox::models::{Precision, Role, Store};
use std::ffi::c_void;
use std::fs;
use tokio_util::sync::CancellationToken;
use whisper_rs::{WhisperContext, WhisperContextParameters, whisper_rs_sys};

#[test]
fn whisper_cpp_loads_imports_with_80_and_128_mels() {
    // Off standard error, where it would bury the names of the tests.
    whisper_rs::install_logging_hooks();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("cache"), Vec::new());
    for (vocabulary, mels) in [(51_864, 80), (51_865, 80), (51_866, 128)] {
        let source = folder.path().join(format!("whisper-{vocabulary}"));
        ct2_folder(&source, vocabulary, mels);
        for precision in [Precision::F16, Precision::Q8_0] {
            let done = store.import(&source, precision, None, &|_| {}, &CancellationToken::new()).unwrap();
            let context = WhisperContext::new_with_params(&done.path, WhisperContextParameters::default()).unwrap();
            assert_eq!(context.n_vocab(), vocabulary as i32);
            assert_eq!(context.model_n_mels(), mels as i32);
            assert_eq!(context.model_n_audio_state(), 64);
            assert_eq!(context.is_multilingual(), vocabulary > 51_864);
        }
    }
}

#[test]
fn q8_0_is_what_ggml_makes_of_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("cache"), Vec::new());
    let source = folder.path().join("whisper");
    ct2_folder(&source, 51_864, 80);
    let import = |p| store.import(&source, p, None, &|_| {}, &CancellationToken::new()).unwrap().path;
    let exact = tensors(&fs::read(import(Precision::F16)).unwrap());
    let quantised = tensors(&fs::read(import(Precision::Q8_0)).unwrap());
    let mut compared = 0;
    for (name, (kind, dims, bytes)) in &quantised {
        let (_, _, half) = &exact[name];
        if *kind != 8 {
            assert_eq!(bytes, half, "{name}");
            continue;
        }
        let numbers: Vec<f32> = half.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect();
        let mut expected = vec![0u8; bytes.len()];
        let (rows, width) = (dims[0] as i64, dims[1] as i64);
        // SAFETY: `numbers` holds rows * width floats, `expected` the 34 bytes that q8_0 takes for each 32 of them, and
        // no importance matrix is needed for q8_0.
        let written = unsafe {
            whisper_rs_sys::ggml_quantize_chunk(
                whisper_rs_sys::ggml_type_GGML_TYPE_Q8_0,
                numbers.as_ptr(),
                expected.as_mut_ptr().cast::<c_void>(),
                0,
                rows,
                width,
                std::ptr::null(),
            )
        };
        assert_eq!(written, bytes.len(), "{name}");
        assert!(expected == *bytes, "{name} differs from ggml's own");
        compared += 1;
    }
    assert!(compared > 15, "{compared}");
}

#[test]
fn the_models_of_the_set_up_are_the_pinned_ones() {
    let store = Store::new(cache(), Vec::new());
    for (name, role) in [("base-q8_0", Role::Whisper), ("tiny.en-q8_0", Role::Whisper), ("smollm2-135m", Role::Llm)] {
        let path = store.resolve(name, role).unwrap_or_else(|e| panic!("run make setup: {e}"));
        let (checked, state, _) = store.verify(name, &CancellationToken::new()).unwrap();
        assert_eq!((checked, state), (path, bestbox::models::State::Checked));
    }
}
