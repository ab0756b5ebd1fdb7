//! Values of any form as indented lines: what a plan says, without the words of a programming language.

use super::show::printable;
use serde_json::{Map, Value};
use std::fmt::Write;

/// Keys in the vocabulary's order; JSON keeps none. Others follow by name.
const ORDER: [&str; 12] =
    ["board", "mode", "handover", "next_init", "modules", "slots", "name", "path", "source", "upper", "extras", "free"];
/// Keys whose values are words of ours.
const WORDS: [&str; 4] = ["mode", "handover", "free", "on_failure"];

/// The fields of a table, a line each.
pub(super) fn fields(fields: &Map<String, Value>, indent: usize) -> String {
    let place = |key: &str| ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len());
    let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
    fields.sort_by_key(|(key, _)| (place(key), *key));
    fields.iter().map(|(key, value)| field(&words(key), value, WORDS.contains(&key.as_str()), indent)).collect()
}

fn field(label: &str, value: &Value, is_word: bool, indent: usize) -> String {
    let line = |text: &str| format!("{:indent$}{label} {text}\n", "");
    match value {
        Value::Null => line("none"),
        Value::String(text) if is_word => line(&words(text)),
        Value::String(text) if text.is_empty() => line("\"\""),
        Value::String(text) => line(&printable(text.as_bytes())),
        Value::Array(items) if items.is_empty() => line("none"),
        Value::Array(items) => match bytes(items) {
            Some(hex) => line(&hex),
            None => {
                format!("{:indent$}{label}\n", "")
                    + &items.iter().map(|value| item(value, indent + 2)).collect::<String>()
            }
        },
        Value::Object(inner) => match single(inner) {
            // A variant, and what it holds.
            Some((key, value)) => field(&format!("{label} {}", words(key)), value, false, indent),
            None => format!("{:indent$}{label}\n", "") + &fields(inner, indent + 2),
        },
        Value::Bool(_) | Value::Number(_) => line(&value.to_string()),
    }
}

/// An item of a list: its first line is marked.
fn item(value: &Value, indent: usize) -> String {
    match value {
        Value::Object(inner) => {
            let text = fields(inner, indent + 2);
            format!("{:indent$}- {}", "", text.get(indent + 2..).unwrap_or_default())
        }
        other => field("-", other, false, indent),
    }
}

fn single(fields: &Map<String, Value>) -> Option<(&String, &Value)> {
    fields.iter().next().filter(|_| fields.len() == 1)
}

/// In hexadecimal, if all items are bytes.
fn bytes(items: &[Value]) -> Option<String> {
    let mut text = String::new();
    for item in items {
        // Writing to a String cannot fail.
        let _ = write!(text, "{:02x}", u8::try_from(item.as_u64()?).ok()?);
    }
    Some(text)
}

/// `next_init` and `PartName` as `next-init` and `part-name`.
fn words(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(if c == '_' { '-' } else { c.to_ascii_lowercase() });
    }
    printable(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_reads_without_brackets() {
        let value = json!({
            "on_failure": {"Shell": "/shell"}, "board": "Test\u{1b}", "mode": "Initial", "extras": [],
            "modules": [{"parameters": "", "path": "/modules/a.ko"}],
            "slots": [{
                "image": {"uuid": [1, 255], "tail": {"offset": 512, "crc": 7}}, "name": "a",
                "source": {"Partition": {"device": {"PartName": "x"}, "hint": null, "deadline_ms": 10}},
            }],
            "allow": ["/etc/a"],
        });
        let Value::Object(value) = value else { panic!() };
        let expected = "board Test\\u{1b}\n\
            mode initial\n\
            modules\n\
            \x20 - path /modules/a.ko\n\
            \x20   parameters \"\"\n\
            slots\n\
            \x20 - name a\n\
            \x20   source partition\n\
            \x20     deadline-ms 10\n\
            \x20     device part-name x\n\
            \x20     hint none\n\
            \x20   image\n\
            \x20     tail\n\
            \x20       crc 7\n\
            \x20       offset 512\n\
            \x20     uuid 01ff\n\
            extras none\n\
            allow\n\
            \x20 - /etc/a\n\
            on-failure shell /shell\n";
        assert_eq!(fields(&value, 0), expected);
    }
}
