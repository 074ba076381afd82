//! A message as a letter. Pure.

use super::Message;

/// Characters of a subject.
const SUBJECT: usize = 200;

/// The letter, for `sendmail -i -t`. No name in it can end its line.
pub fn letter(addresses: &[String], message: &Message) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let subject: String = message.line().chars().take(SUBJECT).map(plain).collect();
    let to: Vec<String> =
        addresses.iter().map(|address| address.chars().filter(char::is_ascii_graphic).collect()).collect();
    let Message { app, host, alert, state, queue, text, .. } = message;
    let queue = queue.as_ref().map(|queue| format!("queue: {queue}\n")).unwrap_or_default();
    format!(
        "To: {}\nSubject: {subject}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\nAuto-Submitted: auto-generated\n\n\
         {text}\n\napp: {app}\nhost: {host}\nalert: {alert} {state}\n{queue}\n\
         kqueue status {app}\njournalctl KQUEUE_APP={app} KQUEUE_ALERT={alert}\n",
        to.join(", ")
    )
}
