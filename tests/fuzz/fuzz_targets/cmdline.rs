//! Any bytes as a kernel command line: every value is the one the kernel's own rules give (`next_arg()` in lib/cmdline.c,
//! `parse_args()` in kernel/params.c, Linux 6.12), written down here a second time, byte by byte.
#![no_main]

use bootstrap::cmdline::value;
use libfuzzer_sys::fuzz_target;

/// `isspace()` of lib/ctype.c: 9 to 13, the space, and the no-break space of Latin-1.
fn is_space(byte: u8) -> bool {
    matches!(byte, 9..=13 | b' ' | 0xA0)
}

/// Name, value and rest of the first argument.
fn next(line: &[u8]) -> (&[u8], Option<&[u8]>, &[u8]) {
    let quoted = line.first() == Some(&b'"');
    let text = &line[usize::from(quoted)..];
    let (mut inside, mut equals, mut end) = (quoted, None, text.len());
    for (at, byte) in text.iter().enumerate() {
        if is_space(*byte) && !inside {
            end = at;
            break;
        }
        if equals.is_none() && *byte == b'=' && at > 0 {
            equals = Some(at);
        }
        inside ^= *byte == b'"';
    }
    let (argument, rest) = text.split_at(end);
    let without = |part: &'_ [u8]| part.len() - usize::from(part.last() == Some(&b'"'));
    match equals {
        None if quoted => (&argument[..without(argument)], None, rest),
        None => (argument, None, rest),
        Some(equals) => {
            let value = &argument[equals + 1..];
            let value = match value.first() {
                Some(b'"') => &value[1..][..without(&value[1..])],
                _ if quoted => &value[..without(value)],
                _ => value,
            };
            (&argument[..equals], Some(value), rest)
        }
    }
}

fn expected<'a>(mut line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    loop {
        line = &line[line.iter().take_while(|byte| is_space(**byte)).count()..];
        if line.is_empty() {
            return found;
        }
        let (word, value, rest) = next(line);
        line = rest;
        match value {
            None if word == b"--" => return found,
            Some(value) if word == name => found = Some(value),
            _ => {}
        }
    }
}

fuzz_target!(|line: &[u8]| {
    // The kernel's line ends at the first NUL.
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    for name in [&b"a"[..], b"root", b"initoverlayfs.slot"] {
        assert_eq!(value(line, name), expected(line, name), "{} of {}", name.escape_ascii(), line.escape_ascii());
    }
});
