//! Helpers of the models tests: a small CTranslate2 folder, and the tensors of a ggml file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The cache that `make setup` filled.
pub fn cache() -> PathBuf {
    bestbox::models::cache_dir()
}

/// A Whisper of one layer, 64 wide, single precision, with numbers between -1 and 1 that half precision holds exactly, so
/// that f16 and q8_0 start from the same.
pub fn ct2_folder(folder: &Path, vocabulary: usize, mels: usize) {
    const N: usize = 64;
    let mut dims = vec![
        ("decoder/embeddings/weight".to_owned(), vec![vocabulary, N]),
        ("decoder/position_encodings/encodings".into(), vec![448, N]),
        ("encoder/position_encodings/encodings".into(), vec![1500, N]),
        ("encoder/conv1/weight".into(), vec![N, mels, 3]),
        ("encoder/conv1/bias".into(), vec![N]),
        ("encoder/conv2/weight".into(), vec![N, N, 3]),
        ("encoder/conv2/bias".into(), vec![N]),
    ];
    for part in ["encoder", "decoder"] {
        let mut norms = vec![format!("{part}/layer_norm")];
        let mut dense = vec![("ffn/linear_0", 4 * N, N), ("ffn/linear_1", N, 4 * N)];
        dense.extend([("self_attention/linear_0", 3 * N, N), ("self_attention/linear_1", N, N)]);
        let blocks: &[&str] =
            if part == "encoder" { &["ffn", "self_attention"] } else { &["ffn", "self_attention", "attention"] };
        norms.extend(blocks.iter().map(|b| format!("{part}/layer_0/{b}/layer_norm")));
        if part == "decoder" {
            dense.extend([
                ("attention/linear_0", N, N),
                ("attention/linear_1", 2 * N, N),
                ("attention/linear_2", N, N),
            ]);
        }
        dims.extend(norms.into_iter().flat_map(|n| [(format!("{n}/gamma"), vec![N]), (format!("{n}/beta"), vec![N])]));
        for (name, height, width) in dense {
            dims.push((format!("{part}/layer_0/{name}/weight"), vec![height, width]));
            dims.push((format!("{part}/layer_0/{name}/bias"), vec![height]));
        }
    }
    let mut out = 6u32.to_le_bytes().to_vec();
    string(&mut out, "WhisperSpec");
    out.extend(3u32.to_le_bytes());
    out.extend((dims.len() as u32).to_le_bytes());
    let mut seed = 1u32;
    for (name, dims) in dims {
        string(&mut out, &name);
        out.push(dims.len() as u8);
        dims.iter().for_each(|&d| out.extend((d as u32).to_le_bytes()));
        let count: usize = dims.iter().product();
        out.push(0);
        out.extend((4 * count as u32).to_le_bytes());
        for _ in 0..count {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = half::f16::from_f32(seed as f32 / 2_147_483_648.0 - 1.0);
            out.extend(number.to_f32().to_le_bytes());
        }
    }
    out.extend(0u32.to_le_bytes());
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("model.bin"), out).unwrap();
    let tokens: Vec<String> = (0..vocabulary).map(|i| format!("t{i}")).collect();
    fs::write(folder.join("vocabulary.json"), serde_json::to_string(&tokens).unwrap()).unwrap();
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16 + 1).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

/// ggml type, dimensions slowest first, bytes.
pub type Tensor = (i32, Vec<usize>, Vec<u8>);

/// The tensors of a ggml file.
pub fn tensors(bytes: &[u8]) -> BTreeMap<String, Tensor> {
    let mut rest = bytes;
    let header: Vec<i32> = (0..14).map(|_| int(&mut rest)).collect();
    take(&mut rest, (4 * header[12] * header[13]) as usize);
    for _ in 0..int(&mut rest) {
        let length = int(&mut rest);
        take(&mut rest, length as usize);
    }
    let mut tensors = BTreeMap::new();
    while !rest.is_empty() {
        let (rank, length, kind) = (int(&mut rest), int(&mut rest), int(&mut rest));
        let mut dims: Vec<usize> = (0..rank).map(|_| int(&mut rest) as usize).collect();
        dims.reverse();
        let name = String::from_utf8(take(&mut rest, length as usize).to_vec()).unwrap();
        let count: usize = dims.iter().product();
        let size = match kind {
            0 => 4 * count,
            1 => 2 * count,
            _ => count / 32 * 34,
        };
        tensors.insert(name, (kind, dims, take(&mut rest, size).to_vec()));
    }
    tensors
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, tail) = rest.split_at(n);
    *rest = tail;
    head
}

fn int(rest: &mut &[u8]) -> i32 {
    i32::from_le_bytes(take(rest, 4).try_into().unwrap())
}
