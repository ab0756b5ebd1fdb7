//! Regions of memory, and the device trees that announce them.

use super::*;
use crate::boot::qemu::{Clock, Transport};
use std::process::Command;

const MIB: u64 = 1 << 20;

#[test]
fn a_region_is_whole_grains_and_the_kernel_below_it() {
    let region = Region::new(0x2_8000_0000, 3 * MIB + 1, 0x8000_0000).unwrap();
    assert_eq!(region.bytes(), 4 * MIB);
    assert_eq!(region.argument(), "mem=8388608K");
    assert!(region.overlay().contains("pmem@280000000 {"));
    assert!(region.overlay().contains("reg = <0x2 0x80000000 0x0 0x400000>;"));
    let commands = region.commands("a.erofs");
    for line in [
        "if load ${devtype} ${devnum}:${distro_bootpart} 0x280000000 ${prefix}a.erofs; then\n",
        "fdt set /initoverlayfs/pmem@280000000 reg <0x2 0x80000000 0x0 0x400000>\n",
        "setenv bootm_low 0x80000000\n\tsetenv bootm_size 0x200000000\n",
        "setenv bootargs \"${bootargs} mem=8388608K\"\n",
    ] {
        assert!(commands.contains(line), "{commands}");
    }
}

#[test]
fn where_no_region_can_be_is_refused() {
    for (address, bytes) in [(0x7000_1000, 1), (0x4000_0000, 1), (0, 1), (0x7000_0000, u64::MAX), (!0 << 21, 3 * MIB)] {
        assert_eq!(Region::new(address, bytes, 0x4000_0000).unwrap_err().exit_status(), 2, "{address:#x} {bytes}");
    }
}

fn qemu(program: &str, cpu: &str) -> Qemu {
    Qemu {
        program: program.into(),
        machine: "virt".into(),
        cpu: cpu.into(),
        cpus: 1,
        memory_mib: 1024,
        kernel: "/dev/null".into(),
        initrd: None,
        append: "quiet".into(),
        transport: Transport::Mmio,
        disks: Vec::new(),
        clock: Clock::Host,
        seed: 1,
        port: None,
        flash: Vec::new(),
        extra: Vec::new(),
        keyboard: false,
        files: None,
    }
}

#[test]
fn the_machines_tree_has_the_region() {
    for (program, cpu) in [("qemu-system-aarch64", "cortex-a72"), ("qemu-system-arm", "cortex-a15")] {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("a,b.erofs");
        std::fs::write(&image, [1; 5000]).unwrap();
        let mut machine = qemu(program, cpu);
        attach(&mut machine, 0x7000_0000, &image, folder.path()).unwrap();
        let tree = folder.path().join("memory.dtb");
        let property = |name: &str| {
            let node = "/initoverlayfs/pmem@70000000";
            let output = Command::new("fdtget").args(["-t", "x"]).arg(&tree).args([node, name]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(property("reg"), "0 70000000 0 200000\n");
        assert_eq!(property("volatile"), "\n");
        assert_eq!(machine.append, "quiet mem=786432K");
        let extra = machine.extra.join(std::ffi::OsStr::new(" ")).into_string().unwrap();
        assert!(extra.starts_with("-dtb ") && extra.ends_with("a,,b.erofs,addr=0x70000000,force-raw=on"), "{extra}");
    }
}

#[test]
fn an_address_beyond_the_machines_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::write(&image, [1; 5000]).unwrap();
    for address in [0x8000_0000, 0x4000_0000] {
        let error = attach(&mut qemu("qemu-system-aarch64", ""), address, &image, folder.path()).unwrap_err();
        assert_eq!(error.exit_status(), 2, "{error}");
    }
}
