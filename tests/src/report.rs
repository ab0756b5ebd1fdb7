//! The guest's report, taken apart into sections.

use crate::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Section name to lines.
#[derive(Clone, Debug, Default)]
pub struct Report(BTreeMap<String, Vec<String>>);

impl Report {
    /// Reads a report; none if its end is missing.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut name = String::new();
        for line in String::from_utf8_lossy(bytes).lines() {
            match line.strip_prefix("== ") {
                Some(section) => {
                    section.clone_into(&mut name);
                    sections.entry(name.clone()).or_default();
                }
                None => sections.entry(name.clone()).or_default().push(line.to_owned()),
            }
        }
        sections.contains_key("end").then_some(Report(sections))
    }

    /// Lines of a section in order; empty if it is missing.
    pub fn lines(&self, section: &str) -> &[String] {
        self.0.get(section).map_or(&[], Vec::as_slice)
    }

    /// Lines of a section as a set.
    pub fn set(&self, section: &str) -> BTreeSet<String> {
        self.lines(section).iter().cloned().collect()
    }

    /// What stands behind `key` (and blanks) in a section.
    ///
    /// # Errors
    /// If the key is missing.
    pub fn value(&self, section: &str, key: &str) -> Result<String> {
        let find = |line: &String| Some(line.strip_prefix(key)?.trim_start_matches([':', ' ', '\t']).to_owned());
        self.lines(section).iter().find_map(find).ok_or_else(|| format!("no {key} in section {section}").into())
    }

    /// A number at the start of [`Report::value`].
    ///
    /// # Errors
    /// If the key is missing or no number.
    pub fn number(&self, section: &str, key: &str) -> Result<u64> {
        let value = self.value(section, key)?;
        Ok(value.split_whitespace().next().unwrap_or_default().parse()?)
    }

    /// Memory in KiB that the kernel has, less what is free once no child of the guest was left; and less what it could also give
    /// back, its caches (Documentation/filesystems/proc.rst, MemAvailable).
    ///
    /// # Errors
    /// If meminfo is missing.
    pub fn used_kib(&self) -> Result<[u64; 2]> {
        let total = self.number("meminfo-end", "MemTotal")?;
        let lists = self.free_kib()? - self.number("meminfo-end", "MemFree")?;
        let available = self.number("meminfo-end", "MemAvailable")? + lists;
        Ok([total.saturating_sub(self.free_kib()?), total.saturating_sub(available)])
    }

    /// Free memory in KiB once no child of the guest was left: MemFree and what waits on the processors' own lists.
    ///
    /// # Errors
    /// If meminfo is missing.
    pub fn free_kib(&self) -> Result<u64> {
        let count = |line: &String| line.trim().strip_prefix("count:")?.trim().parse::<u64>().ok();
        let pages: u64 = self.lines("zoneinfo-end").iter().filter_map(count).sum();
        Ok(self.number("meminfo-end", "MemFree")? + pages * 4)
    }

    /// Mounts as `MOUNT-POINT TYPE SOURCE`: what stays the same from boot to boot.
    pub fn mounts(&self) -> BTreeSet<String> {
        let short = |line: &String| {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            Some(format!("{} {} {}", left.split(' ').nth(4)?, right.next()?, right.next()?))
        };
        self.lines("mountinfo").iter().filter_map(short).collect()
    }

    /// The record's bytes.
    ///
    /// # Errors
    /// If the section is no hex.
    pub fn record(&self) -> Result<Vec<u8>> {
        let hex = self.lines("record").first().cloned().unwrap_or_default();
        hex.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
    }
}
