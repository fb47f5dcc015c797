//! What a job asks of the pipeline: the fields of `/v1/pipeline`, and OpenAI's names where they mean the same.

use crate::app::serve::error::ApiError;
use crate::app::serve::form::Form;
use crate::app::serve::openai::select;
use crate::app::serve::plan::plan_from;
use crate::config::Config;
use crate::outcome::{Plan, Task};

/// The plan of a job's form.
///
/// # Errors
/// 400 that names the field; 404 for a model that does not exist.
pub(super) async fn of(form: &Form, config: &Config) -> Result<Plan, ApiError> {
    let mut plan = plan_from(form, config)?;
    if let Some(asked) = plan.model.take() {
        plan.model = select(config, &asked).await?;
    }
    for granularity in form.all("timestamp_granularities") {
        match granularity {
            "word" => plan.word_times = true,
            "segment" => {}
            other => {
                let message = format!("timestamp_granularities are word and segment, not '{other}'");
                return Err(ApiError::bad_field("timestamp_granularities", message));
            }
        }
    }
    match form.one("task") {
        None => {}
        Some("transcribe") => plan.task = Task::Transcribe,
        Some("translate") => plan.task = Task::TranslateToEnglish,
        Some(other) => {
            return Err(ApiError::bad_field("task", format!("task is transcribe or translate, not '{other}'")));
        }
    }
    Ok(plan)
}
