//! "Did you mean": the known word that is nearest to one that is not.

/// Words for one processor: those of board files, of the kernel, of Debian and of uname(1).
const SYNONYMS: [&[&str]; 3] =
    [&["aarch64", "arm64"], &["armv7", "armhf", "arm", "armv7l", "armv7a"], &["x86_64", "amd64", "x86-64", "x64"]];

/// ` (did you mean "name"?)`, or nothing when no candidate is near or means the same.
pub(crate) fn suggest<'a>(found: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    // Longer words cost time and are no slip of the finger.
    if found.len() > 64 {
        return String::new();
    }
    let candidates: Vec<&str> = candidates.collect();
    let same = SYNONYMS.iter().find(|words| words.contains(&found)).into_iter().copied().flatten();
    if let Some(candidate) = same.copied().find(|word| candidates.contains(word)) {
        return format!(" (did you mean {candidate:?}?)");
    }
    let distance = |candidate: &'a str| (strsim::damerau_levenshtein(found, candidate), candidate);
    let limit = 1 + found.len() / 4;
    match candidates.into_iter().map(distance).filter(|(distance, _)| *distance <= limit).min() {
        Some((_, candidate)) => format!(" (did you mean {candidate:?}?)"),
        None => String::new(),
    }
}
