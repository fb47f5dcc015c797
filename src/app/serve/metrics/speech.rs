//! The recognisers: their queue, waits and work, and the models in memory.

use super::{Histograms, Labels, RATIOS, count, seconds};
use crate::engine::{LoadState, SpeechModels};
use crate::speech::queue::Lane;
use crate::speech::worker::Watcher;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What is known of recognition.
pub(in crate::app::serve) struct Recognition {
    depth: Family<Labels<1>, Gauge>,
    recognizers: Gauge,
    working: Gauge,
    wait: Histograms<1>,
    work: Histograms<1>,
    real_time_factor: Histogram,
    loaded: Gauge,
    bytes: Family<Labels<1>, Gauge>,
}

impl Recognition {
    pub fn new() -> Self {
        Recognition {
            depth: Family::default(),
            recognizers: Gauge::default(),
            working: Gauge::default(),
            wait: Family::new_with_constructor(seconds),
            work: Family::new_with_constructor(seconds),
            real_time_factor: Histogram::new(RATIOS),
            loaded: Gauge::default(),
            bytes: Family::default(),
        }
    }

    pub fn register(&self, all: &mut Registry) {
        let help = "Utterances waiting for a recogniser, by lane";
        all.register("bestbox_queue_depth", help, self.depth.clone());
        all.register("bestbox_recognizers", "Recogniser threads", self.recognizers.clone());
        all.register("bestbox_recognizers_working", "Recogniser threads at work", self.working.clone());
        let help = "How long utterances waited for a recogniser, by lane";
        all.register_with_unit("bestbox_queue_wait", help, Unit::Seconds, self.wait.clone());
        let help = "How long recognisers worked on utterances, by lane";
        all.register_with_unit("bestbox_recognition", help, Unit::Seconds, self.work.clone());
        let help = "Seconds of a recogniser a second of audio, for each utterance; waiting is not counted";
        all.register("bestbox_recognition_real_time_factor", help, self.real_time_factor.clone());
        all.register("bestbox_models_loaded", "Speech models in memory", self.loaded.clone());
        let help = "Memory that each loaded speech model takes";
        all.register_with_unit("bestbox_model_memory", help, Unit::Bytes, self.bytes.clone());
    }

    /// For the recogniser threads.
    pub fn watcher(&self) -> Watcher {
        let (wait, work, ratio) = (self.wait.clone(), self.work.clone(), self.real_time_factor.clone());
        Box::new(move |passed| {
            let labels = [("lane", lane(passed.lane).to_owned())];
            wait.get_or_create(&labels).observe(passed.wait_seconds);
            work.get_or_create(&labels).observe(passed.busy_seconds);
            if passed.audio_seconds > 0.0 {
                ratio.observe(passed.busy_seconds / passed.audio_seconds);
            }
        })
    }

    /// What is so at this moment.
    pub fn update(&self, models: &SpeechModels) {
        let stats = models.stats();
        for (of, waiting) in [(Lane::Short, stats.waiting_short), (Lane::Long, stats.waiting_long)] {
            self.depth.get_or_create(&[("lane", lane(of).to_owned())]).set(count(waiting));
        }
        self.recognizers.set(count(stats.recognizers));
        self.working.set(count(stats.working));
        let ready: Vec<_> = models.loaded().into_iter().filter(|model| model.state == LoadState::Ready).collect();
        self.loaded.set(count(ready.len()));
        // Names of the operator's files: no client adds one.
        self.bytes.clear();
        for model in ready {
            let bytes = i64::try_from(model.bytes).unwrap_or(i64::MAX);
            self.bytes.get_or_create(&[("model", model.name)]).set(bytes);
        }
    }
}

fn lane(lane: Lane) -> &'static str {
    match lane {
        Lane::Short => "short",
        Lane::Long => "long",
    }
}
