//! Questions and answers, a line each.

use crate::{Error, Result};
use std::io::{BufRead, Read, Write};

/// Longest answer in bytes.
const LONGEST: u64 = 4096;

/// Somebody who can be asked.
pub trait Ask {
    /// Asks until there is an answer that `refuse` has nothing against; an empty one is the default.
    ///
    /// # Errors
    /// Bad input if the answers end; failed work if they cannot be read, or the question not be written.
    fn ask(&mut self, question: &str, default: Option<&str>, refuse: &dyn Fn(&str) -> Option<String>)
    -> Result<String>;
}

/// Questions to one stream, answers from another: a terminal, or a test.
#[derive(Debug)]
pub struct Conversation<R, W> {
    /// Where answers come from.
    pub input: R,
    /// Where questions go.
    pub output: W,
}

impl<R: BufRead, W: Write> Conversation<R, W> {
    fn say(&mut self, text: &str) -> Result<()> {
        self.output
            .write_all(text.as_bytes())
            .and_then(|()| self.output.flush())
            .map_err(Error::io("write to", "the terminal"))
    }

    /// A line without its end; `None` if there is none any more.
    fn line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(LONGEST).read_until(b'\n', &mut bytes);
        if read.map_err(Error::io("read", "the answer"))? == 0 {
            return Ok(None);
        }
        // What is not UTF-8 is no value of anything, and refused as that.
        Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
    }
}

impl<R: BufRead, W: Write> Ask for Conversation<R, W> {
    fn ask(
        &mut self,
        question: &str,
        default: Option<&str>,
        refuse: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String> {
        let usual = default.map(|default| format!(" [{default}]")).unwrap_or_default();
        loop {
            self.say(&format!("{question}{usual}: "))?;
            let Some(line) = self.line()? else {
                self.say("\n")?;
                let what = format!("no answer to: {question}");
                return Err(Error::bad_input(what, "answer every question, or give the values on the command line"));
            };
            let answer = if line.is_empty() { default.unwrap_or_default() } else { &line };
            if answer.is_empty() {
                continue;
            }
            match refuse(answer) {
                None => return Ok(answer.to_owned()),
                Some(why) => self.say(&format!("  {}\n", why.escape_debug()))?,
            }
        }
    }
}
