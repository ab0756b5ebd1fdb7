//! Kernel command line arguments, split as the kernel splits them.
//!
//! Source: `next_arg()` in lib/cmdline.c (Linux 6.12): arguments end at white space outside double quotes; quotes around a
//! whole argument or a whole value are not part of it. Arguments are bytes: nothing promises UTF-8.

/// The value of the last `name=value` before a lone `--`, without its quotes.
pub fn value<'a>(cmdline: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    arguments(cmdline)
        .take_while(|argument| *argument != b"--")
        .filter_map(|argument| argument.strip_prefix(name)?.strip_prefix(b"="))
        .map(unquote)
        .last()
}

/// The arguments in order, quotes around a whole argument removed.
pub fn arguments(cmdline: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    cmdline
        .split(move |byte| {
            quoted ^= *byte == b'"';
            !quoted && byte.is_ascii_whitespace()
        })
        .filter(|argument| !argument.is_empty())
        .map(unquote)
}

fn unquote(argument: &[u8]) -> &[u8] {
    let Some(inner) = argument.strip_prefix(b"\"") else { return argument };
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
        assert_eq!(all, [&b"quiet"[..], b"a=\"b c\"", b"d=e f", b"initoverlayfs.slot=b"]);
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

    proptest! {
        #[test]
        fn any_bytes_are_split(line: std::vec::Vec<u8>) {
            prop_assert!(arguments(&line).map(<[u8]>::len).sum::<usize>() <= line.len());
            value(&line, b"root");
        }
    }
}
