//! Programs that start another: what they change, and where the inner command begins. Pure.

use super::Why;

/// The effect of a wrapper.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    /// Irrelevant under kqueue.
    Nothing,
    /// Not carried over: there is no equivalent, or a different one.
    Dropped(Why),
    /// The value of one of these options is the user (`user:group`).
    UserOption(&'static [&'static str]),
    /// The first operand is the user.
    UserOperand,
    /// The command runs in another root, container or machine.
    Elsewhere(&'static str),
}

/// A wrapper and its arguments.
#[derive(Debug)]
pub(super) struct Wrapper {
    names: &'static [&'static str],
    /// Options that take a value.
    pub valued: &'static [&'static str],
    /// Number of operands between the options and the command; `usize::MAX` if unknown.
    pub operands: usize,
    pub effect: Effect,
}

const PRIORITY: Why = "set Nice= and the like in a drop-in: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@";
const LIMIT: Why = "set process limits in a drop-in: systemctl edit kqueue@{app}, systemctl edit kqueue-worker@";
const ENDS: Why =
    "kqueue runs continuously; worker_max_time sets when a process is replaced, and `timeout` how long a job may run";
const SECRETS: Why = "put the variables that it sets into .env, or into Environment= for both units: \
    systemctl edit kqueue@{app}, systemctl edit kqueue-worker@";
const CONTAINER: &str = "inside that container: install kqueue in its image and make `kqueue run` its command";
const ROOT: &str = "inside that root file system";
const REMOTE: &str = "on that machine";

const fn wrapper(
    names: &'static [&'static str],
    valued: &'static [&'static str],
    operands: usize,
    effect: Effect,
) -> Wrapper {
    Wrapper { names, valued, operands, effect }
}

const WRAPPERS: &[Wrapper] = &[
    wrapper(&["nice"], &["-n", "--adjustment"], 0, Effect::Dropped(PRIORITY)),
    wrapper(&["ionice"], &["-c", "--class", "-n", "--classdata", "-p", "-P", "-u"], 0, Effect::Dropped(PRIORITY)),
    wrapper(&["chrt"], &["-T", "-P", "-D"], 1, Effect::Dropped(PRIORITY)),
    wrapper(&["taskset"], &[], 1, Effect::Dropped(PRIORITY)),
    wrapper(&["timeout", "gtimeout"], &["-k", "--kill-after", "-s", "--signal"], 1, Effect::Dropped(ENDS)),
    wrapper(&["cpulimit"], &["-l", "--limit", "-e", "-p", "-c"], 0, Effect::Dropped(LIMIT)),
    wrapper(
        &["prlimit", "softlimit"],
        &["-m", "-d", "-s", "-l", "-a", "-o", "-p", "-f", "-c", "-r", "-t"],
        0,
        Effect::Dropped(LIMIT),
    ),
    wrapper(
        &[
            "nohup",
            "setsid",
            "command",
            "builtin",
            "exec",
            "unbuffer",
            "chronic",
            "tini",
            "tini-static",
            "docker-init",
            "dumb-init",
            "catatonit",
            "pid1",
            "with-contenv",
            "docker-php-entrypoint",
            "fixuid",
            "time",
        ],
        &["-a", "-f", "-o", "-p", "-e", "--format", "--output", "-r", "--rewrite"],
        0,
        Effect::Nothing,
    ),
    wrapper(&["stdbuf"], &["-i", "-o", "-e", "--input", "--output", "--error"], 0, Effect::Nothing),
    wrapper(&["systemd-cat"], &["-t", "-p", "--identifier", "--priority"], 0, Effect::Nothing),
    wrapper(
        &["flock"],
        &["-w", "--wait", "--timeout", "-E", "--conflict-exit-code"],
        1,
        Effect::Dropped("kqueue@{app} never runs twice at once; it needs no lock"),
    ),
    wrapper(&["gosu", "su-exec"], &[], 1, Effect::UserOperand),
    wrapper(&["s6-setuidgid", "setuidgid", "setuser"], &[], 1, Effect::UserOperand),
    wrapper(
        &["sudo"],
        &[
            "-u",
            "--user",
            "-g",
            "--group",
            "-p",
            "--prompt",
            "-C",
            "--close-from",
            "-r",
            "--role",
            "-t",
            "--type",
            "-T",
            "--command-timeout",
            "-h",
            "--host",
            "-D",
            "--chdir",
            "-R",
            "--chroot",
            "-U",
            "--other-user",
        ],
        0,
        Effect::UserOption(&["-u", "--user"]),
    ),
    wrapper(&["doas"], &["-u", "-C"], 0, Effect::UserOption(&["-u"])),
    wrapper(
        &["setpriv"],
        &[
            "--reuid",
            "--regid",
            "--ruid",
            "--euid",
            "--rgid",
            "--egid",
            "--groups",
            "--inh-caps",
            "--ambient-caps",
            "--bounding-set",
            "--securebits",
            "--pdeathsig",
            "--selinux-label",
            "--apparmor-profile",
        ],
        0,
        Effect::UserOption(&["--reuid", "--ruid", "--euid"]),
    ),
    wrapper(
        &["chpst"],
        &["-u", "-U", "-b", "-e", "-/", "-n", "-l", "-L", "-m", "-d", "-o", "-p", "-f", "-c", "-t"],
        0,
        Effect::UserOption(&["-u"]),
    ),
    wrapper(
        &[
            "docker",
            "podman",
            "nerdctl",
            "docker-compose",
            "podman-compose",
            "lando",
            "ddev",
            "sail",
            "crictl",
            "ctr",
            "buildah",
            "distrobox",
            "distrobox-enter",
            "toolbox",
            "apptainer",
            "singularity",
        ],
        &[],
        0,
        Effect::Elsewhere(CONTAINER),
    ),
    wrapper(
        &["kubectl", "oc", "k3s", "microk8s"],
        &[],
        0,
        Effect::Elsewhere("inside that pod: install kqueue in its image and make `kqueue run` its command"),
    ),
    wrapper(
        &["lxc", "lxc-attach", "lxc-execute", "incus", "machinectl", "systemd-nspawn", "nsenter", "pct", "jexec"],
        &[],
        0,
        Effect::Elsewhere("inside that container"),
    ),
    wrapper(&["chroot", "bwrap", "proot", "unshare", "firejail", "schroot"], &[], 0, Effect::Elsewhere(ROOT)),
    wrapper(
        &["ssh", "autossh", "sshpass", "mosh", "vagrant", "fly", "flyctl", "heroku", "multipass", "wsl", "wsl.exe"],
        &[],
        0,
        Effect::Elsewhere(REMOTE),
    ),
    wrapper(
        &[
            "doppler",
            "op",
            "infisical",
            "dotenvx",
            "dotenv",
            "chamber",
            "aws-vault",
            "envconsul",
            "envdir",
            "teller",
            "berglas",
            "ssm-env",
            "summon",
            "s6-envdir",
        ],
        &[],
        usize::MAX,
        Effect::Dropped(SECRETS),
    ),
];

