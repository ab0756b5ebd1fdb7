//! An image that the bootloader places in memory, used where it lies: what tells the kernel about it (device tree, kernel argument),
//! what makes U-Boot put it there, and the same for QEMU.
//!
//! The kernel's driver is of_pmem (Documentation/devicetree/bindings/pmem/pmem-region.txt), the device `/dev/pmem0`. The region must
//! lie outside the memory that the kernel manages: inside, also as reserved memory with `no-map`, the driver fails with -17
//! (Linux 6.12). Bootloaders and QEMU write the memory node themselves, so it is `mem=` that keeps the kernel below the region.
//! libnvdimm wants 64-bit physical addresses: on armv7 a kernel with CONFIG_ARM_LPAE, which Debian's armmp is not. Without a copy
//! (DAX) takes CONFIG_FS_DAX, without which erofs refuses the option `dax`, and on arm64 CONFIG_ARM64_PMEM, without which there are no
//! pages to map (`pmem_should_map_pages()`, drivers/nvdimm/namespace_devs.c): Debian's 6.12 and 7.2 have both, its 6.1 no FS_DAX.

use crate::boot::qemu::{Qemu, option_value};
use crate::tool::Tool;
use crate::{Error, Result};
use std::ffi::OsString;
use std::path::Path;

/// What memory hot-plug takes: a subsection (include/linux/mmzone.h, Linux 5.3).
const GRAIN: u64 = 2 << 20;
/// Names of the files for the bootloader.
pub const OVERLAY: &str = "memory.dtbo";
/// U-Boot's commands.
pub const COMMANDS: &str = "memory.cmd";
/// Where RAM begins on QEMU's `virt` machines, 32 and 64 bit (hw/arm/virt.c).
const VIRT_RAM: u64 = 1 << 30;

/// Memory with an image at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    address: u64,
    bytes: u64,
    ram_start: u64,
}

impl Region {
    /// Room for `image_bytes` at the physical `address`, of a machine whose RAM begins at `ram_start` and has no hole before `address`.
    ///
    /// # Errors
    /// Bad input if the kernel cannot have a region there.
    pub fn new(address: u64, image_bytes: u64, ram_start: u64) -> Result<Self> {
        let bytes = image_bytes.max(1).checked_next_multiple_of(GRAIN);
        let (Some(bytes), true) = (bytes, address.is_multiple_of(GRAIN)) else {
            let what = format!("an image of {image_bytes} bytes cannot lie in memory at {address:#x}");
            return Err(Error::bad_input(what, "give an address that is a multiple of 2 MiB"));
        };
        // The kernel and its initramfs are below it.
        if address <= ram_start || address.checked_add(bytes).is_none() {
            let what = format!("no room for the kernel between {ram_start:#x}, where RAM begins, and {address:#x}");
            return Err(Error::bad_input(what, "give an address nearer to the end of RAM"));
        }
        Ok(Region { address, bytes, ram_start })
    }

    /// Bytes of it, of which the image takes the first.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// The kernel argument that keeps the kernel below it. In KiB, which is exact.
    pub fn argument(self) -> String {
        format!("mem={}K", (self.address - self.ram_start) >> 10)
    }

    /// Address and bytes, two cells each.
    fn cells(self) -> [String; 2] {
        [self.address, self.bytes].map(|value| format!("{:#x} {:#x}", value >> 32, value & 0xffff_ffff))
    }

    /// Source of the device-tree overlay. It brings a bus of its own, so that it does not matter how many cells an address has in the
    /// root of the tree it is laid on.
    pub fn overlay(self) -> String {
        let [address, bytes] = self.cells();
        format!(
            "/dts-v1/;\n/plugin/;\n\n&{{/}} {{\n\tinitoverlayfs {{\n\t\tcompatible = \"simple-bus\";\n\
             \t\t#address-cells = <2>;\n\t\t#size-cells = <2>;\n\t\tranges;\n\n\t\tpmem@{:x} {{\n\
             \t\t\tcompatible = \"pmem-region\";\n\t\t\treg = <{address} {bytes}>;\n\t\t\tvolatile;\n\t\t}};\n\t}};\n}};\n",
            self.address
        )
    }

