//! Makes small CTranslate2 Whisper folders, and reads ggml files back.

use crate::models::ct2::Type;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A one-layer Whisper.
#[derive(Clone, Copy)]
pub struct Shape {
    pub vocabulary: usize,
    pub mels: usize,
    pub state: usize,
    pub kind: Type,
    pub json: bool,
}

pub const SMALL: Shape = Shape { vocabulary: 51_864, mels: 80, state: 32, kind: Type::F16, json: false };

/// Value `i` of a variable, between -1 and 1 and different for each.
pub fn value(name: &str, i: usize) -> f32 {
    let seed = name.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
    let x = (seed ^ (i as u64 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

/// Names and dimensions of all variables of numbers.
pub fn variables(s: &Shape) -> Vec<(String, Vec<usize>)> {
    let n = s.state;
    let mut v = vec![
        ("decoder/embeddings/weight".to_owned(), vec![s.vocabulary, n]),
        ("decoder/position_encodings/encodings".to_owned(), vec![448, n]),
        ("encoder/position_encodings/encodings".to_owned(), vec![1500, n]),
        ("encoder/conv1/weight".to_owned(), vec![n, s.mels, 3]),
        ("encoder/conv1/bias".to_owned(), vec![n]),
        ("encoder/conv2/weight".to_owned(), vec![n, n, 3]),
        ("encoder/conv2/bias".to_owned(), vec![n]),
    ];
    let norm = |v: &mut Vec<_>, name: &str| {
        v.push((format!("{name}/gamma"), vec![n]));
        v.push((format!("{name}/beta"), vec![n]));
    };
    for part in ["encoder", "decoder"] {
        norm(&mut v, &format!("{part}/layer_norm"));
        let mut dense = vec![
            ("ffn", 0, 4 * n, n),
            ("ffn", 1, n, 4 * n),
            ("self_attention", 0, 3 * n, n),
            ("self_attention", 1, n, n),
        ];
        let mut norms = vec!["ffn", "self_attention"];
        if part == "decoder" {
            dense.extend([("attention", 0, n, n), ("attention", 1, 2 * n, n), ("attention", 2, n, n)]);
            norms.push("attention");
        }
        norms.iter().for_each(|block| norm(&mut v, &format!("{part}/layer_0/{block}/layer_norm")));
        for (block, linear, height, width) in dense {
            v.push((format!("{part}/layer_0/{block}/linear_{linear}/weight"), vec![height, width]));
            v.push((format!("{part}/layer_0/{block}/linear_{linear}/bias"), vec![height]));
        }
    }
    v
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16 + 1).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

fn variable(out: &mut Vec<u8>, name: &str, dims: &[usize], id: u8, data: &[u8]) {
    string(out, name);
    out.push(dims.len() as u8);
    dims.iter().for_each(|&d| out.extend((d as u32).to_le_bytes()));
    out.push(id);
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
}

/// The bytes of `model.bin`, as CTranslate2's converter would write them: weights in the type asked for, integer
/// weights with their scales, everything else as float.
pub fn model(s: &Shape) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(6u32.to_le_bytes());
    string(&mut out, "WhisperSpec");
    out.extend(3u32.to_le_bytes());
    let at = out.len();
    out.extend([0; 4]);
    let mut count = 0u32;
    for (name, dims) in variables(s) {
        let numbers: Vec<f32> = (0..dims.iter().product()).map(|i| value(&name, i)).collect();
        let weight = dims.len() > 1 && name.ends_with("weight");
        count += 1;
        match s.kind {
            Type::I8 if weight => {
                let rows = numbers.chunks(numbers.len() / dims[0]);
                let scales: Vec<f32> =
                    rows.clone().map(|r| 127.0 / r.iter().fold(0.0f32, |m, x| m.max(x.abs()))).collect();
                let data: Vec<u8> =
                    rows.zip(&scales).flat_map(|(r, s)| r.iter().map(move |x| (x * s).round() as i8 as u8)).collect();
                variable(&mut out, &name, &dims, 1, &data);
                let scales: Vec<u8> = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
                variable(&mut out, &format!("{name}_scale"), &[dims[0]], 0, &scales);
                count += 1;
            }
            Type::I16 if weight => {
                let data: Vec<u8> = numbers.iter().flat_map(|x| ((x * 1024.0).round() as i16).to_le_bytes()).collect();
                variable(&mut out, &name, &dims, 2, &data);
                variable(&mut out, &format!("{name}_scale"), &[], 0, &1024f32.to_le_bytes());
                count += 1;
            }
            Type::F16 => variable(
                &mut out,
                &name,
                &dims,
                4,
                &numbers.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect::<Vec<_>>(),
            ),
            Type::Bf16 => variable(
                &mut out,
                &name,
                &dims,
                5,
                &numbers.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect::<Vec<_>>(),
            ),
            _ => variable(&mut out, &name, &dims, 0, &numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()),
        }
    }
    for part in ["encoder", "decoder"] {
        variable(&mut out, &format!("{part}/num_heads"), &[], 2, &2i16.to_le_bytes());
        count += 1;
    }
    out[at..at + 4].copy_from_slice(&count.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    string(&mut out, "decoder/projection/weight");
    string(&mut out, "decoder/embeddings/weight");
    out
}

/// Token `i` as CTranslate2 writes it; ordinary tokens are numbers after a space, which is `Ġ`.
pub fn token(i: usize) -> String {
    match i {
        0 => "Ċ".into(),
        1 => "é".into(),
        _ if i >= 50_257 => format!("<|{i}|>"),
        _ => format!("Ġ{i}"),
    }
}

/// Writes the folder.
pub fn write(folder: &Path, s: &Shape) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("model.bin"), model(s)).unwrap();
    let tokens: Vec<String> = (0..s.vocabulary).map(token).collect();
    if s.json {
        fs::write(folder.join("vocabulary.json"), serde_json::to_string(&tokens).unwrap()).unwrap();
    } else {
        fs::write(folder.join("vocabulary.txt"), tokens.join("\n") + "\n").unwrap();
    }
}

/// A ggml file read back.
pub struct Ggml {
    pub header: Vec<i32>,
    pub filters: Vec<f32>,
    pub tokens: Vec<Vec<u8>>,
    /// Type, dimensions slowest first, numbers.
    pub tensors: BTreeMap<String, (i32, Vec<usize>, Vec<f32>)>,
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, tail) = rest.split_at(n);
    *rest = tail;
    head
}

