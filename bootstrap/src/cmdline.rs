//! Kernel command line arguments, split as the kernel splits them.
//!
//! Source: `next_arg()` in lib/cmdline.c and `isspace()` in lib/ctype.c (Linux 6.12): arguments end at white space outside
//! double quotes; quotes around a whole argument or a whole value are not part of it. Arguments are bytes: nothing promises
//! UTF-8.

/// The value of the last `name=value` before a lone `--`, without its quotes.
pub fn value<'a>(cmdline: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    arguments(cmdline)
        .take_while(|argument| unquoted(argument) != b"--")
        .filter_map(|argument| named(argument, name))
        .last()
}

/// The OSTree deployment the line names, as ostree-prepare-root finds it (`otcore_get_ostree_target()`, ostree 2025):
/// the slot of an Android bootloader first, then slot a if there is any argument of one, then `ostree=`. `None` if it names
/// none, or a slot there is not.
pub fn ostree(cmdline: &[u8]) -> Option<&[u8]> {
    let first = |name| arguments(cmdline).find_map(|argument| named(argument, name));
    match first(b"androidboot.slot_suffix") {
        Some(b"_a") => Some(b"/ostree/root.a"),
        Some(b"_b") => Some(b"/ostree/root.b"),
        Some(_) => None,
        None if arguments(cmdline).any(|argument| argument.starts_with(b"androidboot.")) => Some(b"/ostree/root.a"),
        None => first(b"ostree"),
    }
}

/// Whether the root file system is to be writable: the last of `ro` and `rw`, as for the kernel's own mount of it
/// (`readonly()` and `readwrite()`, init/do_mounts.c) and systemd's.
pub fn is_writable(cmdline: &[u8]) -> bool {
    let before_init = arguments(cmdline).take_while(|argument| unquoted(argument) != b"--");
    before_init.map(unquoted).filter(|word| matches!(*word, b"ro" | b"rw")).last() == Some(b"rw")
}

/// The value of `argument`, if it is `name=value`. The quote that ends it belongs to the value where that begins with one.
fn named<'a>(argument: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let inner = argument.strip_prefix(b"\"").unwrap_or(argument);
    let value = inner.strip_prefix(name)?.strip_prefix(b"=")?;
    if value.starts_with(b"\"") || inner.len() == argument.len() {
        return Some(unquoted(value));
    }
    Some(value.strip_suffix(b"\"").unwrap_or(value))
}

/// The arguments in order, with their quotes.
fn arguments(cmdline: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    cmdline
        .split(move |byte| {
            quoted ^= *byte == b'"';
            !quoted && is_space(*byte)
        })
        .filter(|argument| !argument.is_empty())
}

/// As the kernel's: vertical tab and Latin-1's no-break space are white space too, the latter inside of UTF-8 as well.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0xA0)
}

fn unquoted(text: &[u8]) -> &[u8] {
    let Some(inner) = text.strip_prefix(b"\"") else { return text };
    inner.strip_suffix(b"\"").unwrap_or(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_keep_spaces_and_go_away() {
        let line = b"quiet a=\"b c\" \"d=e f\" initoverlayfs.slot=b\n";
        let all: std::vec::Vec<&[u8]> = arguments(line).collect();
        assert_eq!(all, [&b"quiet"[..], b"a=\"b c\"", b"\"d=e f\"", b"initoverlayfs.slot=b"]);
        assert_eq!(value(line, b"a"), Some(&b"b c"[..]));
        assert_eq!(value(line, b"d"), Some(&b"e f"[..]));
        assert_eq!(value(line, b"initoverlayfs.slot"), Some(&b"b"[..]));
    }

    #[test]
    fn the_last_one_counts_and_init_arguments_do_not() {
        assert_eq!(value(b"s=a s=b -- s=c", b"s"), Some(&b"b"[..]));
        assert_eq!(value(b"ss=a", b"s"), None);
        assert_eq!(value(b"s", b"s"), None);
    }

    #[test]
    fn white_space_and_quotes_are_the_kernels() {
        assert_eq!(value(b"s=\xc3\xa0b", b"s"), Some(&b"\xc3"[..]));
        assert_eq!(value(b"x\x0bs=a", b"s"), Some(&b"a"[..]));
        assert_eq!(value(b"\"s=\"x\"\"", b"s"), Some(&b"x\""[..]));
        assert_eq!(value(b"s=\"", b"s"), Some(&b""[..]));
        assert_eq!(value(b"\"--\" s=a", b"s"), None);
    }

    #[test]
    fn the_ostree_deployment_is_found_as_ostree_finds_it() {
        assert_eq!(ostree(b"quiet ostree=/ostree/boot.1/d/0 ostree=/x"), Some(&b"/ostree/boot.1/d/0"[..]));
        assert_eq!(ostree(b"ostree=/x androidboot.slot_suffix=_b"), Some(&b"/ostree/root.b"[..]));
        assert_eq!(ostree(b"androidboot.slot_suffix=_c ostree=/x"), None);
        assert_eq!(ostree(b"ostree=/x androidboot.serialno=1"), Some(&b"/ostree/root.a"[..]));
        assert_eq!(ostree(b"quiet"), None);
    }

    #[test]
    fn the_last_word_decides_whether_the_root_is_writable() {
        for (line, writable) in [("", false), ("quiet rw", true), ("rw ro", false), ("ro \"rw\" x=ro", true)] {
            assert_eq!(is_writable(line.as_bytes()), writable, "{line}");
        }
        assert!(!is_writable(b"ro -- rw") && !is_writable(b"rwx=1 \"rw x\" rw=1"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_split(line: std::vec::Vec<u8>) {
            prop_assert!(arguments(&line).map(<[u8]>::len).sum::<usize>() <= line.len());
            value(&line, b"root");
            ostree(&line);
            is_writable(&line);
        }
    }
}
