//! A board file with its parents as one tree of values that know the file and line they come from. Problems are
//! collected, never returned early: one wrong key must not hide the next.

use super::raw;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// What to do about a wrong value.
pub(super) const KEYS: &str = "board-configs/README.md lists every key and its values";
/// The largest board file in bytes. Also bounds how deep dotted keys can nest.
const MAX_BYTES: u64 = 64 * 1024;
/// The deepest nesting of tables and arrays: the format itself needs three.
const MAX_DEPTH: usize = 8;

/// File (index into [`Document::files`]) and line of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) line: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Table(BTreeMap<String, Node>),
    Array(Vec<Node>),
    Leaf(toml::Value),
}

/// A board file merged with its parents, and what is wrong with them so far.
#[derive(Debug)]
pub(super) struct Document {
    /// The board file first, then its parent, and so on.
    pub(super) files: Vec<PathBuf>,
    /// The merged tree, wrong values left out.
    pub(super) root: Node,
    /// Paths of values left out.
    pub(super) refused: Vec<String>,
    /// Whether a parent is missing, and nobody knows what it would say.
    orphan: bool,
    problems: Vec<(Place, String)>,
}

impl Document {
    /// Reads a board file and its parents.
    ///
    /// # Errors
    /// Only if the board file itself cannot be read; everything else is a problem of the document.
    pub(super) fn read(path: &Path) -> Result<Self> {
        Ok(Document::of(path, &read_text(path)?))
    }

    /// Takes `text` for the board file at `path`, and reads its parents. What is wrong is a problem of the document.
    pub(super) fn of(path: &Path, text: &str) -> Self {
        let root = Node { place: Place { file: 0, line: 1 }, value: Value::Table(BTreeMap::new()) };
        let mut document =
            Document { files: vec![path.to_owned()], root, refused: Vec::new(), orphan: false, problems: Vec::new() };
        let mut parent = document.add(text);
        while let Some((place, name)) = parent.take() {
            let last = document.files.last().cloned().unwrap_or_default();
            let path = super::find::parent(&last, &name);
            if document.files.contains(&path) {
                let chain = document.files.iter().chain([&path]).map(|file| file.display().to_string());
                document.problem(place, "inherit", format!("a cycle: {}", chain.collect::<Vec<_>>().join(" -> ")));
                break;
            }
            match read_text(&path) {
                Ok(text) => {
                    document.files.push(path);
                    parent = document.add(&text);
                }
                Err(error) => {
                    document.orphan = true;
                    let text = if path.exists() { error.what } else { super::find::no_parent(&last, &name) };
                    document.problem(place, "inherit", text);
                }
            }
        }
        document
    }

