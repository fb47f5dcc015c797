//! `Config` and `Plan` to the settings of each part.