fn int(rest: &mut &[u8]) -> i32 {
    i32::from_le_bytes(take(rest, 4).try_into().unwrap())
}

pub fn read(path: &Path) -> Ggml {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let header: Vec<i32> = (0..14).map(|_| int(&mut rest)).collect();
    let filters = take(&mut rest, 4 * (header[12] * header[13]) as usize);
    let filters = filters.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let mut tokens = Vec::new();
    for _ in 0..int(&mut rest) {
        let length = int(&mut rest) as usize;
        tokens.push(take(&mut rest, length).to_vec());
    }
    let mut tensors = BTreeMap::new();
    while !rest.is_empty() {
        let (rank, length, kind) = (int(&mut rest), int(&mut rest), int(&mut rest));
        let mut dims: Vec<usize> = (0..rank).map(|_| int(&mut rest) as usize).collect();
        dims.reverse();
        let name = String::from_utf8(take(&mut rest, length as usize).to_vec()).unwrap();
        let n: usize = dims.iter().product();
        let numbers = match kind {
            0 => take(&mut rest, 4 * n).as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            1 => take(&mut rest, 2 * n).as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect(),
            8 => {
                let value = |b: &[u8; 34]| {
                    let scale = half::f16::from_le_bytes([b[0], b[1]]).to_f32();
                    b[2..].iter().map(|&q| f32::from(q.cast_signed()) * scale).collect::<Vec<_>>()
                };
                take(&mut rest, n / 32 * 34).as_chunks().0.iter().flat_map(value).collect()
            }
            other => panic!("tensor {name} has the type {other}"),
        };
        tensors.insert(name, (kind, dims, numbers));
    }
    Ggml { header, filters, tokens, tensors }
}
