//! Fault tier: whatever is wrong, a line names step, cause and error number, the policy follows, and nothing hangs.
//!
//! `FAULTS` below names every fault. A plain run boots each once, on kernels and sources in turn; with `FAULT_MATRIX=1` in
//! the environment (`make fault`) each is booted with every kernel and source it makes sense for. With `FAULT_SOAK=N` (`make
//! soak`) N boots are drawn from that matrix, by `FAULT_SEED` if it is set. `target/fault.json` and `target/fault.html`, or
//! `soak` in place of `fault`, say what was seen.

mod calls;
mod case;
mod command_line;
mod device;
mod extras;
mod holder;
mod image;
mod machine;
mod modules;
mod plan;
mod plug;
mod policy;
mod results;
mod slots;
mod start;
mod sweep;
mod verity;

use case::Where::{
    Bare, Everywhere, Holder, HotPlug, Initramfs, LongLine, Modular, ModularPartition, Partition, Pci, Trusting,
    TrustingHolder,
};
use case::{Fault, fault};
use device::FileSystem::{Btrfs, Erofs, Ext4, F2fs, Fat16, Fat32, Xfs};
use image::field;
use imagegen::board::FileSystem;
use libtest_mimic::{Arguments, Trial};
use slots::Bad;
use tests::cpio::Entry;
use tests::image::{PARTNAME, Place};
use tests::kernel::get;
use verity::Signer;

/// Kernels of the matrix; one that is missing fails every boot on it.
const KERNELS: [&str; 6] = ["arm64-6.1", "arm64-6.12", "arm64-7", "armv7-6.1", "arm64-tuned", "x86_64-6.1"];
const PLACES: [Place; 3] = [Place::Partition, Place::Initramfs, Place::File(FileSystem::Ext4)];
/// Kernels of a plain run in turn: the tuned one boots fastest, so the others have a fault in 24 each, and all that need modules.
const TURN: [&str; 24] = {
    let mut turn = ["arm64-tuned"; 24];
    turn[1] = "arm64-6.1";
    turn[6] = "armv7-6.1";
    turn[11] = "arm64-6.12";
    turn[16] = "x86_64-6.1";
    turn[21] = "arm64-7";
    turn
};

