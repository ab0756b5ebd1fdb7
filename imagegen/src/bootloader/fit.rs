//! U-Boot's FIT: kernel, mini-initramfs and device tree in one image with a hash of each, which one signature can cover, and with it the
//! plan and the root hash in it (U-Boot: doc/usage/fit/source_file_format.rst).

use crate::board::Architecture;
use crate::manifest::{INITRAMFS, KERNEL};
use crate::tool::Tool;
use crate::{Error, Result};
use std::path::Path;

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
}

impl Image<'_> {
    /// Its source, for `mkimage -f`, to be compiled where the files lie. The device tree and the ramdisk go where U-Boot has room.
    pub fn source(self) -> String {
        let Image { name, load, dtb, .. } = self;
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
        format!(
            "/dts-v1/;\n\n/ {{\n\tdescription = \"{name}\";\n\t#address-cells = <1>;\n\n\timages {{\n{}{}{}\t}};\n\n\
             \tconfigurations {{\n\t\tdefault = \"conf\";\n\t\tconf {{\n\t\t\tkernel = \"kernel\";\n\
             \t\t\tramdisk = \"ramdisk\";\n\t\t\tfdt = \"fdt\";\n\t\t}};\n\t}};\n}};\n",
            image("kernel", KERNEL, "kernel", &kernel),
            image("ramdisk", INITRAMFS, "ramdisk", &format!("{linux}{plain}")),
            image("fdt", dtb, "flat_dt", plain),
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
