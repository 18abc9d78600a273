//! What an error and its causes say, on one line.

use std::error::Error;

/// The message of an error and of its causes, on one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // What a message says already is not said again, with the system's number behind it.
        if !message.contains(text.split(" (os error").next().unwrap_or(&text)) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}