/// Every fault.
#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    fault("plan_missing", Everywhere, plan::missing),
    fault("plan_is_a_folder", Everywhere, plan::folder),
    fault("plan_longer_than_any", Everywhere, plan::too_long),
    fault("plan_as_long_as_it_may_be", Everywhere, plan::longest),
    fault("plan_empty", Everywhere, |on| plan::cut(on, |_| 0)),
    fault("plan_cut_at_1", Everywhere, |on| plan::cut(on, |_| 1)),
    fault("plan_cut_in_the_envelope", Everywhere, |on| plan::cut(on, |_| 15)),
    fault("plan_cut_at_the_payload", Everywhere, |on| plan::cut(on, |_| 16)),
    fault("plan_cut_at_half", Everywhere, |on| plan::cut(on, |length| length / 2)),
    fault("plan_cut_by_one", Everywhere, |on| plan::cut(on, |length| length - 1)),
    fault("plan_with_a_byte_more", Everywhere, plan::longer),
    fault("plan_magic_flipped", Everywhere, |on| plan::flipped(on, 0, "wrong magic")),
    fault("plan_version_flipped", Everywhere, |on| plan::flipped(on, 7, "unknown format version")),
    fault("plan_length_flipped_low", Everywhere, |on| plan::flipped(on, 8, "")),
    fault("plan_length_flipped_high", Everywhere, |on| plan::flipped(on, 11, "truncated")),
    fault("plan_crc_flipped", Everywhere, |on| plan::flipped(on, 12, "wrong CRC-32")),
    fault("plan_payload_flipped_at_its_start", Everywhere, |on| plan::payload_flipped(on, 0)),
    fault("plan_payload_flipped_in_the_middle", Everywhere, |on| plan::payload_flipped(on, 50)),
    fault("plan_payload_flipped_at_its_end", Everywhere, |on| plan::payload_flipped(on, 100)),
    fault("plan_of_an_older_version", Everywhere, |on| plan::version(on, 0)),
    fault("plan_of_a_newer_version", Everywhere, |on| plan::version(on, bootstrap::plan::KIND.version + 1)),
    fault("plan_is_a_record", Everywhere, plan::record),
    fault("plan_of_rubbish", Everywhere, plan::rubbish),
    fault("plan_with_a_surplus", Everywhere, plan::surplus),
    fault("plan_without_a_slot", Everywhere, plan::no_slot),
    fault("plan_with_a_long_path", Everywhere, plan::long_path),
    fault("module_missing", Modular, modules::missing),
    fault("module_is_a_folder", Modular, modules::folder),
    fault("module_of_another_kernel", Modular, modules::another_kernel),
    fault("module_is_rubbish", Modular, modules::rubbish),
    fault("module_cut", Modular, modules::cut),
    fault("module_empty", Modular, modules::empty),
    fault("module_with_an_unresolved_symbol", Modular, modules::unresolved_symbol),
    fault("module_parameter_refused", Modular, modules::refused_parameter),
    fault("device_never_comes", Partition, device::never_comes),
    fault("device_without_a_disk", Partition, device::no_disk),
    fault("device_with_a_broken_table", Partition, device::broken_table),
    fault("device_without_a_deadline", Partition, device::no_deadline),
    fault("device_comes_after_5_s", HotPlug, |on| plug::late(on, None)),
    fault("device_comes_after_5_s_by_partuuid", HotPlug, plug::late_part_uuid),
    fault("two_devices_come_after_5_s", HotPlug, plug::late_two),
    fault("device_comes_in_a_flood_of_events", HotPlug, plug::flood),
    fault("device_gone_before_the_switch", HotPlug, plug::gone_before_the_switch),
    fault("device_gone_behind_the_switch", HotPlug, plug::gone_behind_the_switch),
    fault("two_devices_with_one_partname", Partition, device::two),
    fault("two_disks_with_one_partname", Partition, device::two_disks),
    fault("two_devices_and_a_hint", Partition, |on| device::hint(on, "vda2", &[PARTNAME, PARTNAME], "vda2")),
    fault("hint_of_an_absent_device", Partition, |on| device::hint(on, "sda7", &[PARTNAME], "vda1")),
    fault("hint_of_another_device", Partition, |on| device::hint(on, "vda1", &["other", PARTNAME], "vda2")),
    fault("label_of_ext4", Partition, |on| device::label(on, Ext4)),
    fault("label_of_fat16", Partition, |on| device::label(on, Fat16)),
    fault("label_of_fat32", Partition, |on| device::label(on, Fat32)),
    fault("label_of_f2fs", Partition, |on| device::label(on, F2fs)),
    fault("label_of_xfs", Partition, |on| device::label(on, Xfs)),
    fault("label_of_btrfs", Partition, |on| device::label(on, Btrfs)),
    fault("label_of_erofs", Partition, |on| device::label(on, Erofs)),
    fault("label_absent", Partition, device::no_label),
    fault("uuid_of_ext4", Partition, |on| device::uuid(on, Ext4)),
    fault("uuid_of_fat16", Partition, |on| device::uuid(on, Fat16)),
    fault("uuid_of_fat32", Partition, |on| device::uuid(on, Fat32)),
    fault("uuid_of_f2fs", Partition, |on| device::uuid(on, F2fs)),
    fault("uuid_of_xfs", Partition, |on| device::uuid(on, Xfs)),
    fault("uuid_of_btrfs", Partition, |on| device::uuid(on, Btrfs)),
    fault("uuid_of_erofs", Partition, |on| device::uuid(on, Erofs)),
    fault("uuid_absent", Partition, device::no_uuid),
    fault("uuid_of_fat_absent", Partition, device::no_serial),
    fault("partuuid_of_gpt", Partition, |on| device::part_uuid(on, true)),
    fault("partuuid_of_gpt_absent", Partition, |on| device::part_uuid(on, false)),
    fault("partuuid_of_mbr", Partition, |on| device::mbr(on, true)),
    fault("partuuid_of_mbr_absent", Partition, |on| device::mbr(on, false)),
    fault("path", Partition, |on| device::path(on, "vda1", true)),
    fault("path_absent", Partition, |on| device::path(on, "vdb1", false)),
    fault("image_pinned", Everywhere, image::whole),
    fault("image_cut_at_0", Everywhere, |on| image::cut(on, Some(0))),
    fault("image_cut_at_1k", Everywhere, |on| image::cut(on, Some(1024))),
    fault("image_cut_at_4k", Everywhere, |on| image::cut(on, Some(4096))),
    fault("image_cut_at_half", Everywhere, |on| image::cut(on, None)),
    fault("image_zeros_from_0", Everywhere, |on| image::zeroed(on, Some(0))),
    fault("image_zeros_from_1k", Everywhere, |on| image::zeroed(on, Some(1024))),
    fault("image_zeros_from_4k", Everywhere, |on| image::zeroed(on, Some(4096))),
    fault("image_zeros_from_half", Everywhere, |on| image::zeroed(on, None)),
    fault("image_file_missing", Initramfs, image::no_file),
    fault("image_file_is_a_folder", Initramfs, image::folder),
    fault("image_of_another_build", Everywhere, image::another),
    fault("superblock_magic_flipped", Everywhere, |on| image::flipped(on, field::MAGIC, "no EROFS superblock", 22)),
    fault("superblock_checksum_flipped", Everywhere, image::checksum_flipped),
    fault("superblock_block_size_flipped", Everywhere, |on| image::flipped(on, field::BLOCK_BITS, "EROFS superblock is invalid", 22)),
    fault("superblock_features_flipped", Everywhere, |on| image::flipped(on, field::FEATURES, "cannot mount EROFS", 74)),
    fault("superblock_uuid_flipped", Everywhere, |on| image::flipped(on, field::UUID, "cannot mount EROFS", 74)),
    fault("superblock_uuid_of_another", Everywhere, image::uuid_flipped),
    fault("superblock_size_flipped", Everywhere, |on| image::flipped(on, field::BLOCKS + 2, "EROFS image is truncated", 22)),
    fault("superblock_with_a_block_more", Everywhere, |on| image::blocks(on, true)),
    fault("superblock_with_a_block_less", Everywhere, |on| image::blocks(on, false)),
    fault("superblock_without_blocks", Everywhere, image::no_blocks),
    fault("superblock_with_large_blocks", Everywhere, image::large_blocks),
    fault("superblock_with_an_unknown_feature", Everywhere, image::unknown_feature),
    fault("superblock_without_a_root", Everywhere, image::no_root),
    fault("next_init_missing", Everywhere, |on| start::init_missing(on, None, 2)),
    fault("next_init_dangling", Everywhere, |on| start::init_missing(on, Some(Entry::link("init", "nowhere")), 2)),
    fault("next_init_leads_to_itself", Everywhere, |on| start::init_missing(on, Some(Entry::link("init", "init")), 40)),
    fault("next_init_leads_out", Everywhere, start::init_leads_out),
    fault("next_init_not_executable", Everywhere, |on| start::init_not_executable(on, Entry::file("init", 0o644, "#!/bin/sh\n"))),
    fault("next_init_is_a_folder", Everywhere, |on| start::init_not_executable(on, Entry::folder("init"))),
    fault("next_init_is_no_program", Everywhere, |on| start::init_not_started(on, "no program", 8)),
    fault("next_init_is_empty", Everywhere, |on| start::init_not_started(on, "", 8)),
    fault("next_init_without_its_interpreter", Everywhere, |on| start::init_not_started(on, "#!/nowhere/sh\n", 2)),
    fault("next_init_of_another_processor", Everywhere, start::init_of_another_processor),
    fault("next_init_behind_links", Everywhere, start::init_behind_links),
    fault("no_dev_console", Everywhere, start::no_console),
    fault("no_dev_console_anywhere", Everywhere, start::no_console_anywhere),
    fault("memory_64_mib", Everywhere, |on| start::memory(on, 64)),
    fault("memory_128_mib", Everywhere, |on| start::memory(on, 128)),
    fault("initramfs_larger_than_memory", Initramfs, start::larger_than_memory),
    fault("root_on_the_command_line", Everywhere, |on| command_line::boots(on, b"root=/dev/sda1 ro")),
    fault("command_line_with_quotes", Everywhere, |on| command_line::boots(on, b"a=\"b c\" \"d e\" \"unfinished")),
    fault("command_line_not_utf8", Everywhere, |on| command_line::boots(on, b"word=\xff\xfe\x80 caf\xe9")),
    fault("command_line_of_900_bytes", Everywhere, |on| command_line::long(on, 900)),
    fault("command_line_of_2_kib", Everywhere, |on| command_line::long(on, 2000)),
    fault("command_line_of_4_kib", LongLine, |on| command_line::long(on, 4096)),
    fault("command_line_quiet", Everywhere, |on| command_line::quiet(on, b"quiet")),
    fault("command_line_loglevel_0", Everywhere, |on| command_line::quiet(on, b"loglevel=0")),
    fault("command_line_quiet_and_a_refusal", Everywhere, command_line::quiet_shows_errors),
    fault("command_line_loglevel_0_and_a_refusal", Everywhere, |on| command_line::quiet_refusal(on, b"loglevel=0")),
    fault("extras_device_node", Everywhere, extras::device_node),
    fault("extras_device_node_inside", Everywhere, extras::device_node_inside),
    fault("extras_fifo", Everywhere, extras::fifo),
    fault("extras_dots_in_names", Everywhere, extras::dots_in_names),
    fault("extras_dots_in_the_list", Everywhere, extras::dots_in_the_list),
    fault("extras_linked_parent", Everywhere, extras::linked_parent),
    fault("extras_own_layer", Everywhere, extras::own_layer),
    fault("extras_dangling_link", Everywhere, extras::dangling_link),
    fault("extras_file_over_folder", Everywhere, extras::file_over_folder),
    fault("extras_folder_over_file", Everywhere, extras::folder_over_file),
    fault("extras_too_deep", Everywhere, extras::too_deep),
    fault("extras_larger_than_the_upper", Everywhere, extras::larger_than_the_upper),
    fault("slot_missing", Bare, |on| slots::first_bad(on, Bad::Missing)),
    fault("slot_twice", Partition, |on| slots::first_bad(on, Bad::Twice)),
    fault("slot_of_zeros", Bare, |on| slots::first_bad(on, Bad::Zeros)),
    fault("slot_cut", Bare, |on| slots::first_bad(on, Bad::Cut)),
    fault("slot_unfinished", Bare, |on| slots::first_bad(on, Bad::Unfinished)),
    fault("slot_of_another_image", Bare, |on| slots::first_bad(on, Bad::Another)),
    fault("slot_with_a_wrong_checksum", Bare, |on| slots::first_bad(on, Bad::Checksum)),
    fault("slot_without_a_next_init", Bare, |on| slots::first_bad(on, Bad::NoInit)),
    fault("slot_with_no_executable_init", Bare, |on| slots::first_bad(on, Bad::NotExecutable)),
    fault("slot_without_a_mount_point", Bare, |on| slots::first_bad(on, Bad::NoMountPoint)),
    fault("slots_both_missing", Bare, |on| slots::both_bad(on, Bad::Missing)),
    fault("slots_both_without_a_next_init", Bare, |on| slots::both_bad(on, Bad::NoInit)),
    fault("slot_named_by_the_bootloader", Bare, slots::named),
    fault("slot_named_but_unknown", Bare, |on| slots::named_unknown(on, false)),
    fault("slot_named_but_unknown_full", Bare, |on| slots::named_unknown(on, true)),
    fault("slot_refused_after_the_switch", Bare, slots::no_way_back),
    fault("policy_reboot", Everywhere, policy::reboot),
    fault("policy_power_off", Everywhere, policy::power_off),
    fault("policy_halt", Everywhere, policy::halt),
    fault("policy_shell", Everywhere, policy::shell),
    fault("policy_shell_missing", Everywhere, policy::shell_missing),
    fault("policy_shell_is_no_program", Everywhere, policy::shell_is_no_program),
    fault("policy_reboot_after_the_switch", Everywhere, policy::reboot_after_the_switch),
    fault("policy_reboot_after_the_mounts_moved", Everywhere, policy::reboot_after_the_mounts_moved),
    fault("policy_halt_after_the_switch", Everywhere, policy::halt_after_the_switch),
    fault("policy_shell_after_the_switch", Everywhere, policy::shell_after_the_switch),
    fault("disk_with_an_unreadable_superblock", Partition, machine::superblock_unreadable),
    fault("disk_with_an_unreadable_file", Partition, machine::file_unreadable),
    fault("disk_that_is_slow", Partition, machine::slow_disk),
    fault("disks_with_600_partitions", Partition, machine::flood),
    fault("holder_of_another_kind", Holder, holder::another_kind),
    fault("holder_corrupt", Holder, holder::corrupt),
    fault("holder_with_a_dirty_journal", Holder, holder::dirty_journal),
    fault("holder_with_orphans", Holder, holder::orphans),
    fault("holder_without_the_file", Holder, holder::no_file),
    fault("holder_with_a_folder_of_that_name", Holder, holder::folder),
    fault("holder_with_a_link_to_the_file", Holder, holder::link),
    fault("holder_with_a_link_out", Holder, holder::link_out),
    fault("holder_without_its_module", Holder, holder::no_module),
    fault("holder_never_comes", Holder, holder::never),
    fault("holder_of_a_file_with_a_root_hash", Holder, holder::root_hash),
    fault("holder_of_a_file_with_a_wrong_root_hash", Holder, holder::wrong_root_hash),
    fault("fs_verity", TrustingHolder, holder::fs_verity),
    fault("fs_verity_of_another_file", TrustingHolder, holder::wrong_digest),
    fault("fs_verity_not_enabled", Holder, holder::no_fs_verity),
    fault("clock_at_1970", Everywhere, machine::clock_at_1970),
    fault("watchdog_ends_a_hang", Pci, machine::watchdog_ends_a_hang),
    fault("watchdog_missing", Pci, machine::watchdog_missing),
    fault("failure_kept_in_pstore", Trusting, machine::kept_in_pstore),
    fault("failure_explained", Partition, machine::helpful_log),
    fault("verity_whole", Partition, |on| verity::whole(on, 0)),
    fault("verity_with_error_correction", Partition, |on| verity::whole(on, 2)),
    fault("verity_left", Partition, verity::left),
    fault("verity_corrected", Trusting, verity::corrected),
    fault("verity_wrong_root_hash", Partition, verity::wrong_root_hash),
    fault("verity_weakened_by_the_command_line", Partition, verity::weakened),
    fault("verity_superblock_flipped", Partition, |on| verity::flipped(on, |_| 1024 + 100)),
    fault("verity_version_flipped", Partition, |on| verity::flipped(on, |_| 4)),
    fault("verity_top_of_the_tree_flipped", Partition, |on| verity::flipped(on, |made| made.hash_start * 4096 + 9)),
    fault("verity_file_flipped", Partition, verity::flipped_in_a_file),
    fault("verity_leaf_of_the_tree_flipped", Partition, verity::flipped_leaf),
    fault("verity_without_a_tree", Partition, verity::without_a_tree),
    fault("verity_tree_zeroed", Partition, verity::zeroed_tree),
    fault("verity_bad_parameters", Partition, verity::bad_parameters),
    fault("verity_module_missing", ModularPartition, |on| verity::no_module(on, "dm_verity")),
    fault("verity_module_not_in_the_plan", ModularPartition, verity::module_not_in_the_plan),
    fault("verity_no_device", Partition, verity::no_device),
    fault("verity_plan_on_the_plain_program", Partition, verity::plain_program),
    fault("signature_of_a_trusted_key", Trusting, verity::trusted_signature),
    fault("signature_of_a_stranger", Partition, |on| verity::untrusted_signature(on, Signer::Stranger)),
    fault("signature_absent", Partition, |on| verity::untrusted_signature(on, Signer::Nobody)),
    fault("signature_of_another_image", Trusting, verity::signature_of_another),
    fault("signature_of_an_expired_version", Trusting, verity::expired),
    fault("signature_under_a_forged_version", Trusting, verity::forged_version),
    fault("trailer_flipped", Partition, |on| verity::bad_trailer(on, false)),
    fault("trailer_zeroed", Partition, |on| verity::bad_trailer(on, true)),
    fault("trailer_absent", Partition, verity::no_trailer),
];

