//! Voice activity detection on real speech: how much of what is spoken reaches the recogniser, by earshot and by an
//! energy detector, and how much else does. Spoken stretches are the words of the alignments. No model file needed.

use crate::speech_support as s;

/// Start and end of every word, seconds.
fn spoken(name: &str) -> Vec<(f64, f64)> {
    let text = std::fs::read_to_string(s::sample(&format!("librivox/{name}.json"))).expect("the alignment is there");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let number = |w: &serde_json::Value, key: &str| w[key].as_f64().expect("a number");
    json["w"]
        .as_array()
        .expect("words")
        .iter()
        .filter(|w| w["t"] != "<sil>")
        .map(|w| (number(w, "b"), number(w, "b") + number(w, "d")))
        .collect()
}

/// The simplest detector there is: 20 dB over full scale times 1e-3, with the same padding.
fn by_energy(samples: &[f32]) -> Vec<(f64, f64)> {
    samples
        .chunks(256)
        .enumerate()
        .filter(|(_, frame)| s::rms(frame) > 0.01)
        .map(|(i, _)| (i as f64 * 0.016 - 0.25, (i + 1) as f64 * 0.016 + 0.25))
        .collect()
}

fn by_earshot(samples: &[f32]) -> Vec<(f64, f64)> {
    s::utterances(samples).iter().map(|u| (u.start(), u.end())).collect()
}

/// Words of which a tenth or more of the time is outside all of `kept`.
fn lost(words: &[(f64, f64)], kept: &[(f64, f64)]) -> usize {
    let inside = |t: f64| kept.iter().any(|(a, b)| *a <= t && t <= *b);
    words
        .iter()
        .filter(|(a, b)| (0..20).filter(|i| !inside(a + (b - a) * (f64::from(*i) + 0.5) / 20.0)).count() >= 2)
        .count()
}

#[test]
fn earshot_loses_no_word_and_an_energy_detector_does() {
    type Change = fn(&[f32]) -> Vec<f32>;
    fn noisy(clip: &[f32], noise: fn(f64, f32) -> Vec<f32>) -> Vec<f32> {
        s::mixed(clip, &noise(clip.len() as f64 / s::RATE, s::rms(clip) * 0.316))
    }
    let conditions: [(&str, Change); 6] = [
        ("as recorded", <[f32]>::to_vec),
        ("30 dB down", |c| c.iter().map(|x| x * 0.0316).collect()),
        ("45 dB down", |c| c.iter().map(|x| x * 0.0056).collect()),
        ("white noise 10 dB", |c| noisy(c, s::white)),
        ("pink noise 10 dB", |c| noisy(c, s::pink)),
        ("telephone", s::telephone),
    ];
    let (mut earshot, mut energy) = (0, 0);
    for (name, change) in conditions {
        let (mut a, mut b, mut n) = (0, 0, 0);
        for (clip, samples, _) in s::clips() {
            let (words, samples) = (spoken(&clip), change(&samples));
            a += lost(&words, &by_earshot(&samples));
            b += lost(&words, &by_energy(&samples));
            n += words.len();
        }
        println!("{name}: of {n} words earshot loses {a}, energy {b}");
        assert_eq!(a, 0, "{name}");
        earshot += a;
        energy += b;
    }
    assert!(earshot < energy);
}

#[test]
fn most_noise_never_reaches_the_recogniser() {
    for (name, sound) in
        [("white", s::white(60.0, 0.03)), ("hum", s::hum(60.0, 0.03)), ("quiet pink", s::pink(60.0, 0.003))]
    {
        let passed: f64 = s::utterances(&sound).iter().map(|u| u.seconds()).sum();
        println!("{name}: {passed:.1} of 60 s pass");
        assert!(passed < 10.0, "{name}: {passed:.1} of 60 s");
    }
}