/// Commands that run no other, whatever their arguments.
pub(super) const TALK: &[&str] = &[
    "echo",
    "printf",
    "logger",
    "grep",
    "egrep",
    "pgrep",
    "pkill",
    "kill",
    "killall",
    "true",
    "false",
    "sleep",
    "test",
    "[",
    "[[",
    "for",
    "case",
    "alias",
    "which",
    "type",
    "ps",
    "tail",
    "cat",
    "touch",
    "rm",
    "mkdir",
    "chown",
    "chmod",
    "trap",
    "set",
    "wait",
    "done",
    "fi",
    "esac",
    "}",
    "return",
    "exit",
    "break",
    "continue",
    "supervisorctl",
    "systemctl",
    "service",
    "pm2",
    "screen-log",
    "crontab",
];

/// Shell keywords that precede a command without changing it.
pub(super) const KEYWORDS: &[&str] = &["while", "until", "if", "then", "elif", "else", "do", "{", "!", "coproc"];

/// The wrapper with this name.
pub(super) fn find(name: &str) -> Option<&'static Wrapper> {
    WRAPPERS.iter().find(|wrapper| wrapper.names.contains(&name))
}

impl Wrapper {
    /// The index of the command in the words after the wrapper's name, and the options before it with their values.
    pub fn command_at(&self, words: &[String]) -> (usize, Vec<(String, String)>) {
        let mut at = 0;
        let mut options = Vec::new();
        while let Some(word) = words.get(at) {
            if word == "--" {
                at += 1;
                break;
            }
            if !word.starts_with('-') || word == "-" {
                break;
            }
            at += 1;
            if let Some((name, value)) = word.split_once('=').filter(|_| word.starts_with("--")) {
                options.push((name.to_owned(), value.to_owned()));
            } else if self.valued.contains(&word.as_str()) {
                options.push((word.clone(), words.get(at).cloned().unwrap_or_default()));
                at += 1;
            } else if let Some((name, value)) = attached(word, self.valued) {
                options.push((name.to_owned(), value.to_owned()));
            } else if let Some(name) = clustered(word, self.valued) {
                // `sudo -nu forge`: the last letter's value is the next word.
                options.push((name.to_owned(), words.get(at).cloned().unwrap_or_default()));
                at += 1;
            } else {
                options.push((word.clone(), String::new()));
            }
        }
        (at.saturating_add(self.operands), options)
    }
}

/// An option with an attached value: `-uforge`.
fn attached<'a>(word: &'a str, valued: &[&'static str]) -> Option<(&'static str, &'a str)> {
    let name = valued.iter().find(|name| name.len() == 2 && word.starts_with(*name) && word.len() > 2)?;
    Some((name, &word[2..]))
}

fn clustered(word: &str, valued: &[&'static str]) -> Option<&'static str> {
    let last = word.chars().last()?;
    let short = word.len() > 2 && !word.starts_with("--") && word[1..].chars().all(|c| c.is_ascii_alphabetic());
    valued.iter().copied().find(|name| short && name.len() == 2 && name.ends_with(last))
}