fn main() {
    let arguments = Arguments::from_args();
    let (trials, name) = match (number("FAULT_SOAK"), number("FAULT_MATRIX")) {
        (Some(boots), _) => (soak(boots), Some("soak")),
        (None, Some(1)) => (FAULTS.iter().flat_map(everywhere).chain(sweeps(true)).collect(), Some("fault")),
        (None, _) => (once().into_iter().chain(sweeps(false)).collect(), None),
    };
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(name) = name
        && !arguments.list
        && arguments.filter.is_none()
        && arguments.skip.is_empty()
        && let Err(error) = results::write(name)
    {
        eprintln!("target/{name}.json not written: {error}");
        std::process::exit(1);
    }
    conclusion.exit();
}

/// What is one row and many boots.
fn sweeps(matrix: bool) -> impl Iterator<Item = Trial> {
    calls::trials(matrix).into_iter().chain(sweep::trials(matrix))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// `boots` of the matrix, drawn at random and named by their place in the row.
fn soak(boots: u64) -> Vec<Trial> {
    let time = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |elapsed| elapsed.as_secs());
    let seed = number("FAULT_SEED").unwrap_or_else(time).max(1);
    println!("FAULT_SEED={seed}");
    let places = |fault, kernel| PLACES.map(|place| (fault, kernel, place));
    let all = FAULTS.iter().flat_map(|fault| KERNELS.into_iter().flat_map(move |kernel| places(fault, kernel)));
    let all: Vec<_> = all.filter(|(fault, kernel, place)| fault.place.holds(kernel, *place)).collect();
    let mut state = seed;
    let mut draw = || {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all[usize::try_from(state % all.len() as u64).unwrap_or_default()]
    };
    let mut next = |number: u64| {
        let (fault, kernel, place) = draw();
        let name = format!("{number:04} {} {kernel} {}", fault.name, place.name());
        Trial::test(name, move || results::run(fault, get(kernel), kernel, place).map_err(Into::into))
    };
    (1..=boots).map(&mut next).collect()
}

/// A fault with every kernel and source it makes sense for.
fn everywhere(fault: &'static Fault) -> Vec<Trial> {
    let all = KERNELS.into_iter().flat_map(|kernel| PLACES.map(|place| (kernel, place)));
    all.filter(|(kernel, place)| fault.place.holds(kernel, *place))
        .map(|(kernel, place)| trial(fault, kernel, place))
        .collect()
}

/// Each fault once.
fn once() -> Vec<Trial> {
    let mut turn = TURN.into_iter().cycle();
    let mut places = PLACES.into_iter().cycle();
    let mut next = |fault: &'static Fault| {
        let place = places.by_ref().find(|place| KERNELS.iter().any(|kernel| fault.place.holds(kernel, *place)));
        let place = place.unwrap_or(Place::Partition);
        let kernel = turn.by_ref().find(|kernel| fault.place.holds(kernel, place));
        trial(fault, kernel.unwrap_or("arm64-6.1"), place)
    };
    FAULTS.iter().map(&mut next).collect()
}

fn trial(fault: &'static Fault, kernel: &'static str, place: Place) -> Trial {
    let name = format!("{} {kernel} {}", fault.name, place.name());
    Trial::test(name, move || results::run(fault, get(kernel), kernel, place).map_err(Into::into))
}
