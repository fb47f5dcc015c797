//! The text fields of a multipart form: any order, repeated, with or without brackets.

use super::error::ApiError;
use std::str::FromStr;

/// Text fields in the order they came. Unknown ones are kept and ignored; empty ones, and those with the word `null` that
/// clients write for nothing, count as not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Form(pub Vec<(String, String)>);

impl Form {
    /// The last value of a field that was given.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(field, value)| field == name && is_given(value)).map(|(_, value)| value.as_str())
    }

    /// Every value of `name` and `name[]` that was given.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |field: &str| field == name || field.strip_suffix("[]") == Some(name);
        self.0.iter().filter(move |(field, value)| named(field) && is_given(value)).map(|(_, value)| value.as_str())
    }

    /// The value of a field as something that can be parsed.
    pub fn parse<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        self.one(name)
            .map(|value| value.parse().map_err(|error| ApiError::bad_field(name, format!("{name}: {error}"))))
            .transpose()
    }

    /// A field that is true or false.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.one(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0" | "no") => Ok(false),
            Some("true" | "1" | "yes") => Ok(true),
            Some(other) => Err(ApiError::bad_field(name, format!("{name} is true or false, not '{other}'"))),
        }
    }
}

/// Whether a value says anything.
pub(super) fn is_given(value: &str) -> bool {
    !value.is_empty() && value != "null"
}
