//! Responses on connections on which the server does not run HTTP.

use crate::error::Error;

/// Formats a response with an error.
pub(super) fn raw_response(error: &Error) -> String {
    let (status, body) = error.refusal();
    let retry = error.retry_after().map(|seconds| format!("retry-after: {seconds}\r\n"));
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{}connection: close\r\n\r\n{}",
        body.get().len(),
        retry.unwrap_or_default(),
        body.get()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Limit;

    #[test]
    fn raw_response_names_the_limit() {
        let error = Error::TooManyConnections { limit: Limit::Connections, max: 7 };
        let response = raw_response(&error);
        assert!(response.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{response}");
        assert!(response.contains("\r\nretry-after: 1\r\n"), "{response}");
        assert!(response.contains("connections") && response.ends_with("\"limit\":7}"));
    }
}