    /// Parses and checks the text of the last file, merges it under the tree so far, and returns its parent.
    fn add(&mut self, text: &str) -> Option<(Place, String)> {
        let file = self.files.len().saturating_sub(1);
        let line = |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map_or(1, |span| line(span.start));
            let message = error.message().to_owned();
            self.problem(Place { file, line }, "", format!("not TOML: {message}"));
        }
        let convert = Converter { file, line: &line };
        let Some(mut root) = convert.table(table.get_ref(), Place { file, line: 1 }, 0) else {
            let text = format!("nested too deeply, expected at most {MAX_DEPTH} levels");
            self.problem(Place { file, line: 1 }, "", text);
            return None;
        };
        self.check(&mut root, &mut Vec::new());
        let parent = match root.find("inherit") {
            Some(Node { place, value: Value::Leaf(toml::Value::String(name)) }) => Some((*place, name.clone())),
            _ => None,
        };
        merge(&mut self.root, root);
        parent
    }

    /// Checks `node` and everything in it against the types of [`raw::Board`], one value at a time; returns whether it
    /// may stay.
    fn check(&mut self, node: &mut Node, path: &mut Vec<Segment>) -> bool {
        let empty = match &node.value {
            Value::Table(_) => toml::Value::Table(toml::Table::new()),
            Value::Array(_) => toml::Value::Array(Vec::new()),
            Value::Leaf(leaf) => leaf.clone(),
        };
        let alone = path.iter().rev().fold(empty, |value, segment| match segment {
            Segment::Key(key) => toml::Value::Table([(key.clone(), value)].into_iter().collect()),
            Segment::Index(_) => toml::Value::Array(vec![value]),
        });
        if let Err(error) = raw::Board::deserialize(alone) {
            let path = dotted(path);
            let message = with_suggestion(&in_words(error.message(), &node.value));
            self.problem(node.place, &path, message);
            self.refused.push(path);
            return false;
        }
        match &mut node.value {
            Value::Table(table) => table.retain(|key, node| {
                path.push(Segment::Key(key.clone()));
                let stays = self.check(node, path);
                path.pop();
                stays
            }),
            Value::Array(nodes) => {
                let mut index = 0;
                nodes.retain_mut(|node| {
                    path.push(Segment::Index(index));
                    index += 1;
                    let stays = self.check(node, path);
                    path.pop();
                    stays
                });
            }
            Value::Leaf(_) => {}
        }
        true
    }

    /// Notes a problem with the value at `path` (`slot.0.name`).
    pub(super) fn problem(&mut self, place: Place, path: &str, text: String) {
        let key = if path.is_empty() { String::new() } else { format!(" {}:", readable(path)) };
        self.problems.push((place, one_line(&format!("{key} {text}"))));
    }

    /// Whether a value at or below `path` was refused, or a parent was, so that its absence is no problem of its own.
    pub(super) fn is_refused(&self, path: &str) -> bool {
        let inside =
            |refused: &String| refused.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.orphan || self.refused.iter().any(inside)
    }

    /// The place of the value at `path`, or of the nearest table around it.
    pub(super) fn place(&self, path: &str) -> Place {
        self.root.nearest(path).place
    }

    /// The problems found so far as one error, if there are any.
    ///
    /// # Errors
    /// Bad input, a line a problem, in the order of files and lines.
    pub(super) fn verdict(mut self) -> Result<Vec<PathBuf>> {
        if self.problems.is_empty() {
            return Ok(self.files);
        }
        self.problems.sort();
        self.problems.dedup();
        let line = |(place, text): &(Place, String)| {
            let file = self.files.get(place.file).map(|path| path.display().to_string()).unwrap_or_default();
            format!("{file}:{}:{text}", place.line)
        };
        let lines: Vec<_> = self.problems.iter().map(line).collect();
        Err(Error::bad_input(lines.join("\n"), KEYS))
    }
}

impl Node {
    /// The node at `path`.
    pub(super) fn find(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, Node::child)
    }

    fn nearest(&self, path: &str) -> &Node {
        let mut node = self;
        for part in path.split('.') {
            match node.child(part) {
                Some(child) => node = child,
                None => break,
            }
        }
        node
    }

    fn child(&self, part: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(table) => table.get(part),
            Value::Array(nodes) => nodes.get(part.parse::<usize>().ok()?),
            Value::Leaf(_) => None,
        }
    }

    /// The plain TOML value.
    pub(super) fn plain(&self) -> toml::Value {
        match &self.value {
            Value::Table(table) => {
                toml::Value::Table(table.iter().map(|(key, node)| (key.clone(), node.plain())).collect())
            }
            Value::Array(nodes) => toml::Value::Array(nodes.iter().map(Node::plain).collect()),
            Value::Leaf(leaf) => leaf.clone(),
        }
    }
}

/// One step of a path into the tree.
enum Segment {
    Key(String),
    Index(usize),
}

fn dotted(path: &[Segment]) -> String {
    let parts = path.iter().map(|segment| match segment {
        Segment::Key(key) => key.clone(),
        Segment::Index(index) => index.to_string(),
    });
    parts.collect::<Vec<_>>().join(".")
}

