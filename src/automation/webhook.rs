//! The report as an HTTP POST.

use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};

use super::report::Report;

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited before it is tried again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Posts the report. What does not answer is tried again; what refuses is not.
pub(super) fn post(url: &str, report: &Report) -> Result<(), ureq::Error> {
    // The machine's own certificates, as its administrator has them.
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .tls_config(tls)
        .max_redirects(0)
        .user_agent(report.program.replace(' ', "/"))
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let body = report.to_json();
    let send = || match agent.post(url).content_type("application/json").send(&body) {
        // With no redirects to follow one comes back as it is; it has not taken the report.
        Ok(answer) if !answer.status().is_success() => Err(ureq::Error::StatusCode(answer.status().as_u16())),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    let mut answer = send();
    for pause in PAUSES {
        match &answer {
            Ok(()) => break,
            Err(ureq::Error::StatusCode(code)) if !matches!(code, 408 | 429 | 500..) => break,
            Err(_) => {
                std::thread::sleep(pause);
                answer = send();
            }
        }
    }
    answer
}
