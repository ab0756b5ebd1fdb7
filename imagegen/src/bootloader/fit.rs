//! U-Boot's FIT: kernel, mini-initramfs and device tree in one image with a hash of each, which one signature can cover, and with it the
//! plan and the root hash in it (U-Boot: doc/usage/fit/source_file_format.rst).

use crate::board::Architecture;
use crate::manifest::{INITRAMFS, KERNEL};
use crate::tool::Tool;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// What is in it, by the names of a build.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// What it is called.
    pub name: &'a str,
    /// What it is for: 64- or 32-bit ARM.
    pub architecture: Architecture,
    /// Where the kernel is loaded to.
    pub load: u64,
    /// Whether the kernel is compressed by gzip.
    pub is_compressed: bool,
    /// File of the device tree.
    pub dtb: &'a str,
    /// Where that is copied to, if the board says so.
    pub dtb_load: Option<u64>,
    /// What signs it, if anything does.
    pub key: Option<&'a Key>,
}

/// An RSA key, for mkimage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The folder it lies in.
    pub folder: PathBuf,
    /// Its file's name without `.key`, by which U-Boot knows it.
    pub name: String,
    /// Its length: 2048, 3072 or 4096.
    pub bits: u32,
}

impl Key {
    /// Looks at the private key `path`, in PEM.
    ///
    /// # Errors
    /// Bad input if it is no such key; failed work if `openssl` is missing.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |why: &str| {
            let what = format!("{} {why}", path.display());
            Err(Error::bad_input(what, "give NAME.key, a private RSA key of 2048, 3072 or 4096 bits in PEM"))
        };
        if !path.is_file() {
            return refuse("is no file");
        }
        let path = std::fs::canonicalize(path).map_err(Error::io("find", path))?;
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".key"));
        let is_plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let (Some(name), Some(folder)) = (name.filter(is_plain), path.parent()) else {
            return refuse("is not called NAME.key, a name of letters, digits, -, _ and .");
        };
        let openssl = Tool::new("openssl", "openssl").args(["pkey", "-noout", "-text", "-in"]).arg(&path);
        let text = match openssl.output() {
            Ok([text, _]) => text,
            Err(error) if error.what.starts_with("cannot run") => return Err(error),
            Err(_) => return refuse("is no key in PEM, or one with a passphrase"),
        };
        let bits = [2048, 3072, 4096].into_iter().find(|bits| text.contains(&format!("Private-Key: ({bits} bit, ")));
        match bits {
            Some(bits) => Ok(Key { folder: folder.to_owned(), name: name.to_owned(), bits }),
            None => refuse("is no RSA key of 2048, 3072 or 4096 bits"),
        }
    }

    /// The node that has mkimage sign a configuration, and with it all that is in it.
    fn node(&self) -> String {
        format!(
            "\t\t\tsignature {{\n\t\t\t\talgo = \"sha256,rsa{}\";\n\t\t\t\tkey-name-hint = \"{}\";\n\
             \t\t\t\tsign-images = \"kernel\", \"ramdisk\", \"fdt\";\n\t\t\t}};\n",
            self.bits, self.name
        )
    }
}

impl Image<'_> {
    /// Its source, for `mkimage -f`, to be compiled where the files lie. The device tree and the ramdisk go where U-Boot has room.
    ///
    /// A U-Boot with `fdt_high` and `initrd_high` of 0xffffffff uses both where they lie in the image, and makes the tree larger there:
    /// so that comes last, and not in one page with the ramdisk, which a 32-bit kernel would not take (`phys_initrd_size`,
    /// arch/arm/mm/init.c). Nor does that take a tree that is not at a multiple of 8 (Documentation/arch/arm/booting.rst), and a FIT
    /// keeps multiples of 4: the board's address for the tree does.
    pub fn source(self) -> String {
        let Image { name, load, dtb, dtb_load, .. } = self;
        let architecture = architecture(self.architecture);
        let compression = if self.is_compressed { "gzip" } else { "none" };
        let image = |node: &str, file: &str, kind: &str, more: &str| {
            format!(
                "\t\t{node} {{\n\t\t\tdata = /incbin/(\"{file}\");\n\t\t\ttype = \"{kind}\";\n\t\t\tarch = \"{architecture}\";\n\
                 {more}\t\t\thash {{ algo = \"sha256\"; }};\n\t\t}};\n"
            )
        };
        let linux = "\t\t\tos = \"linux\";\n";
        let kernel = format!(
            "{linux}\t\t\tcompression = \"{compression}\";\n\t\t\tload = <{load:#x}>;\n\t\t\tentry = <{load:#x}>;\n"
        );
        let plain = "\t\t\tcompression = \"none\";\n";
        let tree_at = dtb_load.map_or_else(String::new, |load| format!("\t\t\tload = <{load:#x}>;\n"));
        format!(
            "/dts-v1/;\n\n/ {{\n\tdescription = \"{name}\";\n\t#address-cells = <1>;\n\n\timages {{\n{}{}{}\t}};\n\n\
             \tconfigurations {{\n\t\tdefault = \"conf\";\n\t\tconf {{\n\t\t\tkernel = \"kernel\";\n\
             \t\t\tramdisk = \"ramdisk\";\n\t\t\tfdt = \"fdt\";\n{}\t\t}};\n\t}};\n}};\n",
            image("ramdisk", INITRAMFS, "ramdisk", &format!("{linux}{plain}")),
            image("kernel", KERNEL, "kernel", &kernel),
            image("fdt", dtb, "flat_dt", &format!("{plain}{tree_at}")),
            self.key.map(Key::node).unwrap_or_default(),
        )
    }
}

/// U-Boot's word for an architecture (boot/image.c, `uimage_arch`).
pub const fn architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Aarch64 => "arm64",
        Architecture::Armv7 => "arm",
        Architecture::X86_64 => "x86_64",
    }
}

/// Writes `dtb` with kernel arguments to `out`: a FIT has no other place for them. U-Boot replaces them only where its variable `bootargs`
/// is set (boot/fdt_support.c, `fdt_chosen()`).
///
/// # Errors
/// Failed work if `fdtput` is missing or fails.
pub(super) fn write_dtb(dtb: &Path, line: &str, out: &Path) -> Result<()> {
    std::fs::copy(dtb, out).map_err(Error::io("copy", dtb))?;
    let fdtput = || Tool::new("fdtput", "device-tree-compiler");
    fdtput().arg("-p").arg("-c").arg(out).arg("/chosen").run()?;
    fdtput().args(["-t", "s"]).arg(out).args(["/chosen", "bootargs", line]).run().map(drop)
}
