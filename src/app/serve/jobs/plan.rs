//! What a job asks of the pipeline: the fields of `/v1/pipeline`, and OpenAI's names where they mean the same.

use crate::app::serve::error::ApiError;
use crate::app::serve::form::Form;
use crate::app::serve::plan::{plan_from, with_model};
use crate::config::Config;
use crate::outcome::Plan;

/// The plan of a job's form, its model looked up.
///
/// # Errors
/// 400 that names the field; 404 for a model that does not exist.
pub(super) async fn of(form: &Form, config: &Config) -> Result<Plan, ApiError> {
    with_model(fields(form, config)?, config).await
}

/// The same with the model as it was named: enough to write down what was done.
///
/// # Errors
/// 400 that names the field.
pub(super) fn fields(form: &Form, config: &Config) -> Result<Plan, ApiError> {
    let mut plan = plan_from(form, config)?;
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
    Ok(plan)
}
