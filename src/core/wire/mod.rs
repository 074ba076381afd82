//! The messages between the runtime and its PHP processes. Pure: bytes in, messages out.
#![doc = include_str!("protocol.md")]

use bytes::Bytes;

pub mod coordinator;
pub mod frames;
mod message;
mod order;
mod parts;

use frames::{Cutter, TooLong};
pub use message::{
    BootFailure, BootFault, ClassHints, Done, FromWorker, Held, HorizonAsk, Mode, Popped, Unforkable, kind,
};
pub use order::{Job, JobKind, LastResort, TemplateOrder, ToWorker};
pub use parts::Parts;

/// The version of the protocol, sent in `HELLO`. After an upgrade, processes of two versions meet: an old worker that
/// still runs and the new runtime, or a new worker and a runtime that has not been idle since. So the protocol grows
/// by additions that the other side may ignore, and this number changes only where that is not possible.
pub const VERSION: u32 = 1;

/// Maximum size of one frame from a PHP process, bytes. These frames consist of a header only.
pub const MAX_FROM_WORKER: usize = 1 << 20;

/// A protocol error of a peer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    /// The length field exceeds the maximum.
    #[error("a frame of {length} bytes, above the maximum of {max}")]
    TooLong {
        /// Length field, bytes.
        length: usize,
        /// Maximum, bytes.
        max: usize,
    },
    /// The header's length does not fit into the frame.
    #[error("a frame of {length} bytes whose header does not fit into it")]
    Malformed {
        /// Length of the frame, bytes.
        length: usize,
    },
    /// No message of this version has this kind.
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
    /// The header does not match the kind.
    #[error("a frame of kind {kind} with a bad header: {reason}")]
    Header {
        /// The frame's kind.
        kind: u8,
        /// The parser's error.
        reason: String,
    },
}

/// Splits a byte stream into messages.
#[derive(Debug)]
pub struct Decoder(Cutter);

impl Default for Decoder {
    fn default() -> Self {
        Self(Cutter::new(MAX_FROM_WORKER))
    }
}

impl Decoder {
    /// Appends bytes received from the socket.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    /// Whether the buffer ends within a frame: a peer that closes now has truncated it.
    pub fn is_partial(&self) -> bool {
        self.0.is_partial()
    }

    /// The next complete message, if there is one.
    ///
    /// # Errors
    /// The protocol error of the peer; the stream cannot be read further.
    pub fn message(&mut self) -> Result<Option<FromWorker>, WireError> {
        let frame = self.0.next().map_err(|TooLong { length, max }| WireError::TooLong { length, max })?;
        let Some(frame) = frame else { return Ok(None) };
        let (kind, header) = frame.split_first().unzip();
        let header = header.and_then(frames::split).map(|(header, _)| header);
        let (Some(kind), Some(header)) = (kind, header) else {
            return Err(WireError::Malformed { length: frame.len() });
        };
        FromWorker::parse(*kind, header).map(Some)
    }
}

/// Encodes one frame.
fn encode(kind: u8, header: &[u8], body: &[&Bytes]) -> Parts {
    let length = 5 + header.len() + body.iter().map(|part| part.len()).sum::<usize>();
    let mut frame = Parts::default();
    frame.put(&(length as u32).to_be_bytes());
    frame.put(&[kind]);
    frame.put(&(header.len() as u32).to_be_bytes());
    frame.put(header);
    body.iter().for_each(|part| frame.share(part));
    frame
}