/// `slot.0.name` as a reader knows it: `slot[0].name`.
fn readable(path: &str) -> String {
    let mut text = String::new();
    for part in path.split('.') {
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            text.push_str(&format!("[{part}]"));
        } else {
            text.push_str(if text.is_empty() { "" } else { "." });
            text.push_str(part);
        }
    }
    text
}

/// Adds what `parent` says and `child` does not.
fn merge(child: &mut Node, parent: Node) {
    if let (Value::Table(child), Value::Table(parent)) = (&mut child.value, parent.value) {
        for (key, node) in parent {
            match child.get_mut(&key) {
                Some(own) => merge(own, node),
                None => drop(child.insert(key, node)),
            }
        }
    }
}

/// From the parser's values to ours.
struct Converter<'a> {
    file: usize,
    line: &'a dyn Fn(usize) -> usize,
}

impl Converter<'_> {
    fn table(&self, table: &DeTable<'_>, place: Place, depth: usize) -> Option<Node> {
        let mut nodes = BTreeMap::new();
        for (key, value) in table {
            let place = Place { file: self.file, line: (self.line)(key.span().start) };
            nodes.insert(key.get_ref().to_string(), self.value(value.get_ref(), place, depth + 1)?);
        }
        Some(Node { place, value: Value::Table(nodes) })
    }

    fn value(&self, value: &DeValue<'_>, place: Place, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        let leaf = match value {
            DeValue::Table(table) => return self.table(table, place, depth),
            DeValue::Array(array) => {
                let item = |item: &toml::Spanned<DeValue<'_>>| {
                    let place = Place { file: self.file, line: (self.line)(item.span().start) };
                    self.value(item.get_ref(), place, depth + 1)
                };
                return Some(Node { place, value: Value::Array(array.iter().map(item).collect::<Option<_>>()?) });
            }
            DeValue::String(text) => toml::Value::String(text.to_string()),
            DeValue::Boolean(value) => toml::Value::Boolean(*value),
            DeValue::Datetime(value) => toml::Value::Datetime(*value),
            DeValue::Float(number) => toml::Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            // Out of 64 bits: a float, which no key takes, is refused with its value.
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => toml::Value::Integer(number),
                Err(_) => toml::Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
            },
        };
        Some(Node { place, value: Value::Leaf(leaf) })
    }
}

fn read_text(path: &Path) -> Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_BYTES {
        let what = format!("{}: larger than {MAX_BYTES} bytes", path.display());
        return Err(Error::bad_input(what, "a board file is a short text; is this one?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let what = format!("{}: byte {offset} is not UTF-8", path.display());
        Error::bad_input(what, "board files are TOML, which is UTF-8 text")
    })
}

/// What serde says about a value of a wrong type, in the words of TOML instead of Rust's.
fn in_words(message: &str, value: &Value) -> String {
    let is_type = message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
    let expected = match message.rsplit_once(", expected ").filter(|_| is_type) {
        Some((_, "u32")) => "a whole number from 0 to 4294967295",
        Some((_, "a sequence")) => "an array",
        Some((_, "a map")) => "a table",
        Some((_, "string only")) => "a word in quotes",
        Some((_, other)) => other,
        // A table where the variant of an enum stands.
        None if message.starts_with("wanted exactly 1 element") => "a word in quotes",
        None => return message.to_owned(),
    };
    let found = match value {
        Value::Table(_) => "a table".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Leaf(toml::Value::String(text)) => format!("{text:?}"),
        Value::Leaf(leaf) => leaf.to_string(),
    };
    format!("found {found}, expected {expected}")
}

/// serde names the wrong word and the right ones in backticks: adds the nearest of them.
pub(super) fn with_suggestion(message: &str) -> String {
    let suggestion = message.split_once(", expected").filter(|_| message.starts_with("unknown "));
    let suggestion = suggestion.and_then(|(found, expected)| {
        let found = found.split('`').nth(1)?;
        Some(super::suggest(found, expected.split('`').skip(1).step_by(2)))
    });
    format!("{message}{}", suggestion.unwrap_or_default())
}

/// Control characters of a file must not reach the terminal, nor a line break the line.
fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
