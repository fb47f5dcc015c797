//! The importer: every number type and vocabulary, and files that are not what they say.

use super::folder::{self, SMALL, Shape};
use crate::models::ct2::{Ct2, Type};
use crate::models::ggml::{BLOCK, Format, Precision};
use crate::models::import::{Imported, import};
use crate::models::{ImportError, mel};
use std::fs;
use std::path::Path;

fn run(folder: &Path, name: &str, precision: Precision) -> Result<Imported, ImportError> {
    import(folder, &folder.join(name), precision, &mut |_, _| true).map(|done| done.expect("not stopped"))
}

/// Where each tensor comes from: the mapping of the two formats, written out a second time for the test.
fn source(name: &str) -> (String, usize) {
    let part = |name: &str| if name.starts_with("encoder") { "encoder" } else { "decoder" };
    let fixed = match name {
        "decoder.token_embedding.weight" => Some("decoder/embeddings/weight".to_owned()),
        "encoder.positional_embedding" | "decoder.positional_embedding" => {
            Some(format!("{}/position_encodings/encodings", part(name)))
        }
        "encoder.ln_post.weight" | "decoder.ln.weight" => Some(format!("{}/layer_norm/gamma", part(name))),
        "encoder.ln_post.bias" | "decoder.ln.bias" => Some(format!("{}/layer_norm/beta", part(name))),
        _ if name.contains("conv") => Some(name.replace('.', "/")),
        _ => None,
    };
    if let Some(fixed) = fixed {
        return (fixed, 0);
    }
    let (block, end) = name.split_once(".blocks.0.").unwrap().1.rsplit_once('.').unwrap();
    let norm =
        |b: &str| format!("{}/layer_0/{b}/layer_norm/{}", part(name), if end == "weight" { "gamma" } else { "beta" });
    let dense = |b: &str, i: usize| format!("{}/layer_0/{b}/linear_{i}/{end}", part(name));
    match block {
        "mlp_ln" => (norm("ffn"), 0),
        "attn_ln" => (norm("self_attention"), 0),
        "cross_attn_ln" => (norm("attention"), 0),
        "mlp.0" => (dense("ffn", 0), 0),
        "mlp.2" => (dense("ffn", 1), 0),
        "attn.query" => (dense("self_attention", 0), 0),
        "attn.key" => (dense("self_attention", 0), 1),
        "attn.value" => (dense("self_attention", 0), 2),
        "attn.out" => (dense("self_attention", 1), 0),
        "cross_attn.query" => (dense("attention", 0), 0),
        "cross_attn.key" => (dense("attention", 1), 0),
        "cross_attn.value" => (dense("attention", 1), 1),
        "cross_attn.out" => (dense("attention", 2), 0),
        other => panic!("no such block {other}"),
    }
}

#[test]
fn every_number_type_and_vocabulary_gives_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    // The greatest error that each type may bring to numbers between -1 and 1.
    let kinds = [
        (Type::F32, 51_864, 80, false, 0.0005),
        (Type::F16, 51_865, 80, true, 0.0005),
        (Type::Bf16, 51_866, 128, true, 0.004),
        (Type::I8, 51_866, 128, false, 0.005),
        (Type::I16, 51_865, 80, false, 0.001),
    ];
    for (kind, vocabulary, mels, json, error) in kinds {
        let shape = Shape { kind, vocabulary, mels, json, ..SMALL };
        let folder = folder.path().join(format!("{kind:?}"));
        folder::write(&folder, &shape);
        for (precision, ftype, matrix, more) in [(Precision::F16, 1, 1, 0.0), (Precision::Q8_0, 2_007, 8, 0.005)] {
            let done = run(&folder, "out.bin", precision).unwrap();
            assert_eq!(done.bytes, fs::metadata(&done.path).unwrap().len());
            let file = folder::read(&done.path);
            let (v, m) = (vocabulary as i32, mels as i32);
            assert_eq!(file.header, [0x6767_6d6c, v, 1500, 32, 2, 1, 448, 32, 2, 1, m, ftype, m, 201]);
            assert_eq!(file.filters, mel::filters(mels));
            assert_eq!(file.tokens.len(), 50_257);
            assert_eq!(file.tokens[..3], [b"\n".to_vec(), vec![0xe9], b" 2".to_vec()]);
            assert_eq!(file.tensors.len(), 11 + 15 + 24);
            for (name, (stored, dims, numbers)) in &file.tensors {
                let (from, slice) = source(name);
                let matrix_here = dims.len() == 2 && !name.contains("positional") && !name.ends_with("bias");
                let expected = if matrix_here { matrix } else { i32::from(dims.len() == 3) };
                assert_eq!(*stored, expected, "{name} {dims:?}");
                assert!(!name.ends_with("key.bias"));
                let allowed = error + if matrix_here { more } else { 0.0 };
                for (i, x) in numbers.iter().enumerate() {
                    let y = folder::value(&from, slice * numbers.len() + i);
                    assert!((x - y).abs() <= allowed, "{kind:?} {precision} {name}[{i}] is {x}, not {y}");
                }
            }
        }
    }
}

#[test]
fn the_same_folder_gives_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    folder::write(folder.path(), &SMALL);
    let first = run(folder.path(), "a.bin", Precision::Q8_0).unwrap();
    let second = run(folder.path(), "b.bin", Precision::Q8_0).unwrap();
    assert_eq!(first.sha256, second.sha256);
    assert_eq!(fs::read(first.path).unwrap(), fs::read(second.path).unwrap());
}