    /// U-Boot's commands: load the image, tell the device tree, keep U-Boot and the kernel below. To be run as part of a boot script,
    /// between loading all else and `booti`; `image` is the image's file name beside the others. Where it cannot be loaded nothing is
    /// changed, so that the kernel finds no memory with an image and the next slot is tried.
    ///
    /// Nodes are made one by one: `fdt apply` and an address for an overlay are not in every U-Boot (Debian's 2023.01 for QEMU has
    /// neither). U-Boot moves initramfs and device tree to the end of RAM unless `bootm_low` and `bootm_size` say otherwise
    /// (doc/usage/environment.rst). The kernel then counts that memory as its own again, and nd_pmem fails with -16 if it is the region's.
    pub fn commands(self, image: &str) -> String {
        let [address, bytes] = self.cells();
        let (bus, node) = ("/initoverlayfs", format!("pmem@{:x}", self.address));
        let (place, start) = ("${devtype} ${devnum}:${distro_bootpart}", self.ram_start);
        format!(
            "# The image, used where it lies. Part of a boot script: after kernel, initramfs and device tree are loaded, the tree to\n\
             # ${{fdt_addr_r}} (or fdt_addr_r set to where it is), and before booti.\n\
             setenv kept_filesize ${{filesize}}\n\
             if load {place} {:#x} ${{prefix}}{image}; then\n\
             \tfdt addr ${{fdt_addr_r}}\n\
             \tfdt resize 4096\n\
             \tfdt mknode / initoverlayfs\n\
             \tfdt set {bus} compatible simple-bus\n\
             \tfdt set {bus} \"#address-cells\" <2>\n\
             \tfdt set {bus} \"#size-cells\" <2>\n\
             \tfdt set {bus} ranges\n\
             \tfdt mknode {bus} {node}\n\
             \tfdt set {bus}/{node} compatible pmem-region\n\
             \tfdt set {bus}/{node} reg <{address} {bytes}>\n\
             \tfdt set {bus}/{node} volatile\n\
             \tsetenv bootm_low {start:#x}\n\
             \tsetenv bootm_size {:#x}\n\
             \tsetenv bootargs \"${{bootargs}} {}\"\n\
             fi\n\
             setenv filesize ${{kept_filesize}}\n",
            self.address,
            self.address - start,
            self.argument()
        )
    }

    /// Writes the compiled overlay to `out`, overwriting it.
    ///
    /// # Errors
    /// Failed work if `dtc` is missing or fails.
    pub fn write_overlay(self, out: &Path) -> Result<()> {
        let source = out.with_extension("dts");
        std::fs::write(&source, self.overlay()).map_err(Error::io("write", &source))?;
        let dtc = Tool::new("dtc", "device-tree-compiler").args(["-q", "-@", "-I", "dts", "-O", "dtb", "-o"]);
        dtc.arg(out).arg(&source).run()?;
        std::fs::remove_file(&source).map_err(Error::io("remove", &source))
    }
}

/// Puts `image` into the memory of `qemu`, a `virt` machine, at `address`, and tells its kernel; what that takes is written into `folder`,
/// which must live as long as QEMU. To be called when all else about `qemu` is said: the device tree is made for just that.
///
/// # Errors
/// Bad input if the machine has no memory there; failed work if a tool is missing or fails.
pub fn attach(qemu: &mut Qemu, address: u64, image: &Path, folder: &Path) -> Result<()> {
    let bytes = std::fs::metadata(image).map_err(Error::io("read", image))?.len();
    let region = Region::new(address, bytes, VIRT_RAM)?;
    let end = VIRT_RAM + (u64::from(qemu.memory_mib) << 20);
    if address + region.bytes() > end {
        let what = format!("{bytes} bytes at {address:#x} are beyond the machine's memory, which ends at {end:#x}");
        return Err(Error::bad_input(what, "give the machine more memory, or a lower address"));
    }
    let [base, overlay, tree] = ["machine.dtb", OVERLAY, "memory.dtb"].map(|name| folder.join(name));
    let mut dump = qemu.clone();
    dump.machine = format!("{},dumpdtb={}", qemu.machine, base.display());
    Tool::new(&dump.program, "qemu-system-arm").args(dump.arguments()).run()?;
    region.write_overlay(&overlay)?;
    let lay = Tool::new("fdtoverlay", "device-tree-compiler").arg("-i").arg(&base).arg("-o").arg(&tree);
    lay.arg(&overlay).run()?;
    qemu.append.push(format!(" {}", region.argument()));
    let mut loader = OsString::from("loader,file=");
    loader.push(option_value(image.as_os_str()));
    loader.push(format!(",addr={address:#x},force-raw=on"));
    qemu.extra.extend(["-dtb".into(), tree.into(), "-device".into(), loader]);
    Ok(())
}

#[cfg(test)]
mod tests;
