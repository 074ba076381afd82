//! Errors of SQS calls, each in one line that names the call and the fix.

use std::error::Error;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

use super::client::ANSWER;
use crate::backend::BackendError;

/// A call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Receive,
    Delete,
    Hide,
    Attributes,
}

impl Call {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Receive => "ReceiveMessage",
            Self::Delete => "DeleteMessageBatch",
            Self::Hide => "ChangeMessageVisibilityBatch",
            Self::Attributes => "GetQueueAttributes",
        }
    }

    /// Fix for a call that is not permitted. Batch calls need the action for a single message.
    fn permit(self) -> &'static str {
        match self {
            Self::Receive => "allow the action sqs:ReceiveMessage for the key's user or role, or in the queue's policy",
            Self::Delete => "allow the action sqs:DeleteMessage for the key's user or role, or in the queue's policy",
            Self::Hide => {
                "allow the action sqs:ChangeMessageVisibility for the key's user or role, or in the queue's policy"
            }
            Self::Attributes => {
                "allow the action sqs:GetQueueAttributes for the key's user or role, or in the queue's policy"
            }
        }
    }
}

const NO_QUEUE: &str =
    "create it, or correct `queue`, `prefix`, `suffix` or `region` of the connection in the app's config/queue.php";
const NO_ADDRESS: &str = "set `prefix` of the connection in the app's config/queue.php to \
     https://sqs.REGION.amazonaws.com/ACCOUNT (SQS_PREFIX)";
const WRONG_REGION: &str =
    "set `region` of the connection in the app's config/queue.php to that of the queue's URL (AWS_DEFAULT_REGION)";
const WRONG_KEYS: &str = "correct `key` and `secret` of the connection in the app's config/queue.php \
     (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)";
const OLD_KEYS: &str = "the temporary keys have expired: leave `key` and `secret` of the connection in the app's \
     config/queue.php empty to use the role of the machine or container, or set new ones";
const NO_KEYS: &str = "set `key` and `secret` of the connection in the app's config/queue.php (AWS_ACCESS_KEY_ID, \
     AWS_SECRET_ACCESS_KEY), or give the machine or container a role";

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Fault {
    pub error: BackendError,
    /// The failure concerns this queue alone.
    pub of_queue: bool,
    /// The call is not permitted.
    pub denied: bool,
}

impl Fault {
    /// The server cannot be used now.
    pub(super) fn unavailable(server: &str, reason: String) -> Self {
        let target = format!("sqs at {server}");
        Self { error: BackendError::Unavailable { target, reason }, of_queue: false, denied: false }
    }

    fn refused(what: String, fix: &'static str) -> Self {
        Self { error: BackendError::Refused { what, fix }, of_queue: false, denied: false }
    }

    /// There are no credentials.
    pub(super) fn no_credentials(server: &str, why: &str) -> Self {
        Self::refused(format!("sqs at {server}: no credentials are found: {why}"), NO_KEYS)
    }

    /// The fault of an error reply, an invalid reply or a missing one. `None` for a failure before the request was
    /// sent: such an error does not contain its cause.
    pub(super) fn of<E>(call: Call, server: &str, url: &str, error: &SdkError<E>) -> Option<Self>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let name = call.name();
        let unavailable = |reason: String| Some(Self::unavailable(server, reason));
        match error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let code = answer.err().code().unwrap_or_default();
                let message = answer.err().message().unwrap_or_default();
                Some(Self::of_code(call, server, url, code, message, status))
            }
            SdkError::TimeoutError(_) => unavailable(format!(
                "no answer to {name} within {} s; fix: check `endpoint` and `prefix` of the connection, and the network",
                ANSWER.as_secs()
            )),
            SdkError::DispatchFailure(failure) if failure.is_timeout() || failure.is_io() => {
                unavailable(format!("{name}: {}", causes(error)))
            }
            SdkError::ResponseError(answer) => unavailable(format!(
                "invalid SQS reply to {name} (HTTP {}): {}",
                answer.raw().status().as_u16(),
                causes(error)
            )),
            _ => None,
        }
    }

    /// The fault of an error code of the service.
    fn of_code(call: Call, server: &str, url: &str, code: &str, message: &str, status: u16) -> Self {
        let name = call.name();
        // Depending on the server's protocol, codes have a namespace in front, removed here, or a suffix behind.
        let code = code.rsplit(['.', '#']).next().unwrap_or(code);
        let says = if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") };
        let refused = |fix| Self::refused(format!("sqs: {name} on {url}: {says}"), fix);
        let unavailable = |reason| Self::unavailable(server, reason);

        match code {
            "NonExistentQueue" | "QueueDoesNotExist" => Self {
                of_queue: true,
                ..Self::refused(format!("sqs: {name} on {url}: the queue does not exist"), NO_QUEUE)
            },
            "InvalidAddress" => Self { of_queue: true, ..refused(NO_ADDRESS) },
            "AccessDenied" | "AccessDeniedException" | "AuthorizationError" | "NotAuthorized" => Self {
                of_queue: true,
                denied: true,
                ..Self::refused(format!("sqs: {name} on {url} is not permitted"), call.permit())
            },
            _ if message.contains("valid region") => refused(WRONG_REGION),
            "RequestExpired" | "RequestTimeTooSkewed" => unavailable(clock(name, &says)),
            _ if message.contains("Signature expired") || message.contains("Signature not yet current") => {
                unavailable(clock(name, &says))
            }
            "ExpiredToken" | "ExpiredTokenException" => refused(OLD_KEYS),
            "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "InvalidSecurity" => refused(WRONG_KEYS),
            _ if is_throttled(code) || status == 429 => {
                unavailable(format!("{name} on {url} is throttled ({says}); fix: request a higher quota"))
            }
            "" if status < 300 => unavailable(format!("invalid SQS reply to {name} (HTTP {status})")),
            "" => unavailable(format!("{name}: HTTP {status}")),
            _ => unavailable(format!("{name} on {url}: {says} (HTTP {status})")),
        }
    }
}

fn clock(name: &str, says: &str) -> String {
    format!("{name}: {says}; this machine's clock is wrong; fix: set it (timedatectl set-ntp true)")
}

fn is_throttled(code: &str) -> bool {
    matches!(code, "OverLimit" | "RequestLimitExceeded" | "SlowDown" | "BandwidthLimitExceeded")
        || code.contains("Throttl")
}

/// Whether a batch entry that failed with this code is no longer ours. Otherwise the call is repeated.
pub(super) fn is_lost(code: &str, sender_fault: bool) -> bool {
    sender_fault && !is_throttled(code.rsplit(['.', '#']).next().unwrap_or(code))
}

/// An error and its causes, each once, without the SDK's generic messages, which give no reason.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string().replace('\n', " ");
        if !matches!(text.as_str(), "dispatch failure" | "service error" | "response error" | "io error")
            && said.last().is_none_or(|last| !last.contains(&text))
        {
            said.push(text);
        }
        next = error.source();
    }
    said.join(": ")
}