#[test]
fn a_truncated_model_is_refused_at_every_length_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    folder::write(folder.path(), &SMALL);
    let whole = fs::read(folder.path().join("model.bin")).unwrap();
    for i in 0..60 {
        fs::write(folder.path().join("model.bin"), &whole[..whole.len() * i / 60]).unwrap();
        let error = run(folder.path(), "out.bin", Precision::F16).unwrap_err().to_string();
        assert!(error.contains("not an intact CTranslate2 model"), "{error}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn damaged_and_hostile_models_are_errors_and_take_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    folder::write(folder.path(), &SMALL);
    let path = folder.path().join("model.bin");
    let whole = fs::read(&path).unwrap();
    let bad = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        run(folder.path(), "out.bin", Precision::F16).unwrap_err().to_string()
    };
    // Counts, string lengths and dimensions that claim far more than the file holds.
    let count_at = 4 + 2 + 12 + 4;
    let mut many = whole.clone();
    many[count_at..count_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(bad(&many).contains("4294967295 variables"));
    let mut long = whole.clone();
    long[count_at + 4..count_at + 6].copy_from_slice(&[0xff; 2]);
    assert!(bad(&long[..2_000]).contains("ends inside the variable name"));
    let first = "decoder/embeddings/weight".len() + 1;
    let dims_at = count_at + 4 + 2 + first + 1;
    let mut huge = whole.clone();
    huge[dims_at..dims_at + 8].copy_from_slice(&[0xff; 8]);
    assert!(bad(&huge).contains("cannot be"));
    let mut rank = whole.clone();
    rank[dims_at - 1] = 200;
    assert!(bad(&rank).contains("200 dimensions"));
    assert!(bad(b"GGUF and then something else entirely").contains("container version"));
    assert!(bad(b"").contains("ends inside the version"));

    // Any byte of the index may be anything.
    let mut seed = 1u64;
    for _ in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % 400;
            bytes[at] = (seed >> 25) as u8;
        }
        fs::write(&path, &bytes).unwrap();
        _ = Ct2::open(&path);
    }
}

#[test]
fn other_models_and_vocabularies_are_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    folder::write(folder.path(), &SMALL);
    let text = |p: Precision| run(folder.path(), "out.bin", p).unwrap_err().to_string();
    let vocabulary = folder.path().join("vocabulary.txt");
    fs::write(&vocabulary, "only\nthree\ntokens\n").unwrap();
    assert!(text(Precision::F16).contains("has 3 tokens, the model has 51864"));
    fs::write(&vocabulary, "日本\n".repeat(51_000)).unwrap();
    assert!(text(Precision::F16).contains("not byte-level BPE"));
    fs::remove_file(&vocabulary).unwrap();
    assert!(text(Precision::F16).contains("neither vocabulary.txt nor vocabulary.json"));
    let model = folder::model(&SMALL);
    let other = String::from_utf8_lossy(&model[..40]).contains("WhisperSpec");
    assert!(other);
    let mut renamed = model.clone();
    renamed[6..17].copy_from_slice(b"TransformeS");
    fs::write(folder.path().join("model.bin"), renamed).unwrap();
    assert!(text(Precision::F16).contains("it is a TransformeS, not a Whisper model"));
    folder::write(folder.path(), &Shape { vocabulary: 51_000, ..SMALL });
    assert!(text(Precision::F16).contains("it knows 51000 tokens"));
    folder::write(folder.path(), &Shape { mels: 64, ..SMALL });
    assert!(text(Precision::F16).contains("64 mel bands"));
}

#[test]
fn a_stopped_import_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    folder::write(folder.path(), &SMALL);
    let target = folder.path().join("out.bin");
    assert!(import(folder.path(), &target, Precision::F16, &mut |done, _| done < 5).unwrap().is_none());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_says_what_to_do() {
    // A device that is always full, under the name that the import writes first.
    let folder = tempfile::tempdir().unwrap();
    folder::write(folder.path(), &SMALL);
    std::os::unix::fs::symlink("/dev/full", folder.path().join("out.bin.import")).unwrap();
    let error = run(folder.path(), "out.bin", Precision::F16).unwrap_err().to_string();
    assert!(error.contains("No space left") && error.contains("bestbox models rm"), "{error}");
}

#[test]
fn mel_filters_are_slaney_triangles_of_equal_area() {
    for bands in [80, 128] {
        let filters = mel::filters(bands);
        assert_eq!(filters.len(), bands * mel::BINS);
        let peaks: Vec<usize> = filters
            .chunks(mel::BINS)
            .map(|f| f.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0)
            .collect();
        assert!(peaks.is_sorted() && peaks[0] <= 1 && peaks[bands - 1] >= 190, "{peaks:?}");
        // The area of a triangle is 1; the sum over 40 Hz bins is close to it where the triangle is wide.
        for filter in filters.chunks(mel::BINS).skip(bands * 3 / 4) {
            let area: f32 = filter.iter().sum::<f32>() * 40.0;
            assert!((area - 1.0).abs() < 0.06, "{area}");
        }
    }
    // librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)[0, 1]
    assert!((mel::filters(80)[1] - 0.024_862_59).abs() < 1e-7, "{}", mel::filters(80)[1]);
}

#[test]
fn q8_0_keeps_every_number_within_half_a_step() {
    let numbers: Vec<f32> = (0..10 * BLOCK).map(|i| folder::value("q8", i) * 3.0).collect();
    let mut out = Vec::new();
    Format::Q8_0.encode(&numbers, &mut out);
    assert_eq!(out.len(), 10 * 34);
    for (block, bytes) in numbers.chunks(BLOCK).zip(out.chunks(34)) {
        let scale = half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        for (x, &q) in block.iter().zip(&bytes[2..]) {
            assert!((x - f32::from(q.cast_signed()) * scale).abs() <= scale * 0.57);
        }
    }
    out.clear();
    Format::Q8_0.encode(&[0.0; BLOCK], &mut out);
    assert_eq!(out, [0; 34]);
}
