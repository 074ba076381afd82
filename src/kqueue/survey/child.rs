//! The survey process, which runs as the app's user.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Failure, Found, OLDEST_PHP, Question, Stage, one_line};
use crate::backend::{self, BackendError, ConnectionSettings};
use kqueue_config::Pop;
use kqueue_system::identity::{self, Account};

/// Prefix of PHP's answer; see Survey.php.
const MARK: &str = "kqueue-survey ";
/// Maximum bytes read from each of PHP's output streams.
const LONGEST: u64 = 8 << 20;
/// Timeout for the queue to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The hidden command `survey`: reads the question from standard input, and returns the findings as JSON.
///
/// # Errors
/// When the survey cannot be made at all, in one line.
pub fn answer(script: &Path) -> Result<String, String> {
    let question: Question = take_place("survey")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let found = runtime.block_on(look(&question, script));
    // Background processes that the app started while it booted.
    identity::end_descendants();
    serde_json::to_string(&found).map_err(|error| error.to_string())
}

/// Reads the order and the user from standard input, and becomes that user, in a session of its own that shares nothing
/// with the caller but the pipes.
///
/// # Errors
/// Any failure, in one line.
pub(super) fn take_place<T: DeserializeOwned>(command: &str) -> Result<T, String> {
    let mut asked = Vec::new();
    std::io::stdin().read_to_end(&mut asked).map_err(|error| format!("cannot read standard input: {error}"))?;
    let (order, user, as_root): (T, Option<Account>, bool) = serde_json::from_slice(&asked)
        .map_err(|_| format!("{command} is internal to kqueue; use `kqueue check` or `kqueue failed`"))?;
    let cannot = |what: &str, error: std::io::Error| format!("{what}: {error}");
    identity::detach().map_err(|error| cannot("cannot create a session", error))?;
    identity::close_inherited();
    identity::adopt_descendants().map_err(|error| cannot("cannot become a subreaper", error))?;
    if let Some(user) = user.filter(|user| !user.is_us()) {
        user.become_it()?;
    }
    if geteuid().is_root() && !as_root {
        return Err(
            "refusing to run the app's PHP as root; set the user of the app: user = \"www-data\", or --as-root"
                .to_owned(),
        );
    }
    Ok(order)
}

async fn look(question: &Question, script: &Path) -> Found {
    // A PHP that is too old cannot parse the script.
    match super::version(&question.php, &question.php_args) {
        Err(why) => return Found::failed(Stage::Php, format!("{}: {why}", question.php.display())),
        Ok((version, id)) if id < OLDEST_PHP => {
            let text = format!("{} is PHP {version}; kqueue needs 8.1 or later", question.php.display());
            return Found { php: Some(version), ..Found::failed(Stage::Php, text) };
        }
        Ok(_) => {}
    }
    let (mut found, backend) = match php(question, script).await {
        Ok(described) => described,
        Err(why) => return Found::failed(Stage::Boot, why),
    };
    if found.failed.is_none() {
        found.driver = backend.get("driver").and_then(serde_json::Value::as_str).map(str::to_owned);
        found.retry_after = backend.get("retry_after").and_then(serde_json::Value::as_i64);
        found.members =
            backend.get("members").and_then(|members| serde_json::from_value(members.clone()).ok()).unwrap_or_default();
        let queues = match question.queues.as_slice() {
            [] => vec![found.queue.clone().unwrap_or_else(|| "default".to_owned())],
            queues => queues.to_vec(),
        };
        match queue(backend, &queues).await {
            Ok(native) => found.native = native,
            Err(failure) => found.failed = Some(failure),
        }
    }
    found
}

/// PHP's description of the app, and the settings of its connection.
async fn php(question: &Question, script: &Path) -> Result<(Found, serde_json::Value), String> {
    let order = serde_json::json!({
        "path": question.path,
        "connection": question.connection,
        "environment": question.environment,
        "fork_safe_peers": question.fork_safe_peers,
        "property_hints": question.property_hints,
        "classes": question.classes,
    });
    let mut command = Command::new(&question.php);
    command.args(&question.php_args).arg(script).arg("survey").arg(order.to_string());
    command.current_dir(&question.path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    let output = match timeout(question.patience, output(command)).await {
        Err(_) => return Err(format!("PHP timed out after {} s", question.patience.as_secs_f32())),
        Ok(output) => output.map_err(|error| format!("{}: {error}", question.path.display()))?,
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(answer) = said.lines().rev().find_map(|line| line.strip_prefix(MARK)) else {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().rev().find(|line| !line.trim().is_empty());
        return Err(last.map_or_else(|| format!("PHP ended with {}", output.status), one_line));
    };
    let mut value: serde_json::Value = serde_json::from_str(answer).map_err(|error| error.to_string())?;
    let backend = value.get_mut("backend").map(serde_json::Value::take).unwrap_or_default();
    let mut found: Found = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if let Some(failure) = &mut found.failed {
        // An app that ends PHP while it boots has printed the reason.
        if failure.text.is_empty() {
            failure.text = format!("the app ended PHP while it booted: {}", String::from_utf8_lossy(&output.stderr));
        }
        failure.text = one_line(&failure.text);
    }
    Ok((found, backend))
}

/// Runs PHP to its end. Background processes that it leaves are killed, so that they do not keep its output open.
async fn output(mut command: Command) -> io::Result<Output> {
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        let status = child.wait().await;
        identity::end_descendants();
        status
    };
    let (status, stdout, stderr) = tokio::join!(ended, printed(stdout), printed(stderr));
    Ok(Output { status: status?, stdout: stdout?, stderr: stderr? })
}

/// The first [`LONGEST`] bytes of what a process prints.
async fn printed(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(LONGEST).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Checks that the queue answers; returns whether workers pop by themselves (native pop).
async fn queue(settings: serde_json::Value, queues: &[String]) -> Result<bool, Failure> {
    let cannot = |text: String| Failure { stage: Stage::Connection, text: one_line(&text), fault: None };
    let silent = |text: String| Failure { stage: Stage::Queue, text: one_line(&text), fault: None };
    // For native pop, PHP has tried the queue in our stead.
    let silence = settings.get("silent").and_then(serde_json::Value::as_str).map(str::to_owned);
    let settings: ConnectionSettings = serde_json::from_value(settings).map_err(|error| cannot(error.to_string()))?;
    let said = |error: BackendError| match error {
        BackendError::Settings(text) => cannot(text),
        error => silent(error.to_string()),
    };
    let backend = backend::open(settings, Pop::default()).map_err(said)?;
    if let Some(silence) = silence {
        return Err(silent(silence));
    }
    match timeout(PATIENCE, backend.sizes(queues)).await {
        Ok(sizes) => sizes.map(|_| backend.is_native()).map_err(said),
        Err(_) => Err(silent(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}
