//! A fuzzer for parsers of untrusted bytes: mutations of a corpus, in this process, with a seed.
//!
//! Each parser has a test that calls [`fuzz`]; `tests/fuzz` runs them with many inputs. A failing input is printed, and
//! should then be added to `tests/fixtures/fuzz/NAME`: files there are tried first, unchanged.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "it is part of tests")]

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Inputs to try, unless `KQUEUE_FUZZ_INPUTS` gives a number or `KQUEUE_FUZZ_SECONDS` a duration.
const INPUTS: u64 = 2_000;
/// Maximum bytes of an input.
const LONGEST: usize = 16 << 10;
/// Peak memory allowed to a parser: bytes per byte of input, and the minimum allowance. Checked only with
/// `KQUEUE_FUZZ_ALONE`, when one parser is tried at a time.
const MEMORY: (usize, usize) = (64, 4 << 20);
/// Fragments that tend to break parsers.
const ODD: &[&[u8]] = &[
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x05",
    b"-1",
    b"0",
    b"1e308",
    b"1e-400",
    b"NaN",
    b"18446744073709551616",
    b"9223372036854775807",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"\"\"",
    b"\\u0000",
    b"\\ud800",
    b"\x1b[31m",
    b"\r\n",
    b"\n[Service]\nExecStart=/bin/id\n",
    b"%i",
    b"$HOME",
    b"\"",
    b"'",
    b"\\",
    b"[[[[[[[[",
    b"a:1:{",
    b"O:1:\"x\":1:{",
    b"s:999999999:\"",
    b"%(ENV_X)s",
    b"../",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    "é\u{202e}".as_bytes(),
];

/// Tries `check` with the corpus `name` and with `seeds`, then with mutations of both. Panics on a failing input.
pub fn fuzz(name: &str, seeds: &[&[u8]], mut check: impl FnMut(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = number("KQUEUE_FUZZ_SEED").unwrap_or(now.as_nanos() as u64);
    let until = number("KQUEUE_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let inputs = number("KQUEUE_FUZZ_INPUTS").unwrap_or(INPUTS);
    let alone = std::env::var_os("KQUEUE_FUZZ_ALONE").is_some();
    let mut corpus = kept(name);
    corpus.extend(seeds.iter().map(|seed| seed.to_vec()));
    let mut random = Random(seed | 1);
    let mut attempt = |input: &[u8]| {
        ALLOCATOR.reset_peak_usage();
        let before = ALLOCATOR.current_usage();
        let outcome = catch_unwind(AssertUnwindSafe(|| check(input)));
        let peak = ALLOCATOR.peak_usage().saturating_sub(before);
        let most = MEMORY.1.max(input.len() * MEMORY.0);
        let why = match outcome {
            Err(_) => "panicked".to_owned(),
            Ok(()) if alone && peak > most => format!("took {peak} bytes of memory"),
            Ok(()) => return,
        };
        let bytes = input.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        panic!("{name}, seed {seed}: {why} at this input, in hexadecimal: {bytes}");
    };
    corpus.iter().for_each(|input| attempt(input));
    let mut tried = 0;
    while until.map_or(tried < inputs, |until| Instant::now() < until) {
        let input = random.input(&corpus);
        attempt(&input);
        tried += 1;
    }
    println!("{name}: {tried} inputs, seed {seed}");
}

/// The stored corpus of a parser.
fn kept(name: &str) -> Vec<Vec<u8>> {
    files(&format!("tests/fixtures/fuzz/{name}"))
}

/// All files below a directory of the repository.
pub fn files(directory: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut left = vec![Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(directory)];
    while let Some(path) = left.pop() {
        match std::fs::read_dir(&path) {
            Ok(entries) => left.extend(entries.map(|entry| entry.unwrap().path())),
            Err(_) => found.extend(std::fs::read(&path)),
        }
    }
    found.sort();
    found
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        if most == 0 { 0 } else { (self.0 % most as u64) as usize }
    }

    /// A new input: one of the corpus with a few mutations, or noise.
    fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = match self.below(16) {
            0 => (0..self.below(64)).map(|_| self.below(256) as u8).collect(),
            _ => corpus.get(self.below(corpus.len())).cloned().unwrap_or_default(),
        };
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            let end = (at + 1 + self.below(16)).min(input.len());
            match self.below(8) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = self.below(256) as u8,
                2 => drop(input.drain(at.min(end)..end)),
                3 => input.truncate(at),
                4 => {
                    let part = input[at.min(end)..end].to_vec();
                    input.splice(at..at, part);
                }
                5 => {
                    let other = corpus.get(self.below(corpus.len())).map_or(&[][..], Vec::as_slice);
                    let from = self.below(other.len() + 1);
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
                6 => {
                    let word = ODD[self.below(ODD.len())];
                    input.splice(at..end.max(at), word.iter().copied());
                }
                _ => {
                    let word = ODD[self.below(ODD.len())];
                    input.splice(at..at, word.iter().copied());
                }
            }
        }
        input.truncate(LONGEST);
        input
    }
}