#[cfg(test)]
mod php_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(kind: u8, header: &[u8], body: &[&Bytes]) -> Vec<u8> {
        super::encode(kind, header, body).to_vec()
    }

    fn ready() -> Vec<u8> {
        encode(kind::READY, br#"{"done":{"deleted":true,"released":false,"failed":false,"peak":2048}}"#, &[])
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let mut stream = encode(kind::HELLO, br#"{"version":1,"mode":"lane","worker":"7","pid":42,"php":"8.4"}"#, &[]);
        stream.extend(ready());
        stream.extend(encode(kind::DELETED, b"{}", &[]));
        for cut in 1..stream.len() {
            let mut decoder = Decoder::default();
            let mut seen = 0;
            for part in stream.chunks(cut) {
                decoder.feed(part);
                while let Some(message) = decoder.message().unwrap() {
                    match (seen, message) {
                        (0, FromWorker::Hello { mode: Mode::Lane, pid: 42, .. }) => {}
                        (1, FromWorker::Ready { done: Some(done), .. }) => assert!(done.deleted && done.peak == 2048),
                        (2, FromWorker::Deleted { failed: false }) => {}
                        (n, other) => panic!("message {n} is {other:?}"),
                    }
                    seen += 1;
                }
            }
            assert_eq!(seen, 3);
            assert!(!decoder.is_partial());
        }
    }

    #[test]
    fn a_template_says_what_it_holds() {
        let header = br#"{"app":{"fork":true},"held":[{"name":"pipe","opened":null}],"classes":["A"]}"#;
        let mut decoder = Decoder::default();
        decoder.feed(&encode(kind::READY, header, &[]));
        decoder.feed(&encode(kind::READY, b"{}", &[]));
        let Some(FromWorker::Ready { app: Some(_), unforkable, .. }) = decoder.message().unwrap() else {
            panic!("no description")
        };
        assert_eq!(unforkable.held, [Held { name: "pipe".to_owned(), opened: None }]);
        let order = TemplateOrder {
            early: true,
            hurry: false,
            classes: unforkable.classes.as_deref(),
            safe: &["a:1".to_owned()],
        };
        let welcome = ToWorker::Welcome {
            path: "/srv/shop",
            connection: None,
            arguments: &[],
            redial: false,
            umask: Some(0o27),
            template: Some(order),
        };
        let text = String::from_utf8_lossy(&welcome.encode().to_vec()).into_owned();
        for part in [r#""early":true"#, r#""classes":["A"]"#, r#""fork_safe_peers":["a:1"]"#, r#""umask":23"#] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let Some(FromWorker::Ready { unforkable, .. }) = decoder.message().unwrap() else { panic!("no ready") };
        assert!(unforkable.held.is_empty());
    }

    #[test]
    fn half_a_frame_is_seen_as_such() {
        let mut decoder = Decoder::default();
        decoder.feed(&ready()[..9]);
        assert_eq!(decoder.message().unwrap().map(|_| ()), None);
        assert!(decoder.is_partial());
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (vec![0xff; 64], "a frame of 4294967295 bytes"),
            (vec![0, 0, 0, 1, 9], "a frame of 1 bytes"),
            (encode(200, b"{}", &[]), "unknown kind 200"),
            (encode(kind::HELLO, b"{}", &[]), "bad header"),
            (encode(kind::READY, b"[1", &[]), "bad header"),
            (vec![0, 0, 0, 6, 2, 0, 0, 0, 200, b'{'], "header does not fit"),
            (vec![0, 0, 0, 0], "a frame of 0 bytes"),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "a frame of 1195725856 bytes"),
        ];
        for (bytes, expected) in cases {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            let error = decoder.message().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn fuzz_frames_of_workers() {
        let frame = |kind: u8, header: &str| encode(kind, header.as_bytes(), &[]);
        let seeds = [
            frame(kind::HELLO, r#"{"version":1,"mode":"lane","worker":"3","pid":42,"php":"8.4.1","job":7}"#),
            frame(
                kind::READY,
                r#"{"done":{"deleted":true,"released":false,"failed":false,"peak":2048,"error":"x"},"app":{"a":[1]}}"#,
            ),
            frame(
                kind::DIED,
                r#"{"fatal":"out of memory","deleted":false,"released":false,"failed":false,"ack":true}"#,
            ),
            frame(kind::STATE, r#"{"down":false,"paused":["a"],"restart":"1","error":null}"#),
            frame(kind::HINTS, r#"{"classes":{"App\\Jobs\\A":{"isolated":true,"maxMemory":512}}}"#),
            frame(kind::POPPED, r#"{"queue":"a","payload":"{}","bytes":2,"id":"7","attempts":1}"#),
            frame(kind::READY, r#"{"fault":"connection refused"}"#),
            frame(kind::BOOT_FAILED, r#"{"class":"E","message":"m","file":"f","line":3,"fault":"vendor"}"#),
        ];
        kqueue_fuzz::fuzz("worker-frames", &seeds.each_ref().map(Vec::as_slice), |input| {
            let mut decoder = Decoder::default();
            for part in input.chunks(7) {
                decoder.feed(part);
                while let Ok(Some(_)) = decoder.message() {}
            }
        });
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            while let Ok(Some(_)) = decoder.message() {}
        }
    }
}
