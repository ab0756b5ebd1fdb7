//! Block devices as the original's configuration, fstab and udev name them.

/// What udev's names of devices begin with, and the key of a board for each.
const LINKS: [(&str, &str); 4] = [
    ("/dev/disk/by-uuid/", "uuid"),
    ("/dev/disk/by-label/", "label"),
    ("/dev/disk/by-partuuid/", "partuuid"),
    ("/dev/disk/by-partlabel/", "partname"),
];

/// Key and value of a board for a device, or why there is none.
pub(super) fn device(text: &str) -> Result<(&'static str, String), String> {
    if let Some((tag, value)) = text.split_once('=').filter(|(tag, _)| !tag.starts_with('/')) {
        let value = value.trim_matches('"').to_owned();
        return match tag {
            "UUID" => Ok(("uuid", value)),
            "LABEL" => Ok(("label", value)),
            "PARTUUID" => Ok(("partuuid", value)),
            "PARTLABEL" => Ok(("partname", value)),
            _ => Err(format!("no device is known by {tag}=")),
        };
    }
    for (link, key) in LINKS {
        if let Some(value) = text.strip_prefix(link) {
            return unescaped(value).map(|value| (key, value)).ok_or_else(|| "no name that udev writes".to_owned());
        }
    }
    let Some(name) = text.strip_prefix("/dev/") else { return Err("neither a tag nor a device".to_owned()) };
    if name.starts_with("disk/") || name.starts_with("block/") {
        return Err("no name that the kernel gives".to_owned());
    }
    // /dev/mapper/NAME, /dev/GROUP/VOLUME, and what these are links to.
    if name.contains('/') || name.starts_with("dm-") || name.starts_with("md") {
        return Err("a volume, which bootstrap cannot put together".to_owned());
    }
    Ok(("path", name.to_owned()))
}

/// What udev has written `\x20` for (systemd's `encode_devnode_name`).
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'\\' {
            let digits = std::str::from_utf8(behind.strip_prefix(b"x")?.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = behind.get(3..)?;
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}
