//! Messages of a queue that were set aside because Laravel cannot run them: the forms that list, show, put back, mend and
//! drop them. Their contents are shown, and may be changed, only in the app itself.

use kqueue_control::{Act, BrokenAct, BrokenMessage, BrokenMessages};
use kqueue_system::harmless;
use maud::{Markup, html};

use crate::acts::{button, form_at};
use crate::format::{short, text};
use crate::parts::{heading, scrolling};
use crate::view::Page;
use crate::{Mount, Query};

/// Bytes of the largest message that a page offers for change.
const LARGEST: usize = 8 << 10;

/// The request of a form; `None` if its fields are not sufficient.
pub(crate) fn read(form: &Query, act: BrokenAct) -> Option<Act> {
    let (queue, id, with) = (form.owned("queue")?, form.owned("id"), form.message().map(str::to_owned));
    let is_fit = with.as_ref().is_none_or(|with| act == BrokenAct::Requeue && id.is_some() && !with.is_empty());
    is_fit.then_some(Act::Broken(BrokenMessages { act, queue, id, with }))
}

/// Whether a form concerns all messages of a queue.
pub(crate) fn of_queue(form: &Query) -> bool {
    form.get("id").is_none()
}

/// The section of a queue's page; empty if the viewer may not act.
pub(crate) fn section(page: &Page<'_>, queue: &str) -> Markup {
    let fields = [("queue", queue)];
    html! {
        @if page.mount.token().is_some() {
            section aria-labelledby="broken" {
                (heading("broken", "Broken messages", html! {}))
                p.of { "Messages that Laravel cannot run are set aside, and wait here to be put back or dropped." }
                div #broken-acts {
                    (button(page, "broken", "List", &fields, None))
                    (button(page, "requeue", "Put all back", &fields, Some("all broken messages of this queue")))
                    (button(page, "drop", "Drop all", &fields, Some("all broken messages of this queue")))
                }
            }
        }
    }
}

/// The table of listed messages, with the forms for each.
pub(crate) fn messages(mount: &Mount, form: &Query, messages: &[BrokenMessage]) -> Markup {
    if messages.is_empty() {
        return html! {};
    }
    let back = form.get("back").unwrap_or_default();
    let act = |deed, word, fields: &[(&str, &str)]| form_at(mount, back, deed, word, fields, &html! {});
    html! {
        (scrolling("Broken messages, the oldest first", html! { table {
            caption.sr { "Broken messages, the oldest first" }
            thead { tr { th scope="col" { "Message" } th scope="col" { "Reason" } th scope="col" { "Class" } th.num scope="col" { "Bytes" } th scope="col" { "Actions" } } }
            tbody {
                @for message in messages {
                    @let fields = [("queue", message.queue.as_str()), ("id", message.id.as_str())];
                    tr {
                        th scope="row" { code { (short(&message.id, 40)) } }
                        td { (text(message.why.as_deref().unwrap_or("no fault was found"))) }
                        td { (short(message.class.as_deref().unwrap_or("–"), 80)) }
                        td.num { (message.bytes) }
                        td {
                            @if !mount.is_host() && message.text.is_none() { (act("broken", "Show", &fields)) }
                            (act("requeue", "Put back", &fields))
                            (act("drop", "Drop", &fields))
                        }
                    }
                }
            }
        } }))
        @if !mount.is_host() {
            @if let Some((message, contents)) = messages.iter().find_map(|message| Some((message, message.text.as_ref()?))) {
                (shown(mount, back, message, contents))
            }
        }
    }
}

/// The contents of one message, and the form that replaces them.
fn shown(mount: &Mount, back: &str, message: &BrokenMessage, contents: &str) -> Markup {
    let fields = [("queue", message.queue.as_str()), ("id", message.id.as_str())];
    let input = html! { label.message { "Contents" textarea name="with" rows="12" maxlength=(LARGEST) required spellcheck="false" { "\n" (contents) } } };
    let harmless = harmless::block(contents);
    // A browser would send back other contents than those of the message.
    let is_altered = message.altered || harmless != *contents || contents.contains('\u{fffd}');
    html! {
        @if message.cut || contents.len() > LARGEST || is_altered {
            pre tabindex="0" { code { (harmless) } }
            p.of { "Only a plain text of up to " (LARGEST) " bytes can be changed here; kqueue broken APP requeue ID --with FILE takes any." }
        } @else {
            div #mend { (form_at(mount, back, "requeue", "Put back with these contents", &fields, &input)) }
        }
    }
}
